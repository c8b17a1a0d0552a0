"""How much of a card's peaks an engine reaches, as rows of data.

A row was fitted on the decoding rates of one half of the models that were published for its engine,
and tried on the other half; ``python -m tests.accuracy_speed DIR`` prints both. Where nothing was
published, the closest row serves and says ``assumed``.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

from msgspec import Struct
from msgspec.structs import replace

from hfmem.gpu import Gpu
from hfmem.hardware.traffic import Packing

MemoryKind = Literal["hbm", "gddr", "unified"]
Span = tuple[float, float]

SPREAD = 1.25
"""A range reaches from its middle divided by this to its middle times this: a high bound of 1.56
times the low one."""


def around(middle: float) -> Span:
    """``around(0.8) == (0.64, 1.0)``."""
    return middle / SPREAD, middle * SPREAD


def share(middle: float) -> Span:
    """As ``around``, of a peak: nothing is faster than all of it. ``share(0.88)[1] == 1.0``."""
    low, high = around(middle)
    return low, min(1.0, high)


class Efficiency(Struct, frozen=True, kw_only=True):
    """What decoding in an engine costs beside the peaks of a card."""

    engine: str
    packings: tuple[Packing, ...]
    memory: MemoryKind | None = None
    """None is any."""
    architectures: tuple[str, ...] = ()
    """Of the cards, which tell the age of their host too; empty is any."""
    method: str = ""
    """Part of the quantization's name; empty is any."""
    layer_us: Span
    """Microseconds that a layer takes whatever its size: kernel launches, and the gaps between
    kernels."""
    routed_us: Span = (0.0, 0.0)
    """What routed experts add to that in a layer that has them."""
    routed_basis: Literal["measured", "assumed"] = "assumed"
    """How ``routed_us`` is known: only SGLang was measured with such models."""
    overlaps: bool = False
    """The launches run beside the kernels (eager PyTorch), so that the longer of both counts."""
    bandwidth: Span
    """Share of the memory's peak bandwidth at which weights are read."""
    cache_bandwidth: Span | None = None
    """The same of the cache, where unpacking holds the weights up; None is ``bandwidth``."""
    tile_rows: int = 0
    """Rows that the kernels multiply at least, whatever the batch; 0 where they are exact."""
    compute: Span = (1.0, 1.0)
    """Share of the peak operations that those tiles reach."""
    cache_passes: int = 1
    """How often the cache moves in a step."""
    measured_on: tuple[str, ...]
    """Architectures of the cards it was fitted on; for others it is assumed."""
    basis: Literal["measured", "assumed"] = "measured"
    source: str


_QWEN2 = "Qwen2 and Qwen2.5 speed tables, A100 80 GB, QwenLM/Qwen3 speed_benchmark.rst@a912d23"
_QWEN3 = "Qwen3 speed table, H20 96 GB, QwenLM/Qwen3 speed_benchmark.md@7a2f61f"
_QWEN = "Qwen speed tables, A100 80 GB, QwenLM/Qwen README.md"
_XIONGJIE = "XiongjieDai/GPU-Benchmarks-on-LLM-Inference README.md, llama.cpp of 2024, tg1024"
_AMPERE = ("Ampere",)
_HOPPER = ("Hopper",)
_APPLE = ("M1", "M2", "M3")

# transformers 5.23 cache_utils.py: DynamicLayer.update concatenates, which reads the cache and
# writes it; the attention reads it again.
_CONCATENATED = 3
# transformers 5.23 integrations/moe.py: grouped_mm_experts_forward and a router launch about 19
# kernels more than a dense MLP; a layer of Qwen3 launches about 53 in 590 µs.
_GROUPED_US: Span = around(220)
# Choosing and gathering experts, fitted on SGLang's rows and taken for the other engines.
_ROUTED_US: Span = around(40)

ROWS: tuple[Efficiency, ...] = (
    Efficiency(
        engine="transformers",
        packings=("float",),
        architectures=_AMPERE,
        layer_us=around(890),
        routed_us=_GROUPED_US,
        overlaps=True,
        bandwidth=share(0.62),
        cache_passes=_CONCATENATED,
        measured_on=_AMPERE,
        source=f"transformers 4.32 to 4.46, {_QWEN2}; {_QWEN}",
    ),
    Efficiency(
        engine="transformers",
        packings=("float",),
        architectures=_HOPPER,
        layer_us=around(590),
        routed_us=_GROUPED_US,
        overlaps=True,
        bandwidth=share(0.62),
        cache_passes=_CONCATENATED,
        measured_on=_HOPPER,
        source=f"transformers 4.51, {_QWEN3}",
    ),
    Efficiency(
        engine="transformers",
        packings=("fp8",),
        architectures=_HOPPER,
        layer_us=around(1700),
        routed_us=_GROUPED_US,
        overlaps=True,
        bandwidth=share(0.62),
        cache_passes=_CONCATENATED,
        measured_on=_HOPPER,
        source=f"transformers 4.51, {_QWEN3}",
    ),
    Efficiency(
        engine="transformers",
        packings=("int8",),
        layer_us=around(1120),
        routed_us=_GROUPED_US,
        overlaps=True,
        bandwidth=share(0.32),
        cache_bandwidth=share(0.62),
        cache_passes=_CONCATENATED,
        measured_on=(*_AMPERE, *_HOPPER),
        source=f"GPTQ in transformers 4.32 to 4.51, {_QWEN2}; {_QWEN3}; {_QWEN}",
    ),
    Efficiency(
        engine="transformers",
        packings=("int4",),
        architectures=_AMPERE,
        method="awq",
        layer_us=around(1120),
        routed_us=_GROUPED_US,
        overlaps=True,
        bandwidth=share(0.2),
        cache_bandwidth=share(0.62),
        cache_passes=_CONCATENATED,
        measured_on=_AMPERE,
        source=f"AWQ in transformers 4.38 and 4.46, {_QWEN2}",
    ),
    Efficiency(
        engine="transformers",
        packings=("int4",),
        architectures=_AMPERE,
        layer_us=around(700),
        routed_us=_GROUPED_US,
        overlaps=True,
        bandwidth=share(0.22),
        cache_bandwidth=share(0.62),
        cache_passes=_CONCATENATED,
        measured_on=_AMPERE,
        source=f"GPTQ in transformers 4.32 to 4.46, {_QWEN2}; {_QWEN}",
    ),
    Efficiency(
        engine="transformers",
        packings=("int4",),
        architectures=_HOPPER,
        layer_us=around(480),
        routed_us=_GROUPED_US,
        overlaps=True,
        bandwidth=share(0.2),
        cache_bandwidth=share(0.62),
        cache_passes=_CONCATENATED,
        measured_on=_HOPPER,
        source=f"AWQ in transformers 4.51, {_QWEN3}",
    ),
    Efficiency(
        engine="vllm",
        packings=("float", "fp8", "int8"),
        memory="hbm",
        layer_us=around(130),
        routed_us=_ROUTED_US,
        bandwidth=share(0.82),
        tile_rows=64,
        compute=share(0.64),
        measured_on=_AMPERE,
        source=f"vLLM 0.6.3, {_QWEN2}",
    ),
    Efficiency(
        engine="vllm",
        packings=("int4",),
        memory="hbm",
        layer_us=around(140),
        routed_us=_ROUTED_US,
        bandwidth=share(0.86),
        tile_rows=16,
        compute=share(0.35),
        measured_on=_AMPERE,
        source=f"vLLM 0.6.3, {_QWEN2}",
    ),
    Efficiency(
        engine="sglang",
        packings=("float", "fp8", "int8"),
        memory="hbm",
        layer_us=around(58),
        routed_us=_ROUTED_US,
        routed_basis="measured",
        bandwidth=share(0.82),
        tile_rows=64,
        compute=share(0.64),
        measured_on=_HOPPER,
        source=f"SGLang 0.4.6, {_QWEN3}",
    ),
    Efficiency(
        engine="sglang",
        packings=("int4",),
        memory="hbm",
        layer_us=around(60),
        routed_us=_ROUTED_US,
        routed_basis="measured",
        bandwidth=share(0.86),
        tile_rows=16,
        compute=share(0.33),
        measured_on=_HOPPER,
        source=f"SGLang 0.4.6, {_QWEN3}",
    ),
    Efficiency(
        engine="llama.cpp",
        packings=("float", "fp8", "int8", "int4"),
        memory="gddr",
        layer_us=around(90),
        routed_us=_ROUTED_US,
        bandwidth=share(0.88),
        measured_on=("Ampere", "Ada"),
        source=_XIONGJIE,
    ),
    Efficiency(
        engine="llama.cpp",
        packings=("float", "fp8", "int8", "int4"),
        memory="hbm",
        layer_us=around(110),
        routed_us=_ROUTED_US,
        bandwidth=share(0.6),
        measured_on=(*_AMPERE, *_HOPPER),
        source=_XIONGJIE,
    ),
    Efficiency(
        engine="llama.cpp",
        packings=("float",),
        memory="unified",
        layer_us=around(110),
        routed_us=_ROUTED_US,
        bandwidth=share(0.75),
        measured_on=_APPLE,
        source=_XIONGJIE,
    ),
    Efficiency(
        engine="llama.cpp",
        packings=("fp8", "int8", "int4"),
        memory="unified",
        layer_us=around(150),
        routed_us=_ROUTED_US,
        bandwidth=share(0.7),
        # Unpacking a weight costs as much as multiplying it with these rows.
        tile_rows=11,
        compute=share(0.8),
        measured_on=_APPLE,
        source=_XIONGJIE,
    ),
)

ALIKE = {"ollama": "llama.cpp", "mlx": "llama.cpp"}
"""Engines without figures of their own, and whose rows stand in (Ollama runs llama.cpp)."""


def memory_kind(gpu: Gpu) -> MemoryKind | None:
    """What sort of memory a card has; None where that is not known."""
    if gpu.memory_type.startswith("HBM"):
        return "hbm"
    if gpu.memory_type.startswith("GDDR"):
        return "gddr"
    return "unified" if gpu.vendor == "apple" or gpu.unified_memory else None


def efficiency(engine: str, packing: Packing, method: str, gpu: Gpu) -> Efficiency | None:
    """The row of an engine for a card; None for an engine without any.

    A card that no row was measured on gets the span of the engine's rows, and ``assumed``.
    """
    name, kind = ALIKE.get(engine, engine), memory_kind(gpu)
    rows = [row for row in ROWS if row.engine == name and packing in row.packings]
    own = [row for row in rows if row.method in method.lower()] or rows
    for row in own:
        suits = not row.architectures or gpu.architecture in row.architectures
        if suits and row.memory in (None, kind):
            met = gpu.architecture in row.measured_on and engine == name
            return row if met else replace(row, basis="assumed")
    if not own:
        return None
    return replace(
        own[0],
        layer_us=_span(row.layer_us for row in own),
        bandwidth=_span(row.bandwidth for row in own),
        basis="assumed",
        source="other cards: " + "; ".join(dict.fromkeys(row.source for row in own)),
    )


def _span(spans: Iterable[Span]) -> Span:
    kept = tuple(spans)
    return min(low for low, _ in kept), max(high for _, high in kept)

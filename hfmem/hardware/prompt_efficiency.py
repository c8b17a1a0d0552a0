"""How much of a card's peak operations an engine reaches while it reads a prompt, as rows."""

from __future__ import annotations

from msgspec import Struct

from hfmem.gpu import Gpu
from hfmem.hardware.efficiency import ALIKE, MemoryKind, Span, memory_kind, share


class PromptEfficiency(Struct, frozen=True, kw_only=True):
    """Share of a card's peak operations that a prompt reaches."""

    engines: tuple[str, ...]
    memory: MemoryKind | None = None
    architectures: tuple[str, ...] = ()
    compute: Span


PROMPT_ROWS: tuple[PromptEfficiency, ...] = (
    PromptEfficiency(
        engines=("vllm", "sglang"),
        memory="hbm",
        architectures=("Ampere",),
        compute=share(0.38),
    ),
    PromptEfficiency(engines=("vllm", "sglang"), memory="hbm", compute=share(0.45)),
    PromptEfficiency(engines=("vllm", "sglang"), compute=share(0.35)),
    PromptEfficiency(engines=("transformers",), compute=share(0.38)),
    PromptEfficiency(engines=("llama.cpp",), memory="unified", compute=share(0.55)),
    PromptEfficiency(engines=("llama.cpp",), compute=share(0.35)),
)
PROMPT_SOURCE = (
    "0.45 on H100, 0.38 on A100, 0.32 on L40S (inference-sim hardware_config.json, calibrated on "
    "vLLM), 0.35 to 0.6 elsewhere"
)


def prompt_efficiency(engine: str, gpu: Gpu) -> Span | None:
    """Share of the peak operations of a prompt, or None for an engine without a row."""
    name, kind = ALIKE.get(engine, engine), memory_kind(gpu)
    for row in PROMPT_ROWS:
        suits = not row.architectures or gpu.architecture in row.architectures
        if name in row.engines and row.memory in (None, kind) and suits:
            return row.compute
    return None

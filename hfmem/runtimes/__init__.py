"""What an engine does with memory. One file an engine; each rule cites the engine's file and
version.

The protocol is one function: ``Runtime.estimate(model, workload, group)`` gives a MemoryEstimate.

- ``group`` is the GPUs that were named, or None: then the engine answers for as many devices as
  its layout has, with a card that nothing is known of. ``class_of`` in
  ``hfmem.memory.cards`` says how large a driver context to expect of a card.
- The estimate's ``phases`` sum all devices; ``rank`` is the most loaded device, where there are
  several. A part that is not known is named in ``unknown``.
- What depends on the card is optional: ``budget_bytes`` (vLLM: ceil(total × utilization)),
  ``outside_bytes`` (what the budget does not cover), ``offloaded_bytes`` (what stays on the device
  when weights move to the host), ``pool`` (the engines that fill a card), ``refusal`` (the engine
  would not start). The layout is the engine's: transformers deals out layers, vLLM takes --tp,
  --pp, --dp and otherwise divides every layer by the group's count.
- The engine's own flags are rows of ``hfmem.flags.FLAGS``, which name the runtimes that take them;
  ``workload.flags`` holds those that were given, checked and typed.

An estimate must not shrink when the context or the batch grows: limits are found by bisection.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import cache
from typing import TYPE_CHECKING, Protocol

from msgspec import Struct

from hfmem.errors import UsageError
from hfmem.gpu import Gpu, GpuGroup
from hfmem.memory.estimate import MemoryEstimate
from hfmem.memory.workload import Workload
from hfmem.model.model import Model

if TYPE_CHECKING:
    from hfmem.memory.offload import DeviceMap
    from hfmem.model.config import Config
    from hfmem.model.media import Documents, Media
    from hfmem.runtimes.serving import Serving


class Placing(Protocol):
    """Deals a model's modules out to ``count`` devices of ``free_bytes``, and to the host."""

    def __call__(
        self, model: Model, estimate: MemoryEstimate, *, dtype: str, free_bytes: int, count: int
    ) -> DeviceMap | None: ...


class Runtime(Struct, frozen=True, kw_only=True):
    """An engine: its name, what it takes, and its arithmetic."""

    name: str
    kv_dtypes: tuple[str, ...]
    """Names that ``--kv-dtype`` takes, ``auto`` first."""
    estimate: Callable[[Model, Workload, GpuGroup | None], MemoryEstimate]
    """Raises InvalidValueError and UsageError; the latter too for a layout that the engine
    refuses."""
    small_kv_dtype: str | None = None
    """Of ``kv_dtypes``, the one to try when the cache is too large."""
    offload: Callable[[Model, Workload, MemoryEstimate, int], tuple[str, Workload]] | None = None
    """The workload with at least so many bytes less of each device's weights, which move to the
    host, and that change in words; None where the engine cannot."""
    placed: Placing | None = None
    """Where the modules go when the weights do not fit, for engines that place whole modules."""
    command: Callable[[Model, Workload, GpuGroup, MemoryEstimate], str] | None = None
    """How a person runs it: a shell command, or lines of Python."""
    ladder: tuple[str, ...] = ()
    """The schemes of the precision ladder, from the mildest on, each one that the engine loads."""
    vendors: frozenset[str] = frozenset({"nvidia", "amd"})
    """Whose cards the precision ladder looks among."""
    unrun: Callable[[str, Gpu], str | None] | None = None
    """Why a card does not run weights in a scheme; None where the engine has no rules beside the
    scheme's."""
    by_class: bool = True
    """Whether what the engine holds on a card depends on the kind of card and not on its size."""
    many: bool = True
    """Whether several devices share a model."""
    held: Callable[[Model, str | None, Workload], tuple[int, int]] | None = None
    """Bytes of the weights as published or in a scheme, on the devices and in the files, for
    engines with files of their own; None where a loader converts matrix by matrix. Raises
    UsageError where the 16-bit shapes are not known."""
    profiled: Callable[[Config, Documents], tuple[Media, ...]] | None = None
    """The largest pictures and films of a model, for an engine that measures with them what it
    needs when it starts; None where it does not."""
    serving: Callable[[Model, Workload, GpuGroup], Serving] | None = None
    """How it goes through tokens; None for one that does it as ``Serving()`` says."""
    spans_nodes: bool = False
    """Whether more than eight GPUs are stages of a pipeline."""
    versions: tuple[str, str] | None = None
    """Oldest and newest version whose rules are known, both included: ``("0.11", "0.33")``. None
    where ``NAME@VERSION`` is not taken."""


def parse_version(text: str) -> tuple[int, ...] | None:
    """``parse_version("0.19.1") == (0, 19, 1)``; None for what is no version."""
    parts = text.split(".")
    if not 2 <= len(parts) <= 4 or not all(p.isascii() and p.isdecimal() for p in parts):
        return None
    return tuple(int(part[:9]) for part in parts)


def check_version(runtime: Runtime, version: str) -> None:
    """Raises UsageError for a version whose rules are not known."""
    if runtime.versions is None:
        raise UsageError(
            f"Versions of {runtime.name} are not told apart.",
            hint=f"Write: --runtime {runtime.name}",
        )
    found = parse_version(version)
    oldest, newest = (parse_version(bound) or () for bound in runtime.versions)
    if found is None or not oldest <= found or found[: len(newest)] > newest:
        raise UsageError(
            f"There are no rules for {runtime.name} {version!r:.40}.",
            hint=f"Versions {runtime.versions[0]} to {runtime.versions[1]} are known, such as "
            f"--runtime {runtime.name}@{runtime.versions[1]}.",
        )


_FILE_TYPES = ("q8_0", "q6_k", "q5_k_m", "q4_k_m", "iq4_xs", "q3_k_m", "q2_k")
"""Of llama.cpp, the ones that repositories of GGUF files mostly hold and that need no importance
matrix."""


def _transformers() -> Runtime:
    from hfmem.memory.offload import device_map
    from hfmem.runtimes import transformers, transformers_cache
    from hfmem.runtimes.commands import transformers_snippet

    return Runtime(
        name="transformers",
        kv_dtypes=transformers_cache.KV_DTYPES,
        estimate=transformers.estimate,
        small_kv_dtype="quanto-int4",
        placed=device_map,
        command=transformers_snippet,
        ladder=("fp8", "int8", "nf4", "nf4-dq", "gptq-4bit", "awq-4bit"),
    )


def _vllm() -> Runtime:
    from hfmem.runtimes import vllm, vllm_settings, vllm_versions
    from hfmem.runtimes.commands import vllm_command

    def largest_items(config: Config, documents: Documents) -> tuple[Media, ...]:
        # Few models have an encoder.
        from hfmem.runtimes import vllm_encoder

        return vllm_encoder.largest_items(config, documents)

    return Runtime(
        name="vllm",
        kv_dtypes=vllm_settings.KV_DTYPES,
        estimate=vllm.estimate,
        small_kv_dtype="fp8",
        offload=vllm.offload_gib,
        command=vllm_command,
        profiled=largest_items,
        serving=vllm_settings.serving,
        ladder=("fp8", "int8", "nf4", "gptq-4bit", "awq-4bit", "nvfp4"),
        by_class=False,
        spans_nodes=True,
        versions=(vllm_versions.OLDEST, vllm_versions.NEWEST),
    )


def _llama_cpp() -> Runtime:
    from hfmem.runtimes import llama_cpp, llama_cpp_command, llama_cpp_settings

    return Runtime(
        name="llama.cpp",
        ladder=_FILE_TYPES,
        held=llama_cpp.held,
        kv_dtypes=llama_cpp_settings.KV_DTYPES,
        estimate=llama_cpp.estimate,
        small_kv_dtype="q8_0",
        offload=llama_cpp_command.to_host,
        serving=llama_cpp_settings.serving,
        command=llama_cpp_command.llama_server,
    )


def _ollama() -> Runtime:
    from hfmem.runtimes import llama_cpp_settings, ollama

    return Runtime(
        name="ollama",
        ladder=ollama.FILE_TYPES,
        by_class=False,
        held=ollama.held,
        kv_dtypes=ollama.KV_DTYPES,
        estimate=ollama.estimate,
        small_kv_dtype="q8_0",
        offload=ollama.to_host,
        serving=llama_cpp_settings.serving,
        command=ollama.serve_and_run,
    )


def _mlx() -> Runtime:
    from hfmem.runtimes import mlx, mlx_command, mlx_weights

    return Runtime(
        name="mlx",
        ladder=("mlx-8bit", "mlx-6bit", "mlx-5bit", "mlx-4bit", "mlx-3bit"),
        vendors=frozenset({"apple"}),
        many=False,
        held=mlx_weights.bytes_in,
        kv_dtypes=mlx.KV_DTYPES,
        estimate=mlx.estimate,
        small_kv_dtype="q8",
        command=mlx_command.generate,
    )


def _sglang() -> Runtime:
    from hfmem.runtimes import sglang, sglang_command, sglang_settings, sglang_support

    return Runtime(
        name="sglang",
        kv_dtypes=sglang_settings.KV_DTYPES,
        estimate=sglang.estimate,
        small_kv_dtype="fp8_e4m3",
        command=sglang_command.launch_server,
        serving=sglang_settings.serving,
        ladder=("fp8", "gptq-8bit", "gptq-4bit", "awq-4bit"),
        unrun=sglang_support.unrun_scheme,
        by_class=False,
        spans_nodes=True,
    )


class _Runtimes(Mapping[str, Runtime]):
    """The engines by name, in the order in which they are shown; each is imported when it is
    asked."""

    def __getitem__(self, name: str) -> Runtime:
        return _made(name)

    def __iter__(self) -> Iterator[str]:
        return iter(_MAKERS)

    def __len__(self) -> int:
        return len(_MAKERS)


@cache
def _made(name: str) -> Runtime:
    return _MAKERS[name]()


_MAKERS: Mapping[str, Callable[[], Runtime]] = {
    "transformers": _transformers,
    "vllm": _vllm,
    "llama.cpp": _llama_cpp,
    "ollama": _ollama,
    "mlx": _mlx,
    "sglang": _sglang,
}
RUNTIMES: Mapping[str, Runtime] = _Runtimes()
ALL = "all"
"""What ``--runtime`` takes for every one of them."""

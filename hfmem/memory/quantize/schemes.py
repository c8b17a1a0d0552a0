"""The schemes by name: what their loaders convert, into how many bytes, on which cards."""

from __future__ import annotations

import re
from collections.abc import Callable

from msgspec import Struct

from hfmem.errors import UsageError
from hfmem.gpu import Gpu
from hfmem.memory.quantize import sizes
from hfmem.memory.quantize.llama_file_types import FILE_TYPES
from hfmem.memory.quantize.matrices import Kind
from hfmem.memory.quantize.sizes import Size


class Scheme(Struct, frozen=True, kw_only=True):
    """A way to hold weights."""

    name: str
    kinds: frozenset[Kind]
    """What its loader converts; empty for a file type of llama.cpp, which types every tensor."""
    bytes: Size
    """Of a weight [out, in], scales included."""
    applies: Callable[[int, int], bool]
    """Whether a weight [out, in] can be converted; the others stay as they are."""
    source: str
    note: str = ""
    made: bool = False
    """It needs a checkpoint made so; otherwise the loader converts as it reads."""
    file_type: str | None = None
    """A file type of llama.cpp: ``Q4_K_M``."""
    vendors: frozenset[str] = frozenset({"nvidia", "amd"})
    """Whose cards its kernels run on."""
    capability: tuple[int, int] = (0, 0)
    """Least CUDA compute capability."""
    pipelines: bool = False
    """diffusers converts with it too, every component as it loads (diffusers 0.42
    quantizers/auto.py: AUTO_QUANTIZER_MAPPING, pipe_quant_config.py: _resolve_quant_config)."""


def _always(_out: int, _in: int) -> bool:
    return True


def _rows_of(group: int, *, outputs: int = 1) -> Callable[[int, int], bool]:
    return lambda out, in_: in_ % group == 0 and out % outputs == 0


_DENSE: frozenset[Kind] = frozenset({"linear", "tower"})
_LANGUAGE: frozenset[Kind] = frozenset({"linear", "experts"})
_ALL: frozenset[Kind] = frozenset({"linear", "experts", "tower"})
_MLX: frozenset[Kind] = frozenset({"linear", "experts", "embedding", "head"})
_NVIDIA = frozenset({"nvidia"})
_EVERYWHERE = frozenset({"nvidia", "amd", "apple", "intel", "cpu"})
_BITSANDBYTES = "bitsandbytes 0.50 functional.py; transformers 5.23 integrations/bitsandbytes.py"
_VLLM_BITSANDBYTES = (
    "bitsandbytes 0.50 functional.py; vllm-bnb-plugin 0.0.2, vLLM's own loader before 0.28"
)
_FP8 = "transformers 5.23 integrations/finegrained_fp8.py, quantizers/quantizer_finegrained_fp8.py"
_COMPRESSED = "compressed-tensors 0.15 float-quantized"
_TORCHAO = "torchao 0.18 quantization; transformers 5.23 quantizers/quantizer_torchao.py"


def _bitsandbytes(name: str, size: Size, *, made: bool | None = None) -> Scheme:
    """In transformers, or, where ``made`` is said, in vLLM."""
    return Scheme(
        name=name,
        kinds=_DENSE if made is None else _ALL,
        bytes=size,
        applies=_always,
        note="" if made is None else "needs vllm-bnb-plugin since vLLM 0.28",
        made=bool(made),
        pipelines=made is None,
        # bitsandbytes 0.50 docs, installation: NF4 from compute capability 6.0, LLM.int8 from 7.5;
        # AMD, Intel XPUs, Apple silicon and CPUs too.
        vendors=_EVERYWHERE if made is None else frozenset({"nvidia", "amd"}),
        capability=(7, 5) if name == "int8" else (6, 0),
        source=_BITSANDBYTES if made is None else _VLLM_BITSANDBYTES,
    )


def _fp8(name: str, size: Size, *, block: bool, note: str, source: str, made: bool) -> Scheme:
    return Scheme(
        name=name,
        kinds=_ALL,
        bytes=size,
        applies=_rows_of(128, outputs=128) if block else _always,
        note=f"{note}; needs compute capability 8.9",
        source=source,
        made=made,
        vendors=_NVIDIA,
        capability=(8, 9),
    )


def _torchao(name: str, size: Size, *, note: str, group: int = 1) -> Scheme:
    return Scheme(
        name=name,
        kinds=_DENSE,
        bytes=size,
        applies=_rows_of(group),
        note=note,
        source=_TORCHAO,
        pipelines=True,
        capability=(8, 9) if name == "torchao-fp8" else (0, 0),
    )


_MXFP4 = Scheme(
    name="mxfp4",
    kinds=_LANGUAGE,
    bytes=sizes.microscaled(32),
    applies=_rows_of(32),
    note="groups of 32; needs compute capability 7.5 and, in transformers, Triton and kernels",
    source="transformers 5.23 quantizers/quantizer_mxfp4.py; OCP Microscaling Formats 1.0",
    made=True,
    capability=(7, 5),
)
_NVFP4 = Scheme(
    name="nvfp4",
    kinds=_LANGUAGE,
    bytes=sizes.microscaled(16, extra=8),
    applies=_rows_of(16),
    note="groups of 16; computes in FP4 from compute capability 10.0",
    source="nvidia-modelopt 0.47; vLLM 0.33 quantization/modelopt.py",
    made=True,
    vendors=_NVIDIA,
    capability=(7, 5),
)
_NVFP4_TRANSFORMERS = Scheme(
    name="nvfp4",
    kinds=_DENSE,
    bytes=sizes.nvfp4_twice,
    applies=_rows_of(16, outputs=16),
    note="block scales in two layouts; needs compute capability 10.0",
    source="transformers 5.23 integrations/nvfp4.py, quantizers/quantizer_nvfp4.py",
    vendors=_NVIDIA,
    capability=(10, 0),
)

_FIXED: dict[str, Scheme] = {
    one.name: one
    for one in (
        _fp8(
            "fp8",
            sizes.fp8_block,
            block=True,
            note="blocks of 128 × 128",
            source=_FP8,
            made=False,
        ),
        _fp8(
            "fp8-channel",
            sizes.fp8_channel,
            block=False,
            note="a scale a row",
            source=_COMPRESSED,
            made=True,
        ),
        _fp8(
            "fp8-tensor",
            sizes.fp8_tensor,
            block=False,
            note="a scale a tensor",
            source=_COMPRESSED,
            made=True,
        ),
        _bitsandbytes("int8", sizes.int8),
        _bitsandbytes("nf4", sizes.nf4),
        _bitsandbytes("nf4-dq", sizes.nf4_double),
        _MXFP4,
        _NVFP4_TRANSFORMERS,
        _torchao("torchao-int8", lambda out, in_: out * in_ + 2 * out, note="a scale a row"),
        _torchao(
            "torchao-fp8",
            sizes.fp8_channel,
            note="a scale a row; needs compute capability 8.9",
        ),
    )
}
# vLLM quantizes experts too. It makes FP8 with one scale a tensor as it loads, on cards without FP8
# for storage alone (Marlin); NF4 with a plugin; 8-bit integers and double quantization not at all.
_VLLM: dict[str, Scheme] = {
    "fp8": Scheme(
        name="fp8",
        kinds=_ALL,
        bytes=sizes.fp8_tensor,
        applies=_always,
        note="a scale a tensor; computes in FP8 from compute capability 8.9",
        source="vLLM 0.33 quantization/online/fp8.py, kernels/linear/scaled_mm/marlin.py",
        vendors=_NVIDIA,
        capability=(7, 5),
    ),
    "int8": Scheme(
        name="int8",
        kinds=_LANGUAGE,
        bytes=sizes.int8,
        applies=_always,
        note="a scale a row",
        source="compressed-tensors 0.15 int-quantized; vLLM 0.33 compressed_tensors_w8a8_int8.py",
        made=True,
    ),
    "nf4": _bitsandbytes("nf4", sizes.nf4, made=False),
    "nf4-dq": _bitsandbytes("nf4-dq", sizes.nf4_double, made=True),
    "nvfp4": _NVFP4,
}
_ALIASES = {"fp8-block": "fp8", "bnb-int8": "int8", "bnb-nf4": "nf4", "nf4-double": "nf4-dq"}
_GROUPED = re.compile(
    r"(?P<method>gptq|awq|hqq|mlx)-(?P<bits>\d)bit(?:-g(?P<group>\d{1,5}))?", re.ASCII
)
_TORCHAO_INT4 = re.compile(r"torchao-int4(?:-g(?P<group>\d{1,5}))?", re.ASCII)
_BITS = {"gptq": (2, 3, 4, 8), "awq": (4,), "hqq": (1, 2, 3, 4, 8), "mlx": (2, 3, 4, 5, 6, 8)}
_GROUP = {"gptq": 128, "awq": 128, "hqq": 64, "mlx": 64}
_MLX_GROUPS = (32, 64, 128)


def scheme(name: str, *, runtime: str = "transformers") -> Scheme:
    """The scheme of a name, by the rules of a runtime's loader. Raises UsageError with the choices.

    ``scheme("gptq-4bit-g64").bytes(4096, 4096)`` has a scale for every 64 inputs;
    ``scheme("q4_k_m").file_type == "Q4_K_M"``.
    """
    wanted = name.strip().lower()
    wanted = _ALIASES.get(wanted, wanted)
    if runtime == "vllm" and wanted in _VLLM:
        return _VLLM[wanted]
    if (found := _FIXED.get(wanted)) is not None:
        return found
    if (match := _GROUPED.fullmatch(wanted)) is not None and (
        grouped := _grouped(wanted, match["method"], int(match["bits"]), match["group"])
    ):
        return grouped
    if (match := _TORCHAO_INT4.fullmatch(wanted)) is not None:
        group = int(match["group"] or 128)
        if group in (32, 64, 128, 256):
            note = f"groups of {group}"
            return _torchao(wanted, sizes.affine(4, group), note=note, group=group)
    if (file_type := FILE_TYPES.get(wanted)) is not None:
        return _llama(wanted, file_type.name, imatrix=file_type.needs_imatrix)
    raise UsageError(
        f"There is no quantization {name!r:.60}.", hint=f"Choose one of: {', '.join(choices())}."
    )


def refusal(scheme: Scheme, gpu: Gpu) -> str | None:
    """Why a scheme does not run on a card; None where it does.

    FP8 needs compute capability 8.9, which an A100 lacks; MLX runs on Apple silicon.
    """
    if not gpu.vendor:
        return None
    if gpu.vendor not in scheme.vendors:
        return f"{scheme.name} does not run on {gpu.name}"
    if gpu.vendor == "nvidia" and _capability(gpu) < scheme.capability:
        major, minor = scheme.capability
        return (
            f"{scheme.name} needs compute capability {major}.{minor}, {gpu.name} has "
            f"{gpu.compute_capability or 'an unknown one'}"
        )
    return None


def _capability(gpu: Gpu) -> tuple[int, int]:
    major, _, minor = gpu.compute_capability.partition(".")
    return (int(major), int(minor)) if major.isdigit() and minor.isdigit() else (0, 0)


def choices() -> tuple[str, ...]:
    """The names, with the usual bits and groups of the methods that take any."""
    return (
        *_FIXED,
        *("gptq-4bit", "gptq-4bit-g64", "gptq-8bit", "awq-4bit", "awq-4bit-g64", "hqq-4bit"),
        *("torchao-int4", "mlx-4bit", "mlx-8bit"),
        *FILE_TYPES,
    )


def pipeline_choices() -> tuple[str, ...]:
    """The names of what diffusers converts with."""
    return (*(name for name, one in _FIXED.items() if one.pipelines), "torchao-int4")


def _grouped(name: str, method: str, bits: int, group_text: str | None) -> Scheme | None:
    group = int(group_text) if group_text else _GROUP[method]
    if bits not in _BITS[method] or not 8 <= group <= 2**14:
        return None
    match method:
        case "gptq" | "awq":
            size = sizes.gptq(bits, group) if method == "gptq" else sizes.awq(bits, group)
            source = (
                "GPTQModel nn_modules/qlinear/__init__.py"
                if method == "gptq"
                else "AutoAWQ modules/linear/gemm.py"
            )
            return Scheme(
                name=name,
                kinds=_LANGUAGE,
                bytes=size,
                applies=_rows_of(group, outputs=32 // bits if 32 % bits == 0 else 32),
                note=f"groups of {group}",
                source=source,
                made=True,
            )
        case "hqq":
            return Scheme(
                name=name,
                kinds=_DENSE,
                bytes=sizes.hqq(bits, group),
                applies=_rows_of(group),
                note=f"groups of {group}",
                source="hqq core/quantize.py, core/bitpack.py; transformers 5.23 "
                "quantizers/quantizer_hqq.py",
            )
        case _:
            if group not in _MLX_GROUPS:
                return None
            return Scheme(
                name=name,
                kinds=_MLX,
                bytes=sizes.affine(bits, group),
                applies=_rows_of(group),
                note=f"groups of {group}; for MLX on Apple silicon",
                source="mlx 0.31 nn/layers/quantized.py",
                made=True,
                vendors=frozenset({"apple"}),
            )


def _llama(name: str, file_type: str, *, imatrix: bool) -> Scheme:
    note = "a file of llama.cpp" + ("; its quantizer asks for an importance matrix" * imatrix)
    return Scheme(
        name=name,
        kinds=frozenset(),
        bytes=lambda out, in_: 2 * out * in_,
        applies=_always,
        note=note,
        source="llama.cpp src/llama-quant.cpp (commit 007dbbf)",
        made=True,
        file_type=file_type,
        vendors=_EVERYWHERE,
    )

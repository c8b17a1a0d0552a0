"""What transformers makes of a packed checkpoint: kept packed, or expanded, and when.

One rule a quantizer; a format without a rule stays as it is stored. Engines such as vLLM keep all
of these packed and take no rule from here.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

from msgspec import Struct

from hfmem.checkpoint.ggml import is_block_type
from hfmem.gpu import Gpu
from hfmem.memory.workload import Device
from hfmem.model.model import Model
from hfmem.model.weights import WeightRun


class Place(Struct, frozen=True, kw_only=True):
    """Where the weights go."""

    device: Device
    capability: tuple[int, int] | None
    """CUDA compute capability; None where no card is named or it has none."""


class Rule(Struct, frozen=True, kw_only=True):
    """What a quantizer of transformers does with its checkpoints."""

    applies: Callable[[Model], bool]
    expands: Callable[[Place], bool]
    """Whether the weights end in a float type, in the environment that ``note`` names."""
    other: Callable[[Place], bool]
    """Whether the other outcome is possible there too."""
    at_first_pass: bool = False
    """The expansion comes with the first forward pass, not while loading."""
    keeps_scales: bool = False
    """Scales stay beside the expanded weights."""
    note: str
    """What happens, and on what it depends."""
    source: str


def place(device: Device, gpu: Gpu | None) -> Place:
    """The place that a device and a card are."""
    major, _, minor = (gpu.compute_capability if gpu else "").partition(".")
    known = major.isdigit() and minor.isdigit()
    return Place(device=device, capability=(int(major), int(minor)) if known else None)


def _method(*names: str) -> Callable[[Model], bool]:
    return lambda model: model.quantization in names


def _holds(text: str) -> Callable[[Model], bool]:
    return lambda model: any(text in (weight.format or "") for weight in model.weights or ())


def _is_gguf(model: Model) -> bool:
    return any(is_block_type(weight.run.dtype) for weight in model.weights or ())


# transformers 5.23 integrations/gguf: the architectures that its quantizer takes.
_PACKED_GGUF = frozenset({"qwen35", "qwen35moe", "lfm2"})


def _is_old(place: Place, least: tuple[int, int]) -> bool:
    return place.capability is not None and place.capability < least


def _always(_: Place) -> bool:
    return True


def _never(_: Place) -> bool:
    return False


def _on_gpu(place: Place) -> bool:
    return place.device in ("cuda", "rocm")


RULES: tuple[Rule, ...] = (
    Rule(
        applies=lambda model: _method("compressed-tensors")(model) and not _holds("FP8")(model),
        expands=_always,
        other=_never,
        at_first_pass=True,
        keeps_scales=True,
        note="compressed-tensors loads packed and expands the whole model on its first forward "
        "pass; vLLM keeps it packed",
        source="transformers 5.23 quantizers/quantizer_compressed_tensors.py; compressed-tensors "
        "0.15 model_compressor.py: ct_decompress_hook",
    ),
    Rule(
        applies=_method("compressed-tensors"),
        expands=_always,
        other=lambda place: place.device != "cpu" and not _is_old(place, (8, 9)),
        at_first_pass=True,
        keeps_scales=True,
        note="compressed-tensors expands FP8 on the first forward pass; with "
        "CompressedTensorsConfig(use_optimized_inference=True) and compute capability 8.9 it stays",
        source="transformers 5.23 quantizers/quantizer_compressed_tensors.py",
    ),
    Rule(
        applies=lambda model: _method("mxfp4")(model) or _holds("MXFP4 blocks")(model),
        expands=lambda place: not _on_gpu(place) or _is_old(place, (7, 5)),
        other=lambda place: _on_gpu(place) and not _is_old(place, (7, 5)),
        note="MXFP4 stays packed with Triton 3.4 and the package kernels, as the models' cards "
        "install them, on compute capability 7.5; without any of them, or on a CPU, transformers "
        "expands it to 16 bits",
        source="transformers 5.23 quantizers/quantizer_mxfp4.py: validate_environment",
    ),
    Rule(
        applies=_method("fp8", "mxfp8"),
        expands=lambda place: not _on_gpu(place) or _is_old(place, (8, 9)),
        other=lambda place: _on_gpu(place) and place.capability is None,
        note="FP8 stays on a GPU of compute capability 8.9 (RTX 40, H100) or newer; on an older "
        "one, or on a CPU, transformers expands it to 16 bits",
        source="transformers 5.23 quantizers/quantizer_finegrained_fp8.py: validate_environment",
    ),
    Rule(
        applies=_method("metal"),
        expands=lambda place: place.device != "mps",
        other=_never,
        note="Metal's format stays packed on Apple silicon alone; elsewhere it is expanded",
        source="transformers 5.23 quantizers/quantizer_metal.py: validate_environment",
    ),
    Rule(
        applies=lambda model: _is_gguf(model) and model.gguf_architecture in _PACKED_GGUF,
        expands=lambda place: not _on_gpu(place),
        other=_on_gpu,
        note="GGUF of this architecture stays packed with the package kernels; without it "
        "transformers expands it to a float type",
        source="transformers 5.23 quantizers/quantizer_gguf.py",
    ),
    Rule(
        applies=_is_gguf,
        expands=_always,
        other=_never,
        note="transformers expands GGUF of this architecture to a float type; llama.cpp keeps it "
        "packed",
        source="transformers 5.23 quantizers/quantizer_gguf.py",
    ),
)

GGUF_LOADED = frozenset(
    {
        *("llama", "qwen2", "qwen2moe", "gpt-oss", "lfm2", "qwen3", "qwen3moe", "falcon", "phi3"),
        *("bloom", "t5", "t5encoder", "stablelm", "gpt2", "starcoder2", "mamba", "nemotron"),
        *("gemma2", "gemma3", "gemma4", "deci", "minimax-m2", "qwen35", "qwen35moe"),
    }
)
"""Architectures of GGUF files that transformers loads (transformers 5.23 integrations/ggml.py:
GGUF_CONFIG_MAPPING, integrations/gguf/gguf_conversion_mapping.py: GGUF_ARCHS, and the names that
modeling_gguf_pytorch_utils.py: load_gguf_checkpoint translates)."""

# transformers 5.23 quantizers/auto.py: AUTO_QUANTIZER_MAPPING.
METHODS = frozenset(
    {
        *(
            "awq",
            "bitsandbytes",
            "bitsandbytes_4bit",
            "bitsandbytes_8bit",
            "gptq",
            "aqlm",
            "quanto",
        ),
        *("quark", "fouroversix", "fp_quant", "eetq", "higgs", "hqq", "compressed-tensors"),
        *("fbgemm_fp8", "torchao", "bitnet", "vptq", "spqr", "fp8", "gguf", "nvfp4", "mxfp8"),
        *("auto-round", "mxfp4", "metal", "sinq", "gemma"),
    }
)


@lru_cache(maxsize=64)
def rule_of(model: Model) -> Rule | None:
    """The rule of a model's checkpoint; None where nothing is expanded."""
    return next((rule for rule in RULES if rule.applies(model)), None)


def expanded_bytes(weight: WeightRun, *, width: int, keeps_scales: bool) -> int | None:
    """Bytes of a packed run after expansion; None where it is no part of a packed weight.

    gpt-oss-20b's experts: 19,110,297,600 parameters are 38,220,595,200 bytes.
    """
    if is_block_type(weight.run.dtype):
        return weight.run.elements * weight.run.count * width
    if weight.role == "weight" and weight.logical is not None:
        return weight.logical * weight.run.count * width
    if weight.role in ("scale", "zero_point", "bookkeeping") and not keeps_scales:
        return 0
    return None

"""Which quantized weights SGLang runs on which card.

SGLang 0.5.23 srt/layers/quantization (QUANTIZATION_METHODS, get_min_capability of each, which
model_loader/loader.py asks), configs/model_config.py (_verify_quantization).
"""

from __future__ import annotations

from hfmem.gpu import Gpu
from hfmem.model.model import Model
from hfmem.runtimes.sglang_settings import capability

_LEAST = {
    "awq": (7, 5),
    # It becomes gptq_marlin, or is no method of an NVIDIA card (marlin_utils.py:
    # query_marlin_supported_quant_types).
    "gptq": (8, 0),
    **dict.fromkeys(("fp8", "mxfp4", "modelopt_fp4"), (8, 0)),
}
_ON_AMD = frozenset(
    {
        *("awq", "fp8", "compressed_tensors", "compressed-tensors", "w8a8_fp8", "petit_nvfp4"),
        *("quark", "mxfp4", "mxfp8", "auto-round", "auto-round-int8", "quark_int4fp8_moe"),
        "quark_mxfp4",
    }
)
_SCHEMES = {
    "fp8": "fp8",
    **dict.fromkeys(("fp8-channel", "fp8-tensor"), "compressed-tensors"),
    **dict.fromkeys(("int8", "nf4", "nf4-dq"), "bitsandbytes"),
    **dict.fromkeys(("gptq", "awq", "hqq", "mlx", "mxfp4"), ""),
    "nvfp4": "modelopt_fp4",
}
"""The method of a scheme's checkpoints; empty where it has the scheme's own name."""
_NONE = frozenset({"hqq", "mlx"})
"""Methods that it has not, MLX's on Apple's machines apart."""


def unrun_scheme(scheme: str, gpu: Gpu) -> str | None:
    """Why a card does not run weights in a scheme; None where it does.

    A T4 takes awq-4bit but no gptq-4bit, an MI300X the same.
    """
    name = scheme if scheme in _SCHEMES else scheme.partition("-")[0]
    return _unrun(_SCHEMES.get(name, "") or name, gpu)


def unrun(model: Model, quantize: str | None, gpu: Gpu) -> str | None:
    """Why a card does not run a model's weights, as published or in a scheme; None where it does.

    gpt-oss is MXFP4, which a T4 does not run.
    """
    if quantize is not None:
        return unrun_scheme(quantize, gpu)
    return _unrun((model.quantization or "").lower(), gpu)


def _unrun(method: str, gpu: Gpu) -> str | None:
    if method in _NONE:
        return f"SGLang does not load weights quantized with {method}."
    if gpu.vendor == "amd" and method in {*_LEAST, "bitsandbytes"} - _ON_AMD:
        return f"SGLang does not run {method} on AMD's cards."
    found, least = capability(gpu), _LEAST.get(method)
    if found is None or least is None or found >= least:
        return None
    return (
        f"SGLang needs compute capability {least[0]}.{least[1]} for {method}; {gpu.name} has "
        f"{found[0]}.{found[1]}."
    )

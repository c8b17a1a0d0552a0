"""How quantized weights lie in files: one entry a format, recognised by the tensors beside a
weight.

The tensors decide, not the configuration: a format is what has its scales where the format puts
them.
"""

from __future__ import annotations

from collections.abc import Mapping

from hfmem.checkpoint.packed_format import Format, Role
from hfmem.checkpoint.packed_formats_rare import RARE_FORMATS
from hfmem.checkpoint.packed_sizes import (
    as_stored,
    by_settings,
    byte_blocks,
    gptq,
    grouped_words,
    hqq,
    int8_or_fp4,
    two_a_byte,
)

GPTQ = "GPTQ or AWQ"

_F8 = frozenset({"F8_E4M3", "F8_E5M2", "F8_E4M3FNUZ", "F8_E5M2FNUZ"})
_LOW_FLOATS = _F8 | {"F4", "F6_E2M3", "F6_E3M2"}
_U8 = frozenset({"U8"})
_I8 = frozenset({"I8"})
_I32 = frozenset({"I32"})
_ANY = frozenset({"U8", "I8", "I16", "I32", "I64", "U32", "F16", "BF16", "F32"})


_SCALES_OF_ACTIVATIONS: Mapping[str, Role] = {
    ".input_scale": "scale",
    ".input_global_scale": "scale",
    ".input_zero_point": "zero_point",
    ".output_scale": "scale",
    ".activation_scale": "scale",
    ".input_activation_scale": "scale",
    ".output_activation_scale": "scale",
    ".pre_quant_scale": "scale",
}
_WEIGHT_SCALES: Mapping[str, Role] = {
    ".weight_scale": "scale",
    ".weight_scale_2": "scale",
    ".weight_scale_inv": "scale",
    ".weight_global_scale": "scale",
    ".weight_zero_point": "zero_point",
    ".scale": "scale",
    **_SCALES_OF_ACTIVATIONS,
}
_FUSED_SCALES: Mapping[str, Role] = {
    "_scale": "scale",
    "_scale_inv": "scale",
    "_scale_2": "scale",
    "_weight_scale": "scale",
    "_weight_scale_2": "scale",
    "_weight_scale_inv": "scale",
    "_input_scale": "scale",
}

# HQQLinear.state_dict stores its settings as tensors.
_HQQ_SETTINGS = (
    ".nbits",
    ".group_size",
    ".shape",
    ".axis",
    ".packing",
    ".compute_dtype",
    ".channel_wise",
    ".optimize",
    ".round_zero",
    ".view_as_float",
    ".unpack_view_dtype",
    ".quant_scale",
    ".quant_zero",
    ".offload_meta",
    ".encoded_state_dict",
    ".stores_quant_config",
)

FORMATS: tuple[Format, ...] = (
    Format(
        name="bitsandbytes 4-bit",
        weight="",
        dtypes=_ANY,
        needs=(".absmax",),
        parts={
            ".absmax": "scale",
            ".nested_absmax": "scale",
            ".quant_map": "bookkeeping",
            ".nested_quant_map": "bookkeeping",
            ".quant_state.bitsandbytes__nf4": "bookkeeping",
            ".quant_state.bitsandbytes__fp4": "bookkeeping",
        },
        logical=two_a_byte,
        source="bitsandbytes, functional.py: QuantState.as_dict; the last byte may hold one value",
    ),
    Format(
        name="bitsandbytes int8",
        weight=".weight",
        dtypes=_I8,
        needs=(".SCB",),
        parts={".SCB": "scale", ".weight_format": "bookkeeping"},
        logical=as_stored,
        source="bitsandbytes, nn/modules.py: Linear8bitLt._save_to_state_dict",
    ),
    Format(
        name=GPTQ,
        weight=".qweight",
        dtypes=_I32,
        needs=(".scales",),
        parts={".scales": "scale", ".qzeros": "zero_point", ".g_idx": "bookkeeping"},
        logical=gptq,
        source="GPTQModel, nn_modules/qlinear: qweight [K*b/32, N]; AutoAWQ, gemm: [K, N*b/32]",
    ),
    Format(
        name="compressed-tensors, packed",
        weight=".weight_packed",
        dtypes=_I32,
        needs=(".weight_scale",),
        parts={**_WEIGHT_SCALES, ".weight_shape": "bookkeeping", ".weight_g_idx": "bookkeeping"},
        logical=grouped_words,
        source="compressed-tensors, compressors/pack_quantized: words without gaps in a row",
    ),
    Format(
        name="compressed-tensors, FP4",
        weight=".weight_packed",
        dtypes=_U8,
        needs=(".weight_scale",),
        parts=_WEIGHT_SCALES,
        logical=two_a_byte,
        source="compressed-tensors, compressors/nvfp4 and mxfp4: weight_packed U8 [N, K/2]",
    ),
    Format(
        name="MXFP4 blocks",
        weight="_blocks",
        dtypes=_U8,
        needs=("_scales",),
        parts={"_scales": "scale"},
        logical=two_a_byte,
        source="transformers 5.23.0, integrations/mxfp4.py: blocks [E, N, K/32, 16]",
    ),
    Format(
        name="FP8",
        weight=".weight",
        dtypes=_LOW_FLOATS,
        needs=(".weight_scale_inv", ".weight_scale", ".scale"),
        parts=_WEIGHT_SCALES,
        logical=as_stored,
        source="transformers 5.23.0, integrations/finegrained_fp8.py; modelopt; fbgemm_fp8",
    ),
    Format(
        name="FP8, fused experts",
        weight="",
        dtypes=_LOW_FLOATS,
        needs=("_scale", "_scale_inv", "_weight_scale", "_weight_scale_inv"),
        parts=_FUSED_SCALES,
        logical=as_stored,
        source="transformers 5.23.0, integrations/finegrained_fp8.py and fbgemm_fp8.py: experts",
    ),
    Format(
        name="int8, or FP4 in int8",
        weight=".weight",
        dtypes=_I8,
        needs=(".weight_scale", ".scale", ".weight_scale_inv"),
        parts=_WEIGHT_SCALES,
        logical=int8_or_fp4,
        source="compressed-tensors, int-quantized; DeepSeek-V4, expert_dtype fp4: I8 [N, K/2]",
    ),
    Format(
        name="FP4 in int8, fused experts",
        weight="",
        dtypes=_I8,
        needs=("_scale", "_scale_inv"),
        parts=_FUSED_SCALES,
        logical=int8_or_fp4,
        source="transformers 5.23.0, integrations/finegrained_fp8.py: expert_dtype fp4",
    ),
    Format(
        name="NVFP4, MXFP4 or BitNet",
        weight=".weight",
        dtypes=_U8,
        needs=(".weight_scale",),
        parts=_WEIGHT_SCALES,
        logical=byte_blocks,
        source="nvidia-modelopt 0.47.0; AMD Quark; transformers 5.23.0, integrations/bitnet.py",
    ),
    Format(
        name="NVFP4, fused experts",
        weight="",
        dtypes=_U8,
        needs=("_weight_scale",),
        parts=_FUSED_SCALES,
        logical=byte_blocks,
        source="nvidia-modelopt 0.47.0, Llama 4: experts.gate_up_proj_weight_scale",
    ),
    Format(
        name="MLX",
        weight=".weight",
        dtypes=frozenset({"U32"}),
        needs=(".scales",),
        parts={
            ".scales": "scale",
            ".biases": "zero_point",
            ".qbiases": "zero_point",
            ".global_scale": "scale",
        },
        logical=grouped_words,
        source="mlx-lm 0.32.2, QuantizedLinear: weight U32 [N, K*b/32], scales [N, K/g]",
    ),
    Format(
        name="HQQ",
        weight=".W_q",
        dtypes=_ANY,
        needs=(".scale", ".meta.scale"),
        parts={
            ".scale": "scale",
            ".zero": "zero_point",
            ".meta.scale": "scale",
            ".meta.zero": "zero_point",
            **dict.fromkeys(_HQQ_SETTINGS, "bookkeeping"),
        },
        logical=hqq,
        source="hqq, core/quantize.py: HQQLinear.state_dict; bitpack.py",
    ),
    Format(
        name="torchao, 8-bit",
        weight="._weight_qdata",
        dtypes=_I8 | _F8,
        needs=("._weight_scale",),
        parts={"._weight_scale": "scale", "._weight_zero_point": "zero_point"},
        logical=as_stored,
        source="torchao 0.18.0: Int8Tensor and Float8Tensor in safetensors",
    ),
    Format(
        name="torchao, packed",
        weight="._weight_qdata",
        dtypes=_U8 | _I32,
        needs=("._weight_scale", "._weight_scale_and_zero", "._weight_group_scale"),
        parts={
            "._weight_scale": "scale",
            "._weight_scale_and_zero": "scale",
            "._weight_group_scale": "scale",
            "._weight_zero_point": "zero_point",
            "._weight_act_pre_scale": "scale",
        },
        logical=by_settings,
        source="torchao 0.18.0: Int4Tensor in safetensors, qdata [N, K/2]",
    ),
    Format(
        name="quanto, 8-bit",
        weight=".weight._data",
        dtypes=_I8 | _F8,
        needs=(".weight._scale",),
        parts={".weight._scale": "scale", **_SCALES_OF_ACTIVATIONS},
        logical=as_stored,
        source="optimum-quanto 0.2.7: WeightQBytesTensor",
    ),
    Format(
        name="quanto, packed",
        weight=".weight._data",
        dtypes=_U8,
        needs=(".weight._scale",),
        parts={
            ".weight._scale": "scale",
            ".weight._shift": "zero_point",
            **_SCALES_OF_ACTIVATIONS,
        },
        logical=by_settings,
        source="optimum-quanto 0.2.7: WeightQBitsTensor, 8/b values in a byte",
    ),
    *RARE_FORMATS,
)
"""In this order; the first that fits a tensor has it."""

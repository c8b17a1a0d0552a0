"""Packed tensors: every format's layout, published counts, and what must not be guessed."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Mapping
from math import prod
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hfmem.checkpoint.packed import Packing, packing
from hfmem.checkpoint.packed_formats import FORMATS
from hfmem.checkpoint.tensor import Tensor, TensorRun, brace_count, runs, total_bytes
from hfmem.dtypes import BITS

N, K = 4096, 11008
WEIGHTS = N * K
P = "model.layers.{0..31}.mlp.down_proj"


def run(name: str, dtype: str, *shape: int) -> TensorRun:
    return TensorRun(
        name=name,
        dtype=dtype,
        shape=shape,
        bytes=prod(shape) * BITS[dtype] // 8,
        count=brace_count(name),
    )


def pack(*tensors: TensorRun, **settings: Any) -> Packing:
    config = {"quantization_config": settings} if settings else {}
    return packing(tensors, config=config, documents={})


def parameters(tensors: tuple[TensorRun, ...], found: Packing) -> int:
    total = 0
    for tensor in tensors:
        logical = found.logical(tensor)
        assert logical is not None, tensor.name
        total += logical * tensor.count
    return total


GROUPS = {"config_groups": {"group_0": {"weights": {"num_bits": 4, "group_size": 128}}}}
CHANNELS = {"config_groups": {"group_0": {"weights": {"num_bits": 8, "group_size": None}}}}

# One linear layer of N x K as each format stores it, the configuration, and the stored bits a
# weight. The layouts are those of the libraries' own code, named at the entries of FORMATS.
LAYOUTS: dict[str, tuple[tuple[TensorRun, ...], dict[str, Any], float]] = {
    "GPTQ, 4 bits": (
        (
            run(f"{P}.qweight", "I32", K // 8, N),
            run(f"{P}.qzeros", "I32", K // 128, N // 8),
            run(f"{P}.scales", "F16", K // 128, N),
            run(f"{P}.g_idx", "I32", K),
        ),
        {"quant_method": "gptq", "bits": 4, "group_size": 128},
        4,
    ),
    "GPTQ, 3 bits, without configuration": (
        (
            run(f"{P}.qweight", "I32", K * 3 // 32, N),
            run(f"{P}.qzeros", "I32", K // 128, N * 3 // 32),
            run(f"{P}.scales", "F16", K // 128, N),
        ),
        {},
        3,
    ),
    "GPTQ, 8 bits, without zeros": (
        (
            run(f"{P}.qweight", "I32", K // 4, N),
            run(f"{P}.scales", "F16", 1, N),
            run(f"{P}.g_idx", "I32", K),
        ),
        {},
        8,
    ),
    "AWQ": (
        (
            run(f"{P}.qweight", "I32", K, N // 8),
            run(f"{P}.qzeros", "I32", K // 128, N // 8),
            run(f"{P}.scales", "F16", K // 128, N),
        ),
        {"quant_method": "awq", "bits": 4, "group_size": 128},
        4,
    ),
    "Marlin": (
        (run(f"{P}.B", "I32", K // 16, N * 2), run(f"{P}.s", "F16", K // 128, N)),
        {"quant_method": "marlin", "bits": 4},
        4,
    ),
    "bitsandbytes, nested": (
        (
            run(f"{P}.weight", "U8", WEIGHTS // 2, 1),
            run(f"{P}.weight.absmax", "U8", WEIGHTS // 64),
            run(f"{P}.weight.nested_absmax", "F32", WEIGHTS // 64 // 256),
            run(f"{P}.weight.quant_map", "F32", 16),
            run(f"{P}.weight.nested_quant_map", "F32", 256),
            run(f"{P}.weight.quant_state.bitsandbytes__nf4", "U8", 110),
        ),
        {"quant_method": "bitsandbytes", "load_in_4bit": True},
        4,
    ),
    "bitsandbytes in bfloat16": (
        (
            run(f"{P}.weight", "BF16", WEIGHTS // 4, 1),
            run(f"{P}.weight.absmax", "F32", WEIGHTS // 64),
            run(f"{P}.weight.quant_map", "F32", 16),
        ),
        {"quant_method": "bitsandbytes", "bnb_4bit_quant_storage": "bfloat16"},
        4,
    ),
    "bitsandbytes int8": (
        (
            run(f"{P}.weight", "I8", N, K),
            run(f"{P}.SCB", "F32", N),
            run(f"{P}.weight_format", "U8"),
        ),
        {"quant_method": "bitsandbytes", "load_in_8bit": True},
        8,
    ),
    "FP8 in blocks": (
        (
            run(f"{P}.weight", "F8_E4M3", N, K),
            run(f"{P}.weight_scale_inv", "F32", N // 128, K // 128),
        ),
        {"quant_method": "fp8", "weight_block_size": [128, 128]},
        8,
    ),
    "FP8, compressed-tensors, static": (
        (
            run(f"{P}.weight", "F8_E4M3", N, K),
            run(f"{P}.weight_scale", "BF16", N, 1),
            run(f"{P}.input_scale", "BF16", 1),
            run("model.layers.{0..31}.self_attn.k_scale", "F32"),
        ),
        {"quant_method": "compressed-tensors", "format": "float-quantized"},
        8,
    ),
    "MXFP8": (
        (run(f"{P}.weight", "F8_E4M3", N, K), run(f"{P}.weight_scale_inv", "U8", N, K // 32)),
        {"quant_method": "mxfp8"},
        8,
    ),
    "fbgemm_fp8 experts": (
        (
            run("model.layers.{0..3}.experts.gate_up_proj", "F8_E4M3", 16, N, K),
            run("model.layers.{0..3}.experts.gate_up_proj_scale", "F32", 16, 1, K),
        ),
        {"quant_method": "fbgemm_fp8"},
        8,
    ),
    "DeepSeek-V4 experts": (
        (
            run("layers.{0..60}.ffn.experts.{0..383}.w1.weight", "I8", N, K // 2),
            run("layers.{0..60}.ffn.experts.{0..383}.w1.scale", "F8_E8M0", N, K // 32),
        ),
        {"quant_method": "fp8", "expert_dtype": "fp4"},
        4,
    ),
    "DeepSeek-V4 experts, fused": (
        (
            run("layers.{0..60}.mlp.experts.down_proj", "I8", 384, N, K // 2),
            run("layers.{0..60}.mlp.experts.down_proj_scale_inv", "F8_E8M0", 384, N, K // 32),
        ),
        {},
        4,
    ),
    "compressed-tensors, 4 bits in groups": (
        (
            run(f"{P}.weight_packed", "I32", N, K // 8),
            run(f"{P}.weight_scale", "BF16", N, K // 128),
            run(f"{P}.weight_shape", "I64", 2),
            run(f"{P}.weight_zero_point", "I32", N // 8, K // 128),
            run(f"{P}.weight_g_idx", "I32", K),
        ),
        {"quant_method": "compressed-tensors", "format": "pack-quantized", **GROUPS},
        4,
    ),
    "compressed-tensors, 8 bits a channel": (
        (
            run(f"{P}.weight_packed", "I32", N, K // 4),
            run(f"{P}.weight_scale", "BF16", N, 1),
            run(f"{P}.weight_shape", "I32", 2),
        ),
        {"quant_method": "compressed-tensors", "format": "pack-quantized", **CHANNELS},
        8,
    ),
    "compressed-tensors, int8": (
        (run(f"{P}.weight", "I8", N, K), run(f"{P}.weight_scale", "BF16", N, 1)),
        {"quant_method": "compressed-tensors", "format": "int-quantized", **CHANNELS},
        8,
    ),
    "compressed-tensors, NVFP4": (
        (
            run(f"{P}.weight_packed", "U8", N, K // 2),
            run(f"{P}.weight_scale", "F8_E4M3", N, K // 16),
            run(f"{P}.weight_global_scale", "F32", 1),
            run(f"{P}.input_global_scale", "F32", 1),
        ),
        {"quant_method": "compressed-tensors", "format": "nvfp4-pack-quantized"},
        4,
    ),
    "modelopt NVFP4": (
        (
            run(f"{P}.weight", "U8", N, K // 2),
            run(f"{P}.weight_scale", "F8_E4M3", N, K // 16),
            run(f"{P}.weight_scale_2", "F32"),
            run(f"{P}.input_scale", "F32"),
            run(f"{P}.pre_quant_scale", "BF16", K),
        ),
        {"quant_method": "modelopt", "quant_algo": "NVFP4"},
        4,
    ),
    "modelopt NVFP4, fused experts": (
        (
            run("layers.{0..47}.experts.gate_up_proj", "U8", 16, N // 2, K),
            run("layers.{0..47}.experts.gate_up_proj_weight_scale", "F8_E4M3", 16, N // 16, K),
            run("layers.{0..47}.experts.gate_up_proj_weight_scale_2", "F32", 16),
        ),
        {"quant_method": "modelopt", "quant_algo": "NVFP4"},
        4,
    ),
    "Quark MXFP4": (
        (run(f"{P}.weight", "U8", N, K // 2), run(f"{P}.weight_scale", "U8", N, K // 32)),
        {"quant_method": "quark"},
        4,
    ),
    "BitNet": (
        (run(f"{P}.weight", "U8", N // 4, K), run(f"{P}.weight_scale", "BF16", 1)),
        {"quant_method": "bitnet"},
        2,
    ),
    "EETQ": (
        (run(f"{P}.weight", "I8", K, N), run(f"{P}.weight_scales", "F16", N)),
        {"quant_method": "eetq", "weights": "int8"},
        8,
    ),
    "MLX, 4 bits": (
        (
            run(f"{P}.weight", "U32", N, K // 8),
            run(f"{P}.scales", "BF16", N, K // 64),
            run(f"{P}.biases", "BF16", N, K // 64),
        ),
        {"bits": 4, "group_size": 64},
        4,
    ),
    "MLX, one module with 8 bits in groups of 32": (
        (
            run(f"{P}.weight", "U32", N, K // 4),
            run(f"{P}.scales", "BF16", N, K // 32),
            run(f"{P}.biases", "BF16", N, K // 32),
        ),
        {
            "bits": 4,
            "group_size": 64,
            "model.layers.0.mlp.down_proj": {"bits": 8, "group_size": 32},
        },
        8,
    ),
    "HQQ, 4 bits": (
        (
            run(f"{P}.W_q", "U8", WEIGHTS // 2 // 64, 64),
            run(f"{P}.scale", "F16", WEIGHTS // 64, 1),
            run(f"{P}.zero", "F16", WEIGHTS // 64, 1),
            run(f"{P}.nbits", "I32"),
        ),
        {"quant_config": {"weight_quant_params": {"nbits": 4, "group_size": 64}}},
        4,
    ),
    "HQQ, 5 bits": (
        (run(f"{P}.W_q", "U8", WEIGHTS // 64, 64), run(f"{P}.scale", "F16", WEIGHTS // 64, 1)),
        {"quant_config": {"weight_quant_params": {"nbits": 5, "group_size": 64}}},
        8,
    ),
    "torchao int4": (
        (
            run(f"{P}._weight_qdata", "U8", N, K // 2),
            run(f"{P}._weight_scale", "BF16", K // 128, N),
            run(f"{P}._weight_zero_point", "BF16", K // 128, N),
        ),
        {"quant_type": {"default": {"_type": "Int4WeightOnlyConfig", "_data": {}}}},
        4,
    ),
    "torchao float8": (
        (
            run(f"{P}._weight_qdata", "F8_E4M3", N, K),
            run(f"{P}._weight_scale", "F32", N, 1),
        ),
        {"quant_type": {"default": {"_type": "Float8WeightOnlyConfig", "_data": {}}}},
        8,
    ),
    "quanto int8": (
        (
            run(f"{P}.weight._data", "I8", N, K),
            run(f"{P}.weight._scale", "BF16", N, 1),
            run(f"{P}.input_scale", "F32"),
            run(f"{P}.output_scale", "F32"),
        ),
        {"quant_method": "quanto", "weights": "int8"},
        8,
    ),
    "quanto int2": (
        (
            run(f"{P}.weight._data", "U8", WEIGHTS // 128 // 4, 128),
            run(f"{P}.weight._scale", "BF16", WEIGHTS // 128, 1),
            run(f"{P}.weight._shift", "BF16", WEIGHTS // 128, 1),
        ),
        {"quant_method": "quanto", "weights": "int2"},
        2,
    ),
    "AQLM, 2 bits": (
        (
            run(f"{P}.codes", "I16", N, K // 8, 1),
            run(f"{P}.codebooks", "F16", 1, 65536, 1, 8),
            run(f"{P}.scales", "F16", N, 1, 1, 1),
        ),
        {"quant_method": "aqlm", "nbits_per_codebook": 16},
        2,
    ),
    "HIGGS, 4 bits": (
        (
            run(f"{P}.weight", "I16", N // 4, K),
            run(f"{P}.scales", "F16", N, K // 256),
            run(f"{P}.tables", "F16", 16),
            run(f"{P}.tables2", "F16", 16, 16, 2),
        ),
        {"quant_method": "higgs", "bits": 4},
        4,
    ),
    "FP-Quant": (
        (
            run(f"{P}.qweight", "U8", N, K // 2),
            run(f"{P}.scales", "U8", N, K // 32),
            run(f"{P}.weight_global_scale", "F32", 1),
            run(f"{P}.forward_hadamard_matrix", "BF16", 32, 32),
        ),
        {"quant_method": "fp_quant", "forward_dtype": "mxfp4"},
        4,
    ),
    "EXL2": (
        (
            run(f"{P}.q_weight", "I32", K // 8, N),
            run(f"{P}.q_scale", "I32", K // 128, N // 8),
            run(f"{P}.q_scale_max", "F16", K // 128),
            run(f"{P}.q_groups", "I16", K // 64),
            run(f"{P}.q_invperm", "I16", K),
        ),
        {"quant_method": "exl2", "bits": 4.25},
        4,
    ),
    "EXL3, 3 bits": (
        (
            run(f"{P}.trellis", "I16", K // 16, N // 16, 48),
            run(f"{P}.suh", "F16", K),
            run(f"{P}.svh", "F16", N),
        ),
        {"quant_method": "exl3", "bits": 3.0},
        3,
    ),
    "Gemma, 4 bits": (
        (run(f"{P}.weight", "U8", N, K // 2), run(f"{P}.weight_scale", "F32", N, 1)),
        {"quant_method": "gemma", "num_bits": 4},
        4,
    ),
}
LAYER = run("model.norm.weight", "BF16", N)
EXPERTS = {
    "fbgemm_fp8 experts": 16,
    "DeepSeek-V4 experts, fused": 384,
    "modelopt NVFP4, fused experts": 16,
}


@pytest.mark.parametrize("name", LAYOUTS)
def test_layouts(name: str) -> None:
    tensors, settings, bits = LAYOUTS[name]
    weight, *parts = tensors
    found = pack(*tensors, LAYER, **settings)
    assert found.logical(weight) == WEIGHTS * EXPERTS.get(name, 1)
    assert found.bits_per_weight(weight) == bits
    assert found.stored(weight).role == "weight"
    for part in parts:
        assert found.logical(part) == 0, part.name
        assert found.is_packed(part), part.name
    assert found.stored(LAYER).role == "plain"
    assert found.logical(LAYER) == N
    assert found.notes == ()


@pytest.mark.parametrize("name", LAYOUTS)
def test_a_scale_without_its_weight_is_a_tensor_of_its_own(name: str) -> None:
    tensors, settings, _ = LAYOUTS[name]
    for part in tensors[1:]:
        if part.dtype == "F8_E8M0":
            continue  # Exponents are no parameters, whoever needs them.
        found = pack(part, **settings)
        assert found.logical(part) in (part.elements, None)


@pytest.mark.parametrize("name", sorted({form.name for form in FORMATS}))
def test_every_format_has_a_layout_or_is_known_by_its_bytes(name: str) -> None:
    seen = {pack(*tensors, **settings).formats for tensors, settings, _ in LAYOUTS.values()}
    others = {"SpQR", "VPTQ", "MXFP4 blocks", "Gemma, embedding"}
    assert (name,) in seen or name in others


@pytest.mark.parametrize(
    ("tensors", "settings"),
    [
        ((run(f"{P}.weight", "I32", 512, 512),), {}),
        ((run(f"{P}.weight", "U8", 4096, 4096),), {"quant_method": "sinq"}),
        ((run(f"{P}.qweight", "I32", 512, 4096), run(f"{P}.scales", "F16", 32, 4096)), {}),
        (
            (run(f"{P}.weight_packed", "I32", N, 512), run(f"{P}.weight_scale", "F16", N, 32)),
            {"config_groups": {"a": {"weights": {"num_bits": 8, "group_size": 128}}}},
        ),
        # 4 bits in groups of 64 and 8 bits in groups of 32 have the same shapes.
        (
            (run(f"{P}.weight_packed", "I32", N, 512), run(f"{P}.weight_scale", "F16", N, 64)),
            {
                "config_groups": {
                    "a": {"weights": {"num_bits": 4, "group_size": 64}},
                    "b": {"weights": {"num_bits": 8, "group_size": 32}},
                }
            },
        ),
        (
            (
                run(f"{P}.dense_weights", "I64", N * K // 16),
                run(f"{P}.row_offsets", "I32", N + 1),
                run(f"{P}.col_vals", "I32", 1000),
                run(f"{P}.in_perm", "I32", K),
            ),
            {"quant_method": "spqr"},
        ),
        (
            (
                run(f"{P}.indices", "I32", 1, 1376, 4096),
                run(f"{P}.centroids.weight", "F16", 1, 65536 * 8),
            ),
            {"quant_method": "vptq"},
        ),
    ],
)
def test_what_is_unknown_is_never_one_an_element(
    tensors: tuple[TensorRun, ...], settings: Mapping[str, Any]
) -> None:
    found = pack(*tensors, **settings)
    assert found.logical(tensors[0]) is None
    assert found.bits_per_weight(tensors[0]) is None
    assert found.is_packed(tensors[0])
    assert [note.code for note in found.notes] == ["unknown_packing"]
    assert tensors[0].name in found.notes[0].message


@pytest.mark.parametrize(
    "tensor",
    [
        run("roberta.embeddings.position_ids", "I64", 1, 514),
        run("h.{0..11}.attn.bias", "U8", 1, 1, 1024, 1024),
        run("h.{0..11}.attn.masked_bias", "F32"),
        run("relative_position_index", "I32", 144, 144),
        run("bn.num_batches_tracked", "I64"),
        run("layers.{0..3}.ffn.gate.tid2eid", "I64", 129280, 6),
        # A model may have learnable scales of its own.
        run("vision.ls1.scale", "F32", 1024),
        run("blocks.{0..3}.scales", "F32", 6, 1024),
        run("model.layers.{0..35}.self_attn.sinks", "BF16", 64),
        run("model.layers.{0..60}.mlp.gate.e_score_correction_bias", "F32", 256),
        run("a.weight", "F8_E4M3", 16, 16),
        run("a.weight", "F4", 16, 16),
    ],
)
def test_plain_tensors(tensor: TensorRun) -> None:
    found = pack(tensor)
    assert found.logical(tensor) == tensor.elements
    assert found.stored(tensor).role == "plain"
    assert found.notes == ()


def test_the_tensors_are_believed() -> None:
    tensors, _, _ = LAYOUTS["AWQ"]
    found = pack(*tensors, quant_method="awq", bits=8)
    assert found.logical(tensors[0]) == WEIGHTS
    assert [note.code for note in found.notes] == ["contradicted_quantization"]


def test_a_declaration_without_packed_tensors_is_said() -> None:
    tensor = run(f"{P}.weight", "BF16", N, K)
    found = pack(tensor, quant_method="bitsandbytes", load_in_4bit=True)
    assert found.logical(tensor) == WEIGHTS
    assert [note.code for note in found.notes] == ["quantized_at_load"]


@pytest.mark.parametrize(
    ("config", "documents"),
    [
        ({"text_config": {"quantization_config": GROUPS}}, {}),
        ({"compression_config": GROUPS}, {}),
        (None, {"quantize_config.json": GROUPS}),
        ({}, {"hf_quant_config.json": {"quantization": GROUPS}}),
        ({"quantization_config": {}}, {"quant_config.json": GROUPS}),
    ],
)
def test_where_settings_are_found(
    config: Mapping[str, object] | None, documents: Mapping[str, Mapping[str, object]]
) -> None:
    tensors, _, _ = LAYOUTS["compressed-tensors, 4 bits in groups"]
    found = packing(tensors, config=config, documents=documents)
    assert found.logical(tensors[0]) == WEIGHTS


def test_parts_of_a_run() -> None:
    """Runs are cut at the decoder's last layer; the answer is the same for the pieces."""
    tensors, settings, _ = LAYOUTS["FP8 in blocks"]
    found = pack(*tensors, **settings)
    for tensor, logical in zip(tensors, (WEIGHTS, 0), strict=True):
        for keep in (range(30), range(30, 32)):
            piece = tensor.restricted(keep)
            assert piece is not None
            assert found.logical(piece) == logical


def test_layers_that_are_not_quantized() -> None:
    quantized = run("layers.{1..30}.q.weight", "F8_E4M3", N, K)
    scales = run("layers.{1..30}.q.weight_scale", "F32", N, 1)
    first = run("layers.{0..0}.q.weight", "BF16", N, K)
    own = run("layers.{0..0}.q.weight_scale", "F32", N, 1)
    found = pack(quantized, scales, first, own)
    assert [found.logical(one) for one in (quantized, scales, first, own)] == [
        WEIGHTS,
        0,
        WEIGHTS,
        N,
    ]


def gpt_oss(layers: int, experts: int) -> tuple[TensorRun, ...]:
    """gpt-oss from its configuration: hidden 2,880, 64 heads and 8 KV heads of 64, vocabulary
    201,088.
    """
    block = f"model.layers.{{0..{layers - 1}}}."
    hidden, rows = 2880, 5760
    return (
        run("model.embed_tokens.weight", "BF16", 201088, hidden),
        run("lm_head.weight", "BF16", 201088, hidden),
        run("model.norm.weight", "BF16", hidden),
        *(
            run(f"{block}self_attn.{name}_proj.{kind}", "BF16", *shape)
            for name, shape_out, shape_in in (
                ("q", 4096, hidden),
                ("k", 512, hidden),
                ("v", 512, hidden),
                ("o", hidden, 4096),
            )
            for kind, shape in (("weight", (shape_out, shape_in)), ("bias", (shape_out,)))
        ),
        run(f"{block}self_attn.sinks", "BF16", 64),
        run(f"{block}input_layernorm.weight", "BF16", hidden),
        run(f"{block}post_attention_layernorm.weight", "BF16", hidden),
        run(f"{block}mlp.router.weight", "BF16", experts, hidden),
        run(f"{block}mlp.router.bias", "BF16", experts),
        run(f"{block}mlp.experts.gate_up_proj_blocks", "U8", experts, rows, 90, 16),
        run(f"{block}mlp.experts.gate_up_proj_scales", "U8", experts, rows, 90),
        run(f"{block}mlp.experts.gate_up_proj_bias", "BF16", experts, rows),
        run(f"{block}mlp.experts.down_proj_blocks", "U8", experts, hidden, 90, 16),
        run(f"{block}mlp.experts.down_proj_scales", "U8", experts, hidden, 90),
        run(f"{block}mlp.experts.down_proj_bias", "BF16", experts, hidden),
    )


@pytest.mark.parametrize(
    ("layers", "experts", "published_bytes", "published_parameters"),
    [
        # huggingface.js, parse-safetensors-metadata.spec.ts; total_size of gpt-oss-20b's index.
        (24, 32, 13_761_264_768, 20_914_757_184),
        (36, 128, None, 116_829_156_672),
    ],
)
def test_gpt_oss(
    layers: int, experts: int, published_bytes: int | None, published_parameters: int
) -> None:
    tensors = gpt_oss(layers, experts)
    found = pack(*tensors, quant_method="mxfp4")
    assert parameters(tensors, found) == published_parameters
    assert published_bytes is None or total_bytes(tensors) == published_bytes
    assert found.formats == ("MXFP4 blocks",)


def llama(layers: int, hidden: int, ffn: int) -> list[tuple[str, int, int]]:
    """The linear layers of Llama 3 with 8 KV heads of 128."""
    block = f"model.layers.{{0..{layers - 1}}}."
    return [
        (f"{block}self_attn.q_proj", hidden, hidden),
        (f"{block}self_attn.k_proj", 1024, hidden),
        (f"{block}self_attn.v_proj", 1024, hidden),
        (f"{block}self_attn.o_proj", hidden, hidden),
        (f"{block}mlp.gate_proj", ffn, hidden),
        (f"{block}mlp.up_proj", ffn, hidden),
        (f"{block}mlp.down_proj", hidden, ffn),
    ]


def llama_rest(layers: int, hidden: int) -> list[TensorRun]:
    return [
        run("model.embed_tokens.weight", "BF16", 128256, hidden),
        run("lm_head.weight", "BF16", 128256, hidden),
        run("model.norm.weight", "BF16", hidden),
        run(f"model.layers.{{0..{layers - 1}}}.input_layernorm.weight", "BF16", hidden),
        run(f"model.layers.{{0..{layers - 1}}}.post_attention_layernorm.weight", "BF16", hidden),
    ]


@pytest.mark.parametrize(
    ("layers", "hidden", "ffn", "group_size", "linear", "total"),
    [
        # huggingface.js, parse-safetensors-metadata.spec.ts: I32 of RedHatAI's w4a16 repositories.
        # The Hub counts the 8B's one scale a row as parameters (8,031,637,504); the model has
        # 8,030,261,248, as unsloth's bnb-4bit repository of it is counted.
        (32, 4096, 14336, None, 6_979_321_856, 8_030_261_248),
        (80, 8192, 28672, 128, 68_451_041_280, 70_553_706_496),
    ],
)
def test_llama_packed_to_4_bits(
    layers: int, hidden: int, ffn: int, group_size: int | None, linear: int, total: int
) -> None:
    linears = llama(layers, hidden, ffn)
    words = [run(f"{name}.weight_packed", "I32", out, into // 8) for name, out, into in linears]
    scales = [
        run(f"{name}.weight_scale", "BF16", out, into // group_size if group_size else 1)
        for name, out, into in linears
    ]
    orders = [run(f"{name}.weight_g_idx", "I32", into) for name, _, into in linears]
    tensors = (*words, *scales, *orders, *llama_rest(layers, hidden))
    weights = {"num_bits": 4, "group_size": group_size}
    found = pack(*tensors, config_groups={"group_0": {"weights": weights}})
    assert parameters(tuple(words), found) == linear
    assert parameters(tensors, found) == total


def test_llama_in_bitsandbytes_4_bits() -> None:
    """unsloth/Meta-Llama-3.1-8B-Instruct-bnb-4bit: U8 6,979,321,856 and BF16 1,050,939,392."""
    linears = llama(32, 4096, 14336)
    words = tuple(run(f"{name}.weight", "U8", out * into // 2, 1) for name, out, into in linears)
    scales = (run(f"{name}.weight.absmax", "U8", out * into // 64) for name, out, into in linears)
    tensors = (*words, *scales, *llama_rest(32, 4096))
    found = pack(*tensors, quant_method="bitsandbytes")
    assert parameters(words, found) == 6_979_321_856
    assert parameters(tensors, found) == 6_979_321_856 + 1_050_939_392


def test_kimi_k2_5_experts() -> None:
    """moonshotai/Kimi-K2.5: I32 1,014,686,023,680 of 60 layers, 384 experts, groups of 32."""
    block = "language_model.model.layers.{1..60}.mlp.experts.{0..383}."
    shapes = (("gate_proj", 2048, 7168), ("up_proj", 2048, 7168), ("down_proj", 7168, 2048))
    words = tuple(
        run(f"{block}{n}.weight_packed", "I32", out, into // 8) for n, out, into in shapes
    )
    scales = (run(f"{block}{n}.weight_scale", "BF16", out, into // 32) for n, out, into in shapes)
    weights = {"num_bits": 4, "group_size": 32}
    config = {
        "text_config": {"quantization_config": {"config_groups": {"g": {"weights": weights}}}}
    }
    found = packing((*words, *scales), config=config, documents={})
    assert parameters(words, found) == 1_014_686_023_680


@pytest.mark.parametrize(
    ("model", "blocks", "weights", "scale", "settings", "published"),
    # huggingface.js, parse-safetensors-metadata.spec.ts: I8 of DeepSeek-V4-Pro (61 layers and one
    # that predicts ahead, 384 experts), U8 of Kimi-K3 (92 layers, 896 experts, a latent of 3,584).
    [
        (
            "deepseek-ai/DeepSeek-V4-Pro",
            "model.layers.{0..61}.ffn.experts.{0..383}.",
            (("w1", 3072, 7168), ("w3", 3072, 7168), ("w2", 7168, 3072)),
            ("weight", "I8", ".scale", "F8_E8M0"),
            {"quant_method": "fp8", "weight_block_size": [128, 128]},
            1_572_763_336_704,
        ),
        (
            "moonshotai/Kimi-K3",
            "model.layers.{1..92}.block_sparse_moe.experts.{0..895}.",
            (("w1", 3072, 3584), ("w3", 3072, 3584), ("w2", 3584, 3072)),
            ("weight_packed", "U8", ".weight_scale", "U8"),
            {"quant_method": "compressed-tensors", "format": "mxfp4-pack-quantized"},
            2_722_740_830_208,
        ),
    ],
    ids=["DeepSeek-V4-Pro", "Kimi-K3"],
)
def test_experts_of_two_values_a_byte(
    model: str,
    blocks: str,
    weights: tuple[tuple[str, int, int], ...],
    scale: tuple[str, str, str, str],
    settings: dict[str, Any],
    published: int,
) -> None:
    suffix, dtype, scale_suffix, scale_dtype = scale
    words = tuple(
        run(f"{blocks}{name}.{suffix}", dtype, out, into // 2) for name, out, into in weights
    )
    scales = tuple(
        run(f"{blocks}{name}{scale_suffix}", scale_dtype, out, into // 32)
        for name, out, into in weights
    )
    found = pack(*words, *scales, **settings)
    assert parameters(words, found) == published, model
    assert parameters(scales, found) == 0


def bert(layers: int, hidden: int, ffn: int) -> tuple[TensorRun, ...]:
    """The encoder layers of BERT and RoBERTa."""
    block = f"encoder.layer.{{0..{layers - 1}}}."
    linears = [(f"attention.{name}", hidden, hidden) for name in ("q", "k", "v", "output.dense")]
    linears += [("intermediate.dense", ffn, hidden), ("output.dense", hidden, ffn)]
    norms = [f"{block}{name}.{part}" for name in ("a", "o") for part in ("gamma", "beta")]
    return (
        *(run(f"{block}{name}.weight", "F32", out, into) for name, out, into in linears),
        *(run(f"{block}{name}.bias", "F32", out) for name, out, _ in linears),
        *(run(name, "F32", hidden) for name in norms),
    )


def bloom(layers: int, hidden: int) -> tuple[TensorRun, ...]:
    block = f"h.{{0..{layers - 1}}}."
    linears = [
        ("self_attention.query_key_value", 3 * hidden, hidden),
        ("self_attention.dense", hidden, hidden),
        ("mlp.dense_h_to_4h", 4 * hidden, hidden),
        ("mlp.dense_4h_to_h", hidden, 4 * hidden),
    ]
    norms = (f"{block}input_layernorm", f"{block}post_attention_layernorm", "ln_f", "ln_e")
    return (
        run("word_embeddings.weight", "BF16", 250880, hidden),
        *(run(f"{block}{name}.weight", "BF16", out, into) for name, out, into in linears),
        *(run(f"{block}{name}.bias", "BF16", out) for name, out, _ in linears),
        *(run(f"{name}.{part}", "BF16", hidden) for name in norms for part in ("weight", "bias")),
    )


H = 768


@pytest.mark.parametrize(
    ("tensors", "published"),
    # huggingface.js, parse-safetensors-metadata.spec.ts: bert-base-uncased, roberta-base with its
    # 514 stored positions, bloom.
    [
        (
            (
                *bert(12, H, 4 * H),
                *(run(f"embeddings.{n}.weight", "F32", n, H) for n in (30522, 512, 2)),
                *(run(f"norm.{n}", "F32", H) for n in range(4)),
                *(run(f"dense.{n}.weight", "F32", H, H) for n in range(2)),
                *(run(f"dense.{n}.bias", "F32", H) for n in range(2)),
                run("cls.predictions.bias", "F32", 30522),
                run("cls.seq_relationship.weight", "F32", 2, H),
                run("cls.seq_relationship.bias", "F32", 2),
            ),
            {"F32": 110_106_428},
        ),
        (
            (
                *bert(12, H, 4 * H),
                *(run(f"embeddings.{n}.weight", "F32", n, H) for n in (50265, 514, 1)),
                *(run(f"norm.{n}", "F32", H) for n in range(4)),
                run("lm_head.dense.weight", "F32", H, H),
                run("lm_head.dense.bias", "F32", H),
                run("lm_head.bias", "F32", 50265),
                run("embeddings.position_ids", "I64", 1, 514),
            ),
            {"F32": 124_697_433, "I64": 514},
        ),
        (bloom(70, 14336), {"BF16": 176_247_271_424}),
    ],
    ids=["bert-base-uncased", "roberta-base", "bloom"],
)
def test_published_plain_checkpoints(
    tensors: tuple[TensorRun, ...], published: Mapping[str, int]
) -> None:
    found = pack(*tensors)
    counts = {
        dtype: parameters(tuple(one for one in tensors if one.dtype == dtype), found)
        for dtype in {one.dtype for one in tensors}
    }
    assert counts == published


values = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 40) | st.floats() | st.text(max_size=4),
    lambda inner: (
        st.lists(inner, max_size=2)
        | st.dictionaries(
            st.sampled_from(
                ["bits", "num_bits", "weights", "group_size", "quant_type", "default", "_type"]
            ),
            inner,
            max_size=3,
        )
    ),
    max_leaves=6,
)


@given(
    st.sampled_from(sorted(LAYOUTS)),
    st.dictionaries(
        st.sampled_from(
            [
                "quant_method",
                "bits",
                "group_size",
                "config_groups",
                "quant_config",
                "quant_type",
                "weights",
            ]
        ),
        values,
    ),
    st.lists(
        st.tuples(st.sampled_from(sorted(BITS)), st.lists(st.integers(0, 3), max_size=4)),
        max_size=6,
    ),
)
def test_hostile_settings_and_shapes_never_raise(
    name: str, settings: dict[str, Any], shapes: list[tuple[str, list[int]]]
) -> None:
    tensors = list(LAYOUTS[name][0])
    for place, (dtype, shape) in enumerate(shapes[: len(tensors)]):
        tensors[place] = run(tensors[place].name, dtype, *shape)
    found = pack(*tensors, **settings)
    for tensor in tensors:
        logical = found.logical(tensor)
        assert logical is None or 0 <= logical <= max(tensor.bytes * 8, tensor.elements, 2**40)


@pytest.mark.shared
def test_deepseek_v3(shared: Path) -> None:
    """684,531,386,000 elements with scales; the published 671 B are without the draft layer."""
    spec = importlib.util.spec_from_file_location("make_repo", shared / "hub" / "make_repo.py")
    assert spec is not None
    assert spec.loader is not None
    maker = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(maker)
    listed = (
        Tensor(name, dtype, tuple(shape), maker.nbytes(dtype, shape))
        for name, dtype, shape in maker.deepseek_v3(maker.DSV3)
    )
    tensors = runs(listed)
    found = pack(*tensors, quant_method="fp8", weight_block_size=[128, 128])
    assert total_bytes(tensors) == 688_574_839_360
    assert sum(tensor.elements * tensor.count for tensor in tensors) == 684_531_386_000
    main = tuple(piece for tensor in tensors if (piece := tensor.restricted(range(61))))
    # The published count leaves out e_score_correction_bias, a buffer of 256 in 58 layers.
    assert parameters(main, found) == 671_026_404_352 + 58 * 256


@pytest.mark.shared
def test_every_corpus_configuration_is_read(shared: Path) -> None:
    """Nothing that is published makes the settings raise, and GPTQ's, AWQ's and MLX's bits are
    found.
    """
    tensor = run("a.weight", "BF16", 2, 2)
    for path in sorted((shared / "corpus" / "configs").glob("*.json")):
        config = json.loads(path.read_text())
        assert packing((tensor,), config=config, documents={}).logical(tensor) == 4

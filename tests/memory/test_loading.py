"""Stored to loaded in transformers: what stays packed, what is expanded, when, and on what it
depends."""

from __future__ import annotations

from collections.abc import Mapping
from math import prod

import pytest

from hfmem.checkpoint.snapshot import Checkpoint, Snapshot
from hfmem.checkpoint.tensor import TensorRun, brace_count
from hfmem.dtypes import BITS
from hfmem.errors import UsageError
from hfmem.gpu import Gpu
from hfmem.hardware.catalogue import parse_gpu
from hfmem.memory.loading import Held, held
from hfmem.memory.packed_loading import place
from hfmem.memory.workload import Device
from hfmem.model.describe import describe
from hfmem.model.model import Model
from hfmem.source.recorded import bundled

LAYERS = "model.layers.{0..31}"
# Llama-3.1-8B: linear layers of a decoder layer, [out, in].
LINEAR = {
    "self_attn.q_proj": (4096, 4096),
    "self_attn.k_proj": (1024, 4096),
    "self_attn.v_proj": (1024, 4096),
    "self_attn.o_proj": (4096, 4096),
    "mlp.gate_proj": (14336, 4096),
    "mlp.up_proj": (14336, 4096),
    "mlp.down_proj": (4096, 14336),
}
LINEAR_PARAMETERS = 6_979_321_856
OTHER_BYTES = 2 * 1_050_939_392
CONFIG: dict[str, object] = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "torch_dtype": "bfloat16",
    "hidden_size": 4096,
    "intermediate_size": 14336,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "vocab_size": 128256,
}


def run(name: str, dtype: str, *shape: int) -> TensorRun:
    return TensorRun(
        name=name,
        dtype=dtype,
        shape=shape,
        bytes=prod(shape) * BITS[dtype] // 8,
        count=brace_count(name),
    )


OTHERS = (
    run("model.embed_tokens.weight", "BF16", 128256, 4096),
    run("lm_head.weight", "BF16", 128256, 4096),
    run("model.norm.weight", "BF16", 4096),
    run(f"{LAYERS}.input_layernorm.weight", "BF16", 4096),
    run(f"{LAYERS}.post_attention_layernorm.weight", "BF16", 4096),
)


def w4a16(name: str, out: int, in_: int) -> tuple[TensorRun, ...]:
    return (
        run(f"{LAYERS}.{name}.weight_packed", "I32", out, in_ // 8),
        run(f"{LAYERS}.{name}.weight_scale", "BF16", out, in_ // 128),
        run(f"{LAYERS}.{name}.weight_shape", "I64", 2),
    )


def fp8_dynamic(name: str, out: int, in_: int) -> tuple[TensorRun, ...]:
    return (
        run(f"{LAYERS}.{name}.weight", "F8_E4M3", out, in_),
        run(f"{LAYERS}.{name}.weight_scale", "BF16", out, 1),
    )


def fp8_block(name: str, out: int, in_: int) -> tuple[TensorRun, ...]:
    return (
        run(f"{LAYERS}.{name}.weight", "F8_E4M3", out, in_),
        run(f"{LAYERS}.{name}.weight_scale_inv", "F32", out // 128, in_ // 128),
    )


def awq(name: str, out: int, in_: int) -> tuple[TensorRun, ...]:
    return (
        run(f"{LAYERS}.{name}.qweight", "I32", in_, out // 8),
        run(f"{LAYERS}.{name}.qzeros", "I32", in_ // 128, out // 8),
        run(f"{LAYERS}.{name}.scales", "F16", in_ // 128, out),
    )


def nvfp4(name: str, out: int, in_: int) -> tuple[TensorRun, ...]:
    return (
        run(f"{LAYERS}.{name}.weight", "U8", out, in_ // 2),
        run(f"{LAYERS}.{name}.weight_scale", "F8_E4M3", out, in_ // 16),
        run(f"{LAYERS}.{name}.weight_scale_2", "F32"),
        run(f"{LAYERS}.{name}.input_scale", "F32"),
    )


LAYOUTS = {"w4a16": w4a16, "fp8": fp8_dynamic, "block": fp8_block, "awq": awq, "nvfp4": nvfp4}
GROUPS = {"group_0": {"weights": {"num_bits": 4, "group_size": 128}}}


def model(layout: str, quantization: Mapping[str, object]) -> Model:
    make = LAYOUTS[layout]
    tensors = tuple(one for name, shape in LINEAR.items() for one in make(name, *shape))
    return describe(
        Snapshot(
            model="a/test",
            revision=None,
            source="local",
            config={**CONFIG, "quantization_config": quantization},
            documents={},
            files=(),
            checkpoint=Checkpoint(files=(), tensors=(*tensors, *OTHERS), metadata={}),
        )
    )


def loaded(found: Model, *, device: Device = "cuda", gpu: str | None = None) -> Held:
    card: Gpu | None = parse_gpu(gpu).gpu if gpu else None
    answer = held(found, dtype="BF16", where=place(device, card))
    assert answer is not None
    return answer


IN_16_BITS = 2 * LINEAR_PARAMETERS
W4A16 = {"quant_method": "compressed-tensors", "config_groups": GROUPS}
FP8 = {"quant_method": "compressed-tensors"}


@pytest.mark.parametrize(
    ("layout", "settings", "gpu", "loading", "used"),
    # Bytes of the linear layers. The rules are those of transformers 5.23 quantizers/ and
    # compressed-tensors 0.15, which leaves scales and shapes where they are.
    [
        (
            "w4a16",
            W4A16,
            "h100",
            LINEAR_PARAMETERS // 2 + 2 * LINEAR_PARAMETERS // 128 + 224 * 16,
            IN_16_BITS + 2 * LINEAR_PARAMETERS // 128 + 224 * 16,
        ),
        (
            "fp8",
            FP8,
            "h100",
            LINEAR_PARAMETERS + 2 * 32 * 43008,
            IN_16_BITS + 2 * 32 * 43008,
        ),
        (
            "block",
            {"quant_method": "fp8", "weight_block_size": [128, 128]},
            "h100",
            LINEAR_PARAMETERS + LINEAR_PARAMETERS // 4096,
            LINEAR_PARAMETERS + LINEAR_PARAMETERS // 4096,
        ),
        (
            "block",
            {"quant_method": "fp8", "weight_block_size": [128, 128]},
            "a100-80gb",
            IN_16_BITS,
            IN_16_BITS,
        ),
        (
            "awq",
            {"quant_method": "awq", "bits": 4, "group_size": 128},
            "a100-80gb",
            LINEAR_PARAMETERS // 2 + LINEAR_PARAMETERS // 256 + 2 * LINEAR_PARAMETERS // 128,
            LINEAR_PARAMETERS // 2 + LINEAR_PARAMETERS // 256 + 2 * LINEAR_PARAMETERS // 128,
        ),
        (
            "nvfp4",
            {"quant_method": "modelopt", "quant_algo": "NVFP4"},
            "b200",
            LINEAR_PARAMETERS // 2 + LINEAR_PARAMETERS // 16 + 224 * 8,
            LINEAR_PARAMETERS // 2 + LINEAR_PARAMETERS // 16 + 224 * 8,
        ),
    ],
)
def test_llama_8b(
    layout: str, settings: Mapping[str, object], gpu: str, loading: int, used: int
) -> None:
    answer = loaded(model(layout, settings), gpu=gpu)
    assert answer.loading.bytes == loading + OTHER_BYTES
    assert answer.used.bytes == used + OTHER_BYTES


def test_both_outcomes_where_no_card_is_named() -> None:
    answer = loaded(model("block", {"quant_method": "fp8", "weight_block_size": [128, 128]}))
    packed = LINEAR_PARAMETERS + LINEAR_PARAMETERS // 4096 + OTHER_BYTES
    assert answer.used.range_bytes == (packed, IN_16_BITS + OTHER_BYTES)
    assert answer.used.bytes == packed
    assert [note.code for note in answer.notes] == ["packed_loading"]
    assert "8.9" in answer.notes[0].message


@pytest.mark.parametrize(
    ("device", "gpu", "low", "used", "high"),
    # 20,914,757,184 parameters of 2 bytes, or the files' bytes; validate_environment of
    # quantizer_mxfp4.py. A V100 has compute capability 7.0.
    [
        ("cuda", "h100", 13_761_264_768, 13_761_264_768, 41_829_514_368),
        ("cuda", "v100-16gb", 41_829_514_368, 41_829_514_368, 41_829_514_368),
        ("cpu", None, 41_829_514_368, 41_829_514_368, 41_829_514_368),
    ],
)
def test_gpt_oss(device: Device, gpu: str | None, low: int, used: int, high: int) -> None:
    found = bundled("openai/gpt-oss-20b")
    assert found is not None
    answer = loaded(describe(found), device=device, gpu=gpu)
    assert (answer.used.bytes, answer.used.range_bytes) == (used, (low, high))


def test_a_method_that_transformers_lacks_is_said() -> None:
    answer = loaded(model("nvfp4", {"quant_method": "modelopt", "quant_algo": "NVFP4"}))
    assert [note.code for note in answer.notes] == ["not_for_transformers"]


def test_scales_are_apart() -> None:
    answer = loaded(model("awq", {"quant_method": "awq", "bits": 4, "group_size": 128}))
    language = next(part for part in answer.used.parts if part.name == "language")
    scales = next(part for part in language.parts if part.name == "scales")
    assert scales.bytes == LINEAR_PARAMETERS // 256 + 2 * LINEAR_PARAMETERS // 128
    assert sum(part.bytes for part in language.parts) == language.bytes


def test_what_if_a_packed_checkpoint_were_quantized() -> None:
    # AWQ shapes tell no matrix, but the family's configuration does.
    found = model("awq", {"quant_method": "awq", "bits": 4, "group_size": 128})
    answer = held(found, dtype="BF16", where=place("cuda", None), quantize="nf4")
    assert answer is not None
    # 4.5 bits and a table of 64 bytes for each of 224 weights.
    assert answer.used.bytes == LINEAR_PARAMETERS * 9 // 16 + 224 * 64 + OTHER_BYTES
    # The largest matrix before it is converted: 14,336 × 4,096 in 16 bits.
    assert answer.beside == 2 * 14336 * 4096


def test_shapes_that_nobody_tells() -> None:
    tensors = (
        run("model.layers.{0..1}.mix.qweight", "I32", 512, 512),
        run("model.layers.{0..1}.mix.qzeros", "I32", 4, 64),
        run("model.layers.{0..1}.mix.scales", "F16", 4, 512),
    )
    found = describe(
        Snapshot(
            model="a/test",
            revision=None,
            source="local",
            config={**CONFIG, "num_hidden_layers": 2, "architectures": ["Unheard"]},
            documents={},
            files=(),
            checkpoint=Checkpoint(files=(), tensors=tensors, metadata={}),
        )
    )
    with pytest.raises(UsageError, match="packed already"):
        held(found, dtype="BF16", where=place("cuda", None), quantize="nf4")

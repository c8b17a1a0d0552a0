"""Quantized checkpoints told from their settings alone, against published sizes and counts."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from hfmem.checkpoint.packed import packing
from hfmem.checkpoint.snapshot import Snapshot
from hfmem.checkpoint.tensor import TensorRun, total_bytes
from hfmem.memory.workload import workload
from hfmem.model.config import read
from hfmem.model.describe import describe
from hfmem.model.quantized_tensors import quantized_tensors
from hfmem.runtimes import RUNTIMES
from hfmem.units import GIB

LLAMA_8B: dict[str, Any] = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "torch_dtype": "bfloat16",
    "hidden_size": 4096,
    "intermediate_size": 14336,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "vocab_size": 128256,
    "max_position_embeddings": 131072,
    "tie_word_embeddings": False,
    "rope_scaling": None,
}
LINEAR, REST = 6_979_321_856, 1_050_939_392
ROWS = 32 * (4096 * 2 + 1024 * 2 + 14336 * 2 + 4096)
"""Output features of all linear layers."""
MODULES = 7 * 32


def compressed(form: str, **weights: object) -> dict[str, object]:
    group = {"targets": ["Linear"], "weights": weights}
    return {
        "quant_method": "compressed-tensors",
        "format": form,
        "ignore": ["lm_head"],
        "config_groups": {"group_0": group},
    }


INPUTS = 32 * (4096 * 6 + 14336)
"""Input features of all linear layers."""
CASES: dict[str, tuple[Mapping[str, object], int]] = {
    # Bytes beyond the 16-bit rest, by the layout that each library writes.
    "gptq": (
        {"quant_method": "gptq", "bits": 4, "group_size": 128, "desc_act": False},
        LINEAR // 2 + LINEAR // 128 * 2 + LINEAR // 128 // 2 + 4 * INPUTS,
    ),
    "awq": (
        {"quant_method": "awq", "bits": 4, "group_size": 128, "zero_point": True},
        LINEAR // 2 + LINEAR // 128 * 2 + LINEAR // 128 // 2,
    ),
    "fp8 blocks": (
        {"quant_method": "fp8", "weight_block_size": [128, 128]},
        LINEAR + LINEAR // (128 * 128) * 4,
    ),
    "fp8, a scale a row": (
        compressed("float-quantized", num_bits=8, strategy="channel", type="float"),
        LINEAR + 2 * ROWS,
    ),
    "w8a8": (
        compressed("int-quantized", num_bits=8, strategy="channel", type="int"),
        LINEAR + 2 * ROWS,
    ),
    "w4a16": (
        compressed("pack-quantized", num_bits=4, strategy="group", group_size=128, symmetric=True),
        LINEAR // 2 + LINEAR // 128 * 2 + 16 * MODULES,
    ),
    "mxfp4": (
        compressed("mxfp4-pack-quantized", num_bits=4, strategy="group", group_size=32),
        LINEAR // 2 + LINEAR // 32,
    ),
    "nvfp4": (
        compressed("nvfp4-pack-quantized", num_bits=4, strategy="tensor_group", group_size=16),
        LINEAR // 2 + LINEAR // 16 + 8 * MODULES,
    ),
    "nf4": (
        {"quant_method": "bitsandbytes", "load_in_4bit": True, "bnb_4bit_quant_type": "nf4"},
        LINEAR // 2 + LINEAR // 64 * 4 + 64 * MODULES,
    ),
    "int8": (
        {
            "quant_method": "bitsandbytes",
            "load_in_8bit": True,
            "llm_int8_skip_modules": ["lm_head"],
        },
        LINEAR + 4 * ROWS + MODULES,
    ),
}


def stored(settings: Mapping[str, object], **config: object) -> tuple[TensorRun, ...]:
    values = {**LLAMA_8B, "quantization_config": settings, **config}
    found = quantized_tensors(read(values), {})
    assert found is not None
    return found


@pytest.mark.parametrize("case", CASES)
def test_bytes_and_parameters(case: str) -> None:
    settings, packed = CASES[case]
    found = stored(settings)
    assert total_bytes(found) == packed + 2 * REST
    config = {"quantization_config": settings}
    told = packing(found, config=config, documents={})
    assert sum((told.logical(run) or 0) * run.count for run in found) == LINEAR + REST


@pytest.mark.parametrize(
    ("document", "settings", "packed"),
    [
        (
            "hf_quant_config.json",
            {"quantization": {"quant_algo": "FP8", "exclude_modules": ["lm_head"]}},
            LINEAR + 8 * MODULES,
        ),
        (
            "hf_quant_config.json",
            {"quantization": {"quant_algo": "NVFP4", "exclude_modules": ["lm_head"]}},
            LINEAR // 2 + LINEAR // 16 + 8 * MODULES,
        ),
        (
            "hf_quant_config.json",
            {"quantization": {"quant_algo": "NVFP4", "exclude_modules": ["*self_attn*"]}},
            None,
        ),
        # AutoGPTQ's and AutoAWQ's own files.
        (
            "quantize_config.json",
            {"bits": 4, "group_size": 128, "desc_act": True, "sym": True},
            CASES["gptq"][1],
        ),
        (
            "quant_config.json",
            {"w_bit": 4, "q_group_size": 128, "zero_point": True, "version": "GEMM"},
            CASES["awq"][1],
        ),
    ],
)
def test_documents_beside_a_configuration(
    document: str, settings: Mapping[str, object], packed: int | None
) -> None:
    model = described(LLAMA_8B, {document: settings})
    if packed is None:
        # The attention stays in 16 bits: 32 layers of 2 × 4096² + 2 × 1024 × 4096.
        left = 32 * (2 * 4096 * 4096 + 2 * 1024 * 4096)
        packed = (LINEAR - left) // 2 + (LINEAR - left) // 16 + 8 * 3 * 32 + 2 * left
    assert model.checkpoint_bytes == packed + 2 * REST
    assert "packed as the settings" in " ".join(note.message for note in model.notes)


def described(config: Mapping[str, object], documents: Mapping[str, Mapping[str, object]]) -> Any:
    return describe(
        Snapshot(
            model="a/test",
            revision=None,
            source="local",
            config=config,
            documents=documents,
            files=(),
            checkpoint=None,
        )
    )


@pytest.mark.parametrize(
    ("settings", "printed"),
    [
        # What vLLM 0.19 printed for RedHatAI's fp8-dynamic and w8a8, in GiB.
        (CASES["fp8, a scale a row"][0], 8.49),
        (CASES["w8a8"][0], 8.49),
    ],
)
def test_what_vllm_printed(settings: Mapping[str, object], printed: float) -> None:
    model = described({**LLAMA_8B, "quantization_config": settings}, {})
    memory = RUNTIMES["vllm"].estimate(model, workload(ctx=8192, runtime="vllm"), None)
    weights = memory.largest.part("weights")
    assert weights.bytes / GIB == pytest.approx(printed, rel=0.005)
    assert weights.basis == "derived"


@pytest.mark.parametrize(
    "settings",
    [
        {"quant_method": "hqq", "quant_config": {}},
        {"quant_method": "gptq", "bits": 4, "group_size": 128, "dynamic": {"-:.*gate.*": {}}},
        {"quant_method": "gptq", "bits": 5, "group_size": 128},
        {"quant_method": "fp8", "weight_block_size": [64, 64]},
        {"quant_method": "modelopt", "quant_algo": "MIXED_PRECISION"},
        {
            **compressed("pack-quantized", num_bits=4, strategy="group", group_size=128),
            "ignore": ["re:[a-z]+"],
        },
        {"quant_method": "compressed-tensors", "config_groups": {"a": {}, "b": {}}},
        {"quant_method": 3},
    ],
)
def test_what_is_not_understood_stays_unknown(settings: Mapping[str, object]) -> None:
    assert quantized_tensors(read({**LLAMA_8B, "quantization_config": settings}), {}) is None
    assert described({**LLAMA_8B, "quantization_config": settings}, {}).weights is None


def test_settings_in_a_section_are_settings_of_the_model() -> None:
    """Kimi K2.5's and K3's stand in text_config."""
    settings = CASES["w4a16"][0]
    nested = {**LLAMA_8B, "text_config": {**LLAMA_8B, "quantization_config": settings}}
    model = described(nested, {})
    assert model.checkpoint_bytes == CASES["w4a16"][1] + 2 * REST


def test_settings_of_the_cache_alone_pack_nothing() -> None:
    document = {"quantization": {"quant_algo": None, "kv_cache_quant_algo": "FP8"}}
    model = described(LLAMA_8B, {"hf_quant_config.json": document})
    assert model.checkpoint_bytes == 2 * (LINEAR + REST)
    assert model.kv_scheme == "fp8"


def test_layers_are_left_out_one_by_one() -> None:
    settings = {
        "quant_method": "fp8",
        "weight_block_size": [128, 128],
        "modules_to_not_convert": ["lm_head", "model.layers.0", "model.layers.31.mlp.down_proj"],
    }
    found = stored(settings)
    counts: Counter[str] = Counter()
    for run in found:
        if run.dtype == "F8_E4M3":
            counts[run.name.rpartition(".mlp.")[2]] += run.count
    assert counts["down_proj.weight"] == 30
    assert counts["up_proj.weight"] == 31


PUBLISHED = {
    # By type where the Hub's own parser counts them (huggingface.js,
    # parse-safetensors-metadata.spec.ts), scales of 8 bits with them.
    "deepseek-ai--DeepSeek-V4-Pro": {
        "BF16": 2_816_899_328,
        "I64": 2_327_040,
        "F32": 87_776_414,
        "F8_E4M3": 23_169_335_296,
        "I8": 786_381_668_352,
        "F8_E8M0": 49_150_268_416,
    },
}
# The same without scales, which the Hub leaves out; packed bytes as they are.
WITHOUT_SCALES = {
    "moonshotai--Kimi-K3": {
        "BF16": 57_179_884_544,
        "F32": 11_122_432,
        "U8": 1_361_370_415_104,
    },
}
# Elements that the Hub shows of the files: with FP8's scales, without NVFP4's.
TOTALS = {
    "Qwen--Qwen3-32B-FP8": (32_764_027_904, True),
    "Qwen--Qwen3-30B-A3B-FP8": (30_533_947_392, True),
    "nvidia--Qwen3.5-122B-A10B-NVFP4": (64_580_759_280, False),
    # Without its e_score_correction_bias, 256 in each of 75 layers.
    "nvidia--GLM-5.1-NVFP4": (381_523_333_632 + 75 * 256, False),
    "nvidia--MiniMax-M2.5-NVFP4": (116_349_510_656 + 62 * 256, False),
}


def published(shared: Path, name: str) -> tuple[tuple[TensorRun, ...], Mapping[str, object]]:
    path = shared / "corpus" / "configs" / f"{name}.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    found = quantized_tensors(read(config), {})
    assert found is not None
    return found, config


@pytest.mark.shared
@pytest.mark.parametrize("name", PUBLISHED)
def test_published_counts_by_type(shared: Path, name: str) -> None:
    found, _ = published(shared, name)
    counts: Counter[str] = Counter()
    for run in found:
        counts[run.dtype] += run.elements * run.count
    assert dict(counts) == PUBLISHED[name]


@pytest.mark.shared
@pytest.mark.parametrize("name", WITHOUT_SCALES)
def test_published_counts_by_type_without_scales(shared: Path, name: str) -> None:
    found, config = published(shared, name)
    told = packing(found, config=config, documents={})
    counts: Counter[str] = Counter()
    for run in found:
        if told.stored(run).role != "scale":
            counts[run.dtype] += run.elements * run.count
    assert dict(counts) == WITHOUT_SCALES[name]


@pytest.mark.shared
@pytest.mark.parametrize("name", TOTALS)
def test_published_totals(shared: Path, name: str) -> None:
    total, with_scales = TOTALS[name]
    found, config = published(shared, name)
    told = packing(found, config=config, documents={})
    counted = (run for run in found if with_scales or told.stored(run).role != "scale")
    assert sum(run.elements * run.count for run in counted) == total


@pytest.mark.shared
def test_published_bytes_of_mlx(shared: Path) -> None:
    found, _ = published(shared, "mlx-community--Qwen3-14B-4bit")
    assert total_bytes(found) == 8_307_783_680

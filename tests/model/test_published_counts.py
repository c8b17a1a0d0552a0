"""The Hub's own counts of repositories: equal to the last parameter, or not told at all."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from hfmem.checkpoint.snapshot import Snapshot
from hfmem.model.describe import describe
from hfmem.model.model import Model
from hfmem.source.recorded import bundled

pytestmark = pytest.mark.shared

# By the published row: the configuration of the same weights, where it stands under another name.
CONFIGS = {
    "google-bert/bert-base-uncased": "google-bert--bert-base-uncased",
    "bigscience/bloom": "bigscience--bloom",
    "RedHatAI/Meta-Llama-3.1-8B-Instruct-quantized.w4a16": "meta-llama--Llama-3.1-8B-Instruct",
    "RedHatAI/Llama-3.3-70B-Instruct-quantized.w4a16": "meta-llama--Llama-3.1-70B-Instruct",
    "unsloth/Meta-Llama-3.1-8B-Instruct-bnb-4bit": "meta-llama--Llama-3.1-8B-Instruct",
    "openai/gpt-oss-20b": "openai--gpt-oss-20b",
    "openai/gpt-oss-120b": "openai--gpt-oss-120b",
    "moonshotai/Kimi-K2.5": "nvidia--Kimi-K2.5-NVFP4",
    "moonshotai/Kimi-K3": "moonshotai--Kimi-K3",
    "deepseek-ai/DeepSeek-V4-Pro": "deepseek-ai--DeepSeek-V4-Pro",
}
# Published configurations that are not in the corpus, by the keys that decide sizes.
INLINE: dict[str, dict[str, object]] = {
    "Alignment-Lab-AI/ALAI-gemma-7b": {
        "architectures": ["GemmaForCausalLM"],
        "model_type": "gemma",
        "torch_dtype": "bfloat16",
        "hidden_size": 3072,
        "intermediate_size": 24576,
        "num_hidden_layers": 28,
        "num_attention_heads": 16,
        "num_key_value_heads": 16,
        "head_dim": 256,
        "vocab_size": 256000,
    },
    "roberta-base": {
        "architectures": ["RobertaForMaskedLM"],
        "model_type": "roberta",
        "torch_dtype": "float32",
        "hidden_size": 768,
        "intermediate_size": 3072,
        "num_hidden_layers": 12,
        "num_attention_heads": 12,
        "vocab_size": 50265,
        "max_position_embeddings": 514,
        "type_vocab_size": 1,
    },
}
BESIDE = {
    # A buffer of 514 positions, which the class computes.
    "roberta-base": 514,
    # The Hub counts one scale a row as a parameter.
    "RedHatAI/Meta-Llama-3.1-8B-Instruct-quantized.w4a16": 1_376_256,
    # The file holds the pooler and the head for next sentences, which BertForMaskedLM has not.
    "google-bert/bert-base-uncased": 768 * 768 + 768 + 2 * 768 + 2,
}


def rows(shared: Path) -> dict[str, Any]:
    text = (shared / "corpus" / "published_dtype_counts.jsonl").read_text(encoding="utf-8")
    return {row["model"]: row for row in map(json.loads, text.splitlines())}


def model(shared: Path, name: str) -> Model:
    config = INLINE.get(name)
    if config is None:
        path = shared / "corpus" / "configs" / f"{CONFIGS[name]}.json"
        config = json.loads(path.read_text(encoding="utf-8"))
    return describe(
        Snapshot(
            model=name,
            revision=None,
            source="local",
            config=config,
            documents={},
            files=(),
            checkpoint=None,
        )
    )


@pytest.mark.parametrize("name", [*CONFIGS, *INLINE])
def test_total_from_the_configuration_alone(shared: Path, name: str) -> None:
    published = rows(shared)[name]["total"] - BESIDE.get(name, 0)
    found = model(shared, name).parameters
    assert found is not None
    assert found.total == published


@pytest.mark.parametrize(
    ("name", "dtype"), [("moonshotai/Kimi-K2.5", "I32"), ("openai/gpt-oss-20b", "U8")]
)
def test_packed_experts_from_the_configuration_alone(shared: Path, name: str, dtype: str) -> None:
    """The Hub counts biases of experts with the rest, which are BF16."""
    published = rows(shared)[name]["parameter_count_by_dtype"]
    found = model(shared, name).parameters
    assert found is not None
    biases = 32 * (2 * 2880 + 2880) * 24 if name == "openai/gpt-oss-20b" else 0
    assert found.by_component["experts"] == published[dtype] + biases


def test_gpt_oss_by_type_from_its_recorded_headers(shared: Path) -> None:
    snapshot = bundled("openai/gpt-oss-20b")
    assert snapshot is not None
    found = describe(snapshot).parameters
    assert found is not None
    row = rows(shared)["openai/gpt-oss-20b"]
    assert dict(found.by_dtype) == row["parameter_count_by_dtype"]

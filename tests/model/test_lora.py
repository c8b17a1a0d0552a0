"""Adapters on real shapes, against counts that libraries printed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hfmem.errors import HfmemError, InvalidValueError, UsageError
from hfmem.model.describe import describe
from hfmem.model.lora import LoraSpec, adapter_parameters, adapters, spec_of
from hfmem.model.model import Model
from hfmem.source import Access
from hfmem.source.access import find
from tests.memory.training_models import LLAMA_8B, model_of

LLAMA_3B = {
    **LLAMA_8B,
    "hidden_size": 3072,
    "intermediate_size": 8192,
    "num_hidden_layers": 28,
    "num_attention_heads": 24,
    "head_dim": 128,
    "tie_word_embeddings": True,
}
LLAMA_70B = {
    **LLAMA_8B,
    "hidden_size": 8192,
    "intermediate_size": 28672,
    "num_hidden_layers": 80,
    "num_attention_heads": 64,
}
LLAMA_2_7B = {
    **LLAMA_8B,
    "intermediate_size": 11008,
    "num_key_value_heads": 32,
    "vocab_size": 32000,
}
QWEN3_32B = {
    **LLAMA_8B,
    "architectures": ["Qwen3ForCausalLM"],
    "model_type": "qwen3",
    "hidden_size": 5120,
    "intermediate_size": 25600,
    "num_hidden_layers": 64,
    "num_attention_heads": 64,
    "head_dim": 128,
    "vocab_size": 151936,
}
QWEN3_4B = {
    **QWEN3_32B,
    "hidden_size": 2560,
    "intermediate_size": 9728,
    "num_hidden_layers": 36,
    "num_attention_heads": 32,
    "tie_word_embeddings": True,
}
GPT2 = {
    "architectures": ["GPT2LMHeadModel"],
    "model_type": "gpt2",
    "n_embd": 768,
    "n_layer": 12,
    "n_head": 12,
    "n_positions": 1024,
    "vocab_size": 50257,
    "dtype": "float32",
}
QV = ("q_proj", "v_proj")


@pytest.mark.parametrize(
    ("config", "spec", "trainable"),
    [
        # peft's benchmark results, method_comparison/MetaMathQA.
        (LLAMA_3B, LoraSpec(rank=32, targets=QV), 9_175_040),
        (LLAMA_3B, LoraSpec(rank=64, targets=QV), 18_350_080),
        (LLAMA_3B, LoraSpec(rank=32, targets=QV, dora=True), 9_289_728),
        (
            LLAMA_3B,
            LoraSpec(rank=10, targets=("gate_proj", "up_proj", "down_proj")),
            9_461_760,
        ),
        # Unsloth's notebooks print the trainable parameters.
        (LLAMA_70B, LoraSpec(rank=16), 207_093_760),
        (QWEN3_32B, LoraSpec(rank=32), 268_435_456),
        (QWEN3_4B, LoraSpec(rank=16), 33_030_144),
        # litgpt tutorials/resource-tables.md.
        (LLAMA_2_7B, LoraSpec(rank=8, targets=QV), 4_194_304),
        # A dozen write-ups of QLoRA.
        (LLAMA_8B, LoraSpec(rank=16), 41_943_040),
        # peft's README for GPT-2: c_attn [768, 2304], rank 8.
        (GPT2, LoraSpec(rank=8, targets=("c_attn",)), 12 * 8 * (768 + 2304)),
    ],
)
def test_trainable(config: dict[str, object], spec: LoraSpec, trainable: int) -> None:
    model = model_of(config)
    assert model.weights is not None
    assert adapters(model.weights, spec).trainable == trainable


def bundled(name: str) -> Model:
    """A model of the package."""
    access = Access(
        source="recorded",
        recorded=None,
        revision=None,
        token=None,
        offline=True,
        waits_for_quota=False,
    )
    return describe(find(name, access))


@pytest.mark.parametrize(
    ("name", "rank", "trainable"),
    [
        # Unsloth's notebooks on gpt-oss: attention alone, the experts are fused and the router is
        # no linear layer.
        ("openai/gpt-oss-20b", 8, 3_981_312),
        # Four projections of 48 layers: 2,048 ↔ 4,096, and 2,048 → 512 twice.
        ("Qwen/Qwen3-30B-A3B", 16, 48 * 16 * (2 * (2048 + 4096) + 2 * (2048 + 512))),
        ("mistralai/Mixtral-8x7B-Instruct-v0.1", 8, 32 * 8 * (2 * 8192 + 2 * 5120)),
    ],
)
def test_routed_experts_are_left_alone(name: str, rank: int, trainable: int) -> None:
    model = bundled(name)
    assert model.unpacked is not None
    found = adapters(model.unpacked, LoraSpec(rank=rank))
    assert found.trainable == trainable
    assert found.skipped_experts


def test_latent_attention_and_shared_experts() -> None:
    """DeepSeek-V3: q_a, q_b, kv_a, kv_b, o of 61 layers, three dense MLPs and 58 shared experts."""
    model = bundled("deepseek-ai/DeepSeek-V3")
    assert model.unpacked is not None
    h, heads = 7168, 128
    attention = (h + 1536) + (1536 + heads * 192) + (h + 576) + (512 + heads * 256)
    attention += heads * 128 + h
    found = adapters(model.unpacked, LoraSpec(rank=1))
    assert found.trainable == 61 * attention + 3 * 3 * (h + 18432) + 58 * 3 * (h + 2048)


def test_a_vision_tower_is_reached_by_all_linear_and_can_be_left_out() -> None:
    model = bundled("google/gemma-3-27b-it")
    assert model.unpacked is not None
    every = adapters(model.unpacked, LoraSpec(rank=8))
    text = adapters(
        model.unpacked,
        LoraSpec(rank=8, targets=r".*language_model.*\.(q|k|v|o|gate|up|down)(_proj)"),
    )
    assert {one.component for one in every.linear} >= {"vision", "language"}
    # Unsloth's notebook on the language layers of the same model.
    assert text.trainable == 56_758_272


def test_modules_to_save_are_whole_copies() -> None:
    model = model_of(LLAMA_8B)
    assert model.weights is not None
    spec = LoraSpec(rank=16, modules_to_save=("embed_tokens", "lm_head"))
    assert adapters(model.weights, spec).trainable == 41_943_040 + 2 * 128_256 * 4096


def test_layers_and_ranks_by_name() -> None:
    model = model_of(LLAMA_8B)
    assert model.weights is not None
    some = adapters(model.weights, LoraSpec(rank=8, targets=("q_proj",), layers=frozenset({0, 31})))
    assert some.trainable == 2 * 8 * 8192
    assert [one.layers for one in some.linear] == [(0, 31)]
    mixed = adapters(
        model.weights,
        LoraSpec(rank=8, targets=QV, rank_pattern=(("layers.3.self_attn.v_proj", 2),)),
    )
    assert mixed.trainable == 32 * 8 * 8192 + 31 * 8 * 5120 + 2 * 5120


@given(
    rank=st.integers(1, 512),
    in_features=st.integers(1, 10_000),
    out_features=st.integers(1, 10_000),
)
def test_parameters_are_those_of_two_matrices(
    rank: int, in_features: int, out_features: int
) -> None:
    found = adapter_parameters(rank=rank, in_features=in_features, out_features=out_features)
    assert found == rank * in_features + out_features * rank


def test_no_module_of_that_name() -> None:
    model = model_of(LLAMA_8B)
    assert model.weights is not None
    with pytest.raises(UsageError, match="c_attn") as caught:
        adapters(model.weights, LoraSpec(targets=("c_attn",)))
    assert "q_proj" in caught.value.hint


@pytest.mark.parametrize("pattern", ["(a+)+b", "(a|a)*b", "(", "x" * 1001])
def test_a_hostile_expression_is_refused(pattern: str) -> None:
    model = model_of(LLAMA_8B)
    assert model.weights is not None
    with pytest.raises(InvalidValueError):
        adapters(model.weights, LoraSpec(targets=pattern))


@pytest.mark.parametrize(
    "config",
    [
        {"peft_type": "IA3"},
        {"r": 0},
        {"r": True},
        {"r": 10**9},
        {"layers_to_transform": [-1]},
        {"layers_to_transform": "all"},
        {"rank_pattern": {"q_proj": "8"}},
    ],
)
def test_a_nonsensical_adapter_config_is_refused(config: dict[str, object]) -> None:
    with pytest.raises(InvalidValueError):
        spec_of({"r": 8, **config})


def test_an_adapter_config_is_read() -> None:
    spec = spec_of(
        {
            "peft_type": "LORA",
            "r": 64,
            "target_modules": ["v_proj", "q_proj"],
            "modules_to_save": ["lm_head"],
            "use_dora": True,
            "lora_dropout": 0.05,
        }
    )
    assert spec == LoraSpec(
        rank=64, targets=QV[::1], modules_to_save=("lm_head",), dora=True, dropout=True
    )


@pytest.mark.shared
def test_every_collected_adapter_config_is_read_or_refused(shared: Path) -> None:
    read = refused = 0
    for path in sorted((shared / "corpus" / "adapters").glob("*.json")):
        try:
            spec_of(json.loads(path.read_text(encoding="utf-8")))
            read += 1
        except HfmemError:
            refused += 1
    assert read >= 10
    assert refused > 20

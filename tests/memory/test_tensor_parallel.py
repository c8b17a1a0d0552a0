"""Who holds what: tensors divided and repeated by name and shape, and nothing lost."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hfmem.checkpoint.tensor import TensorRun
from hfmem.memory.tensor_parallel import Rank, rank_bytes, rank_weights
from hfmem.model.components import Component
from hfmem.model.describe import describe
from hfmem.model.model import Model
from hfmem.model.weights import WeightRun
from hfmem.source.recorded import bundled


def weight(
    name: str, shape: tuple[int, ...], *, component: Component = "language", dtype: str = "BF16"
) -> WeightRun:
    size = 2 if dtype == "BF16" else 1
    elements = 1
    for one in shape:
        elements *= one
    low, _, high = name.partition("{")[2].partition("}")[0].partition("..")
    count = int(high) - int(low) + 1 if high else 1
    run = TensorRun(name=name, dtype=dtype, shape=shape, bytes=elements * size, count=count)
    return WeightRun(
        run=run,
        component=component,
        logical=elements,
        packed=dtype != "BF16",
        loaded=True,
    )


def rank(tp: int = 1, **changes: Any) -> Rank:
    facts: dict[str, Any] = {
        "tp": tp,
        "experts": 1,
        "stage": range(32),
        "first": True,
        "last": True,
        "heads": 32,
        "kv_heads": 8,
        "tied": False,
        "towers_divided": True,
        "experts_widened": (1, 1),
    }
    return Rank(**(facts | changes))


Q = "model.layers.{0..31}.self_attn.q_proj.weight"
K = "model.layers.{0..31}.self_attn.k_proj.weight"
EMBEDDING = "model.embed_tokens.weight"


# vLLM 0.33 model_executor/layers/linear.py and vocab_parallel_embedding.py.
@pytest.mark.parametrize(
    ("one", "tp", "share"),
    [
        (weight(Q, (4096, 4096)), 4, 32 * 4096 * 1024),
        (weight(K, (1024, 4096)), 4, 32 * 256 * 4096),
        # Eight heads on sixteen ranks: each holds one, twice in all.
        (weight(K, (1024, 4096)), 16, 32 * 128 * 4096),
        # 32 query heads and 2 × 8 of keys and values: 2 + 2 heads of 128 on a rank.
        (
            weight("model.layers.{0..31}.self_attn.qkv_proj.weight", (6144, 4096)),
            16,
            32 * (2 + 2) * 128 * 4096,
        ),
        (weight("model.layers.{0..31}.input_layernorm.weight", (4096,)), 4, 32 * 4096),
        (weight("model.layers.{0..31}.mlp.gate.weight", (128, 2048)), 4, 32 * 128 * 2048),
        (
            weight("model.layers.{0..31}.self_attn.kv_a_proj_with_mqa.weight", (576, 7168)),
            8,
            32 * 576 * 7168,
        ),
        (
            weight("model.layers.{0..31}.self_attn.kv_b_proj.weight", (32768, 512)),
            8,
            32 * 4096 * 512,
        ),
        # 49,155 entries are padded to 49,216 = 769 × 64.
        (weight(EMBEDDING, (49155, 2048), component="embedding"), 2, 24608 * 2048),
        (
            weight("vision_tower.layers.{0..26}.fc1.weight", (4304, 1152), component="vision"),
            2,
            27 * 2152 * 1152,
        ),
    ],
)
def test_shares(one: WeightRun, tp: int, share: int) -> None:
    assert rank_bytes(one, rank(tp), dtype="BF16", model_type="llama") == 2 * share


def test_experts_are_divided_or_dealt_out() -> None:
    one = weight("model.layers.{0..31}.mlp.experts.gate_up_proj", (128, 4096, 768))
    one = WeightRun(run=one.run, component="experts", logical=1, packed=False, loaded=True)
    whole = one.run.total_bytes
    sizes = [
        rank_bytes(one, found, dtype="BF16", model_type=None)
        for found in (rank(4), rank(4, experts=8))
    ]
    assert sizes == [whole // 4, whole // 8]


def test_mxfp4_experts_are_padded_to_the_kernels_tiles() -> None:
    # gpt-oss on Hopper: 2,880 inputs in tiles of 256 are 3,072 (64.38 GiB of 60.77 measured).
    one = weight(
        "model.layers.{0..31}.mlp.experts.gate_up_proj_blocks", (32, 5760, 90, 16), dtype="U8"
    )
    one = WeightRun(run=one.run, component="experts", logical=1, packed=True, loaded=True)
    found = rank_bytes(one, rank(experts_widened=(256, 1)), dtype="BF16", model_type="gpt_oss")
    assert found == one.run.total_bytes * 3072 // 2880


def test_encoders_that_are_not_divided() -> None:
    one = weight("vision_tower.blocks.{0..23}.fc.weight", (4096, 1024), component="vision")
    kept = rank_bytes(one, rank(4, towers_divided=False), dtype="BF16", model_type="mistral3")
    assert kept == one.run.total_bytes


def model(name: str) -> Model:
    snapshot = bundled(name)
    assert snapshot is not None
    return describe(snapshot)


MODELS = (
    "meta-llama/Llama-3.1-8B-Instruct",
    "Qwen/Qwen3-30B-A3B",
    "google/gemma-3-27b-it",
    "deepseek-ai/DeepSeek-V3",
)


@settings(max_examples=20, deadline=None)
@given(st.sampled_from(MODELS), st.sampled_from([1, 2, 4, 8]), st.integers(1, 4))
def test_ranks_together_hold_at_least_everything(name: str, tp: int, stages: int) -> None:
    found = model(name)
    assert found.weights is not None
    layers = len(found.decoder.layers)
    bounds = [layers * number // stages for number in range(stages + 1)]
    tied = not any(run.component == "head" and run.loaded for run in found.weights)

    def held(number: int, ranks: int) -> int:
        one = rank(
            ranks,
            stage=range(bounds[number], bounds[number + 1]),
            first=number == 0,
            last=number == stages - 1,
            heads=found.decoder.attention_heads,
            kv_heads=found.decoder.kv_heads,
            tied=tied,
        )
        weights = rank_weights(
            found.weights or (), one, dtype=found.dtype, model_type=found.model_type
        )
        assert weights.bytes == sum(part.bytes for part in weights.parts)
        return weights.bytes

    loaded = sum(run.run.total_bytes for run in found.weights if run.loaded)
    alone = sum(held(number, 1) for number in range(stages))
    together = sum(held(number, tp) for number in range(stages)) * tp
    assert alone >= loaded * 0.999
    # A rank of more ranks never holds more, and all together never less.
    assert together >= alone
    assert all(held(number, tp) <= held(number, 1) for number in range(stages))


@pytest.mark.parametrize(
    ("name", "shape", "whole"),
    [
        # vLLM 0.33 models/deepseek_v4/attention.py, compressor.py: disable_tp, ReplicatedLinear.
        ("layers.{0..31}.attn.compressor.wkv.weight", (1024, 7168), True),
        ("layers.{0..31}.attn.indexer.wq_b.weight", (8192, 1536), True),
        ("layers.{0..31}.attn.wkv.weight", (512, 7168), True),
        ("layers.{0..31}.hc_attn_fn", (24, 28672), True),
        ("model.layers.{0..31}.attn_hc.fn", (24, 28672), True),
        ("layers.{0..31}.attn.wq_b.weight", (65536, 1536), False),
        ("layers.{0..31}.attn.wo_b.weight", (7168, 16384), False),
    ],
)
def test_what_deepseek_v4_repeats(name: str, shape: tuple[int, ...], whole: bool) -> None:
    run = weight(name, shape)
    one, eighth = (rank_bytes(run, rank(tp), dtype="BF16", model_type=None) for tp in (1, 8))
    assert eighth == (one if whole else one // 8)

"""What one step reads: weights by component, experts by batch, cache by kind."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from hfmem.checkpoint.snapshot import Snapshot
from hfmem.hardware.cache_reads import kv_bits
from hfmem.hardware.traffic import Traffic, touched, traffic
from hfmem.memory.quantize import convert, scheme
from hfmem.memory.weights import weights
from hfmem.memory.workload import workload
from hfmem.model.describe import describe
from hfmem.model.layers import (
    CompressedAttention,
    FullAttention,
    LatentAttention,
    Layer,
    RecurrentState,
    SharedCache,
    SlidingWindow,
)
from hfmem.model.model import Model
from hfmem.source.recorded import bundled


def model_of(name: str) -> Model:
    snapshot = bundled(name)
    assert snapshot is not None
    return describe(snapshot)


LLAMA = model_of("meta-llama/Llama-3.1-8B-Instruct")


def tiny(*, tied: bool) -> Model:
    """A gated decoder: hidden 64, two layers, 4 heads of 16, 2 KV heads, 1,000 words."""
    config = {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "torch_dtype": "bfloat16",
        "hidden_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "intermediate_size": 128,
        "vocab_size": 1000,
        "max_position_embeddings": 4096,
        "tie_word_embeddings": tied,
    }
    return describe(
        Snapshot(
            model="org/tiny",
            revision=None,
            source="recorded",
            config=config,
            documents={},
            files=(),
            checkpoint=None,
        )
    )


def read(
    model: Model, *, ctx: int = 8192, batch: int = 1, quantize: str | None = None, kv: str = "auto"
) -> Traffic:
    asked = workload(ctx=ctx, batch=batch, quantize=quantize)
    held = (
        weights(model.weights or (), dtype=model.dtype, model_type=model.model_type)
        if quantize is None
        else convert(model, scheme(quantize), dtype=model.dtype).weights
    )
    found = traffic(model, weights=held, workload=asked, ctx=ctx, batch=batch, kv_dtype=kv)
    assert found is not None
    return found


def layered(*layers: Layer) -> Model:
    return replace(LLAMA, decoder=replace(LLAMA.decoder, layers=layers))


@pytest.mark.parametrize(
    ("experts", "chosen", "batch", "expected"),
    # E(1 − (1 − k/E)^B), computed with bc.
    [
        (8, 2, 1, 2.0),
        (8, 2, 4, 5.5),
        (8, 2, 8, 7.2),
        (128, 4, 16, 51.0),
        (128, 8, 32, 111.8),
        (256, 8, 128, 251.6),
        (512, 10, 64, 367.1),
        (128, 8, 10**6, 128.0),
    ],
)
def test_experts_touched(experts: int, chosen: int, batch: int, expected: float) -> None:
    assert float(touched(experts, chosen, batch)) == pytest.approx(expected, abs=0.06)


@given(st.integers(1, 64), st.integers(1, 300))
def test_a_larger_batch_touches_no_fewer_experts(chosen: int, batch: int) -> None:
    assert chosen <= touched(64, chosen, batch) <= touched(64, chosen, batch + 1) <= 64


def test_a_dense_model_reads_all_but_the_embedding() -> None:
    found = read(LLAMA)
    # 8,030,261,248 parameters without 128,256 × 4,096 of embedding, at 2 bytes.
    assert found.dense_bytes == 2 * (8_030_261_248 - 128_256 * 4096)
    assert found.cache_bytes == 8192 * 131_072
    assert found.expert_bytes == found.state_bytes == found.replicated_bytes == 0
    assert found.packing == "float"
    # 1,008 GB/s would make 62.7 tokens per second of it.
    assert 1008e9 / found.bytes == pytest.approx(62.7, abs=0.05)


def test_a_tied_head_is_read_as_the_head() -> None:
    tied, apart = tiny(tied=True), tiny(tied=False)
    assert read(tied).dense_bytes == read(apart).dense_bytes
    assert read(tied).active_parameters == read(apart).active_parameters
    assert read(tied).head_parameters == 64 * 1000


def test_a_sparse_model_reads_the_experts_of_its_batch() -> None:
    mixtral = model_of("mistralai/Mixtral-8x7B-Instruct-v0.1")
    experts = 2 * 32 * 8 * 3 * 4096 * 14336
    assert read(mixtral).expert_bytes == experts * 2 // 8
    assert read(mixtral, batch=4).expert_bytes == experts * 175 // 256  # 1 − (3/4)^4
    # 12,879,925,248 active, of which 32,000 × 4,096 are the embedding.
    assert read(mixtral).active_parameters == 12_879_925_248 - 32_000 * 4096
    assert read(mixtral).routed_layers == 32


def test_routing_that_is_not_told_is_unknown() -> None:
    mixtral = model_of("mistralai/Mixtral-8x7B-Instruct-v0.1")
    decoder = replace(mixtral.decoder, text=LLAMA.decoder.text)
    blind = replace(mixtral, decoder=decoder)
    held = weights(blind.weights or (), dtype="BF16", model_type="mixtral")
    asked = workload(ctx=8)
    assert traffic(blind, weights=held, workload=asked, ctx=8, batch=1, kv_dtype="auto") is None


FULL = FullAttention(kv_heads=8, head_dim=128, v_head_dim=128)
TOKEN = 8 * 256 * 2
LATENT = LatentAttention(rank=512, rope_dim=64, heads=128)


@pytest.mark.parametrize(
    ("layers", "cache", "state"),
    [
        (((FULL,),), 4096 * TOKEN, 0),
        (
            ((SlidingWindow(kv_heads=8, head_dim=128, v_head_dim=128, window=1024),),),
            1024 * TOKEN,
            0,
        ),
        # DeepSeek-V3: 576 elements a token, for all heads.
        (((LATENT,),), 4096 * 576 * 2, 0),
        # An indexer reads the key of every token; without index_topk so does the attention.
        (((replace(LATENT, indexer_dim=128),),), 4096 * (576 + 128) * 2, 0),
        # DeepSeek-V4: the window, and one key for every 128 tokens.
        (
            ((CompressedAttention(head_dim=512, window=128, ratio=128),),),
            (128 + 32) * 512 * 2,
            0,
        ),
        # A state is read and written; 100 elements in the model's type, 1,000 in fp32.
        (
            (
                (
                    RecurrentState(
                        conv_elements=100,
                        state_elements=1000,
                        conv_dtype=None,
                        state_dtype="F32",
                    ),
                ),
            ),
            0,
            2 * (200 + 4000),
        ),
        # A layer that shares a cache reads it again.
        (((FULL,), (SharedCache(of_layer=0),)), 2 * 4096 * TOKEN, 0),
    ],
)
def test_cache_is_read_by_its_kind(layers: tuple[Layer, ...], cache: int, state: int) -> None:
    found = read(layered(*layers), ctx=4096)
    assert (found.cache_bytes, found.state_bytes) == (cache, state)


def test_a_sparse_attention_reads_what_its_indexer_chose() -> None:
    text = LLAMA.decoder.text.with_values({"index_topk": 2048})
    sparse = layered((replace(LATENT, indexer_dim=128),))
    sparse = replace(sparse, decoder=replace(sparse.decoder, text=text))
    found = read(sparse, ctx=32_768)
    assert found.cache_bytes == (2048 * 576 + 32_768 * 128) * 2
    assert found.replicated_bytes == found.cache_bytes


def test_gemma_reads_its_windows() -> None:
    gemma = model_of("google/gemma-3-27b-it")
    # 10 full and 52 sliding layers of 8,192 bytes a token, window 1,024.
    assert read(gemma, ctx=32_768).cache_bytes == (10 * 32_768 + 52 * 1024) * 8192
    # The picture tower ran before the first token.
    vision = (gemma.parameters or pytest.fail("no parameters")).by_component["vision"]
    assert read(gemma).dense_bytes < 2 * (27_432_406_640 - vision)


@pytest.mark.parametrize(
    ("quantize", "packing", "bits"),
    [
        ("gptq-4bit", "int4", 4.156),
        ("awq-4bit", "int4", 4.156),
        ("fp8", "fp8", 8),
        ("int8", "int8", 8),
    ],
)
def test_quantized_weights_are_read_as_loaded(quantize: str, packing: str, bits: float) -> None:
    found = read(LLAMA, quantize=quantize)
    head = 2 * 128_256 * 4096
    linear = 6_979_321_856 * bits / 8
    assert found.packing == packing
    assert found.dense_bytes == pytest.approx(head + linear, rel=0.005)


@pytest.mark.parametrize(
    ("name", "bits"),
    [
        ("auto", 16),
        ("bfloat16", 16),
        ("fp8_e4m3", 8),
        ("int8_per_token_head", 8),
        ("hqq-int4", 4),
        # ggml-common.h: blocks of 32 in 34 and 18 bytes, of 64 in 36.
        ("q8_0", Fraction(17, 2)),
        ("q4_0", Fraction(9, 2)),
        ("nvfp4", Fraction(9, 2)),
    ],
)
def test_cache_types(name: str, bits: Fraction) -> None:
    assert kv_bits(name, "BF16") == bits


@given(st.integers(1, 100_000), st.integers(1, 64))
def test_more_tokens_and_more_sequences_move_no_less(ctx: int, batch: int) -> None:
    model = layered((FULL,), (LATENT,))
    here, longer, wider = (
        read(model, ctx=tokens, batch=count)
        for tokens, count in ((ctx, batch), (ctx + 1, batch), (ctx, batch + 1))
    )
    assert here.bytes <= longer.bytes
    assert here.bytes <= wider.bytes
    assert here.prompt_operations <= longer.prompt_operations


def test_attention_of_a_prompt_is_causal() -> None:
    found = read(layered((FULL,)), ctx=1000)
    # 4 × heads × head_dim × tokens for one token, half of the square for a prompt.
    assert found.attention_operations == 4 * 32 * 128 * 1000
    assert found.prompt_operations == 4 * 32 * 128 * 1000 * 1000 // 2

"""Tensor shapes as witnesses of the cache's width.

Widths are those of the published configurations; the tensors' shapes follow from each class of
transformers 5.23: which matrix puts out keys and values, and what else it puts out.
"""

from __future__ import annotations

import pytest

from hfmem.checkpoint.tensor import TensorRun, brace_count
from hfmem.model.architectures import Decoder, layers
from hfmem.model.config import read
from hfmem.model.layers import FullAttention, LatentAttention
from hfmem.model.weights import WeightRun
from hfmem.model.witnesses import confirmed

LLAMA = {
    "model_type": "llama",
    "hidden_size": 4096,
    "num_hidden_layers": 4,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "vocab_size": 100,
    "max_position_embeddings": 100,
}
DEEPSEEK = {
    "model_type": "deepseek_v3",
    "hidden_size": 7168,
    "num_hidden_layers": 4,
    "num_attention_heads": 128,
    "kv_lora_rank": 512,
    "qk_rope_head_dim": 64,
}


def stored(
    name: str, *shape: int, dtype: str = "BF16", packed: bool = False, loaded: bool = True
) -> WeightRun:
    count, size = brace_count(name), 2
    for side in shape:
        size *= side
    run = TensorRun(name=name, dtype=dtype, shape=shape, bytes=size, count=count)
    return WeightRun(run=run, component="language", logical=0, packed=packed, loaded=loaded)


def decoder(config: dict[str, object], **changed: object) -> Decoder:
    return layers(read({**config, **changed}))


def heads(found: Decoder) -> list[int]:
    return [
        kind.kv_heads for layer in found.layers for kind in layer if isinstance(kind, FullAttention)
    ]


FALCON_40B = {
    "model_type": "falcon",
    "hidden_size": 8192,
    "num_hidden_layers": 4,
    "num_attention_heads": 128,
    "new_decoder_architecture": True,
    "num_kv_heads": 8,
}
AGREEING: list[tuple[dict[str, object], tuple[WeightRun, ...]]] = [
    (
        LLAMA,
        (
            stored("model.layers.{0..3}.self_attn.k_proj.weight", 1024, 4096),
            stored("model.layers.{0..3}.self_attn.v_proj.weight", 1024, 4096),
        ),
    ),
    # FalconAttention: heads + 2 × kv heads, of 64; with multi_query one key and one value.
    (
        FALCON_40B,
        (stored("transformer.h.{0..3}.self_attention.query_key_value.weight", 9216, 8192),),
    ),
    (
        {
            "model_type": "falcon",
            "hidden_size": 4544,
            "num_hidden_layers": 4,
            "num_attention_heads": 71,
            "multi_query": True,
        },
        (stored("transformer.h.{0..3}.self_attention.query_key_value.weight", 73 * 64, 4544),),
    ),
    # GPTNeoXAttention, BloomAttention: three times the hidden size.
    (
        {
            "model_type": "gpt_neox",
            "hidden_size": 6144,
            "num_hidden_layers": 4,
            "num_attention_heads": 64,
        },
        (stored("gpt_neox.layers.{0..3}.attention.query_key_value.weight", 18432, 6144),),
    ),
    (
        {"model_type": "bloom", "hidden_size": 1024, "n_layer": 4, "n_head": 16},
        (stored("transformer.h.{0..3}.self_attention.query_key_value.weight", 3072, 1024),),
    ),
    # Phi3Attention: 32 + 2 × 8 heads of 96.
    (
        {
            "model_type": "phi3",
            "hidden_size": 3072,
            "num_hidden_layers": 4,
            "num_attention_heads": 32,
            "num_key_value_heads": 8,
        },
        (stored("model.layers.{0..3}.self_attn.qkv_proj.weight", 48 * 96, 3072),),
    ),
    # ChatGLM2: 32 heads and two groups of 128.
    (
        {
            "model_type": "chatglm",
            "hidden_size": 4096,
            "num_layers": 4,
            "num_attention_heads": 32,
            "multi_query_attention": True,
            "multi_query_group_num": 2,
            "kv_channels": 128,
        },
        (stored("transformer.encoder.layers.{0..3}.self_attention.query_key_value.weight",
                36 * 128, 4096),),
    ),
    # GPT2Attention's Conv1D is transposed; GPTBigCodeAttention's is not, and has one key and value.
    (
        {"model_type": "gpt2", "n_embd": 768, "n_layer": 4, "n_head": 12},
        (stored("h.{0..3}.attn.c_attn.weight", 768, 2304),),
    ),
    (
        {"model_type": "gpt_bigcode", "n_embd": 6144, "n_layer": 4, "n_head": 48},
        (stored("transformer.h.{0..3}.attn.c_attn.weight", 6144 + 256, 6144),),
    ),
    # DbrxAttention: 48 + 2 × 8 heads of 128.
    (
        {"model_type": "dbrx", "d_model": 6144, "n_layers": 4, "n_heads": 48,
         "attn_config": {"kv_n_heads": 8}},
        (stored("transformer.blocks.{0..3}.norm_attn_norm.attn.Wqkv.weight", 64 * 128, 6144),),
    ),
    (
        {"model_type": "t5", "d_model": 512, "num_layers": 4, "num_heads": 8, "d_kv": 64},
        (stored("decoder.block.{0..3}.layer.{0..0}.SelfAttention.k.weight", 512, 512),),
    ),
    (DEEPSEEK, (stored("model.layers.{0..3}.self_attn.kv_a_proj_with_mqa.weight", 576, 7168),)),
]  # fmt: skip


@pytest.mark.parametrize(("config", "weights"), AGREEING)
def test_what_agrees_is_left_alone(
    config: dict[str, object], weights: tuple[WeightRun, ...]
) -> None:
    before = decoder(config)
    after, notes = confirmed(before, weights)
    assert after == before
    assert notes == ()


@pytest.mark.parametrize(
    ("config", "weights", "expected"),
    [
        # The configuration says 4 heads of 128, the rows are those of 8.
        ({**LLAMA, "num_key_value_heads": 4},
         (stored("model.layers.{0..3}.self_attn.k_proj.weight", 1024, 4096),
          stored("model.layers.{0..3}.self_attn.v_proj.weight", 1024, 4096)), [8] * 4),
        # One layer only.
        (LLAMA,
         (stored("model.layers.{3..3}.self_attn.k_proj.weight", 512, 4096),
          stored("model.layers.{3..3}.self_attn.v_proj.weight", 512, 4096)), [8, 8, 8, 4]),
        # A joint matrix: 9,216 rows less 128 heads of 64 leave 8 heads, not 16.
        ({**FALCON_40B, "num_kv_heads": 16},
         (stored("transformer.h.{0..3}.self_attention.query_key_value.weight", 9216, 8192),),
         [8] * 4),
        ({"model_type": "phi3", "hidden_size": 3072, "num_hidden_layers": 2,
          "num_attention_heads": 32, "num_key_value_heads": 32},
         (stored("model.layers.{0..1}.self_attn.qkv_proj.weight", 48 * 96, 3072),), [8] * 2),
    ],
)  # fmt: skip
def test_the_headers_win(
    config: dict[str, object], weights: tuple[WeightRun, ...], expected: list[int]
) -> None:
    after, notes = confirmed(decoder(config), weights)
    assert heads(after) == expected
    assert [note.code for note in notes] == ["headers_contradict_config"]


def test_a_latent_of_another_rank() -> None:
    weights = [stored("model.layers.{0..3}.self_attn.kv_a_proj_with_mqa.weight", 320, 7168)]
    after, notes = confirmed(decoder(DEEPSEEK), weights)
    assert {kind.rank for layer in after.layers for kind in layer
            if isinstance(kind, LatentAttention)} == {256}  # fmt: skip
    assert "576 elements a token by the configuration, 320 by the headers" in notes[0].message


@pytest.mark.parametrize(
    "weight",
    [
        # Packed columns, a float8 pair of nibbles, an encoder, a draft, a gate in the matrix.
        stored("model.layers.{0..3}.self_attn.k_proj.weight", 512, 4096, packed=True),
        stored("model.layers.{0..3}.self_attn.k_proj.weight", 512, 4096, dtype="U8"),
        stored("vision_tower.vision_model.encoder.layers.{0..3}.self_attn.k_proj.weight", 9, 9),
        stored("model.layers.{0..3}.self_attn.k_proj.weight", 512, 4096, loaded=False),
        stored("model.layers.{0..3}.self_attn.qkv_proj.weight", 6144 + 32, 4096),
        stored("model.layers.{0..3}.self_attn.qkv_proj.weight", 6144, 1111),
    ],
)
def test_what_says_nothing_changes_nothing(weight: WeightRun) -> None:
    before = decoder(LLAMA)
    assert confirmed(before, [weight]) == (before, ())


def test_another_number_of_layers_is_a_note() -> None:
    fewer = [stored("model.layers.{0..2}.self_attn.k_proj.weight", 1024, 4096)]
    more = [stored("model.layers.{0..5}.self_attn.k_proj.weight", 1024, 4096)]
    assert [note.code for note in confirmed(decoder(LLAMA), fewer)[1]] == ["fewer_layers_stored"]
    assert [note.code for note in confirmed(decoder(LLAMA), more)[1]] == ["more_layers_stored"]


def test_layers_for_multi_token_prediction_are_expected() -> None:
    weights = [stored("model.layers.{0..4}.self_attn.kv_a_proj_with_mqa.weight", 576, 7168)]
    assert confirmed(decoder(DEEPSEEK, num_nextn_predict_layers=1), weights)[1] == ()


@pytest.mark.parametrize(("stored_experts", "codes"), [(8, []), (4, ["experts_contradict_config"])])
def test_another_number_of_experts_is_a_note(stored_experts: int, codes: list[str]) -> None:
    config = {**LLAMA, "model_type": "mixtral", "num_local_experts": 8}
    name = f"model.layers.{{0..3}}.block_sparse_moe.experts.{{0..{stored_experts - 1}}}.w1.weight"
    assert [note.code for note in confirmed(decoder(config), [stored(name, 8, 8)])[1]] == codes

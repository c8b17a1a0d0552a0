"""Components by name: published names of many families, and where the draft begins."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hfmem.checkpoint.tensor import TensorRun, brace_count
from hfmem.model.components import Component, component, split

INDEXES = json.loads(
    (Path(__file__).parents[2] / "fixtures" / "published_indexes.json").read_text(encoding="utf-8")
)


def run(name: str) -> TensorRun:
    return TensorRun(name=name, dtype="BF16", shape=(2, 3), bytes=12, count=brace_count(name))


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        # Llama; GPT-2 without and with its prefix; GPT-NeoX; Mistral's own format; Mamba; GGUF.
        ("model.embed_tokens.weight", "embedding"),
        ("model.layers.{0..31}.self_attn.q_proj.weight", "language"),
        ("model.layers.{0..31}.self_attn.rotary_emb.inv_freq", "language"),
        ("model.norm.weight", "language"),
        ("lm_head.weight", "head"),
        ("score.weight", "head"),
        ("wte.weight", "embedding"),
        ("wpe.weight", "embedding"),
        ("h.{0..11}.attn.c_attn.weight", "language"),
        ("ln_f.weight", "language"),
        ("transformer.wpe.weight", "embedding"),
        ("gpt_neox.embed_in.weight", "embedding"),
        ("embed_out.weight", "head"),
        ("tok_embeddings.weight", "embedding"),
        ("layers.{0..31}.attention.wq.weight", "language"),
        ("output.weight", "head"),
        ("norm.weight", "language"),
        ("backbone.embeddings.weight", "embedding"),
        ("backbone.layers.{0..63}.mixer.in_proj.weight", "language"),
        ("backbone.norm_f.weight", "language"),
        ("token_embd.weight", "embedding"),
        ("blk.{0..31}.attn_q.weight", "language"),
        ("blk.{0..31}.ffn_gate_exps.weight", "experts"),
        ("blk.{0..31}.ffn_gate_shexp.weight", "language"),
        ("output_norm.weight", "language"),
        ("v.blk.{0..26}.attn_q.weight", "vision"),
        ("mm.0.weight", "projector"),
        # Routed experts: Mixtral, Qwen3, DeepSeek, gpt-oss, Llama 4, DBRX, Granite, MLX, Step.
        ("model.layers.{0..31}.block_sparse_moe.experts.{0..7}.w1.weight", "experts"),
        ("model.layers.{0..31}.block_sparse_moe.gate.weight", "language"),
        ("model.layers.{0..47}.mlp.experts.{0..127}.gate_proj.weight", "experts"),
        ("model.layers.{3..61}.mlp.experts.{0..255}.up_proj.weight_scale_inv", "experts"),
        ("model.layers.{3..61}.mlp.shared_experts.up_proj.weight", "language"),
        ("model.layers.{3..61}.mlp.gate.e_score_correction_bias", "language"),
        ("model.layers.{0..23}.mlp.shared_expert_gate.weight", "language"),
        ("model.layers.{0..23}.mlp.experts.gate_up_proj_blocks", "experts"),
        ("model.layers.{0..23}.mlp.router.weight", "language"),
        ("language_model.model.layers.{0..47}.feed_forward.experts.gate_up_proj", "experts"),
        (
            "language_model.model.layers.{0..47}.feed_forward.shared_expert.up_proj.weight",
            "language",
        ),
        ("transformer.blocks.{0..39}.ffn.experts.mlp.w1", "experts"),
        ("model.layers.{0..23}.block_sparse_moe.input_linear.weight", "experts"),
        ("model.layers.{0..23}.block_sparse_moe.router.layer.weight", "language"),
        ("model.layers.{0..47}.mlp.switch_mlp.gate_proj.scales", "experts"),
        ("model.layers.{4..44}.moe.up_proj.weight", "experts"),
        ("model.layers.{4..44}.moe.gate.weight", "language"),
        # Multi-token prediction that its name tells: Qwen3-Next, MiMo.
        ("mtp.layers.{0..0}.self_attn.q_proj.weight", "draft"),
        ("model.mtp_layers.{0..0}.mlp.up_proj.weight", "draft"),
        # LLaVA, Qwen2-VL, InternVL, Gemma 3, Llama 4, mllama, Pixtral, Phi-4, CogVLM, MiniCPM-V.
        ("model.vision_tower.vision_tower.vision_model.post_layernorm.weight", "vision"),
        ("model.mm_projector.{0..0}.weight", "projector"),
        ("model.image_newline", "projector"),
        ("image_newline", "projector"),
        ("visual.blocks.{0..31}.attn.qkv.weight", "vision"),
        ("visual.merger.mlp.{0..0}.weight", "projector"),
        ("model.visual.deepstack_merger_list.{0..2}.norm.weight", "projector"),
        ("model.language_model.embed_tokens.weight", "embedding"),
        ("vision_model.encoder.layers.{0..23}.attn.qkv.weight", "vision"),
        ("mlp1.{1..1}.weight", "projector"),
        ("language_model.model.layers.{0..23}.mlp.up_proj.weight", "language"),
        ("language_model.lm_head.weight", "head"),
        ("vision_tower.vision_model.embeddings.patch_embedding.weight", "vision"),
        ("multi_modal_projector.mm_input_projection_weight", "projector"),
        ("vision_model.model.layers.{0..33}.self_attn.q_proj.weight", "vision"),
        ("language_model.model.layers.{3..3}.cross_attn.q_proj.weight", "language"),
        ("vision_encoder.transformer.layers.{0..23}.attention.wq.weight", "vision"),
        ("vision_language_adapter.w_in.weight", "projector"),
        ("model.embed_tokens_extend.image_embed.img_projection.{0..0}.weight", "projector"),
        ("model.embed_tokens_extend.audio_embed.encoder.encoders.{0..23}.norm.weight", "audio"),
        ("model.layers.{0..31}.self_attn.qkv_proj.lora_A.speech.weight", "adapter"),
        ("model.layers.{0..31}.mlp.vision_mlp.up_proj.weight", "language"),
        ("model.vision.linear_proj.linear_proj.weight", "projector"),
        ("vpm.blocks.{0..26}.attn.qkv.weight", "vision"),
        ("resampler.query", "projector"),
        # Whisper, Qwen2-Audio, Qwen-Omni, T5, BERT.
        ("model.encoder.layers.{0..31}.fc1.weight", "encoder"),
        ("model.encoder.conv1.weight", "encoder"),
        ("model.decoder.layers.{0..31}.encoder_attn.k_proj.weight", "language"),
        ("model.decoder.embed_tokens.weight", "embedding"),
        ("proj_out.weight", "head"),
        ("audio_tower.layers.{0..31}.fc1.weight", "audio"),
        ("thinker.model.layers.{0..27}.mlp.up_proj.weight", "language"),
        ("thinker.visual.blocks.{0..31}.attn.q.weight", "vision"),
        ("thinker.lm_head.weight", "head"),
        ("talker.model.layers.{0..23}.mlp.up_proj.weight", "audio"),
        ("shared.weight", "embedding"),
        ("encoder.block.{0..23}.layer.{0..0}.SelfAttention.v.weight", "encoder"),
        ("decoder.block.{0..23}.layer.{1..1}.EncDecAttention.v.weight", "language"),
        ("bert.embeddings.word_embeddings.weight", "embedding"),
        ("bert.encoder.layer.{0..11}.attention.self.query.weight", "encoder"),
        ("bert.pooler.dense.weight", "encoder"),
        ("cls.predictions.bias", "head"),
        # Adapters of PEFT; a diffusion transformer.
        ("base_model.model.model.layers.{0..31}.self_attn.q_proj.lora_A.weight", "adapter"),
        ("prompt_embeddings", "adapter"),
        ("transformer_blocks.{0..18}.attn.to_q.weight", "denoiser"),
        ("alpha", "other"),
    ],
)
def test_component(name: str, expected: Component) -> None:
    assert component(run(name)) == expected


@pytest.mark.parametrize("index", INDEXES, ids=lambda index: str(index["model"]))
def test_no_tensor_of_a_published_index_is_unknown(index: Any) -> None:
    assert [name for name in index["names"] if component(run(name)) == "other"] == []


@pytest.mark.parametrize(
    ("name", "decoder_layers", "expected"),
    [
        # DeepSeek-V3: 61 layers and one for multi-token prediction.
        (
            "model.layers.{0..61}.input_layernorm.weight",
            61,
            [
                ("model.layers.{0..60}.input_layernorm.weight", "language"),
                ("model.layers.{61..61}.input_layernorm.weight", "draft"),
            ],
        ),
        (
            "model.layers.{3..61}.mlp.experts.{0..255}.up_proj.weight",
            61,
            [
                ("model.layers.{3..60}.mlp.experts.{0..255}.up_proj.weight", "experts"),
                ("model.layers.{61..61}.mlp.experts.{0..255}.up_proj.weight", "draft"),
            ],
        ),
        (
            "model.layers.{61..61}.embed_tokens.weight",
            61,
            [("model.layers.{61..61}.embed_tokens.weight", "draft")],
        ),
        (
            "model.layers.{0..61}.input_layernorm.weight",
            None,
            [("model.layers.{0..61}.input_layernorm.weight", "language")],
        ),
        # Layers of a tower and of an encoder are not the decoder's.
        (
            "visual.blocks.{0..31}.attn.qkv.weight",
            28,
            [("visual.blocks.{0..31}.attn.qkv.weight", "vision")],
        ),
        (
            "model.encoder.layers.{0..31}.fc1.weight",
            4,
            [("model.encoder.layers.{0..31}.fc1.weight", "encoder")],
        ),
        (
            "language_model.model.layers.{0..46}.mlp.up_proj.weight",
            46,
            [
                ("language_model.model.layers.{0..45}.mlp.up_proj.weight", "language"),
                ("language_model.model.layers.{46..46}.mlp.up_proj.weight", "draft"),
            ],
        ),
    ],
)
def test_layers_beyond_the_decoders_own_are_draft(
    name: str, decoder_layers: int | None, expected: list[tuple[str, str]]
) -> None:
    found = split([run(name)], decoder_layers=decoder_layers)
    assert [(item.run.name, item.component) for item in found] == expected


@given(first=st.integers(0, 9), length=st.integers(1, 9), border=st.integers(0, 20))
def test_a_split_loses_nothing(first: int, length: int, border: int) -> None:
    whole = run(f"model.layers.{{{first}..{first + length - 1}}}.mlp.up_proj.weight")
    parts = [item.run for item in split([whole], decoder_layers=border)]
    assert [name for part in parts for name in part.names()] == list(whole.names())
    assert sum(part.count for part in parts) == whole.count

"""Kimi K3: Kimi Linear with output gates, experts of a narrower width, and residuals by attention.

No class of transformers has it; the shapes are those that sglang 0.5.23 srt/models/kimi_k3.py and
kimi_k3_vl.py load, and their sums are the published counts of each type: 57,179,884,544 in BF16,
11,122,432 in F32 and 2,722,740,830,208 of the routed experts (huggingface.js,
parse-safetensors-metadata.spec.ts).
"""

from __future__ import annotations

from hfmem.model.config import MAX_LAYERS, Config
from hfmem.model.declared.blocks import (
    W1_W3_W2,
    NotDeclaredError,
    Part,
    Parts,
    experts,
    gated_mlp,
    layers,
    linear,
    norm,
    norms,
    under,
    weight,
)
from hfmem.model.declared.family import Family
from hfmem.model.declared.wrapper import section

_PREFIX = "language_model.model"


def _size(config: Config, key: str) -> int:
    return config.integer(key, low=1)


def _delta(config: Config) -> Parts:
    """A delta layer: its convolutions, decays and norm are in float32, ``A_log`` is as long as a
    head."""
    nested = section(config, "linear_attn_config")
    if not nested.flag("use_full_rank_gate"):
        raise NotDeclaredError
    count, each = _size(nested, "num_heads"), _size(nested, "head_dim")
    kernel, hidden = _size(nested, "short_conv_kernel_size"), _size(config, "hidden_size")
    width = count * each
    streams = ("q", "k", "v")
    return (
        *(part for name in streams for part in linear(f"{name}_proj", width, hidden)),
        *(Part(f"{name}_conv1d.weight", (width, 1, kernel), dtype="F32") for name in streams),
        Part("A_log", (each,), dtype="F32"),
        Part("dt_bias", (width,), dtype="F32"),
        *linear("f_a_proj", each, hidden),
        *linear("f_b_proj", width, each),
        *linear("b_proj", count, hidden),
        *linear("g_proj", width, hidden),
        Part("o_norm.weight", (each,), dtype="F32"),
        *linear("o_proj", hidden, width),
    )


def _latent(config: Config) -> Parts:
    hidden, count = _size(config, "hidden_size"), _size(config, "num_attention_heads")
    plain, rope = _size(config, "qk_nope_head_dim"), _size(config, "qk_rope_head_dim")
    query, rank, value = (
        _size(config, key) for key in ("q_lora_rank", "kv_lora_rank", "v_head_dim")
    )
    if not config.flag("mla_use_output_gate"):
        raise NotDeclaredError
    return (
        *linear("q_a_proj", query, hidden),
        *norm("q_a_layernorm", query),
        *linear("q_b_proj", count * (plain + rope), query),
        *linear("kv_a_proj_with_mqa", rank + rope, hidden),
        *norm("kv_a_layernorm", rank),
        *linear("kv_b_proj", count * (plain + value), rank),
        *linear("g_proj", count * value, hidden),
        *linear("o_proj", hidden, count * value),
    )


def _routed(config: Config) -> Parts:
    hidden, narrow = _size(config, "hidden_size"), _size(config, "routed_expert_hidden_size")
    count, inner = _size(config, "num_experts"), _size(config, "moe_intermediate_size")
    shared = _size(config, "num_shared_experts") * inner
    if not config.flag("latent_moe_use_norm"):
        raise NotDeclaredError
    return (
        *weight("gate", count, hidden),
        Part("gate.e_score_correction_bias", (count,), dtype="F32"),
        *weight("routed_expert_down_proj", narrow, hidden),
        *norm("routed_expert_norm", narrow),
        *weight("routed_expert_up_proj", hidden, narrow),
        *experts(count, gated_mlp(narrow, inner, names=W1_W3_W2)),
        *under("shared_experts", gated_mlp(hidden, shared)),
    )


def _decoder(config: Config) -> Parts:
    hidden = _size(config, "hidden_size")
    total = config.integer("num_hidden_layers", high=MAX_LAYERS)
    nested = section(config, "linear_attn_config")
    delta = set(nested.integer_list("kda_layers") or ())
    full = set(nested.integer_list("full_attn_layers") or ())
    dense = config.integer("first_k_dense_replace")
    if (
        delta | full != set(range(1, total + 1))
        or delta & full
        or config.value("attn_res_block_size") is None
    ):
        raise NotDeclaredError
    kept = norms("input_layernorm", "post_attention_layernorm", size=hidden)
    residual = (
        *norms("self_attention_res_norm", "mlp_res_norm", size=hidden),
        *weight("self_attention_res_proj", 1, hidden),
        *weight("mlp_res_proj", 1, hidden),
    )
    wide = gated_mlp(hidden, _size(config, "intermediate_size"))
    prefix = f"{_PREFIX}.layers"
    return (
        *weight(f"{_PREFIX}.embed_tokens", _size(config, "vocab_size"), hidden),
        *layers(prefix, sorted(n - 1 for n in delta), under("self_attn", _delta(config))),
        *layers(prefix, sorted(n - 1 for n in full), under("self_attn", _latent(config))),
        *layers(prefix, range(total), kept, residual),
        *layers(prefix, range(min(dense, total)), under("mlp", wide)),
        *layers(prefix, range(dense, total), under("block_sparse_moe", _routed(config))),
        *norms(f"{_PREFIX}.norm", f"{_PREFIX}.output_attn_res_norm", size=hidden),
        *weight(f"{_PREFIX}.output_attn_res_proj", 1, hidden),
        *weight("language_model.lm_head", _size(config, "vocab_size"), hidden),
    )


def _tower(config: Config) -> Parts:
    """MoonViT in its third form: no biases, gains alone in its norms."""
    hidden, wide = _size(config, "vt_hidden_size"), _size(config, "qkv_hidden_size")
    patch, inner = _size(config, "patch_size"), _size(config, "vt_intermediate_size")
    if any(config.flag(key) for key in ("attn_bias", "linear_bias", "patch_embed_proj_bias")):
        raise NotDeclaredError
    if (config.text("mlp_type"), config.text("norm_type")) != ("mlp2", "rmsnorm"):
        raise NotDeclaredError
    block = (
        *norms("norm0", "norm1", size=hidden),
        *linear("wqkv", 3 * wide, hidden),
        *linear("wo", hidden, wide),
        *under("mlp", linear("fc0", inner, hidden), linear("fc1", hidden, inner)),
    )
    grid = _size(config, "init_pos_emb_height"), _size(config, "init_pos_emb_width")
    return (
        *weight("patch_embed.proj", hidden, 3, patch, patch),
        *weight("patch_embed.pos_emb", *grid, hidden),
        *layers("encoder.blocks", range(_size(config, "vt_num_hidden_layers")), block),
        *norm("encoder.final_layernorm", hidden),
    )


def kimi_k3(config: Config) -> Parts:
    """Decoder, vision tower and projector."""
    seen = section(config, "vision_config")
    merge = seen.integer_list("merge_kernel_size") or ()
    if tuple(merge) != (2, 2) or seen.text("mm_projector_type") != "patchmergerv2":
        raise NotDeclaredError
    entry, output = 4 * _size(seen, "mm_hidden_size"), _size(seen, "text_hidden_size")
    return (
        *_decoder(section(config, "text_config")),
        *under("vision_tower", _tower(seen)),
        *linear("mm_projector.proj.0", entry, entry),
        *linear("mm_projector.proj.2", output, entry),
        *norm("mm_projector.post_norm", output),
    )


ROWS: tuple[Family, ...] = (
    Family(
        model_types=("kimi_k3",),
        classes=("KimiK3ForConditionalGeneration",),
        parts=kimi_k3,
        source="sglang 0.5.23 srt/models/kimi_k3.py, kimi_k3_vl.py",
    ),
)
"""Families, one row each."""

"""Decoders with one MLP a layer, from Llama to Cohere: one row a family."""

from __future__ import annotations

from hfmem.model.config import Config
from hfmem.model.declared.blocks import Part, Parts, heads, linear, norm, norms, under, weight
from hfmem.model.declared.family import Family
from hfmem.model.declared.style import (
    PRE_NORMS,
    SANDWICH,
    Style,
    fused_gate,
    gated,
    hidden,
    hunyuan_norms,
    plain,
    sinks,
)

_LLAMA = Style(mlp=gated(bias="mlp_bias"))
_NO_BIAS = Style(qkv_bias=False, output_bias=False)
_AFTER = ("post_attention_layernorm", "post_feedforward_layernorm")
_GLM4_NORMS = (*PRE_NORMS, "post_self_attn_layernorm", "post_mlp_layernorm")


def _phi3_attention(config: Config) -> Parts:
    size = heads(config)
    return under(
        "self_attn",
        linear("qkv_proj", size.query_size + 2 * size.kv_size, size.hidden),
        linear("o_proj", size.hidden, size.query_size),
    )


def _cohere_norms(config: Config) -> Parts:
    """Command R+ has norms of [heads, head_dim] over queries and keys."""
    if not config.flag("use_qk_norm"):
        return ()
    size = heads(config)
    return under(
        "self_attn",
        weight("q_norm", size.heads, size.head_dim),
        weight("k_norm", size.kv_heads, size.head_dim),
    )


def stablelm(config: Config) -> Parts | None:
    """StableLM 2: LayerNorms with a shift; None where each head has its own norm."""
    if config.flag("qk_layernorm"):
        return None
    names = PRE_NORMS[:1] if config.flag("use_parallel_residual") else PRE_NORMS
    return Style(norms=names, norm_bias=True, qkv_bias="use_qkv_bias", output_bias=False)(config)


def _xielu(config: Config) -> Parts:
    """Apertus: an activation with two parameters of its own."""
    return (
        *plain(bias="mlp_bias")(config),
        Part("mlp.act_fn.alpha_p", (1,)),
        Part("mlp.act_fn.alpha_n", (1,)),
    )


def _bitnet_norms(config: Config) -> Parts:
    return (
        *norm("self_attn.attn_sub_norm", hidden(config)),
        *norm("mlp.ffn_sub_norm", config.integer("intermediate_size", low=1)),
    )


def _differential(config: Config) -> Parts:
    size = heads(config).head_dim
    return under(
        "self_attn",
        tuple(Part(f"lambda_{name}", (size,)) for name in ("q1", "k1", "q2", "k2")),
    )


def _post_norms(config: Config) -> Parts:
    """HyperCLOVA X: Peri-LN, a norm behind each half of a layer."""
    if not config.flag("use_post_norm"):
        return ()
    return norms("post_norm1", "post_norm2", size=hidden(config))


def _helium_attention(config: Config) -> Parts:
    """The output's projection is square whatever head_dim says."""
    size, bias = heads(config), config.flag("attention_bias")
    return under(
        "self_attn",
        linear("q_proj", size.query_size, size.hidden, bias=bias),
        linear("k_proj", size.kv_size, size.hidden, bias=bias),
        linear("v_proj", size.kv_size, size.hidden, bias=bias),
        linear("o_proj", size.hidden, size.hidden),
    )


ROWS: tuple[Family, ...] = (
    Family(
        model_types=("llama", "internlm3", "iquestcoder"),
        classes=("LlamaForCausalLM", "LLaMAForCausalLM"),
        parts=_LLAMA,
        source="llama/modeling_llama.py",
    ),
    Family(
        model_types=("granite", "smollm3"),
        classes=("GraniteForCausalLM", "SmolLM3ForCausalLM"),
        parts=_LLAMA,
        source="granite/modeling_granite.py, smollm3/modeling_smollm3.py",
    ),
    Family(
        model_types=("granite_swa",),
        classes=("GraniteSWAForCausalLM",),
        parts=Style(extra=sinks, mlp=gated(bias="mlp_bias")),
        source="granite_swa/modeling_granite_swa.py",
    ),
    Family(
        model_types=("hyperclovax",),
        classes=("HyperCLOVAXForCausalLM",),
        parts=Style(extra=_post_norms, mlp=gated(bias="mlp_bias")),
        source="hyperclovax/modeling_hyperclovax.py",
    ),
    Family(
        model_types=("cwm",),
        classes=("CwmForCausalLM",),
        parts=Style(qkv_bias=False, output_bias=False, mlp=gated(bias="mlp_bias")),
        source="cwm/modeling_cwm.py",
    ),
    Family(
        model_types=("arcee",),
        classes=("ArceeForCausalLM",),
        parts=Style(mlp=plain(bias="mlp_bias")),
        source="arcee/modeling_arcee.py",
    ),
    Family(
        model_types=("apertus",),
        classes=("ApertusForCausalLM",),
        parts=Style(
            norms=("attention_layernorm", "feedforward_layernorm"), head_norms="head", mlp=_xielu
        ),
        source="apertus/modeling_apertus.py",
    ),
    Family(
        model_types=("bitnet",),
        classes=("BitNetForCausalLM",),
        parts=Style(extra=_bitnet_norms),
        source="bitnet/modeling_bitnet.py",
    ),
    Family(
        model_types=("diffllama",),
        classes=("DiffLlamaForCausalLM",),
        parts=Style(extra=_differential),
        source="diffllama/modeling_diffllama.py",
    ),
    Family(
        model_types=("mistral", "ministral", "ministral3"),
        classes=("MistralForCausalLM", "MinistralForCausalLM", "Ministral3ForCausalLM"),
        parts=_NO_BIAS,
        source="mistral/modeling_mistral.py and its descendants",
    ),
    Family(
        model_types=("qwen2", "qwen2_vl_text", "qwen2_5_vl_text", "qwen2_5_omni_text"),
        classes=("Qwen2ForCausalLM",),
        parts=Style(qkv_bias=True, output_bias=False),
        source="qwen2/modeling_qwen2.py",
    ),
    Family(
        model_types=("qwen3", "qwen3_vl_text"),
        classes=("Qwen3ForCausalLM",),
        parts=Style(head_norms="head"),
        source="qwen3/modeling_qwen3.py",
    ),
    Family(
        model_types=("gemma",),
        classes=("GemmaForCausalLM",),
        parts=Style(),
        source="gemma/modeling_gemma.py",
    ),
    Family(
        model_types=("vaultgemma",),
        classes=("VaultGemmaForCausalLM",),
        parts=Style(norms=("input_layernorm", "pre_feedforward_layernorm")),
        source="vaultgemma/modeling_vaultgemma.py",
    ),
    Family(
        model_types=("hunyuan_v1_dense",),
        classes=("HunYuanDenseV1ForCausalLM",),
        parts=Style(extra=hunyuan_norms),
        source="hunyuan_v1_dense/modeling_hunyuan_v1_dense.py",
    ),
    Family(
        model_types=("helium",),
        classes=("HeliumForCausalLM",),
        parts=Style(attention=_helium_attention, mlp=gated(bias="mlp_bias")),
        source="helium/modeling_helium.py",
    ),
    Family(
        model_types=("gemma2",),
        classes=("Gemma2ForCausalLM",),
        parts=Style(norms=SANDWICH),
        source="gemma2/modeling_gemma2.py",
    ),
    Family(
        model_types=("gemma3_text",),
        classes=("Gemma3ForCausalLM",),
        parts=Style(norms=SANDWICH, head_norms="head"),
        source="gemma3/modeling_gemma3.py",
    ),
    Family(
        model_types=("phi3",),
        classes=("Phi3ForCausalLM",),
        parts=Style(attention=_phi3_attention, mlp=fused_gate()),
        source="phi3/modeling_phi3.py",
    ),
    Family(
        model_types=("olmo2", "olmo3"),
        classes=("Olmo2ForCausalLM", "Olmo3ForCausalLM"),
        parts=Style(norms=_AFTER, head_norms="all"),
        source="olmo2/modeling_olmo2.py, olmo3/modeling_olmo3.py",
    ),
    Family(
        model_types=("exaone4",),
        classes=("Exaone4ForCausalLM",),
        parts=Style(norms=_AFTER, head_norms="head", qkv_bias=False, output_bias=False),
        source="exaone4/modeling_exaone4.py",
    ),
    Family(
        model_types=("cohere", "cohere2"),
        classes=("CohereForCausalLM", "Cohere2ForCausalLM"),
        parts=Style(norms=PRE_NORMS[:1], extra=_cohere_norms),
        source="cohere/modeling_cohere.py, cohere2/modeling_cohere2.py",
    ),
    Family(
        model_types=("stablelm",),
        classes=("StableLmForCausalLM",),
        parts=stablelm,
        source="stablelm/modeling_stablelm.py",
    ),
    Family(
        model_types=("seed_oss",),
        classes=("SeedOssForCausalLM",),
        parts=Style(output_bias="attention_out_bias", mlp=gated(bias="mlp_bias")),
        source="seed_oss/modeling_seed_oss.py",
    ),
    Family(
        model_types=("ernie4_5",),
        classes=("Ernie4_5ForCausalLM",),
        parts=Style(qkv_bias="use_bias", output_bias="use_bias", mlp=gated(bias="use_bias")),
        source="ernie4_5/modeling_ernie4_5.py",
    ),
    Family(
        model_types=("glm",),
        classes=("GlmForCausalLM",),
        parts=Style(output_bias=False, mlp=fused_gate()),
        source="glm/modeling_glm.py",
    ),
    Family(
        model_types=("glm4v_text",),
        classes=(),
        parts=Style(norms=_GLM4_NORMS, qkv_bias=True, output_bias=False, mlp=fused_gate()),
        source="glm4v/modeling_glm4v.py",
    ),
    Family(
        model_types=("glm4",),
        classes=("Glm4ForCausalLM",),
        parts=Style(norms=_GLM4_NORMS, output_bias=False, mlp=fused_gate()),
        source="glm4/modeling_glm4.py",
    ),
)
"""Families, one row each."""

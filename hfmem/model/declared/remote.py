"""Families that run code of their repository, which hfmem never runs: the facts are read here, and
checked against published totals."""

from __future__ import annotations

from hfmem.model.config import MAX_LAYERS, Config
from hfmem.model.declared.blocks import (
    W1_W3_W2,
    NotDeclaredError,
    Part,
    Parts,
    embedding,
    gated_mlp,
    head,
    heads,
    layer_count,
    layers,
    linear,
    norm,
    norms,
    under,
    weight,
)
from hfmem.model.declared.family import Family
from hfmem.model.declared.style import PRE_NORMS, Rule, Style, gated, hidden


def _packed_attention(name: str, *, bias: bool = False) -> Rule:
    """Queries, keys and values in one matrix of 3 × hidden rows."""

    def parts(config: Config) -> Parts:
        size = hidden(config)
        return under(
            "self_attn",
            linear(name, 3 * size, size, bias=bias),
            linear("o_proj", size, size),
        )

    return parts


def internlm2(config: Config) -> Parts:
    """InternLM2 and 2.5: Llama under other names, queries and keys in one matrix by groups."""
    size = heads(config)
    if config.flag("bias"):
        raise NotDeclaredError
    return (
        *embedding(config, "model.tok_embeddings"),
        *layers(
            "model.layers",
            range(layer_count(config)),
            under(
                "attention",
                linear("wqkv", size.query_size + 2 * size.kv_size, size.hidden),
                linear("wo", size.hidden, size.query_size),
            ),
            under(
                "feed_forward",
                gated_mlp(
                    size.hidden,
                    config.integer("intermediate_size", low=1),
                    names=W1_W3_W2,
                ),
            ),
            norms("attention_norm", "ffn_norm", size=size.hidden),
        ),
        *norm("model.norm", size.hidden),
        *head(config, "output"),
    )


def qwen(config: Config) -> Parts:
    """Qwen 1 and Qwen-VL: half of ``intermediate_size`` is the MLP's width."""
    size = hidden(config)
    wide = config.integer("kv_channels", low=1) * config.integer("num_attention_heads", low=1)
    inner = config.integer("intermediate_size", low=2) // 2
    bias = not config.flag("no_bias", default=True)
    seen = config.section("visual")
    return (
        *under(
            "transformer",
            embedding(config, "wte"),
            layers(
                "h",
                range(layer_count(config)),
                norms("ln_1", "ln_2", size=size),
                linear("attn.c_attn", 3 * wide, size, bias=True),
                linear("attn.c_proj", size, wide, bias=bias),
                linear("mlp.w1", inner, size, bias=bias),
                linear("mlp.w2", inner, size, bias=bias),
                linear("mlp.c_proj", size, inner, bias=bias),
            ),
            norm("ln_f", size),
        ),
        *(under("transformer.visual", _qwen_visual(seen)) if seen else ()),
        *embedding(config, "lm_head"),
    )


def _qwen_visual(config: Config) -> Parts:
    """OpenCLIP's ViT-bigG and a resampler to 256 queries (Qwen-VL visual.py)."""
    wide, output = config.integer("width", low=1), config.integer("output_dim", low=1)
    ratio, patch = config.number("mlp_ratio"), config.integer("patch_size", low=1)
    if ratio is None:
        raise NotDeclaredError
    inner = int(wide * ratio)
    return (
        *weight("conv1", wide, 3, patch, patch),
        Part("positional_embedding", (256, wide)),
        *norm("ln_pre", wide, bias=True),
        *layers(
            "transformer.resblocks",
            range(config.integer("layers", high=MAX_LAYERS)),
            norms("ln_1", "ln_2", size=wide, bias=True),
            linear("attn.in_proj", 3 * wide, wide, bias=True),
            linear("attn.out_proj", wide, wide, bias=True),
            linear("mlp.c_fc", inner, wide, bias=True),
            linear("mlp.c_proj", wide, inner, bias=True),
        ),
        *under(
            "attn_pool",
            (Part("pos_embed", (256, output)), Part("query", (256, output))),
            linear("kv_proj", output, wide),
            linear("attn.in_proj", 3 * output, output, bias=True),
            linear("attn.out_proj", output, output, bias=True),
            norms("ln_q", "ln_kv", size=output, bias=True),
        ),
        *norm("ln_post", output, bias=True),
        Part("proj", (output, output)),
    )


def chatglm(config: Config) -> Parts:
    """ChatGLM2 and 3, GLM-4-9B before transformers knew it: a buffer of rotary frequencies is
    stored too."""
    if not config.flag("rmsnorm", default=True) or not config.flag("post_layer_norm", default=True):
        raise NotDeclaredError
    if config.section("vision_config") is not None or config.has("pre_seq_len"):
        raise NotDeclaredError
    size, each = hidden(config), config.integer("kv_channels", low=1)
    query = config.integer("num_attention_heads", low=1) * each
    groups = config.integer("multi_query_group_num", low=1)
    kv = groups * each if config.flag("multi_query_attention") else query
    bias = config.flag("add_bias_linear")
    inner = config.integer("ffn_hidden_size", low=1)
    count = config.integer("num_layers", high=MAX_LAYERS)
    qkv_bias = bias or config.flag("add_qkv_bias")
    return under(
        "transformer",
        embedding(config.with_values(_padded(config)), "embedding.word_embeddings"),
        layers(
            "encoder.layers",
            range(count),
            norms("input_layernorm", "post_attention_layernorm", size=size),
            linear("self_attention.query_key_value", query + 2 * kv, size, bias=qkv_bias),
            linear("self_attention.dense", size, query, bias=bias),
            linear("mlp.dense_h_to_4h", 2 * inner, size, bias=bias),
            linear("mlp.dense_4h_to_h", size, inner, bias=bias),
        ),
        norm("encoder.final_layernorm", size),
        (Part("rotary_pos_emb.inv_freq", (each // 4,)),),
        embedding(config.with_values(_padded(config)), "output_layer"),
    )


def _padded(config: Config) -> dict[str, object]:
    return {"vocab_size": config.integer("padded_vocab_size", low=1)}


def _mimo_prediction(config: Config) -> Parts:
    """MiMo-7B's layers for multi-token prediction."""
    key = "num_nextn_predict_layers"
    count = config.integer(key, high=MAX_LAYERS) if config.has(key) else 0
    if not count:
        return ()
    size = hidden(config)
    names = ("token_layernorm", "hidden_layernorm", "final_layernorm")
    return layers(
        "model.mtp_layers",
        range(count),
        _MIMO.attention_of(config),
        gated()(config),
        norms(*PRE_NORMS, *names, size=size),
        linear("input_proj", size, 2 * size),
    )


_MIMO = Style(qkv_bias=True, output_bias=False, beside=_mimo_prediction)


def phi3_small(config: Config) -> Parts:
    """Phi-3-small: LayerNorms, biases, a gated activation over one matrix. 7,392,272,384
    parameters."""
    size, inner = heads(config), config.integer("ff_intermediate_size", low=1)
    if config.text("hidden_act") not in (None, "gegelu"):
        raise NotDeclaredError
    return (
        *embedding(config),
        *layers(
            "model.layers",
            range(layer_count(config)),
            under(
                "self_attn",
                linear(
                    "query_key_value",
                    size.query_size + 2 * size.kv_size,
                    size.hidden,
                    bias=True,
                ),
                linear("dense", size.hidden, size.query_size, bias=True),
            ),
            linear("mlp.up_proj", 2 * inner, size.hidden, bias=True),
            linear("mlp.down_proj", size.hidden, inner, bias=True),
            norms(*PRE_NORMS, size=size.hidden, bias=True),
        ),
        *norm("model.final_layernorm", size.hidden, bias=True),
    )


def minicpm(config: Config) -> Parts:
    """MiniCPM 1 and 2: Llama, tied where the file is silent. MiniCPM-2B: 2,724,880,896
    parameters."""
    tied = config.flag("tie_word_embeddings", default=True)
    return Style()(config.with_values({"tie_word_embeddings": tied}))


def exaone(config: Config) -> Parts:
    """EXAONE 3 and 3.5: Llama under GPT's names. EXAONE-3.5-7.8B: 7,818,448,896 parameters."""
    size, inner = heads(config), config.integer("intermediate_size", low=1)
    return (
        *under(
            "transformer",
            embedding(config, "wte"),
            layers(
                "h",
                range(layer_count(config)),
                norms("ln_1", "ln_2", size=size.hidden),
                under(
                    "attn.attention",
                    linear("q_proj", size.query_size, size.hidden),
                    linear("k_proj", size.kv_size, size.hidden),
                    linear("v_proj", size.kv_size, size.hidden),
                    linear("out_proj", size.hidden, size.query_size),
                ),
                linear("mlp.c_fc_0", inner, size.hidden),
                linear("mlp.c_fc_1", inner, size.hidden),
                linear("mlp.c_proj", size.hidden, inner),
            ),
            norm("ln_f", size.hidden),
        ),
        *head(config),
    )


ROWS: tuple[Family, ...] = (
    Family(
        model_types=("Yi",),
        classes=("YiForCausalLM",),
        parts=Style(qkv_bias=False, output_bias=False),
        source="01-ai/Yi-34B modeling_yi.py",
    ),
    Family(
        model_types=("baichuan",),
        classes=("BaichuanForCausalLM", "BaiChuanForCausalLM"),
        parts=Style(attention=_packed_attention("W_pack")),
        source="baichuan-inc/Baichuan2-7B-Chat modeling_baichuan.py",
    ),
    Family(
        model_types=("internlm2", "internlm"),
        classes=("InternLM2ForCausalLM",),
        parts=internlm2,
        source="internlm/internlm2-chat-7b modeling_internlm2.py",
    ),
    Family(
        model_types=("internlm",),
        classes=("InternLMForCausalLM",),
        parts=Style(qkv_bias="bias", output_bias="bias"),
        source="internlm/internlm-chat-7b modeling_internlm.py",
    ),
    Family(
        model_types=("qwen",),
        classes=("QWenLMHeadModel",),
        parts=qwen,
        source="Qwen/Qwen-72B modeling_qwen.py, Qwen/Qwen-VL visual.py",
    ),
    Family(
        model_types=("chatglm",),
        classes=("ChatGLMModel", "ChatGLMForConditionalGeneration"),
        parts=chatglm,
        source="THUDM/chatglm3-6b modeling_chatglm.py",
    ),
    Family(
        model_types=("mimo",),
        classes=("MiMoForCausalLM",),
        parts=_MIMO,
        source="XiaomiMiMo/MiMo-7B-Base modeling_mimo.py",
    ),
    Family(
        model_types=("minicpm",),
        classes=("MiniCPMForCausalLM",),
        parts=minicpm,
        source="openbmb/MiniCPM-2B-sft-bf16 modeling_minicpm.py",
    ),
    Family(
        model_types=("phi3small",),
        classes=("Phi3SmallForCausalLM",),
        parts=phi3_small,
        source="microsoft/Phi-3-small-8k-instruct modeling_phi3_small.py",
    ),
    Family(
        model_types=("exaone",),
        classes=("ExaoneForCausalLM",),
        parts=exaone,
        source="LGAI-EXAONE/EXAONE-3.5-7.8B-Instruct modeling_exaone.py",
    ),
)
"""Families, one row each."""

"""Decoders of the first years: positions from a table or none, heads with a bias, odd names."""

from __future__ import annotations

from hfmem.model.config import Config
from hfmem.model.declared.blocks import (
    W1_W3_W2,
    NotDeclaredError,
    Parts,
    attention,
    embedding,
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
from hfmem.model.declared.sound import encoder_layer
from hfmem.model.declared.style import (
    Style,
    head_bias,
    hidden,
    plain,
    routed,
)

_GPTJ_NAMES = ("k_proj", "v_proj", "q_proj", "out_proj")


def _inner(config: Config) -> int:
    found = config.integer_or_none("intermediate_size", low=1)
    return 4 * hidden(config) if found is None else found


def _positions(config: Config, name: str, *, offset: int = 0) -> Parts:
    rows = config.integer("max_position_embeddings", low=1)
    return weight(name, rows + offset, hidden(config))


def _gptj(config: Config, attention_parts: Parts) -> Parts:
    size, inner = hidden(config), _inner(config)
    body = under(
        "transformer",
        embedding(config, "wte"),
        layers(
            "h",
            range(layer_count(config)),
            norm("ln_1", size, bias=True),
            attention_parts,
            linear("mlp.fc_in", inner, size, bias=True),
            linear("mlp.fc_out", size, inner, bias=True),
        ),
        norm("ln_f", size, bias=True),
    )
    return (*body, *head(config), *head_bias(config))


def gptj(config: Config) -> Parts:
    """GPT-J: one norm a layer, a bias in the MLP and the head alone."""
    size = hidden(config)
    return _gptj(config, under("attn", *(linear(one, size, size) for one in _GPTJ_NAMES)))


def codegen(config: Config) -> Parts:
    """CodeGen: GPT-J with one matrix for queries, keys and values."""
    size = hidden(config)
    both = (*linear("qkv_proj", 3 * size, size), *linear("out_proj", size, size))
    return _gptj(config, under("attn", both))


def gpt_neo(config: Config) -> Parts:
    """GPT-Neo: a bias behind the attention, none before it."""
    size, inner = hidden(config), _inner(config)
    return under(
        "transformer",
        embedding(config, "wte"),
        _positions(config, "wpe"),
        layers(
            "h",
            range(layer_count(config)),
            norms("ln_1", "ln_2", size=size, bias=True),
            under(
                "attn.attention",
                *(linear(one, size, size) for one in _GPTJ_NAMES[:3]),
                linear("out_proj", size, size, bias=True),
            ),
            linear("mlp.c_fc", inner, size, bias=True),
            linear("mlp.c_proj", size, inner, bias=True),
        ),
        norm("ln_f", size, bias=True),
    ) + head(config)


def opt(config: Config) -> Parts:
    """OPT: two rows more in its table of positions; OPT-350M embeds in half its width."""
    size, inner = hidden(config), config.integer("ffn_dim", low=1)
    if not config.flag("layer_norm_elementwise_affine", default=True):
        raise NotDeclaredError
    narrow = config.integer_or_none("word_embed_proj_dim", low=1) or size
    bias = config.flag("enable_bias", default=True)
    before = config.flag("do_layer_norm_before", default=True)
    last = before and not config.flag("_remove_final_layer_norm")
    rows = config.integer("vocab_size", low=1)
    join: Parts = ()
    if narrow != size:
        join = (*linear("project_in", size, narrow), *linear("project_out", narrow, size))
    attn = tuple(part for one in _GPTJ_NAMES for part in linear(one, size, size, bias=bias))
    return under(
        "model.decoder",
        weight("embed_tokens", rows, narrow),
        _positions(config, "embed_positions", offset=2),
        join,
        layers(
            "layers",
            range(layer_count(config)),
            under("self_attn", attn),
            norms("self_attn_layer_norm", "final_layer_norm", size=size, bias=True),
            linear("fc1", inner, size, bias=bias),
            linear("fc2", size, inner, bias=bias),
        ),
        norm("final_layer_norm", size, bias=True) if last else (),
    ) + (() if config.flag("tie_word_embeddings") else weight("lm_head", rows, narrow))


def biogpt(config: Config) -> Parts:
    """BioGPT: BART's layer without the encoder."""
    size = hidden(config)
    return under(
        "biogpt",
        embedding(config, "embed_tokens"),
        _positions(config, "embed_positions", offset=2),
        layers("layers", range(layer_count(config)), encoder_layer(size, _inner(config))),
        norm("layer_norm", size, bias=True),
    ) + head(config, "output_projection")


def xglm(config: Config) -> Parts:
    """XGLM: BART's layer, computed positions."""
    if config.flag("add_cross_attention"):
        raise NotDeclaredError
    size = hidden(config)
    layer = encoder_layer(size, config.integer("ffn_dim", low=1))
    return under(
        "model",
        embedding(config, "embed_tokens"),
        layers("layers", range(layer_count(config)), layer),
        norm("layer_norm", size, bias=True),
    ) + head(config)


def mpt(config: Config) -> Parts:
    """MPT: no bias anywhere, LayerNorms without a shift; four times the width, whatever
    ``expansion_ratio`` says."""
    size = hidden(config)
    attn = config.section("attn_config")
    kv = attn.integer_or_none("kv_n_heads", low=1) if attn is not None else None
    if kv not in (None, config.integer("n_heads", low=1)):
        raise NotDeclaredError
    return under(
        "transformer",
        embedding(config, "wte"),
        layers(
            "blocks",
            range(layer_count(config)),
            norms("norm_1", "norm_2", size=size),
            linear("attn.Wqkv", 3 * size, size),
            linear("attn.out_proj", size, size),
            linear("ffn.up_proj", 4 * size, size),
            linear("ffn.down_proj", size, 4 * size),
        ),
        norm("norm_f", size),
    ) + head(config)


def persimmon(config: Config) -> Parts:
    """Persimmon: norms with a shift over each head's queries and keys."""
    size = heads(config)
    normed = norms("q_layernorm", "k_layernorm", size=size.head_dim, bias=True)
    inner = config.integer("intermediate_size", low=1)
    parts = under(
        "self_attn",
        linear("query_key_value", 3 * size.hidden, size.hidden, bias=True),
        linear("dense", size.hidden, size.hidden, bias=True),
        normed if config.flag("qk_layernorm") else (),
    )
    mlp = (
        *linear("mlp.dense_h_to_4h", inner, size.hidden, bias=True),
        *linear("mlp.dense_4h_to_h", size.hidden, inner, bias=True),
    )
    return Style(
        norm_bias=True,
        attention=lambda _: parts,
        mlp=lambda _: mlp,
        last_norm="model.final_layernorm",
    )(config)


def olmo(config: Config) -> Parts:
    """OLMo 1: its norms have no parameters."""
    size, bias = heads(config), config.flag("attention_bias")
    inner = config.integer("intermediate_size", low=1)
    return (
        *embedding(config),
        *layers(
            "model.layers",
            range(layer_count(config)),
            attention(size, bias=bias, output_bias=bias),
            under(
                "mlp",
                linear("gate_proj", inner, size.hidden),
                linear("up_proj", inner, size.hidden),
                linear("down_proj", size.hidden, inner),
            ),
        ),
        *head(config),
    )


def nanochat(config: Config) -> Parts:
    """nanochat: its norms have no parameters."""
    size, bias = heads(config), config.flag("attention_bias")
    inner = config.integer("intermediate_size", low=1)
    return (
        *embedding(config),
        *layers(
            "model.layers",
            range(layer_count(config)),
            attention(size, bias=bias, output_bias=bias),
            linear("mlp.fc1", inner, size.hidden),
            linear("mlp.fc2", size.hidden, inner),
        ),
        *head(config),
    )


ROWS: tuple[Family, ...] = (
    Family(
        model_types=("gptj",),
        classes=("GPTJForCausalLM",),
        parts=gptj,
        source="gptj/modeling_gptj.py",
    ),
    Family(
        model_types=("codegen",),
        classes=("CodeGenForCausalLM",),
        parts=codegen,
        source="codegen/modeling_codegen.py",
    ),
    Family(
        model_types=("gpt_neo",),
        classes=("GPTNeoForCausalLM",),
        parts=gpt_neo,
        source="gpt_neo/modeling_gpt_neo.py",
    ),
    Family(
        model_types=("opt",),
        classes=("OPTForCausalLM",),
        parts=opt,
        source="opt/modeling_opt.py",
    ),
    Family(
        model_types=("biogpt",),
        classes=("BioGptForCausalLM",),
        parts=biogpt,
        source="biogpt/modeling_biogpt.py",
    ),
    Family(
        model_types=("xglm",),
        classes=("XGLMForCausalLM",),
        parts=xglm,
        source="xglm/modeling_xglm.py",
    ),
    Family(
        model_types=("mpt",),
        classes=("MptForCausalLM", "MPTForCausalLM"),
        parts=mpt,
        source="mpt/modeling_mpt.py",
    ),
    Family(
        model_types=("persimmon",),
        classes=("PersimmonForCausalLM",),
        parts=persimmon,
        source="persimmon/modeling_persimmon.py",
    ),
    Family(
        model_types=("olmo",),
        classes=("OlmoForCausalLM",),
        parts=olmo,
        source="olmo/modeling_olmo.py",
    ),
    Family(
        model_types=("nanochat",),
        classes=("NanoChatForCausalLM",),
        parts=nanochat,
        source="nanochat/modeling_nanochat.py",
    ),
    Family(
        model_types=("nemotron", "jais2"),
        classes=("NemotronForCausalLM", "Jais2ForCausalLM"),
        parts=Style(norm_bias=True, mlp=plain(bias="mlp_bias")),
        source="nemotron/modeling_nemotron.py, jais2/modeling_jais2.py",
    ),
    Family(
        model_types=("phimoe",),
        classes=("PhimoeForCausalLM", "PhiMoEForCausalLM"),
        parts=Style(
            norm_bias=True,
            routed=routed(name="block_sparse_moe", size="intermediate_size", names=W1_W3_W2),
            head_bias="lm_head_bias",
        ),
        source="phimoe/modeling_phimoe.py, names as published",
    ),
)
"""Families, one row each."""

"""Decoders of the GPT line: LayerNorms with a shift, biases, MLPs without a gate."""

from __future__ import annotations

from hfmem.model.config import Config
from hfmem.model.declared.blocks import (
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
from hfmem.model.declared.style import PRE_NORMS


def _intermediate(config: Config) -> int:
    found = config.integer_or_none("intermediate_size", low=1)
    return found if found is not None else 4 * config.integer("hidden_size", low=1)


def gpt2(config: Config) -> Parts | None:
    """GPT-2 as transformers saves it; Conv1D stores [in, out]. None with cross-attention."""
    if config.flag("add_cross_attention"):
        return None
    hidden, intermediate = config.integer("hidden_size", low=1), _intermediate(config)
    return under(
        "transformer",
        embedding(config, "wte"),
        weight("wpe", config.integer("max_position_embeddings", low=1), hidden),
        layers(
            "h",
            range(layer_count(config)),
            norms("ln_1", "ln_2", size=hidden, bias=True),
            _conv1d("attn.c_attn", hidden, 3 * hidden),
            _conv1d("attn.c_proj", hidden, hidden),
            _conv1d("mlp.c_fc", hidden, intermediate),
            _conv1d("mlp.c_proj", intermediate, hidden),
        ),
        norm("ln_f", hidden, bias=True),
    ) + head(config)


def _conv1d(name: str, in_size: int, out_size: int) -> Parts:
    shift = (weight(name, out_size)[0]._replace(name=f"{name}.bias"),)
    return (*weight(name, in_size, out_size), *shift)


def gpt_bigcode(config: Config) -> Parts | None:
    """StarCoder: GPT-2 with linear layers and one key and value head. None without it, or with
    cross-attention.
    """
    if config.flag("add_cross_attention") or not config.flag("multi_query", default=True):
        return None
    size, intermediate = heads(config), _intermediate(config)
    return under(
        "transformer",
        embedding(config, "wte"),
        weight("wpe", config.integer("max_position_embeddings", low=1), size.hidden),
        layers(
            "h",
            range(layer_count(config)),
            norms("ln_1", "ln_2", size=size.hidden, bias=True),
            linear("attn.c_attn", size.hidden + 2 * size.head_dim, size.hidden, bias=True),
            linear("attn.c_proj", size.hidden, size.hidden, bias=True),
            linear("mlp.c_fc", intermediate, size.hidden, bias=True),
            linear("mlp.c_proj", size.hidden, intermediate, bias=True),
        ),
        norm("ln_f", size.hidden, bias=True),
    ) + head(config)


def gpt_neox(config: Config) -> Parts:
    """GPT-NeoX and Pythia: q, k, v of a head side by side in one projection."""
    hidden, intermediate = config.integer("hidden_size", low=1), _intermediate(config)
    bias = config.flag("attention_bias", default=True)
    return (
        *embedding(config, "gpt_neox.embed_in"),
        *layers(
            "gpt_neox.layers",
            range(layer_count(config)),
            norms(*PRE_NORMS, size=hidden, bias=True),
            linear("attention.query_key_value", 3 * hidden, hidden, bias=bias),
            linear("attention.dense", hidden, hidden, bias=bias),
            linear("mlp.dense_h_to_4h", intermediate, hidden, bias=True),
            linear("mlp.dense_4h_to_h", hidden, intermediate, bias=True),
        ),
        *norm("gpt_neox.final_layer_norm", hidden, bias=True),
        *head(config, "embed_out"),
    )


def bloom(config: Config) -> Parts:
    """BLOOM: a norm on the embedding; published without a prefix."""
    # The class takes n_embed as another name of hidden_size, whose default is a test's 64.
    name = "n_embed" if config.values.get("n_embed") is not None else "hidden_size"
    hidden = config.integer(name, low=1)
    return (
        *weight("word_embeddings", config.integer("vocab_size", low=1), hidden),
        *norm("word_embeddings_layernorm", hidden, bias=True),
        *layers(
            "h",
            range(layer_count(config)),
            norms(*PRE_NORMS, size=hidden, bias=True),
            linear("self_attention.query_key_value", 3 * hidden, hidden, bias=True),
            linear("self_attention.dense", hidden, hidden, bias=True),
            linear("mlp.dense_h_to_4h", 4 * hidden, hidden, bias=True),
            linear("mlp.dense_4h_to_h", hidden, 4 * hidden, bias=True),
        ),
        *norm("ln_f", hidden, bias=True),
        *_bloom_head(config, hidden),
    )


def _bloom_head(config: Config, hidden: int) -> Parts:
    if config.flag("tie_word_embeddings", default=True):
        return ()
    return weight("lm_head", config.integer("vocab_size", low=1), hidden)


def falcon(config: Config) -> Parts:
    """Falcon: many query heads on few key heads, norms in parallel; the head is tied though some
    files repeat it.
    """
    hidden, count = (
        config.integer("hidden_size", low=1),
        config.integer("num_attention_heads", low=1),
    )
    intermediate, bias = _intermediate(config), config.flag("bias")
    new = config.flag("new_decoder_architecture")
    parallel = config.flag("parallel_attn", default=True)
    two_norms = (config.integer_or_none("num_ln_in_parallel_attn") or (2 if new else 1)) == 2
    if new:
        kv_heads = config.integer_or_none("num_key_value_heads", low=1) or count
    else:
        kv_heads = 1 if config.flag("multi_query", default=True) else count
    norm_names: tuple[str, ...] = ("input_layernorm", "post_attention_layernorm")
    if parallel:
        norm_names = ("ln_attn", "ln_mlp") if two_norms else ("input_layernorm",)
    return (
        *embedding(config, "transformer.word_embeddings"),
        *layers(
            "transformer.h",
            range(layer_count(config)),
            norms(*norm_names, size=hidden, bias=True),
            linear(
                "self_attention.query_key_value",
                (count + 2 * kv_heads) * (hidden // count),
                hidden,
                bias=bias,
            ),
            linear("self_attention.dense", hidden, hidden, bias=bias),
            linear("mlp.dense_h_to_4h", intermediate, hidden, bias=bias),
            linear("mlp.dense_4h_to_h", hidden, intermediate, bias=bias),
        ),
        *norm("transformer.ln_f", hidden, bias=True),
        *head(config),
    )


def phi(config: Config) -> Parts | None:
    """Phi-1 to Phi-2: one norm a layer, a head with a bias. None with norms over q and k."""
    if config.flag("qk_layernorm") or config.flag("tie_word_embeddings"):
        return None
    size, intermediate = heads(config), config.integer("intermediate_size", low=1)
    output = head(config)
    return (
        *embedding(config),
        *layers(
            "model.layers",
            range(layer_count(config)),
            norm("input_layernorm", size.hidden, bias=True),
            attention(size, bias=True, output_bias=True, output="dense"),
            linear("mlp.fc1", intermediate, size.hidden, bias=True),
            linear("mlp.fc2", size.hidden, intermediate, bias=True),
        ),
        *norm("model.final_layernorm", size.hidden, bias=True),
        *output,
        output[0]._replace(name="lm_head.bias", shape=output[0].shape[:1]),
    )


def starcoder2(config: Config) -> Parts:
    """StarCoder 2: one flag for every bias of a projection."""
    size, intermediate = heads(config), config.integer("intermediate_size", low=1)
    bias = config.flag("use_bias", default=True)
    return (
        *embedding(config),
        *layers(
            "model.layers",
            range(layer_count(config)),
            norms(*PRE_NORMS, size=size.hidden, bias=True),
            attention(size, bias=bias, output_bias=bias),
            linear("mlp.c_fc", intermediate, size.hidden, bias=bias),
            linear("mlp.c_proj", size.hidden, intermediate, bias=bias),
        ),
        *norm("model.norm", size.hidden, bias=True),
        *head(config),
    )


ROWS: tuple[Family, ...] = (
    Family(
        model_types=("gpt2", "gpt-sw3"),
        classes=("GPT2LMHeadModel",),
        parts=gpt2,
        source="gpt2/modeling_gpt2.py",
    ),
    Family(
        model_types=("gpt_bigcode",),
        classes=("GPTBigCodeForCausalLM",),
        parts=gpt_bigcode,
        source="gpt_bigcode/modeling_gpt_bigcode.py",
    ),
    Family(
        model_types=("gpt_neox",),
        classes=("GPTNeoXForCausalLM",),
        parts=gpt_neox,
        source="gpt_neox/modeling_gpt_neox.py",
    ),
    Family(
        model_types=("bloom",),
        classes=("BloomForCausalLM",),
        parts=bloom,
        source="bloom/modeling_bloom.py",
    ),
    Family(
        model_types=("falcon",),
        classes=("FalconForCausalLM",),
        parts=falcon,
        source="falcon/modeling_falcon.py",
    ),
    Family(
        model_types=("phi",),
        classes=("PhiForCausalLM",),
        parts=phi,
        source="phi/modeling_phi.py",
    ),
    Family(
        model_types=("starcoder2",),
        classes=("Starcoder2ForCausalLM",),
        parts=starcoder2,
        source="starcoder2/modeling_starcoder2.py",
    ),
)
"""Families, one row each."""

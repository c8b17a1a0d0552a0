"""Models with an encoder: T5's line, BART's line, Whisper."""

from __future__ import annotations

from msgspec import Struct

from hfmem.model.config import MAX_LAYERS, Config
from hfmem.model.declared.blocks import (
    NotDeclaredError,
    Parts,
    layers,
    linear,
    norm,
    norms,
    under,
    weight,
)
from hfmem.model.declared.family import Family
from hfmem.model.declared.sound import encoder_layer, projections, whisper


def _count(config: Config, *keys: str) -> int:
    """Layers under the first of ``keys`` that is said."""
    for key in keys:
        found = config.integer_or_none(key, high=MAX_LAYERS)
        if found is not None:
            return found
    raise NotDeclaredError


class _T5(Struct, frozen=True, kw_only=True):
    """The sizes of one stack of T5."""

    hidden: int
    inner: int
    width: int
    """Heads × d_kv."""
    table: tuple[int, int]
    """Buckets and heads of the relative positions."""
    gated: bool
    every: bool
    """Each layer has a table of its own (UMT5); T5's first has the only one."""

    def attention(self, name: str) -> Parts:
        """Four projections without a bias."""
        return under(
            name,
            *(linear(one, self.width, self.hidden) for one in ("q", "k", "v")),
            linear("o", self.hidden, self.width),
        )

    def stack(self, prefix: str, count: int, *, crosses: bool) -> Parts:
        """The layers of an encoder, or of a decoder that ``crosses``."""
        names = ("wi_0", "wi_1") if self.gated else ("wi",)
        feed_forward = (
            *(part for name in names for part in linear(name, self.inner, self.hidden)),
            *linear("wo", self.hidden, self.inner),
        )
        last = 2 if crosses else 1
        halves = [self.attention("layer.0.SelfAttention")]
        if crosses:
            halves.append(self.attention("layer.1.EncDecAttention"))
        halves.append(under(f"layer.{last}.DenseReluDense", feed_forward))
        table = weight("layer.0.SelfAttention.relative_attention_bias", *self.table)
        return under(
            prefix,
            layers(
                "block",
                range(count),
                *halves,
                *(norm(f"layer.{n}.layer_norm", self.hidden) for n in range(last + 1)),
            ),
            layers("block", range(count if self.every else min(count, 1)), table),
            norm("final_layer_norm", self.hidden),
        )


def _t5_sizes(config: Config) -> _T5:
    act = config.text("feed_forward_proj") or "relu"
    heads = config.integer("num_heads", low=1)
    return _T5(
        hidden=config.integer("d_model", low=1),
        inner=config.integer("d_ff", low=1),
        width=heads * config.integer("d_kv", low=1),
        table=(config.integer("relative_attention_num_buckets", low=1), heads),
        gated=config.flag("is_gated_act", default=act.startswith("gated")),
        every=config.model_type == "umt5",
    )


def _t5_embedding(config: Config, name: str = "shared") -> Parts:
    return weight(name, config.integer("vocab_size", low=1), config.integer("d_model", low=1))


def t5(config: Config) -> Parts:
    """T5, Flan-T5, mT5, UMT5. A head of its own where the file says that it is not tied: v1.1's
    files hold it, though transformers 5 builds the class tied whatever the file says."""
    sizes = _t5_sizes(config)
    own_head = config.values.get("tie_word_embeddings") is False
    return (
        *_t5_embedding(config),
        *sizes.stack("encoder", _count(config, "num_layers"), crosses=False),
        *sizes.stack("decoder", _count(config, "num_decoder_layers", "num_layers"), crosses=True),
        *(_t5_embedding(config, "lm_head") if own_head else ()),
    )


def t5_encoder(config: Config) -> Parts:
    """The encoder alone, as diffusion pipelines hold it. T5-XXL: 4,762,310,656 parameters."""
    if config.flag("is_decoder"):
        raise NotDeclaredError
    sizes = _t5_sizes(config)
    return (
        *_t5_embedding(config),
        *sizes.stack("encoder", _count(config, "num_layers"), crosses=False),
    )


class Bart(Struct, frozen=True, kw_only=True):
    """How a family departs from BART; calling it gives the tensors."""

    offset: int | None = 2
    """Rows of the position table beside ``max_position_embeddings``; None where it is computed."""
    embedding_norm: bool = True
    """A LayerNorm behind the embedding."""
    last_norm: bool = False
    """A LayerNorm behind each stack."""

    def __call__(self, config: Config) -> Parts:
        """Both stacks and the embedding that they and the head share."""
        if not config.flag("tie_word_embeddings", default=True):
            raise NotDeclaredError
        if not config.flag("share_encoder_decoder_embeddings", default=True):
            raise NotDeclaredError
        if config.flag("use_prompt") or config.flag("static_position_embeddings"):
            raise NotDeclaredError
        size = config.integer("d_model", low=1)
        first = encoder_layer(size, config.integer("encoder_ffn_dim", low=1))
        second = encoder_layer(size, config.integer("decoder_ffn_dim", low=1))
        return (
            *weight("model.shared", config.integer("vocab_size", low=1), size),
            *under("model.encoder", self._around(config, size)),
            *layers("model.encoder.layers", range(_count(config, "encoder_layers")), first),
            *under("model.decoder", self._around(config, size)),
            *layers(
                "model.decoder.layers",
                range(_count(config, "decoder_layers")),
                second,
                _crossing(size),
            ),
        )

    def _around(self, config: Config, size: int) -> Parts:
        rows = config.integer("max_position_embeddings", low=1)
        return (
            *(() if self.offset is None else weight("embed_positions", rows + self.offset, size)),
            *(norm("layernorm_embedding", size, bias=True) if self.embedding_norm else ()),
            *(norm("layer_norm", size, bias=True) if self.last_norm else ()),
        )


def _crossing(size: int, *, key_bias: bool = True) -> Parts:
    return (
        *under("encoder_attn", projections(size, key_bias=key_bias)),
        *norms("encoder_attn_layer_norm", size=size, bias=True),
    )


def whisper_model(config: Config) -> Parts:
    """Whisper: the head is the embedding. large-v3: 1,543,490,560 parameters."""
    if not config.flag("tie_word_embeddings", default=True):
        raise NotDeclaredError
    size = config.integer("d_model", low=1)
    layer = encoder_layer(size, config.integer("decoder_ffn_dim", low=1), key_bias=False)
    return (
        *under("model.encoder", whisper(config)),
        *under(
            "model.decoder",
            weight("embed_tokens", config.integer("vocab_size", low=1), size),
            weight("embed_positions", config.integer("max_target_positions", low=1), size),
            layers(
                "layers",
                range(_count(config, "decoder_layers")),
                layer,
                _crossing(size, key_bias=False),
            ),
            norm("layer_norm", size, bias=True),
        ),
    )


ROWS: tuple[Family, ...] = (
    Family(
        model_types=("t5", "mt5", "umt5"),
        classes=(
            "T5ForConditionalGeneration",
            "T5WithLMHeadModel",
            "MT5ForConditionalGeneration",
            "UMT5ForConditionalGeneration",
        ),
        parts=t5,
        source="t5/modeling_t5.py, umt5/modeling_umt5.py",
    ),
    Family(
        model_types=("t5", "mt5", "umt5"),
        classes=("T5EncoderModel", "MT5EncoderModel", "UMT5EncoderModel"),
        parts=t5_encoder,
        source="t5/modeling_t5.py, umt5/modeling_umt5.py",
    ),
    Family(
        model_types=("bart", "mvp", "plbart"),
        classes=(
            "BartForConditionalGeneration",
            "MvpForConditionalGeneration",
            "PLBartForConditionalGeneration",
        ),
        parts=Bart(),
        source="bart/modeling_bart.py, mvp/modeling_mvp.py, plbart/modeling_plbart.py",
    ),
    Family(
        model_types=("mbart",),
        classes=("MBartForConditionalGeneration",),
        parts=Bart(last_norm=True),
        source="mbart/modeling_mbart.py",
    ),
    Family(
        model_types=("blenderbot", "pegasus"),
        classes=("BlenderbotForConditionalGeneration", "PegasusForConditionalGeneration"),
        parts=Bart(offset=0, embedding_norm=False, last_norm=True),
        source="blenderbot/modeling_blenderbot.py, pegasus/modeling_pegasus.py",
    ),
    Family(
        model_types=("blenderbot-small",),
        classes=("BlenderbotSmallForConditionalGeneration",),
        parts=Bart(offset=0),
        source="blenderbot_small/modeling_blenderbot_small.py",
    ),
    Family(
        model_types=("marian",),
        classes=("MarianMTModel",),
        parts=Bart(offset=0, embedding_norm=False),
        source="marian/modeling_marian.py",
    ),
    Family(
        model_types=("m2m_100",),
        classes=("M2M100ForConditionalGeneration",),
        parts=Bart(offset=None, embedding_norm=False, last_norm=True),
        source="m2m_100/modeling_m2m_100.py",
    ),
    Family(
        model_types=("whisper",),
        classes=("WhisperForConditionalGeneration",),
        parts=whisper_model,
        source="whisper/modeling_whisper.py",
    ),
)
"""Families, one row each."""

"""Encoder-decoder families: each decoder layer keeps its own tokens and the encoder's output."""

from __future__ import annotations

from collections.abc import Callable

from hfmem.model.architectures.attention import heads
from hfmem.model.architectures.entry import Architecture, CacheRule
from hfmem.model.architectures.patterns import FULL, every, last_of_period, layer_count
from hfmem.model.architectures.stacks import stack, with_cross
from hfmem.model.config import MAX_LAYERS, Config, class_name
from hfmem.model.layers import CrossAttention, FullAttention, Layer, NoCache

SourceTokens = Callable[[Config], int | None]


def attends_to_encoder(config: Config) -> bool:
    """A causal class of an encoder-decoder family (BartForCausalLM) has no cross-attention."""
    named = class_name(config) or ""
    return config.values.get("add_cross_attention") is True or not named.endswith(
        ("ForCausalLM", "Decoder")
    )


def decoder_layers(*keys: str, heads_key: str, size_key: str | None = None) -> CacheRule:
    """Layers under the first of ``keys`` that is said, heads under ``heads_key``, head size
    explicit or derived."""
    return with_source(lambda _config: None, *keys, heads_key=heads_key, size_key=size_key)


def with_source(
    source: SourceTokens, *keys: str, heads_key: str, size_key: str | None = None
) -> CacheRule:
    """As ``decoder_layers``, with the encoder's length where the model fixes it."""

    def cache(config: Config) -> tuple[Layer, ...]:
        query = config.integer(heads_key, low=1)
        size = config.integer_or_none(size_key) if size_key else None
        size = size or config.integer("hidden_size", low=1) // query
        own = FullAttention(kv_heads=query, head_dim=size, v_head_dim=size)
        cross = CrossAttention(
            kv_heads=query, head_dim=size, v_head_dim=size, source_tokens=source(config)
        )
        layer: Layer = (own, cross) if attends_to_encoder(config) else (own,)
        count = next(
            (n for key in keys if (n := config.integer_or_none(key, low=1, high=MAX_LAYERS))), None
        )
        return (layer,) * (count or config.integer(keys[0], low=1, high=MAX_LAYERS))

    return cache


def mllama(config: Config) -> tuple[Layer, ...]:
    """``cross_attention_layers`` keep the image's tokens and nothing else.

    Llama-3.2-11B-Vision: 8 of 40 layers over 4 tiles of 1,601 patches.
    """
    size = heads(config)
    own = FullAttention(kv_heads=size.kv, head_dim=size.head_dim, v_head_dim=size.head_dim)
    cross = CrossAttention(
        kv_heads=size.kv, head_dim=size.head_dim, v_head_dim=size.head_dim, source_tokens=None
    )
    listed = config.integer_list("cross_attention_layers", high=MAX_LAYERS)
    attend = set(range(3, 40, 5) if listed is None else listed)
    return tuple((cross,) if index in attend else (own,) for index in range(layer_count(config)))


def dia(config: Config) -> tuple[Layer, ...]:
    """Self-attention with few kv heads, cross-attention with heads of its own."""
    cross = CrossAttention(
        kv_heads=config.integer("cross_num_key_value_heads", low=1),
        head_dim=(size := config.integer("cross_head_dim", low=1)),
        v_head_dim=size,
        source_tokens=None,
    )
    return tuple((*layer, cross) for layer in stack(every(FULL), keys=())(config))


def only_as_decoder(cache: CacheRule) -> CacheRule:
    """BERT and its kin: with ``is_decoder`` they cache, otherwise they keep nothing."""

    def as_said(config: Config) -> tuple[Layer, ...]:
        layers = cache(config)
        if not config.flag("is_decoder"):
            return ((NoCache(),),) * len(layers)
        if not config.flag("add_cross_attention"):
            return layers
        return with_cross(lambda _config: layers)(config)

    return as_said


def _models(name: str) -> str:
    return f"transformers/models/{name}/modeling_{name}.py: EncoderDecoderCache"


_BART = decoder_layers("decoder_layers", heads_key="decoder_attention_heads")

ENCODER_DECODER = (
    Architecture(
        model_types=("t5", "mt5", "umt5", "longt5", "switch_transformers", "pop2piano", "udop"),
        cache=decoder_layers(
            "num_decoder_layers", "num_layers", heads_key="num_heads", size_key="d_kv"
        ),
        source=_models("t5"),
    ),
    Architecture(
        model_types=(
            "bart",
            "bigbird_pegasus",
            "blenderbot",
            "blenderbot-small",
            "fsmt",
            "led",
            "m2m_100",
            "marian",
            "mbart",
            "mvp",
            "nllb-moe",
            "pegasus",
            "pegasus_x",
            "plbart",
            "seamless_m4t",
            "seamless_m4t_v2",
            "speech_to_text",
            "speecht5",
            "trocr",
            "florence2_language",
            "pp_formulanet_text",
        ),
        cache=_BART,
        source=_models("bart"),
    ),
    Architecture(
        model_types=("whisper",),
        cache=with_source(
            lambda config: config.integer("max_source_positions", low=1),
            "decoder_layers",
            heads_key="decoder_attention_heads",
        ),
        source=_models("whisper"),
    ),
    Architecture(
        model_types=("prophetnet",),
        cache=decoder_layers("num_decoder_layers", heads_key="num_decoder_attention_heads"),
        source=_models("prophetnet"),
    ),
    Architecture(
        model_types=("moonshine",),
        cache=decoder_layers("decoder_num_hidden_layers", heads_key="decoder_num_attention_heads"),
        source=_models("moonshine"),
    ),
    Architecture(
        model_types=("pix2struct_text_model",),
        cache=decoder_layers("num_layers", heads_key="num_heads", size_key="d_kv"),
        source=_models("pix2struct"),
    ),
    Architecture(
        model_types=("musicgen_decoder", "musicgen_melody_decoder"),
        cache=decoder_layers("num_hidden_layers", heads_key="num_attention_heads"),
        source=_models("musicgen"),
    ),
    Architecture(
        model_types=("canary_decoder", "cohere_asr", "moonshine_streaming"),
        cache=with_cross(stack(every(FULL), keys=())),
        source=_models("cohere_asr"),
    ),
    Architecture(
        model_types=("dia_decoder",),
        cache=dia,
        source=_models("dia"),
    ),
    Architecture(
        model_types=("t5_gemma_module",),
        cache=with_cross(stack(last_of_period(2))),
        source=_models("t5gemma"),
    ),
    Architecture(
        model_types=("t5gemma2_decoder",),
        cache=with_cross(stack(last_of_period(6, key="sliding_window_pattern"))),
        source=_models("t5gemma2"),
    ),
    Architecture(
        model_types=("blip_text_model",),
        cache=with_cross(stack(every(FULL), keys=())),
        source="transformers/models/blip/modeling_blip_text.py: BlipTextLayer.crossattention",
    ),
    Architecture(
        model_types=("mllama_text_model",),
        cache=mllama,
        source="transformers/models/mllama/modeling_mllama.py: MllamaTextCrossAttention",
    ),
    Architecture(
        model_types=(
            "bert",
            "bert-generation",
            "big_bird",
            "camembert",
            "data2vec-text",
            "electra",
            "ernie",
            "megatron-bert",
            "rembert",
            "roberta",
            "roberta-prelayernorm",
            "roc_bert",
            "roformer",
            "xlm-roberta",
            "xlm-roberta-xl",
            "xmod",
        ),
        cache=only_as_decoder(stack(keys=())),
        source="transformers/models/bert/modeling_bert.py: is_decoder",
    ),
)

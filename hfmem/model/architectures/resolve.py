"""From a configuration to its decoder: the entry, then conventional keys, then a clear refusal."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Literal

from hfmem.checkpoint.snapshot import Note
from hfmem.errors import UnsupportedArchitectureError
from hfmem.model.architectures.dense import DENSE
from hfmem.model.architectures.disagreement import disagreement
from hfmem.model.architectures.encoder_decoder import ENCODER_DECODER
from hfmem.model.architectures.entry import Architecture, Decoder
from hfmem.model.architectures.latent import LATENT
from hfmem.model.architectures.patterns import conventional
from hfmem.model.architectures.recurrent import RECURRENT
from hfmem.model.architectures.remote_code import REMOTE_CODE
from hfmem.model.architectures.sliding import SLIDING_FAMILIES, uneven
from hfmem.model.architectures.sparse import SPARSE
from hfmem.model.architectures.stacks import stack
from hfmem.model.class_defaults import class_facts, generates, model_type_of_class
from hfmem.model.config import (
    MAX_LAYERS,
    TEXT_SECTIONS,
    Config,
    class_name,
    of_class,
    text_section,
)
from hfmem.model.layers import (
    CacheKind,
    CrossAttention,
    Layer,
    NoCache,
    RecurrentState,
    SharedCache,
    SlidingWindow,
    heads_shown,
)

ARCHITECTURES: tuple[Architecture, ...] = (
    *DENSE,
    *SLIDING_FAMILIES,
    *LATENT,
    *SPARSE,
    *RECURRENT,
    *ENCODER_DECODER,
    *REMOTE_CODE,
)
"""Every family, in the order of the files. One model type belongs to one entry."""

_BY_TYPE: Mapping[str, Architecture] = {
    model_type: entry for entry in ARCHITECTURES for model_type in entry.model_types
}


def layers(config: Config) -> Decoder:
    """What each decoder layer of a model keeps between two tokens.

    Raises MissingKeyError and InvalidValueError where the configuration is incomplete or damaged,
    and UnsupportedArchitectureError where the cache's layout is neither known nor conventional.
    """
    if config.model_type in _OWN_SHAPES:
        raise _unsupported(config, _OWN_SHAPES[config.model_type])
    text, odd = decoder_section(config), disagreement(config)
    notes = () if odd is None else (odd,)
    entry = _BY_TYPE.get(text.model_type or "")
    alone = class_name(config) in _ENCODERS
    own = text.model_type == config.model_type
    if entry is not None and not alone and (own or not _encodes(config)):
        return _decoder(text, entry.cache(text), "entry", entry.source, notes)
    if alone or _encodes(config):
        count = text.integer_or_none("num_hidden_layers", high=MAX_LAYERS) or 0
        nothing: tuple[Layer, ...] = ((NoCache(),),) * count
        known = class_name(config) if alone else config.model_type
        name = ascii(known or config.values.get("_class_name"))[1:61].rstrip("'")
        why = f"{name} has no class that generates token by token"
        told = Note(code="no_cache", message=f"{why}: nothing is kept between two calls.")
        return _decoder(text, nothing, "generic", why, (*notes, told))
    stacked = by_convention(text)
    slides = all(isinstance(kind, SlidingWindow) for layer in stacked for kind in layer)
    notes = (*notes, _NOTE, *((_ALL_SLIDE,) if slides and stacked else ()))
    return _decoder(text, stacked, "generic", _CONVENTION, notes)


def _encodes(config: Config) -> bool:
    """A model that keeps nothing between calls: no generating class, or a part of a diffusion
    pipeline."""
    if config.model_type is None:
        return isinstance(config.values.get("_class_name"), str)
    if config.model_type in _AT_ONCE:
        return True
    return config.model_type not in _PIXELS and generates(config.model_type) is False


_ENCODERS = frozenset(
    {
        *("T5EncoderModel", "MT5EncoderModel", "UMT5EncoderModel", "LongT5EncoderModel"),
        *("SwitchTransformersEncoderModel", "T5GemmaEncoderModel", "UdopEncoderModel"),
    }
)
"""Encoders without their decoders, as diffusion pipelines have them (transformers 5.23
models/t5/modeling_t5.py: T5EncoderModel)."""
_AT_ONCE = frozenset({"fastspeech2_conformer", "fastspeech2_conformer_with_hifigan", "vits"})
"""They generate the whole output in one pass."""
_PIXELS = frozenset({"glm_image", "imagegpt"})
"""They generate pictures token by token, which transformers' table of generating classes leaves
out."""


def decoder_section(config: Config) -> Config:
    """The decoder's section, read as the class that it belongs to.

    ``model_type`` decides. A section without one, or with one that nobody knows, is read as its
    ``architectures`` say; a flat multimodal configuration (LLaVA-Video: ``llava`` with Qwen2's
    keys) as the decoder in its class's name.
    """
    text = text_section(config)
    named = class_name(text) or class_name(config) or ""
    if config.model_type in _PAIRS and text is not config:
        return text.with_values({"is_decoder": True, "add_cross_attention": True})
    flat = FLAT_CLASSES.get(named)
    if flat is not None and text is config:
        return of_class(text.values, flat, where=text.where)
    if text.model_type not in _BY_TYPE and class_facts(text.model_type or "") is None:
        told = model_type_of_class(named)
        if told is not None:
            return text_section(of_class(text.values, told, where=text.where))
    return text


_PAIRS = frozenset({"encoder-decoder", "speech-encoder-decoder", "vision-encoder-decoder"})
"""Wrappers of two models that make the second attend to the first, whatever its section says."""


FLAT_CLASSES: Mapping[str, str] = {
    "BunnyLlamaForCausalLM": "llama",
    "BunnyPhi3ForCausalLM": "phi3",
    "BunnyQwenForCausalLM": "qwen2",
    "CogVLMForCausalLM": "llama",
    "CogVLMVideoForCausalLM": "llama",
    "LlavaGemmaForCausalLM": "gemma",
    "LlavaLlamaForCausalLM": "llama",
    "LlavaMistralForCausalLM": "mistral",
    "LlavaMptForCausalLM": "mpt",
    "LlavaPhiForCausalLM": "phi",
    "LlavaQwenForCausalLM": "qwen2",
    "LlavaQwen2ForCausalLM": "qwen2",
    "LlavaQwen3ForCausalLM": "qwen3",
    "LlavaQwenMoeForCausalLM": "qwen2_moe",
    "MiniGPT4LlamaForCausalLM": "llama",
    "OpenFlamingoMptForCausalLM": "mpt",
    "VILALlamaForCausalLM": "llama",
    "XComposer2ForCausalLM": "internlm2",
}
"""Remote classes that write the decoder's keys at the top level, and the decoder in them
(LLaVA-NeXT: llava/model/language_model/)."""

_STRANGE = re.compile(
    # A state instead of keys and values.
    r"mamba|ssm|rwkv|recurrent|lightning|delta_net|linear_(attn|num|key|value|rope|silu)"
    r"|conv_kernel|short_conv|conv_l_cache|state_size|hybrid"
    # Layers of several kinds, told by a key of the family's own.
    r"|full_att(n|ention)_i|attn_layer|attn_type|layer_group_size|block_types|block_configs"
    # Keys and values that are compressed, selected or shared.
    r"|kv_lora_rank|compress|index_(head|topk)|num_kv_shared|kv_source|use_cla|yoco"
    r"|cross_attention_layers"
    # Windows in some layers, told by a key of the family's own.
    r"|global_att|local_att|attention_types|swa_|_swa$",
    re.IGNORECASE,
)
_CONVENTION = (
    "conventional keys: num_hidden_layers, num_attention_heads, num_key_value_heads, head_dim"
)
_NOTE = Note(
    code="generic_architecture",
    message="This model type is not in hfmem's table; its cache was read from conventional keys.",
)
_ALL_SLIDE = Note(
    code="assumed_window",
    message="No key says which layers have the sliding window: every one is taken to, as in "
    "Mistral. Layers of full attention would keep more.",
)


def by_convention(text: Config) -> tuple[Layer, ...]:
    """Plain attention, where the keys say so and none of them says otherwise.

    Raises UnsupportedArchitectureError for keys that tell of a latent, compressed or recurrent
    state, whose layout differs from family to family.
    """
    strange = [
        key
        for source in (text.values, text.defaults)
        for key, value in source.items()
        if value and _STRANGE.search(key)
    ]
    if strange:
        raise _unsupported(text, f"its keys tell of a state of its own ({strange[0][:60]!a})")
    for key in ("num_hidden_layers", "num_attention_heads"):
        if text.value(key) is None:
            raise _elsewhere(text) or _unsupported(text, f"{text.where} has no {key}")
    if text.flag("is_encoder_decoder"):
        raise _unsupported(text, "it is an encoder-decoder that is not in the table")
    return _per_layer(_one_spelling(text))


def _one_spelling(text: Config) -> Config:
    """``multi_query`` (GPT-BigCode) and ``attn_config.kv_n_heads`` (MPT, DBRX) as
    ``num_key_value_heads``."""
    if text.value("num_key_value_heads") is not None:
        return text
    nested = text.value("attn_config")
    said = nested.get("kv_n_heads") if isinstance(nested, Mapping) else None
    if said is None and text.flag("multi_query"):
        said = 1
    return text if said is None else text.with_values({"num_key_value_heads": said})


_MAX_SORTS = 64
"""Sorts of layers in one model; a list of more different heads is an attack or a mistake."""


def _per_layer(text: Config) -> tuple[Layer, ...]:
    """The layers, each with its own heads where ``num_key_value_heads`` is a list (OpenELM,
    DeciLM)."""
    if not isinstance(text.value("num_key_value_heads"), list | tuple):
        return _CONVENTIONAL(text)
    each = text.integer_list("num_key_value_heads", low=1) or ()
    if len(set(each)) > _MAX_SORTS:
        raise text.invalid("num_key_value_heads", each, f"at most {_MAX_SORTS} different numbers")
    built = {
        heads: _CONVENTIONAL(text.with_values({"num_key_value_heads": heads}))
        for heads in sorted(set(each))
    }
    count = len(next(iter(built.values()), ()))
    if len(each) < count or not each:
        raise text.invalid("num_key_value_heads", each, f"a list of {count:,}, one a layer")
    return tuple(built[heads][index] for index, heads in enumerate(each[:count]))


_OWN_SHAPES: Mapping[str | None, str] = {
    "blt": "it caches patches of bytes, whose number depends on the text",
    "cpmant": "it caches learned prompt tokens before the text",
    "reformer": "it caches hash buckets and hidden states",
    "xlm": "its cache depends on the language embeddings",
    "xlnet": "it keeps memories of mem_len tokens instead of keys and values",
}
_CONVENTIONAL = stack(conventional, full=uneven, keys=("layer_types", "layers_block_type"))


def _unsupported(text: Config, why: str) -> UnsupportedArchitectureError:
    return UnsupportedArchitectureError(
        f"What a layer of {text.type_shown()} keeps is not known: {why}.",
        hint="The weights can still be sized; a newer hfmem may know the architecture.",
    )


def _elsewhere(text: Config) -> UnsupportedArchitectureError | None:
    """Where the decoder's section is a string: the name of another repository."""
    for key in TEXT_SECTIONS:
        named = text.values.get(key)
        if isinstance(named, str):
            return UnsupportedArchitectureError(
                f"{text.where}: {key} is the name {named[:80]!a}, no section: what its decoder "
                "keeps stands in that repository's own config.json.",
                hint="Ask for that repository, and for the weights of this one beside it.",
            )
    return None


def _decoder(
    text: Config,
    stacked: tuple[Layer, ...],
    resolved_by: Literal["entry", "generic"],
    source: str,
    notes: tuple[Note, ...],
) -> Decoder:
    attends = next((kind for layer in stacked for kind in layer if _attends(kind)), None)
    heads = None
    if attends is not None:
        heads = text.integer_or_none("decoder_attention_heads") or text.integer_or_none(
            "num_attention_heads"
        )
    kv_heads, head_dim = heads_shown(attends)
    return Decoder(
        layers=stacked,
        text=text,
        model_type=text.model_type,
        hidden_size=text.integer_or_none("hidden_size"),
        attention_heads=heads,
        kv_heads=kv_heads,
        head_dim=head_dim,
        max_context=None
        if text.model_type in _UNBOUNDED
        else text.integer_or_none("max_position_embeddings"),
        vocab_size=text.integer_or_none("vocab_size"),
        resolved_by=resolved_by,
        source=source,
        notes=notes,
    )


_UNBOUNDED = frozenset(
    {
        "t5",
        "mt5",
        "umt5",
        "longt5",
        "switch_transformers",
        "mamba",
        "mamba2",
        "falcon_mamba",
        "rwkv",
    }
)
"""Relative positions or none: the configuration's number is what it was trained with, not a bound.
"""


def _attends(kind: CacheKind) -> bool:
    return not isinstance(kind, NoCache | SharedCache | RecurrentState | CrossAttention)

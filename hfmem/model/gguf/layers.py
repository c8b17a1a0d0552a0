"""What each layer of a GGUF model keeps between two tokens, from the keys of its file."""

from __future__ import annotations

from msgspec import Struct

from hfmem.errors import UnsupportedArchitectureError
from hfmem.model.config import MAX_LAYERS
from hfmem.model.gguf import families
from hfmem.model.gguf.families import HYBRID, PLAIN, RECURRENT, SLIDING, Sliding
from hfmem.model.gguf.keys import Keys
from hfmem.model.layers import (
    CacheKind,
    ChunkedAttention,
    CompressedAttention,
    CrossAttention,
    FullAttention,
    LatentAttention,
    Layer,
    NoCache,
    RecurrentState,
    SharedCache,
    SlidingWindow,
)


def cache_layers(keys: Keys) -> tuple[Layer, ...]:
    """One layer for every block that generates.

    Llama-3.1-8B: 32 layers of 8 heads of 128 + 128. Raises UnsupportedArchitectureError for an
    architecture whose layers are not known, MissingKeyError and InvalidValueError.
    """
    name = keys.architecture
    if name in families.ENCODERS:
        return ((NoCache(),),) * keys.layers
    if name in families.BESIDE:
        raise UnsupportedArchitectureError(
            f"The GGUF file is {families.BESIDE[name]}, not a model.",
            hint="Name the model's own file; this one is loaded beside it.",
        )
    keys.own.integer("block_count", low=1, high=MAX_LAYERS)
    if name in RECURRENT:
        return ((_state(keys),),) * keys.layers
    if name in HYBRID:
        return _hybrid(keys)
    if name == "t5":
        return _t5(keys)
    if name == "deepseek4":
        return _compressed(keys)
    if name not in PLAIN | SLIDING.keys() | families.INDEXED | {"llama4", "smallthinker"}:
        raise UnsupportedArchitectureError(
            f"What a layer of the GGUF architecture {name[:60]!a} keeps is not known.",
            hint="A newer hfmem may know it; the weights can still be sized.",
        )
    return _attention_layers(keys)


class _Heads(Struct, frozen=True, kw_only=True):
    """Heads and head sizes as llama.cpp reads them, for full layers and for sliding ones."""

    query: tuple[int, ...]
    kv: tuple[int, ...]
    full: tuple[int, int]
    sliding: tuple[int, int]


def _heads(keys: Keys) -> _Heads:
    own = keys.own
    query = keys.per_layer("attention.head_count")
    most = max(query)
    size = own.integer("embedding_length", low=1) // most if most else 0
    key = own.integer_or_none("attention.key_length") or size
    value = own.integer_or_none("attention.value_length") or size
    return _Heads(
        query=query,
        kv=keys.per_layer("attention.head_count_kv", default=query),
        full=(key, value),
        sliding=(
            own.integer_or_none("attention.key_length_swa") or key,
            own.integer_or_none("attention.value_length_swa") or value,
        ),
    )


def _attention_layers(keys: Keys) -> tuple[Layer, ...]:
    heads = _heads(keys)
    window, slides = _windows(keys)
    own_caches = _own_caches(keys)
    layers: list[Layer] = []
    for index in range(keys.layers):
        if index >= own_caches:
            source = own_caches - (2 if slides[index] else 1)
            layers.append((SharedCache(of_layer=source),))
        else:
            layers.append((_attention(keys, heads, index, window if slides[index] else None),))
    return tuple(layers)


def _attention(keys: Keys, heads: _Heads, index: int, window: int | None) -> CacheKind:
    own = keys.own
    indexer = _indexer(keys, index)
    if own.integer_or_none("attention.key_length_mla"):
        suffix = "_swa" if window and own.has("attention.kv_lora_rank_swa") else ""
        rank = own.integer(f"attention.kv_lora_rank{suffix}", low=1)
        width = heads.sliding[0] if suffix else heads.full[0]
        return LatentAttention(
            rank=rank,
            rope_dim=max(0, width - rank),
            heads=heads.query[index],
            indexer_dim=indexer,
            window=window,
        )
    count = heads.kv[index]
    if not count or not heads.query[index]:
        return NoCache()
    key, value = heads.sliding if window else heads.full
    if window is None:
        return FullAttention(kv_heads=count, head_dim=key, v_head_dim=value, indexer_dim=indexer)
    if keys.architecture == "llama4":
        return ChunkedAttention(kv_heads=count, head_dim=key, v_head_dim=value, chunk=window)
    return SlidingWindow(kv_heads=count, head_dim=key, v_head_dim=value, window=window)


def _windows(keys: Keys) -> tuple[int | None, tuple[bool, ...]]:
    """The window, and which layers slide."""
    name, own = keys.architecture, keys.own
    none = None, (False,) * keys.layers
    told = own.integer_or_none("attention.sliding_window")
    if name == "llama4":
        if told == 0:
            return none
        return families.LLAMA4_CHUNK, _pattern(keys, Sliding(period=families.LLAMA4_PERIOD))
    if name == "smallthinker":
        if not told:
            return none
        return families.SMALLTHINKER_WINDOW, _pattern(keys, families.SMALLTHINKER)
    rule = SLIDING.get(name)
    if name == "exaone4" and keys.layers == families.EXAONE4_LAYERS:
        rule = families.EXAONE4
    if rule is None or (rule.optional and not told):
        return none
    window = told or rule.window or own.integer("attention.sliding_window", low=1)
    return window, _pattern(keys, rule)


def _pattern(keys: Keys, rule: Sliding) -> tuple[bool, ...]:
    """Which layers slide: as the file lists them, or all but one in a period (llama.cpp:
    load_swa_pattern).
    """
    key = "attention.sliding_window_pattern"
    listed = keys.flags(key)
    if listed is not None:
        return listed
    if not rule.period:
        keys.own.integer(key)
        raise keys.own.invalid(key, keys.own.value(key), "a list of the layers that slide")
    period = keys.own.integer_or_none(key, high=MAX_LAYERS)
    period = rule.period if period is None else period
    if not period:
        return (True,) * keys.layers
    full = 0 if rule.dense_first else period - 1
    return tuple(index % period != full for index in range(keys.layers))


def _own_caches(keys: Keys) -> int:
    """Layers that keep a cache of their own, from the first; the others read one of the last."""
    count = keys.layers
    if keys.architecture == "gemma3n":
        count = families.GEMMA3N_OWN_CACHES
    elif keys.architecture == "gemma4":
        key = "attention.shared_kv_layers"
        shared = keys.own.integer_or_none(key, high=MAX_LAYERS) or 0
        if shared > keys.blocks - 2:
            raise keys.own.invalid(key, shared, f"at most {keys.blocks - 2:,}")
        count = keys.blocks - shared
    return count


def _indexer(keys: Keys, index: int) -> int:
    """Elements of the indexer's key in a layer; 0 without one."""
    name, own = keys.architecture, keys.own
    if name not in families.INDEXED:
        return 0
    size = own.integer("attention.indexer.key_length", low=1)
    if name == "minimax-m3":
        return size if index >= (own.integer_or_none("leading_dense_block_count") or 0) else 0
    if name == "deepseek32":
        return size
    types = own.value("attention.indexer.types")
    if isinstance(types, list):
        flags = keys.flags("attention.indexer.types") or ()
        return size if flags[index] else 0
    if name == "glm-dsa" and own.integer("context_length") < families.GLM_INDEX_PERIOD_CTX:
        return size
    raise UnsupportedArchitectureError(
        f"The GGUF header of {name[:60]} does not list the layers with an indexer.",
        hint="A newer conversion of the model lists them; the weights can still be sized.",
    )


def _hybrid(keys: Keys) -> tuple[Layer, ...]:
    heads, state = _heads(keys), _state(keys)
    window = keys.own.integer_or_none("attention.sliding_window")
    if keys.architecture != "lfm2":
        window = None
    kind = HYBRID[keys.architecture]
    recurrent = _recurrent_layers(keys, heads) if kind != "both" else ()
    wide = keys.per_layer("feed_forward_length", default=(0,) * keys.blocks)
    layers: list[Layer] = []
    for index in range(keys.layers):
        if kind == "both":
            layers.append((_attention(keys, heads, index, None), state))
        elif kind == "no_kv_heads_nor_ff" and wide[index]:
            layers.append((NoCache(),))
        elif recurrent[index]:
            layers.append((state,))
        else:
            layers.append((_attention(keys, heads, index, window or None),))
    return tuple(layers)


def _recurrent_layers(keys: Keys, heads: _Heads) -> tuple[bool, ...]:
    if HYBRID[keys.architecture] != "interval":
        return tuple(count == 0 for count in heads.kv[: keys.layers])
    listed = keys.flags("attention.recurrent_layers")
    if listed is not None:
        return listed
    interval = keys.own.integer_or_none("full_attention_interval", low=1, high=MAX_LAYERS)
    interval = interval or families.INTERVALS.get(keys.architecture, families.INTERVAL)
    return tuple((index + 1) % interval != 0 for index in range(keys.layers))


def _state(keys: Keys) -> RecurrentState:
    """A sequence's state in one layer (llama.cpp llama-hparams.cpp: n_embd_r, n_embd_s).

    The convolution has all its columns here; llama.cpp keeps one less.
    """
    own = keys.own
    hidden = own.integer("embedding_length", low=1)
    if head := own.integer_or_none("wkv.head_size"):
        shifts = own.integer_or_none("token_shift_count", high=16)
        return _kept(conv=(2 if shifts is None else shifts) * hidden, elements=hidden * head)
    if kernel := own.integer_or_none("shortconv.l_cache", high=1024):
        return _kept(conv=hidden * kernel, elements=0, kernel=kernel)
    if size := own.integer_or_none("kda.head_dim"):
        heads = max(keys.per_layer("attention.head_count"))
        kernel = own.integer_or_none("ssm.conv_kernel", high=1024) or 4
        return _kept(conv=3 * heads * size * kernel, elements=heads * size * size, kernel=kernel)
    if keys.architecture == "minimax-01":
        heads = max(keys.per_layer("attention.head_count"))
        size = own.integer_or_none("attention.key_length") or hidden // max(1, heads)
        return _kept(conv=0, elements=heads * size * size)
    kernel = own.integer("ssm.conv_kernel", low=1, high=1024)
    inner, size = own.integer("ssm.inner_size", low=1), own.integer("ssm.state_size", low=1)
    groups = own.integer_or_none("ssm.group_count") or 0
    return _kept(conv=(inner + 2 * groups * size) * kernel, elements=inner * size, kernel=kernel)


def _kept(*, conv: int, elements: int, kernel: int = 0) -> RecurrentState:
    return RecurrentState(
        conv_elements=conv,
        state_elements=elements,
        conv_dtype=None,
        state_dtype="F32",
        conv_kernel=kernel,
    )


def _t5(keys: Keys) -> tuple[Layer, ...]:
    heads = _heads(keys)
    count = keys.own.integer_or_none("decoder_block_count", low=1, high=MAX_LAYERS)
    key, value = heads.full
    own = FullAttention(kv_heads=heads.kv[0], head_dim=key, v_head_dim=value)
    cross = CrossAttention(kv_heads=heads.kv[0], head_dim=key, v_head_dim=value, source_tokens=None)
    return ((own, cross),) * (count or keys.layers)


_INDEXED_RATIO = 4


def _compressed(keys: Keys) -> tuple[Layer, ...]:
    """DeepSeek-V4: a window and pooled keys; layers that pool by 4 have an indexer (llama.cpp
    llama-kv-cache-dsv4.cpp: DSV4_CSA_RATIO).
    """
    own = keys.own
    ratios = own.integer_list("attention.compress_ratios", high=2**20)
    if ratios is None or len(ratios) < keys.layers:
        raise own.invalid("attention.compress_ratios", ratios, f"a list of {keys.layers:,} numbers")
    size = _heads(keys).full[0]
    window = own.integer("attention.sliding_window", low=1)
    indexer = own.integer("attention.indexer.key_length", low=1)
    return tuple(
        (
            CompressedAttention(
                head_dim=size,
                window=window,
                ratio=ratio,
                indexer_dim=indexer if ratio == _INDEXED_RATIO else 0,
            ),
        )
        for ratio in ratios[: keys.layers]
    )

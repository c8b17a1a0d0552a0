"""Which layer is of which type, where the configuration does not list them.

Names are those of transformers' ``layer_types`` (cache_utils.py, 5.23.0).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from hfmem.errors import InvalidValueError, UnsupportedArchitectureError
from hfmem.model.config import MAX_LAYERS, Config

Pattern = Callable[[Config, int], Sequence[str]]
"""From a section and its layer count to one type a layer."""

FULL, SLIDING, CHUNKED = "full_attention", "sliding_attention", "chunked_attention"
INDEXED, LINEAR, HYBRID, CONV = "indexed_attention", "linear_attention", "hybrid", "conv"
HYBRID_SLIDING, NOTHING = "hybrid_sliding", "mlp"

LEGACY = {
    "attention": FULL,
    "mamba": LINEAR,
    "mamba2": LINEAR,
    "recurrent": LINEAR,
    "deepseek_sparse_attention": INDEXED,
    "qwen_sparse_attention": INDEXED,
    "moe": NOTHING,
}
"""Older names of layer types (transformers configuration_utils.py: _LEGACY_LAYER_TYPE_REMAP)."""


def layer_count(config: Config) -> int:
    """``num_hidden_layers``, at most MAX_LAYERS."""
    return config.integer("num_hidden_layers", low=1, high=MAX_LAYERS)


def listed(config: Config, key: str = "layer_types") -> tuple[str, ...] | None:
    """The types that the file lists, in today's names; entries past the layer count (drafts) are
    dropped."""
    types = config.text_list(key)
    if types is None:
        return None
    count = config.integer_or_none("num_hidden_layers", low=1, high=MAX_LAYERS) or len(types)
    if len(types) < count:
        raise InvalidValueError(
            f"{config.where}: {key} lists {len(types):,} layers, num_hidden_layers says {count:,}.",
            hint="The configuration is damaged or not what its model_type says.",
        )
    return tuple(LEGACY.get(kind, kind) for kind in types[:count])


def every(kind: str) -> Pattern:
    """All layers alike."""
    return lambda _config, count: [kind] * count


def last_of_period(
    period: int, *, key: str | None = None, last: str = FULL, rest: str = SLIDING
) -> Pattern:
    """Layer i is ``last`` where (i + 1) is a multiple of the period: Gemma 3, every sixth is
    full."""

    def pattern(config: Config, count: int) -> list[str]:
        step = period_of(config, key, period)
        return [last if step and (i + 1) % step == 0 else rest for i in range(count)]

    return pattern


def first_of_period(
    period: int, *, key: str | None = None, offset: int = 0, first: str = FULL, rest: str = SLIDING
) -> Pattern:
    """Layer i is ``first`` where i modulo the period is the offset: CWM, layers 0, 4, 8 … are
    full."""

    def pattern(config: Config, count: int) -> list[str]:
        step = period_of(config, key, period)
        return [first if step and i % step == offset else rest for i in range(count)]

    return pattern


def period_of(config: Config, key: str | None, default: int) -> int:
    """The period under ``key``, or the class's own."""
    said = config.integer_or_none(key, high=MAX_LAYERS) if key else None
    return default if said is None else said


def bare_window(config: Config, count: int) -> list[str]:
    """No list and no period: a window means that all slide (transformers:
    get_layer_types_and_kwargs)."""
    if config.integer_or_none("sliding_window"):
        return [SLIDING] * count
    if config.integer_or_none("attention_chunk_size"):
        return [CHUNKED] * count
    return [FULL] * count


def from_max_window_layers(config: Config, count: int) -> list[str]:
    """Qwen2: with ``use_sliding_window`` the layers from ``max_window_layers`` on slide, otherwise
    none."""
    if not config.flag("use_sliding_window") or not config.integer_or_none("sliding_window"):
        return [FULL] * count
    first = config.integer_or_none("max_window_layers") or 0
    return [SLIDING if i >= first else FULL for i in range(count)]


def conventional(config: Config, count: int) -> Sequence[str]:
    """For a type without an entry: a period of windows, a switch for them, or a bare window."""
    if not config.integer_or_none("sliding_window"):
        return _chunked_beside_full(config, count)
    if config.value("use_sliding_window") is not None:
        return from_max_window_layers(config, count)
    pattern = config.value("sliding_window_pattern")
    if isinstance(pattern, int):
        return last_of_period(0, key="sliding_window_pattern")(config, count)
    if pattern is not None:
        return _lettered(config, pattern, count)
    return bare_window(config, count)


_LETTERS = {"L": SLIDING, "S": SLIDING, "G": FULL, "F": FULL}


def _lettered(config: Config, pattern: object, count: int) -> list[str]:
    """EXAONE 4's ``LLLG``: three local layers and a global one, over and over."""
    letters = pattern if isinstance(pattern, str) else ""
    if not letters or not set(letters) <= set(_LETTERS):
        raise UnsupportedArchitectureError(
            f"{config.where}: sliding_window_pattern is no period and no string of L and G.",
            hint="Which layers slide is not known; the weights can still be sized.",
        )
    return [_LETTERS[letters[index % len(letters)]] for index in range(count)]


def _chunked_beside_full(config: Config, count: int) -> list[str]:
    """Llama 4's ``no_rope_layers``: 1 is a chunked layer, 0 a full one."""
    rotated = config.integer_list("no_rope_layers", high=1)
    if rotated and len(rotated) >= count and config.integer_or_none("attention_chunk_size"):
        return [CHUNKED if layer else FULL for layer in rotated[:count]]
    return bare_window(config, count)

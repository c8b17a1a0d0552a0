"""A typed reader over a configuration that nobody vouches for.

The raw file is untrusted and leaves out what equals its class's default, so every read names the
key, looks through its aliases, then through the defaults of the model type, and checks type and
range. A fact that is nowhere is a MissingKeyError, never a silent default.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from msgspec import Struct, field
from msgspec.structs import replace

from hfmem.errors import InvalidValueError, MissingKeyError
from hfmem.model.class_defaults import ClassFacts, SectionSpec, class_facts

MAX_LAYERS = 10_000
"""Above this a layer count is an attack or a mistake; nothing loops over more."""
MAX_INTEGER = 2**48
"""No size, count or token number of a model comes near it."""
MAX_DEPTH = 4
"""Sections in sections; published configurations stop at two."""

ALIASES: Mapping[str, tuple[str, ...]] = {
    "hidden_size": ("n_embd", "n_embed", "d_model", "model_dim", "dim"),
    "num_hidden_layers": (
        "n_layer",
        "n_layers",
        "num_layers",
        "num_transformer_layers",
        "decoder_layers",
    ),
    "num_attention_heads": ("n_head", "n_heads", "num_heads", "decoder_attention_heads"),
    "num_key_value_heads": (
        "n_head_kv",
        "n_kv_heads",
        "num_kv_heads",
        "multi_query_group_num",
        "num_attention_groups",
    ),
    "head_dim": ("hidden_size_per_head", "d_kv", "attention_head_dim", "kv_channels"),
    "intermediate_size": ("n_inner", "ffn_dim", "d_ff", "ffn_hidden_size", "decoder_ffn_dim"),
    "num_experts": ("num_local_experts", "n_routed_experts", "moe_num_experts"),
    "num_experts_per_tok": (
        "num_experts_per_token",
        "top_k_experts",
        "moe_topk",
        "moe_top_k",
        "moe_k",
    ),
    "max_position_embeddings": (
        "n_positions",
        "max_seq_len",
        "seq_length",
        "max_sequence_length",
        "max_target_positions",
    ),
    "vocab_size": ("padded_vocab_size",),
    "dtype": ("torch_dtype",),
}
"""Other spellings of a key, in the order in which they are looked for (vLLM 0.33
config/model_arch.py and the ``attribute_map`` of the transformers classes)."""

TEXT_SECTIONS = (
    "text_config",
    "language_config",
    "llm_config",
    "llm_cfg",
    "thinker_config",
    "decoder_config",
    "decoder",
    "generator",
)
"""Where wrappers keep the decoder's own configuration, in order."""


class Config(Struct, frozen=True, kw_only=True):
    """One section of config.json with the defaults of its class behind it."""

    values: Mapping[str, object]
    """As published; untrusted."""
    model_type: str | None
    """As published, or as the enclosing class implies."""
    defaults: Mapping[str, object] = field(default_factory=dict)
    """What transformers fills in for this model type."""
    attribute_map: Mapping[str, str] = field(default_factory=dict)
    """Standard names to the names that this model type's class gives them."""
    sections: Mapping[str, SectionSpec] = field(default_factory=dict)
    """What the class says of its nested sections."""
    where: str = "config.json"
    """For messages: ``config.json: text_config``."""

    def has(self, key: str) -> bool:
        """Whether the file itself says the key, under any of its names, and not null."""
        return any(self.values.get(name) is not None for name in self._names(key))

    def value(self, key: str) -> object | None:
        """The raw value: the file first, under any name, then the class's default; None when absent
        or null.

        A null in the file is a statement and beats the class's default: Mistral-7B-v0.2 says
        ``"sliding_window": null`` where the class says 4,096.
        """
        names = self._names(key)
        for name in names:
            found = self.values.get(name)
            if found is not None:
                return found
        if key in self.values or self.attribute_map.get(key) in self.values:
            return None
        for name in names:
            found = self.defaults.get(name)
            if found is not None:
                return found
        return None

    def integer(self, key: str, *, low: int = 0, high: int = MAX_INTEGER) -> int:
        """A whole number between ``low`` and ``high``. Raises MissingKeyError,
        InvalidValueError."""
        found = self.integer_or_none(key, low=low, high=high)
        if found is None:
            raise MissingKeyError(
                f"{self.where} has no {key}, and {self.type_shown()} has no default for it.",
                hint="The answer depends on this key; the model's page may have a complete file.",
            )
        return found

    def integer_or_none(self, key: str, *, low: int = 0, high: int = MAX_INTEGER) -> int | None:
        """As ``integer``, but None when absent or null."""
        found = self.value(key)
        return None if found is None else self._checked(key, found, low=low, high=high)

    def integer_list(
        self, key: str, *, low: int = 0, high: int = MAX_INTEGER
    ) -> tuple[int, ...] | None:
        """A list of whole numbers; None when absent. Raises InvalidValueError."""
        found = self.list(key)
        if found is None:
            return None
        return tuple(self._checked(key, item, low=low, high=high) for item in found)

    def text_list(self, key: str) -> tuple[str, ...] | None:
        """A list of strings; None when absent. Raises InvalidValueError."""
        found = self.list(key)
        if found is None:
            return None
        if not all(isinstance(item, str) for item in found):
            raise self.invalid(key, found, "a list of strings")
        return tuple(str(item) for item in found)

    def list(self, key: str) -> Sequence[object] | None:
        """A list of at most MAX_LAYERS items; None when absent. Raises InvalidValueError."""
        found = self.value(key)
        if found is None:
            return None
        if not isinstance(found, list | tuple) or len(found) > MAX_LAYERS:
            raise self.invalid(key, found, f"a list of at most {MAX_LAYERS:,} items")
        return found

    def flag(self, key: str, *, default: bool = False) -> bool:
        """A boolean; ``default`` is what the modeling code does where neither file nor class says
        it."""
        found = self.value(key)
        if found is None:
            return default
        if not isinstance(found, bool):
            raise self.invalid(key, found, "true or false")
        return found

    def text(self, key: str) -> str | None:
        """A string; None when absent. Raises InvalidValueError."""
        found = self.value(key)
        if found is None:
            return None
        if not isinstance(found, str):
            raise self.invalid(key, found, "a string")
        return found

    def number(self, key: str) -> float | None:
        """A finite number, whole or not; None when absent. Raises InvalidValueError."""
        found = self.value(key)
        if found is None:
            return None
        if isinstance(found, bool) or not isinstance(found, int | float):
            raise self.invalid(key, found, "a number")
        if not -1e15 < found < 1e15:
            raise self.invalid(key, found, "a finite number")
        return float(found)

    def section(self, key: str) -> Config | None:
        """A nested section with the defaults of its own class; None when there is none.

        As transformers builds it: a section that is present gets its class's defaults, one that is
        absent gets what the enclosing class names for that case. A string in its place names
        another repository, which is no section.
        """
        spec = self.sections.get(key)
        found = self.values.get(key)
        if found is None and spec is not None and not (spec.optional or key in self.values):
            found = spec.values
        if not isinstance(found, Mapping):
            return None
        if spec is not None and self.model_type in _FILLED:
            found = {**spec.values, **found}
        named = found.get("model_type")
        model_type = named if isinstance(named, str) else None
        if spec is not None and (spec.fixed or model_type is None):
            model_type = spec.model_type
        return of_class(found, model_type, where=f"{self.where}: {key}")

    def with_values(self, overrides: Mapping[str, object]) -> Config:
        """The same section with some keys said differently."""
        return replace(self, values={**self.values, **overrides})

    def type_shown(self) -> str:
        """The model type as a message may print it: short, and no escape sequences."""
        shown = (self.model_type or "its class")[:60]
        return shown if shown.isprintable() else ascii(shown)

    def invalid(self, key: str, found: object, wanted: str) -> InvalidValueError:
        """The error for a value of the wrong kind; the value is shown shortened."""
        shown = _shown(found)
        return InvalidValueError(
            f"{self.where}: {key} is {shown}, not {wanted}.",
            hint="The configuration is damaged or not what its model_type says.",
        )

    def _names(self, key: str) -> tuple[str, ...]:
        mapped = self.attribute_map.get(key)
        return (key, *(() if mapped is None else (mapped,)), *ALIASES.get(key, ()))

    def _checked(self, key: str, found: object, *, low: int, high: int) -> int:
        # Some published files write 1.0 or 4096.0 for whole numbers; a fraction is an error.
        if isinstance(found, float) and abs(found) < MAX_INTEGER and found.is_integer():
            found = int(found)
        if type(found) is not int or not low <= found <= high:
            raise self.invalid(key, found, f"a whole number from {low:,} to {high:,}")
        return found


_DIVIDED = frozenset({"deepseek_ocr2_text", "unlimited_ocr_text"})
"""Their ``__post_init__`` sets head_dim to hidden / heads, whatever the file says."""
_FILLED = frozenset({"cohere_asr", "glmasr", "pe_audio", "pe_video", "voxtral", "voxtral_realtime"})
"""Their ``__post_init__`` fills a section that is there with what builds an absent one."""


def of_class(
    values: Mapping[str, object], model_type: str | None, *, where: str = "config.json"
) -> Config:
    """A section as the configuration class of ``model_type`` would read it."""
    facts = (class_facts(model_type) if model_type else None) or _NO_FACTS
    if model_type in _DIVIDED and "head_dim" in values:
        values = {key: value for key, value in values.items() if key != "head_dim"}
    return Config(
        values=values,
        model_type=model_type,
        defaults=facts.values,
        attribute_map=facts.attribute_map,
        sections=facts.sections,
        where=where,
    )


def _shown(found: object) -> str:
    """A hostile value in at most 60 characters: a long list or number is never printed whole."""
    match found:
        case Mapping():
            return "an object"
        case list() | tuple():
            return f"a list of {len(found):,}"
        case int() if abs(found) > 10**18:
            return f"a number of {found.bit_length():,} bits"
        case str() if len(found) > 57:
            return f"{found[:57]!a}…"
        case _:
            return ascii(found)[:60]


_NO_FACTS = ClassFacts(values={}, attribute_map={}, sections={})


def read(values: Mapping[str, object]) -> Config:
    """The reader of a whole config.json."""
    model_type = values.get("model_type")
    return of_class(values, model_type if isinstance(model_type, str) else None)


def class_name(config: Config) -> str | None:
    """The first of ``architectures``; None where there is none or it is no list of names."""
    names = config.values.get("architectures")
    first = names[0] if isinstance(names, list) and names else names
    return first if isinstance(first, str) else None


def text_section(config: Config) -> Config:
    """The decoder's own section, however deep; the configuration itself where it is flat.

    ``thinker_config.text_config`` of an omni model is found by descending twice. A section that
    only the class implies does not hide keys that the file writes at the top: LLaVA-Video's
    ``llava`` configuration is a flat Qwen2, and Qwen2-VL's first files are flat too.
    """
    current = config
    for _ in range(MAX_DEPTH):
        found = _inner(current)
        if found is None:
            return current
        current = found
    return current


def _inner(config: Config) -> Config | None:
    flat = config.has("hidden_size")
    for name in TEXT_SECTIONS:
        inner = config.section(name)
        if inner is None:
            continue
        if isinstance(config.values.get(name), Mapping) or not flat:
            return inner
        spec = config.sections[name]
        if spec.fixed:
            return of_class(config.values, spec.model_type, where=config.where)
    return None

"""What a repository says of its quantization, wherever it says it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from msgspec import Struct

QUANTIZED_KEYS = ("quantization_config", "quantization", "compression_config")
"""Where a configuration or a section of it says how the weights are packed."""
_SECTIONS = ("text_config", "llm_config", "language_config", "thinker_config")
_DOCUMENTS = (
    "hf_quant_config.json",
    "quantize_config.json",
    "quant_config.json",
    "quantization_config.json",
)
_LARGEST_GROUP = 2**20
_GROUPS_CAP = 64


class Grouping(Struct, frozen=True, kw_only=True):
    """How some weights are packed."""

    bits: int
    group_size: int | None
    """Weights that share a scale; None for a scale a row or a tensor."""


class Quantization(Struct, frozen=True, kw_only=True):
    """The settings that packing depends on, with every value in its range or None."""

    method: str | None
    """``gptq``, ``compressed-tensors`` …, as written; None where nothing is declared."""
    groupings: tuple[Grouping, ...]
    """All that occur, the general one first; mixed precision has several."""
    by_module: Mapping[str, Grouping]
    """MLX: exceptions by the module's path."""

    @property
    def bits(self) -> int | None:
        """Of all weights; None where they differ or nothing is said."""
        found = {grouping.bits for grouping in self.groupings}
        return found.pop() if len(found) == 1 else None


def quantization(
    config: Mapping[str, object] | None, documents: Mapping[str, Mapping[str, object]]
) -> Quantization:
    """The settings from config.json, its sections or the documents beside it, in this order.

    ``{"quantization_config": {"quant_method": "gptq", "bits": 4, "group_size": 128}}`` has the one
    grouping of 4 bits and 128. Values that make no sense are as if they were not there: the tensors
    decide.
    """
    settings = declared_settings(config, documents)
    method = settings.get("quant_method") or settings.get("quant_algo")
    groupings = [*_general(settings), *_config_groups(settings)]
    by_module = {
        name: found
        for name, value in settings.items()
        if isinstance(value, Mapping) and (found := _grouping(value)) is not None
    }
    groupings += by_module.values()
    return Quantization(
        method=method if isinstance(method, str) else ("unnamed" if settings else None),
        groupings=tuple(dict.fromkeys(groupings)),
        by_module=by_module,
    )


def declared_settings(
    config: Mapping[str, object] | None, documents: Mapping[str, Mapping[str, object]]
) -> Mapping[str, object]:
    """What is said first, as it is written; empty where nothing is, or of the cache alone."""
    found = next(_declarations(config or {}, documents), {})
    # ModelOpt writes null for weights that stay as they are.
    return {} if found.get("quant_algo", "") is None and "quant_method" not in found else found


def _declarations(
    config: Mapping[str, object], documents: Mapping[str, Mapping[str, object]]
) -> Iterator[Mapping[str, object]]:
    for section in (config, *(config.get(name) for name in _SECTIONS)):
        if isinstance(section, Mapping):
            for key in QUANTIZED_KEYS:
                if isinstance(found := section.get(key), Mapping) and found:
                    yield found
    for name in _DOCUMENTS:
        if document := documents.get(name):
            inner = document.get("quantization")
            yield inner if isinstance(inner, Mapping) else document


def _general(settings: Mapping[str, object]) -> Iterator[Grouping]:
    """Settings for all modules, under the names that the libraries give them."""
    if (found := _grouping(settings)) is not None:
        yield found
    hqq = settings.get("quant_config")
    if isinstance(hqq, Mapping):
        parameters = hqq.get("weight_quant_params")
        if isinstance(parameters, Mapping) and (found := _grouping(parameters)) is not None:
            yield found
    # quanto: "int4"; torchao: {"default": {"_type": "Int4WeightOnlyConfig", …}}.
    weights = settings.get("weights")
    bits = {"int8": 8, "int4": 4, "int2": 2, "float8": 8}.get(str(weights))
    kinds = settings.get("quant_type")
    if isinstance(kinds, Mapping) and isinstance(default := kinds.get("default"), Mapping):
        kinds = default.get("_type")
    if isinstance(kinds, str):
        lower = kinds.lower()
        bits = next(
            (size for size in (4, 8) if f"int{size}" in lower or f"float{size}" in lower), bits
        )
    if bits is not None:
        yield Grouping(bits=bits, group_size=None)


def _config_groups(settings: Mapping[str, object]) -> Iterator[Grouping]:
    """compressed-tensors: ``config_groups: {"group_0": {"weights": {"num_bits": 4, "group_size":
    128}}}``.
    """
    groups = settings.get("config_groups")
    if isinstance(groups, Mapping):
        for group in list(groups.values())[:_GROUPS_CAP]:
            weights = group.get("weights") if isinstance(group, Mapping) else None
            if isinstance(weights, Mapping) and (found := _grouping(weights)) is not None:
                yield found


def _grouping(settings: Mapping[str, object]) -> Grouping | None:
    bits = _integer(settings, ("bits", "num_bits", "w_bit", "nbits"), high=16)
    if bits is None:
        return None
    size = _integer(settings, ("group_size", "q_group_size"), high=_LARGEST_GROUP)
    return Grouping(bits=bits, group_size=size)


def _integer(settings: Mapping[str, object], names: tuple[str, ...], *, high: int) -> int | None:
    for name in names:
        value = settings.get(name)
        if type(value) is int and 0 < value <= high:
            return value
    return None

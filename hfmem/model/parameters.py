"""Parameter counts: how many a checkpoint stores, of which kind, and how many one token uses."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping

from msgspec import Struct

from hfmem.checkpoint.tensor import TensorRun
from hfmem.model.components import ComponentRun
from hfmem.model.config import MAX_LAYERS, Config, text_section

LogicalElements = Callable[[TensorRun], int | None]
"""Parameters that one tensor of a run stands for: twice the bytes of packed 4-bit values, 0 for
scales and zero points, None where the packing is not recognised."""


class Parameters(Struct, frozen=True, kw_only=True):
    """Logical parameters of a checkpoint; a tied tensor counts once."""

    total: int | None
    """With layers that a runtime does not load by itself (``draft``). None where a packed tensor
    is not recognised."""
    active: int | None
    """What one token uses: the total without the draft and without the routed experts that are not
    chosen. The embedding counts in full, as Mistral, Qwen and DeepSeek count (Mixtral-8x7B 12.88 B,
    Qwen3-30B-A3B 3.35 B); OpenAI leaves it out (gpt-oss-20b 3.61 B instead of 4.19 B). None where
    the total is unknown or the configuration does not say how many experts are chosen."""
    by_dtype: Mapping[str, int]
    """By the stored type, in which packed parameters count as what they stand for."""
    by_component: Mapping[str, int]


class Routing(Struct, frozen=True, kw_only=True):
    """How many of a layer's routed experts a token goes through."""

    experts: int
    chosen: int


def routing(config: Config) -> Routing | None:
    """The routing that a configuration tells, DBRX's ``ffn_config`` included; None without it.

    Mixtral-8x7B: 2 of 8. Raises InvalidValueError.
    """
    text = text_section(config)
    section = text.section("ffn_config") or text
    experts = section.integer_or_none("num_experts", high=MAX_LAYERS)
    chosen = section.integer_or_none("num_experts_per_tok", high=MAX_LAYERS)
    if not experts or not chosen or chosen > experts:
        return None
    return Routing(experts=experts, chosen=chosen)


def stored_elements(run: TensorRun) -> int:
    """Logical elements of a tensor that is not packed."""
    return run.elements


def count_parameters(
    runs: Iterable[ComponentRun],
    *,
    routing: Routing | None,
    tied: bool,
    logical: LogicalElements = stored_elements,
) -> Parameters:
    """Count classified runs; ``tied`` is ``tie_word_embeddings``.

    Mixtral-8x7B: 46,702,792,704 in total, 12,879,925,248 active.
    """
    by_dtype: Counter[str] = Counter()
    by_component: Counter[str] = Counter()
    known = True
    for item in held_once(runs, tied=tied):
        elements = logical(item.run)
        if elements is None:
            known = False
        elif elements:
            by_dtype[item.run.dtype] += elements * item.run.count
            by_component[item.component] += elements * item.run.count
    total = by_component.total() if known else None
    return Parameters(
        total=total,
        active=None if total is None else _active(by_component, total, routing),
        by_dtype=dict(by_dtype),
        by_component=dict(by_component),
    )


def _active(by_component: Mapping[str, int], total: int, routing: Routing | None) -> int | None:
    routed = by_component.get("experts", 0)
    own = total - by_component.get("draft", 0) - routed
    if not routed:
        return own
    return None if routing is None else own + routed * routing.chosen // routing.experts


def held_once(runs: Iterable[ComponentRun], *, tied: bool) -> tuple[ComponentRun, ...]:
    """The runs without those that only repeat the embedding.

    A checkpoint may store what the class ties, and the loaded model holds it once: a head of the
    embedding's shape where ``tied`` (Falcon), and the copies of ``shared`` in the two halves of
    BART and T5. A copy of other values is no copy: transformers 5.23 keeps both
    (modeling_utils.py: tie_weights). So the head of T5 v1.1, mT5 and UMT5 is loaded: their files
    say false and hold another, though their classes tie whatever a file says.
    """
    kept = tuple(runs)
    # A classifier of two labels has the shape of BERT's two token types, and repeats nothing: only
    # the table of words is tied.
    tables = {item.run.shape for item in kept if item.component == "embedding"}
    words = max((shape[0] for shape in tables if len(shape) > 1), default=0)
    embeddings = {shape for shape in tables if len(shape) > 1 and 2 * shape[0] >= words}
    copies = {
        f"{prefix}{half}.embed_tokens.weight"
        for prefix in _prefixes(kept)
        for half in ("encoder", "decoder")
        if tied or not prefix
    }
    return tuple(
        item
        for item in kept
        if not (
            tied
            and item.component == "head"
            and item.run.name.endswith(".weight")
            and item.run.shape in embeddings
        )
        and item.run.name not in copies
    )


def _prefixes(runs: Iterable[ComponentRun]) -> Iterator[str]:
    """Before ``shared.weight`` stands nothing in T5, which ties always, and ``model.`` in BART."""
    for item in runs:
        prefix, found, rest = item.run.name.rpartition("shared.weight")
        if found and not rest and (not prefix or prefix.endswith(".")):
            yield prefix

"""Every number with its formula, its inputs and its source: one walk over the trees of terms."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from msgspec import Struct
from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from hfmem.answer import Estimate
from hfmem.memory.term import Term
from hfmem.model.model import Model
from hfmem.report.phrases import PART_LABELS, size, span
from hfmem.report.speed import speed_words
from hfmem.report.tensors import heading, rest_words, shape_words, stored
from hfmem.text import clean

_BECAUSE_LIMIT = 4000
_LEGEND = (
    ("exact", "from the files' headers, or a formula that the reference implementation confirms"),
    ("derived", "arithmetic on exact facts that depends on a detail of the implementation"),
    ("measured", "a constant fitted to measurements, with the range that they leave"),
    ("assumed", "a stated assumption"),
)


class Step(Struct, frozen=True, kw_only=True):
    """A term at its place in the tree."""

    depth: int
    term: Term
    known: bool = True


def steps(terms: Iterable[Term], *, unknown: tuple[str, ...] = ()) -> Iterator[Step]:
    """Every term of the trees, parents first; ``unknown`` names trees whose bytes are not known."""
    for term in terms:
        yield from _below(term, depth=0, known=term.name not in unknown)


def _below(term: Term, *, depth: int, known: bool) -> Iterator[Step]:
    yield Step(depth=depth, term=term, known=known)
    for part in term.parts:
        yield from _below(part, depth=depth + 1, known=known)


def amount(step: Step) -> str:
    """The bytes of a step, to the byte and as people read them."""
    return f"{step.term.bytes:,} B" if step.known else "unknown"


def render(estimate: Estimate) -> RenderableType:
    """The largest phase, the others where they differ from it, and what the words mean."""
    memory = estimate.memory
    peak = memory.peak
    others = [phase for phase in memory.phases if phase is not peak]
    blocks: list[RenderableType] = []
    for phase in (peak, *others):
        title = Text.assemble((f"{phase.name}  {size(phase.memory.bytes)}", "bold"))
        if phase is peak:
            title.append("  the largest phase: its parts are the answer", style="dim")
        same = [
            part for part in phase.memory.parts if phase is not peak and part in peak.memory.parts
        ]
        told = [part for part in phase.memory.parts if part not in same]
        blocks += [title, tree(steps(told, unknown=memory.unknown))]
        if same:
            names = ", ".join(PART_LABELS.get(part.name, part.name) for part in same)
            blocks.append(Padding(Text(f"{names}: as in {peak.name}", style="dim"), (0, 0, 0, 2)))
        blocks.append(Text())
    blocks += tensors(estimate.model)
    if memory.host is not None:
        title = Text.assemble((f"host  {size(memory.host.bytes)}", "bold"))
        title.append("  in the host's memory, beside the devices", style="dim")
        blocks += [title, tree(steps(memory.host.parts)), Text()]
    found = estimate.throughput
    if found is not None:
        words = speed_words(found, batch=estimate.workload.batch) or "unknown"
        because = clean(found.because, limit=_BECAUSE_LIMIT)
        blocks += [
            Text.assemble((f"speed  {words}", "bold")),
            Padding(Text(because, style="dim"), (0, 0, 0, 2)),
            Text(),
        ]
    return Group(*blocks, legend())


def tensors(model: Model) -> Iterator[RenderableType]:
    """What the files hold, which the weights are made of; nothing where that is not known."""
    found = stored(model)
    if found is None:
        return
    yield Text.assemble((f"tensors  {heading(found)}", "bold"))
    for group in found.groups:
        line = Text(clean(group.name, limit=200))
        line.append(f"  {size(group.bytes)}  {group.bytes:,} B  {shape_words(group)}", style="dim")
        yield Padding(line, (0, 0, 0, 2))
    for words in rest_words(found):
        yield Padding(Text(words, style="dim"), (0, 0, 0, 2))
    yield Text()


def tree(walk: Iterable[Step]) -> RenderableType:
    """One paragraph a term: the figures on a line, the reason below, as deep as its place."""
    lines: list[RenderableType] = []
    for step in walk:
        indent = 2 + 2 * min(step.depth, 10)
        lines.append(Padding(_figures(step), (0, 0, 0, indent)))
        if because := clean(step.term.because, limit=_BECAUSE_LIMIT):
            lines.append(Padding(Text(because, style="dim"), (0, 0, 0, indent + 2)))
    return Group(*lines)


def _figures(step: Step) -> Text:
    term = step.term
    words: list[str] = [amount(step), term.basis] if step.known else [term.basis]
    low, high = term.range_bytes
    if step.known and low != high:
        words.append(span(low, high))
    label = Text.assemble((_label(step), "" if step.depth else "cyan"))
    label.append(f"  {size(term.bytes) if step.known else 'unknown'}")
    return label.append("  " + "  ".join(words), style="dim")


def _label(step: Step) -> str:
    name = PART_LABELS.get(step.term.name, step.term.name) if step.depth == 0 else step.term.name
    return clean(name, limit=120)


def legend() -> RenderableType:
    """What the words for sureness mean."""
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True, style="dim")
    table.add_column(style="dim")
    for word, meaning in _LEGEND:
        table.add_row(word, meaning)
    return table

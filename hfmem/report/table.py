"""One model's answer for a person: the total first, then what it is made of, then where it fits."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from hfmem.answer import Estimate
from hfmem.hardware.catalogue import CURRENT_WORDS
from hfmem.hardware.fit import Fit, Verdict
from hfmem.memory.estimate import PARTS
from hfmem.memory.precision import Rung
from hfmem.report.phrases import (
    PART_LABELS,
    SOURCES,
    bytes_per_sequence,
    gpu_label,
    host_words,
    known_bytes_per_token,
    note_messages,
    parameter_words,
    question,
    revision,
    share,
    size,
    size_or_unknown,
    smallest_words,
    span,
    stored_dtypes,
)
from hfmem.report.quantizations import quantizations_table
from hfmem.report.screen import Screen
from hfmem.report.speed import speed_words
from hfmem.text import clean
from hfmem.units import count, gb, gib

if TYPE_CHECKING:
    from hfmem.memory.rules import Rule

_VERDICT_STYLES = {"fits": "green", "tight": "yellow", "offload": "yellow", "no": "red"}
_NARROW = 60
"""Columns below which a row keeps what decides, and leaves out the rest."""
_INDENT = (0, 0, 0, 2)


def render(estimate: Estimate, screen: Screen) -> RenderableType:
    """The whole answer of one model."""
    blocks: list[RenderableType] = [headline(estimate), _total(estimate)]
    blocks.append(_breakdown(estimate, screen))
    blocks.append(_facts(estimate))
    if fits := estimate.fit or estimate.cards:
        blocks.append(fit_table(fits, screen))
    if maps := [fit for fit in estimate.fit if fit.offload is not None]:
        blocks.append(_offloads(maps))
    if (speed := _speed(estimate)) is not None:
        blocks.append(speed)
    if estimate.runtimes:
        blocks.append(_runtimes(estimate))
    several = len(estimate.fit) > 1
    blocks += [block for fit in estimate.fit if (block := _advice(fit, named=several)) is not None]
    if estimate.precision:
        blocks.append(_ladder(estimate.precision, screen))
    offered = quantizations_table(estimate, grid(header=True), style=verdict_style)
    if offered is not None:
        blocks.append(offered)
    if estimate.rules:
        blocks.append(rules_table(estimate.rules, screen))
    if notes := note_messages(estimate):
        blocks.append(_notes(notes))
    return Group(*_spaced(blocks))


def _speed(estimate: Estimate) -> RenderableType | None:
    found = estimate.throughput
    words = speed_words(found, batch=estimate.workload.batch) if found else None
    if words is None:
        return None
    table = grid()
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    table.add_row("speed", f"{gpu_label(estimate.fit[0])}: {words}")
    return Padding(table, _INDENT)


def _spaced(blocks: list[RenderableType]) -> Iterator[RenderableType]:
    for number, block in enumerate(blocks):
        if number:
            yield Text()
        yield block


def headline(estimate: Estimate) -> Text:
    """Which model this is: name, size, types, revision and where that is known from."""
    model = estimate.model
    kind = model.class_name or model.model_type
    words = [clean(kind)] if kind else []
    words += parameter_words(estimate)
    words.append(stored_dtypes(estimate))
    if (short := revision(estimate)) is not None:
        words.append(short)
    words.append(SOURCES[model.source])
    return Text.assemble((clean(model.name, limit=200), "bold"), "\n", (" · ".join(words), "dim"))


def _total(estimate: Estimate) -> RenderableType:
    memory = estimate.memory
    peak = memory.peak.memory
    low, high = peak.range_bytes
    figure = Text()
    if memory.unknown:
        figure.append("at least ", style="bold")
    figure.append(gib(peak.bytes), style="bold")
    figure.append(f"   {gb(peak.bytes)}", style="dim")
    if memory.unknown:
        names = " and ".join(PART_LABELS[name] for name in memory.unknown)
        figure.append(f"   without {names}, not known", style="yellow")
    elif low != high:
        figure.append(f"   {span(low, high)}", style="dim")
    asked = question(estimate.workload, ctx=memory.ctx)
    if memory.count > 1 and not memory.unknown:
        most = gib(memory.largest.memory.bytes)
        asked += f" · {most} on the most loaded of {memory.count} GPUs"
    return Group(figure, Text(asked, style="dim"))


def _breakdown(estimate: Estimate, screen: Screen) -> RenderableType:
    peak = estimate.memory.peak
    table = grid()
    table.add_column(no_wrap=True)
    table.add_column(justify="right", no_wrap=True)
    table.add_column(justify="right", no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(style="dim")
    bar_width = 0 if screen.columns < _NARROW else max(8, min(40, screen.columns - 52))
    whole = peak.memory.bytes
    for name in PARTS:
        term = peak.part(name)
        if name in estimate.memory.unknown:
            table.add_row(PART_LABELS[name], "unknown", "", "", "")
            continue
        drawn = Text(
            "" if bar_width == 0 else bar(term.bytes, whole, width=bar_width), style="cyan"
        )
        aside: str = term.basis
        if name == "kv_cache" and term.bytes < estimate.memory.cache_bytes:
            aside = f"{size(estimate.memory.cache_bytes)} once it runs"
        table.add_row(PART_LABELS[name], size(term.bytes), share(term.bytes, whole), drawn, aside)
    return Padding(table, _INDENT)


def _listed(pairs: Iterable[tuple[str, str]]) -> str:
    """The largest of what is named: ``language 13.00 GiB · vision 1.00 GiB``."""
    named = [f"{clean(name, limit=40).replace('_', ' ')} {figure}" for name, figure in pairs]
    return " · ".join(named[:8]) + (" · …" if len(named) > 8 else "")


def bar(amount: int, whole: int, *, width: int) -> str:
    """A share as a line; what is there at all is at least half a character of it."""
    halves = max(1, round(2 * width * amount / whole)) if amount > 0 and whole > 0 else 0
    return "━" * (halves // 2) + "╸" * (halves % 2)


def _facts(estimate: Estimate) -> RenderableType:
    table = grid()
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    for label, value in _fact_rows(estimate):
        table.add_row(label, value)
    return Padding(table, _INDENT)


def _fact_rows(estimate: Estimate) -> Iterator[tuple[str, Text]]:
    memory, decoder = estimate.memory, estimate.model.decoder
    instants = Text(" · ").join(
        Text(
            f"{phase.name} {size(phase.memory.bytes)}",
            style="bold" if phase is memory.peak and len(memory.phases) > 1 else "",
        )
        for phase in memory.phases
    )
    yield "phases", instants
    if estimate.model.cache_known:
        kinds = decoder.cache_kinds()
        held = " + ".join(f"{number} {kind}" for kind, number in kinds.items()) or "no layers"
        yield "cache", Text(f"{held}, {clean(memory.kv_dtype)}")
    if (per_token := known_bytes_per_token(estimate)) is not None:
        per_sequence = size(bytes_per_sequence(estimate))
        yield "one more", Text(f"token {size(per_token)} · sequence {per_sequence} of cache")
    if decoder.max_context is not None:
        yield "context", Text(f"the model's maximum is {decoder.max_context:,} tokens")
    parts = [part for part in memory.peak.part("weights").parts if part.bytes]
    if len(parts) > 1:
        parts.sort(key=lambda part: -part.bytes)
        yield "weights", Text(_listed((part.name, size(part.bytes)) for part in parts))
    parameters = estimate.model.parameters
    if parameters is not None and len(parameters.by_component) > 1:
        by_size = sorted(parameters.by_component.items(), key=lambda item: -item[1])
        yield "parameters", Text(_listed((name, count(number)) for name, number in by_size))
    if memory.host is not None:
        yield "host", Text(host_words(memory.host))
    if estimate.download.files_bytes is not None:
        yield "download", Text(_download(estimate))


def _download(estimate: Estimate) -> str:
    facts = estimate.download
    first = size_or_unknown(facts.files_bytes)
    if facts.repository_bytes is not None and facts.repository_bytes != facts.files_bytes:
        first += f" of the repository's {size(facts.repository_bytes)}"
    words = [first]
    if facts.cached_bytes:
        words.append(f"{size(facts.cached_bytes)} cached")
    if facts.disk_free_bytes is not None:
        words.append(f"{size(facts.disk_free_bytes)} free")
    return " · ".join(words)


def verdict_text(fit: Fit) -> Text:
    """The verdict, coloured; the word says it without."""
    if fit.verdict is None:
        return Text("unknown", style="dim")
    return Text(fit.verdict, style=verdict_style(fit.verdict))


def verdict_style(verdict: Verdict | None) -> str:
    """The colour of a verdict; none where it is not known."""
    return "dim" if verdict is None else _VERDICT_STYLES[verdict]


def fit_table(fits: tuple[Fit, ...], screen: Screen) -> RenderableType:
    """One row a GPU group: the verdict, what is left, and how far it could go."""
    decides, usable = screen.columns >= 76, screen.columns >= 92
    roomy = screen.columns >= _NARROW
    table = grid(header=True)
    table.add_column("gpu", overflow="fold")
    table.add_column("", no_wrap=True)
    if roomy:
        table.add_column("headroom", justify="right", no_wrap=True)
    if usable:
        table.add_column("of", justify="right", no_wrap=True, style="dim")
    if decides:
        table.add_column("decided by", no_wrap=True, style="dim")
    pooled = screen.columns >= 100 and any(fit.pool is not None for fit in fits)
    if pooled:
        table.add_column("kv pool", justify="right", no_wrap=True)
    table.add_column("max ctx", justify="right", no_wrap=True)
    if roomy:
        table.add_column("max batch", justify="right", no_wrap=True)
    for fit in fits:
        row: list[str | Text] = [gpu_label(fit), verdict_text(fit)]
        if roomy:
            row.append("" if fit.headroom_bytes is None else size(fit.headroom_bytes))
        if usable:
            row.append(size(fit.usable_bytes))
        if decides:
            row.append(PART_LABELS.get(fit.decided_by or "", ""))
        pool = [] if not pooled else [_pool(fit)]
        batch = [_limit(fit.max_batch)] if roomy else []
        table.add_row(*row, *pool, _limit(fit.max_ctx), *batch)
    return Padding(table, _INDENT)


def _pool(fit: Fit) -> str:
    """``475,952 tokens``, as the engine prints it at its start."""
    return "" if fit.pool is None else f"{fit.pool.tokens:,} tokens"


def _runtimes(estimate: Estimate) -> RenderableType:
    """The runtimes side by side: what each needs, and whether it fits."""
    table = grid(header=True)
    table.add_column("runtime", no_wrap=True)
    for heading in ("total", *PARTS):
        label = PART_LABELS.get(heading, heading)
        table.add_column(label, justify="right", no_wrap=True)
    for fit in estimate.fit:
        table.add_column(gpu_label(fit), overflow="fold")
    for one in estimate.runtimes:
        if one.memory is None:
            table.add_row(one.runtime, Text(clean(one.refusal, limit=200), style="dim"))
            continue
        peak, unknown = one.memory.peak, one.memory.unknown
        sizes = ["unknown" if name in unknown else size(peak.part(name).bytes) for name in PARTS]
        whole = "unknown" if unknown else size(peak.memory.bytes)
        table.add_row(one.runtime, whole, *sizes, *(verdict_text(fit) for fit in one.fit))
    return Padding(table, _INDENT)


def _advice(fit: Fit, *, named: bool) -> RenderableType | None:
    """What runs it, or the changes after which it fits, each with its total and its command.

    ``named`` writes the card above them, which several blocks need.
    """
    if not fit.advice and fit.refusal is None:
        return None
    table = grid()
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    if fit.refusal is not None:
        table.add_row(gpu_label(fit), Text(clean(fit.refusal, limit=400), style="red"))
    elif named:
        table.add_row("on", Text(gpu_label(fit)))
    for number, one in enumerate(fit.advice):
        first = "run" if one.change == "none" else "fits with" if number == 0 else ""
        label = Text(clean(one.label, limit=120), style="bold")
        per = f", {size(one.per_gpu_bytes)} a GPU" if one.count > 1 else ""
        label.append(f"   {size(one.total_bytes)}{per}", style="dim")
        table.add_row(first, label)
        for line in (one.command or "").splitlines():
            table.add_row("", Text(clean(line, limit=1000)))
    return Padding(table, _INDENT)


def _offloads(fits: Sequence[Fit]) -> RenderableType:
    """Where the layers of a model that does not fit go."""
    table = grid()
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    for fit in fits:
        if (found := fit.offload) is None:
            continue
        where = "the GPU" if fit.group.count == 1 else "the GPUs"
        table.add_row(
            "offload",
            f"{gpu_label(fit)}: {found.gpu_layers} of {found.layers} layers on {where}, "
            f"{size(found.host_bytes)} in host memory (what that does not hold, on disk), with "
            f"max_memory of {size(found.max_memory_bytes)} a GPU",
        )
    return Padding(table, _INDENT)


def _limit(number: int | None) -> str:
    return "" if number is None else f"{number:,}"


def _ladder(rungs: tuple[Rung, ...], screen: Screen) -> RenderableType:
    roomy, aside = screen.columns >= _NARROW, screen.columns >= 96
    table = grid(header=True)
    table.add_column("precision", no_wrap=True)
    for heading in ("weights", "total", "bits") if roomy else ("total",):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("smallest gpu", overflow="fold")
    if aside:
        table.add_column("", style="dim", overflow="fold")
    for rung in rungs:
        total = size(rung.total_bytes)
        weights = size(rung.weights_bytes)
        figures = [weights, total, f"{rung.bits_per_weight:.2f}"] if roomy else [total]
        row = [clean(rung.scheme), *figures, smallest_words(rung)]
        table.add_row(*row, *([clean(rung.note, limit=120)] if aside else []))
    return Padding(Group(table, Text(f"smallest of {CURRENT_WORDS}", style="dim")), _INDENT)


def rules_table(rules: tuple[Rule, ...], screen: Screen) -> RenderableType:
    """Rules of thumb beside the exact figures."""
    aside = screen.columns >= 110
    table = grid(header=True)
    table.add_column("rule of thumb", overflow="fold")
    table.add_column("it says", justify="right", no_wrap=True)
    table.add_column("exact", justify="right", no_wrap=True)
    table.add_column("off by", justify="right", no_wrap=True)
    if aside:
        table.add_column("", style="dim", overflow="fold")
    for rule in rules:
        says = "" if rule.bytes is None else size(rule.bytes)
        exact = "" if rule.exact_bytes is None else size(rule.exact_bytes)
        off = "" if rule.ratio is None else f"{rule.ratio:.2f} ×"
        comment = clean(rule.comment)
        below = [clean(rule.formula), *([] if aside else [comment])]
        label = Text(f"{rule.id} {rule.name}")
        for line in filter(None, below):
            label.append(f"\n{line}", style="dim")
        table.add_row(label, says, exact, off, *([comment] if aside else []))
    return Padding(table, _INDENT)


def _notes(messages: Sequence[str]) -> RenderableType:
    table = grid()
    table.add_column(style="yellow", no_wrap=True)
    table.add_column(overflow="fold")
    for message in messages:
        table.add_row("note", message)
    return Padding(table, _INDENT)


def grid(*, header: bool = False) -> Table:
    """Columns two blanks apart and nothing else."""
    return Table(
        box=None,
        show_header=header,
        header_style="dim",
        pad_edge=False,
        padding=(0, 2, 0, 0),
        collapse_padding=True,
    )

"""One model's answer for a person: the total first, then what it is made of, then where it fits."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.text import Text

from hfmem.answer import Estimate
from hfmem.hardware.catalogue import current_words
from hfmem.memory.estimate import PARTS
from hfmem.memory.precision import Rung
from hfmem.report.fits import advice, fit_table, offloads
from hfmem.report.grids import INDENT, NARROW, bar, bar_width, grid, labelled
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
from hfmem.report.screen import Screen
from hfmem.report.speed import speed_words
from hfmem.runtimes import RUNTIMES
from hfmem.text import clean
from hfmem.units import count, gb, gib


def render(estimate: Estimate, screen: Screen) -> RenderableType:
    """The whole answer of one model."""
    blocks: list[RenderableType] = [headline(estimate), _total(estimate)]
    blocks.append(_breakdown(estimate, screen))
    blocks.append(labelled(_fact_rows(estimate)))
    if fits := estimate.fit or estimate.cards:
        blocks.append(fit_table(fits, screen))
    if maps := [fit for fit in estimate.fit if fit.offload is not None]:
        blocks.append(offloads(maps))
    if (speed := _speed(estimate)) is not None:
        blocks.append(speed)
    blocks += _on_request(estimate, screen)
    if notes := note_messages(estimate):
        blocks.append(labelled((("note", message) for message in notes), style="yellow"))
    return Group(*_spaced(blocks))


def _on_request(estimate: Estimate, screen: Screen) -> Iterator[RenderableType]:
    """What few questions ask for; what draws it is imported with the question."""
    if estimate.runtimes:
        from hfmem.report.runtimes import runtimes_table

        yield runtimes_table(estimate, screen)
    several = len(estimate.fit) > 1
    for fit in estimate.fit:
        if (block := advice(fit, screen, named=several)) is not None:
            yield block
    if estimate.precision:
        vendors = RUNTIMES[estimate.workload.runtime].vendors
        yield _ladder(estimate.precision, screen, cards=current_words(vendors))
    if estimate.model.gguf_listing is not None:
        from hfmem.report.quantizations import quantizations_table

        if (offered := quantizations_table(estimate, screen)) is not None:
            yield offered
    if estimate.rules:
        from hfmem.report.rules import rules_table

        yield rules_table(estimate.rules, screen)


def _speed(estimate: Estimate) -> RenderableType | None:
    found = estimate.throughput
    words = speed_words(found, batch=estimate.workload.batch) if found else None
    if words is None:
        return None
    return labelled([("speed", f"{gpu_label(estimate.fit[0])}: {words}")])


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
    width = bar_width(screen.columns)
    whole = peak.memory.bytes
    table = grid()
    table.add_column(no_wrap=True)
    table.add_column(justify="right", no_wrap=True)
    table.add_column(justify="right", no_wrap=True)
    if width:
        table.add_column(no_wrap=True, style="cyan")
    table.add_column(style="dim")
    for name in PARTS:
        term = peak.part(name)
        if name in estimate.memory.unknown:
            table.add_row(PART_LABELS[name], "unknown")
            continue
        aside: str = term.basis
        if name == "kv_cache" and term.bytes < estimate.memory.cache_bytes:
            aside = f"{size(estimate.memory.cache_bytes)} once it runs"
        drawn = [bar(term.bytes, whole, width=width)] if width else []
        table.add_row(PART_LABELS[name], size(term.bytes), share(term.bytes, whole), *drawn, aside)
    return Padding(table, INDENT)


def _listed(pairs: Iterable[tuple[str, str]]) -> str:
    """The largest of what is named: ``language 13.00 GiB · vision 1.00 GiB``."""
    named = [f"{clean(name, limit=40).replace('_', ' ')} {figure}" for name, figure in pairs]
    return " · ".join(named[:8]) + (" · …" if len(named) > 8 else "")


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


def _ladder(rungs: tuple[Rung, ...], screen: Screen, *, cards: str) -> RenderableType:
    roomy, aside = screen.columns >= NARROW, screen.columns >= 96
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
    return Padding(Group(table, Text(f"smallest of {cards}", style="dim")), INDENT)

"""Where a run of training fits, for a person: the cards, and what other methods need."""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.text import Text

from hfmem.hardware.catalogue import COMMON
from hfmem.hardware.training_fit import TrainingFit
from hfmem.report.grids import INDENT, NARROW, grid, verdict_text
from hfmem.report.phrases import size
from hfmem.report.screen import Screen
from hfmem.text import clean
from hfmem.training import MethodRow
from hfmem.units import count


def fits_table(fits: tuple[TrainingFit, ...], screen: Screen) -> RenderableType:
    """One row a GPU group, and below it what would change a verdict."""
    roomy, batched, timed = (screen.columns >= least for least in (NARROW, 68, 76))
    table = grid(header=True)
    table.add_column("gpu", overflow="fold")
    table.add_column("", no_wrap=True)
    if roomy:
        table.add_column("headroom", justify="right", no_wrap=True)
    if batched:
        table.add_column("max micro-batch", justify="right", no_wrap=True)
    table.add_column("max seq-len", justify="right", no_wrap=True)
    if timed:
        table.add_column("step", justify="right", no_wrap=True)
    for fit in fits:
        row: list[str | Text] = [_label(fit), verdict_text(fit.verdict)]
        if roomy:
            row.append("" if fit.headroom_bytes is None else size(fit.headroom_bytes))
        if batched:
            row.append("" if fit.max_micro_batch is None else f"{fit.max_micro_batch:,}")
        row.append("" if fit.max_seq_len is None else f"{fit.max_seq_len:,}")
        if timed:
            row.append("" if fit.step_seconds is None else f"{fit.step_seconds:,.2f} s")
        table.add_row(*row)
    lines = [Text(note, style="dim") for note in fit_notes(fits)]
    return Padding(Group(table, *lines), INDENT)


def fit_notes(fits: tuple[TrainingFit, ...]) -> list[str]:
    """What would make it fit, the fewest GPUs, and what the time of a step supposes."""
    notes: list[str] = []
    for fit in fits:
        card, name = clean(fit.group.gpu.id), _label(fit)
        if fit.refusal:
            notes.append(f"{card}: {clean(fit.refusal, limit=300)}")
        if fit.support:
            notes.append(f"{card}: {clean(fit.support, limit=300)}")
        if fit.verdict == "no":
            change = f"it would fit with {fit.advice}" if fit.advice else "no change makes it fit"
            notes.append(f"{name}: {change}")
        if ranks := _ranks(fit):
            notes.append(f"fewest {card}: {ranks}")
    shares = [fit.mfu for fit in fits if fit.step_seconds is not None]
    if shares:
        notes.append(f"step: at {shares[0]:.0%} of the peak rate, communication aside")
    return list(dict.fromkeys(notes))


def _label(fit: TrainingFit) -> str:
    """``h100-sxm``, ``8 × h100-sxm``."""
    times = f"{fit.group.count} × " if fit.group.count > 1 else ""
    return times + clean(fit.group.gpu.id)


def _ranks(fit: TrainingFit) -> str:
    """The fewest GPUs by stage; nothing to say where one GPU does at every stage."""
    if all(ranks == 1 for _, ranks in fit.zero_ranks):
        return ""
    held = [
        f"{ranks:,} {f'with ZeRO-{stage}' if stage else 'without sharding'}"
        for stage, ranks in fit.zero_ranks
        if ranks is not None
    ]
    if not held:
        return "no number of them holds it at any ZeRO stage"
    never = [f"ZeRO-{stage}" for stage, ranks in fit.zero_ranks if ranks is None and stage]
    return ", ".join(held) + (f"; no number is enough with {' or '.join(never)}" if never else "")


def methods_table(methods: tuple[MethodRow, ...], screen: Screen) -> RenderableType:
    """What each method needs, and the cards that hold it: below its name on a narrow screen."""
    roomy = screen.columns >= NARROW
    table = grid(header=True)
    table.add_column("method", overflow="fold")
    if roomy:
        table.add_column("trained", justify="right", no_wrap=True)
    table.add_column("needs", justify="right", no_wrap=True)
    if roomy:
        table.add_column("fits on", overflow="fold")
    for row in methods:
        words = cards_words(row)
        held = any(fits for _, fits in row.cards)
        cards = Text(words, style="" if held else "red")
        need = size(row.need_bytes)
        if roomy:
            table.add_row(row.name, count(row.trainable), need, cards)
            continue
        label = Text(row.name).append("\non " if held else "\n", style="dim")
        table.add_row(label.append_text(cards), need)
    return Padding(table, INDENT)


def cards_words(row: MethodRow) -> str:
    """The cards that hold a method, those that were named or the common ones."""
    held = [card for card, fits in row.cards if fits]
    named = len(row.cards) < len(COMMON)
    return ", ".join(held) or ("not on one" if named else "none of the common cards")

"""What a GGUF repository offers: every quantization with its size, its need and where it fits."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from msgspec import Struct
from rich.console import RenderableType
from rich.padding import Padding
from rich.text import Text

from hfmem.answer import Estimate
from hfmem.checkpoint.gguf_files import Quantization, projector_of
from hfmem.checkpoint.loaders import loader_of
from hfmem.model.model import Model
from hfmem.report.grids import INDENT, Column, chosen, grid, stacked, verdict_text
from hfmem.report.phrases import size_or_unknown, smallest_words
from hfmem.report.screen import Screen
from hfmem.text import clean

if TYPE_CHECKING:
    from hfmem.hardware.offered import Offer

_NAME_LIMIT = 120
_NAME_COLUMNS = 12
"""Left for the names when columns are chosen."""
_STACKED_BELOW = 38
"""Columns beside those of the cards; with fewer, the cards stand one below the other."""
_STACK_COLUMNS = 14
_BESIDE = 76
"""Columns from which what is loaded has a column of its own."""
_COLUMNS: tuple[Column, ...] = (
    Column(name="file", heading="file", columns=11, keep=4),
    Column(name="bits", heading="bits", columns=7, keep=1),
    Column(name="total", heading="total", columns=11, keep=9),
)


class _Row(Struct, frozen=True, kw_only=True):
    label: str
    cells: Mapping[str, str]
    fits: tuple[Text, ...] = ()
    """The verdict on each card; without cards the smallest that holds it."""
    aside: str = ""


def quantizations_table(estimate: Estimate, screen: Screen) -> RenderableType | None:
    """A row for each quantization, and for each projector; None where there is nothing to choose.

    The bits are those of the whole file, metadata included, over the parameters of the one that
    was read. The verdicts are those of the named GPUs; without any, the smallest card that holds
    it. A narrow screen leaves out columns, and has the cards one below the other.
    """
    listing = estimate.model.gguf_listing
    if listing is None or len(listing.models) + len(listing.projectors) < 2:
        return None
    cards = tuple(clean(_group_name(estimate, at)) for at in range(len(estimate.fit)))
    headings = cards or ("smallest gpu",)
    apart = sum(max(len(card), 9) + 2 for card in headings)
    below = screen.width is not None and screen.width - apart < _STACKED_BELOW
    columns = _COLUMNS
    if screen.width is not None:
        taken = _NAME_COLUMNS + (_STACK_COLUMNS if below else apart) + INDENT[3]
        columns = chosen(_COLUMNS, room=screen.width - taken)
    table = grid(header=True)
    table.add_column("quantization", overflow="fold")
    for column in columns:
        table.add_column(column.heading, justify="right", no_wrap=True)
    for name in ("gpu",) if below and cards else headings:
        table.add_column(name, overflow="fold")
    figures = len(table.columns) - 1
    beside = screen.width is None or screen.width >= _BESIDE
    if beside:
        table.add_column("", overflow="fold")
    for row in (*_models(estimate), *_projectors(estimate)):
        fits = row.fits
        if below and cards and fits:
            fits = (stacked(cards, fits),)
        label = Text(row.label)
        if row.aside and not beside:
            label.append(f"\n{row.aside}", style="dim")
        cells = [row.cells.get(column.name, "") for column in columns]
        blank = [""] * (figures - len(cells) - len(fits))
        table.add_row(label, *cells, *fits, *blank, *([row.aside] if beside else []))
    return Padding(table, INDENT)


def _models(estimate: Estimate) -> Iterator[_Row]:
    model, listing = estimate.model, estimate.model.gguf_listing
    offers = {offer.quantization.name: offer for offer in estimate.offers}
    for one in listing.models if listing else ():
        offer = offers.get(one.name)
        yield _Row(
            label=clean(one.name, limit=_NAME_LIMIT),
            cells=_cells(one, model, offer),
            fits=() if offer is None else _fits(offer),
            aside="this answer" if set(one.files) & set(model.loaded_files) else "",
        )


def _projectors(estimate: Estimate) -> Iterator[_Row]:
    model, listing = estimate.model, estimate.model.gguf_listing
    if listing is None:
        return
    beside = projector_of(listing, model.loaded_files[0]) if model.loaded_files else None
    counted = loader_of(estimate.workload.runtime).gguf_first
    words = "loaded beside it" if counted else "llama.cpp loads it beside"
    for one in listing.projectors:
        yield _Row(
            label=clean(one.name, limit=_NAME_LIMIT),
            cells={"file": size_or_unknown(one.bytes)},
            aside=words if one == beside else "",
        )


def _group_name(estimate: Estimate, at: int) -> str:
    group = estimate.fit[at].group
    return group.gpu.id if group.count == 1 else f"{group.count} × {group.gpu.id}"


def _fits(offer: Offer) -> tuple[Text, ...]:
    if not offer.verdicts:
        return (Text(smallest_words(offer)),)
    return tuple(verdict_text(verdict) for verdict in offer.verdicts)


def _cells(one: Quantization, model: Model, offer: Offer | None) -> dict[str, str]:
    parameters = model.parameters.total if model.parameters else None
    return {
        "file": size_or_unknown(one.bytes),
        "bits": f"{one.bytes * 8 / parameters:.2f}" if one.bytes and parameters else "",
        "total": "" if offer is None else size_or_unknown(offer.total_bytes),
    }

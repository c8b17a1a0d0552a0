"""What a GGUF repository offers: every quantization with its size, its need and where it fits."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from rich.console import RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from hfmem.answer import Estimate
from hfmem.checkpoint.gguf_files import Quantization, projector_of
from hfmem.model.model import Model
from hfmem.report.phrases import size_or_unknown, smallest_words
from hfmem.text import clean

if TYPE_CHECKING:
    from hfmem.hardware.fit import Verdict
    from hfmem.hardware.offered import Offer

_NAME_LIMIT = 120
_GGML = frozenset({"llama.cpp", "ollama"})


def quantizations_table(
    estimate: Estimate, table: Table, *, style: Callable[[Verdict | None], str]
) -> RenderableType | None:
    """A row for each quantization, and for each projector; None where there is nothing to choose.

    The bits are those of the whole file, metadata included, over the parameters of the one that
    was read. The verdicts are those of the named GPUs; without any, the smallest card that holds
    it. ``style`` is the colour of a verdict.
    """
    model = estimate.model
    listing = model.gguf_listing
    if listing is None or len(listing.models) + len(listing.projectors) < 2:
        return None
    offers = {offer.quantization.name: offer for offer in estimate.offers}
    cards = [clean(_group_name(estimate, at)) for at in range(len(estimate.fit))]
    table.add_column("quantization", overflow="fold")
    table.add_column("file", justify="right", no_wrap=True)
    table.add_column("bits", justify="right", no_wrap=True)
    table.add_column("total", justify="right", no_wrap=True)
    for name in cards or ["smallest gpu"]:
        table.add_column(name, overflow="fold")
    table.add_column("", overflow="fold")
    for one in listing.models:
        here = "this answer" if set(one.files) & set(model.loaded_files) else ""
        need = _need(offers.get(one.name), cards=len(cards), style=style)
        table.add_row(_label(one), *_cells(one, model), *need, here)
    beside = projector_of(listing, model.loaded_files[0]) if model.loaded_files else None
    counted = estimate.workload.runtime in _GGML
    for one in listing.projectors:
        blank = [""] * (2 + max(1, len(cards)))
        size = size_or_unknown(one.bytes)
        words = "loaded beside it" if counted else "llama.cpp loads it beside"
        table.add_row(_label(one), size, *blank, words if one == beside else "")
    return Padding(table, (0, 0, 0, 2))


def _group_name(estimate: Estimate, at: int) -> str:
    group = estimate.fit[at].group
    return group.gpu.id if group.count == 1 else f"{group.count} × {group.gpu.id}"


def _need(
    offer: Offer | None, *, cards: int, style: Callable[[Verdict | None], str]
) -> list[str | Text]:
    if offer is None:
        return [""] * (1 + max(1, cards))
    total = size_or_unknown(offer.total_bytes)
    if not cards:
        return [total, smallest_words(offer)]
    return [
        total,
        *(Text(verdict or "unknown", style=style(verdict)) for verdict in offer.verdicts),
    ]


def _label(one: Quantization) -> Text:
    return Text(clean(one.name, limit=_NAME_LIMIT))


def _cells(one: Quantization, model: Model) -> tuple[str, str]:
    total = model.parameters.total if model.parameters else None
    bits = f"{one.bytes * 8 / total:.2f}" if one.bytes and total else ""
    return size_or_unknown(one.bytes), bits

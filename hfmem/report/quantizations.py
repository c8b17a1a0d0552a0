"""What a GGUF repository offers: every quantization with its size."""

from __future__ import annotations

from rich.console import RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from hfmem.checkpoint.gguf_files import Quantization
from hfmem.model.model import Model
from hfmem.report.phrases import size_or_unknown
from hfmem.text import clean

_NAME_LIMIT = 120


def quantizations_table(model: Model, table: Table) -> RenderableType | None:
    """A row for each quantization, and for each projector; None where there is nothing to choose.

    The bits are those of the whole file, metadata included, over the parameters of the one that
    was read.
    """
    listing = model.gguf_listing
    if listing is None or len(listing.models) + len(listing.projectors) < 2:
        return None
    table.add_column("quantization", overflow="fold")
    table.add_column("file", justify="right", no_wrap=True)
    table.add_column("bits", justify="right", no_wrap=True)
    table.add_column("", overflow="fold")
    for one in listing.models:
        here = "this answer" if set(one.files) & set(model.loaded_files) else ""
        table.add_row(_label(one), *_cells(one, model), here)
    for one in listing.projectors:
        size = size_or_unknown(one.bytes)
        table.add_row(_label(one), size, "", "loaded beside it, not counted")
    return Padding(table, (0, 0, 0, 2))


def _label(one: Quantization) -> Text:
    return Text(clean(one.name, limit=_NAME_LIMIT))


def _cells(one: Quantization, model: Model) -> tuple[str, str]:
    total = model.parameters.total if model.parameters else None
    bits = f"{one.bytes * 8 / total:.2f}" if one.bytes and total else ""
    return size_or_unknown(one.bytes), bits

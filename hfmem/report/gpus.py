"""The accelerator catalogue for people and programs."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence

from msgspec.structs import asdict
from rich.console import RenderableType
from rich.table import Table

from hfmem._version import __version__
from hfmem.gpu import Gpu
from hfmem.report.json import SCHEMA_VERSION, dumps
from hfmem.report.screen import Screen
from hfmem.units import GIB


def table(gpus: Sequence[Gpu], screen: Screen) -> RenderableType:
    """One row a card: what --gpu takes, and what limits a model on it."""
    grid = Table(
        box=None, header_style="dim", pad_edge=False, padding=(0, 2, 0, 0), collapse_padding=True
    )
    grid.add_column("gpu", no_wrap=True, style="bold")
    if screen.columns >= 90:
        grid.add_column("name", overflow="fold")
    grid.add_column("usable GiB", justify="right", no_wrap=True)
    grid.add_column("GB/s", justify="right", no_wrap=True)
    grid.add_column("16-bit TFLOPS", justify="right", no_wrap=True)
    if screen.columns >= 76:
        grid.add_column("generation", style="dim", no_wrap=True)
        grid.add_column("usable is", style="dim", no_wrap=True)
    for gpu in gpus:
        row = [gpu.id]
        if screen.columns >= 90:
            row.append(gpu.name)
        row += _figures(gpu)
        if screen.columns >= 76:
            row += [gpu.architecture, gpu.usable_basis]
        grid.add_row(*row)
    return grid


def _figures(gpu: Gpu) -> list[str]:
    return [
        f"{gpu.usable_bytes / GIB:,.2f}",
        _scaled(gpu.bandwidth_bytes_per_second, 10**9),
        _scaled(gpu.bf16_flops or gpu.fp16_flops, 10**12),
    ]


def _scaled(value: int | None, unit: int) -> str:
    return "" if value is None else f"{value / unit:,.0f}"


def json_document(gpus: Sequence[Gpu]) -> str:
    """The cards with every fact that the catalogue has; rates are per second, unknown is null."""
    document: dict[str, object] = {
        "schema_version": SCHEMA_VERSION,
        "tool": {"name": "hfmem", "version": __version__},
        "gpus": [asdict(gpu) for gpu in gpus],
    }
    return dumps(document, indent=2) + "\n"


def csv_document(gpus: Sequence[Gpu]) -> str:
    """One row a card with the columns of the JSON; unknown is empty, aliases are parted by blanks.

    Sizes are bytes, rates are per second.
    """
    target = io.StringIO(newline="")
    writer = csv.DictWriter(target, Gpu.__struct_fields__, lineterminator="\r\n")
    writer.writeheader()
    for gpu in gpus:
        writer.writerow({**asdict(gpu), "aliases": " ".join(gpu.aliases)})
    return target.getvalue()


def markdown_document(gpus: Sequence[Gpu]) -> str:
    """The columns of the table, as GitHub shows them."""
    from hfmem.report.markdown import escape

    rows = [
        "| gpu | name | usable GiB | GB/s | 16-bit TFLOPS | generation | usable is |",
        "| --- | --- | ---: | ---: | ---: | --- | --- |",
    ]
    for gpu in gpus:
        cells = (gpu.id, gpu.name, *_figures(gpu), gpu.architecture, gpu.usable_basis)
        rows.append(f"| {' | '.join(map(escape, cells))} |")
    return "\n".join(rows) + "\n"

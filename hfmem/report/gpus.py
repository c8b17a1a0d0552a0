"""The accelerator catalogue for people and programs."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from typing import Literal

from msgspec.structs import asdict
from rich.console import RenderableType

from hfmem._version import __version__
from hfmem.gpu import Gpu
from hfmem.report.grids import Column, chosen, grid
from hfmem.report.json import SCHEMA_VERSION, dumps
from hfmem.report.screen import Screen
from hfmem.units import GIB

_FIGURES = ("usable", "bandwidth", "flops")
_COLUMNS: tuple[Column, ...] = (
    Column(name="name", heading="name", columns=18, keep=1),
    Column(name="usable", heading="usable GiB", columns=12, keep=9),
    Column(name="bandwidth", heading="GB/s", columns=8, keep=8),
    Column(name="flops", heading="16-bit TFLOPS", columns=15, keep=7),
    Column(name="generation", heading="generation", columns=12, keep=5),
    Column(name="basis", heading="usable is", columns=11, keep=4),
)


def table(gpus: Sequence[Gpu], screen: Screen) -> RenderableType:
    """One row a card: what --gpu takes, and what limits a model on it.

    A narrow screen leaves out what says least; the name for --gpu is always there.
    """
    rows = [_cells(gpu) for gpu in gpus]
    columns = _COLUMNS
    if screen.width is not None:
        longest = max((len(row["gpu"]) for row in rows), default=0)
        columns = chosen(_COLUMNS, room=screen.width - longest)
    drawn = grid(header=True)
    drawn.add_column("gpu", overflow="fold", style="bold")
    for column in columns:
        right = column.name in _FIGURES
        style = "dim" if column.name in ("generation", "basis") else ""
        justify: Literal["left", "right"] = "right" if right else "left"
        drawn.add_column(
            column.heading, justify=justify, style=style, no_wrap=right, overflow="fold"
        )
    for row in rows:
        drawn.add_row(row["gpu"], *(row[column.name] for column in columns))
    return drawn


def _cells(gpu: Gpu) -> dict[str, str]:
    return {
        "gpu": gpu.id,
        "name": gpu.name,
        **dict(zip(_FIGURES, _figures(gpu), strict=True)),
        "generation": gpu.architecture,
        "basis": gpu.usable_basis,
    }


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

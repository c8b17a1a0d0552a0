"""The accelerator catalogue for people and programs."""

from __future__ import annotations

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
        flops = gpu.bf16_flops or gpu.fp16_flops
        row = [gpu.id]
        if screen.columns >= 90:
            row.append(gpu.name)
        row += [
            f"{gpu.usable_bytes / GIB:,.2f}",
            _scaled(gpu.bandwidth_bytes_per_second, 10**9),
            _scaled(flops, 10**12),
        ]
        if screen.columns >= 76:
            row += [gpu.architecture, gpu.usable_basis]
        grid.add_row(*row)
    return grid


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

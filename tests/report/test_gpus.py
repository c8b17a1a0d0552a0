"""The catalogue as text."""

from __future__ import annotations

import json

from msgspec.structs import replace

from hfmem.gpu import Gpu
from hfmem.report.gpus import json_document, table
from hfmem.report.screen import Screen, draw

CARD = Gpu(
    id="rtx-4090",
    name="GeForce RTX 4090",
    usable_bytes=24 * 2**30,
    usable_basis="given",
    architecture="Ada",
    bandwidth_bytes_per_second=1008 * 10**9,
    bf16_flops=165 * 10**12,
)


def test_table() -> None:
    bare = replace(CARD, id="24GiB", bandwidth_bytes_per_second=None, bf16_flops=None)
    screen = Screen(width=80)
    assert draw(table((CARD, bare), screen), screen) == (
        "gpu       usable GiB   GB/s  16-bit TFLOPS  generation  usable is\n"
        "rtx-4090       24.00  1,008            165  Ada         given\n"
        "24GiB          24.00                        Ada         given\n"
    )


def test_json() -> None:
    document = json.loads(json_document((CARD,)))
    assert document["schema_version"] == 1
    assert document["gpus"][0]["usable_bytes"] == 24 * 2**30
    assert document["gpus"][0]["fp8_flops"] is None

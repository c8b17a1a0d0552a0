"""The catalogue as text."""

from __future__ import annotations

import csv
import io
import json
from importlib.resources import files

import jsonschema
import pytest
from msgspec.structs import replace

from hfmem.gpu import Gpu
from hfmem.hardware.catalogue import gpus
from hfmem.report.gpus import csv_document, json_document, markdown_document, table
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


@pytest.mark.parametrize("width", [40, 60, 80, 100, 120])
def test_the_whole_catalogue_is_cut_nowhere(width: int) -> None:
    screen = Screen(width=width)
    lines = draw(table(gpus(), screen), screen).splitlines()
    assert max(map(len, lines)) <= width
    assert not any("…" in line for line in lines)
    assert {gpu.id for gpu in gpus()} <= {line.split(" ")[0] for line in lines}


def test_json() -> None:
    document = json.loads(json_document((CARD,)))
    assert document["schema_version"] == 1
    assert document["gpus"][0]["usable_bytes"] == 24 * 2**30
    assert document["gpus"][0]["fp8_flops"] is None


def test_json_is_valid_by_the_schema() -> None:
    schema = json.loads(files("hfmem").joinpath("schema.json").read_text(encoding="utf-8"))
    document = json.loads(json_document(gpus()))
    jsonschema.validate(document, schema)
    card = schema["$defs"]["card"]
    assert set(document["gpus"][0]) == set(card["properties"]) == set(card["required"])
    del document["gpus"][0]["usable_bytes"]
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(document, schema)


def test_csv() -> None:
    named = replace(CARD, name='A, "B"', aliases=("4090", "ada"))
    (row,) = csv.DictReader(io.StringIO(csv_document((named,)), newline=""))
    assert (row["id"], row["name"], row["aliases"]) == ("rtx-4090", 'A, "B"', "4090 ada")
    assert (row["usable_bytes"], row["fp8_flops"]) == (str(24 * 2**30), "")


def test_markdown() -> None:
    assert markdown_document((replace(CARD, name="a|b"),)).splitlines()[2] == (
        "| rtx-4090 | a&#124;b | 24.00 | 1,008 | 165 | Ada | given |"
    )

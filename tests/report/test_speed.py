"""Rates in words and in JSON."""

from __future__ import annotations

import json
from importlib.resources import files

import jsonschema
import pytest
from msgspec.structs import replace

import hfmem
from hfmem.hardware.throughput import Throughput
from hfmem.report.speed import between, speed_words, throughput_json

FOUND = Throughput(
    gpu="rtx-4090",
    count=1,
    decode=(40.123456, 62.7),
    per_sequence=(40.123456, 62.7),
    prefill=(3100.0, 4800.0),
    first_token_seconds=(1.7, 2.66),
    step_bytes=16_083_591_168,
    limited_by="memory",
    basis="measured",
    because="bytes over bandwidth",
)
UNKNOWN = replace(
    FOUND,
    decode=None,
    per_sequence=None,
    prefill=None,
    first_token_seconds=None,
    step_bytes=None,
    limited_by=None,
    basis=None,
)


def test_words() -> None:
    assert speed_words(FOUND, batch=1) == (
        "40.1 to 62.7 tokens/s (smooth) · first token after 1.7 to 2.66 s · decided by memory"
    )
    batched = replace(FOUND, per_sequence=(5.0, 7.8), basis="assumed", first_token_seconds=None)
    assert speed_words(batched, batch=8) == (
        "40.1 to 62.7 tokens/s · each sequence 5 to 7.8 (slow) · decided by memory"
        " · by other cards' or engines' figures"
    )
    assert speed_words(UNKNOWN, batch=1) is None


def test_json() -> None:
    assert throughput_json(None) is None
    found = throughput_json(FOUND)
    assert found is not None
    assert found["decode_tokens_per_second"] == [40.12, 62.7]
    assert found["time_to_first_token_seconds"] == [1.7, 2.66]
    assert (found["band"], found["limited_by"]) == ("smooth", "memory")
    unknown = throughput_json(UNKNOWN)
    assert unknown is not None
    assert unknown["decode_tokens_per_second"] is unknown["band"] is None


@pytest.mark.parametrize("gpu", ["rtx-4090", "24GiB", "apple-m5-max-128gb"])
def test_an_answer_is_valid_by_the_schema(gpu: str) -> None:
    schema = json.loads(files("hfmem").joinpath("schema.json").read_text(encoding="utf-8"))
    found = hfmem.estimate("Qwen/Qwen3-8B", ctx=8192, gpu=gpu, source="recorded").to_dict()
    jsonschema.validate(found, {**schema["$defs"]["result"], "$defs": schema["$defs"]})
    throughput = found["throughput"]
    assert isinstance(throughput, dict)
    named = schema["$defs"]["result"]["properties"]["throughput"]
    assert set(throughput) == set(named["properties"]) == set(named["required"])
    notes = found["notes"]
    assert isinstance(notes, list)
    codes = {note["code"] for note in notes}
    assert ("throughput_unknown" in codes) == (throughput["decode_tokens_per_second"] is None)


@pytest.mark.parametrize(
    ("low", "high", "band"),
    [(4, 6, "slow"), (9, 11, "acceptable"), (10, 25, "acceptable"), (15, 25, "smooth")],
)
def test_bands_that_people_know(low: float, high: float, band: str) -> None:
    assert replace(FOUND, per_sequence=(low, high)).band == band


@pytest.mark.parametrize(
    ("span", "text"),
    [
        ((0.0123, 1234.5), "0.0123 to 1,230"),
        ((99.94, 100.4), "99.9 to 100"),
        ((1, 123_456.0), "1 to 123,000"),
    ],
)
def test_ranges(span: tuple[float, float], text: str) -> None:
    assert between(span) == text

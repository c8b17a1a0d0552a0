"""Parameters that a configuration declares, against every class of the reference implementation.

``fixtures/reference_counts.jsonl`` holds every generating class that can be built at small depth,
known here or not, each also with one key said differently. A count that is not known is no failure;
a wrong one is.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hfmem.errors import HfmemError
from hfmem.model.config import read
from hfmem.model.declared import logical_tensors

FIXTURE = Path(__file__).parents[2] / "fixtures" / "reference_counts.jsonl"
ROWS: list[dict[str, Any]] = [
    json.loads(line) for line in FIXTURE.read_text(encoding="utf-8").splitlines()
]
BUFFERS = ("e_score_correction_bias", "tid2eid", "feed_forward.expert_bias")
"""Stored like parameters, buffers of the class; ERNIE's bias is a parameter there too."""
OWN = ("moe_statics.e_score_correction_bias",)
# The class ties whatever the file says; the published files hold the head (see the row).
APART = {("mt5", "tie_word_embeddings"), ("umt5", "tie_word_embeddings")}


def declared(row: dict[str, Any], values: dict[str, Any]) -> int | None:
    """What the class holds by our count; None where it is not known."""
    config = {"model_type": row["model_type"], "architectures": [row["class"]], **values}
    try:
        found = logical_tensors(read(config))
    except HfmemError:
        return None
    if found is None:
        return None
    return sum(
        run.elements * run.count
        for run in found
        if not run.name.endswith(BUFFERS) or run.name.endswith(OWN)
    )


def variants(row: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any], int]]:
    """The row's configurations, and what the reference counts in each."""
    yield "as it is", row["values"], row["parameters"]
    for path, value, parameters in row["changes"]:
        values = json.loads(json.dumps(row["values"]))
        *sections, key = path.split(".")
        place = values
        for section in sections:
            place = place.setdefault(section, {})
        place[key] = value
        yield f"{path}={value}", values, parameters


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row['model_type']}-{row['class']}")
def test_no_count_is_wrong(row: dict[str, Any]) -> None:
    wrong = [
        (said, found, parameters)
        for said, values, parameters in variants(row)
        if (row["model_type"], said.partition("=")[0]) not in APART
        if (found := declared(row, values)) is not None and found != parameters
    ]
    assert wrong == []


def test_how_many_classes_are_known() -> None:
    known = {row["class"] for row in ROWS if declared(row, row["values"]) == row["parameters"]}
    assert len(known) >= 190, sorted({row["class"] for row in ROWS} - known)

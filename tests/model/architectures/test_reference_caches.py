"""Caches of configurations that nobody published, against the reference implementation's own.

``fixtures/reference_caches.jsonl``: a prefill of 512 tokens by transformers 5.23.0 on the meta
device, each class at small depth and with one key that the cache follows from said differently.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from hfmem.memory.kv_cache import group, total_bytes
from hfmem.model.architectures import layers
from hfmem.model.config import read
from tests.truth.caches import SETTINGS

FIXTURE = Path(__file__).parents[3] / "fixtures" / "reference_caches.jsonl"
ROWS: list[dict[str, Any]] = [
    json.loads(line) for line in FIXTURE.read_text(encoding="utf-8").splitlines()
]
TOKENS = 512


KINDS = sorted({row["model_type"] for row in ROWS})


def cache(row: dict[str, Any]) -> int:
    kind = row["model_type"]
    config = {"model_type": kind, "architectures": [row["class"]], **SETTINGS.get(kind, {})}
    groups = group(layers(read({**config, **row["values"]})).layers)
    return total_bytes(groups, ctx=TOKENS, kv_dtype="BF16", model_dtype="BF16", encoder_ctx=TOKENS)


@pytest.mark.parametrize("kind", KINDS)
def test_cache_of_a_prefill(kind: str) -> None:
    wrong = [
        (row["values"], found, row["bytes"])
        for row in ROWS
        if row["model_type"] == kind and (found := cache(row)) != row["bytes"]
    ]
    assert wrong == []

"""Every configuration that the reference implementation was run on, to the byte."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import pytest

from hfmem.model.architectures import layers
from hfmem.model.config import read
from tests.truth import caches
from tests.truth.row import Row

pytestmark = pytest.mark.shared
ENCODERS_ALONE = {
    "Tencent-Hunyuan/HunyuanDiT-Diffusers--text_encoder_2",
    "stabilityai/stable-diffusion-3-medium-diffusers--text_encoder_3",
}
"""T5EncoderModel, which keeps nothing; the reference ran both halves of T5."""


def test_published_configurations(shared: Path) -> None:
    rows = list(caches.corpus(shared))
    assert len(caches.lines(shared / "oracle" / "truth_corpus.jsonl")) == 113
    assert _wrong(row for row in rows if row.outcome != "explained") == []
    alone = {row.name.split()[0] for row in rows if row.outcome == "explained"}
    assert alone == ENCODERS_ALONE
    assert len(rows) > 300


def test_published_configurations_have_an_entry(shared: Path) -> None:
    for truth in caches.lines(shared / "oracle" / "truth_corpus.jsonl"):
        if truth["model"] in ENCODERS_ALONE:
            continue
        values = caches.published_config(shared, truth["model"])
        assert values is not None
        assert layers(read(values)).resolved_by == "entry", truth["model"]


def test_class_defaults(shared: Path) -> None:
    rows = list(caches.defaults(shared))
    assert len(caches.lines(shared / "oracle" / "truth_defaults.jsonl")) == 279
    refused = {row.name.split(":")[1].split()[0] for row in rows if row.outcome == "refused"}
    assert refused == set(caches.REFUSED)
    assert _wrong(row for row in rows if row.outcome != "refused") == []
    assert len(rows) > 750


def _wrong(rows: Iterable[Row]) -> list[Row]:
    return [row for row in rows if row.outcome != "equal"]

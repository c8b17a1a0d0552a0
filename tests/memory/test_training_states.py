"""The states' terms: what they are based on."""

from __future__ import annotations

from pathlib import Path

import pytest

import hfmem
from hfmem.source import recorded

LLAMA = "meta-llama/Llama-3.1-8B-Instruct"


@pytest.mark.parametrize(("origin", "basis"), [("reconstructed", "derived"), ("hub", "exact")])
def test_weights_are_exact_where_headers_were_read(tmp_path: Path, origin: str, basis: str) -> None:
    """contract: exact is from headers; what a configuration declares is derived."""
    bundled = recorded.bundled(LLAMA)
    assert bundled is not None
    text = recorded.write(bundled).replace('"origin": "reconstructed"', f'"origin": "{origin}"')
    (tmp_path / "meta-llama--Llama-3.1-8B-Instruct.json").write_text(text, encoding="utf-8")
    found = hfmem.train(LLAMA, method="qlora", source="recorded", recorded=str(tmp_path))
    weights = found.memory.peak.part("weights")
    assert weights.basis == basis
    assert {part.name: part.basis for part in weights.parts}["frozen"] == basis

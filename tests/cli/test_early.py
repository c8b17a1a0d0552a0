"""What is fetched before the command line is parsed."""

from __future__ import annotations

from pathlib import Path

import pytest
from msgspec.structs import replace

from hfmem.cli import early
from hfmem.source.access import Access

PLAIN = Access()


@pytest.mark.parametrize(
    ("line", "begun"),
    [
        ("gpt2", [("gpt2", PLAIN)]),
        ("--ctx 8k org/a -b 2 --json org/b", [("org/a", PLAIN), ("org/b", PLAIN)]),
        ("gpt2 gpt2", [("gpt2", PLAIN)]),
        ("gpt2 --ctx=8k --revision=v1", [("gpt2", replace(PLAIN, revision="v1"))]),
        ("gpt2 --offline", [("gpt2", replace(PLAIN, offline=True))]),
        ("gpt2 --source recorded", [("gpt2", replace(PLAIN, source="recorded"))]),
        ("gpt2 --recorded facts", [("gpt2", replace(PLAIN, recorded=Path("facts")))]),
        ("gpt2 --token hf_x", [("gpt2", replace(PLAIN, token="hf_x"))]),
        # Not plain: the parser decides, and nothing is asked of anyone before.
        ("gpt2 --help", []),
        ("gpt2 --nonesuch 3", []),
        ("gpt2 -- --ctx", []),
        ("", []),
        (" ".join("abcdefghi"), []),
    ],
)
def test_begin_early(
    line: str, begun: list[tuple[str, Access]], monkeypatch: pytest.MonkeyPatch
) -> None:
    found: list[tuple[str, Access]] = []
    monkeypatch.setattr(early, "begin", lambda model, access: found.append((model, access)))
    early.begin_early(line.split())
    assert found == begun

"""Facts that were begun are taken once, with what they raise."""

from __future__ import annotations

import pytest

from hfmem.checkpoint.snapshot import Snapshot
from hfmem.errors import ModelNotFoundError
from hfmem.source import access, ahead
from hfmem.source.access import Access

RECORDED = Access(source="recorded")


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The models that sources were really asked for."""
    seen: list[str] = []
    real = access.find

    def find(model: str, how: Access) -> Snapshot:
        seen.append(model)
        return real(model, how)

    monkeypatch.setattr(access, "find", find)
    return seen


def test_what_was_begun_is_taken_once(asked: list[str]) -> None:
    ahead.begin("Qwen/Qwen3-8B", RECORDED)
    assert ahead.find("Qwen/Qwen3-8B", RECORDED).model == "Qwen/Qwen3-8B"
    assert asked == ["Qwen/Qwen3-8B"]
    ahead.find("Qwen/Qwen3-8B", RECORDED)
    assert asked == ["Qwen/Qwen3-8B"] * 2


def test_other_access_is_another_question(asked: list[str]) -> None:
    ahead.begin("Qwen/Qwen3-8B", RECORDED)
    ahead.find("Qwen/Qwen3-8B", Access(source="recorded", revision="main"))
    ahead.find("Qwen/Qwen3-8B", RECORDED)
    assert len(asked) == 2


def test_an_error_is_raised_where_the_facts_are_wanted() -> None:
    ahead.begin("no/such", RECORDED)
    with pytest.raises(ModelNotFoundError, match="no/such"):
        ahead.find("no/such", RECORDED)

"""Which source answers: the Hub, the cache, recorded and bundled facts, and who forbids whom."""

from __future__ import annotations

from pathlib import Path

import pytest
from msgspec.structs import replace

from hfmem.checkpoint.snapshot import Snapshot
from hfmem.errors import (
    GatedModelError,
    HfmemError,
    HubUnavailableError,
    ModelNotFoundError,
    OfflineError,
    RateLimitedError,
    RevisionNotFoundError,
    UsageError,
)
from hfmem.source import Access, SourceChoice, cache, find, hub, recorded

QWEN = "Qwen/Qwen3-8B"


@pytest.fixture
def facts() -> Snapshot:
    found = recorded.bundled(QWEN)
    assert found is not None
    return found


@pytest.fixture(autouse=True)
def _no_network(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.setattr(cache, "load", lambda ref: None)


def answer_with(monkeypatch: pytest.MonkeyPatch, outcome: Snapshot | HfmemError) -> None:
    def snapshot(*_: object, **__: object) -> Snapshot:
        if isinstance(outcome, HfmemError):
            raise outcome
        return outcome

    monkeypatch.setattr(hub, "snapshot", snapshot)


def test_the_hub_comes_first(monkeypatch: pytest.MonkeyPatch, facts: Snapshot) -> None:
    online = replace(facts, source="hub", notes=())
    answer_with(monkeypatch, online)
    assert find(QWEN, Access()) == online


@pytest.mark.parametrize(
    "error", [HubUnavailableError("The Hub is away."), RateLimitedError("No quota.")]
)
def test_bundled_facts_stand_in_and_say_so(
    monkeypatch: pytest.MonkeyPatch, error: HfmemError
) -> None:
    answer_with(monkeypatch, error)
    found = find(QWEN, Access())
    assert found.source == "bundled"
    assert found.notes[-1].code == "fallback"
    assert error.message.rstrip(".") in found.notes[-1].message
    with pytest.raises(type(error)):
        find(QWEN, Access(source="hub"))
    with pytest.raises(type(error)):
        find("org/not-bundled", Access())


def test_an_answer_of_the_hub_is_an_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    answer_with(monkeypatch, ModelNotFoundError("There is none."))
    with pytest.raises(ModelNotFoundError):
        find(QWEN, Access())


def test_a_gated_model_that_is_bundled_says_how_to_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    answer_with(monkeypatch, GatedModelError("It is gated.", hint="Log in."))
    with pytest.raises(GatedModelError) as caught:
        find(QWEN, Access())
    assert "--source recorded" in caught.value.hint
    with pytest.raises(GatedModelError) as caught:
        find("org/not-bundled", Access())
    assert caught.value.hint == "Log in."


def test_offline(monkeypatch: pytest.MonkeyPatch, facts: Snapshot) -> None:
    offline = Access(offline=True)
    assert find(QWEN, offline).source == "bundled"
    with pytest.raises(OfflineError):
        find("org/not-bundled", offline)
    with pytest.raises(OfflineError):
        find(QWEN, Access(offline=True, source="hub"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert find(QWEN, Access()).source == "bundled"
    monkeypatch.setattr(cache, "load", lambda ref: replace(facts, source="cache"))
    assert find(QWEN, Access(source="hub")).source == "cache"


@pytest.mark.parametrize(
    ("revision", "choice", "says"),
    [
        ("v1", "auto", "at 'v1', only facts of revision bbbb"),
        ("v1", "hub", "at 'v1', only facts of revision bbbb"),
        (None, "auto", None),
    ],
)
def test_offline_says_which_revision_is_kept(
    monkeypatch: pytest.MonkeyPatch,
    facts: Snapshot,
    revision: str | None,
    choice: SourceChoice,
    says: str | None,
) -> None:
    kept = replace(facts, model="org/kept", source="cache", revision="b" * 40)
    monkeypatch.setattr(cache, "load", lambda ref: None if ref.revision else kept)
    access = Access(offline=True, source=choice, revision=revision)
    if says is None:
        assert find("org/kept", access) == kept
        return
    with pytest.raises(OfflineError, match=says) as caught:
        find("org/kept", access)
    assert "Leave out the revision" in caught.value.hint


def test_offline_says_that_other_facts_ship(facts: Snapshot) -> None:
    with pytest.raises(OfflineError, match=r"no known revision \(bundled\)"):
        find(f"{QWEN}@v1", Access(offline=True))
    with pytest.raises(OfflineError, match="is not in the cache, and offline"):
        find(f"{QWEN}@v1", Access(offline=True, source="hub"))


def test_recorded_facts_come_before_bundled_ones(tmp_path: Path, facts: Snapshot) -> None:
    own = replace(facts, revision="b" * 40, notes=())
    (tmp_path / recorded.file_name(QWEN)).write_text(recorded.write(own))
    access = Access(source="recorded", recorded=tmp_path)
    found = find(QWEN, access)
    assert (found.source, found.revision) == ("recorded", "b" * 40)
    assert find("google/gemma-3-27b-it", access).source == "bundled"
    with pytest.raises(ModelNotFoundError, match="no recorded facts"):
        find("org/neither", access)


def test_facts_of_one_commit_do_not_answer_for_another(tmp_path: Path, facts: Snapshot) -> None:
    with pytest.raises(RevisionNotFoundError, match=r"'v1', only facts of .* \(bundled\)"):
        find(f"{QWEN}@v1", Access(source="recorded"))
    own = replace(facts, revision="b" * 40, notes=())
    (tmp_path / recorded.file_name(QWEN)).write_text(recorded.write(own))
    access = Access(source="recorded", recorded=tmp_path)
    with pytest.raises(RevisionNotFoundError, match=rf"revision {'b' * 40} \(recorded\) and"):
        find(f"{QWEN}@v1", access)
    assert find(f"{QWEN}@{'b' * 40}", access).source == "recorded"
    with pytest.raises(ModelNotFoundError):
        find("org/neither@v1", access)
    assert find(f"{QWEN}@main", Access(source="recorded")).model == QWEN


def test_revisions_are_named_once() -> None:
    with pytest.raises(UsageError, match="revision"):
        find(f"{QWEN}@v1", Access(revision="v2"))
    with pytest.raises(UsageError, match="local path"):
        find(str(Path(__file__).parent), Access(revision="v2"))


def test_a_folder_of_recorded_facts_must_be_there(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="nowhere"):
        find(QWEN, Access(recorded=tmp_path / "nowhere"))


@pytest.mark.parametrize("source", ["recorded", "auto"])
def test_a_folder_of_that_name_is_not_passed_over_in_silence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: SourceChoice
) -> None:
    (tmp_path / "mine").mkdir()
    monkeypatch.chdir(tmp_path)
    with pytest.raises((ModelNotFoundError, OfflineError)) as caught:
        find("mine", Access(source=source, offline=True))
    assert "folder 'mine' here holds neither config.json nor weights" in caught.value.hint
    with pytest.raises((ModelNotFoundError, OfflineError)) as caught:
        find("yours", Access(source=source, offline=True))
    assert "folder" not in caught.value.hint.partition(".")[0]

"""From what a person wrote to a Snapshot: the only way in, and everything after it is pure."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from msgspec import Struct
from msgspec.structs import replace

from hfmem.checkpoint.loaders import DEFAULT, Pick
from hfmem.checkpoint.snapshot import Note, Snapshot
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
from hfmem.source.ref import ModelRef, parse
from hfmem.source.routes import Route

SourceChoice = Literal["auto", "hub", "recorded"]


class Access(Struct, frozen=True, kw_only=True):
    """How facts may be had."""

    source: SourceChoice = "auto"
    recorded: Path | None = None
    """Folder of recorded facts, looked at before what ships with the package."""
    revision: str | None = None
    token: str | None = None
    offline: bool = False
    waits_for_quota: bool = False
    """A used up quota is an error, because the caller waits and asks again."""
    route: Route = "at once"
    """What a model of the Hub may cost."""
    pick: Pick = DEFAULT
    """Which of its copies of the weights the runtime takes."""


def find(model: str, access: Access) -> Snapshot:
    """The facts of a model, from wherever ``access`` allows; of an adapter, with its base's.

    Raises HfmemError.
    """
    found = _find(model, access)
    from hfmem.source import adapters

    if not adapters.is_adapter(found):
        return found
    of_base = Pick(loader=access.pick.loader)
    return adapters.on_base(
        found,
        lambda name, revision: _find(name, replace(access, revision=revision, pick=of_base)),
    )


def _find(model: str, access: Access) -> Snapshot:
    """The facts of a model, from wherever ``access`` allows.

    Local paths are read where they lie. A Hub model comes from the Hub; when that cannot be
    reached, from recorded facts, the cache or the package, and the snapshot says so. Raises
    HfmemError.
    """
    ref = replace(parse(model), pick=access.pick)
    if access.pick.subfolder is not None:
        inside = Note(code="subfolder", message=f"Of the folder {access.pick.subfolder}.")
        ref = replace(ref, notes=(*ref.notes, inside))
    if access.recorded is not None and not access.recorded.is_dir():
        raise UsageError(
            f"There is no folder {str(access.recorded)!r:.120}.",
            hint="--recorded takes the folder that `hfmem record` wrote.",
        )
    if ref.path is not None:
        from hfmem.source import local

        if access.revision is not None:
            raise UsageError(
                f"--revision does not apply to {model!r:.120}, a local path.",
                hint="Leave out --revision, or name a model of the Hub.",
            )
        return local.snapshot(ref)
    if access.revision is not None:
        if ref.revision not in (None, access.revision):
            raise UsageError(
                f"{model!r:.120} names a revision, and --revision names another.",
                hint="Write one of them.",
            )
        ref = replace(ref, revision=access.revision)
    try:
        if access.source == "recorded":
            return _recorded_only(ref, access)
        if access.offline or _offline_switch():
            return _offline(ref, access)
        return _online(ref, access)
    except (ModelNotFoundError, OfflineError) as error:
        raise _beside_folder(error, model) from None


def _beside_folder(error: HfmemError, model: str) -> HfmemError:
    """The error, with a word on a folder of the model's name that was passed over."""
    try:
        if not Path(model).is_dir():
            return error
    except (OSError, ValueError):
        return error
    passed = f"The folder {model!r:.80} here holds neither config.json nor weights."
    return type(error)(error.message, hint=f"{passed} {error.hint}".rstrip())


def _online(ref: ModelRef, access: Access) -> Snapshot:
    from hfmem.source import hub

    try:
        return hub.snapshot(ref, token=access.token, route=access.route)
    except (HubUnavailableError, RateLimitedError) as error:
        if access.source == "hub" or (
            access.waits_for_quota and isinstance(error, RateLimitedError)
        ):
            raise
        kept = _kept(ref, access)
        if kept is None:
            raise
        return _with_note(kept, f"{error.message.rstrip('.')}: answered from {_origin(kept)}.")
    except GatedModelError as error:
        if _recorded(ref, access) is None:
            raise
        raise GatedModelError(
            error.message,
            hint=f"{error.hint} Without a token, --source recorded answers from facts that ship "
            "with hfmem.",
        ) from error


def _offline(ref: ModelRef, access: Access) -> Snapshot:
    kept = _kept(ref, access)
    if kept is None or (access.source == "hub" and kept.source != "cache"):
        raise _not_kept(ref, access)
    if kept.source == "cache":
        return kept
    return _with_note(kept, f"Offline: answered from {_origin(kept)}.")


def _not_kept(ref: ModelRef, access: Access) -> OfflineError:
    """The error for what is not there, or is there at another revision."""
    other = None if ref.revision is None else _kept(replace(ref, revision=None), access)
    if other is None or (access.source == "hub" and other.source != "cache"):
        return OfflineError(
            f"{ref.name} is not in the cache, and offline mode is on.",
            hint="Run it once with a network, or `hfmem record` it and pass --recorded DIR.",
        )
    return OfflineError(
        f"{ref.name} is not in the cache at {str(ref.revision)!r:.80}, only {_told_apart(other)}, "
        "and offline mode is on.",
        hint="Leave out the revision, or run it once with a network.",
    )


def _told_apart(found: Snapshot) -> str:
    """Which facts these are: ``facts of no known revision (bundled)``."""
    revision = f"revision {found.revision}" if found.revision else "no known revision"
    return f"facts of {revision} ({found.source})"


def _recorded_only(ref: ModelRef, access: Access) -> Snapshot:
    kept = _recorded(ref, access)
    if kept is None:
        _check_revision(ref, access)
        where = f"{access.recorded} and " if access.recorded else ""
        raise ModelNotFoundError(
            f"There are no recorded facts of {ref.name} in {where}the package.",
            hint="`hfmem record MODEL -o DIR` writes them; then pass --recorded DIR.",
        )
    return kept


def _check_revision(ref: ModelRef, access: Access) -> None:
    """Raise RevisionNotFoundError where there are recorded facts, but of other revisions."""
    from hfmem.source import recorded

    inside = recorded.find(ref.name, access.recorded) if access.recorded else None
    found = [one for one in (inside, recorded.bundled(ref.name)) if one is not None]
    if not found or any(ref.revision in (None, "main", one.revision) for one in found):
        return
    known = " and ".join(map(_told_apart, found))
    raise RevisionNotFoundError(
        f"There are no recorded facts of {ref.name} at {str(ref.revision)!r:.80}, only {known}.",
        hint="Leave out the revision, or `hfmem record MODEL --revision REV -o DIR` and pass "
        "--recorded DIR.",
    )


def _kept(ref: ModelRef, access: Access) -> Snapshot | None:
    """What can be had without a network: recorded, cached, bundled."""
    from hfmem.source import kept

    if access.recorded is not None:
        found = _from_folder(ref, access.recorded)
        if found is not None:
            return found
    cached = kept.last(ref)
    if cached is not None:
        return cached
    return _recorded(ref, access)


def _recorded(ref: ModelRef, access: Access) -> Snapshot | None:
    from hfmem.source import recorded

    if access.recorded is not None:
        found = _from_folder(ref, access.recorded)
        if found is not None:
            return found
    found = recorded.bundled(ref.name)
    return found if found and _is_of(found, ref) else None


def _from_folder(ref: ModelRef, folder: Path) -> Snapshot | None:
    from hfmem.source import recorded

    found = recorded.find(ref.name, folder)
    return found if found and _is_of(found, ref) else None


def _is_of(found: Snapshot, ref: ModelRef) -> bool:
    """Whether facts are of what was asked: those of one commit, or of one copy of the weights, must
    not answer for another.
    """
    if ref.revision not in (None, "main", found.revision):
        return False
    if not ref.names_a_part:
        return True
    from hfmem.source import kept

    return kept.recorded_answers(found, ref)


def _origin(snapshot: Snapshot) -> str:
    match snapshot.source:
        case "bundled":
            return "the facts that ship with hfmem"
        case "recorded":
            return "recorded facts"
        case "cache":
            return "the cache"
        case other:
            raise AssertionError(other)


def _with_note(snapshot: Snapshot, message: str) -> Snapshot:
    return replace(snapshot, notes=(*snapshot.notes, Note(code="fallback", message=message)))


def _offline_switch() -> bool:
    """HF_HUB_OFFLINE as huggingface_hub reads it (constants.py: is true for 1, on, yes, true)."""
    import os

    return any(
        os.environ.get(name, "").upper() in {"1", "ON", "YES", "TRUE"}
        for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE")
    )

"""The index of a sharded checkpoint: which files it names."""

from __future__ import annotations

from hfmem.checkpoint import strict_json
from hfmem.checkpoint.weight_sets import is_safe_name
from hfmem.errors import MalformedHeaderError

INDEX_CAP = 50_000_000
SHARD_CAP = 4096


def shard_names(raw: bytes, *, file: str) -> tuple[str, ...]:
    """The files of ``weight_map``, each once, relative to the index's folder; the tensors come from
    the headers.

    Raises MalformedHeaderError, also for a name that would leave the folder.
    """
    if len(raw) > INDEX_CAP:
        raise _malformed(file, f"it has {len(raw):,} bytes; hfmem reads at most {INDEX_CAP:,}")
    document = strict_json.loads(raw, what=f"{file!r:.120}", error=MalformedHeaderError)
    weights = document.get("weight_map") if isinstance(document, dict) else None
    if not isinstance(weights, dict) or not weights:
        raise _malformed(file, "it has no weight_map")
    names = dict.fromkeys(str(name) for name in weights.values())
    if len(names) > SHARD_CAP:
        raise _malformed(file, f"it names {len(names):,} files; hfmem reads at most {SHARD_CAP:,}")
    for name in names:
        if not is_safe_name(name) or not name.endswith(".safetensors"):
            raise _malformed(file, f"it names the file {name!r:.120}")
    return tuple(names)


def _malformed(file: str, why: str) -> MalformedHeaderError:
    return MalformedHeaderError(
        f"{file!r:.120} is not a readable index: {why}.",
        hint="An index maps each tensor to a file beside it.",
    )

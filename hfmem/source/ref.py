"""Every way to name a model, told apart before anything is read.

Text that is written as a path (``./x``, ``/x``, ``~/x``, ``C:\\x``) is one. Anything else is a
repository of the Hub, unless a local file or a folder with a model in it has exactly that name:
then it is that, as ``from_pretrained`` does it, and a note says so.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Literal
from urllib.parse import unquote, urlsplit

from msgspec import Struct
from msgspec.structs import replace

from hfmem.checkpoint.loaders import DEFAULT, Pick
from hfmem.checkpoint.snapshot import Note
from hfmem.errors import ModelNotFoundError, UsageError

RefKind = Literal["hub", "folder", "config", "safetensors", "gguf", "torch"]

_HOSTS = frozenset({"huggingface.co", "www.huggingface.co", "hf.co"})
_OTHER_REPOSITORIES = ("datasets", "spaces", "kernels", "buckets")
_LOCATIONS = frozenset({"tree", "blob", "resolve", "raw", "blame"})
_WHOLE_MODEL_FILES = frozenset({"config.json", "model.safetensors.index.json", "README.md"})
_MODEL_FILES = ("config.json", "model_index.json", "params.json", "adapter_config.json")
_WEIGHTS = frozenset({".safetensors", ".gguf", ".bin", ".pt", ".pth"})
_LENGTH_CAP = 4096

# huggingface_hub 2.4.0, utils/_validators.py: validate_repo_id; the names may not start or end with
# "-" or ".", and what follows is what its last two checks refuse.
_WORD = r"(?=\w)[\w.-]{1,96}(?<=\w)"
_REPO_ID = re.compile(rf"(?:{_WORD}/)?{_WORD}", re.ASCII)
# git check-ref-format, as far as a character decides.
_REVISION = re.compile(r"[^\s~^:?*\[\\\x00-\x1f\x7f]{1,255}")
_QUANTIZATION = re.compile(r"[\w.-]{1,64}", re.ASCII)
_PULL_REQUEST = re.compile(r"refs/(?:pr/\d+|convert/[\w.-]+)", re.ASCII)
_DRIVE = re.compile(r"[A-Za-z]:[\\/]")


class ModelRef(Struct, frozen=True, kw_only=True):
    """Where a model is to be found."""

    kind: RefKind
    name: str
    """``org/name`` or ``name`` on the Hub; otherwise the path as it was given."""
    revision: str | None = None
    """Branch, tag, commit or ``refs/pr/N``; None is the default branch. Hub only."""
    quantization: str | None = None
    """One quantization of a GGUF repository (``Q4_K_M``), or the name of one of its files. Hub
    only.
    """
    path: Path | None = None
    """The folder or file; None on the Hub."""
    pick: Pick = DEFAULT
    """Which of its copies of the weights is asked for."""
    notes: tuple[Note, ...] = ()

    @property
    def names_a_part(self) -> bool:
        """Whether other files may be asked for than what is loaded unasked."""
        return any((self.quantization, self.pick.variant, self.pick.subfolder))


def parse(text: str, *, endpoint: str | None = None) -> ModelRef:
    """What MODEL names: ``parse("org/name@main").revision == "main"``.

    Takes ``org/name``, ``name``, either with ``@revision`` and ``:QUANT``, ``hf://…``, a URL of
    huggingface.co, of hf.co or of ``endpoint`` (default: the environment's HF_ENDPOINT), a folder,
    config.json, .safetensors, .gguf or .bin. Raises UsageError for what names no model, and
    ModelNotFoundError for a path that does not exist.
    """
    text = text.strip()
    if not text or len(text) > _LENGTH_CAP or not text.isprintable():
        raise UsageError(f"{text!r:.120} does not name a model.", hint=_HINT)
    if text.startswith("hf://"):
        return _from_uri(text)
    if (rest := _below_host(text, endpoint=endpoint)) is not None:
        return _from_url(rest, text=text)
    if "://" in text:
        raise UsageError(f"{text!r:.120} is not a URL of the Hub.", hint=_HINT)
    written_as_path = _is_written_as_path(text)
    path = _expanded(text) if written_as_path else Path(text)
    kind = _kind(path)
    if kind and (written_as_path or kind != "folder"):
        return ModelRef(kind=kind, name=text, path=path)
    if kind and _holds_model(path):
        return ModelRef(kind=kind, name=text, path=path, notes=(_local_note(text),))
    if written_as_path:
        _refuse_other_repositories(text.split("/"), text=text)
        raise ModelNotFoundError(
            f"There is no folder or file {text!r:.120}.", hint=_path_hint(text)
        )
    if text.endswith((".json", ".safetensors")):
        raise ModelNotFoundError(f"There is no file {text!r:.120} here.", hint=_PATH_HINT)
    return _from_id(text, text=text)


def is_repo_id(text: str) -> bool:
    """Whether the Hub could have a repository of this name: ``is_repo_id("gpt2")``.

    Equal to huggingface_hub's validate_repo_id, whose import takes longer than an estimate.
    """
    return bool(
        _REPO_ID.fullmatch(text)
        and "--" not in text
        and ".." not in text
        and not text.endswith(".git")
    )


_HINT = (
    "Write org/name, org/name@revision, a Hub URL, a folder, or a config.json, .safetensors or "
    ".gguf file."
)
_PATH_HINT = "Check the path; a repository of the Hub is written org/name."


def _is_written_as_path(text: str) -> bool:
    if text in {".", ".."} or text.startswith(("./", "../", "/", "~")):
        return True
    if "\\" in text or _DRIVE.match(text):
        return True
    name = text.partition("@")[0]
    return name.endswith("/") or name.count("/") > 1


def _path_hint(text: str) -> str:
    """What to do about a path that is not there; a slash at its end makes a path of a name."""
    name = text.removesuffix("/")
    if name != text and is_repo_id(name):
        return f"For the Hub's repository of that name leave out the slash at its end: {name}"
    return _PATH_HINT


def _expanded(text: str) -> Path:
    try:
        return Path(text).expanduser()
    except RuntimeError:
        raise UsageError(f"{text!r:.120} has no home folder.", hint=_PATH_HINT) from None


def _kind(path: Path) -> RefKind | None:
    """What lies there; None for nothing. A name that cannot be a path lies nowhere."""
    try:
        if path.is_dir():
            return "folder"
        if not path.exists():
            return None
    except OSError:
        return None
    match path.suffix.lower():
        case ".json" if not path.name.endswith(".index.json"):
            return "config"
        case ".safetensors":
            return "safetensors"
        case ".gguf":
            return "gguf"
        case ".bin" | ".pt" | ".pth":
            return "torch"
    raise UsageError(
        f"{str(path)!r:.120} is a file that hfmem does not read.",
        hint="Name the model's folder, its config.json, or a .safetensors, .gguf or .bin file.",
    )


def _holds_model(folder: Path) -> bool:
    try:
        if any((folder / name).is_file() for name in _MODEL_FILES):
            return True
        return any(item.suffix in _WEIGHTS for item in folder.iterdir())
    except OSError:
        return False


def _local_note(text: str) -> Note:
    return Note(
        code="local_folder",
        message=f"The folder {text!r} is read, not the Hub's repository of that name; "
        f"hf://{text} names that one.",
    )


def _below_host(text: str, *, endpoint: str | None) -> str | None:
    """The part of a URL below the Hub's root; None when it is no URL of the Hub."""
    endpoint = (endpoint or os.environ.get("HF_ENDPOINT") or "").rstrip("/")
    if endpoint and (text == endpoint or text.startswith(f"{endpoint}/")):
        return text[len(endpoint) :]
    scheme, separator, rest = text.partition("://")
    if separator and scheme.lower() not in {"http", "https"}:
        return None
    host, slash, below = (rest if separator else text).partition("/")
    return below if slash and host.lower() in _HOSTS else None


def _from_url(rest: str, *, text: str) -> ModelRef:
    try:
        segments = [unquote(part) for part in urlsplit(f"//x/{rest}").path.split("/") if part]
    except ValueError:
        raise UsageError(f"{text!r:.120} is not a URL of a model.", hint=_HINT) from None
    _refuse_other_repositories(segments, text=text)
    if segments[:1] == ["models"]:
        segments = segments[1:]
    # "gpt2/tree/main" has a location where an organisation's model would have its name.
    names = 1 if len(segments) > 1 and segments[1] in _LOCATIONS else 2
    name, location = "/".join(segments[:names]), segments[names:]
    if not location:
        return _from_id(name, text=text)
    if len(location) < 2 or location[0] not in _LOCATIONS:
        raise UsageError(f"{text!r:.120} is a page about a model, not the model.", hint=_HINT)
    revision, path = _split_revision("/".join(location[1:]))
    return _with_path(_hub(name, revision=revision, text=text), path, text=text)


def _from_uri(text: str) -> ModelRef:
    """hf://[models/]org/name[@revision][/path], as parse_hf_uri of huggingface_hub 2.4.0 does."""
    rest = text.removeprefix("hf://")
    segments = rest.split("/")
    _refuse_other_repositories(segments, text=text)
    if segments[0] == "models":
        rest = rest.removeprefix("models/")
    name, at, revision_and_path = rest.partition("@")
    if at:
        revision, path = _split_revision(revision_and_path)
        revision, colon, quantization = revision.partition(":")
        found = _hub(name, revision=revision, text=text)
        if colon:
            found = _quantized(found, quantization, text=text)
        return _with_path(found, path, text=text)
    segments = rest.split("/")
    return _with_path(
        _from_id("/".join(segments[:2]), text=text), "/".join(segments[2:]), text=text
    )


def _split_revision(text: str) -> tuple[str, str]:
    """Revision and path: a branch's own slashes are escaped, only ``refs/pr/N`` is written open."""
    if match := _PULL_REQUEST.match(text):
        return match[0], text[match.end() :].removeprefix("/")
    revision, _, path = text.partition("/")
    return unquote(revision), path


def _refuse_other_repositories(segments: Sequence[str], *, text: str) -> None:
    if segments and segments[0] in _OTHER_REPOSITORIES:
        raise UsageError(
            f"{text!r:.120} is one of the Hub's {segments[0]}, not a model.",
            hint="hfmem estimates models: write org/name of a model repository.",
        )


def _with_path(ref: ModelRef, path: str, *, text: str) -> ModelRef:
    if not path or path in _WHOLE_MODEL_FILES:
        return ref
    if path.endswith(".gguf") and ".." not in path.split("/"):
        return replace(ref, quantization=path)
    raise UsageError(
        f"{text!r:.120} names a part of a repository.",
        hint=f"Write {ref.name} for the model.",
    )


def _from_id(written: str, *, text: str) -> ModelRef:
    """org/name[@revision][:QUANT]; neither a name nor a revision can hold a colon."""
    written, colon, quantization = written.partition(":")
    name, at, revision = written.partition("@")
    ref = _hub(name, revision=revision if at else None, text=text)
    return _quantized(ref, quantization, text=text) if colon else ref


def _quantized(ref: ModelRef, quantization: str, *, text: str) -> ModelRef:
    if not _QUANTIZATION.fullmatch(quantization):
        raise UsageError(
            f"{text!r:.120} has no quantization after the colon.",
            hint="Write org/name:Q4_K_M for one quantization of a GGUF repository.",
        )
    return replace(ref, quantization=quantization)


def _hub(name: str, *, revision: str | None, text: str) -> ModelRef:
    if not is_repo_id(name):
        raise UsageError(f"{text!r:.120} does not name a model.", hint=_HINT)
    if revision is not None and (not _REVISION.fullmatch(revision) or ".." in revision):
        raise UsageError(
            f"{text!r:.120} has no valid revision.",
            hint="Write org/name@revision with a branch, a tag, a commit or refs/pr/N.",
        )
    return ModelRef(kind="hub", name=name, revision=revision)

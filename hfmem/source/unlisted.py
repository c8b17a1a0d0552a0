"""A model from config.json and the start of model.safetensors, without the list of its files.

The list costs a request of the Hub's smaller quota and as a rule says what the two answers say:
their commit and their sizes. It may also name files that change the answer, so it is done without
only where none of these can matter: a causal language model with its output head, in plain floating
point, of one commit, under the name that was asked for. Then transformers loads model.safetensors
whatever else lies beside it (modeling_utils.py: _get_resolved_checkpoint_files), no document beside
config.json describes a quantization, a processor or a pipeline, and the model is no first part of a
sentence-transformers one, which are saved without their heads. Everything else returns None, and
the list is asked for; nothing that has been read is asked for again.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from hfmem.checkpoint import strict_json
from hfmem.checkpoint.layout import weight_files
from hfmem.checkpoint.safetensors import Header
from hfmem.checkpoint.snapshot import Note, Snapshot
from hfmem.errors import HfmemError, InvalidValueError
from hfmem.source import headers
from hfmem.source.containers import contents
from hfmem.source.crew import Crew
from hfmem.source.downloaded import repo_files
from hfmem.source.headers import Reading
from hfmem.source.listing import ListedFile, Listing, is_commit, is_object_id
from hfmem.source.opening import CONFIG, WEIGHTS, Opening
from hfmem.source.patience import Deadline
from hfmem.source.ref import ModelRef
from hfmem.source.transport import Answer
from hfmem.source.wire import Wire

_HEADS: Final = ("ForCausalLM", "LMHeadModel")
_HEAD_TENSORS: Final = ("lm_head.weight", "embed_out.weight")
_BASES: Final = ("model.", "transformer.", "gpt_neox.", "backbone.")
_PLAIN: Final = frozenset({"F32", "F16", "BF16"})
_HARMLESS: Final = frozenset(
    {"auto_map", "id2label", "label2id", "rope_parameters", "rope_scaling", "task_specific_params"}
)
"""Objects in a configuration that say nothing of another part or another file."""
_OTHER_LOADERS: Final = ("mistral", "ministral")
"""Model types whose repositories hold a second set of weights, which vLLM prefers."""
_NOTE: Final = Note(
    code="unlisted",
    message="The list of the repository's files was not asked for, to spare the Hub's quota: how "
    "large the whole repository is stays unknown.",
)


def find(
    wire: Wire, ref: ModelRef, opening: Opening, *, crew: Crew, deadline: Deadline
) -> Snapshot | None:
    """The model, or None where only the list can tell what it is.

    Raises what reading the rest of a long header raises, and TimeoutError.
    """
    config = opening.config.result(deadline.margin())
    weights = opening.weights.result(deadline.margin())
    other = ref.names_a_part or ref.pick.loader.gguf_first
    if other or config is None or weights is None:
        return None
    commit, size = config.commit, weights.file_bytes
    if not is_commit(commit) or commit != weights.commit:
        return None
    # The endpoint's own word and that of the host with the bytes.
    if size is None or weights.linked.get("x-linked-size") != str(size):
        return None
    if not (_is_of(config, ref.name) and _is_of(weights, ref.name)):
        return None
    document = _document(config)
    if document is None or not _is_plain(document):
        return None
    listing = Listing(
        model=ref.name,
        commit=commit,
        restricted=True,
        disabled=False,
        files=(
            ListedFile(name=CONFIG, bytes=len(config.body), object_id=None),
            ListedFile(name=WEIGHTS, bytes=size, object_id=_object_id(weights)),
        ),
    )
    reading = Reading(
        wire=wire, listing=listing, on_main=False, crew=crew, deadline=deadline, opening=opening
    )
    return _snapshot(reading, document)


def _snapshot(reading: Reading, config: Mapping[str, object]) -> Snapshot | None:
    found = reading.listing
    files = repo_files(found.files, model=found.model, commit=found.commit)
    weights = weight_files(files, config=config)
    if weights is None:
        return None
    read = headers.read(reading, weights.files)
    if not _has_head(read[WEIGHTS], config):
        return None
    checked = contents(
        weights, lambda wanted: read[wanted.file.name], model=found.model, has_config=True
    )
    return Snapshot(
        model=found.model,
        revision=found.commit,
        source="hub",
        config=config,
        documents={},
        files=files,
        checkpoint=checked.checkpoint,
        notes=(*weights.notes, *checked.notes, _NOTE),
        listed=False,
    )


def _is_of(answer: Answer, name: str) -> bool:
    """Whether the Hub answered under the name that was asked for; another one is the model's own,
    or that of its folder of names without an owner.
    """
    return "/" in name and all(f"/{name}/" in path for path in answer.paths)


def _object_id(answer: Answer) -> str | None:
    found = answer.linked.get("x-linked-etag", "").strip('"')
    return found if is_object_id(found) else None


def _document(answer: Answer) -> Mapping[str, object] | None:
    try:
        found = strict_json.loads(answer.body, what=CONFIG, error=InvalidValueError)
    except HfmemError:
        return None
    return found if isinstance(found, dict) else None


def _is_plain(config: Mapping[str, object]) -> bool:
    """Whether a configuration is that of a language model alone, as it was trained."""
    model_type = config.get("model_type")
    if not isinstance(model_type, str) or any(name in model_type for name in _OTHER_LOADERS):
        return False
    if "transformers_weights" in config:
        return False
    if any(isinstance(value, dict) and key not in _HARMLESS for key, value in config.items()):
        return False
    match config.get("architectures"):
        case [str(name)]:
            return name.endswith(_HEADS)
        case _:
            return False


def _has_head(header: Header, config: Mapping[str, object]) -> bool:
    """Whether plain tensors make a whole causal language model."""
    names = [tensor.name for tensor in header.tensors]
    if any(tensor.dtype not in _PLAIN for tensor in header.tensors):
        return False
    if any("scale" in name or "lora" in name for name in names):
        return False
    if any(name.endswith(_HEAD_TENSORS) for name in names):
        return True
    tied = config.get("tie_word_embeddings") is True
    return tied and bool(names) and all(name.startswith(_BASES) for name in names)

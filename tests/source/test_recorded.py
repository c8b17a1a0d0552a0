"""The recorded format, read and written."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from msgspec.structs import replace

from hfmem.checkpoint.snapshot import Checkpoint, Note, RepoFile, Snapshot
from hfmem.checkpoint.tensor import Tensor, runs, total_bytes
from hfmem.dtypes import BITS
from hfmem.errors import (
    HfmemError,
    InvalidValueError,
    MissingKeyError,
    ModelNotFoundError,
    UsageError,
)
from hfmem.source import recorded

# The example of the format's definition.
EXAMPLE: dict[str, Any] = {
    "schema_version": 1,
    "model": "lmms-lab/LLaVA-Video-72B-Qwen2",
    "revision": None,
    "recorded": "2026-11-20",
    "origin": "reconstructed",
    "origin_note": "from the published configuration",
    "config": {"hidden_size": 8192},
    "files": [{"name": "model-{00001..00031}-of-00031.safetensors", "bytes": None}],
    "tensors": [
        ["model.embed_tokens.weight", "BF16", [152064, 8192]],
        ["model.layers.{0..79}.self_attn.k_proj.weight", "BF16", [1024, 8192]],
    ],
}


def text(**changes: object) -> str:
    """The example with other values; an Ellipsis leaves a key out."""
    return json.dumps(
        {key: value for key, value in (EXAMPLE | changes).items() if value is not ...}
    )


def test_the_example() -> None:
    found = recorded.read(text())
    assert found.model == "lmms-lab/LLaVA-Video-72B-Qwen2"
    assert (found.revision, found.source) == (None, "recorded")
    assert found.config == {"hidden_size": 8192}
    assert len(found.files) == 31
    assert found.files[30] == RepoFile(name="model-00031-of-00031.safetensors", bytes=None)
    assert found.checkpoint is not None
    assert found.checkpoint.files == tuple(file.name for file in found.files)
    embedding, keys = found.checkpoint.tensors
    assert (embedding.count, embedding.bytes) == (1, 152064 * 8192 * 2)
    assert (keys.count, keys.bytes, keys.indices()) == (80, 1024 * 8192 * 2, range(80))
    assert {note.code: note.message for note in found.notes} == {
        "reconstructed": "from the published configuration",
    }


def test_version_model_and_one_fact_are_required() -> None:
    found = recorded.read('{"schema_version": 1, "model": "gpt2", "config": {"n_embd": 768}}')
    assert found == Snapshot(
        model="gpt2",
        revision=None,
        source="recorded",
        config={"n_embd": 768},
        documents={},
        files=(),
        checkpoint=None,
    )


@pytest.mark.parametrize(
    "nothing",
    [
        {},
        {"tensors": []},
        {"tensors": None},
        {"config": {}, "files": []},
        {"recorded": "2026-11-20"},
    ],
)
def test_a_record_of_nothing_is_refused(nothing: dict[str, object]) -> None:
    with pytest.raises(MissingKeyError, match="records nothing of the model") as caught:
        recorded.read(json.dumps({"schema_version": 1, "model": "a/b"} | nothing))
    assert caught.value.hint


@pytest.mark.parametrize("key", ["schema_version", "model"])
def test_a_missing_key(key: str) -> None:
    with pytest.raises(MissingKeyError, match=key):
        recorded.read(text(**{key: ...}))


@pytest.mark.parametrize(
    ("changes", "because"),
    [
        ({"schema_version": 2}, "schema_version"),
        ({"schema_version": True}, "schema_version"),
        ({"schema_version": "1"}, "schema_version"),
        ({"model": ""}, "'model'"),
        ({"model": 1}, "'model'"),
        ({"revision": 1}, "'revision'"),
        ({"recorded": "yesterday"}, "no date"),
        ({"recorded": "2026-13-01"}, "no date"),
        ({"origin": "elsewhere"}, "origin"),
        ({"origin_note": []}, "origin_note"),
        ({"config": []}, "config"),
        ({"documents": {"a.json": []}}, "a.json"),
        ({"notes": [{"code": "x"}]}, "note"),
        ({"notes": [{"code": "x", "message": 1}]}, "'message'"),
        ({"metadata": {"a": 1}}, "metadata"),
        ({"surprise": 1}, "'surprise'"),
        ({"files": {}}, "files"),
        ({"files": ["x"]}, "files"),
        ({"files": [{"name": "x", "size": 1}]}, "files"),
        ({"files": [{"bytes": 1}]}, "files"),
        ({"files": [{"name": 1}]}, "name"),
        ({"files": [{"name": "x", "bytes": -1}]}, "-1 bytes"),
        ({"files": [{"name": "x", "bytes": True}]}, "True bytes"),
        ({"files": [{"name": "x"}, {"name": "x"}]}, "twice"),
        ({"files": [{"name": "{0..999999999}"}]}, "100,000 files"),
        ({"files": [{"name": "{2..1}"}]}, "backwards"),
        ({"files": [{"name": "{a..b}"}]}, "brace"),
        ({"weight_files": [1]}, "file's name"),
        ({"tensors": {}}, "tensors"),
        ({"tensors": ["x"]}, "name, dtype, shape"),
        ({"tensors": [["x", "F32"]]}, "name, dtype, shape"),
        ({"tensors": [[1, "F32", [1]]]}, "name"),
        ({"tensors": [["x", 1, [1]]]}, "dtype"),
        ({"tensors": [["x", "", [1]]]}, "dtype"),
        ({"tensors": [["x", "F32", 1]]}, "shape"),
        ({"tensors": [["x", "F32", [-1]]]}, "size"),
        ({"tensors": [["x", "F32", [True]]]}, "size"),
        ({"tensors": [["x", "F32", [1.0]]]}, "size"),
        ({"tensors": [["x", "F32", [1], 8]]}, "other bytes"),
        ({"tensors": [["x", "F4", [3]]]}, "other bytes"),
        ({"tensors": [["x", "F3_E1M1", [8]]]}, "unknown"),
        ({"tensors": [["x{0..1", "F32", [1]]]}, "brace"),
        ({"tensors": [["x{00..01}", "F32", [1]]]}, "leading zero"),
        ({"tensors": [["x{3..1}", "F32", [1]]]}, "backwards"),
        ({"tensors": [["x.{0..999999999}", "F32", [1]]]}, "1,000,000 tensors"),
        ({"tensors": [["x.{0..999999}", "F32", [1]], ["y", "F32", [1]]]}, "1,000,000 tensors"),
        ({"tensors": [["x.{0..3}", "F32", [1]], ["x.{3..4}", "F32", [2]]]}, "'x.3' twice"),
        ({"tensors": [["x", "F32", [1]], ["x", "F32", [1]]]}, "'x' twice"),
        ({"tensors": [["x", "F32", [2**52, 2**52]]]}, "more bytes"),
    ],
)
def test_refused(changes: dict[str, object], because: str) -> None:
    with pytest.raises(InvalidValueError) as caught:
        recorded.read(text(**changes))
    assert because in caught.value.message
    assert caught.value.hint


@pytest.mark.parametrize(
    "raw", ["", "[]", "null", "{", '{"model": NaN}', '{"a": 1, "a": 1}', "\ud800"]
)
def test_no_document(raw: str) -> None:
    with pytest.raises(InvalidValueError):
        recorded.read(raw)


def test_an_unknown_dtype_has_its_bytes_written_down() -> None:
    found = recorded.read(text(tensors=[["x.{0..1}", "F3_E1M1", [16], 6]]))
    assert found.checkpoint is not None
    assert total_bytes(found.checkpoint.tensors) == 12
    assert '["x.{0..1}", "F3_E1M1", [16], 6]' in recorded.write(found)


def test_written_for_people() -> None:
    written = recorded.write(recorded.read(text()), on="2026-11-20")
    assert written == (
        "{\n"
        '"schema_version": 1,\n'
        '"model": "lmms-lab/LLaVA-Video-72B-Qwen2",\n'
        '"revision": null,\n'
        '"recorded": "2026-11-20",\n'
        '"origin": "reconstructed",\n'
        '"origin_note": "from the published configuration",\n'
        '"config": {\n'
        '  "hidden_size": 8192\n'
        "},\n"
        '"files": [\n'
        '  {"name": "model-{00001..00031}-of-00031.safetensors", "bytes": null}\n'
        "],\n"
        '"tensors": [\n'
        '  ["model.embed_tokens.weight", "BF16", [152064, 8192]],\n'
        '  ["model.layers.{0..79}.self_attn.k_proj.weight", "BF16", [1024, 8192]]\n'
        "]\n"
        "}\n"
    )


def test_files_read_against_the_rule_are_kept() -> None:
    files = tuple(RepoFile(name=name, bytes=10) for name in ("a.safetensors", "b.safetensors"))
    found = replace(recorded.read(text()), files=files)
    assert found.checkpoint is not None
    found = replace(found, checkpoint=replace(found.checkpoint, files=("b.safetensors",)))
    again = recorded.read(recorded.write(found))
    assert again.checkpoint is not None
    assert again.checkpoint.files == ("b.safetensors",)


words = st.text(
    alphabet=st.characters(exclude_characters="{}", exclude_categories=["Cs"]), max_size=8
)
tensors = st.dictionaries(
    st.lists(
        st.sampled_from(["layers", "0", "1", "2", "10", "w", "01"]), min_size=1, max_size=4
    ).map(".".join)
    | words,
    st.tuples(
        st.sampled_from(sorted(dtype for dtype, bits in BITS.items() if bits % 8 == 0)),
        st.lists(st.integers(0, 3), max_size=3),
    ),
    max_size=12,
)
documents = st.dictionaries(
    words,
    st.none() | st.booleans() | st.integers(-(2**64), 2**64) | st.floats(allow_nan=False) | words,
    max_size=3,
)
names = words.filter(bool) | st.integers(1, 12).map(lambda n: f"model-{n:05d}-of-00012.safetensors")
snapshots = st.builds(
    Snapshot,
    model=st.just("org/name"),
    revision=st.none() | words.filter(bool),
    source=st.just("recorded"),
    config=st.none() | documents,
    documents=st.dictionaries(words, documents, max_size=2),
    files=st.dictionaries(names, st.none() | st.integers(0, 2**40)).map(
        lambda found: tuple(RepoFile(name=name, bytes=size) for name, size in found.items())
    ),
    checkpoint=st.none()
    | st.builds(
        Checkpoint,
        files=st.lists(names, unique=True, max_size=3).map(tuple),
        tensors=tensors.map(
            lambda found: runs(
                Tensor(name, dtype, tuple(shape), _bytes(dtype, shape))
                for name, (dtype, shape) in found.items()
            )
        ),
        metadata=st.dictionaries(words, words, max_size=2),
    ),
    notes=st.lists(st.builds(Note, code=st.just("x"), message=words.filter(bool)), max_size=2).map(
        tuple
    ),
)


def _bytes(dtype: str, shape: list[int]) -> int:
    size = BITS[dtype] // 8
    for dimension in shape:
        size *= dimension
    return size


@given(snapshots)
def test_round_trip(found: Snapshot) -> None:
    tensors = found.checkpoint is not None and found.checkpoint.tensors
    assume(found.config or found.documents or found.files or tensors)
    written = recorded.write(found, on="2026-11-20")
    again = recorded.read(written)
    date = Note(code="recorded", message="The facts were recorded on 2026-11-20.")
    assert again == replace(found, notes=(*found.notes, date))
    assert recorded.write(again, on="2026-11-20") == written


@given(st.text(max_size=60) | documents.map(json.dumps))
def test_arbitrary_text_raises_promised_errors_only(raw: str) -> None:
    try:
        recorded.read(raw)
    except HfmemError:
        return
    assert json.loads(raw)["schema_version"] == 1


def test_find(tmp_path: Path) -> None:
    path = tmp_path / "lmms-lab--LLaVA-Video-72B-Qwen2.json"
    path.write_text(text())
    assert recorded.file_name("lmms-lab/LLaVA-Video-72B-Qwen2") == path.name
    assert recorded.find("lmms-lab/LLaVA-Video-72B-Qwen2", tmp_path) == recorded.read(path)
    assert recorded.find("lmms-lab/other", tmp_path) is None
    assert recorded.find("../../etc/passwd", tmp_path) is None
    (tmp_path / "gpt2.json").write_text(text())
    with pytest.raises(InvalidValueError, match="another model"):
        recorded.find("gpt2", tmp_path)
    with pytest.raises(UsageError, match="no folder"):
        recorded.find("gpt2", tmp_path / "absent")


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ModelNotFoundError):
        recorded.read(tmp_path / "absent.json")


def test_a_file_name_stays_in_its_folder() -> None:
    assert recorded.file_name("./models/../x y") == "models--..--x-y.json"


def test_bundled_models() -> None:
    for name in recorded.bundled_names():
        found = recorded.bundled(name.upper())
        assert found is not None
        assert (found.model, found.source) == (name, "bundled")
        assert found.config is not None
    assert recorded.bundled("org/absent") is None

"""The header reader against the reference implementation, and against what strangers write."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors
from hypothesis import example, given
from hypothesis import strategies as st
from safetensors.numpy import save

from hfmem.checkpoint.safetensors import (
    HEADER_CAP,
    PREFIX_BYTES,
    Header,
    header_length,
    headers_from_metadata,
    parse_header,
    read_file,
)
from hfmem.checkpoint.tensor import Tensor
from hfmem.errors import MalformedHeaderError, ModelNotFoundError

NAME = "model.safetensors"


def parse(raw: bytes, data: int) -> Header:
    return parse_header(raw, file=NAME, file_bytes=PREFIX_BYTES + len(raw) + data)


def whole_file(raw: bytes, data: int) -> bytes:
    return len(raw).to_bytes(PREFIX_BYTES, "little") + raw + bytes(data)


def reference_accepts(raw: bytes, data: int) -> bool:
    try:
        safetensors.deserialize(whole_file(raw, data))
    except safetensors.SafetensorError:
        return False
    return True


def entry(dtype: str = "F32", shape: object = (2,), offsets: object = (0, 8)) -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": offsets}


def dump(value: object) -> bytes:
    return json.dumps(value).encode()


# Headers that the reference (safetensors 0.8.0) reads.
GOOD: dict[str, tuple[bytes, int]] = {
    "empty": (b"{}", 0),
    "one": (dump({"a": entry()}), 8),
    "scalar": (dump({"a": entry(shape=[], offsets=[0, 4])}), 4),
    "no elements": (dump({"a": entry(shape=[0, 3], offsets=[0, 0])}), 0),
    "two empty ones at one place": (
        dump({"a": entry(shape=[0], offsets=[0, 0]), "b": entry(shape=[0], offsets=[0, 0])}),
        0,
    ),
    "an empty one before a full one": (
        dump({"b": entry(), "a": entry(shape=[0], offsets=[0, 0])}),
        8,
    ),
    "out of order": (dump({"b": entry(offsets=[8, 16]), "a": entry()}), 16),
    "F4": (dump({"a": entry("F4", [4], [0, 2])}), 2),
    "F6": (dump({"a": entry("F6_E2M3", [4], [0, 3])}), 3),
    "a nameless one": (dump({"": entry()}), 8),
    "a terminal escape in a name": (dump({"\x1b[31mred": entry()}), 8),
    "markup in a name": (dump({"[link=x]y[/link]": entry()}), 8),
    "an astral name": (b'{"\\ud83d\\ude00": ' + dump(entry()) + b"}", 8),
    "no metadata": (dump({"__metadata__": None, "a": entry()}), 8),
    "metadata": (dump({"__metadata__": {"format": "pt"}, "a": entry()}), 8),
    "padding": (dump({"a": entry()}) + b"     ", 8),
    "leading space": (b" " + dump({"a": entry()}), 8),
    "fields in another order": (
        b'{"a":{"data_offsets":[0,8],"shape":[2],"dtype":"F32"}}',
        8,
    ),
    "one more field": (dump({"a": entry() | {"note": [1, {"x": "y"}]}}), 8),
}
# Headers that the reference refuses.
BAD: dict[str, tuple[bytes, int]] = {
    "overlap": (dump({"a": entry(), "b": entry(offsets=[4, 12])}), 12),
    "twice the same place": (dump({"a": entry(), "b": entry()}), 8),
    "hole": (dump({"a": entry(), "b": entry(offsets=[12, 20])}), 20),
    "start above zero": (dump({"a": entry(offsets=[4, 12])}), 12),
    "trailing bytes": (dump({"a": entry()}), 9),
    "short file": (dump({"a": entry()}), 7),
    "end before start": (dump({"a": entry(shape=[0], offsets=[0, -1])}), 0),
    "negative size": (dump({"a": entry(shape=[-2])}), 8),
    "two negative sizes": (dump({"a": entry(shape=[-1, -2])}), 8),
    "float size": (dump({"a": entry(shape=[2.0])}), 8),
    "boolean size": (dump({"a": entry("U8", [True], [0, 1])}), 1),
    "boolean offset": (dump({"a": entry("U8", [1], [False, True])}), 1),
    "text size": (dump({"a": entry(shape=["2"])}), 8),
    "text shape": (dump({"a": entry(shape="2")}), 8),
    "nested shape": (dump({"a": entry(shape=[[2]])}), 8),
    "null size": (dump({"a": entry(shape=[None])}), 8),
    "overflow": (dump({"a": entry(shape=[2**32, 2**32, 2])}), 8),
    "overflow that comes to zero": (dump({"a": entry(shape=[2**63, 2**63, 0], offsets=[0, 0])}), 0),
    "size does not match": (dump({"a": entry(shape=[3])}), 8),
    "F4 of an odd number": (dump({"a": entry("F4", [3], [0, 2])}), 2),
    "three offsets": (dump({"a": entry(offsets=[0, 8, 8])}), 8),
    "one offset": (dump({"a": entry(offsets=[0])}), 8),
    "offsets are an object": (dump({"a": entry(offsets={"0": 8})}), 8),
    "no dtype": (b'{"a":{"shape":[2],"data_offsets":[0,8]}}', 8),
    "no shape": (b'{"a":{"dtype":"F32","data_offsets":[0,8]}}', 8),
    "no offsets": (b'{"a":{"dtype":"F32","shape":[2]}}', 8),
    "dtype twice": (b'{"a":{"dtype":"F32","dtype":"F32","shape":[2],"data_offsets":[0,8]}}', 8),
    "numeric dtype": (b'{"a":{"dtype":0,"shape":[2],"data_offsets":[0,8]}}', 8),
    "null dtype": (b'{"a":{"dtype":null,"shape":[2],"data_offsets":[0,8]}}', 8),
    "a text for a tensor": (dump({"a": "tensor"}), 0),
    "null for a tensor": (dump({"a": None}), 0),
    "NaN for a tensor": (b'{"a": NaN}', 0),
    "a list": (b"[]", 0),
    "a text": (b'"header"', 0),
    "null": (b"null", 0),
    "nothing": (b"", 0),
    "no JSON": (b"\x80\x04\x95", 0),
    "truncated": (b'{"a":{"dtype":"F32"', 8),
    "two values": (b"{}{}", 0),
    "a trailing comma": (b'{"a":' + dump(entry()) + b",}", 8),
    "byte order mark": (b"\xef\xbb\xbf{}", 0),
    "UTF-16": ("{}".encode("utf-16"), 0),
    "invalid UTF-8": (b'{"\xff":' + dump(entry()) + b"}", 8),
    "half a surrogate pair in a name": (b'{"\\ud800":' + dump(entry()) + b"}", 8),
    "half a surrogate pair in the metadata": (b'{"__metadata__":{"k":"\\udfff"}}', 0),
    "metadata of numbers": (dump({"__metadata__": {"k": 1}}), 0),
    "metadata as a list": (dump({"__metadata__": ["k"]}), 0),
    "metadata twice": (b'{"__metadata__":{},"__metadata__":{}}', 0),
    "deep nesting": (b'{"a":' + b"[" * 100_000, 0),
    "deep nesting in an ignored field": (
        b'{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8],"x":'
        + b"[" * 200
        + b"]" * 200
        + b"}}",
        8,
    ),
    "a long integer": (
        b'{"a":{"dtype":"F32","shape":[' + b"9" * 5000 + b'],"data_offsets":[0,8]}}',
        8,
    ),
    "a number out of range in an ignored field": (
        b'{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8],"x":1e999}}',
        8,
    ),
    "a control character": (b'{"a\n":' + dump(entry()) + b"}", 8),
}

# Headers that the reference reads and hfmem refuses.
STRICTER: dict[str, tuple[bytes, int]] = {
    # The format's text forbids it; the reference keeps the last, another reader the first.
    "a tensor twice": (b'{"a":' + dump(entry()) + b',"a":' + dump(entry()) + b"}", 8),
    "a key twice in an ignored field": (
        b'{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8],"x":{"k":1,"k":2}}}',
        8,
    ),
    # serde takes a list for a struct; no other reader does.
    "a list for a tensor": (dump({"a": ["F32", [2], [0, 8]]}), 8),
    "a long name": (dump({"a" * 5000: entry()}), 8),
    "a name that is long in UTF-8": (
        json.dumps({"é" * 2500: entry()}, ensure_ascii=False).encode(),
        8,
    ),
    "many dimensions": (dump({"a": entry(shape=[2] + [1] * 100)}), 8),
}


@pytest.mark.parametrize("case", GOOD)
def test_reads_what_the_reference_reads(case: str) -> None:
    raw, data = GOOD[case]
    assert reference_accepts(raw, data)
    found = parse(raw, data)
    assert sum(tensor.bytes for tensor in found.tensors) == data
    assert found.notes == ()


@pytest.mark.parametrize("case", BAD)
def test_refuses_what_the_reference_refuses(case: str) -> None:
    raw, data = BAD[case]
    assert not reference_accepts(raw, data)
    with pytest.raises(MalformedHeaderError) as caught:
        parse(raw, data)
    assert NAME in caught.value.message
    assert caught.value.hint
    assert len(caught.value.message) < 400
    assert caught.value.message.isprintable()


@pytest.mark.parametrize("case", STRICTER)
def test_refuses_what_is_ambiguous_or_absurd(case: str) -> None:
    raw, data = STRICTER[case]
    assert reference_accepts(raw, data)
    with pytest.raises(MalformedHeaderError):
        parse(raw, data)


def test_tensors_come_in_file_order_with_their_metadata() -> None:
    header = {"__metadata__": {"format": "pt"}, "b": entry(offsets=[8, 16]), "a": entry("I64", [])}
    header["a"]["data_offsets"] = [0, 8]
    found = parse(dump(header), 16)
    assert found.tensors == (Tensor("a", "I64", (), 8), Tensor("b", "F32", (2,), 8))
    assert found.metadata == {"format": "pt"}


def test_an_unknown_dtype_is_sized_by_its_place() -> None:
    found = parse(
        dump({"a": entry("F3_E1M1", [16], [0, 6]), "b": entry("F3_E1M1", [16], [6, 12])}), 12
    )
    assert [tensor.bytes for tensor in found.tensors] == [6, 6]
    assert [note.code for note in found.notes] == ["unknown_dtype"]
    assert "2 tensors" in found.notes[0].message


@pytest.mark.parametrize("dtype", ["", "x" * 33, "F32\x1b[31m", "é"])
def test_an_unprintable_dtype_is_refused(dtype: str) -> None:
    with pytest.raises(MalformedHeaderError):
        parse(dump({"a": entry(dtype)}), 8)


def test_an_unknown_dtype_cannot_claim_more_elements_than_bits() -> None:
    with pytest.raises(MalformedHeaderError, match="claims 65 elements in 8 bytes"):
        parse(dump({"a": entry("F3_E1M1", [65])}), 8)


@pytest.mark.parametrize(
    ("prefix", "file_bytes", "because"),
    [
        (b"", 0, "0 bytes"),
        (b"\x01\x02\x03\x04", 4, "4 bytes"),
        ((HEADER_CAP + 1).to_bytes(8, "little"), 10**9, "25,000,000"),
        (bytes([255] * 8), 10**9, "18,446,744,073,709,551,615"),
        ((17).to_bytes(8, "little"), 24, "whole file has 24"),
        (b"version https://git-lfs.github.com/spec/v1\n"[:8], 134, "Git LFS pointer"),
    ],
)
def test_header_length_refused(prefix: bytes, file_bytes: int, because: str) -> None:
    with pytest.raises(MalformedHeaderError, match=because):
        header_length(prefix, file=NAME, file_bytes=file_bytes)


def test_header_length_at_its_limits() -> None:
    longest = HEADER_CAP.to_bytes(8, "little")
    assert header_length(longest, file=NAME, file_bytes=8 + HEADER_CAP) == HEADER_CAP
    assert header_length(bytes(8), file=NAME, file_bytes=8) == 0


def test_a_header_above_the_cap_is_not_parsed() -> None:
    with pytest.raises(MalformedHeaderError, match="25,000,000"):
        parse(b" " * (HEADER_CAP + 1), 0)


DTYPES = {
    "BOOL": np.bool_,
    "U8": np.uint8,
    "I8": np.int8,
    "I16": np.int16,
    "U16": np.uint16,
    "F16": np.float16,
    "I32": np.int32,
    "U32": np.uint32,
    "F32": np.float32,
    "C64": np.complex64,
    "F64": np.float64,
    "I64": np.int64,
    "U64": np.uint64,
}
shapes = st.lists(st.integers(0, 5), max_size=4)
tensors = st.dictionaries(
    st.text(max_size=12).filter(lambda name: name != "__metadata__"),
    st.tuples(st.sampled_from(sorted(DTYPES)), shapes),
    max_size=8,
)


# safetensors 0.8.0 writes no tensors with empty metadata as a header that it does not read itself.
metadatas = st.none() | st.dictionaries(st.text(max_size=8), st.text(max_size=8), min_size=1)


@given(tensors, metadatas)
def test_equals_what_the_reference_wrote(
    expected: dict[str, tuple[str, list[int]]], metadata: dict[str, str] | None
) -> None:
    arrays = {name: np.zeros(shape, DTYPES[dtype]) for name, (dtype, shape) in expected.items()}
    written = save(arrays, metadata=metadata)
    length = header_length(written[:8], file=NAME, file_bytes=len(written))
    header = parse_header(written[8 : 8 + length], file=NAME, file_bytes=len(written))
    found = {tensor.name: (tensor.dtype, list(tensor.shape)) for tensor in header.tensors}
    assert found == expected
    assert header.metadata == (metadata or {})
    sizes = {tensor.name: tensor.bytes for tensor in header.tensors}
    assert sizes == {name: array.nbytes for name, array in arrays.items()}


def accepted(raw: bytes, data: int) -> Header | None:
    """The header, or None; any other error than the one that is promised fails the test."""
    try:
        return parse(raw, data)
    except MalformedHeaderError:
        return None


@given(st.binary(max_size=200), st.integers(0, 64))
@example(b"{}", 0)
def test_arbitrary_bytes(raw: bytes, data: int) -> None:
    found = accepted(raw, data)
    assert found is None or reference_accepts(raw, data)


mutations = st.lists(
    st.tuples(
        st.integers(0, 400), st.sampled_from([b"", b"0", b"-", b'"', b"]", b"{", b",", b"9", b"e"])
    ),
    min_size=1,
    max_size=3,
)


@given(st.sampled_from(sorted(GOOD)), mutations)
def test_mutated_headers(case: str, changes: list[tuple[int, bytes]]) -> None:
    raw, data = GOOD[case]
    for place, new in changes:
        place %= len(raw) + 1
        raw = raw[:place] + new + raw[place + 1 :]
    found = accepted(raw, data)
    if found is not None and not found.notes:
        assert reference_accepts(raw, data)


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=6),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3)
    ),
    max_leaves=6,
)


@given(
    st.dictionaries(
        st.sampled_from(["a", "b", "__metadata__"]),
        values
        | st.fixed_dictionaries(
            {
                "dtype": st.sampled_from(["F32", "F4"]) | values,
                "shape": values,
                "data_offsets": values,
            },
            optional={"x": values},
        )
        | st.just({"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}),
        max_size=3,
    ),
    st.sampled_from([0, 8]),
)
def test_arbitrary_values(header: dict[str, object], data: int) -> None:
    raw = dump(header)
    found = accepted(raw, data)
    if found is not None and not found.notes:
        assert reference_accepts(raw, data)


def sharded(*headers: tuple[str, dict[str, Any], int]) -> tuple[bytes, dict[str, int]]:
    """The Hub's answer for shards of (name, header, bytes of data), and their sizes."""
    answer = {"index": {"metadata": {}}, "headers": {name: header for name, header, _ in headers}}
    sizes = {name: 8 + len(dump(header)) + data for name, header, data in headers}
    return dump(answer), sizes


def test_headers_from_metadata() -> None:
    raw, sizes = sharded(("1.safetensors", {"a": entry()}, 8), ("2.safetensors", {"b": entry()}, 8))
    found = headers_from_metadata(raw, file_bytes=sizes)
    assert {name: header.tensors for name, header in found.items()} == {
        "1.safetensors": (Tensor("a", "F32", (2,), 8),),
        "2.safetensors": (Tensor("b", "F32", (2,), 8),),
    }


@pytest.mark.parametrize("change", [-70, 10**8])
def test_headers_from_metadata_must_leave_room_for_a_header(change: int) -> None:
    raw, sizes = sharded(("1.safetensors", {"a": entry()}, 8))
    with pytest.raises(MalformedHeaderError, match=r"1\.safetensors"):
        headers_from_metadata(raw, file_bytes={name: size + change for name, size in sizes.items()})


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"[]",
        b"{}",
        b'{"headers": null}',
        b'{"headers": [1]}',
        b'{"headers": {"1.safetensors": []}}',
        b'{"headers": {}, "headers": {}}',
        b'{"headers": {"1.safetensors": {}, "1.safetensors": {}}}',
        b'{"headers": {"other.safetensors": {}}}',
        b"<html>",
    ],
)
def test_headers_from_metadata_refused(raw: bytes) -> None:
    with pytest.raises(MalformedHeaderError):
        headers_from_metadata(raw, file_bytes={"1.safetensors": 100})


@pytest.mark.parametrize("case", BAD)
def test_headers_from_metadata_has_the_same_rules(case: str) -> None:
    raw, data = BAD[case]
    if case in {"trailing bytes", "short file", "byte order mark", "nothing"}:
        return  # The answer does not tell where the file ends, nor has it the file's bytes.
    with pytest.raises(MalformedHeaderError):
        headers_from_metadata(
            b'{"headers": {"m.safetensors": ' + raw + b"}}",
            file_bytes={"m.safetensors": 8 + len(raw) + data},
        )


def test_read_file(tmp_path: Path) -> None:
    path = tmp_path / NAME
    path.write_bytes(whole_file(*GOOD["metadata"]))
    assert read_file(path) == parse(*GOOD["metadata"])
    (tmp_path / "link.safetensors").symlink_to(path)
    assert read_file(tmp_path / "link.safetensors").tensors == read_file(path).tensors


def a_folder(path: Path) -> None:
    path.mkdir()


def a_fifo(path: Path) -> None:
    os.mkfifo(path)


def nothing(path: Path) -> None:
    assert not path.exists()


@pytest.mark.parametrize("make", [a_folder, a_fifo, nothing])
def test_read_file_reads_regular_files_only(tmp_path: Path, make: Callable[[Path], None]) -> None:
    make(tmp_path / NAME)
    with pytest.raises(ModelNotFoundError):
        read_file(tmp_path / NAME)

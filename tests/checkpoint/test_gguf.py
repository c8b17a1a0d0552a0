"""GGUF headers: what is read, in how many pieces, and everything that is refused."""

from __future__ import annotations

import struct
import tracemalloc
from collections.abc import Callable
from functools import partial

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hfmem.checkpoint.gguf import (
    FIRST_BYTES,
    HEADER_CAP,
    GgufHeader,
    GgufParser,
    parse_header,
    read_header,
)
from hfmem.checkpoint.tensor import runs, total_bytes
from hfmem.errors import MalformedHeaderError
from tests.gguf_files import gguf, key, llama, prefix, tensor, text
from tests.loopback import Sparse, part

SMALL = gguf(
    llama(), {"token_embd.weight": ("Q4_0", (10, 64)), "output_norm.weight": ("F32", (64,))}
)


def read(file: Sparse, reads: list[tuple[int, int]] | None = None) -> GgufHeader:
    def source(start: int, stop: int) -> bytes:
        if reads is not None:
            reads.append((start, stop))
        return part(file, start, stop)

    return read_header(source, file="x.gguf", file_bytes=file.size)


def raw(head: bytes, *, size: int | None = None) -> GgufHeader:
    return parse_header(head, file="x.gguf", file_bytes=len(head) if size is None else size)


def test_keys_and_tensors() -> None:
    keys = {"a": -3, "b": True, "c": "text", "d": 0.5, "e": [1, 2, 3], "f": [True, False]}
    header = read(gguf(keys, {"x": ("Q8_0", (3, 5, 64)), "y": ("F16", ())}))
    assert header.keys == keys
    assert header.lengths == {"e": 3, "f": 2}
    assert [tuple(one) for one in header.tensors] == [
        ("x", "Q8_0", (3, 5, 64), 3 * 5 * 64 // 32 * 34),
        ("y", "F16", (), 2),
    ]
    assert not header.notes


def more_bits(layer: int, layers: int) -> bool:
    """llama.cpp src/llama-quant.cpp: use_more_bits."""
    eighth = layers // 8
    return layer < eighth or layer >= 7 * layers // 8 or (layer - eighth) % 3 == 2


def test_a_published_file() -> None:
    """Llama-3.1-8B-Instruct-Q4_K_M: 4,920,739,232 bytes, of which 7,840,928 are metadata."""
    tensors: dict[str, tuple[str, tuple[int, ...]]] = {
        "token_embd.weight": ("Q4_K", (128256, 4096)),
        "rope_freqs.weight": ("F32", (64,)),
        "output_norm.weight": ("F32", (4096,)),
        "output.weight": ("Q6_K", (128256, 4096)),
    }
    for layer in range(32):
        better = "Q6_K" if more_bits(layer, 32) else "Q4_K"
        for name, kind, shape in (
            ("attn_q", "Q4_K", (4096, 4096)),
            ("attn_k", "Q4_K", (1024, 4096)),
            ("attn_v", better, (1024, 4096)),
            ("attn_output", "Q4_K", (4096, 4096)),
            ("ffn_gate", "Q4_K", (14336, 4096)),
            ("ffn_up", "Q4_K", (14336, 4096)),
            ("ffn_down", better, (4096, 14336)),
            ("attn_norm", "F32", (4096,)),
            ("ffn_norm", "F32", (4096,)),
        ):
            tensors[f"blk.{layer}.{name}.weight"] = (kind, shape)
    header = read(gguf(llama(), tensors))
    folded = runs(header.tensors)
    assert total_bytes(folded) == 4_912_898_304 == 4_920_739_232 - 7_840_928
    assert sum(run.elements * run.count for run in folded) == 8_030_261_248 + 64


@pytest.mark.parametrize("version", [2, 3])
@pytest.mark.parametrize("alignment", [1, 32, 64, 4096])
def test_alignment_and_version(version: int, alignment: int) -> None:
    file = gguf(
        llama(),
        {"a": ("F32", (3,)), "b": ("Q4_0", (32,)), "c": ("F16", (5,))},
        alignment=alignment,
        version=version,
    )
    header = read(file)
    assert [one.bytes for one in header.tensors] == [12, 18, 10]
    assert header.header_bytes % alignment == 0


def test_a_tokenizer_is_passed_over_in_growing_pieces() -> None:
    tokens = [f"token number {number}" for number in range(200_000)]
    keys = llama() | {"tokenizer.ggml.tokens": tokens, "tokenizer.ggml.scores": [1.0] * 200_000}
    file = gguf(keys, {"token_embd.weight": ("F16", (200_000, 64))})
    reads: list[tuple[int, int]] = []
    header = read(file, reads)
    assert header.lengths["tokenizer.ggml.tokens"] == 200_000
    assert "tokenizer.ggml.tokens" not in header.keys
    assert "tokenizer.ggml.scores" not in header.keys
    mib = FIRST_BYTES
    assert reads == [(0, mib), (mib, 2 * mib), (2 * mib, 4 * mib), (4 * mib, 8 * mib)]


def test_a_small_file_is_read_once() -> None:
    reads: list[tuple[int, int]] = []
    read(SMALL, reads)
    assert reads == [(0, SMALL.size)]


def test_long_texts_are_not_kept() -> None:
    header = read(gguf({"tokenizer.chat_template": "x" * 10_000, "after": 1}, {}))
    assert header.keys == {"after": 1}


@pytest.mark.parametrize("step", [1, 2, 3, 7, 64])
def test_pieces_of_any_length(step: int) -> None:
    keys = llama() | {"tokenizer.ggml.tokens": ["a", "", "three"], "z": "last"}
    file = gguf(keys, {"token_embd.weight": ("Q4_0", (3, 32))})
    parser = GgufParser(file="x.gguf", file_bytes=file.size)
    found = None
    for start in range(0, len(file.head), step):
        found = parser.feed(file.head[start : start + step])
        if found is not None:
            break
    assert found == raw(file.head, size=file.size)


def test_bytes_after_the_tensors_are_noted() -> None:
    header = read(Sparse(head=SMALL.head, size=SMALL.size + 100))
    assert [note.code for note in header.notes] == ["trailing_bytes"]


HUGE = 2**62
ONE = prefix(tensors=1, keys=0)
NOT_READ: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "ends within its header"),
    "magic": (b"GGML" + bytes(60), "begins with"),
    "lfs pointer": (b"version https://git-lfs", "begins with"),
    "version 1": (prefix(version=1, tensors=0, keys=0), "version"),
    "big endian": (b"GGUF" + struct.pack(">Iqq", 3, 0, 0), "other byte order"),
    "negative keys": (prefix(tensors=0, keys=-1), "claims -1 keys"),
    "2**40 keys": (prefix(tensors=0, keys=2**40), "keys"),
    "2**62 tensors": (prefix(tensors=HUGE, keys=0), "tensors"),
    "negative tensors": (prefix(tensors=-1, keys=0), "tensors"),
    "key of 2**63 bytes": (
        prefix(tensors=0, keys=1) + struct.pack("<Q", 2**63) + bytes(99),
        "claims",
    ),
    "long key": (prefix(tensors=0, keys=1) + text("k" * 2000) + bytes(99), "at most"),
    "empty key": (prefix(tensors=0, keys=1) + key("", 1), "empty"),
    "duplicate key": (prefix(tensors=0, keys=2) + key("a", 1) + key("a", 2), "twice"),
    "unknown key type": (
        prefix(tensors=0, keys=1) + text("a") + struct.pack("<i", 13) + bytes(99),
        "type 13",
    ),
    "nested array": (
        prefix(tensors=0, keys=1) + text("a") + struct.pack("<iiQ", 9, 9, 1) + bytes(99),
        "array",
    ),
    "array of 2**62": (
        prefix(tensors=0, keys=1) + text("a") + struct.pack("<iiQ", 9, 4, HUGE) + bytes(99),
        "claims",
    ),
    "strings of 2**30": (
        prefix(tensors=0, keys=1) + text("a") + struct.pack("<iiQ", 9, 8, 2**30) + bytes(99),
        "claims",
    ),
    "string item beyond the file": (
        prefix(tensors=0, keys=1) + text("a") + struct.pack("<iiQQ", 9, 8, 1, 2**20) + bytes(99),
        "claims",
    ),
    "alignment 3": (
        prefix(tensors=0, keys=1) + key("general.alignment", 3),
        "no power of two",
    ),
    "alignment 0": (prefix(tensors=0, keys=1) + key("general.alignment", 0), "no power of two"),
    "alignment as text": (
        prefix(tensors=0, keys=1) + key("general.alignment", "32"),
        "no power of two",
    ),
    "long tensor name": (ONE + tensor("t" * 64, 0, (1,), 0) + bytes(64), "at most"),
    "five dimensions": (ONE + tensor("t", 0, (1, 1, 1, 1, 1), 0) + bytes(64), "dimensions"),
    "negative dimension": (ONE + tensor("t", 0, (-4,), 0) + bytes(64), "impossible shape"),
    "overflowing shape": (ONE + tensor("t", 0, (2**32, 2**32), 0) + bytes(64), "impossible"),
    "zero hides an overflow": (
        ONE + tensor("t", 0, (0, 2**62, 2**62), 0) + bytes(64),
        "impossible",
    ),
    "type 43": (ONE + tensor("t", 43, (32,), 0) + bytes(64), "unknown ggml type 43"),
    "type -1": (ONE + tensor("t", -1, (32,), 0) + bytes(64), "unknown ggml type -1"),
    "removed type": (ONE + tensor("t", 31, (32,), 0) + bytes(64), "Q4_0_4_4"),
    "half a block": (ONE + tensor("t", 12, (100,), 0) + bytes(4096), "multiple"),
    "offset": (ONE + tensor("t", 0, (1,), 32) + bytes(128), "lies at 32 instead of 0"),
    "overlap": (
        prefix(tensors=2, keys=0)
        + tensor("a", 0, (64,), 0)
        + tensor("b", 0, (64,), 32)
        + bytes(4096),
        "lies at 32 instead of 256",
    ),
    "duplicate tensor": (
        prefix(tensors=2, keys=0)
        + tensor("a", 0, (8,), 0)
        + tensor("a", 0, (8,), 32)
        + bytes(4096),
        "twice",
    ),
    "tensor beyond the file": (ONE + tensor("t", 0, (2**40,), 0) + bytes(64), "end at byte"),
    "cut in the table": (ONE + tensor("t", 0, (8,), 0)[:-4], "ends within"),
}


@pytest.mark.parametrize("case", NOT_READ)
def test_refused(case: str) -> None:
    head, why = NOT_READ[case]
    with pytest.raises(MalformedHeaderError, match=r"^'x.gguf' is not a readable GGUF") as error:
        read(Sparse(head=head, size=len(head)))
    assert why in error.value.message
    assert "\n" not in error.value.message
    assert len(error.value.message) < 400


def test_every_cut_of_a_file_is_refused() -> None:
    whole = SMALL.head
    for stop in range(len(whole)):
        with pytest.raises(MalformedHeaderError):
            read(Sparse(head=whole[:stop], size=stop))


def test_a_header_without_end_stops_at_the_cap() -> None:
    """Lengths that fit the declared file are followed, but only so far."""
    count = 2**26
    head = prefix(tensors=0, keys=1) + text("a") + struct.pack("<iiQ", 9, 8, count)
    read_bytes = 0

    def source(start: int, stop: int) -> bytes:
        nonlocal read_bytes
        read_bytes += stop - start
        # One token of a megabyte after another.
        block = struct.pack("<Q", 2**20 - 8) + bytes(2**20 - 8)
        body = (head + bytes(-len(head) % 1) + block * 2) if start == 0 else block * 2
        return (body * ((stop - start) // len(body) + 1))[: stop - start]

    with pytest.raises(MalformedHeaderError):
        read_header(source, file="x.gguf", file_bytes=2**40)
    assert read_bytes <= HEADER_CAP


def test_memory_stays_small_for_claims() -> None:
    tracemalloc.start()
    for head, _ in NOT_READ.values():
        outcome(partial(raw, head, size=2**50))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 5_000_000


def outcome(call: Callable[[], GgufHeader]) -> GgufHeader | None:
    try:
        return call()
    except MalformedHeaderError:
        return None


@given(st.binary(max_size=300), st.integers(0, 2**40))
@settings(max_examples=150)
def test_arbitrary_bytes(body: bytes, size: int) -> None:
    outcome(lambda: raw(b"GGUF" + struct.pack("<I", 3) + body, size=size))


@given(
    st.integers(0, len(SMALL.head) - 1),
    st.binary(min_size=1, max_size=8),
    st.sampled_from(["replace", "insert"]),
)
@settings(max_examples=200)
def test_mutated_headers(at: int, new: bytes, how: str) -> None:
    head = SMALL.head
    rest = head[at + len(new) :] if how == "replace" else head[at:]
    mutated = head[:at] + new + rest
    header = outcome(lambda: raw(mutated, size=SMALL.size + len(mutated) - len(head)))
    if header is not None:
        assert sum(one.bytes for one in header.tensors) <= SMALL.size

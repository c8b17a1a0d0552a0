"""Checkpoints of torch: files that torch wrote, files written by hand, and what is refused."""

from __future__ import annotations

import io
import struct
import tracemalloc
import zipfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hfmem.checkpoint.safetensors import Header
from hfmem.checkpoint.torch_file import parse_file, read_header
from hfmem.errors import CheckpointError, MalformedHeaderError, NoWeightsError
from tests.torch_files import (
    EMPTY_TUPLE,
    MARK,
    PROTOCOL,
    REDUCE,
    STOP,
    archive,
    checkpoint,
    dict_,
    global_,
    number,
    pickled,
    storage,
    text,
    tuple_,
    view,
)

SAVED = Path(__file__).parent / "torch_saved"


def read(raw: bytes, reads: list[tuple[int, int]] | None = None) -> Header:
    def source(start: int, stop: int) -> bytes:
        assert 0 <= start < stop <= len(raw)
        if reads is not None:
            reads.append((start, stop))
        return raw[start:stop]

    return read_header(source, file="x.bin", file_bytes=len(raw))


LEGACY = [
    ("model.embed_tokens.weight", "F32", (8, 4), 128),
    ("model.layers.0.self_attn.q_proj.weight", "BF16", (4, 4), 32),
    ("model.layers.0.norm.weight", "F16", (4,), 8),
    ("model.layers.1.self_attn.q_proj.weight", "BF16", (4, 4), 32),
    ("model.layers.1.norm.weight", "F16", (4,), 8),
    ("position_ids", "I64", (1, 7), 56),
    ("sliced", "F32", (2, 4), 32),
    ("scalar", "F32", (), 4),
]


@pytest.mark.parametrize(
    ("file", "tensors", "notes"),
    [
        # Written by torch 2.13: torch.save with and without its zip format.
        ("legacy.bin", LEGACY, ["shared_storage", "unused_storage"]),
        ("archive.bin", [*LEGACY, ("f8", "F8_E4M3", (4, 4), 16)], None),
        ("trainer.bin", [("weight", "F32", (2, 2), 16), ("bias", "F32", (2,), 8)], []),
    ],
)
def test_what_torch_wrote(
    file: str, tensors: list[tuple[str, str, tuple[int, ...], int]], notes: list[str] | None
) -> None:
    header = read((SAVED / file).read_bytes())
    assert [tuple(one) for one in header.tensors] == tensors
    found = [note.code for note in header.notes]
    assert found == (["shared_storage", "unused_storage"] if notes is None else notes)


def test_what_is_shared_and_unused_is_said() -> None:
    messages = [note.message for note in read((SAVED / "archive.bin").read_bytes()).notes]
    assert messages[0].startswith("1 tensors of x.bin share their memory")
    # 10 rows of 4 were saved, of which 2 are the tensor.
    assert "128 bytes that belong to no tensor" in messages[1]


@pytest.mark.parametrize(
    ("file", "why"),
    [
        ("module.bin", "the opcode NEWOBJ"),
        ("script.pt", "compressed or encrypted"),
    ],
)
def test_what_torch_wrote_is_no_checkpoint(file: str, why: str) -> None:
    with pytest.raises(MalformedHeaderError) as error:
        read((SAVED / file).read_bytes())
    assert why in error.value.message


def test_two_reads_of_a_large_file() -> None:
    raw = checkpoint({"a.weight": (400_000,), "b.weight": (100,)})
    reads: list[tuple[int, int]] = []
    header = read(raw, reads)
    assert [one.bytes for one in header.tensors] == [1_600_000, 400]
    assert len(reads) == 2
    assert sum(stop - start for start, stop in reads) < 300_000


def test_three_reads_where_the_directory_is_long() -> None:
    raw = checkpoint({f"layer.{number}.weight": (1,) for number in range(6000)})
    reads: list[tuple[int, int]] = []
    assert len(read(raw, reads).tensors) == 6000
    assert len(reads) == 3


def test_ties_are_counted_once() -> None:
    shared = view(storage("0", 64), (8, 8))
    raw = archive(pickled(dict_({"embed": shared, "head": shared})), {"0": 256})
    header = read(raw)
    assert [one.name for one in header.tensors] == ["embed"]
    assert [note.code for note in header.notes] == ["shared_storage"]


def test_wrappers_are_stripped_and_trainers_left() -> None:
    inner = dict_({"a.weight": view(storage("0", 4), (4,))})
    moments = dict_({"exp_avg": view(storage("1", 4), (4,))})
    root = dict_({"state_dict": inner, "optimizer_states": moments, "epoch": number(3)})
    assert [one.name for one in read(archive(pickled(root), {"0": 16, "1": 16})).tensors] == [
        "a.weight"
    ]


def test_dicts_of_dicts_are_named_through() -> None:
    root = dict_(
        {"unet": dict_({"w": view(storage("0", 4), (4,))}), "b": view(storage("1", 1), ())}
    )
    names = {one.name for one in read(archive(pickled(root), {"0": 16, "1": 4})).tensors}
    assert names == {"unet.w", "b"}


GOOD = view(storage("0", 4), (4,))


def saved(root: bytes, sizes: dict[str, int] | None = None) -> bytes:
    return archive(pickled(root), {"0": 16} if sizes is None else sizes)


def zipped(*names: str, method: int = zipfile.ZIP_STORED, comment: bytes = b"") -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", method) as file:
        for name in names:
            file.writestr(name, pickled(dict_({"a": GOOD})) if name.endswith("data.pkl") else b"x")
        file.comment = comment
    return stream.getvalue()


def patched(raw: bytes, at: int, new: bytes) -> bytes:
    at %= len(raw)
    return raw[:at] + new + raw[at + len(new) :]


PLAIN = saved(dict_({"a": GOOD}))
REFUSED: dict[str, tuple[bytes, str]] = {
    "os.system": (saved(global_("os", "system") + tuple_(text("id")) + REDUCE), "'os'.'system'"),
    "getattr": (saved(global_("builtins", "getattr") + tuple_() + REDUCE), "'getattr'"),
    "eval by STACK_GLOBAL": (
        saved(text("builtins") + text("eval") + b"\x93" + tuple_(text("1")) + REDUCE),
        "'eval'",
    ),
    "a tensor's function of another module": (
        saved(dict_({"a": global_("evil", "_rebuild_tensor_v2") + tuple_() + REDUCE})),
        "'evil'",
    ),
    "INST": (saved(MARK + b"ios\nsystem\n"), "INST"),
    "OBJ": (saved(MARK + global_("os", "system") + b"o"), "OBJ"),
    "NEWOBJ": (saved(global_("os", "system") + EMPTY_TUPLE + b"\x81"), "NEWOBJ"),
    "EXT1": (saved(b"\x82\x01"), "EXT1"),
    "PERSID": (saved(b"Pstorage\n"), "PERSID"),
    "BYTEARRAY8": (saved(b"\x96" + struct.pack("<Q", 2**40)), "BYTEARRAY8"),
    "global with an escape": (saved(b"cto\\rch\nSize\n"), "escape"),
    "global without an end": (saved(b"c" + b"x" * 1000), "more than 512"),
    "call of no global": (saved(text("x") + tuple_() + REDUCE), "no global"),
    "memo not written": (saved(b"h\x05"), "memo"),
    "empty stack": (saved(b"0"), "stack is empty"),
    "no mark": (saved(b"t"), "lacks a mark"),
    "two objects": (saved(text("a") + text("b")), "one object"),
    "no dict": (saved(text("a")), "no dict"),
    "no tensors": (saved(dict_({"a": text("b")})), "no tensors"),
    "no stop": (archive(PROTOCOL + dict_({"a": GOOD}), {"0": 16}), "ends before"),
    "STRING": (saved(b"S'\\q'\n"), "the opcode STRING"),
    "a text of 2**62 bytes": (saved(b"\x8d" + struct.pack("<Q", 2**62)), "ends before"),
    "unknown opcode": (saved(b"\xff"), "byte b'\\xff'"),
    "appends to a dict": (saved(b"}" + text("a") + b"a"), "no list"),
    "sets items of a list": (saved(b"]" + text("a") + text("b") + b"s"), "no dict"),
    "storage of another class": (
        saved(dict_({"a": view(storage("0", 4, kind="QInt8Storage"), (4,))})),
        "no storage",
    ),
    "storage that is a text": (saved(text("storage") + b"Q"), "no storage"),
    "view beyond its storage": (saved(dict_({"a": view(storage("0", 4), (5,))})), "beyond"),
    "offset beyond its storage": (
        saved(dict_({"a": view(storage("0", 4), (4,), offset=1)})),
        "beyond",
    ),
    "expanded a million times": (
        saved(dict_({"a": view(storage("0", 4), (2**20, 4), stride=(0, 1))})),
        "more elements",
    ),
    "negative shape": (saved(dict_({"a": view(storage("0", 4), (-4,))})), "impossible"),
    "huge shape": (saved(dict_({"a": view(storage("0", 4), (2**60,))})), "impossible"),
    "storage larger than its member": (
        saved(dict_({"a": view(storage("0", 8), (8,))})),
        "16 bytes instead of 32",
    ),
    "storage that is not there": (saved(dict_({"a": GOOD}), {}), "not in the archive"),
    "one storage, two kinds": (
        saved(dict_({"a": GOOD, "b": view(storage("0", 8, kind="HalfStorage"), (8,))})),
        "two kinds",
    ),
    "a name twice": (
        saved(
            b"}" + MARK + (text("a") + GOOD) + text("a") + view(storage("1", 4), (4,)) + b"u",
            {"0": 16, "1": 16},
        ),
        "twice",
    ),
    "compressed": (zipped("r/data.pkl", method=zipfile.ZIP_DEFLATED), "compressed"),
    "no data.pkl": (zipped("r/other"), "none that torch.save writes"),
    "two data.pkl": (zipped("a/data.pkl", "b/data.pkl"), "none that torch.save writes"),
    "data.pkl deeper": (zipped("a/b/data.pkl"), "none that torch.save writes"),
    "TorchScript": (zipped("r/data.pkl", "r/constants.pkl"), "TorchScript"),
    "disagreeing local header": (patched(PLAIN, 30, b"X"), "disagrees"),
    "damaged directory": (
        patched(PLAIN, PLAIN.rindex(b"PK\x01\x02"), b"XX"),
        "directory is damaged",
    ),
    "directory elsewhere": (
        patched(PLAIN, len(PLAIN) - 6, struct.pack("<I", 1)),
        "does not end where",
    ),
    "many entries": (
        patched(PLAIN, len(PLAIN) - 14, struct.pack("<2H", 60_000, 60_000)),
        "directory",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused(case: str) -> None:
    raw, why = REFUSED[case]
    with pytest.raises(MalformedHeaderError, match=r"^'x.bin' is not a readable") as error:
        read(raw)
    assert why in error.value.message
    assert "\n" not in error.value.message
    assert len(error.value.message) < 400


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"PK\x03\x04" + bytes(1000),
        b"version https://git-lfs.github.com/spec/v1\n",
        PLAIN[:-1],
        PLAIN + b"x",
        zipped("r/data.pkl", comment=b"hello"),
        b"./\x00" * 400,
    ],
)
def test_no_checkpoint_at_all(raw: bytes) -> None:
    with pytest.raises(NoWeightsError, match=r"^'x.bin' is neither"):
        read(raw)


def test_members_that_share_bytes_are_refused() -> None:
    raw = bytearray(checkpoint({"a": (64,), "b": (64,)}))
    # The second entry of the directory points at the first storage.
    entries = [at for at in range(len(raw)) if raw[at : at + 4] == b"PK\x01\x02"]
    raw[entries[2] + 42 : entries[2] + 46] = raw[entries[1] + 42 : entries[1] + 46]
    with pytest.raises(MalformedHeaderError, match="lies over another"):
        read(bytes(raw))


def test_a_memo_bomb_stays_small() -> None:
    """Ten bytes that made CPython's unpickler ask for 8 GiB, and tuples of tuples of tuples."""
    far = saved(text("x") + b"r" + struct.pack("<I", 0x1FFFFFFF))
    nested = saved(b"}" + MARK + b"".join(b"]q%c" % n + b"h%c" % n * 2 for n in range(90)) + b"u")
    tables = b"}q\x00"
    for level in range(1, 30):
        tables += b"0}q" + bytes([level]) + MARK
        tables += b"".join(text(f"k{n}") + b"h" + bytes([level - 1]) for n in range(9)) + b"u"
    tracemalloc.start()
    for raw in (far, nested, saved(tables)):
        with pytest.raises(MalformedHeaderError):
            read(raw)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 50_000_000


def test_a_checkpoint_of_its_own_makes_an_end() -> None:
    """A dict that holds itself is nested without end."""
    with pytest.raises(MalformedHeaderError, match="nested too deeply"):
        read(saved(b"}q\x00" + text("a") + b"h\x00s"))


def outcome(raw: bytes) -> Header | None:
    try:
        return parse_file(raw, file="x.bin")
    except CheckpointError:
        return None


@given(st.binary(max_size=200))
@settings(max_examples=150)
def test_arbitrary_pickles(body: bytes) -> None:
    outcome(archive(PROTOCOL + body + STOP, {"0": 16}))
    outcome(PROTOCOL + body)


ARCHIVE = (SAVED / "archive.bin").read_bytes()
OLD = (SAVED / "legacy.bin").read_bytes()


@given(st.sampled_from([ARCHIVE, OLD, PLAIN]), st.integers(0, 2**16), st.binary(max_size=6))
@settings(max_examples=250)
def test_mutated_files(whole: bytes, at: int, new: bytes) -> None:
    header = outcome(patched(whole, at, new)[: len(whole)])
    if header is not None:
        assert sum(one.bytes for one in header.tensors) <= 2 * len(whole)

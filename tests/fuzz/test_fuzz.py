"""Every parser, and the way from a configuration to an answer, on generated input.

``HFMEM_FUZZ_SECONDS=600 pytest -m fuzz`` spends that long in all; the ordinary suite runs none of
it.
What may come out is an answer or an HfmemError, in bounded time; anything else is a bug.
"""

from __future__ import annotations

import copy
import json
import struct
from pathlib import Path

import pytest
from hypothesis import strategies as st
from msgspec.structs import replace

from hfmem.answer import answer
from hfmem.checkpoint import gguf, torch_file
from hfmem.checkpoint.safetensors import header_length, parse_header
from hfmem.checkpoint.snapshot import Snapshot
from hfmem.checkpoint.strict_json import loads
from hfmem.errors import InvalidValueError
from hfmem.hardware.catalogue import parse_gpu
from hfmem.memory.workload import Workload
from hfmem.question import question
from hfmem.report.json import dumps, result
from hfmem.source import recorded, ref
from hfmem.units import parse_size, parse_tokens
from tests.fuzz.rounds import SECONDS, hostile, hostile_text, mutated, never_surprised, spend

pytestmark = pytest.mark.fuzz

BUNDLED = [snapshot for name in recorded.bundled_names() if (snapshot := recorded.bundled(name))]

HEADER = json.dumps(
    {
        "__metadata__": {"format": "pt"},
        "model.layers.0.q": {"dtype": "BF16", "shape": [4, 4], "data_offsets": [0, 32]},
        "model.layers.1.q": {"dtype": "F4", "shape": [4, 4], "data_offsets": [32, 40]},
    }
).encode()


def check_header(raw: bytes) -> None:
    never_surprised(lambda: parse_header(raw, file="f", file_bytes=8 + len(raw) + 40))
    never_surprised(lambda: header_length(struct.pack("<Q", len(raw)), file="f", file_bytes=100))


def string(text: str) -> bytes:
    return struct.pack("<Q", len(text)) + text.encode()


# Three keys and two tensors: the smallest file that holds one of everything.
GGUF = b"".join(
    (
        b"GGUF",
        struct.pack("<IQQ", 3, 2, 3),
        string("general.architecture") + struct.pack("<I", 8) + string("llama"),
        string("llama.block_count") + struct.pack("<II", 4, 2),
        string("t") + struct.pack("<IIQ", 9, 8, 2) + string("a") + string("b"),
        string("blk.0.attn_q.weight") + struct.pack("<IQQIQ", 2, 32, 4, 1, 0),
        string("blk.1.attn_q.weight") + struct.pack("<IQQIQ", 2, 32, 4, 1, 256),
        bytes(64),
    )
)
TORCH = [
    path.read_bytes()
    for path in (Path(__file__).parents[1] / "checkpoint" / "torch_saved").iterdir()
]


def check_gguf(raw: bytes) -> None:
    never_surprised(lambda: gguf.parse_header(raw, file="f", file_bytes=len(raw) + 512))


def check_torch(raw: bytes) -> None:
    never_surprised(lambda: torch_file.parse_file(raw, file="f"))


def check_json(raw: bytes) -> None:
    never_surprised(lambda: loads(raw, what="f", error=InvalidValueError))


def check_recorded(raw: bytes) -> None:
    never_surprised(lambda: recorded.read(raw.decode("utf-8", "surrogateescape")))


def check_words(text: str) -> None:
    for parse in (ref.parse, parse_gpu, parse_size, parse_tokens):
        never_surprised(lambda parse=parse: parse(text))


def check_answer(snapshot: Snapshot, edits: list[tuple[int, object]], ctx: int) -> None:
    config = copy.deepcopy(dict(snapshot.config or {}))
    for at, value in edits:
        holder, keys = config, sorted(config)
        while keys:
            key = keys[at % len(keys)]
            inner = holder[key]
            if isinstance(inner, dict) and inner and at % 3:
                holder, keys, at = inner, sorted(inner), at // 3
                continue
            holder[key] = value
            break
    asked = question(Workload(ctx=ctx))

    def run() -> None:
        found = answer(replace(snapshot, config=config), asked)
        document = json.loads(dumps(result(found)))
        sizes = [size for size in document["memory"].values() if size is not None]
        assert all(isinstance(size, int) for size in sizes)
        for phase in found.memory.phases:
            assert phase.memory.bytes == sum(part.bytes for part in phase.memory.parts) >= 0

    never_surprised(run)


CHECKS = {
    "header": (check_header, st.tuples(st.binary(max_size=400) | mutated(HEADER))),
    "gguf": (check_gguf, st.tuples(st.binary(max_size=400) | mutated(GGUF))),
    "torch": (
        check_torch,
        st.tuples(st.binary(max_size=400) | st.sampled_from(TORCH).flatmap(mutated)),
    ),
    "json": (
        check_json,
        st.tuples(st.binary(max_size=200) | hostile.map(lambda x: json.dumps(x).encode())),
    ),
    "recorded": (
        check_recorded,
        st.tuples(st.sampled_from(BUNDLED).map(recorded.write).map(str.encode).flatmap(mutated)),
    ),
    "words": (check_words, st.tuples(hostile_text | st.from_regex(r"[\w./:@-]{1,60}"))),
    "answer": (
        check_answer,
        st.tuples(
            st.sampled_from(BUNDLED),
            st.lists(st.tuples(st.integers(0, 10**6), hostile), max_size=3),
            st.integers(1, 2**20),
        ),
    ),
}


@pytest.mark.parametrize("name", CHECKS)
def test_fuzz(name: str) -> None:
    check, strategy = CHECKS[name]
    spend(SECONDS / len(CHECKS), name, check, strategy)

"""What a repository's other quantizations need, beside what their own headers say."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from hfmem.answer import Estimate, answer
from hfmem.checkpoint.gguf import parse_header
from hfmem.checkpoint.gguf_set import joined
from hfmem.checkpoint.snapshot import GGUF_DOCUMENT, Checkpoint, RepoFile, Snapshot
from hfmem.checkpoint.tensor import runs
from hfmem.memory.workload import Workload
from hfmem.question import question
from tests.gguf_files import gguf, llama
from tests.loopback import Sparse

KINDS = ("Q4_0", "Q8_0", "F16")
SHAPES = {
    "attn_q": (4096, 4096),
    "attn_k": (1024, 4096),
    "attn_v": (1024, 4096),
    "attn_output": (4096, 4096),
    "ffn_gate": (14336, 4096),
    "ffn_up": (14336, 4096),
    "ffn_down": (4096, 14336),
}


def file(kind: str) -> Sparse:
    """A Llama-3.1-8B with all matrices of one type."""
    tensors: dict[str, tuple[str, tuple[int, ...]]] = {
        "token_embd.weight": (kind, (128256, 4096)),
        "output.weight": (kind, (128256, 4096)),
        "output_norm.weight": ("F32", (4096,)),
    }
    for layer in range(32):
        for name, shape in SHAPES.items():
            tensors[f"blk.{layer}.{name}.weight"] = (kind, shape)
    return gguf(llama() | {"tokenizer.ggml.tokens": ["word"] * 4096}, tensors)


FILES = {kind: file(kind) for kind in KINDS}
LISTING = tuple(RepoFile(name=f"m-{kind}.gguf", bytes=FILES[kind].size) for kind in KINDS)


def asked(kind: str, *gpus: str, listing: tuple[RepoFile, ...] = LISTING) -> Estimate:
    """The answer from one file's header."""
    name = f"m-{kind}.gguf"
    header = parse_header(FILES[kind].head, file=name, file_bytes=FILES[kind].size)
    files, keys = joined([(name, header)], component="")
    snapshot = Snapshot(
        model="org/m",
        revision=None,
        source="hub",
        config=None,
        documents={GGUF_DOCUMENT: keys},
        files=listing,
        checkpoint=Checkpoint(files=(name,), tensors=runs(files[0].header.tensors), metadata={}),
    )
    return answer(snapshot, question(Workload(ctx=8192, runtime="llama.cpp"), gpus=gpus))


@pytest.mark.parametrize("read", KINDS)
def test_the_need_of_all_from_the_header_of_one(read: str) -> None:
    offers = asked(read).offers
    assert [offer.quantization.name for offer in offers] == list(KINDS)
    for offer in offers:
        own = asked(offer.quantization.name)
        assert offer.total_bytes == pytest.approx(own.memory.peak.memory.bytes, rel=0.001)
        published = own.precision[0]
        assert (offer.smallest_gpu, offer.smallest_count) == (
            published.smallest_gpu,
            published.smallest_count,
        )


def test_verdicts_are_those_of_each_file() -> None:
    gpus = ("8GiB", "16GiB", "rtx-4090")
    for offer in asked("Q8_0", *gpus).offers:
        own = asked(offer.quantization.name, *gpus)
        assert offer.verdicts == tuple(fit.verdict for fit in own.fit)


def test_without_a_choice_or_a_size_there_is_no_offer() -> None:
    assert asked("Q8_0", listing=LISTING[1:2]).offers == ()
    unknown = (replace(LISTING[0], bytes=None), *LISTING[1:])
    assert [offer.quantization.name for offer in asked("Q8_0", listing=unknown).offers] == [
        "Q8_0",
        "F16",
    ]


def test_a_projector_goes_to_the_device_with_the_model() -> None:
    beside = (*LISTING, RepoFile(name="mmproj-F16.gguf", bytes=2**30))
    alone, both = asked("Q8_0"), asked("Q8_0", listing=beside)
    parts = {part.name: part.bytes for part in both.memory.peak.part("weights").parts}
    assert parts["mmproj"] == 2**30
    weights = alone.memory.peak.part("weights").bytes
    assert both.memory.peak.part("weights").bytes == weights + 2**30

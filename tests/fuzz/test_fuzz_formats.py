"""Files that are almost right: headers and settings built by their grammar, with hostile values.

Random bytes fail at the first of them; these get as far as the last check. Run and read as
``test_fuzz.py`` is: ``HFMEM_FUZZ_SECONDS=600 pytest -m fuzz -k gguf -s``.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping, Sequence
from functools import cache
from math import prod
from typing import Any

import pytest
import safetensors
from hypothesis import strategies as st
from msgspec.structs import replace

from hfmem.checkpoint import gguf, torch_file
from hfmem.checkpoint.ggml import BY_NAME
from hfmem.checkpoint.gguf_files import gguf_listing
from hfmem.checkpoint.index import shard_names
from hfmem.checkpoint.layout import weight_files
from hfmem.checkpoint.loaders import Pick, loader_of
from hfmem.checkpoint.packed import packing
from hfmem.checkpoint.safetensors import PREFIX_BYTES, header_length, parse_header
from hfmem.checkpoint.snapshot import Checkpoint, RepoFile, Snapshot
from hfmem.checkpoint.tensor import TensorRun, brace_count
from hfmem.dtypes import BITS
from hfmem.errors import HfmemError
from hfmem.memory.workload import Workload
from hfmem.model.describe import describe
from hfmem.runtimes import RUNTIMES
from hfmem.source.adapters import is_adapter, on_base
from hfmem.source.recorded import bundled
from tests import gguf_files, torch_files
from tests.fuzz.rounds import SECONDS, hostile, hostile_text, never_surprised, spend

pytestmark = pytest.mark.fuzz

small = st.integers(0, 8)
number = small | st.sampled_from([-1, 2**31, 2**32, 2**53, 2**62, 2**63 - 1])
seldom = st.sampled_from([False] * 7 + [True])


# safetensors: tensors laid out as the writer does, a few of them disturbed.


@st.composite
def safetensors_file(draw: st.DrawFn) -> bytes:
    entries: list[tuple[str, object]] = []
    end = 0
    for index in range(draw(st.integers(0, 5))):
        dtype = draw(st.sampled_from([*BITS, "F3"]))
        shape = draw(st.lists(small, max_size=4))
        size = prod(shape) * BITS.get(dtype, 8) // 8
        entry: dict[str, Any] = {"dtype": dtype, "shape": shape, "data_offsets": [end, end + size]}
        end += size
        if draw(seldom):
            entry[draw(st.sampled_from(["dtype", "shape", "data_offsets", "more"]))] = draw(hostile)
        if draw(seldom):
            entry["shape"] = draw(st.lists(number, max_size=4))
        name = draw(hostile_text) if draw(seldom) else f"model.layers.{index}.weight"
        entries.append((name, entry))
    if draw(seldom):
        entries.append(("__metadata__", draw(hostile)))
    if entries and draw(seldom):
        entries.append(draw(st.sampled_from(entries)))
    # Written by hand, so that a key can come twice.
    pairs = (f"{json.dumps(name)}:{json.dumps(entry)}" for name, entry in entries)
    raw = ("{" + ",".join(pairs) + "}").encode()
    raw += b" " * draw(st.integers(0, 9))
    length = len(raw) + draw(st.sampled_from([0] * 9 + [-1, 1, 2**40, 2**63]))
    return struct.pack("<Q", length % 2**64) + raw + bytes(end)


def check_safetensors(raw: bytes) -> None:
    """What hfmem accepts, the reference accepts; unknown types aside, of which it has fewer."""

    def read() -> None:
        length = header_length(raw, file="f", file_bytes=len(raw))
        body = raw[PREFIX_BYTES : PREFIX_BYTES + length]
        header = parse_header(body, file="f", file_bytes=len(raw))
        if not any(note.code == "unknown_dtype" for note in header.notes):
            safetensors.deserialize(raw)

    never_surprised(read)


# GGUF: every field on its own, each of which may lie.


@st.composite
def gguf_file(draw: st.DrawFn) -> bytes:
    def raw_text(text: str) -> bytes:
        body = text.encode("utf-8", "surrogatepass")
        told = draw(st.sampled_from([0, 1, 2**30, 2**62])) if draw(seldom) else len(body)
        return struct.pack("<Q", told) + body

    def value(depth: int = 0) -> bytes:
        kind = draw(st.integers(-1, 14)) if draw(seldom) else draw(st.sampled_from(range(13)))
        return struct.pack("<i", kind) + content(kind, depth)

    def content(kind: int, depth: int) -> bytes:
        if kind == 8:
            return raw_text(draw(hostile_text))
        if kind == 9 and depth < 2:
            count = draw(st.integers(0, 4))
            told = draw(st.sampled_from([2**20, 2**31, 2**63])) if draw(seldom) else count
            inner = draw(st.sampled_from([0, 4, 5, 6, 7, 8, 9, 10, 12]))
            items = b"".join(content(inner, depth + 1) for _ in range(count))
            return struct.pack("<iQ", inner, told) + items
        size = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}.get(kind, 4)
        return draw(st.binary(min_size=size, max_size=size))

    keys = [
        gguf_files.key(name, given)
        for name, given in gguf_files.llama("llama", block_count=2).items()
    ]
    known = st.sampled_from(
        [
            "general.alignment",
            "split.count",
            "split.no",
            "llama.block_count",
            "tokenizer.ggml.tokens",
        ]
    )
    more = draw(st.integers(0, 3))
    keys += [raw_text(draw(known | hostile_text)) + value() for _ in range(more)]
    table, offset = [], 0
    for index in range(draw(st.integers(0, 4))):
        form = BY_NAME[draw(st.sampled_from(["F32", "Q4_K", "Q8_0", "IQ1_S", "MXFP4"]))]
        shape = draw(st.lists(st.integers(0, 4), max_size=3))
        shape.append(form.block_elements * draw(st.integers(0, 3)))
        if draw(seldom):
            shape[draw(st.integers(0, len(shape) - 1))] = draw(number)
        kind = draw(st.integers(-1, 60)) if draw(seldom) else form.id
        name = draw(hostile_text) if draw(seldom) else f"blk.{index}.attn_q.weight"
        raw = raw_text(name) + struct.pack(f"<I{len(shape)}q", len(shape), *reversed(shape))
        table.append(raw + struct.pack("<iQ", kind, offset))
        if all(0 <= size < 2**20 for size in shape):
            offset += -(-form.tensor_bytes(tuple(shape)) // 32) * 32
    told_tensors = draw(number) if draw(seldom) else len(table)
    told_keys = draw(number) if draw(seldom) else len(keys)
    version = draw(st.integers(0, 5)) if draw(seldom) else 3
    head = gguf_files.prefix(version=version, tensors=told_tensors, keys=told_keys)
    raw = head + b"".join(keys) + b"".join(table)
    raw += bytes(-len(raw) % 32)
    cut = draw(st.integers(0, 64)) if draw(seldom) else 0
    return raw[: len(raw) - cut] + bytes(min(offset, 4096))


def check_gguf(raw: bytes, claimed: int) -> None:
    """Read in pieces, of a file that may be said to be far longer."""
    asked = 0

    def source(start: int, stop: int) -> bytes:
        nonlocal asked
        asked += stop - start
        assert asked <= gguf.HEADER_CAP
        return raw[start:stop].ljust(stop - start, b"\0")

    size = len(raw) + claimed
    never_surprised(lambda: gguf.read_header(source, file="f", file_bytes=size))
    never_surprised(lambda: gguf.parse_header(raw, file="f", file_bytes=size))


# Checkpoints of torch: the archive's fields, and the opcodes in it.

_OPCODES = [
    *(bytes([code]) for code in b"()}]tuse0NRQaq.\x85\x86\x87\x88\x89\x8f\x90\x91\x93\x94"),
    b"K\x01",
    b"J\xff\xff\xff\xff",
    b"M\x00\x10",
    b"h\x00",
    b"q\x00",
    b"r\xff\xff\xff\x1f",
    b"j\x00\x00\x00\x00",
    b"\x8a\x08" + b"\x7f" * 8,
    b"\x8b\xff\xff\xff\x7f",
    b"X\xff\xff\xff\x7f",
    b"\x8d" + b"\xff" * 8,
    b"B\xff\xff\xff\x7f",
    b"\x8e" + b"\xff" * 8,
    b"\x95" + b"\xff" * 8,
    b"G\x7f\xf0\x00\x00\x00\x00\x00\x00",
    b"cos\nsystem\n",
    b"(S'id'\nios\nsystem\n",
    b"c__builtin__\ngetattr\n",
    torch_files.global_("collections", "OrderedDict") + torch_files.EMPTY_TUPLE + b"R",
    torch_files.global_("torch._utils", "_rebuild_tensor_v2"),
    torch_files.global_("torch._utils", "_rebuild_parameter"),
    torch_files.global_("torch._tensor", "_rebuild_from_type_v2"),
    torch_files.text("a"),
]


@st.composite
def pickle(draw: st.DrawFn) -> bytes:
    size = st.integers(0, 4) | number.filter(lambda size: size >= 0)
    items = {}
    for index in range(draw(st.integers(0, 3))):
        shape = draw(st.lists(st.integers(0, 4), max_size=3))
        elements = draw(size) if draw(seldom) else prod(shape)
        kind = draw(st.sampled_from(["FloatStorage", "HalfStorage", "ByteStorage", "Storage"]))
        stride = draw(st.lists(size, max_size=3)) if draw(seldom) else None
        if stride is not None:
            stride = (stride + [0] * 3)[: len(shape)]
        held = torch_files.storage(str(index % 2), elements, kind=kind)
        offset = draw(size) if draw(seldom) else 0
        items[f"layers.{index}.weight"] = torch_files.view(
            held, shape, offset=offset, stride=stride
        )
    if draw(seldom):
        items["model"] = torch_files.dict_(dict(items))
    raw = torch_files.pickled(torch_files.dict_(items))
    for _ in range(draw(st.integers(0, 3))):
        at = draw(st.integers(0, len(raw)))
        raw = raw[:at] + draw(st.sampled_from(_OPCODES)) + raw[at:]
    if draw(seldom):
        raw = torch_files.PROTOCOL + b"".join(draw(st.lists(st.sampled_from(_OPCODES)))) + b"."
    return raw


@st.composite
def torch_archive(draw: st.DrawFn) -> bytes:
    storages = {str(index): draw(st.integers(0, 64)) for index in range(draw(st.integers(0, 3)))}
    root = draw(st.sampled_from(["archive", "archive", "", "a/b", "\x1b"]))
    raw = bytearray(torch_files.archive(draw(pickle()), storages, root=root))
    for _ in range(draw(st.integers(0, 3))):
        # The directory and its end, where the numbers are that two readers may read differently.
        at = len(raw) - draw(st.integers(1, min(len(raw), 300)))
        new = draw(
            st.sampled_from([b"\xff", b"\xff\xff", b"\xff\xff\xff\xff", b"\0", b"PK\x05\x06"])
        )
        raw[at : at + len(new)] = new
    return bytes(raw)


def check_torch(raw: bytes) -> None:
    asked = 0

    def source(start: int, stop: int) -> bytes:
        nonlocal asked
        assert 0 <= start < stop <= len(raw)
        asked += stop - start
        return raw[start:stop]

    never_surprised(lambda: torch_file.read_header(source, file="f", file_bytes=len(raw)))
    assert asked <= 3 * len(raw)


# Indexes and listings: names that lie about each other.

_NAMES = [
    "model.safetensors",
    "model.fp16.safetensors",
    "model-00001-of-00002.safetensors",
    "model-00002-of-00002.safetensors",
    "model-00003-of-00002.safetensors",
    "model-00001-of-99999.safetensors",
    "model.safetensors.index.json",
    "consolidated.safetensors",
    "consolidated-00001-of-00002.safetensors",
    "consolidated.safetensors.index.json",
    "consolidated.00.pth",
    "pytorch_model.bin",
    "pytorch_model-00001-of-00001.bin",
    "original/consolidated.00.pth",
    "unet/diffusion_pytorch_model.safetensors",
    "unet/diffusion_pytorch_model.fp16.safetensors",
    "model_index.json",
    "modules.json",
    "2_Dense/model.safetensors",
    "adapter_model.safetensors",
    "m-Q4_K_M.gguf",
    "m-Q4_K_M-00001-of-00002.gguf",
    "mmproj-F16.gguf",
    "onnx/model.onnx",
    "tf_model.h5",
    "flax_model.msgpack",
    "pipeline.dduf",
]
names = st.sampled_from(_NAMES) | hostile_text
listing = st.lists(
    st.builds(RepoFile, name=names, bytes=st.none() | st.integers(0, 2**53)), max_size=12
)
loaders = st.sampled_from(["transformers", "vllm", "llama.cpp"])
variants = st.none() | st.sampled_from(["fp16", "bf16", "", "..", "\x1b"])


def check_index(document: object, raw: bytes | None) -> None:
    body = json.dumps(document).encode() if raw is None else raw
    never_surprised(lambda: shard_names(body, file="model.safetensors.index.json"))


def check_layout(
    files: Sequence[RepoFile],
    named: Mapping[str, Sequence[str]],
    documents: Mapping[str, Any],
    runtime: str,
    variant: str | None,
) -> None:
    def choose() -> None:
        found = weight_files(
            files,
            config=documents.get("config"),
            documents={name: value for name, value in documents.items() if name != "config"},
            index_names=named,
            pick=Pick(loader=loader_of(runtime), variant=variant),
        )
        if found is not None:
            once = [file.name for file in found.files]
            assert len(once) == len(set(once))

    never_surprised(choose)
    never_surprised(lambda: gguf_listing(files))


objects = st.dictionaries(hostile_text, hostile, max_size=4)
index_document = st.fixed_dictionaries(
    {"weight_map": st.dictionaries(hostile_text, names | hostile, max_size=6) | hostile}
)
pipeline_document = st.dictionaries(
    st.sampled_from(["unet", "vae", "_class_name", "../x"]),
    hostile | st.just(["diffusers", "UNet2DConditionModel"]),
)


# Settings of adapters and of quantizations, on tensors of every format.

_SETTINGS = [
    *(
        "quant_method",
        "quant_algo",
        "bits",
        "group_size",
        "load_in_4bit",
        "quant_config",
        "weights",
    ),
    *("quant_type", "config_groups", "checkpoint_format", "weight_block_size", "ignore", "nbits"),
    *("in_group_size", "nbits_per_codebook", "kv_cache_quant_algo", "modules_to_not_convert"),
    *("exclude_modules", "targets", "strategy", "format", "dynamic", "extra_config", "num_bits"),
]
_METHODS = [
    *("gptq", "awq", "bitsandbytes", "fp8", "compressed-tensors", "mxfp4", "modelopt", "hqq"),
    *("torchao", "quanto", "eetq", "aqlm", "bitnet", "vptq", "spqr", "exl2", "exl3", "quark"),
]
quantization_settings = st.dictionaries(
    st.sampled_from(_SETTINGS) | hostile_text, hostile | st.sampled_from(_METHODS), max_size=6
) | st.fixed_dictionaries(
    {"quant_method": st.sampled_from(_METHODS)},
    optional={
        "bits": st.integers(-1, 33),
        "group_size": number,
        "config_groups": st.dictionaries(
            hostile_text,
            st.fixed_dictionaries(
                {"weights": objects | st.fixed_dictionaries({"num_bits": number})}
            )
            | hostile,
            max_size=3,
        ),
    },
)
_SUFFIXES = [
    *("weight", "qweight", "qzeros", "scales", "g_idx", "weight_packed", "weight_scale", "absmax"),
    *("weight_scale_inv", "weight_scale_2", "weight_shape", "weight_zero_point", "SCB", "W_q"),
    *("scale", "zero", "codes", "codebooks", "biases", "trellis", "suh", "q_weight", "q_invperm"),
    *("dense_weights", "row_offsets", "col_vals", "indices", "centroids.weight", "weight_scales"),
    *("weight._data", "weight._scale", "weight._shift", "gate_up_proj_blocks", "input_scale"),
    *("gate_up_proj_scales", "weight.absmax", "weight.quant_map", "k_scale"),
]


@st.composite
def tensors(draw: st.DrawFn) -> tuple[TensorRun, ...]:
    found: dict[str, TensorRun] = {}
    prefix = st.sampled_from(
        ["model.layers.{0..3}.mlp.up_proj", "model.layers.{0..1}.mlp.up_proj", "a", "{0..9}"]
    )
    for _ in range(draw(st.integers(1, 8))):
        name = f"{draw(prefix)}.{draw(st.sampled_from(_SUFFIXES))}"
        dtype = draw(st.sampled_from(list(BITS)))
        shape = tuple(draw(st.lists(st.sampled_from([0, 1, 2, 16, 32, 64, 4096]), max_size=4)))
        size = prod(shape) * BITS[dtype]
        if size % 8 == 0:
            found[name] = TensorRun(
                name=name, dtype=dtype, shape=shape, bytes=size // 8, count=brace_count(name)
            )
    return tuple(found.values())


def check_packing(held: tuple[TensorRun, ...], settings: object, where: str) -> None:
    config = {where: settings} if where in ("quantization_config", "quantization") else {}
    documents: Any = {} if config else {where: settings if isinstance(settings, dict) else {}}

    def count() -> None:
        found = packing(held, config=config, documents=documents)
        for run in held:
            logical = found.logical(run)
            assert logical is None or logical >= 0

    never_surprised(count)


@cache
def _base(name: str = "openai/gpt-oss-20b") -> Snapshot:
    found = bundled(name)
    assert found is not None
    return found


def check_quantized(settings: object, asked: str | None) -> None:
    """The whole way, of a packed checkpoint whose settings say something else."""
    base = _base()
    changed = replace(base, config={**(base.config or {}), "quantization_config": settings})

    def run() -> None:
        found = describe(changed)
        for name in ("transformers", "vllm", "llama.cpp"):
            quantize = None if name == "llama.cpp" and asked == "nf4" else asked
            memory = RUNTIMES[name].estimate(found, Workload(ctx=4096, quantize=quantize), None)
            assert all(phase.memory.bytes >= 0 for phase in memory.phases)

    def declare() -> None:
        told = settings if isinstance(settings, dict) else {}
        plain = replace(_base("Qwen/Qwen3-8B"), checkpoint=None, files=())
        config = {**(plain.config or {}), "quantization_config": settings}
        for one in (
            replace(plain, config=config),
            replace(plain, documents={"hf_quant_config.json": {"quantization": told}}),
        ):
            found = describe(one)
            assert found.checkpoint_bytes is None or found.checkpoint_bytes >= 0

    never_surprised(run)
    never_surprised(declare)


def check_adapter(settings: Mapping[str, object]) -> None:
    name = "adapter_model.safetensors"
    held = (TensorRun(name="a.lora_A.weight", dtype="F32", shape=(8, 8), bytes=256, count=1),)
    adapter = Snapshot(
        model="a/b",
        revision="0" * 40,
        source="hub",
        config=None,
        documents={"adapter_config.json": settings},
        files=(RepoFile(name=name, bytes=1000),),
        checkpoint=Checkpoint(files=(name,), tensors=held, metadata={}),
    )
    looked_up: list[str] = []

    def find(name: str, revision: str | None) -> Snapshot:
        looked_up.append(name)
        if revision is not None and not revision.isprintable():
            raise HfmemError("There is no such revision.", hint="Choose another.")
        return _base()

    def run() -> None:
        if is_adapter(adapter):
            on_base(adapter, find)

    never_surprised(run)
    assert len(looked_up) <= 1


CHECKS = {
    "safetensors": (check_safetensors, st.tuples(safetensors_file())),
    "gguf": (check_gguf, st.tuples(gguf_file(), st.sampled_from([0, 512, 2**33, 2**52]))),
    "torch": (check_torch, st.tuples(torch_archive() | pickle())),
    "index": (
        check_index,
        st.tuples(index_document | hostile, st.none() | st.binary(max_size=60)),
    ),
    "layout": (
        check_layout,
        st.tuples(
            listing,
            st.dictionaries(names, st.lists(names, max_size=4), max_size=2),
            st.fixed_dictionaries(
                {},
                optional={
                    "config": st.dictionaries(
                        st.sampled_from(["transformers_weights"]), names | hostile
                    ),
                    "model_index.json": pipeline_document,
                    "adapter_config.json": objects,
                },
            ),
            loaders,
            variants,
        ),
    ),
    "adapter": (
        check_adapter,
        st.tuples(
            st.dictionaries(
                st.sampled_from(["base_model_name_or_path", "revision", "r", "peft_type"]),
                hostile | st.sampled_from(["org/base", "../x", "a/b", "http://x/y", "LORA"]),
            )
        ),
    ),
    "packing": (
        check_packing,
        st.tuples(
            tensors(),
            quantization_settings | hostile,
            st.sampled_from(
                ["quantization_config", "quantization", "hf_quant_config.json", "quant_config.json"]
            ),
        ),
    ),
    "quantized": (
        check_quantized,
        st.tuples(quantization_settings | hostile, st.sampled_from([None, "nf4", "q4_k_m"])),
    ),
}


@pytest.mark.parametrize("name", CHECKS)
def test_fuzz(name: str) -> None:
    check, strategy = CHECKS[name]
    spend(SECONDS / len(CHECKS), name, check, strategy)

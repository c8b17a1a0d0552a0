"""GGUF files and checkpoints of torch, over the network and on the disk."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from hfmem.checkpoint.gguf import FIRST_BYTES
from hfmem.checkpoint.snapshot import GGUF_DOCUMENT, Snapshot
from hfmem.checkpoint.tensor import total_bytes
from hfmem.errors import (
    HfmemError,
    HubUnavailableError,
    MalformedHeaderError,
    NoWeightsError,
    OfflineError,
)
from hfmem.model.describe import describe
from hfmem.source import hub, local
from hfmem.source.access import Access, find
from hfmem.source.patience import Patience
from hfmem.source.ref import parse
from tests.gguf_files import Value, gguf, llama
from tests.loopback import COMMIT, LoopbackHub, Reply, Repository, Sparse, part
from tests.torch_files import archive as torch_archive
from tests.torch_files import checkpoint, dict_, global_, pickled, storage, text, tuple_, view

CONFIG = json.dumps({"model_type": "llama"}).encode()
IMPATIENT = Patience(total=8.0, connect=0.5, contact=1.0, silence=0.5, backoff=0.001)
KEYS = llama(block_count=1)
TENSORS = {
    "token_embd.weight": ("Q4_0", (64, 64)),
    "blk.0.attn_k.weight": ("Q4_0", (32, 64)),
    "output_norm.weight": ("F32", (64,)),
}
SMALL = gguf(KEYS, TENSORS)
BYTES = (64 * 64 + 32 * 64) // 32 * 18 + 64 * 4


def ask(name: str = "org/model") -> Snapshot:
    return hub.snapshot(parse(name), wire=hub.connect(patience=IMPATIENT))


def served(loopback: LoopbackHub, **files: bytes | Sparse) -> None:
    loopback.repositories["org/model"] = Repository(
        files={name.replace("__", "."): content for name, content in files.items()}
    )


def ranges(loopback: LoopbackHub, word: str) -> list[str]:
    """The ranges that were read of a file from where its bytes are."""
    return [
        request.headers.get("range", "")
        for request in loopback.requests
        if word in request.path and (request.host == "cdn" or "resolve-cache" in request.path)
    ]


def test_a_gguf_repository(loopback: LoopbackHub) -> None:
    served(loopback, **{"m-Q4_0__gguf": SMALL, "README__md": b"x"})
    found = ask()
    assert found.checkpoint is not None
    assert found.checkpoint.files == ("m-Q4_0.gguf",)
    assert total_bytes(found.checkpoint.tensors) == BYTES
    assert found.config is None
    assert found.documents[GGUF_DOCUMENT]["llama.block_count"] == 1
    assert ranges(loopback, "gguf") == [f"bytes=0-{SMALL.size - 1}"]


def test_it_is_kept(loopback: LoopbackHub) -> None:
    served(loopback, **{"m-Q4_0__gguf": SMALL})
    first = ask()
    before = len(loopback.requests)
    second = ask()
    assert len(loopback.requests) == before + 1
    assert (second.checkpoint, second.documents) == (first.checkpoint, first.documents)
    assert describe(second).parameters == describe(first).parameters


def test_a_large_header_grows_over_one_address(loopback: LoopbackHub) -> None:
    tokens: Value = [f"a token of a vocabulary {number}" for number in range(90_000)]
    file = gguf(KEYS | {"tokenizer.ggml.tokens": tokens}, {"a": ("F16", (2**21, 2))})
    served(loopback, **{"m__gguf": file})
    found = ask()
    assert found.documents[GGUF_DOCUMENT]["tokenizer.ggml.tokens"] == 90_000
    mib = FIRST_BYTES
    assert ranges(loopback, "gguf") == [
        f"bytes=0-{mib - 1}",
        f"bytes={mib}-{2 * mib - 1}",
        f"bytes={2 * mib}-{4 * mib - 1}",
    ]
    asked = [path for path in loopback.paths() if "resolve" in path and "gguf" in path]
    assert len(asked) == 1


def test_one_quantization_and_another(loopback: LoopbackHub) -> None:
    other = gguf(KEYS, {**TENSORS, "token_embd.weight": ("Q8_0", (64, 64))})
    served(loopback, **{"m-Q4_0__gguf": SMALL, "m-Q8_0__gguf": other, "mmproj-F16__gguf": SMALL})
    assert [note.code for note in ask().notes] == ["default_quantization"]
    for asked, file in (("Q8_0", "m-Q8_0.gguf"), ("q4_0", "m-Q4_0.gguf")):
        found = ask(f"org/model:{asked}")
        assert found.checkpoint is not None
        assert found.checkpoint.files == (file,)
    assert describe(ask("org/model:Q4_0")).name == "org/model:Q4_0"
    model = describe(ask())
    assert model.name == "org/model:Q8_0"
    assert model.gguf_listing is not None
    assert [one.name for one in model.gguf_listing.models] == ["Q4_0", "Q8_0"]
    assert [one.name for one in model.gguf_listing.projectors] == ["mmproj-F16.gguf"]


def test_one_quantization_does_not_answer_for_another(loopback: LoopbackHub) -> None:
    served(loopback, **{"m-Q4_0__gguf": SMALL, "m-Q8_0__gguf": SMALL})
    ask()
    known = len(loopback.requests)
    offline = Access(offline=True)
    assert find("org/model", offline).checkpoint == find("org/model:Q8_0", offline).checkpoint
    with pytest.raises(OfflineError):
        find("org/model:Q4_0", offline)
    assert len(loopback.requests) == known
    commit = f"org/model@{COMMIT}"
    assert describe(ask(commit)).name == "org/model:Q8_0"
    assert describe(ask(f"{commit}:Q4_0")).name == "org/model:Q4_0"


def split(count: int = 2, **changes: Value) -> dict[str, bytes | Sparse]:
    """A model in two files, of which the first has the keys and no tensors."""
    parts: list[dict[str, tuple[str, tuple[int, ...]]]] = [{}, dict(TENSORS)]
    keys: list[dict[str, Value]] = [dict(KEYS), {}]
    for number, one in enumerate(keys):
        one |= {"split.no": number, "split.count": count, "split.tensors.count": 3}
        one |= {name.replace("__", "."): value for name, value in changes.items()}
    return {
        f"m-0000{number + 1}-of-00002.gguf": gguf(one, tensors)
        for number, (one, tensors) in enumerate(zip(keys, parts, strict=True))
    }


def test_a_split_model(loopback: LoopbackHub) -> None:
    loopback.repositories["org/model"] = Repository(files=split())
    found = ask()
    assert found.checkpoint is not None
    assert len(found.checkpoint.files) == 2
    assert total_bytes(found.checkpoint.tensors) == BYTES
    assert describe(found).parameters is not None


@pytest.mark.parametrize(
    "changes", [{"split__no": 1}, {"split__count": 3}, {"split__tensors__count": 4}]
)
def test_a_split_that_does_not_belong_together(
    loopback: LoopbackHub, changes: dict[str, Value]
) -> None:
    loopback.repositories["org/model"] = Repository(files=split(**changes))
    with pytest.raises(MalformedHeaderError, match=r"split model|tensors in all"):
        ask()


def test_raw_parts_are_one_file(loopback: LoopbackHub) -> None:
    whole = part(SMALL, 0, SMALL.size)
    cut = len(SMALL.head) + 40
    served(loopback, **{"m__gguf__part1of2": whole[:cut], "m__gguf__part2of2": whole[cut:]})
    found = ask()
    assert found.checkpoint is not None
    assert total_bytes(found.checkpoint.tensors) == BYTES


def test_a_local_file_and_its_split(tmp_path: Path) -> None:
    for name, content in split().items():
        assert isinstance(content, Sparse)
        (tmp_path / name).write_bytes(part(content, 0, content.size))
    (tmp_path / "one-Q4_0.gguf").write_bytes(part(SMALL, 0, SMALL.size))
    for name in ("m-00001-of-00002.gguf", "m-00002-of-00002.gguf", "one-Q4_0.gguf"):
        found = local.snapshot(parse(str(tmp_path / name)))
        assert found.checkpoint is not None
        assert total_bytes(found.checkpoint.tensors) == BYTES
        assert found.documents[GGUF_DOCUMENT]["general.architecture"] == "llama"
    (tmp_path / "m-00002-of-00002.gguf").unlink()
    with pytest.raises(NoWeightsError, match="one file of a split model"):
        local.snapshot(parse(str(tmp_path / "m-00001-of-00002.gguf")))


def test_a_local_folder_of_gguf_files(tmp_path: Path) -> None:
    (tmp_path / "one-Q4_0.gguf").write_bytes(part(SMALL, 0, SMALL.size))
    found = local.snapshot(parse(str(tmp_path)))
    assert describe(found).gguf_architecture == "llama"


WEIGHTS = {"model.embed_tokens.weight": (64, 8), "model.norm.weight": (8,)}


def test_a_checkpoint_of_torch(loopback: LoopbackHub) -> None:
    served(loopback, config__json=CONFIG, pytorch_model__bin=checkpoint(WEIGHTS, width=2))
    found = ask()
    assert found.checkpoint is not None
    assert found.checkpoint.files == ("pytorch_model.bin",)
    assert total_bytes(found.checkpoint.tensors) == 2 * (64 * 8 + 8)
    assert len(ranges(loopback, ".bin")) == 1


def test_a_large_checkpoint_of_torch_is_two_reads(loopback: LoopbackHub) -> None:
    served(loopback, config__json=CONFIG, pytorch_model__bin=checkpoint({"a": (200_000,)}))
    assert ask().checkpoint is not None
    assert len(ranges(loopback, ".bin")) == 2
    assert all(ranges(loopback, ".bin"))


def test_shards_of_torch(loopback: LoopbackHub) -> None:
    names = [f"pytorch_model-0000{number}-of-00002.bin" for number in (1, 2)]
    files = {name: checkpoint({f"layers.{number}.w": (4, 4)}) for number, name in enumerate(names)}
    loopback.repositories["org/model"] = Repository(files={"config.json": CONFIG, **files})
    found = ask()
    assert found.checkpoint is not None
    assert found.checkpoint.files == tuple(names)
    assert total_bytes(found.checkpoint.tensors) == 2 * 64


def test_a_local_folder_and_a_local_file(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_bytes(CONFIG)
    (tmp_path / "pytorch_model.bin").write_bytes(checkpoint(WEIGHTS))
    for path in (tmp_path, tmp_path / "pytorch_model.bin"):
        found = local.snapshot(parse(str(path)))
        assert found.checkpoint is not None
        assert found.checkpoint.files == ("pytorch_model.bin",)
        assert total_bytes(found.checkpoint.tensors) == 4 * (64 * 8 + 8)
        assert found.config == json.loads(CONFIG)


EVIL = torch_archive(
    pickled(dict_({"a": global_("os", "system") + tuple_(text("id")) + b"R"})), {"0": 4}
)


@pytest.mark.parametrize(
    ("files", "error", "words"),
    [
        ({"m__gguf": b"GGUF" + bytes(40)}, MalformedHeaderError, "version"),
        ({"m__gguf": Sparse(head=b"GGUF", size=2**40)}, MalformedHeaderError, "version"),
        ({"m__gguf": gguf(KEYS, {})}, MalformedHeaderError, "hold no tensors"),
        ({"pytorch_model__bin": EVIL, "config__json": CONFIG}, MalformedHeaderError, "'os'"),
        ({"model__onnx": b"x"}, NoWeightsError, "are ONNX"),
        ({"tf_model__h5": b"x"}, NoWeightsError, "are HDF5"),
        ({"flax_model__msgpack": b"x"}, NoWeightsError, "are msgpack of Flax"),
        ({"rust_model__ot": b"x"}, NoWeightsError, "are of rust-bert"),
        ({"openvino_model__bin": b"x"}, NoWeightsError, "are OpenVINO"),
        ({"pipeline__dduf": b"x"}, NoWeightsError, "are a DDUF archive"),
        (
            {"saved_model__pb": b"x", "variables/variables__data-00000-of-00001": b"x"},
            NoWeightsError,
            "are of TensorFlow",
        ),
        ({"a__mlpackage/Data/weights/weight__bin": b"x"}, NoWeightsError, "are Core ML"),
        (
            {"consolidated__00__pth": b"x", "consolidated__01__pth": b"x"},
            NoWeightsError,
            "2 files of slices .*0.00 GB",
        ),
    ],
)
def test_one_error_each(
    loopback: LoopbackHub, files: dict[str, bytes | Sparse], error: type[HfmemError], words: str
) -> None:
    served(loopback, **files)
    with pytest.raises(error, match=words):
        ask()


def test_other_formats_are_named_with_their_size(loopback: LoopbackHub) -> None:
    served(loopback, config__json=CONFIG, tf_model__h5=bytes(5000))
    found = ask()
    assert found.checkpoint is None
    assert found.notes[0].message.startswith("The weights are HDF5")
    assert "'tf_model.h5', 0.00 GB" in found.notes[0].message


def test_slices_leave_it_to_the_configuration(loopback: LoopbackHub) -> None:
    half = Sparse(head=b"PK", size=10**9)
    files: dict[str, bytes | Sparse] = {f"consolidated__0{n}__pth": half for n in range(2)}
    served(loopback, config__json=CONFIG, **files)
    found = ask()
    assert found.checkpoint is None
    assert "2 files of slices" in found.notes[0].message
    assert "2.00 GB" in found.notes[0].message


def test_an_unreadable_container_leaves_it_to_the_configuration(loopback: LoopbackHub) -> None:
    served(loopback, config__json=CONFIG, pytorch_model__bin=b"PK\x03\x04" + bytes(9000))
    found = ask()
    assert found.checkpoint is None
    assert "neither a zip archive nor a pickle" in found.notes[0].message


@pytest.mark.parametrize(
    "fault",
    [
        Reply(status=200, body=bytes(10_000_000)),
        Reply(status=206, body=b"GGUF", headers={"Content-Range": "bytes 5-8/99"}),
        Reply(status=503),
        Reply(status=206, body=b"x", length=1000, abort=True),
    ],
)
def test_a_server_that_does_not_keep_to_it(loopback: LoopbackHub, fault: Reply) -> None:
    served(loopback, **{"m-Q4_0__gguf": SMALL})
    loopback.fault("cdn .*gguf", fault)
    with pytest.raises(HubUnavailableError, match="header of m-Q4_0"):
        ask()


def test_a_fault_in_between_is_asked_again(loopback: LoopbackHub) -> None:
    served(loopback, **{"m-Q4_0__gguf": SMALL})
    loopback.fault("cdn .*gguf", Reply(status=503), times=2)
    assert ask().checkpoint is not None


def test_one_storage_over_shards_is_one_note_each(tmp_path: Path) -> None:
    tied = view(storage("0", 4), (4,))
    raw = torch_archive(pickled(dict_({"a": tied, "b": tied})), {"0": 16})
    (tmp_path / "config.json").write_bytes(CONFIG)
    (tmp_path / "pytorch_model.bin").write_bytes(raw)
    found = local.snapshot(parse(str(tmp_path)))
    assert [note.code for note in found.notes] == ["shared_storage"]

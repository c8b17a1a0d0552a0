"""Repositories that hold more than one model's files: what is read of them, and nothing twice."""

from __future__ import annotations

import json

import pytest

from hfmem.checkpoint.loaders import Pick, loader_of
from hfmem.checkpoint.snapshot import Snapshot
from hfmem.checkpoint.tensor import total_bytes
from hfmem.errors import NoWeightsError
from hfmem.memory.loading import held
from hfmem.memory.packed_loading import place
from hfmem.model.describe import describe
from hfmem.source import Access, find
from tests.gguf_files import gguf, llama
from tests.loopback import LoopbackHub, Repository, Sparse, safetensors

CONFIG = json.dumps({"model_type": "llama"}).encode()


def tensors(size: int) -> Sparse:
    """One tensor of ``size`` bytes in float16."""
    return safetensors({"a.weight": ("F16", [size // 2], size)})


PIPELINE = {
    "_class_name": "StableDiffusionPipeline",
    "_diffusers_version": "0.42.1",
    "unet": ["diffusers", "UNet2DConditionModel"],
    "vae": ["diffusers", "AutoencoderKL"],
    "text_encoder": ["transformers", "CLIPTextModel"],
    "safety_checker": [None, None],
    "scheduler": ["diffusers", "PNDMScheduler"],
}


def diffusers() -> dict[str, bytes | Sparse]:
    """Components, their fp16 variants, a component that is left out, and all of it in one file."""
    return {
        "model_index.json": json.dumps(PIPELINE).encode(),
        "scheduler/scheduler_config.json": b"{}",
        "text_encoder/config.json": b"{}",
        "text_encoder/model.fp16.safetensors": tensors(200),
        "text_encoder/model.safetensors": tensors(400),
        "safety_checker/model.safetensors": tensors(9000),
        "unet/config.json": b"{}",
        "unet/diffusion_pytorch_model.fp16.safetensors": tensors(3200),
        "unet/diffusion_pytorch_model.safetensors": tensors(6400),
        "v1-5-pruned.safetensors": tensors(8000),
        "vae/config.json": b"{}",
        "vae/diffusion_pytorch_model.safetensors": tensors(600),
    }


def ask(loopback: LoopbackHub, files: dict[str, bytes | Sparse]) -> Snapshot:
    loopback.repositories["org/model"] = Repository(files=files)
    return find("org/model", Access(source="hub"))


def test_a_pipeline_is_its_components(loopback: LoopbackHub) -> None:
    found = ask(loopback, diffusers())
    assert found.checkpoint is not None
    assert set(found.checkpoint.files) == {
        "text_encoder/model.safetensors",
        "unet/diffusion_pytorch_model.safetensors",
        "vae/diffusion_pytorch_model.safetensors",
    }
    assert total_bytes(found.checkpoint.tensors) == 400 + 6400 + 600
    asked = [path for path in loopback.paths() if path.startswith("cdn")]
    assert len(asked) == len(set(asked)) == 3
    model = describe(found)
    answer = held(model, dtype=model.dtype, where=place("cuda", None))
    assert answer is not None
    assert {part.name: part.bytes for part in answer.used.parts} == {
        "unet": 6400,
        "vae": 600,
        "text_encoder": 400,
    }
    assert answer.used.low == 6400


@pytest.mark.parametrize(
    ("files", "read"),
    [
        # Mistral's own names beside the library's.
        (("consolidated.safetensors", "model.safetensors"), "model.safetensors"),
        (("consolidated.safetensors",), "consolidated.safetensors"),
        (("model.fp16.safetensors", "model.safetensors"), "model.safetensors"),
        (("original/consolidated.00.pth", "model.safetensors"), "model.safetensors"),
        (("onnx/model.onnx", "tf_model.h5", "model.safetensors"), "model.safetensors"),
        (("model.safetensors", "quantized/model.safetensors"), "model.safetensors"),
    ],
    ids=str,
)
def test_one_copy_is_read(loopback: LoopbackHub, files: tuple[str, ...], read: str) -> None:
    content: dict[str, bytes | Sparse] = {name: tensors(64) for name in files}
    found = ask(loopback, {"config.json": CONFIG, **content})
    assert found.checkpoint is not None
    assert found.checkpoint.files == (read,)
    assert total_bytes(found.checkpoint.tensors) == 64


def picked(
    loopback: LoopbackHub, files: dict[str, bytes | Sparse], runtime: str, **flags: str
) -> Snapshot:
    loopback.repositories["org/model"] = Repository(files=files)
    pick = Pick(
        loader=loader_of(runtime),
        variant=flags.get("variant"),
        subfolder=flags.get("subfolder"),
    )
    return find("org/model", Access(source="hub", pick=pick))


BOTH: dict[str, bytes | Sparse] = {
    "config.json": CONFIG,
    "consolidated.safetensors": tensors(128),
    "model.safetensors": tensors(64),
    "model.fp16.safetensors": tensors(32),
    "m-Q8_0.gguf": gguf(llama(block_count=1), {"output_norm.weight": ("F32", (4096,))}),
}


@pytest.mark.parametrize(
    ("runtime", "flags", "read"),
    [
        ("transformers", {}, "model.safetensors"),
        # vLLM 0.33 default_loader.py: mistral where there are consolidated*.safetensors.
        ("vllm", {}, "consolidated.safetensors"),
        ("sglang", {}, "model.safetensors"),
        ("llama.cpp", {}, "m-Q8_0.gguf"),
        ("transformers", {"variant": "fp16"}, "model.fp16.safetensors"),
    ],
)
def test_each_runtime_reads_its_own_copy(
    loopback: LoopbackHub, runtime: str, flags: dict[str, str], read: str
) -> None:
    # Another copy was read before, and must not answer for this one.
    picked(loopback, BOTH, "mlx")
    found = picked(loopback, BOTH, runtime, **flags)
    assert found.checkpoint is not None
    assert found.checkpoint.files == (read,)
    # Kept facts answer the same question, for one request.
    loopback.requests.clear()
    again = picked(loopback, BOTH, runtime, **flags)
    assert again.checkpoint == found.checkpoint
    assert loopback.paths() == ["hub /api/models/org/model/revision/main"]
    offline = Access(
        offline=True, pick=Pick(loader=loader_of(runtime), variant=flags.get("variant"))
    )
    assert find("org/model", offline).checkpoint == found.checkpoint


def test_runtimes_that_read_the_same_files_share_what_is_kept(loopback: LoopbackHub) -> None:
    files = {"config.json": CONFIG, "model.safetensors": tensors(64)}
    picked(loopback, files, "vllm")
    loopback.requests.clear()
    for runtime in ("transformers", "llama.cpp", "vllm"):
        assert picked(loopback, files, runtime).source == "cache"
    assert len(loopback.requests) == 3


def test_a_variant_of_a_pipeline_takes_the_plain_files_of_the_rest(loopback: LoopbackHub) -> None:
    found = picked(loopback, diffusers(), "transformers", variant="fp16")
    assert found.checkpoint is not None
    assert set(found.checkpoint.files) == {
        "text_encoder/model.fp16.safetensors",
        "unet/diffusion_pytorch_model.fp16.safetensors",
        "vae/diffusion_pytorch_model.safetensors",
    }
    assert total_bytes(found.checkpoint.tensors) == 200 + 3200 + 600


def test_a_subfolder_is_the_model(loopback: LoopbackHub) -> None:
    found = picked(loopback, diffusers(), "transformers", subfolder="text_encoder")
    assert found.checkpoint is not None
    assert found.checkpoint.files == ("model.safetensors",)
    assert {file.name for file in found.files} == {
        *("config.json", "model.safetensors", "model.fp16.safetensors"),
    }
    assert "subfolder" in [note.code for note in found.notes]
    assert [path for path in loopback.paths() if path.startswith("cdn")] == [
        "cdn /org/model/text_encoder/model.safetensors"
    ]
    with pytest.raises(NoWeightsError, match="no folder 'text_encoder_2'"):
        picked(loopback, diffusers(), "transformers", subfolder="text_encoder_2")


def test_shards_of_mistral_s_own_set(loopback: LoopbackHub) -> None:
    files: dict[str, bytes | Sparse] = {"config.json": CONFIG, "params.json": b"{}"}
    for stem, size in (("model", 64), ("consolidated", 128)):
        names = [f"{stem}-0000{n}-of-00002.safetensors" for n in (1, 2)]
        index = {f"{name}.weight": name for name in names}
        files[f"{stem}.safetensors.index.json"] = json.dumps({"weight_map": index}).encode()
        files |= {
            name: safetensors({f"{name}.weight": ("F16", [size // 2], size)}) for name in names
        }
    found = picked(loopback, files, "vllm")
    assert found.checkpoint is not None
    assert total_bytes(found.checkpoint.tensors) == 2 * 128
    assert not any("safetensors-metadata" in path for path in loopback.paths())
    plain = picked(loopback, files, "transformers")
    assert plain.checkpoint is not None
    assert total_bytes(plain.checkpoint.tensors) == 2 * 64


PARAMS = json.dumps(
    {"dim": 64, "n_layers": 2, "n_heads": 4, "n_kv_heads": 2, "hidden_dim": 128, "vocab_size": 100}
).encode()


def test_mistral_s_own_files_bring_their_configuration(loopback: LoopbackHub) -> None:
    files = {"params.json": PARAMS, "consolidated.safetensors": tensors(64)}
    found = picked(loopback, files, "vllm")
    assert found.config is not None
    assert (found.config["model_type"], found.config["num_hidden_layers"]) == ("mistral", 2)
    assert "native_params" in [note.code for note in found.notes]


def test_a_variant_that_is_not_there(loopback: LoopbackHub) -> None:
    with pytest.raises(NoWeightsError, match="no weights of the variant 'fp8'") as caught:
        picked(loopback, BOTH, "transformers", variant="fp8")
    assert caught.value.hint == "It has: fp16."


def test_sentence_transformers_with_a_dense_module(loopback: LoopbackHub) -> None:
    modules = [
        {"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"},
        {
            "idx": 1,
            "name": "1",
            "path": "1_Pooling",
            "type": "sentence_transformers.models.Pooling",
        },
        {"idx": 2, "name": "2", "path": "2_Dense", "type": "sentence_transformers.models.Dense"},
    ]
    files: dict[str, bytes | Sparse] = {
        "config.json": json.dumps({"model_type": "bert", "hidden_size": 8}).encode(),
        "modules.json": json.dumps(modules).encode(),
        "model.safetensors": tensors(640),
        "2_Dense/config.json": b"{}",
        "2_Dense/model.safetensors": tensors(128),
    }
    found = ask(loopback, files)
    assert found.checkpoint is not None
    assert {run.name: run.bytes for run in found.checkpoint.tensors} == {
        "a.weight": 640,
        "2_Dense/a.weight": 128,
    }

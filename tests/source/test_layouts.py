"""Repositories that hold more than one model's files: what is read of them, and nothing twice."""

from __future__ import annotations

import json

import pytest

from hfmem.checkpoint.snapshot import Snapshot
from hfmem.checkpoint.tensor import total_bytes
from hfmem.memory.loading import held
from hfmem.memory.packed_loading import place
from hfmem.model.describe import describe
from hfmem.source import Access, find
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

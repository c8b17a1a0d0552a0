"""Pipelines: components together, one after another, and in float32."""

from __future__ import annotations

import pytest

from hfmem.checkpoint.snapshot import Checkpoint, Snapshot
from hfmem.checkpoint.tensor import TensorRun
from hfmem.errors import UsageError
from hfmem.memory.loading import Held, held
from hfmem.memory.packed_loading import place
from hfmem.model.describe import describe
from hfmem.model.model import Model

# Stable Diffusion 1.5 in fp16: U-Net, text encoder and VAE, by their published parameters.
SIZES = {"unet": 859_520_964, "text_encoder": 123_060_480, "vae": 83_653_863}


def pipeline() -> Model:
    tensors = tuple(
        TensorRun(name=f"{name}/mid.weight", dtype="F16", shape=(size,), bytes=2 * size, count=1)
        for name, size in SIZES.items()
    )
    return describe(
        Snapshot(
            model="a/pipeline",
            revision=None,
            source="hub",
            config=None,
            documents={"model_index.json": {"_class_name": "StableDiffusionPipeline"}},
            files=(),
            checkpoint=Checkpoint(files=(), tensors=tensors, metadata={}),
        )
    )


def loaded(asked: str | None) -> Held:
    found = held(pipeline(), dtype=asked or "F16", where=place("cuda", None), asked=asked)
    assert found is not None
    return found


def test_components() -> None:
    found = loaded(None)
    assert {part.name: part.bytes for part in found.used.parts} == {
        name: 2 * size for name, size in SIZES.items()
    }
    # The U-Net alone with enable_model_cpu_offload(), everything in float32 without torch_dtype.
    assert found.used.range_bytes == (2 * SIZES["unet"], 4 * sum(SIZES.values()))
    assert "largest is unet with 1.60 GiB" in found.notes[0].message


def test_a_type_that_was_asked_for_leaves_no_doubt() -> None:
    assert loaded("F32").used.bytes == 4 * sum(SIZES.values())
    assert loaded("F32").used.range_bytes[1] == 4 * sum(SIZES.values())


def test_it_has_a_class_and_no_cache() -> None:
    found = pipeline()
    assert found.class_name == "StableDiffusionPipeline"
    assert found.cache_known
    assert "no_cache" in [note.code for note in found.notes]


def test_quantization_of_parts_is_not_guessed() -> None:
    with pytest.raises(UsageError, match="pipeline"):
        held(pipeline(), dtype="F16", where=place("cuda", None), quantize="nf4")

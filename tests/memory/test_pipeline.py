"""Pipelines: components together, one after another, and in float32."""

from __future__ import annotations

from collections import Counter
from math import prod

import pytest

from hfmem.checkpoint.snapshot import Checkpoint, Snapshot
from hfmem.checkpoint.tensor import TensorRun, brace_count
from hfmem.errors import UsageError
from hfmem.memory.loading import Held, held
from hfmem.memory.packed_loading import place
from hfmem.model.describe import describe
from hfmem.model.layers import NoCache
from hfmem.model.model import Model

# Stable Diffusion 1.5 in fp16: U-Net, text encoder and VAE, by their published parameters.
SIZES = {"unet": 859_520_964, "text_encoder": 123_060_480, "vae": 83_653_863}


def pipeline() -> Model:
    return of_components(
        tuple(
            TensorRun(
                name=f"{name}/mid.weight", dtype="F16", shape=(size,), bytes=2 * size, count=1
            )
            for name, size in SIZES.items()
        )
    )


def of_components(tensors: tuple[TensorRun, ...]) -> Model:
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


# One of every kind that components have, with whether diffusers 0.42 makes it a quantized layer:
# nn.Linear alone (quantizers/bitsandbytes/utils.py: _replace_with_bnb_linear). T5's wo stays in
# transformers' own quantizer, the tables and convolutions of all are no linear layers.
PARTS = (
    ("transformer/context_embedder.weight", (3072, 4096), True),
    ("transformer/transformer_blocks.{0..18}.norm1.linear.weight", (18432, 3072), True),
    ("transformer/transformer_blocks.{0..18}.attn.norm_q.weight", (128,), False),
    ("unet/conv_in.weight", (320, 4, 3, 3), False),
    ("vae/decoder.mid_block.attentions.0.to_q.weight", (512, 512), True),
    ("text_encoder/text_model.embeddings.token_embedding.weight", (49408, 768), False),
    ("text_encoder/text_model.encoder.layers.{0..11}.mlp.fc1.weight", (3072, 768), True),
    ("text_encoder_2/shared.weight", (32128, 4096), False),
    (
        "text_encoder_2/encoder.block.{0..23}.layer.{1..1}.DenseReluDense.wi_0.weight",
        (10240, 4096),
        True,
    ),
    (
        "text_encoder_2/encoder.block.{0..23}.layer.{1..1}.DenseReluDense.wo.weight",
        (4096, 10240),
        False,
    ),
)


def nf4(elements: int) -> int:
    """bitsandbytes functional.py: half a byte each, a float32 for 64, and the table of 16."""
    return elements // 2 + elements // 64 * 4 + 64


def test_a_pipeline_in_four_bits() -> None:
    tensors = tuple(
        TensorRun(
            name=name, dtype="BF16", shape=shape, bytes=2 * prod(shape), count=brace_count(name)
        )
        for name, shape, _ in PARTS
    )
    model = of_components(tensors)
    found = held(model, dtype="BF16", where=place("cuda", None), quantize="nf4")
    assert found is not None
    expected: Counter[str] = Counter()
    for name, shape, is_linear in PARTS:
        each = nf4(prod(shape)) if is_linear else 2 * prod(shape)
        expected[name.partition("/")[0]] += each * brace_count(name)
    assert {part.name: part.bytes for part in found.used.parts} == dict(expected)
    assert found.used.range_bytes == (max(expected.values()), expected.total())
    assert [note.code for note in found.notes] == ["quantized", "pipeline"]


def test_what_diffusers_does_not_convert_to_is_refused() -> None:
    with pytest.raises(UsageError, match="does not convert a pipeline to fp8") as caught:
        held(pipeline(), dtype="F16", where=place("cuda", None), quantize="fp8")
    assert "nf4-dq" in caught.value.hint


def test_one_component_is_no_pipeline_of_several() -> None:
    tensors = (TensorRun(name="mid.weight", dtype="F16", shape=(64, 64), bytes=8192, count=1),)
    model = describe(
        Snapshot(
            model="a/pipeline",
            revision=None,
            source="hub",
            config={"_class_name": "UNet2DConditionModel", "_diffusers_version": "0.42.1"},
            documents={},
            files=(),
            checkpoint=Checkpoint(files=(), tensors=tensors, metadata={}),
        )
    )
    plain = held(model, dtype="F16", where=place("cuda", None))
    packed = held(model, dtype="F16", where=place("cuda", None), quantize="nf4")
    assert plain is not None
    assert packed is not None
    assert (plain.used.bytes, packed.used.bytes) == (8192, nf4(4096))
    assert "largest" not in plain.notes[0].message


def test_the_text_encoder_of_a_pipeline_has_no_cache() -> None:
    config = {
        "architectures": ["T5EncoderModel"],
        "model_type": "t5",
        "torch_dtype": "bfloat16",
        "d_model": 4096,
        "num_layers": 24,
        "num_heads": 64,
        "d_kv": 64,
        "d_ff": 10240,
        "vocab_size": 32128,
        "feed_forward_proj": "gated-gelu",
    }
    model = describe(
        Snapshot(
            model="a/text_encoder_2",
            revision=None,
            source="hub",
            config=config,
            documents={},
            files=(),
            checkpoint=None,
        )
    )
    assert all(kind == NoCache() for layer in model.decoder.layers for kind in layer)
    assert "no_cache" in [note.code for note in model.notes]
    # FLUX.1's: 9,524,621,312 bytes in its index.
    assert model.checkpoint_bytes == 9_524_621_312

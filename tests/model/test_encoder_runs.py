"""Encoders whose length the model or its processor fixes, against transformers 5.23.

Lengths are the cross-attention's keys, or the encoder's own output, of the class under torch 2.13;
sizes are peaks of a dispatch-mode tracer beside the parameters, bf16, with one picture.
"""

from __future__ import annotations

from typing import Any

import pytest

from hfmem.checkpoint.snapshot import Snapshot
from hfmem.errors import InvalidValueError, UsageError
from hfmem.memory.encoder_activations import encoder_activations
from hfmem.model.config import read
from hfmem.model.describe import describe
from hfmem.model.encoder_runs import of_length
from hfmem.model.forward import picture_positions
from hfmem.model.layers import CrossAttention
from hfmem.model.media import MediaInput
from hfmem.model.model import Model
from hfmem.model.multimodal import media

Keys = dict[str, Any]

WHISPER: Keys = {
    "model_type": "whisper",
    "architectures": ["WhisperForConditionalGeneration"],
    "d_model": 1280,
    "encoder_layers": 32,
    "encoder_attention_heads": 20,
    "encoder_ffn_dim": 5120,
    "decoder_layers": 32,
    "decoder_attention_heads": 20,
    "decoder_ffn_dim": 5120,
    "num_mel_bins": 128,
}
PIX2STRUCT: Keys = {
    "model_type": "pix2struct",
    "architectures": ["Pix2StructForConditionalGeneration"],
}
FORMULANET: Keys = {
    "model_type": "pp_formulanet",
    "architectures": ["PPFormulaNetForConditionalGeneration"],
    "vision_config": {"image_size": 768},
}
BLIP: Keys = {
    "model_type": "blip",
    "architectures": ["BlipForConditionalGeneration"],
    "vision_config": {"image_size": 384},
}
BLIP_QUESTIONS: Keys = {**BLIP, "architectures": ["BlipForQuestionAnswering"]}
DONUT_ENCODER: Keys = {
    "model_type": "donut-swin",
    "image_size": [2560, 1920],
    "embed_dim": 128,
    "depths": [2, 2, 14, 2],
    "num_heads": [4, 8, 16, 32],
    "window_size": 10,
}


def pair(encoder: Keys) -> Keys:
    """TrOCR's decoder, which has 12 layers of 16 heads of 64, behind an encoder."""
    return {
        "model_type": "vision-encoder-decoder",
        "architectures": ["VisionEncoderDecoderModel"],
        "encoder": encoder,
        "decoder": {"model_type": "trocr"},
    }


VIT, DEIT = (pair({"model_type": name, "image_size": 384}) for name in ("vit", "deit"))
DONUT = pair(DONUT_ENCODER)


def model(config: Keys, documents: Keys | None = None) -> Model:
    return describe(
        Snapshot(
            model="org/model",
            revision=None,
            source="local",
            config={**config, "dtype": "bfloat16"},
            documents=documents or {},
            files=(),
            checkpoint=None,
        )
    )


def crossing(found: Model) -> CrossAttention:
    return next(
        kind for layer in found.decoder.layers for kind in layer if isinstance(kind, CrossAttention)
    )


@pytest.mark.parametrize(
    ("model_type", "positions"),
    [
        *((name, 197) for name in ("vit", "beit", "vit_msn", "dinov2", "clip_vision_model")),
        *((name, 196) for name in ("ijepa", "siglip_vision_model")),
        ("deit", 198),
        ("dinov2_with_registers", 201),
        ("llama", None),
    ],
)
def test_positions_of_a_picture(model_type: str, positions: int | None) -> None:
    """The class's own output for 224 × 224 pixels in patches of 16."""
    config = {"model_type": model_type, "image_size": 224, "patch_size": 16}
    assert picture_positions(read(config)) == positions


@pytest.mark.parametrize(
    ("config", "documents", "fixed", "usual"),
    [
        (WHISPER, {}, 1500, None),
        (VIT, {}, 577, None),
        (DEIT, {}, 578, None),
        (BLIP, {}, 577, None),
        (BLIP_QUESTIONS, {}, None, None),
        (FORMULANET, {}, 144, None),
        ({**FORMULANET, "vision_config": {}}, {}, 64, None),
        ({**FORMULANET, "vision_config": {"image_size": 80}}, {}, 4, None),
        # models/pix2struct/image_processing_pix2struct.py: max_patches = 2048.
        (PIX2STRUCT, {}, None, 2048),
        (PIX2STRUCT, {"preprocessor_config.json": {"max_patches": 512}}, None, 512),
        (DONUT, {}, None, 4800),
        (pair({**DONUT_ENCODER, "image_size": [900, 670]}), {}, None, 609),
        # Nougat's processor makes the pictures smaller than its encoder's configuration says.
        (
            DONUT,
            {"preprocessor_config.json": {"size": {"height": 896, "width": 672}}},
            None,
            588,
        ),
        # Donut's first files: width, then height.
        (DONUT, {"preprocessor_config.json": {"size": [672, 896]}}, None, 588),
        (DONUT, {"preprocessor_config.json": {"size": {"shortest_edge": 224}}}, None, 4800),
        ({"model_type": "t5", "architectures": ["T5ForConditionalGeneration"]}, {}, None, None),
    ],
)
def test_what_cross_attention_sees(
    config: Keys, documents: Keys, fixed: int | None, usual: int | None
) -> None:
    found = model(config, documents)
    kind = crossing(found)
    assert (kind.source_tokens, kind.usual_tokens) == (fixed, usual)
    assert ("encoder_length" in {note.code for note in found.notes}) is (usual is not None)


@pytest.mark.parametrize(
    ("config", "traced"),
    [
        (VIT, 11_520_000),
        (DEIT, 11_538_432),
        (PIX2STRUCT, 56_631_296),
        (FORMULANET, 785_645_568),
        ({**FORMULANET, "vision_config": {}}, 160_432_128),
        (BLIP, 23_955_504),
        ({**BLIP, "vision_config": {"image_size": 480, "hidden_size": 1024,
          "intermediate_size": 4096, "num_attention_heads": 16}}, 68_099_648),
        (DONUT, 1_427_865_600),
    ],
)  # fmt: skip
def test_what_the_encoder_holds(config: Keys, traced: int) -> None:
    term = encoder_activations(model(config).encoders, batch=1, dtype_bytes=2)
    assert term is not None
    assert term.bytes == traced


# Alive behind the pass beside the pixels: the last states, and PP-FormulaNet's projection of them.
@pytest.mark.parametrize(
    ("config", "traced"),
    [
        (VIT, 577 * 768 * 2),
        (PIX2STRUCT, 3_145_728),
        (FORMULANET, 1_327_104),
        (DONUT, 4800 * 1024 * 2),
    ],
)
def test_what_the_encoder_gives(config: Keys, traced: int) -> None:
    (found,) = model(config).encoders
    assert 2 * found.output == traced


@pytest.mark.parametrize(
    ("config", "traced"),
    [
        (PIX2STRUCT, 3 * 56_631_296),
        ({**FORMULANET, "vision_config": {}}, 495_452_160),
        (BLIP, 71_866_512),
        (pair({**DONUT_ENCODER, "image_size": [896, 672], "window_size": 7}), 505_849_344),
    ],
)
def test_what_three_pictures_hold(config: Keys, traced: int) -> None:
    """Swin's mask is the same for all."""
    term = encoder_activations(model(config).encoders, batch=3, dtype_bytes=2)
    assert term is not None
    assert term.bytes == traced


def test_positions_that_a_call_asks_for() -> None:
    """1,024 patches in fp32, traced under a mask."""
    (usual,) = model(PIX2STRUCT).encoders
    asked = of_length(usual, tokens=1024, usual=2048)
    term = encoder_activations((asked,), batch=1, dtype_bytes=4)
    assert term is not None
    assert term.bytes == 53_485_568


def test_an_encoder_that_is_not_described_is_named() -> None:
    """BEiT's relative positions are not described."""
    found = model(pair({"model_type": "beit", "image_size": 384}))
    assert crossing(found).source_tokens == 577
    assert found.encoders == ()
    assert "encoder_unknown" in {note.code for note in found.notes}


def test_a_picture_is_counted_by_the_batch() -> None:
    with pytest.raises(UsageError, match="one picture a sequence"):
        media(read(PIX2STRUCT), {}, MediaInput(images=1))


@pytest.mark.parametrize(
    ("config", "documents"),
    [
        (PIX2STRUCT, {"preprocessor_config.json": {"max_patches": -1}}),
        ({**FORMULANET, "vision_config": {"image_size": 2**40}}, {}),
        (DONUT, {"preprocessor_config.json": {"size": {"height": -1, "width": 5}}}),
        (DONUT, {"preprocessor_config.json": {"size": ["a", 5]}}),
        (pair({**DONUT_ENCODER, "patch_size": 0}), {}),
        (pair({**DONUT_ENCODER, "depths": [2] * 9000}), {}),
    ],
)
def test_nonsense_is_refused(config: Keys, documents: Keys) -> None:
    with pytest.raises(InvalidValueError):
        model(config, documents)

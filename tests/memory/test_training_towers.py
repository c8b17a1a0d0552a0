"""What encoders of pictures and sound keep in a training step, against what autograd saves.

The expected figures are of transformers 5.23 and torch 2.13 on real tensors in bf16: the storages
that ``saved_tensors_hooks`` saw and that were alive after the forward pass, without parameters and
buffers.
"""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from hfmem.memory.training import training_estimate
from hfmem.memory.training_parameters import parameters
from hfmem.memory.training_pass import activations, layer_order, saving_of
from hfmem.memory.training_run import TrainingRun
from hfmem.memory.training_saved import layer_saved
from hfmem.memory.training_sharding import stages
from hfmem.memory.training_tensors import Saving
from hfmem.memory.training_towers import tower_saved
from hfmem.model.config import read
from hfmem.model.lora import LoraSpec, adapters
from hfmem.model.media import MediaInput, TowerPass
from hfmem.model.multimodal import media
from hfmem.model.tower_layers import tower_layers
from tests.memory.training_models import model_of

SIZES = {"hidden_size": 48, "intermediate_size": 112, "num_attention_heads": 6}
LAYERS = {**SIZES, "num_hidden_layers": 2}
QWEN = {"embed_dim": 48, "hidden_size": 64, "num_heads": 6, "mlp_ratio": 4, "depth": 2}
WHISPER = {"d_model": 48, "encoder_ffn_dim": 112, "encoder_layers": 2, "encoder_attention_heads": 6}


@pytest.mark.parametrize(
    ("model_type", "section", "trained", "frozen"),
    [
        ("clip_vision_model", {**LAYERS, "hidden_act": "quick_gelu"}, 1472, 1056),
        ("siglip_vision_model", {**LAYERS, "hidden_act": "gelu_pytorch_tanh"}, 1248, 832),
        ("internvl_vision", LAYERS, 1440, 832),
        ("pixtral", LAYERS, 2080, 1472),
        ("llama4_vision_model", {**LAYERS, "intermediate_size": 192}, 1568, 992),
        ("qwen2_vl", {**QWEN, "hidden_act": "quick_gelu"}, 2240, 1568),
        ("qwen2_5_vl", {**SIZES, "num_heads": 6, "depth": 2}, 2368, 1664),
        ("qwen3_vl", {**SIZES, "num_heads": 6, "depth": 2}, 1536, None),
        ("qwen2_5_omni_vision_encoder", {**SIZES, "num_heads": 6, "depth": 2}, 2176, 1472),
        ("glm4v_vision", {**SIZES, "num_heads": 6, "depth": 2, "out_hidden_size": 64}, 1984, None),
        ("qwen2_audio_encoder", WHISPER, 1344, 832),
        ("voxtral_encoder", {**LAYERS, "num_mel_bins": 8}, 1344, 832),
        ("idefics3_vision", {**LAYERS, "hidden_act": "gelu_pytorch_tanh"}, 1248, 832),
    ],
)
def test_bytes_of_a_position_in_a_layer(
    model_type: str, section: dict[str, object], trained: int, frozen: int | None
) -> None:
    """LayerNorm's mean and deviation have 2 bytes on the CPU and 4 on CUDA: 8 bytes a position."""
    kind = "audio" if "audio" in model_type else "image"
    run = TowerPass(section="part", kind=kind, items=1, positions=64, values=0)
    config = read({"model_type": "x", "part": {"model_type": model_type, **section}})
    found = tower_layers(config, run)
    assert found is not None
    for truth, still in ((trained, False), (frozen, True)):
        saving = Saving(
            hidden=found.hidden,
            sequences=1,
            tokens=64,
            width=2,
            kernel=2,
            stream=2,
            attention="sdpa",
            backward=found.backward,
            frozen=still,
        )
        each = tower_saved(found, saving).bytes() / 64
        assert truth is None or each == pytest.approx(truth, abs=8)


def test_a_layer_that_norms_query_keys_and_values() -> None:
    """36 positions; a second deviation of every norm and 832 bytes of weights are not
    counted."""
    run = TowerPass(section="part", kind="image", items=1, positions=36, values=0)
    section = {"model_type": "gemma4_vision", **LAYERS, "num_key_value_heads": 6, "head_dim": 8}
    found = tower_layers(read({"model_type": "x", "part": section}), run)
    assert found is not None
    saving = Saving(
        hidden=48,
        sequences=1,
        tokens=36,
        width=2,
        kernel=2,
        stream=2,
        attention="sdpa",
        backward=found.backward,
        frozen=False,
    )
    assert tower_saved(found, saving).bytes() / 36 == pytest.approx(4191, rel=0.035)


TEXT = {
    "hidden_size": 96,
    "intermediate_size": 200,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 24,
    "vocab_size": 300,
}
VISION = {
    "hidden_size": 64,
    "intermediate_size": 160,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "image_size": 56,
    "patch_size": 14,
}
GRID = {"depth": 4, "num_heads": 4, "patch_size": 14, "temporal_patch_size": 2}
GRID |= {"spatial_merge_size": 2}
LLAVA = {
    "model_type": "llava",
    "architectures": ["LlavaForConditionalGeneration"],
    "dtype": "bfloat16",
    "vision_feature_layer": -2,
    "vision_config": {"model_type": "clip_vision_model", **VISION},
    "text_config": {"model_type": "llama", **TEXT},
}
QWEN2 = {
    "model_type": "qwen2_vl",
    "architectures": ["Qwen2VLForConditionalGeneration"],
    "dtype": "bfloat16",
    "vision_config": {
        **{"model_type": "qwen2_vl", "embed_dim": 64, "hidden_size": 96, "mlp_ratio": 4},
        **GRID,
    },
    "text_config": {"model_type": "qwen2_vl_text", **TEXT},
}
QWEN2_5 = {
    **QWEN2,
    "model_type": "qwen2_5_vl",
    "architectures": ["Qwen2_5_VLForConditionalGeneration"],
    "vision_config": {
        **{"model_type": "qwen2_5_vl", "hidden_size": 64, "intermediate_size": 160},
        **{"out_hidden_size": 96, "window_size": 112, "fullatt_block_indexes": [1, 3]},
        **GRID,
    },
    "text_config": {"model_type": "qwen2_5_vl_text", **TEXT},
}
DECODER = r"(?:.*\.)?(?:language_model\.)?layers\.\d+\.self_attn\.(?:q_proj|v_proj)"


def asked(config: dict[str, object], size: int, **changes: object) -> TrainingRun:
    """One picture of a square of ``size`` pixels beside 24 tokens, in bf16."""
    brings = MediaInput(images=1, image_size=(size, size))
    found = media(read(config), {}, brings)
    return replace(TrainingRun(precision="bf16", seq_len=24, brings=brings, media=found), **changes)


def kept(config: dict[str, object], run: TrainingRun) -> int:
    """Of the encoder, through the decoder's step."""
    model = model_of(config)
    assert model.forward is not None
    assert model.weights is not None
    lora = adapters(model.weights, run.lora) if run.adapted else None
    (rank,) = stages(run.parallel, layers=2, tied=False)
    held = parameters(model, run, lora) or ()
    found = activations(model, model.forward, run, rank, held, lora, tokens=40)
    return found.whole.towers_kept


@pytest.mark.parametrize(
    ("config", "size", "method", "checkpointing", "truth", "within"),
    [
        # One layer of 64 wide more than the one that is taken, and no class token.
        (LLAVA, 56, "full", "none", 152_908, 0.04),
        (LLAVA, 56, "full", "full", 35_948, 0.05),
        (LLAVA, 56, "lora", "none", 245_012, 0.04),
        (QWEN2, 112, "full", "none", 951_592, 0.01),
        (QWEN2, 112, "full", "full", 216_360, 0.01),
        (QWEN2, 112, "lora", "none", 1_070_792, 0.02),
        (QWEN2, 112, "lora", "full", 82_728, 0.01),
        (QWEN2, 112, "decoder", "none", 0, 0),
        (QWEN2, 112, "decoder", "full", 49_448, 0.01),
        (QWEN2_5, 112, "full", "none", 1_033_768, 0.01),
        (QWEN2_5, 112, "full", "full", 233_000, 0.01),
        (QWEN2_5, 112, "lora", "none", 1_091_400, 0.01),
        (QWEN2_5, 112, "lora", "full", 91_176, 0.01),
        (QWEN2_5, 112, "decoder", "none", 0, 0),
        (QWEN2_5, 112, "decoder", "full", 57_896, 0.01),
    ],
)
def test_what_an_encoder_keeps(
    config: dict[str, object],
    size: int,
    method: str,
    checkpointing: str,
    truth: int,
    within: float,
) -> None:
    """With a picture less without one; rank-4 adapters of peft 0.21, on all linear layers or on the
    decoder's query and value."""
    changes: dict[str, object] = {"checkpointing": checkpointing}
    if method != "full":
        targets = DECODER if method == "decoder" else "all-linear"
        changes |= {"method": "lora", "lora": LoraSpec(rank=4, targets=targets)}
    assert kept(config, asked(config, size, **changes)) == pytest.approx(truth, rel=within)


def test_what_an_encoder_keeps_is_there_through_the_decoders_step() -> None:
    """And gone where its own pass is done: the step holds as much as without a picture."""
    run = asked(QWEN2, 112)
    text = replace(run, seq_len=40, media=None, brings=MediaInput())
    seen, read_only = (training_estimate(model_of(QWEN2), one) for one in (run, text))
    assert seen.seq_len == read_only.seq_len == 40
    more = {
        phase.name: phase.part("activations").bytes - other.part("activations").bytes
        for phase, other in zip(seen.phases, read_only.phases, strict=True)
    }
    assert more["forward"] == kept(QWEN2, run)
    assert more["step"] == 0
    assert "text_only_activations" in {note.code for note in read_only.notes}
    assert "text_only_activations" not in {note.code for note in seen.notes}


GEMMA3 = {
    "model_type": "gemma3",
    "architectures": ["Gemma3ForConditionalGeneration"],
    "dtype": "bfloat16",
    "mm_tokens_per_image": 4,
    "vision_config": {"model_type": "siglip_vision_model", **VISION},
    "text_config": {"model_type": "gemma3_text", **TEXT},
}


@pytest.mark.parametrize(
    ("config", "attention", "brings", "bias"),
    [
        # transformers 5.23 gemma3: create_masks_for_vision_model where there are token_type_ids;
        # 28 positions, each with a bf16 number for every other, in both layers.
        (GEMMA3, "sdpa", True, 2 * 28 * 28 * 2),
        (GEMMA3, "sdpa", False, 0),
        (GEMMA3, "flash", True, 0),
        (QWEN2, "sdpa", True, 0),
    ],
)
def test_pictures_that_see_themselves_whole_are_masked(
    config: dict[str, object], attention: str, brings: bool, bias: int
) -> None:
    run = asked(config, 56, attention=attention)
    run = run if brings else replace(run, media=None, brings=MediaInput())
    model = model_of(config)
    assert model.forward is not None
    tokens = 24 + (run.media.tokens if run.media else 0)
    saving = saving_of(model, model.forward, run, tokens=tokens)
    found = sum(
        one.bytes
        for shape in layer_order(model.forward)
        for one in layer_saved(shape, saving).all
        if one.name == "attention bias"
    )
    assert found == bias
    notes = {note.code for note in training_estimate(model, run).notes}
    assert ("picture_mask" in notes) == bool(bias)


@pytest.mark.parametrize(
    ("changes", "unknown"),
    [
        ({}, ("activations",)),
        (
            {"method": "lora", "lora": LoraSpec(targets=DECODER), "checkpointing": "full"},
            ("activations",),
        ),
        ({"method": "lora", "lora": LoraSpec(targets=DECODER)}, ()),
    ],
)
def test_an_encoder_that_is_not_described_leaves_a_lower_bound(
    changes: dict[str, object], unknown: tuple[str, ...]
) -> None:
    """It keeps nothing where no gradient reaches it."""
    run = asked(QWEN2, 112, **changes)
    assert run.media is not None
    hidden = replace(run.media, layers=(), unsaved=("the encoder qwen9",))
    found = training_estimate(model_of(QWEN2), replace(run, media=hidden))
    assert found.unknown == unknown
    told = [note.message for note in found.notes if note.code == "encoder_unsaved"]
    assert bool(told) == bool(found.unknown)
    assert all("qwen9" in message for message in told)

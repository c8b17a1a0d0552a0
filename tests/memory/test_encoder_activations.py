"""What encoders hold, against live tensors of transformers 5.23 under torch 2.13.

The truths are peaks of a dispatch-mode tracer beside the parameters, bf16, with few layers; rope
tables and position indices, at most 3 %, are not counted.
"""

from __future__ import annotations

import pytest

from hfmem.memory.encoder_activations import encoder_activations
from hfmem.model.config import read
from hfmem.model.media import TowerPass
from hfmem.model.vision_towers import encoder_pass

CLIP = {
    "model_type": "clip_vision_model",
    "hidden_size": 1024,
    "intermediate_size": 4096,
    "num_hidden_layers": 4,
}
SIGLIP = {
    "model_type": "siglip_vision_model",
    "hidden_size": 1152,
    "intermediate_size": 4304,
    "num_hidden_layers": 2,
}
MLLAMA = {"model_type": "mllama_vision_model", "hidden_size": 1280, "intermediate_size": 5120}


def tower(
    items: int, positions: int, values: int, *, together: int = 1, section: str = "vision_config"
) -> TowerPass:
    return TowerPass(
        section=section,
        kind="image",
        items=items,
        positions=positions,
        values=values,
        together=together,
    )


@pytest.mark.parametrize(
    ("config", "run", "traced"),
    [
        (
            {"model_type": "paligemma", "vision_config": CLIP},
            tower(8, 577, 3 * 336**2),
            156_676_096,
        ),
        (
            {"model_type": "paligemma", "vision_config": SIGLIP},
            tower(2, 729, 3 * 384**2),
            40_307_712,
        ),
        (
            {"model_type": "x", "vision_config": {"model_type": "llama4_vision_model",
             "hidden_size": 256, "intermediate_size": 1024}},
            tower(2, 577, 3 * 336**2),
            10_808_320,
        ),
        (
            {"model_type": "x", "vision_config": {"model_type": "glm4v_vision",
             "hidden_size": 256, "intermediate_size": 700, "out_hidden_size": 256}},
            tower(1, 1024, 1024 * 3 * 2 * 14**2),
            11_601_408,
        ),
        (
            {"model_type": "x", "vision_config": {"model_type": "kimi_k25_vision",
             "hidden_size": 256, "intermediate_size": 1024}},
            tower(1, 1024, 1024 * 3 * 14**2),
            10_396_672,
        ),
        (
            {"model_type": "x", "vision_config": {"model_type": "gemma4_vision",
             "hidden_size": 256, "intermediate_size": 1024}},
            tower(1, 2304, 2304 * 768),
            22_750_208,
        ),
        (
            {"model_type": "internvl"},
            tower(2, 1025, 3 * 448**2),
            56_987_648,
        ),
        (
            {"model_type": "mistral3", "vision_config": {"model_type": "pixtral"}},
            tower(1, 1024, 3 * 512**2),
            39_601_664,
        ),
        (
            {"model_type": "mllama", "vision_config": MLLAMA},
            tower(4, 1025, 3 * 448**2, together=4),
            186_764_288,
        ),
        ({"model_type": "qwen2_vl"}, tower(1, 1024, 1024 * 1176), 47_645_696),
        ({"model_type": "qwen2_5_vl", "vision_config": {"hidden_size": 1280}},
         tower(1, 1024, 1024 * 1176), 47_648_256),
        (
            {"model_type": "whisper", "d_model": 1280, "encoder_ffn_dim": 5120},
            tower(1, 1500, 128 * 3000, section="audio_config"),
            46_860_288,
        ),
    ],
)  # fmt: skip
def test_traced_peaks(config: dict[str, object], run: TowerPass, traced: int) -> None:
    found = encoder_pass(read(config), run)
    assert found is not None
    term = encoder_activations([found], batch=1, dtype_bytes=2)
    assert term is not None
    assert term.bytes == pytest.approx(traced, rel=0.03)


def test_llava_keeps_every_hidden_state() -> None:
    # CLIP with output_hidden_states: 175,583,232 bytes in the MLP of the last of four layers.
    config = read({"model_type": "llava", "vision_config": CLIP, "text_config": {"hidden_size": 8}})
    found = encoder_pass(config, tower(8, 577, 3 * 336**2))
    assert found is not None
    term = encoder_activations([found], batch=1, dtype_bytes=2)
    assert term is not None
    assert term.bytes == 175_583_232


def test_siglip_of_llava_video() -> None:
    config = read(
        {"mm_vision_tower": "google/siglip-so400m-patch14-384", "hidden_size": 8192},
    )
    found = encoder_pass(config, tower(64, 729, 3 * 384**2, section="mm_vision_tower"))
    assert found is not None
    term = encoder_activations([found], batch=1, dtype_bytes=2)
    assert term is not None
    # 26 kept states and two more, two of the MLP's width, and the pixels.
    assert term.bytes == 46_656 * 2 * (28 * 1152 + 2 * 4304) + 2 * 64 * 3 * 384**2


def test_an_encoder_that_nobody_described_has_no_figure() -> None:
    config = read({"model_type": "gemma3n", "vision_config": {"model_type": "gemma3n_vision"}})
    assert encoder_pass(config, tower(1, 256, 1)) is None


# A recording of 30 seconds: the first convolution and what follows it is the peak.
@pytest.mark.parametrize(
    ("audio", "traced"),
    [
        ({"model_type": "gemma4_audio", "hidden_size": 256, "subsampling_conv_channels": [128, 32]},
         74_499_072),
        ({"model_type": "qwen3_omni_moe_audio_encoder", "d_model": 256, "num_mel_bins": 128,
          "downsample_hidden_size": 64}, 26_117_120),
    ],
)  # fmt: skip
def test_sound_peaks_in_its_first_convolution(audio: dict[str, object], traced: int) -> None:
    run = TowerPass(
        section="audio_config", kind="audio", items=1, positions=3000, values=3000 * 128
    )
    found = encoder_pass(read({"model_type": "x", "audio_config": audio}), run)
    assert found is not None
    term = encoder_activations([found], batch=1, dtype_bytes=2)
    assert term is not None
    assert term.bytes == pytest.approx(traced, rel=0.001)


def test_the_largest_of_several_passes_counts_and_grows_with_the_batch() -> None:
    config = read({"model_type": "paligemma", "vision_config": CLIP})
    small, large = (encoder_pass(config, tower(n, 577, 3 * 336**2)) for n in (1, 3))
    assert small is not None
    assert large is not None
    both = encoder_activations([small, large], batch=2, dtype_bytes=2)
    one = encoder_activations([large], batch=1, dtype_bytes=2)
    assert both is not None
    assert one is not None
    assert both.bytes == 2 * one.bytes
    assert encoder_activations([], batch=1, dtype_bytes=2) is None

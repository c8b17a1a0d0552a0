"""What pictures, frames and sound add, against the processors' own code.

Where a row names a processor of transformers 5.23, the number is what that code returned for the
same sizes; rows of LLaVA-NeXT follow llava/model/llava_arch.py by hand.
"""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hfmem.errors import HfmemError, InvalidValueError, MissingKeyError, UsageError
from hfmem.model.config import read
from hfmem.model.media import Media, MediaInput
from hfmem.model.multimodal import FAMILIES, Family, media

LLAVA_VIDEO: dict[str, object] = {
    "architectures": ["LlavaQwenForCausalLM"],
    "model_type": "llava",
    "hidden_size": 8192,
    "mm_vision_tower": "google/siglip-so400m-patch14-384",
    "mm_patch_merge_type": "spatial_unpad",
    "mm_newline_position": "grid",
    "mm_spatial_pool_mode": "bilinear",
    "mm_spatial_pool_stride": 2,
    "image_aspect_ratio": "anyres_max_9",
    "image_grid_pinpoints": [[384 * i, 384 * j] for i in range(1, 7) for j in range(1, 7)],
}
FASTER = {"add_faster_video": True, "faster_token_stride": 10, "mm_spatial_pool_mode": "average"}
CLIP = {"model_type": "clip_vision_model", "image_size": 336, "patch_size": 14}
SIGLIP = {"model_type": "siglip_vision_model", "image_size": 384, "patch_size": 14}
PIXELS: dict[str, dict[str, object]] = {
    "preprocessor_config.json": {"min_pixels": 3136, "max_pixels": 1_003_520}
}


def found(
    config: dict[str, object],
    documents: dict[str, dict[str, object]] | None = None,
    *,
    size: tuple[int, int] | None = None,
    images: int = 0,
    frames: int = 0,
    seconds: float = 0,
) -> Media:
    asked = MediaInput(images=images, image_size=size, frames=frames, audio_seconds=seconds)
    answer = media(read(config), documents or {}, asked)
    assert answer is not None
    return answer


@pytest.mark.parametrize(
    ("changed", "frames", "tokens"),
    [
        # get_2dPool: 27 patches a side, ceil(27 / 2) = 14 interpolated, 13 averaged; a newline a
        # row.
        ({}, 64, 64 * 14 * 15),
        ({"mm_spatial_pool_mode": "average"}, 64, 64 * 13 * 14),
        ({"mm_spatial_pool_mode": "max"}, 110, 110 * 13 * 14),
        ({"mm_spatial_pool_stride": None}, 64, 13_440),
        ({"mm_spatial_pool_stride": 3}, 10, 10 * 9 * 10),
        # add_token_per_frame, one newline for all, none.
        ({"mm_newline_position": "frame"}, 32, 32 * 197),
        ({"mm_newline_position": "one_token"}, 32, 32 * 196 + 1),
        ({"mm_newline_position": "no_token"}, 32, 32 * 196),
        ({"mm_patch_merge_type": "flat"}, 32, 32 * 196),
        # 7 of 64 frames slow (13 × 14), the others pooled by 4 (6 × 7), one token a frame.
        (FASTER, 64, 7 * 182 + 57 * 42 + 64),
    ],
)
def test_llava_video_frames(changed: dict[str, object], frames: int, tokens: int) -> None:
    assert found(LLAVA_VIDEO | changed, frames=frames).tokens == tokens


def test_the_answer_names_the_key_that_it_read() -> None:
    keys = found(LLAVA_VIDEO, frames=64).keys
    assert 'config.json: mm_spatial_pool_mode = "bilinear"' in keys
    assert "config.json: mm_spatial_pool_stride = 2" in keys
    silent = {**LLAVA_VIDEO, "mm_spatial_pool_mode": None}
    assert any("has no mm_spatial_pool_mode" in key for key in found(silent, frames=64).keys)


HUB_QWEN2 = {"model_type": "qwen2_vl"}
QWEN3 = {"model_type": "qwen3_vl"}


@pytest.mark.parametrize(
    ("config", "documents", "size", "tokens"),
    [
        # Qwen2VLImageProcessor.get_number_of_image_patches / 4; without a file the family's own
        # limits (Qwen/Qwen2-VL-7B-Instruct: 3,136 to 12,845,056).
        (HUB_QWEN2, {}, (1080, 1920), 2691),
        (HUB_QWEN2, PIXELS, (1080, 1920), 1222),
        (HUB_QWEN2, {"processor_config.json": {"image_processor": {"size": {
            "shortest_edge": 3136, "longest_edge": 1_003_520}}}}, (1080, 1920), 1222),
        (HUB_QWEN2, {}, (20, 30), 6),
        (HUB_QWEN2, {}, (5000, 7000), 16_308),
        (QWEN3, {}, (1024, 1024), 1024),
        (QWEN3, {}, (333, 1717), 540),
        # LlavaNextProcessor._get_number_of_features.
        ({"model_type": "llava_next", "vision_config": CLIP}, {}, (600, 800), 2340),
        ({"model_type": "llava_next", "vision_config": CLIP}, {}, (1000, 500), 1776),
        ({"model_type": "llava_next", "vision_config": CLIP}, {}, (336, 336), 1176),
        ({"model_type": "llava_next", "vision_config": CLIP}, {}, (1200, 300), 1944),
        # LlavaOnevisionProcessor._get_number_of_features, anyres_max_9.
        ({"model_type": "llava_onevision", "vision_config": SIGLIP}, {}, (1024, 1024), 7371),
        ({"model_type": "llava_onevision", "vision_config": SIGLIP}, {}, (600, 800), 4725),
        ({"model_type": "llava_onevision", "vision_config": SIGLIP}, {}, (384, 384), 1485),
        ({"model_type": "llava_onevision", "vision_config": SIGLIP}, {}, (3000, 1000), 7309),
        (LLAVA_VIDEO, {}, (3000, 1000), 7309),
        # (336 / 14)², and 224, 448, 896 / 14 squared.
        ({"model_type": "llava", "vision_config": CLIP}, {}, None, 576),
        ({"model_type": "paligemma", "vision_config": SIGLIP | {"image_size": 224}}, {}, None, 256),
        ({"model_type": "paligemma", "vision_config": SIGLIP | {"image_size": 896}},
         {}, None, 4096),
        ({"model_type": "gemma3"}, {}, (1080, 1920), 256),
        # GotOcr2ImageProcessor.get_number_of_image_patches × 256.
        ({"model_type": "internvl"}, {}, (800, 1600), 9 * 256),
        ({"model_type": "internvl"}, {}, (448, 448), 256),
        ({"model_type": "internvl"}, {}, (1024, 1024), 10 * 256),
        ({"model_type": "internvl"}, {}, (500, 600), 13 * 256),
        # pixtral get_resize_output_image_size, a break after every row.
        ({"model_type": "pixtral", "vision_config": {"patch_size": 16}}, {}, (1024, 1024), 4160),
        ({"model_type": "pixtral", "vision_config": {"patch_size": 16}}, {}, (1080, 1920), 2340),
        ({"model_type": "pixtral", "vision_config": {"patch_size": 16}}, {}, (5, 2000), 65),
        ({"model_type": "mistral3"}, {"preprocessor_config.json": {"size": {"longest_edge": 1540}}},
         (600, 800), 660),
        # gemma4 get_aspect_ratio_preserving_size.
        ({"model_type": "gemma4"}, {}, (768, 768), 256),
        ({"model_type": "gemma4"}, {}, (1080, 1920), 264),
        ({"model_type": "gemma4"}, {}, (50, 5000), 167),
        # llama4 get_best_fit: tiles and the whole picture; idefics3 get_number_of_image_patches.
        ({"model_type": "llama4", "vision_config": {"image_size": 336, "patch_size": 14}}, {},
         (1024, 1024), 17 * 144),
        ({"model_type": "llama4", "vision_config": {"image_size": 336, "patch_size": 14}}, {},
         (600, 2000), 13 * 144),
        ({"model_type": "idefics3", "vision_config": {"image_size": 364, "patch_size": 14}}, {},
         (500, 1000), 9 * 169),
    ],
)  # fmt: skip
def test_one_picture(
    config: dict[str, object],
    documents: dict[str, dict[str, object]],
    size: tuple[int, int] | None,
    tokens: int,
) -> None:
    assert found(config, documents, images=1, size=size).tokens == tokens


@pytest.mark.parametrize(
    ("config", "frames", "size", "tokens"),
    [
        # qwen2_vl and qwen3_vl video_processing: smart_resize, two frames share their cells.
        (HUB_QWEN2, 64, (1080, 1920), 23_040),
        (HUB_QWEN2, 7, (480, 640), 1564),
        (QWEN3, 64, (1080, 1920), 11_648),
        (QWEN3, 8, (1080, 1920), 8160),
        (QWEN3, 65, (480, 640), 9900),
        # 14 × 14 a frame and a newline; a quarter of 576; video_seq_length of VideoLlavaConfig.
        ({"model_type": "llava_onevision", "vision_config": SIGLIP}, 32, None, 6273),
        ({"model_type": "llava_next_video", "vision_config": CLIP}, 8, None, 1152),
        ({"model_type": "video_llava"}, 8, None, 2056),
        ({"model_type": "internvl"}, 8, None, 8 * 256),
        ({"model_type": "gemma4"}, 10, (480, 640), 630),
    ],
)
def test_one_film(
    config: dict[str, object], frames: int, size: tuple[int, int] | None, tokens: int
) -> None:
    assert found(config, frames=frames, size=size).tokens == tokens


@pytest.mark.parametrize(
    ("model_type", "seconds", "tokens"),
    [
        # processing_qwen2_audio.py: (((l - 1) // 2 + 1) - 2) // 2 + 1 of 100 mel frames a second.
        ("qwen2_audio", 30, 750),
        ("qwen2_audio", 10, 250),
        ("qwen2_audio", 0.5, 12),
        ("qwen2_audio", 90, 750),
        ("qwen2_5_omni", 90, 2250),
        ("voxtral", 30, 375),
        ("voxtral", 31, 750),
        ("whisper", 300, 0),
        ("gemma3n", 10, 188),
        ("qwen3_omni_moe", 10.5, 130 + 7),
    ],
)
def test_sound(model_type: str, seconds: float, tokens: int) -> None:
    assert found({"model_type": model_type}, seconds=seconds).tokens == tokens


def test_llama_32_vision_sees_pictures_by_cross_attention() -> None:
    config = {"model_type": "mllama", "vision_config": {"image_size": 560, "patch_size": 14}}
    answer = found(config, images=2, size=(100, 100))
    # pad_batches_and_tiles fills four tiles of (560 / 14)² + 1.
    assert (answer.tokens, answer.encoder_tokens) == (0, 2 * 4 * 1601)


@pytest.mark.parametrize(
    ("config", "asked", "error", "words"),
    [
        ({"model_type": "qwen3"}, MediaInput(images=1), UsageError,
         "qwen3 takes no pictures: it is a model of text alone. Leave out --images."),
        ({"model_type": "qwen3"}, MediaInput(frames=1, audio_seconds=1), UsageError,
         "Leave out --frames, --audio-seconds."),
        ({"model_type": "dots3_note", "vision_config": {}}, MediaInput(images=1), UsageError,
         "not known"),
        ({"model_type": "kimi_k25"}, MediaInput(images=1), UsageError, "--image-size"),
        ({"model_type": "vit", "image_size": 224, "patch_size": 16}, MediaInput(images=2),
         UsageError, "--batch"),
        (HUB_QWEN2, MediaInput(images=1), UsageError, "size"),
        (HUB_QWEN2, MediaInput(audio_seconds=3), UsageError, "--audio-seconds"),
        ({"model_type": "gemma3"}, MediaInput(frames=3), UsageError, "film"),
        (HUB_QWEN2, MediaInput(images=1, image_size=(1, 300)), UsageError, "200"),
        (LLAVA_VIDEO | {"mm_spatial_pool_mode": "sum"}, MediaInput(frames=3), InvalidValueError,
         "mm_spatial_pool_mode"),
        (LLAVA_VIDEO | {"mm_vision_tower": "a/tower"}, MediaInput(frames=3), MissingKeyError,
         "mm_vision_tower"),
        (LLAVA_VIDEO | {"image_grid_pinpoints": None},
         MediaInput(images=1, image_size=(9, 9)), MissingKeyError, "image_grid_pinpoints"),
        ({"model_type": "paligemma", "vision_config": {"image_size": 14, "patch_size": 28}},
         MediaInput(images=1), InvalidValueError, "patch_size"),
    ],
)  # fmt: skip
def test_no_rule_is_an_error_and_never_a_guess(
    config: dict[str, object], asked: MediaInput, error: type[HfmemError], words: str
) -> None:
    with pytest.raises(error) as raised:
        media(read(config), {}, asked)
    assert words in f"{raised.value.message} {raised.value.hint}"


def test_nothing_asked_is_nothing_added() -> None:
    assert media(read({"model_type": "kimi_k25"}), {}, MediaInput()) is None


def test_a_model_type_belongs_to_one_family() -> None:
    names = [name for family in FAMILIES for name in family.model_types]
    assert len(names) == len(set(names))


ANY_VALUE = st.one_of(
    st.none(), st.booleans(), st.integers(-5, 2**70), st.floats(), st.text(max_size=5),
    st.lists(st.integers(-2, 10**6), max_size=3),
)  # fmt: skip


@settings(max_examples=60, deadline=None)
@given(
    family=st.sampled_from(FAMILIES),
    key=st.sampled_from(["size", "max_pixels", "max_soft_tokens", "patch_size", "max_patches"]),
    value=st.one_of(ANY_VALUE, st.dictionaries(st.just("longest_edge"), ANY_VALUE)),
    tall=st.integers(1, 9000),
    wide=st.integers(1, 9000),
    count=st.integers(1, 50),
)
def test_hostile_files_end_in_a_number_or_a_clear_error(
    family: Family, key: str, value: object, tall: int, wide: int, count: int
) -> None:
    name = family.model_types[0]
    documents = {"preprocessor_config.json": {key: value}}
    asked = MediaInput(images=count, image_size=(tall, wide))
    try:
        answer = media(read({"model_type": name}), documents, asked)
    except HfmemError:
        return
    assert answer is not None
    assert answer.tokens >= 0
    assert answer.tokens % count == 0 or name == "llava_onevision"


SIZES = (
    *((1080, 1920), (336, 336), (1024, 1024), (3000, 400)),
    *((224, 640), (768, 1024), (2000, 3000), (100, 150)),
)
SIGLIP_364 = {"model_type": "siglip_vision_model", "image_size": 364, "patch_size": 14}
SIGLIP_512 = {"model_type": "siglip_vision_model", "image_size": 512, "patch_size": 16}


# One picture of each size through the installed image processors of transformers 5.23, at their
# classes' defaults; marks around tiles are text and not counted.
@pytest.mark.parametrize(
    ("model_type", "more", "counted"),
    [
        ("glm4v", {}, (2691, 144, 1369, 1498, 184, 999, 7420, 20)),
        ("kimi_k25", {}, (2691, 144, 1369, 1620, 184, 1036, 4187, 24)),
        ("ernie4_5_vl_moe", {}, (2691, 144, 1369, 1498, 184, 999, 6144, 20)),
        ("minimax_m3_vl", {}, (576, 144, 576, 520, 184, 540, 551, 20)),
        ("video_llama_3", {}, (5035, 576, 5041, 5070, 736, 4015, 5046, 77)),
        ("paddleocr_vl", {}, (2691, 196, 1369, 1498, 216, 999, 2948, 204)),
        ("hunyuan_vl", {}, (2076, 274, 1058, 1224, 292, 794, 4110, 296)),
        ("emu3", {}, (16_416, 4160, 16_512, 16_450, 4180, 12_384, 16_328, 4240)),
        ("aya_vision", {"downsample_factor": 2, "vision_config": SIGLIP_364},
         (1521, 169, 1690, 1521, 676, 2197, 1183, 1183)),
        ("cohere2_vision", {"vision_config": SIGLIP_512},
         (3341, 257, 1285, 1799, 771, 1285, 3341, 257)),
        ("minicpmv4_6", {}, (578, 64, 424, 514, 70, 315, 574, 70)),
        # The same slices, 64 queries each.
        ("minicpmv", {}, (576, 64, 448, 512, 64, 320, 576, 64)),
        ("deepseek_ocr2", {}, (545, 257, 833, 1121, 257, 1121, 1121, 257)),
        ("perception_lm", {}, (8448, 9472, 9472, 7936, 9472, 9216, 9216, 9216)),
        ("lfm2_vl", {}, (2300, 100, 1280, 2263, 140, 1770, 1783, 70)),
    ],
)  # fmt: skip
def test_pictures_as_the_installed_processors_count_them(
    model_type: str, more: dict[str, object], counted: tuple[int, ...]
) -> None:
    config = read({"model_type": model_type, "vision_config": {}} | more)
    answers = [media(config, {}, MediaInput(images=1, image_size=size)) for size in SIZES]
    assert tuple(answer.tokens for answer in answers if answer) == counted


# Eight frames through models/glm4v/video_processing_glm4v.py: smart_resize.
def test_frames_of_glm_as_its_processor_counts_them() -> None:
    config = read({"model_type": "glm4v", "vision_config": {}})
    answers = [media(config, {}, MediaInput(frames=8, image_size=size)) for size in SIZES]
    counted = (10_764, 576, 5476, 5992, 736, 3996, 29_680, 80)
    assert tuple(answer.tokens for answer in answers if answer) == counted


# Recordings through the installed processors and feature extractors of transformers 5.23; longer
# ones of Audio Flamingo and GLM-ASR are cut into windows of 30 seconds.
@pytest.mark.parametrize(
    ("model_type", "counted"),
    [
        ("gemma4", (25, 183, 750, 750, 750)),
        ("granite_speech", (12, 75, 300, 315, 1002)),
        ("audioflamingo3", (25, 182, 750, 787, 2500)),
        ("glmasr", (12, 91, 375, 393, 1250)),
        ("qwen3_asr", (13, 95, 390, 410, 1300)),
        ("phi4_multimodal", (13, 91, 375, 394, 1250)),
    ],
)
def test_sound_as_the_installed_processors_count_it(
    model_type: str, counted: tuple[int, ...]
) -> None:
    config = read({"model_type": model_type, "audio_config": {}})
    seconds = (1, 7.3, 30, 31.5, 100)
    answers = [media(config, {}, MediaInput(audio_seconds=each)) for each in seconds]
    assert tuple(answer.tokens for answer in answers if answer) == counted


def test_ultravox_stacks_sixteen_mel_frames() -> None:
    # ultravox_processing.py: 3,000 frames / (2 × 8), rounded up, for each window of 30 seconds.
    config = read({"model_type": "ultravox", "stack_factor": 8})
    answer = media(config, {}, MediaInput(audio_seconds=40))
    assert answer is not None
    assert answer.tokens == 188 + 63


def test_an_encoder_without_a_figure_is_named() -> None:
    config = read({"model_type": "gemma3n", "vision_soft_tokens_per_image": 256})
    answer = media(config, {}, MediaInput(images=1))
    assert answer is not None
    assert not answer.encoders_known
    assert "the encoder of gemma3n" in answer.notes[-1].message

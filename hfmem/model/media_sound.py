"""Token rules of sound, family by family: transformers 5.23, a hundred mel frames a second."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Final

from hfmem.model.media import Found, MediaInput, Reader, TowerPass

_MEL_FRAMES: Final = 100
_WINDOW_SECONDS: Final = 30
_MEL_BANDS: Final = 128


def qwen2_audio_seconds(reader: Reader, media: MediaInput) -> Found:
    """Qwen2-Audio: the first 30 seconds, 25 tokens each: 750.

    models/qwen2_audio/processing_qwen2_audio.py: two halvings of the mel frames.
    """
    window = reader.processor(
        "audio", "chunk_length", default=_WINDOW_SECONDS, owner="WhisperFeatureExtractor"
    )
    return _halved(media, heard=min(media.audio_seconds, window))


def omni_seconds(reader: Reader, media: MediaInput) -> Found:
    """Qwen2.5-Omni: the same halvings, up to 300 seconds
    (models/qwen2_5_omni/processing_qwen2_5_omni.py: _get_feat_extract_output_lengths)."""
    window = reader.processor("audio", "chunk_length", default=300, owner="the shipped extractor")
    return _halved(media, heard=min(media.audio_seconds, window))


def _halved(media: MediaInput, *, heard: float) -> Found:
    frames = int(_MEL_FRAMES * heard)
    tokens = ((frames - 1) // 2 + 1 - 2) // 2 + 1
    return Found(
        tokens=tokens,
        rule=f"{heard:g} of {media.audio_seconds:g} seconds, halved twice: {tokens:,} tokens",
        passes=(_windows(math.ceil(heard / _WINDOW_SECONDS)),),
    )


def qwen3_omni_seconds(reader: Reader, media: MediaInput) -> Found:
    """Qwen3-Omni: 13 tokens a second
    (models/qwen3_omni_moe/processing_qwen3_omni_moe.py: chunks of 100 mel frames)."""
    reader.said.append("13 tokens for 100 mel frames")
    chunks, rest = divmod(int(_MEL_FRAMES * media.audio_seconds), 100)
    tokens = 13 * chunks + -(-rest // 8)
    return Found(
        tokens=tokens,
        rule=f"{media.audio_seconds:g} seconds: {tokens:,} tokens",
        passes=(_mel(100 * chunks + rest),),
    )


def voxtral_seconds(reader: Reader, media: MediaInput) -> Found:
    """Voxtral: windows of 30 seconds are filled up; four encoder positions are one token: 375.

    models/voxtral/processing_voxtral.py: pad_to_multiple_of; modeling_voxtral.py:
    get_audio_features.
    """
    audio = reader.section("audio_config")
    positions = reader.integer(audio, "max_source_positions")
    hidden, joined = (
        reader.integer(audio, "hidden_size"),
        reader.integer(audio, "intermediate_size"),
    )
    windows = math.ceil(media.audio_seconds / _WINDOW_SECONDS)
    each = positions * hidden // joined
    return Found(
        tokens=windows * each,
        rule=f"{windows} windows of 30 seconds × {each} = {windows * each:,} tokens",
        passes=(_windows(windows),),
    )


def whisper_seconds(reader: Reader, media: MediaInput) -> Found:
    """Whisper: nothing in the decoder's context; the encoder always fills its 1,500 positions."""
    positions = reader.integer(reader.config, "max_source_positions")
    windows = math.ceil(media.audio_seconds / _WINDOW_SECONDS)
    return Found(
        tokens=0,
        rule=f"{windows} windows of 30 seconds, one after the other; the encoder fills "
        f"{positions:,} positions for each, which cross-attention keeps",
        passes=(_windows(1),),
    )


def gemma3n_seconds(reader: Reader, media: MediaInput) -> Found:
    """Gemma 3n: a fixed number for a recording (models/gemma3n/processing_gemma3n.py)."""
    each = reader.integer(reader.config, "audio_soft_tokens_per_image")
    return Found(
        tokens=each, rule=f"one recording of {media.audio_seconds:g} seconds: {each} tokens"
    )


def gemma4_seconds(reader: Reader, media: MediaInput) -> Found:
    """Gemma 4: mel frames of 20 ms every 10 ms, halved twice, at most 750 tokens: 25 a second.

    models/gemma4/processing_gemma4.py: _compute_audio_num_tokens.
    """
    owner = "Gemma4AudioFeatureExtractor"
    length = reader.processor("audio", "frame_length", default=320, owner=owner)
    hop = reader.processor("audio", "hop_length", default=160, owner=owner)
    rate = reader.processor("audio", "sampling_rate", default=16_000, owner=owner)
    most = reader.processor("audio", "audio_seq_length", default=750, owner="Gemma4Processor")
    samples = int(rate * media.audio_seconds)
    frames = max(0, (samples + length // 2 - (length + 1)) // hop + 1)
    halved = -(-frames // 2)
    tokens = min(-(-halved // 2), most)
    return Found(
        tokens=tokens,
        rule=f"{media.audio_seconds:g} seconds, {frames:,} mel frames, halved twice: "
        f"{tokens:,} tokens",
        passes=(_mel(frames),),
    )


def ultravox_seconds(reader: Reader, media: MediaInput) -> Found:
    """Ultravox: windows of 30 seconds, one token for 16 mel frames: 188 a window
    (its ultravox_processing.py: audio_token_len)."""
    stack = reader.integer(reader.config, "stack_factor")
    whole, rest = _split(media.audio_seconds)
    step = 2 * stack
    tokens = whole * -(-_WINDOW_SECONDS * _MEL_FRAMES // step) + -(-rest // step)
    windows = whole + (rest > 0)
    return Found(
        tokens=tokens,
        rule=f"{windows} windows, a token for {step} mel frames: {tokens:,} tokens",
        passes=(_windows(windows),),
    )


def flamingo_seconds(reader: Reader, media: MediaInput) -> Found:
    """Audio Flamingo 3 and Music Flamingo: windows of 30 seconds, halved twice: 750 each
    (models/audioflamingo3/processing_audioflamingo3.py: _get_audio_token_length)."""
    reader.said.append("two halvings of 100 mel frames a second, window by window")
    return _by_window(media, lambda frames: ((frames - 1) // 2 + 1 - 2) // 2 + 1)


def glmasr_seconds(reader: Reader, media: MediaInput) -> Found:
    """GLM-ASR: windows of 30 seconds, halved once, four positions a token: 375 each
    (models/glmasr/processing_glmasr.py: _get_audio_token_length)."""
    reader.said.append("one halving of 100 mel frames a second, four positions a token")
    return _by_window(media, lambda frames: ((frames - 1) // 2 + 1 - 4) // 4 + 1)


def granite_speech_seconds(reader: Reader, media: MediaInput) -> Found:
    """Granite Speech: blocks of 15 encoder frames of 20 ms are three tokens: 10 a second
    (models/granite_speech/feature_extraction_granite_speech.py: _get_num_audio_features)."""
    owner = "GraniteSpeechFeatureExtractor"
    window = reader.processor("audio", "projector_window_size", default=15, owner=owner)
    rate = reader.processor("audio", "projector_downsample_rate", default=5, owner=owner)
    mel = int(16_000 * media.audio_seconds) // 160 + 1
    blocks = -(-(mel // 2) // window)
    tokens = blocks * (window // rate)
    return Found(
        tokens=tokens,
        rule=f"{media.audio_seconds:g} seconds, {blocks:,} blocks × {window // rate} = "
        f"{tokens:,} tokens",
    )


def phi4_seconds(reader: Reader, media: MediaInput) -> Found:
    """Phi-4 multimodal: one token for eight mel frames of 10 ms
    (models/phi4_multimodal/feature_extraction_phi4_multimodal.py: _compute_audio_embed_size)."""
    owner = "Phi4MultimodalFeatureExtractor"
    rate = reader.processor("audio", "audio_compression_rate", default=8, owner=owner)
    down = reader.processor("audio", "audio_downsample_rate", default=1, owner=owner)
    length = reader.processor("audio", "win_length", default=400, owner=owner)
    hop = reader.processor("audio", "hop_length", default=160, owner=owner)
    frames = max(0, (int(16_000 * media.audio_seconds) - length) // hop + 1)
    tokens = math.ceil(math.ceil(frames / rate) / down)
    return Found(
        tokens=tokens,
        rule=f"{media.audio_seconds:g} seconds, {frames:,} mel frames / {rate} = {tokens:,} tokens",
    )


def _split(seconds: float) -> tuple[int, int]:
    """Whole windows of 30 seconds, and the mel frames that are left."""
    frames = int(_MEL_FRAMES * seconds)
    return divmod(frames, _WINDOW_SECONDS * _MEL_FRAMES)


def _by_window(media: MediaInput, tokens_of: Callable[[int], int]) -> Found:
    whole, rest = _split(media.audio_seconds)
    full = tokens_of(_WINDOW_SECONDS * _MEL_FRAMES)
    tokens = whole * full + (max(0, tokens_of(rest)) if rest else 0)
    windows = whole + (rest > 0)
    return Found(
        tokens=tokens,
        rule=f"{windows} windows of 30 seconds, {full} tokens a full one: {tokens:,} tokens",
        passes=(_windows(windows),),
    )


def _windows(count: int) -> TowerPass:
    return TowerPass(
        section="audio_config",
        kind="audio",
        items=count,
        positions=1500,
        values=_WINDOW_SECONDS * _MEL_FRAMES * _MEL_BANDS,
    )


def _mel(frames: int) -> TowerPass:
    """A recording that goes through as it is: its mel frames are the positions."""
    return TowerPass(
        section="audio_config",
        kind="audio",
        items=1,
        positions=frames,
        values=frames * _MEL_BANDS,
    )

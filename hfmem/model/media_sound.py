"""Token rules of sound, family by family: transformers 5.23, a hundred mel frames a second."""

from __future__ import annotations

import math
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
    return Found(tokens=tokens, rule=f"{media.audio_seconds:g} seconds: {tokens:,} tokens")


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


def _windows(count: int) -> TowerPass:
    return TowerPass(
        section="audio_config",
        kind="audio",
        items=count,
        positions=1500,
        values=_WINDOW_SECONDS * _MEL_FRAMES * _MEL_BANDS,
    )

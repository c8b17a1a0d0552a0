"""Pictures and frames all the way to the answer, without a network."""

from __future__ import annotations

import json
from importlib.resources import files
from pathlib import Path

import jsonschema
import pytest

import hfmem
from hfmem.answer import Estimate
from hfmem.report.json import envelope

LLAVA = "lmms-lab/LLaVA-Video-72B-Qwen2"
TOKEN = 80 * 2 * 8 * 128 * 2
"""Bytes of a token in the cache: 80 layers, keys and values, 8 heads of 128, bf16."""


def asked(frames: int) -> Estimate:
    return hfmem.estimate(LLAVA, ctx=8192, frames=frames, source="recorded")


@pytest.mark.parametrize("frames", [1, 64])
def test_frames_come_on_top_of_the_context(frames: int) -> None:
    memory = asked(frames).memory
    tokens = 8192 + frames * 210
    assert memory.ctx == 8192
    assert memory.peak.part("kv_cache").bytes == tokens * TOKEN


def test_the_vision_tower_has_an_instant_of_its_own() -> None:
    names = [phase.name for phase in asked(64).memory.phases]
    assert names == ["loading", "encoding", "prefill", "decode"]
    phase = asked(64).memory.phases[1]
    # 46,656 patches: 28 tensors of 1,152 and two of 4,304, and the pixels.
    assert phase.part("activations").bytes == 46_656 * 2 * (28 * 1152 + 2 * 4304) + 56_623_104
    assert phase.part("kv_cache").bytes == 0
    assert phase.memory.bytes == sum(part.bytes for part in phase.memory.parts)


def test_without_pictures_nothing_changes() -> None:
    plain = hfmem.estimate(LLAVA, ctx=8192, source="recorded")
    assert [phase.name for phase in plain.memory.phases] == ["loading", "prefill", "decode"]
    assert plain.to_dict()["multimodal"] is None


def test_json_and_notes_name_the_key() -> None:
    answer = asked(64)
    document = envelope([answer], answer.workload)
    schema = json.loads(files("hfmem").joinpath("schema.json").read_text(encoding="utf-8"))
    jsonschema.validate(document, schema)
    element = answer.to_dict()
    multimodal = element["multimodal"]
    assert isinstance(multimodal, dict)
    assert multimodal["tokens"] == 13_440
    assert 'config.json: mm_spatial_pool_mode = "bilinear"' in multimodal["keys"]
    assert any("mm_spatial_pool_mode" in note.message for note in answer.notes)


def test_pictures_of_llama_32_vision_fill_the_cross_attention(tmp_path: Path) -> None:
    vision = {"model_type": "mllama_vision_model", "image_size": 560, "patch_size": 14}
    config = {"model_type": "mllama", "vision_config": vision, "torch_dtype": "bfloat16"}
    (tmp_path / "config.json").write_text(json.dumps(config), encoding="utf-8")
    one, none = (hfmem.estimate(str(tmp_path), ctx=1024, images=count) for count in (1, 0))
    # 8 of 40 layers keep 8 heads of 128, keys and values, of 6,404 positions: 200.1 MiB.
    more = (
        one.memory.phases[-1].part("kv_cache").bytes - none.memory.phases[-1].part("kv_cache").bytes
    )
    assert more == 8 * 2 * 8 * 128 * 2 * 6404


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"images": -1}, "images"),
        ({"frames": 2**30}, "frames"),
        ({"audio_seconds": 1e9}, "audio-seconds"),
        ({"images": 1, "image_size": "12"}, "image-size"),
        ({"images": 1, "image_size": "0x5"}, "image-size"),
        ({"images": 1, "image_size": "9999999x5"}, "image-size"),
        ({"image_size": "5x5"}, "--images"),
    ],
)
def test_nonsense_is_wrong_usage(options: hfmem.Keywords, words: str) -> None:
    with pytest.raises(hfmem.UsageError) as raised:
        hfmem.estimate(LLAVA, **options)
    assert words in raised.value.message

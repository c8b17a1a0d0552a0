"""``hfmem train`` with pictures, film and sound, as a command."""

from __future__ import annotations

import json
from importlib.resources import files
from typing import Any

import jsonschema
import pytest

import hfmem
from hfmem.cli import main

GEMMA = "google/gemma-3-27b-it"
FILM = "lmms-lab/LLaVA-Video-7B-Qwen2"
SCHEMA = json.loads(files("hfmem").joinpath("schema.json").read_text(encoding="utf-8"))


def run(capsys: pytest.CaptureFixture[str], words: str) -> tuple[int, str, str]:
    """Exit code and both outputs of ``hfmem train`` on bundled facts."""
    code = main(["train", *words.split(), "--source", "recorded"])
    out, err = capsys.readouterr()
    return code, out, err


def answered(capsys: pytest.CaptureFixture[str], words: str) -> dict[str, Any]:
    """The only result of a JSON document that fits the schema."""
    code, out, err = run(capsys, f"{words} --json")
    assert (code, err) == (0, "")
    document = json.loads(out)
    jsonschema.validate(document, SCHEMA)
    (result,) = document["results"]
    return result


def test_pictures_come_on_top_of_the_text(capsys: pytest.CaptureFixture[str]) -> None:
    """256 tokens a picture; SigLIP's 27 layers keep their inputs of 4,096 patches of 1,152."""
    words = f"{GEMMA} --method lora --seq-len 1k --gradient-checkpointing"
    text, seen = answered(capsys, words), answered(capsys, f"{words} --images 2")
    assert (text["seq_len"], seen["seq_len"]) == (1024, 1024 + 2 * 256)
    assert (text["run"]["images"], seen["run"]["images"]) == (0, 2)
    assert "text_only_activations" in {note["code"] for note in text["notes"]}
    assert "multimodal_tokens" in {note["code"] for note in seen["notes"]}
    more = seen["memory"]["activations_bytes"] - text["memory"]["activations_bytes"]
    assert more > 27 * 2 * 4096 * 1152 * 2


def test_frames_have_a_size_and_a_limit(capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = run(capsys, f"{FILM} --images -1")
    assert code == 2
    assert "images" in err
    code, _, err = run(capsys, f"{GEMMA} --frames 8")
    assert code == 2
    assert "--images" in err
    code, _, err = run(capsys, "meta-llama/Llama-3.1-8B-Instruct --images 1")
    assert code == 2
    assert "a model of text alone" in err


def test_the_python_interface_agrees(capsys: pytest.CaptureFixture[str]) -> None:
    words = f"{FILM} --method lora --frames 16 --gpu h100"
    plan = hfmem.train(FILM, method="lora", frames=16, gpu="h100", source="recorded")
    assert plan.to_dict() == answered_with_any_code(capsys, words)
    assert plan.memory.seq_len == 2048 + 16 * 14 * 15


def answered_with_any_code(capsys: pytest.CaptureFixture[str], words: str) -> dict[str, Any]:
    """The result, whether it fits or not."""
    _, out, _ = run(capsys, f"{words} --json")
    (result,) = json.loads(out)["results"]
    return result

"""Whose word ties a head, against ``get_output_embeddings`` of the classes of transformers 5.23."""

from __future__ import annotations

import pytest

from hfmem.model.config import read, text_section
from hfmem.model.tying import tied

OWN = {(None, False): False, (None, True): True, (True, False): False, (False, True): True}
EITHER = {(None, False): False, (None, True): True, (True, False): True, (False, True): True}
TOP = {(None, False): False, (None, True): False, (True, False): True, (False, True): False}


@pytest.mark.parametrize(
    ("model_type", "section", "truth"),
    [
        ("blip-2", "text_config", OWN),
        ("instructblip", "text_config", OWN),
        ("llama4", "text_config", OWN),
        ("vision-encoder-decoder", "decoder", OWN),
        # models/vibevoice/configuration_vibevoice.py: __post_init__.
        ("vibevoice", "text_config", OWN),
        ("llava", "text_config", EITHER),
        ("llava_onevision", "text_config", EITHER),
        ("qwen2_vl", "text_config", EITHER),
        ("glm4v", "text_config", EITHER),
        ("kosmos-2", "text_config", {**EITHER, (None, False): True}),
        ("perception_lm", "text_config", {**EITHER, (False, True): False}),
        ("llava_next", "text_config", TOP),
        ("qwen3_vl", "text_config", TOP),
        # A class that nobody knows: the file's own word, else the decoder's.
        ("no_such_type", "text_config", {**EITHER, (False, True): False}),
    ],
)
def test_a_wrapper_and_its_decoder(
    model_type: str, section: str, truth: dict[tuple[bool | None, bool], bool]
) -> None:
    for (top, inner), expected in truth.items():
        values: dict[str, object] = {
            "model_type": model_type,
            section: {"model_type": "qwen2", "tie_word_embeddings": inner},
        }
        if top is not None:
            values["tie_word_embeddings"] = top
        config = read(values)
        assert tied(config, text_section(config)) is expected, (top, inner)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"model_type": "t5"}, True),
        ({"model_type": "umt5"}, True),
        ({"model_type": "nomic_bert"}, True),
        ({"model_type": "gpt2"}, True),
        ({"model_type": "llama"}, False),
        ({"model_type": "llama", "tie_word_embeddings": True}, True),
        ({"model_type": "gemma", "tie_word_embeddings": False}, False),
    ],
)
def test_a_file_without_sections(values: dict[str, object], expected: bool) -> None:
    config = read(values)
    assert tied(config, config) is expected

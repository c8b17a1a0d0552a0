"""Two names of one configuration, against the tables of transformers 5.23 models/auto.

``AutoModelForCausalLM.from_config`` of the first rows builds what ``model_type`` says.
"""

from __future__ import annotations

import ast
import json
from collections.abc import Iterator
from importlib.metadata import files, version
from pathlib import Path

import pytest

from hfmem.model.architectures.disagreement import disagreement
from hfmem.model.class_defaults import table_version
from hfmem.model.config import read


@pytest.mark.parametrize(
    ("model_type", "class_name", "other"),
    [
        ("llama", "Qwen2ForCausalLM", "qwen2"),
        ("llama", "Qwen2ForSequenceClassification", "qwen2"),
        ("qwen2", "LlamaForCausalLM", "llama"),
        ("gpt2", "GPTNeoXForCausalLM", "gpt_neox"),
        ("bert", "RobertaForMaskedLM", "roberta"),
        ("llava", "Qwen2VLForConditionalGeneration", "qwen2_vl"),
        ("vit", "LlamaForCausalLM", "llama"),
        # A class may belong to a wrapper and to its decoder.
        ("gemma3", "Gemma3ForCausalLM", None),
        ("gemma3_text", "Gemma3ForConditionalGeneration", None),
        ("llama4_text", "Llama4ForConditionalGeneration", None),
        # mT5's files name T5's class; both are the same tensors.
        ("mt5", "T5ForConditionalGeneration", None),
        # Classes and types of repositories' own code.
        ("llama", "LlavaLlamaForCausalLM", None),
        ("kimi_k2", "DeepseekV3ForCausalLM", None),
        ("llama", "LlamaForCausalLM", None),
        ("gpt2", "GPT2LMHeadModel", None),
        ("qwen2", "Qwen2ForRewardModel", None),
    ],
)
def test_which_is_of_another_family(model_type: str, class_name: str, other: str | None) -> None:
    found = disagreement(read({"model_type": model_type, "architectures": [class_name]}))
    if other is None:
        assert found is None
    else:
        assert found is not None
        assert found.code == "class_disagrees"
        assert f"a class of {other}, and model_type is {model_type}:" in found.message


@pytest.mark.parametrize("named", [None, [], ["Qwen2ForCausalLM"], "Qwen2ForCausalLM", [7]])
def test_names_that_say_nothing(named: object) -> None:
    assert disagreement(read({"architectures": named})) is None


def mapped_classes() -> Iterator[tuple[str, str]]:
    """Model types and classes in the tables of the installed transformers, which is not imported:
    that takes seconds."""
    if version("transformers") != table_version():
        pytest.skip("another transformers than the table's is installed")
    root = files("transformers")
    assert root is not None
    path = next(path for path in root if path.match("models/auto/modeling_auto.py"))
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Tuple) and len(node.elts) == 2:
            try:
                model_type, names = ast.literal_eval(node)
            except ValueError:
                continue
            for name in (names,) if isinstance(names, str) else names:
                yield model_type, name


def test_no_class_of_its_own_type() -> None:
    pairs = set(mapped_classes())
    assert len(pairs) > 1000
    told = {
        pair
        for pair in pairs
        if disagreement(read({"model_type": pair[0], "architectures": [pair[1]]}))
    }
    assert told == set()


@pytest.mark.shared
def test_none_of_the_published_configurations(shared: Path) -> None:
    told = {
        path.name: note.message
        for path in (shared / "corpus" / "configs").glob("*.json")
        if (note := disagreement(read(json.loads(path.read_text(encoding="utf-8")))))
    }
    assert told == {}

"""The table of declared defaults against the installed transformers."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest

from hfmem.model.class_defaults import (
    class_defaults,
    class_facts,
    generates,
    model_type_of_class,
    model_types,
    table_version,
)

SCRIPT = Path(__file__).parents[1] / "scripts" / "class_defaults.py"


def test_the_table_equals_the_installed_transformers() -> None:
    installed = importlib.metadata.version("transformers")
    if installed != table_version():
        pytest.skip(f"transformers {installed} is installed, the table is of {table_version()}")
    # A process of its own: the suite never imports transformers, and its warnings stay out.
    code = (
        "import importlib.util, json\n"
        f"spec = importlib.util.spec_from_file_location('script', {str(SCRIPT)!r})\n"
        "script = importlib.util.module_from_spec(spec)\n"
        "spec.loader.exec_module(script)\n"
        "print(json.dumps([script.table(), script.generating_classes()]))\n"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    table, classes = json.loads(ran.stdout.splitlines()[-1])
    assert set(table) == set(model_types())
    for name, (values, attribute_map, sections) in table.items():
        facts = class_facts(name)
        assert facts is not None
        assert facts.values == values, name
        assert facts.attribute_map == attribute_map, name
        told = {
            key: [spec.model_type, spec.fixed, spec.optional, spec.values]
            for key, spec in facts.sections.items()
        }
        assert told == sections, name
    for name, types in classes.items():
        assert model_type_of_class(name) == types[0]
        assert all(generates(model_type) for model_type in types)


@pytest.mark.parametrize(
    ("model_type", "key", "expected", "origin"),
    [
        ("gemma3_text", "head_dim", 256, "declared; 2,304 / 8 would be 288"),
        ("qwen2", "use_sliding_window", False, "declared"),
        ("llama", "hidden_size", 4096, "declared"),
        ("mamba2", "state_size", 128, "declared"),
    ],
)
def test_declared_defaults(model_type: str, key: str, expected: object, origin: str) -> None:
    defaults = class_defaults(model_type)
    assert defaults is not None, origin
    assert defaults[key] == expected


def test_nothing_derived_is_declared() -> None:
    # transformers fills these in from other keys when a configuration is built.
    for model_type, key in (("llama", "head_dim"), ("mamba", "intermediate_size")):
        defaults = class_defaults(model_type)
        assert defaults is not None
        assert key not in defaults


@pytest.mark.parametrize("model_type", ["no-such-type", "", "../etc", "llama\t", "\n", "ᛗ"])
def test_unknown_types(model_type: str) -> None:
    assert class_facts(model_type) is None
    assert generates(model_type) is None


@pytest.mark.parametrize(
    ("class_name", "model_type"),
    [
        ("LlamaForCausalLM", "llama"),
        ("Gemma3ForConditionalGeneration", "gemma3"),
        ("Qwen2_5_VLForConditionalGeneration", "qwen2_5_vl"),
        ("WhisperForConditionalGeneration", "whisper"),
        ("BertForMaskedLM", None),
        ("NoSuchClass", None),
    ],
)
def test_types_of_classes(class_name: str, model_type: str | None) -> None:
    assert model_type_of_class(class_name) == model_type


@pytest.mark.parametrize(
    ("model_type", "expected"), [("llama", True), ("vit", False), ("clip", False)]
)
def test_what_generates(model_type: str, expected: bool) -> None:
    assert generates(model_type) is expected


def test_looking_up_imports_no_library() -> None:
    code = (
        "import sys\n"
        "from hfmem.model.class_defaults import class_facts\n"
        "class_facts('llama'), class_facts('of-the-future')\n"
        "print(sorted({'transformers', 'torch', 'numpy'} & set(sys.modules)))\n"
    )
    if importlib.metadata.version("transformers") != table_version():
        pytest.skip("another transformers than the table's is installed and would be asked")
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[]"
    assert ran.stderr == ""

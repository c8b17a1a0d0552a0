"""README's table of families, against the registry that it is written from."""

from __future__ import annotations

from hfmem.model.architectures.resolve import ARCHITECTURES
from hfmem.model.declared.families import _HOMES, families, of_type, rows
from tests.families import BEGIN, END, README, section


def test_readme_holds_the_table_of_the_registry() -> None:
    text = README.read_text(encoding="utf-8")
    assert text.count(BEGIN) == text.count(END) == 1
    found = text[text.index(BEGIN) : text.index(END) + len(END)]
    assert found == section(), "write it anew: python -m tests.families"


def test_a_model_type_belongs_to_one_entry() -> None:
    names = [name for entry in ARCHITECTURES for name in entry.model_types]
    assert len(names) == len(set(names))


def test_every_entry_names_the_file_that_it_was_read_in() -> None:
    for entry in ARCHITECTURES:
        assert ".py" in entry.source, entry.model_types


def test_the_index_of_modules_is_that_of_their_rows() -> None:
    for module, names in _HOMES.items():
        held = {name for family in rows(module) for name in family.model_types}
        assert held == set(names.split()), module


def test_a_type_of_two_modules_is_found_in_both() -> None:
    assert [family.classes[0] for family in of_type("qwen2")] == [
        "Qwen2ForCausalLM",
        "LlavaQwenForCausalLM",
    ]
    assert of_type("no_such_type") == ()
    assert len(list(families())) == sum(len(rows(module)) for module in _HOMES)

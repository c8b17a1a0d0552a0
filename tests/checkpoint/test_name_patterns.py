"""Patterns of published settings, and of hostile ones, as globs."""

from __future__ import annotations

import fnmatch
import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hfmem.checkpoint.name_patterns import globs_of_regex, matches, of_ignored, of_modules

NAMES = [
    "lm_head",
    "model.layers.0.self_attn.q_proj",
    "model.layers.10.mlp.gate",
    "model.layers.10.mlp.gate_proj",
    "language_model.model.layers.3.mlp.shared_experts.up_proj",
    "vision_tower.blocks.0.mlp.fc1",
    "mm_projector.linear_1",
]


@pytest.mark.parametrize(
    "pattern",
    # As published: Kimi-K3's and RedHatAI's compressed-tensors settings.
    [
        r".*self_attn.*",
        r".*shared_experts.*",
        r".*mlp\.(gate|up|gate_up|down)_proj.*",
        r".*lm_head.*",
        r".*vision_tower.*",
        r".*mlp.gate$",
        r"model\.layers\.\d+\.mlp\.gate$",
        r"^lm_head",
        r"(?:vision_tower|mm_projector).*",
    ],
)
def test_a_pattern_means_what_the_regular_expression_means(pattern: str) -> None:
    globs = globs_of_regex(pattern)
    assert globs is not None
    for name in NAMES:
        expected = re.match(pattern, name) is not None
        assert any(matches(glob, name) for glob in globs) == expected, name


@pytest.mark.parametrize(
    "pattern",
    [r"(a+)+$", r"[a-z]+", r"a{2,}", r"(a|(b|c))", r"(?=x)", r".*" * 400, "(" * 99, r"a$b", r"x?"],
)
def test_what_a_glob_cannot_say_is_not_told(pattern: str) -> None:
    assert globs_of_regex(pattern) is None
    assert of_ignored([f"re:{pattern}"]) is None


def test_many_choices_are_bounded() -> None:
    assert globs_of_regex("(a|b|c|d)" * 4) is not None
    assert globs_of_regex("(a|b|c|d)" * 5) is None


def test_no_pattern_takes_long() -> None:
    started = time.process_time()
    assert not matches("*a" * 250, "a" * 4000 + "b" * 200)
    assert time.process_time() - started < 5


names = st.text(alphabet="ab.", max_size=8)


@given(glob=st.text(alphabet="ab.*?", max_size=8), name=names)
def test_globs_match_as_fnmatch_does(glob: str, name: str) -> None:
    assert matches(glob, name) == fnmatch.fnmatchcase(name, glob)


def test_a_module_is_any_part_of_a_path() -> None:
    globs = of_modules(["mlp.gate"])
    assert any(matches(glob, "model.layers.10.mlp.gate") for glob in globs)
    assert any(matches(glob, "mlp.gate.inner") for glob in globs)
    assert not any(matches(glob, "model.layers.10.mlp.gate_proj") for glob in globs)

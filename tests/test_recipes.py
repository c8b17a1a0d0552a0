"""Recipes: what their sources say, and that every one of them can be estimated."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from hfmem.errors import UsageError
from hfmem.memory.training import training_estimate
from hfmem.memory.training_run import checked
from hfmem.recipes import RECIPE_NAMES, RECIPES, recipe
from tests.memory.training_models import LLAMA_8B, model_of

LLAMA = model_of(LLAMA_8B)


def test_the_names_of_the_contract() -> None:
    assert set(RECIPE_NAMES) == {
        *("trl", "torchtune", "unsloth", "axolotl", "litgpt"),
        *("torchtitan", "megatron", "deepspeed"),
    }
    assert all(one.source for one in RECIPES)


@pytest.mark.parametrize("name", RECIPE_NAMES)
@pytest.mark.parametrize("method", ["full", "lora", "qlora"])
def test_every_recipe_can_be_estimated(name: str, method: str) -> None:
    run = checked(recipe(name).run(method))
    assert run.method == method
    spread = replace(run, parallel=replace(run.parallel, dp=8))
    assert not training_estimate(LLAMA, spread if run.parallel.zero else run).unknown


@pytest.mark.parametrize(
    ("name", "method", "field", "value"),
    [
        # The configurations that the recipes name as their sources.
        ("trl", "full", "seq_len", 1024),
        ("trl", "full", "checkpointing", "full"),
        ("trl", "full", "precision", "bf16-mixed"),
        ("trl", "full", "tiled_head", True),
        ("trl", "lora", "frozen_fp32", True),
        ("trl", "lora", "adapter_fp32", True),
        ("trl", "qlora", "adapter_fp32", False),
        ("torchtune", "full", "optimizer", "paged-adamw-8bit"),
        ("torchtune", "full", "optimizer_in_backward", True),
        ("torchtune", "lora", "grad_accum", 8),
        ("litgpt", "lora", "grad_accum", 16),
        ("unsloth", "qlora", "activation_offload", True),
        ("axolotl", "full", "seq_len", 512),
    ],
)
def test_defaults(name: str, method: str, field: str, value: object) -> None:
    assert getattr(recipe(name).run(method), field) == value


def test_unknown() -> None:
    with pytest.raises(UsageError, match="colossal"):
        recipe("colossal")

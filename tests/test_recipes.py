"""Recipes: what their sources say, and that every one of them can be estimated."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

import hfmem
from hfmem import TrainKeywords
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


@pytest.mark.parametrize(
    ("name", "method", "fsdp", "checkpointing"),
    [
        # torchtune 0.6.1 recipes/configs/llama3_1/8B_full.yaml, 70B_lora.yaml: FSDP2.
        ("torchtune", "full", "full", "full"),
        ("torchtune", "lora", "full", "full"),
        # litgpt 0.5.13 finetune/full.py and lora.py: FSDPStrategy for devices * num_nodes > 1.
        ("litgpt", "full", "full", "full"),
        ("litgpt", "lora", "full", "full"),
        # lora.py: quantization is not supported on several devices.
        ("litgpt", "qlora", None, "none"),
        # The same on any number.
        ("trl", "full", None, "full"),
    ],
)
def test_several_gpus(name: str, method: str, fsdp: str | None, checkpointing: str) -> None:
    run = checked(recipe(name).run(method, several=True))
    assert (run.parallel.fsdp, run.checkpointing) == (fsdp, checkpointing)
    assert not run.optimizer_in_backward


@pytest.mark.parametrize(
    ("options", "in_backward", "grad_accum", "fsdp"),
    [
        # 8B_full_single_device.yaml as it is, then with what gives way to what was said.
        ({"gpu": "h100"}, True, 1, None),
        ({"gpu": "h100", "grad_accum": 4}, False, 4, None),
        ({"gpu": "h100:8"}, False, 1, "full"),
        ({"gpu": "h100:8", "zero": 3}, False, 1, None),
        ({"gpu": "h100", "method": "lora", "optimizer_in_backward": True}, True, 1, None),
        ({"dp": 8}, False, 1, "full"),
        # 8B_full.yaml: "optimizer_in_bwd: False  # True saves memory", under FSDP2.
        ({"gpu": "h100:8", "optimizer_in_backward": True}, True, 1, "full"),
    ],
)
def test_what_is_said_wins_over_the_recipe(
    options: TrainKeywords, in_backward: bool, grad_accum: int, fsdp: str | None
) -> None:
    keywords: TrainKeywords = {"recipe": "torchtune", "source": "recorded", **options}
    run = hfmem.train("meta-llama/Llama-3.1-8B-Instruct", **keywords).run
    found = (run.optimizer_in_backward, run.grad_accum, run.parallel.fsdp)
    assert found == (in_backward, grad_accum, fsdp)


@pytest.mark.parametrize(
    ("options", "grad_accum"),
    [
        # litgpt 0.5.13 args.py: TrainArgs.batch_size, gradient_accumulation_iters; 16 sequences.
        ({}, 16),
        ({"gpu": "h100:4"}, 4),
        ({"gpu": "h100:12"}, 1),
        ({"dp": 16}, 1),
        ({"gpu": "h100:4", "micro_batch": 3}, 1),
        ({"gpu": "h100:4", "grad_accum": 16}, 16),
        ({"gpu": "h100:4", "global_batch": 32}, 8),
        ({"method": "lora", "dp": 2}, 8),
        ({"optimizer_in_backward": True}, 1),
    ],
)
def test_a_global_batch_is_divided_by_the_gpus(options: TrainKeywords, grad_accum: int) -> None:
    keywords: TrainKeywords = {"recipe": "litgpt", "source": "recorded", **options}
    run = hfmem.train("meta-llama/Llama-3.1-8B-Instruct", **keywords).run
    assert run.grad_accum == grad_accum


def test_a_global_batch_that_leaves_a_gpu_without_a_sequence() -> None:
    """litgpt 0.5.13 args.py: ``assert batch_size > 0``."""
    with pytest.raises(UsageError, match="16 sequences"):
        hfmem.train("meta-llama/Llama-3.1-8B-Instruct", recipe="litgpt", source="recorded", dp=32)


@pytest.mark.parametrize(
    ("options", "refused"),
    [
        # litgpt 0.5.13 finetune/lora.py: NotImplementedError for quantize and devices > 1.
        ({"method": "qlora", "dp": 2}, True),
        ({"method": "qlora"}, False),
        ({"method": "lora", "dp": 2}, False),
    ],
)
def test_what_a_framework_refuses_on_several_gpus(options: TrainKeywords, refused: bool) -> None:
    keywords: TrainKeywords = {"recipe": "litgpt", "source": "recorded", **options}
    found = hfmem.train("meta-llama/Llama-3.1-8B-Instruct", **keywords)
    assert ("one_gpu_only" in {note.code for note in found.notes}) == refused


def test_unknown() -> None:
    with pytest.raises(UsageError, match="colossal"):
        recipe("colossal")

"""Every option of ``train`` that describes the run, declared once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, get_args

import typer

from hfmem.cli import completions, options
from hfmem.cli.groups import Group
from hfmem.cli.train_layout import LAYOUT, SAVERS
from hfmem.memory.training_run import Method, Objective, Precision

_HOW = "Training"
_RL = "Preferences and rewards"


def _recipes(incomplete: str) -> list[str]:
    from hfmem.recipes import RECIPE_NAMES

    return [name for name in RECIPE_NAMES if name.startswith(incomplete)]


def _optimizers(incomplete: str) -> list[str]:
    from hfmem.memory.optimizers import OPTIMIZER_NAMES

    return [name for name in OPTIMIZER_NAMES if name.startswith(incomplete)]


OPTIONS: dict[str, tuple[object, object, object]] = {
    "method": (
        Method,
        typer.Option("--method", help="What is trained.", rich_help_panel=_HOW),
        "full",
    ),
    "objective": (
        Objective,
        typer.Option(
            "--objective", help="sft, or dpo, grpo and ppo as TRL runs them.", rich_help_panel=_HOW
        ),
        "sft",
    ),
    "recipe": (
        str | None,
        typer.Option(
            "--recipe",
            metavar="NAME",
            show_default=False,
            help="A framework's defaults; other options go over them.",
            autocompletion=_recipes,
            rich_help_panel=_HOW,
        ),
        None,
    ),
    "seq_len": (
        str | None,
        typer.Option(
            "--seq-len",
            "--ctx",
            "-c",
            metavar="TOKENS",
            show_default="2k, or the model's maximum",
            help="Tokens of a sequence; 8k is 8192.",
            rich_help_panel=_HOW,
        ),
        None,
    ),
    "micro_batch": (
        int | None,
        typer.Option(
            "--micro-batch",
            "--batch",
            "-b",
            metavar="N",
            show_default="1, a group in grpo",
            help="Sequences at once on a GPU: pairs in dpo, completions in grpo.",
            rich_help_panel=_HOW,
        ),
        None,
    ),
    "grad_accum": (
        int | None,
        typer.Option(
            "--grad-accum",
            metavar="N",
            show_default="1",
            help="Micro-batches a step.",
            rich_help_panel=_HOW,
        ),
        None,
    ),
    "global_batch": (
        int | None,
        typer.Option(
            "--global-batch",
            metavar="N",
            show_default=False,
            help="Sequences a step over all GPUs; sets --grad-accum.",
            rich_help_panel=_HOW,
        ),
        None,
    ),
    "optimizer": (
        str | None,
        typer.Option(
            "--optimizer",
            metavar="NAME",
            show_default="adamw",
            help="adamw (fused), adamw-foreach, adamw-8bit, paged-adamw-8bit, adafactor, lion, "
            "muon, sgd …",
            autocompletion=_optimizers,
            rich_help_panel=_HOW,
        ),
        None,
    ),
    "precision": (
        Precision | None,
        typer.Option(
            "--precision",
            show_default="bf16-mixed",
            help="bf16 keeps everything in 16 bits; mixed keeps fp32 weights.",
            rich_help_panel=_HOW,
        ),
        None,
    ),
    "attention": (*get_args(options.Attention), None),
    "images": (int, get_args(options.Images)[1], 0),
    "image_size": (*get_args(options.ImageSize), None),
    "frames": (int, get_args(options.Frames)[1], 0),
    "audio_seconds": (float, get_args(options.AudioSeconds)[1], 0.0),
    "lora_rank": (
        int | None,
        typer.Option(
            "--lora-rank", metavar="R", show_default="16", help="Rank.", rich_help_panel=_HOW
        ),
        None,
    ),
    "lora_targets": (
        str | None,
        typer.Option(
            "--lora-targets",
            metavar="NAMES",
            show_default="all-linear",
            help="Ends of module names: q_proj,v_proj; or all-linear.",
            rich_help_panel=_HOW,
        ),
        None,
    ),
    "adapter": (
        Path | None,
        typer.Option(
            "--adapter",
            metavar="FILE",
            show_default=False,
            help="An adapter_config.json, or the folder that holds it: its rank, targets and "
            "modules to save.",
            rich_help_panel=_HOW,
        ),
        None,
    ),
    "quantize": (
        str | None,
        typer.Option(
            "--quantize",
            metavar="SCHEME",
            show_default="nf4-dq",
            help="Of QLoRA's frozen weights: nf4, nf4-dq, int8.",
            autocompletion=completions.offering("nf4", "nf4-dq", "int8"),
            rich_help_panel=_HOW,
        ),
        None,
    ),
    "reference_model": (
        bool | None,
        typer.Option(
            "--reference-model/--no-reference-model",
            show_default="what the objective holds",
            help="A frozen copy of the model: DPO without precomputed log-probabilities, GRPO "
            "with a KL term.",
            rich_help_panel=_RL,
        ),
        None,
    ),
    "completion_len": (
        str | None,
        typer.Option(
            "--completion-len",
            metavar="TOKENS",
            show_default="grpo 512, ppo 53",
            help="Generated tokens of a sequence.",
            rich_help_panel=_RL,
        ),
        None,
    ),
    "generations": (
        int | None,
        typer.Option(
            "--generations",
            metavar="N",
            show_default="8",
            help="Completions of a prompt in GRPO; --micro-batch counts completions.",
            rich_help_panel=_RL,
        ),
        None,
    ),
    "vllm_gpu_memory_utilization": (
        float | None,
        typer.Option(
            "--vllm-gpu-memory-utilization",
            metavar="F",
            show_default=False,
            help="Share of each named GPU that a colocated vLLM generates in; TRL's own is 0.3.",
            rich_help_panel=_RL,
        ),
        None,
    ),
    "vllm_sleep": (
        bool,
        typer.Option(
            "--vllm-sleep",
            help="vLLM gives its share back while the trainer works.",
            rich_help_panel=_RL,
        ),
        False,
    ),
    **SAVERS,
    **LAYOUT,
}
"""Type, declaration and default by the name of the keyword argument."""


RUN: Group = {
    name: (Annotated[kind, option], default) for name, (kind, option, default) in OPTIONS.items()
}
"""The same as a group of a command."""

"""The options of ``train`` that save memory, and those that spread a run over GPUs."""

from __future__ import annotations

import typer

from hfmem.memory.training_run import Checkpointing, Fsdp, Loss, Offload

_SAVERS, _SPREAD = "Memory savers", "Several GPUs"

SAVERS: dict[str, tuple[object, object, object]] = {
    "gradient_checkpointing": (
        bool | None,
        typer.Option(
            "--gradient-checkpointing/--no-gradient-checkpointing",
            show_default="no",
            help="Keep every layer's input and compute the rest again.",
            rich_help_panel=_SAVERS,
        ),
        None,
    ),
    "checkpointing": (
        Checkpointing | None,
        typer.Option(
            "--checkpointing",
            show_default="none",
            help="As --gradient-checkpointing, by policy.",
            rich_help_panel=_SAVERS,
        ),
        None,
    ),
    "loss": (
        Loss | None,
        typer.Option(
            "--loss",
            show_default="standard",
            help="How logits and loss are computed.",
            rich_help_panel=_SAVERS,
        ),
        None,
    ),
    "compile": (
        bool | None,
        typer.Option(
            "--compile/--no-compile",
            show_default="no",
            help="Norms, rotary embedding and activations run fused (torch.compile, Liger).",
            rich_help_panel=_SAVERS,
        ),
        None,
    ),
    "fused_recurrence": (
        bool | None,
        typer.Option(
            "--fused-recurrence/--no-fused-recurrence",
            show_default="no",
            help="Recurrent layers run the kernels of flash-linear-attention or mamba-ssm.",
            rich_help_panel=_SAVERS,
        ),
        None,
    ),
    "optimizer_in_backward": (
        bool | None,
        typer.Option(
            "--optimizer-in-backward/--no-optimizer-in-backward",
            show_default="no",
            help="Step each parameter as soon as its gradient is there.",
            rich_help_panel=_SAVERS,
        ),
        None,
    ),
    "activation_offload": (
        bool | None,
        typer.Option(
            "--activation-offload/--no-activation-offload",
            show_default="no",
            help="What layers keep goes to the host's memory.",
            rich_help_panel=_SAVERS,
        ),
        None,
    ),
    "packed": (
        bool | None,
        typer.Option(
            "--packed/--no-packed",
            show_default="no",
            help="Several documents share a row: sdpa and eager are given a mask, flash is not.",
            rich_help_panel=_SAVERS,
        ),
        None,
    ),
}
LAYOUT: dict[str, tuple[object, object, object]] = {
    "tp": (
        int,
        typer.Option("--tp", metavar="N", help="Tensor-parallel ranks.", rich_help_panel=_SPREAD),
        1,
    ),
    "pp": (
        int,
        typer.Option("--pp", metavar="N", help="Pipeline-parallel ranks.", rich_help_panel=_SPREAD),
        1,
    ),
    "dp": (
        int | None,
        typer.Option(
            "--dp",
            metavar="N",
            show_default="what --gpu leaves",
            help="Data-parallel ranks.",
            rich_help_panel=_SPREAD,
        ),
        None,
    ),
    "ep": (
        int,
        typer.Option("--ep", metavar="N", help="Expert-parallel ranks.", rich_help_panel=_SPREAD),
        1,
    ),
    "sp": (
        bool,
        typer.Option("--sp", help="Sequence parallelism.", rich_help_panel=_SPREAD),
        False,
    ),
    "zero": (
        int | None,
        typer.Option(
            "--zero",
            metavar="0|1|2|3",
            show_default="0",
            help="Stage of DeepSpeed's ZeRO.",
            rich_help_panel=_SPREAD,
        ),
        None,
    ),
    "fsdp": (
        Fsdp | None,
        typer.Option("--fsdp", show_default=False, help="torch's FSDP.", rich_help_panel=_SPREAD),
        None,
    ),
    "mfu": (
        float | None,
        typer.Option(
            "--mfu",
            metavar="F",
            show_default="0.4",
            help="Share of the peak rate that a step reaches, for its time.",
            rich_help_panel=_SPREAD,
        ),
        None,
    ),
    "offload": (
        Offload,
        typer.Option("--offload", help="To the host's memory.", rich_help_panel=_SPREAD),
        "none",
    ),
}

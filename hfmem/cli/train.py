"""``hfmem train MODEL...``: what training and fine-tuning need."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hfmem.cli import options
from hfmem.memory.training_run import (
    Checkpointing,
    Fsdp,
    Loss,
    Method,
    Objective,
    Offload,
    Precision,
)
from hfmem.units import parse_tokens

app = options.new_app("train")

_HOW, _SAVERS, _SPREAD = "Training", "Memory savers", "Several GPUs"


def _recipes(incomplete: str) -> list[str]:
    from hfmem.recipes import RECIPE_NAMES

    return [name for name in RECIPE_NAMES if name.startswith(incomplete)]


def _optimizers(incomplete: str) -> list[str]:
    from hfmem.memory.optimizers import OPTIMIZER_NAMES

    return [name for name in OPTIMIZER_NAMES if name.startswith(incomplete)]


@app.command()
def train(
    models: options.Models,
    method: Annotated[
        Method, typer.Option("--method", help="What is trained.", rich_help_panel=_HOW)
    ] = "full",
    objective: Annotated[
        Objective, typer.Option("--objective", help="What for.", rich_help_panel=_HOW)
    ] = "sft",
    recipe: Annotated[
        str | None,
        typer.Option(
            "--recipe",
            metavar="NAME",
            show_default=False,
            help="A framework's defaults; other options go over them.",
            autocompletion=_recipes,
            rich_help_panel=_HOW,
        ),
    ] = None,
    seq_len: Annotated[
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
    ] = None,
    micro_batch: Annotated[
        int | None,
        typer.Option(
            "--micro-batch",
            "--batch",
            "-b",
            metavar="N",
            show_default="1",
            help="Sequences at once on a GPU.",
            rich_help_panel=_HOW,
        ),
    ] = None,
    grad_accum: Annotated[
        int | None,
        typer.Option(
            "--grad-accum",
            metavar="N",
            show_default="1",
            help="Micro-batches a step.",
            rich_help_panel=_HOW,
        ),
    ] = None,
    optimizer: Annotated[
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
    ] = None,
    precision: Annotated[
        Precision | None,
        typer.Option(
            "--precision",
            show_default="bf16-mixed",
            help="bf16 keeps everything in 16 bits; mixed keeps fp32 weights.",
            rich_help_panel=_HOW,
        ),
    ] = None,
    attention: options.Attention = None,
    lora_rank: Annotated[
        int | None,
        typer.Option(
            "--lora-rank", metavar="R", show_default="16", help="Rank.", rich_help_panel=_HOW
        ),
    ] = None,
    lora_targets: Annotated[
        str | None,
        typer.Option(
            "--lora-targets",
            metavar="NAMES",
            show_default="all-linear",
            help="Ends of module names: q_proj,v_proj; or all-linear.",
            rich_help_panel=_HOW,
        ),
    ] = None,
    adapter: Annotated[
        Path | None,
        typer.Option(
            "--adapter",
            metavar="FILE",
            show_default=False,
            help="An adapter_config.json, or the folder that holds it: its rank, targets and "
            "modules to save.",
            rich_help_panel=_HOW,
        ),
    ] = None,
    quantize: Annotated[
        str | None,
        typer.Option(
            "--quantize",
            metavar="SCHEME",
            show_default="nf4-dq",
            help="Of QLoRA's frozen weights: nf4, nf4-dq, int8.",
            rich_help_panel=_HOW,
        ),
    ] = None,
    gradient_checkpointing: Annotated[
        bool | None,
        typer.Option(
            "--gradient-checkpointing/--no-gradient-checkpointing",
            show_default="no",
            help="Keep every layer's input and compute the rest again.",
            rich_help_panel=_SAVERS,
        ),
    ] = None,
    checkpointing: Annotated[
        Checkpointing | None,
        typer.Option(
            "--checkpointing",
            show_default="none",
            help="As --gradient-checkpointing, by policy.",
            rich_help_panel=_SAVERS,
        ),
    ] = None,
    loss: Annotated[
        Loss | None,
        typer.Option(
            "--loss",
            show_default="standard",
            help="How logits and loss are computed.",
            rich_help_panel=_SAVERS,
        ),
    ] = None,
    compile: Annotated[
        bool | None,
        typer.Option(
            "--compile/--no-compile",
            show_default="no",
            help="Norms, rotary embedding and activations run fused (torch.compile, Liger).",
            rich_help_panel=_SAVERS,
        ),
    ] = None,
    optimizer_in_backward: Annotated[
        bool | None,
        typer.Option(
            "--optimizer-in-backward/--no-optimizer-in-backward",
            show_default="no",
            help="Step each parameter as soon as its gradient is there.",
            rich_help_panel=_SAVERS,
        ),
    ] = None,
    activation_offload: Annotated[
        bool | None,
        typer.Option(
            "--activation-offload/--no-activation-offload",
            show_default="no",
            help="What layers keep goes to the host's memory.",
            rich_help_panel=_SAVERS,
        ),
    ] = None,
    tp: Annotated[
        int,
        typer.Option("--tp", metavar="N", help="Tensor-parallel ranks.", rich_help_panel=_SPREAD),
    ] = 1,
    pp: Annotated[
        int,
        typer.Option("--pp", metavar="N", help="Pipeline-parallel ranks.", rich_help_panel=_SPREAD),
    ] = 1,
    dp: Annotated[
        int | None,
        typer.Option(
            "--dp",
            metavar="N",
            show_default="what --gpu leaves",
            help="Data-parallel ranks.",
            rich_help_panel=_SPREAD,
        ),
    ] = None,
    ep: Annotated[
        int,
        typer.Option("--ep", metavar="N", help="Expert-parallel ranks.", rich_help_panel=_SPREAD),
    ] = 1,
    sp: Annotated[
        bool, typer.Option("--sp", help="Sequence parallelism.", rich_help_panel=_SPREAD)
    ] = False,
    zero: Annotated[
        int | None,
        typer.Option(
            "--zero",
            metavar="0|1|2|3",
            show_default="0",
            help="Stage of DeepSpeed's ZeRO.",
            rich_help_panel=_SPREAD,
        ),
    ] = None,
    fsdp: Annotated[
        Fsdp | None,
        typer.Option("--fsdp", show_default=False, help="torch's FSDP.", rich_help_panel=_SPREAD),
    ] = None,
    offload: Annotated[
        Offload,
        typer.Option("--offload", help="To the host's memory.", rich_help_panel=_SPREAD),
    ] = "none",
    device: options.Device = "cuda",
    gpu: options.Gpus = None,
    fail_over: options.FailOver = None,
    revision: options.Revision = None,
    token: options.Token = None,
    offline: options.Offline = False,
    source: options.Source = "auto",
    recorded: options.Recorded = None,
    json: options.Json = False,
    format: options.Format = None,
    output: options.Output = None,
    explain: options.Explain = False,
    rules: options.Rules = False,
) -> int:
    """What training or fine-tuning a Hugging Face model needs in memory."""
    # Late, so that --help and usage errors need not wait for the arithmetic.
    from hfmem.cli.training_delivery import TrainingDelivery, deliver
    from hfmem.planning import TrainingFlags, answers, asked_of, policy
    from hfmem.source import Access

    delivery = TrainingDelivery.of(
        format=format, json=json, output=output, explain=explain, fail_over=fail_over
    )
    flags = TrainingFlags(
        method=method,
        objective=objective,
        recipe=recipe,
        seq_len=None if seq_len is None else parse_tokens(seq_len),
        micro_batch=micro_batch,
        grad_accum=grad_accum,
        optimizer=optimizer,
        precision=precision,
        attention=attention,
        lora_rank=lora_rank,
        lora_targets=lora_targets,
        adapter=adapter,
        quantize=quantize,
        checkpointing=policy(gradient_checkpointing, checkpointing),
        loss=loss,
        compile=compile,
        optimizer_in_backward=optimizer_in_backward,
        activation_offload=activation_offload,
        tp=tp,
        pp=pp,
        dp=dp,
        ep=ep,
        sp=sp,
        zero=zero,
        fsdp=fsdp,
        offload=offload,
        device=device,
        gpu=tuple(gpu or ()),
        rules=rules,
    )
    asked = asked_of(flags)
    access = Access(
        source=source,
        recorded=recorded,
        revision=revision,
        token=token,
        offline=offline,
        waits_for_quota=False,
    )
    return deliver(answers(models, asked, access), delivery, run=asked.run)

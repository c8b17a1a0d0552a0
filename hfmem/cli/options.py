"""Every option, declared once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from hfmem.cli import completions
from hfmem.memory.workload import Attention as AttentionName
from hfmem.memory.workload import Device as DeviceName
from hfmem.report.formats import Format as FormatName

SourceChoice = Literal["auto", "hub", "recorded"]
"""As ``hfmem.source.SourceChoice``, which --help must not wait for."""

_WORKLOAD, _HARDWARE, _SOURCE, _OUTPUT = "Workload", "Hardware", "Source", "Output"


Models = Annotated[
    list[str],
    typer.Argument(
        metavar="MODEL",
        show_default=False,
        help="org/name, name, org/name@revision, a Hub URL, a folder, config.json, .safetensors "
        "or .gguf.",
        autocompletion=completions.verbs,
    ),
]
Ctx = Annotated[
    str | None,
    typer.Option(
        "--ctx",
        "-c",
        "--max-model-len",
        metavar="TOKENS",
        show_default="8k, or the model's maximum",
        help="Tokens per sequence, prompt and generated; 8k is 8192.",
        rich_help_panel=_WORKLOAD,
    ),
]
Batch = Annotated[
    str,
    typer.Option(
        "--batch", "-b", metavar="N", help="Concurrent sequences.", rich_help_panel=_WORKLOAD
    ),
]
Runtime = Annotated[
    str,
    typer.Option(
        "--runtime",
        "-r",
        metavar="NAME|NAME@VERSION",
        help="The engine: transformers, vllm, vllm@0.19, sglang, llama.cpp, ollama, mlx, or all.",
        autocompletion=completions.runtimes,
        rich_help_panel=_WORKLOAD,
    ),
]
KvDtype = Annotated[
    str,
    typer.Option(
        "--kv-dtype",
        "--kv-cache-dtype",
        metavar="NAME",
        help="Type of the KV cache, as the runtime names it.",
        autocompletion=completions.kv_dtypes,
        rich_help_panel=_WORKLOAD,
    ),
]
Dtype = Annotated[
    str | None,
    typer.Option(
        "--dtype",
        metavar="NAME",
        show_default="the checkpoint's",
        help="Load in another float type: bf16, fp16, fp32.",
        autocompletion=completions.offering("auto", "bfloat16", "float16", "float32", "float64"),
        rich_help_panel=_WORKLOAD,
    ),
]
Quantize = Annotated[
    str | None,
    typer.Option(
        "--quantize",
        metavar="SCHEME",
        show_default=False,
        help="What if it were quantized: nf4, fp8, gptq-4bit-g64, mlx-4bit, q4_k_m …",
        autocompletion=completions.schemes,
        rich_help_panel=_WORKLOAD,
    ),
]
Attention = Annotated[
    AttentionName | None,
    typer.Option(
        "--attention",
        show_default="the model's own",
        help="Attention implementation of transformers.",
        rich_help_panel=_WORKLOAD,
    ),
]
EncoderCtx = Annotated[
    str | None,
    typer.Option(
        "--encoder-ctx",
        metavar="TOKENS",
        show_default="the encoder's own, or as --ctx",
        help="Encoder tokens of an encoder-decoder model.",
        rich_help_panel=_WORKLOAD,
    ),
]
Images = Annotated[
    str,
    typer.Option(
        "--images",
        metavar="N",
        help="Pictures in each sequence, on top of --ctx.",
        rich_help_panel=_WORKLOAD,
    ),
]
ImageSize = Annotated[
    str | None,
    typer.Option(
        "--image-size",
        metavar="WxH",
        show_default=False,
        help="Pixels of every picture or frame: 1920x1080.",
        rich_help_panel=_WORKLOAD,
    ),
]
Frames = Annotated[
    str,
    typer.Option(
        "--frames",
        metavar="N",
        help="Frames of a film in each sequence, on top of --ctx.",
        rich_help_panel=_WORKLOAD,
    ),
]
AudioSeconds = Annotated[
    str,
    typer.Option(
        "--audio-seconds",
        metavar="S",
        help="Sound in each sequence, on top of --ctx.",
        rich_help_panel=_WORKLOAD,
    ),
]
Device = Annotated[
    DeviceName,
    typer.Option("--device", help="PyTorch backend.", rich_help_panel=_HARDWARE),
]
Gpus = Annotated[
    list[str] | None,
    typer.Option(
        "--gpu",
        metavar="NAME|NAME:COUNT",
        show_default=False,
        help="Judge the fit on this: h100, rtx-4090:2, 24GiB, auto. May be repeated.",
        autocompletion=completions.gpus,
        rich_help_panel=_HARDWARE,
    ),
]
FailOver = Annotated[
    str | None,
    typer.Option(
        "--fail-over",
        metavar="SIZE",
        show_default=False,
        help="Exit with 1 when a total is more: 24GiB or 24GB.",
        rich_help_panel=_HARDWARE,
    ),
]
Revision = Annotated[
    str | None,
    typer.Option(
        "--revision",
        metavar="REV",
        show_default=False,
        help="Branch, tag or commit.",
        rich_help_panel=_SOURCE,
    ),
]
Token = Annotated[
    str | None,
    typer.Option(
        "--token",
        metavar="TOKEN",
        show_default=False,
        help="Hub token; HF_TOKEN or hf auth login keep it out of the shell's history.",
        rich_help_panel=_SOURCE,
    ),
]
Offline = Annotated[
    bool,
    typer.Option("--offline", help="Ask no network, as HF_HUB_OFFLINE=1.", rich_help_panel=_SOURCE),
]
Source = Annotated[
    SourceChoice,
    typer.Option("--source", help="Where facts may come from.", rich_help_panel=_SOURCE),
]
Recorded = Annotated[
    Path | None,
    typer.Option(
        "--recorded",
        metavar="DIR",
        show_default=False,
        help="A folder that hfmem record wrote.",
        rich_help_panel=_SOURCE,
    ),
]
Json = Annotated[
    bool, typer.Option("--json", help="Short for --format json.", rich_help_panel=_OUTPUT)
]
Format = Annotated[
    FormatName | None,
    typer.Option("--format", show_default="table", help="How to answer.", rich_help_panel=_OUTPUT),
]
Output = Annotated[
    str | None,
    typer.Option(
        "--output",
        "-o",
        metavar="FILE",
        show_default=False,
        help="Write to a file; its suffix chooses the format.",
        rich_help_panel=_OUTPUT,
    ),
]
Explain = Annotated[
    bool,
    typer.Option(
        "--explain",
        help="Every number with its formula, its inputs and its source.",
        rich_help_panel=_OUTPUT,
    ),
]
Plot = Annotated[
    str | None,
    typer.Option(
        "--plot",
        metavar="FILE",
        show_default=False,
        help="Memory against context, by term, with the cards' limits: FILE.svg, FILE.png, or - "
        "for the terminal.",
        rich_help_panel=_OUTPUT,
    ),
]
Rules = Annotated[
    bool,
    typer.Option(
        "--rules",
        help="Popular rules of thumb beside the exact figures.",
        rich_help_panel=_OUTPUT,
    ),
]


GradientCheckpointing = Annotated[
    bool, typer.Option("--gradient-checkpointing", hidden=True, help="Saves nothing in inference.")
]
SparseAttention = Annotated[
    bool, typer.Option("--sparse-attention", hidden=True, help="Whether the architecture has any.")
]
"""Hidden: they change no number, and are taken so that those who look for them are told why."""


def _show_version(asked: bool) -> None:
    if asked:
        from hfmem._version import __version__

        typer.echo(f"hfmem {__version__}")
        raise typer.Exit


Version = Annotated[
    bool,
    typer.Option(
        "--version",
        is_eager=True,
        callback=_show_version,
        help="Print the version and exit.",
    ),
]

"""Every option, declared once."""

from __future__ import annotations

import inspect
import os
import re
from collections.abc import Callable, Iterator, Mapping
from functools import wraps
from pathlib import Path
from typing import Annotated, Literal

import typer

from hfmem.cli.routing import VERBS
from hfmem.errors import UsageError
from hfmem.flag import Flag
from hfmem.flags import FLAGS, flags_of
from hfmem.memory.workload import Attention as AttentionName
from hfmem.memory.workload import Device as DeviceName
from hfmem.memory.workload import Workload, workload
from hfmem.report.formats import Format as FormatName
from hfmem.units import parse_tokens

SourceChoice = Literal["auto", "hub", "recorded"]
"""As ``hfmem.source.SourceChoice``, which --help must not wait for."""

_WORKLOAD, _HARDWARE, _SOURCE, _OUTPUT = "Workload", "Hardware", "Source", "Output"


def _verbs(ctx: typer.Context, incomplete: str) -> Iterator[tuple[str, str]]:
    if not ctx.params.get("models"):
        yield from ((verb, text) for verb, text in VERBS.items() if verb.startswith(incomplete))


def _runtimes(incomplete: str) -> Iterator[str]:
    from hfmem.runtimes import RUNTIMES

    yield from (name for name in RUNTIMES if name.startswith(incomplete))


def _kv_dtypes(incomplete: str) -> Iterator[str]:
    from hfmem.runtimes import RUNTIMES

    names = dict.fromkeys(name for runtime in RUNTIMES.values() for name in runtime.kv_dtypes)
    yield from (name for name in names if name.startswith(incomplete))


def _schemes(incomplete: str) -> Iterator[str]:
    from hfmem.memory.quantize import choices

    yield from (name for name in choices() if name.startswith(incomplete))


def _gpus(incomplete: str) -> Iterator[tuple[str, str]]:
    from hfmem.hardware.catalogue import gpus

    yield from ((gpu.id, gpu.name) for gpu in gpus() if gpu.id.startswith(incomplete))


Models = Annotated[
    list[str],
    typer.Argument(
        metavar="MODEL",
        show_default=False,
        help="org/name, name, org/name@revision, a Hub URL, a folder, config.json, .safetensors "
        "or .gguf.",
        autocompletion=_verbs,
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
        autocompletion=_runtimes,
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
        autocompletion=_kv_dtypes,
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
        autocompletion=_schemes,
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
        show_default="as --ctx",
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
        autocompletion=_gpus,
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


_ENGINE_METAVARS = {
    **{"whole": "N", "share": "F", "gib": "GIB", "size": "SIZE"},
    **{"choice": "NAME", "name": "NAME"},
}


def with_engine_flags(command: Callable[..., int]) -> Callable[..., int]:
    """A command that takes every engine's flags too, and gets them by name as ``engine``."""
    signature = inspect.signature(command, eval_str=True)
    own = [one for one in signature.parameters.values() if one.name != "engine"]
    added = [
        inspect.Parameter(
            flag.name,
            inspect.Parameter.KEYWORD_ONLY,
            default=False if flag.type == "switch" else None,
            annotation=_annotation(flag),
        )
        for flag in FLAGS
    ]

    @wraps(command)
    def taking(**given: object) -> int:
        engine = {flag.name: given.pop(flag.name) for flag in FLAGS}
        return command(**given, engine=engine)

    parameters = [one.replace(kind=inspect.Parameter.KEYWORD_ONLY) for one in own]
    vars(taking)["__signature__"] = signature.replace(parameters=[*parameters, *added])
    taking.__annotations__ = {one.name: one.annotation for one in (*own, *added)}
    return taking


def _annotation(flag: Flag) -> object:
    panel = f"Engine flags of {' and '.join(flag.runtimes)}"
    if flag.type == "switch":
        return Annotated[bool, typer.Option(*flag.spellings, help=flag.help, rich_help_panel=panel)]
    return Annotated[
        str | None,
        typer.Option(
            *flag.spellings,
            metavar=_ENGINE_METAVARS[flag.type],
            show_default=False,
            help=flag.help,
            rich_help_panel=panel,
        ),
    ]


def new_app(verb: str) -> typer.Typer:
    """A verb's application; ``-h`` is help, and errors are for ``main`` to print.

    Only ``estimate`` offers to install completion, which then serves every verb.
    """
    completing = any(
        name.startswith("_HFMEM") and name.endswith("_COMPLETE") for name in os.environ
    )
    return typer.Typer(
        add_completion=verb == "estimate" or completing,
        context_settings={"help_option_names": ["-h", "--help"]},
        pretty_exceptions_enable=False,
        rich_markup_mode="rich",
    )


def workload_of(
    *,
    ctx: str | None,
    batch: str,
    runtime: str,
    kv_dtype: str,
    dtype: str | None,
    quantize: str | None = None,
    attention: AttentionName | None,
    device: DeviceName,
    encoder_ctx: str | None,
    images: str = "0",
    image_size: str | None = None,
    frames: str = "0",
    audio_seconds: str = "0",
    engine: Mapping[str, object],
) -> Workload:
    """The question that the options ask. Raises UsageError."""
    name, _, version = runtime.partition("@")
    return workload(
        ctx=None if ctx is None else parse_tokens(ctx),
        batch=_whole(batch),
        images=_whole(images, what="pictures"),
        image_size=image_size,
        frames=_whole(frames, what="frames"),
        audio_seconds=_seconds(audio_seconds),
        runtime=name,
        kv_dtype=kv_dtype,
        dtype=dtype,
        quantize=quantize,
        attention=attention,
        device=device,
        encoder_ctx=None if encoder_ctx is None else parse_tokens(encoder_ctx),
        version=version or None,
        flags=flags_of(engine, runtime=name),
    )


def _seconds(text: str) -> float:
    digits = text.strip()
    if not re.fullmatch(r"[0-9]{1,9}(?:\.[0-9]{1,6})?", digits):
        raise UsageError(
            f"{text!r:.60} is not a number of seconds.", hint="Write a number, such as 30 or 12.5."
        )
    return float(digits)


def _whole(text: str, *, what: str = "sequences") -> int:
    digits = text.strip().replace("_", "").replace(",", "")
    if not (digits.isascii() and digits.isdecimal()) or len(digits) > 18:
        raise UsageError(
            f"{text!r:.60} is not a number of {what}.", hint="Write a whole number, such as 16."
        )
    return int(digits)

"""``hfmem mcp``: a server of the Model Context Protocol on standard input and output.

Three tools for agents: ``estimate``, ``audit`` (at most MODELS_CAP models) and ``gpus``. They
return the elements that ``--format jsonl`` prints, less the keys that explain where they are not
asked for. A model that cannot be estimated is a failure element; a question that makes no sense, or
has a parameter that there is not, is an error of the tool. The server reads what the command line
reads and writes no file but the cache.
"""

from __future__ import annotations

import json
import types
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

from hfmem._version import __version__
from hfmem.cli import command
from hfmem.errors import HfmemError, UsageError

if TYPE_CHECKING:
    from mcp.server import MCPServer
    from mcp.server.mcpserver.tools import Tool

    from hfmem import Keywords
    from hfmem.answer import Estimate, Failure

app = command.new_app("mcp")

MODELS_CAP = 100
"""Models of one call of ``audit``; a longer list is for ``hfmem audit LIST``."""
_STEPS = ("phases", "host_terms")
"""The formulas of every instant: half of an element."""
_EXPLAINING = (*_STEPS, "terms", "cards", "precision", "rules", "runtimes", "multimodal")
_INSTRUCTIONS = (
    "What Hugging Face models need in GPU memory, from their configuration and the headers of "
    "their weight files; nothing is downloaded. All sizes are bytes; null is unknown. Say the "
    "context together with every total."
)

Element = dict[str, Any]


@app.command()
def mcp() -> int:
    """Serve estimates to agents: the Model Context Protocol on standard input and output."""
    server().run("stdio")
    return 0


def server() -> MCPServer[Any]:
    """The server with its tools. Raises UsageError without the extra."""
    try:
        from mcp.server import MCPServer
        from mcp.server.mcpserver.tools import Tool
        from mcp.types import ToolAnnotations
    except ImportError:
        raise UsageError(
            "hfmem mcp needs the package mcp.", hint="Install it: pip install 'hfmem-cli[mcp]'"
        ) from None
    tools = [
        Tool.from_function(
            tool,
            annotations=ToolAnnotations(read_only_hint=True, open_world_hint=tool is not gpus),
        )
        for tool in (estimate, audit, gpus)
    ]
    for tool in tools:
        _close(tool)
    return MCPServer(
        "hfmem",
        version=__version__,
        instructions=_INSTRUCTIONS,
        log_level="WARNING",
        tools=tools,
    )


def _close(tool: Tool) -> None:
    """Refuse parameters that the tool has not: a misspelt one would be left out unsaid."""
    arguments = tool.fn_metadata.arg_model
    closed: Any = types.new_class(arguments.__name__, (arguments,), {"extra": "forbid"})
    tool.fn_metadata.arg_model = closed
    tool.parameters = closed.model_json_schema(by_alias=True)


def estimate(
    model: str,
    ctx: int | str | None = None,
    batch: int = 1,
    runtime: str = "transformers",
    gpu: list[str] | str | None = None,
    quantize: str | None = None,
    dtype: str | None = None,
    kv_dtype: str = "auto",
    tp: int = 1,
    revision: str | None = None,
    explain: bool = False,
) -> Element:
    """What one model needs in memory: weights, KV cache, activations, overhead, and where it fits.

    model: org/name, org/name@revision, org/name:Q4_K_M for one quantization of a GGUF repository,
    or a local folder. ctx: tokens per sequence, prompt and generated, 8192 or "32k". batch:
    concurrent sequences. runtime: transformers, vllm, sglang, llama.cpp, ollama or mlx. gpu: cards
    to judge the fit on, ["h100", "rtx-4090:2", "24GiB"]. quantize: what if it were, nf4, fp8,
    q4_k_m and others. tp: GPUs that share each layer. explain: also phases, the formula, the inputs
    and the source of every number at every instant.
    """
    asked = _keywords(
        ctx=ctx,
        batch=batch,
        runtime=runtime,
        gpu=gpu,
        quantize=quantize,
        dtype=dtype,
        kv_dtype=kv_dtype,
        tp=tp,
        revision=revision,
    )
    left_out = () if explain else _STEPS
    return _asked(lambda: _without(left_out, _elements([model], asked)[0]))


def audit(
    models: list[str],
    ctx: int | str | None = None,
    batch: int = 1,
    runtime: str = "transformers",
    gpu: list[str] | str | None = None,
    quantize: str | None = None,
    dtype: str | None = None,
    kv_dtype: str = "auto",
    tp: int = 1,
) -> Element:
    """Up to 100 models side by side, in the order given; a model that fails is a failure element.

    The parameters are those of estimate. Returns {"results": [...], "failures": [...]}, whose
    elements leave out what explains the numbers: ask estimate for one model's terms.
    """
    asked = _keywords(
        ctx=ctx,
        batch=batch,
        runtime=runtime,
        gpu=gpu,
        quantize=quantize,
        dtype=dtype,
        kv_dtype=kv_dtype,
        tp=tp,
    )
    return _asked(lambda: _audited(models, asked))


def gpus(query: str = "") -> Element:
    """The accelerators that the parameter gpu takes, with the memory that a framework sees on them.

    query: words of a name, vendor or generation: "4090", "amd", "hopper"; nothing lists all.
    """
    from hfmem.hardware.catalogue import search
    from hfmem.report.gpus import json_document

    found: Element = json.loads(json_document(search(query)))
    return found


def _keywords(*, ctx: int | str | None, tp: int, **others: object) -> Mapping[str, object]:
    """The keyword arguments of the Python interface."""
    asked = {name: value for name, value in others.items() if value is not None}
    if tp != 1:
        asked["tp"] = tp
    return asked if ctx is None else {**asked, "ctx": ctx}


def _audited(models: list[str], asked: Mapping[str, object]) -> Element:
    if len(models) > MODELS_CAP:
        raise UsageError(
            f"{len(models):,} models are more than {MODELS_CAP}.",
            hint="Ask in several calls, or run: hfmem audit LIST -o FILE.jsonl",
        )
    elements = [_without(_EXPLAINING, element) for element in _elements(models, asked)]
    return {
        "results": [element for element in elements if element["type"] == "result"],
        "failures": [element for element in elements if element["type"] == "failure"],
    }


def _elements(models: list[str], asked: Mapping[str, object]) -> list[Element]:
    """The element of every model. Raises UsageError for a question that fits none."""
    from hfmem import auditing
    from hfmem.units import parse_tokens

    ctx = asked.get("ctx")
    keywords = {**asked, "ctx": parse_tokens(ctx)} if isinstance(ctx, str) else asked
    items = [auditing.ListItem(model=model) for model in models]
    rows = auditing.run(items, auditing.options_of(**cast("Keywords", keywords)))
    return [_element(row) for row in rows]


def _element(row: Estimate | Failure) -> Element:
    from hfmem.report.json import line

    found: Element = json.loads(line(row))
    return found


def _without(left_out: Sequence[str], element: Element) -> Element:
    return {key: value for key, value in element.items() if key not in left_out}


def _asked(answer: Callable[[], Element]) -> Element:
    """The answer; hfmem's own errors as the tool's, in two sentences."""
    from mcp.server.mcpserver.exceptions import ToolError

    try:
        return answer()
    except HfmemError as error:
        raise ToolError(f"{error.message} {error.hint}") from None

"""Parameters that a configuration declares, against the reference's count and published totals."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from hfmem.checkpoint.snapshot import Snapshot
from hfmem.errors import HfmemError
from hfmem.model.describe import describe
from hfmem.model.model import Model
from tests.truth.caches import lines, published_config
from tests.truth.row import Row

_STORED_TWICE = "the file stores the tied head a second time"
_ROPE = "old files store rotary frequencies: a buffer, no parameter"
_PACKED = "the Hub counts packed bytes as parameters"
EXPLAINED = {
    "Qwen/Qwen3-0.6B": _STORED_TWICE,
    "Qwen/Qwen3-1.7B": _STORED_TWICE,
    "Qwen/Qwen3-VL-2B-Instruct": _STORED_TWICE,
    "Qwen/Qwen3-VL-4B-Instruct": _STORED_TWICE,
    "meta-llama/Llama-2-7b-hf": _ROPE,
    "meta-llama/Llama-2-13b-chat-hf": _ROPE,
    "ybelkada/gpt-neo-x-20b-sharded-bf16": "old files store attention masks and rotary "
    "frequencies: buffers, no parameters",
    "nvidia/DeepSeek-V3.1-NVFP4": _PACKED,
    "nvidia/Qwen3-235B-A22B-NVFP4": _PACKED,
    "microsoft/phi-1": "the corpus's configuration has 50,295 vocabulary rows, the file 51,200",
    "tiiuae/falcon-40b": "the file stores the tied head a second time",
    "tiiuae/falcon-180B-chat": "the file stores the tied head a second time",
    "ybelkada/falcon-7b-sharded-bf16": "the file stores the tied head a second time",
    "deepseek-ai/DeepSeek-R1": "the published number is rounded; the router's bias and scales",
    "moonshotai/Kimi-K2-Instruct": "without the scales of fp8 blocks, which are no parameters",
}


def described(values: dict[str, object], name: str) -> Model:
    """A model of which only the configuration is known."""
    return describe(
        Snapshot(
            model=name,
            revision=None,
            source="local",
            config=values,
            documents={},
            files=(),
            checkpoint=None,
        )
    )


def reference(shared: Path) -> Iterator[Row]:
    """What the reference's class builds; it builds no draft layers."""
    for truth in lines(shared / "oracle" / "truth_corpus.jsonl"):
        yield _row(shared, truth["model"], truth["params_total"], "parameters, built", draft=False)


def published(shared: Path) -> Iterator[Row]:
    """What the Hub says that the files hold."""
    for fact in lines(shared / "corpus" / "facts.jsonl"):
        expected = fact["published_total_params"]
        if expected and published_config(shared, fact["model"]) is not None:
            yield _row(shared, fact["model"], expected, "parameters, published", draft=True)


def _row(shared: Path, name: str, expected: int, table: str, *, draft: bool) -> Row:
    values = published_config(shared, name)
    found, reason = None, "its class's tensors are not declared"
    try:
        parameters = described(values or {}, name).parameters
    except HfmemError as error:
        reason = error.message
        parameters = None
    if parameters is not None:
        skipped = 0 if draft else parameters.by_component.get("draft", 0)
        found, reason = parameters.total - skipped, EXPLAINED.get(name, "")
    return Row(
        table=table, name=name, expected=expected, found=found, reason=reason, tolerance=1e-4
    )

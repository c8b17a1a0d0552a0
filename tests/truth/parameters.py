"""Parameters that a configuration declares, against the reference's count and published totals."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from hfmem.checkpoint.snapshot import Snapshot
from hfmem.checkpoint.tensor import total_bytes
from hfmem.errors import HfmemError
from hfmem.model.components import split
from hfmem.model.config import read, text_section
from hfmem.model.declared import declared_tensors, logical_tensors
from hfmem.model.declared.storage import quantization
from hfmem.model.describe import describe
from hfmem.model.model import Model
from tests.truth.caches import lines, published_config
from tests.truth.row import Row

_STORED_TWICE = "the file stores the tied head a second time"
_ROPE = "old files store rotary frequencies: a buffer, no parameter"
_DRAFT = "the file holds layers for multi-token prediction that no key of its configuration tells"
_PACKED = "the Hub counts packed values and scales as parameters"
_TIED = "transformers 5 ties T5's head whatever the file says; the published files hold the head"
_ENCODER = "the configuration names the encoder alone, the reference built both halves"
EXPLAINED = {
    "Qwen/Qwen3-0.6B": _STORED_TWICE,
    "Qwen/Qwen3-1.7B": _STORED_TWICE,
    "Qwen/Qwen3-Next-80B-A3B-Instruct": _DRAFT,
    "XiaomiMiMo/MiMo-V2-Flash": _DRAFT,
    "google/gemma-4-26B-A4B": "the file stores the tied head, and a scalar a layer: a buffer",
    "google/gemma-4-E2B-it": "the file stores keys and values of the 20 layers that read another's",
    "meta-llama/Llama-2-7b-hf": _ROPE,
    "meta-llama/Llama-2-13b-chat-hf": _ROPE,
    "ybelkada/gpt-neo-x-20b-sharded-bf16": "old files store attention masks and rotary "
    "frequencies: buffers, no parameters",
    "microsoft/phi-1": "the corpus's configuration has 50,295 vocabulary rows, the file 51,200",
    "google-bert/bert-base-uncased": "the file holds BertForPreTraining: a pooler and the "
    "prediction of the next sentence beside the head that the configuration names",
    "tiiuae/falcon-40b": _STORED_TWICE,
    "tiiuae/falcon-180B-chat": _STORED_TWICE,
    "ybelkada/falcon-7b-sharded-bf16": _STORED_TWICE,
    "openbmb/MiniCPM3-4B": "doubtful: no number of such layers makes it; the reference's class "
    "agrees with ours",
    "nvidia/DeepSeek-V3.1-NVFP4": _PACKED,
    "nvidia/GLM-5-NVFP4": _PACKED,
    "nvidia/Qwen3-235B-A22B-NVFP4": _PACKED,
    "MBZUAI/LaMini-Flan-T5-783M": _TIED,
    "black-forest-labs/FLUX.1-dev--text_encoder_2": _TIED,
    "stabilityai/stable-diffusion-3-medium-diffusers--text_encoder_3": _ENCODER,
    "Tencent-Hunyuan/HunyuanDiT-Diffusers--text_encoder_2": _ENCODER,
}
"""Why a published or built total is another than the configuration's."""
UNDECIDED = {
    "deepseek-ai/DeepSeek-OCR-2": "its SAM encoder's sizes are in code of the repository",
    "moonshotai/Kimi-K3": "the latent of its experts and its vision tower have sizes that only "
    "code of the repository tells",
    "Logics-MLLM/Logics-Thinking": "its class is in code of the repository",
    "openbmb/MiniCPM-V-2": "its encoder is one of timm's, of which it names no size",
    "stepfun-ai/Step-3.7-Flash": "the corpus's configuration is cut to the decoder, with keys that "
    "no class reads",
}
"""What is missing where nothing is declared."""


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


_NO_DTYPE = "the configuration names no dtype"
_BYTES_EXPLAINED = {"MBZUAI/AIN": "stored in F32, though the configuration says bfloat16"}


def stored(shared: Path) -> Iterator[Row]:
    """The bytes of an index (``total_size``), where its publisher packed nothing."""
    for fact in lines(shared / "corpus" / "facts.jsonl"):
        expected, name = fact["published_total_size_bytes"], fact["model"]
        values = published_config(shared, name)
        if not expected or values is None or quantization(values) is not None:
            continue
        tensors = declared_tensors(read(values))
        unknown = _NO_DTYPE if logical_tensors(read(values)) is not None else ""
        why = unknown if tensors is None else _BYTES_EXPLAINED.get(name, EXPLAINED.get(name, ""))
        yield Row(
            table="bytes, published",
            name=name,
            expected=expected,
            found=None if tensors is None else total_bytes(tensors),
            reason=why or UNDECIDED.get(name, ""),
            tolerance=1e-6,
        )


def _row(shared: Path, name: str, expected: int, table: str, *, draft: bool) -> Row:
    values = published_config(shared, name)
    found, reason = None, UNDECIDED.get(name, "its class's tensors are not declared")
    try:
        parameters = described(values or {}, name).parameters
    except HfmemError as error:
        reason = error.message
        parameters = None
    if parameters is not None:
        packed = _PACKED if draft and quantization(values or {}) is not None else ""
        found, reason = parameters.total, EXPLAINED.get(name, packed)
        if not draft:
            found -= parameters.by_component.get("draft", 0) + _buffers(values or {})
    return Row(
        table=table, name=name, expected=expected, found=found, reason=reason, tolerance=1e-4
    )


_BUFFERS = ("e_score_correction_bias", "tid2eid")
"""Stored, and so counted, but buffers of the class: the correction of a router, a table of
tokens."""


def _buffers(values: dict[str, object]) -> int:
    config = read(values)
    count = text_section(config).integer_or_none("num_hidden_layers")
    runs = split(logical_tensors(config) or (), decoder_layers=count)
    return sum(
        item.run.elements * item.run.count
        for item in runs
        if item.component != "draft" and item.run.name.endswith(_BUFFERS)
    )

"""A measured decoding rate of one sequence, and our range for the same run on the same card."""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any

from msgspec import Struct

from hfmem.checkpoint.snapshot import Snapshot
from hfmem.errors import HfmemError
from hfmem.flag import Flags
from hfmem.gpu import Gpu, GpuGroup
from hfmem.hardware.catalogue import find
from hfmem.hardware.efficiency import efficiency
from hfmem.hardware.host import Host
from hfmem.hardware.step import Step
from hfmem.hardware.traffic import traffic
from hfmem.memory.quantize import convert, scheme
from hfmem.memory.term import Term
from hfmem.memory.weights import weights
from hfmem.memory.workload import Workload, workload
from hfmem.model.describe import describe
from hfmem.model.model import Model
from hfmem.runtimes import RUNTIMES
from hfmem.runtimes.serving import Serving
from tests.accuracy.models import model_of

Row = Mapping[str, Any]

ENGINES = ("transformers", "vllm", "sglang", "llama.cpp")
_SCHEMES: dict[str | None, str | None] = {
    None: None,
    "GGUF F16": None,
    "GPTQ-Int8": "gptq-8bit",
    "GPTQ-Int4": "gptq-4bit",
    "GPTQ-INT4": "gptq-4bit",
    "awq": "awq-4bit",
    "AWQ": "awq-4bit",
    "AWQ-INT4": "awq-4bit",
    "FP8": "fp8",
    "GGUF Q4_K_M": "q4_k_m",
}
_CARDS = {
    "NVIDIA A100 80GB": "a100-80gb-sxm",
    "NVIDIA H20 96GB": "h20",
    "H100 80GB HBM3": "h100-sxm",
    "M1 Max 32-core 64GB": "apple-m1-max-64gb",
    "M2 Ultra 76-core 192GB": "apple-m2-ultra-192gb",
    "M3 Max 40-core 64GB": "apple-m3-max-64gb",
    "A100 PCIe 80GB": "a100-80gb-pcie",
    "A100 SXM 80GB": "a100-80gb-sxm",
    "H100 PCIe 80GB": "h100-pcie",
}
_BASES = {
    "Meta-Llama-3-8B-Instruct": "meta-llama/Meta-Llama-3-8B",
    "Meta-Llama-3-70B-Instruct": "meta-llama/Llama-3.3-70B-Instruct",
}
"""Models of the same shape whose configuration is at hand."""
# hidden, layers, heads, KV heads, feed-forward, vocabulary: as published.
_SHAPES = {
    "Qwen-1.8B-Chat": (2048, 24, 16, 16, 5504, 151936),
    "Qwen-7B-Chat": (4096, 32, 32, 32, 11008, 151936),
    "Qwen-14B-Chat": (5120, 40, 40, 40, 13696, 152064),
    "Qwen-72B-Chat": (8192, 80, 64, 64, 24576, 152064),
    "GLM-4-9B-0414": (4096, 40, 32, 2, 13696, 151552),
    "GLM-4-32B-0414": (6144, 61, 48, 2, 23040, 151552),
    "Qwen3-235B-A22B": (4096, 94, 64, 4, 12288, 151936),
}
_PACKED = ("-FP8", "-GPTQ-INT4", "-GPTQ-Int8", "-GPTQ-Int4", "-Int8", "-Int4")


class Rate(Struct, frozen=True, kw_only=True):
    """One row: tokens per second, measured and ours."""

    engine: str
    id: str
    model: str
    card: str
    measured: float
    low: float
    high: float
    assumed: bool

    @property
    def inside(self) -> bool:
        """Whether the measured rate lies in our range."""
        return self.low <= self.measured <= self.high

    @property
    def held_out(self) -> bool:
        """The half that no row of data was fitted on: by model, or by card where an engine was
        measured with two models only."""
        key = self.card if self.engine == "llama.cpp" else self.model.split("/")[-1].split("-I")[0]
        return sha256(key.encode()).digest()[0] % 2 == 0


def decodes(row: Row) -> bool:
    """Whether a row is a decoding rate of one sequence that an engine of ours reports."""
    return (
        row["engine"] in ENGINES
        and row["kind"] == "measured"
        and row["measured"].get("tok_per_s") is not None
        and row["settings"].get("batch", 1) == 1
    )


def step(row: Row, data: Path) -> Step | None:
    """Our step for a row's run; None where its model or its card is not at hand."""
    quant = row["quant"]
    model = _model(row["model"], data)
    gpu = _card(row["settings"].get("gpu"))
    if model is None or gpu is None or quant not in _SCHEMES:
        return None
    count = row["settings"].get("tp") or row["settings"].get("num_gpus") or 1
    asked = workload(
        ctx=_mean_context(row["settings"]),
        runtime=row["engine"],
        quantize=_SCHEMES[quant],
        flags=Flags((("tp", count),)) if row["settings"].get("tp") else Flags(),
    )
    try:
        return _step(model, asked, gpu, count)
    except HfmemError:
        return None


def rate(row: Row, data: Path) -> Rate | None:
    """Our range beside a row's rate."""
    found = step(row, data)
    if found is None:
        return None
    fast, slow = found.seconds()
    return Rate(
        engine=row["engine"],
        id=row["id"],
        model=row["model"],
        card=found.gpu.id,
        measured=row["measured"]["tok_per_s"],
        low=1 / slow,
        high=1 / fast,
        assumed=found.row.basis == "assumed",
    )


def _mean_context(settings: Mapping[str, Any]) -> int:
    """Tokens that the mean generated token attends to."""
    prompt, generated = settings.get("input_len") or 0, settings.get("gen_len") or 0
    return max(1, prompt + generated // 2)


def _shaped(name: str) -> Model | None:
    """A gated decoder of published sizes, for models whose configuration is not at hand."""
    found = _SHAPES.get(name)
    if found is None:
        return None
    hidden, layers, heads, kv_heads, wide, vocabulary = found
    config: dict[str, object] = {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "torch_dtype": "bfloat16",
        "hidden_size": hidden,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": kv_heads,
        "head_dim": 128,
        "intermediate_size": wide,
        "vocab_size": vocabulary,
        "max_position_embeddings": 32768,
        "tie_word_embeddings": False,
    }
    if name.startswith("Qwen3-235B"):
        config |= {"architectures": ["Qwen3MoeForCausalLM"], "model_type": "qwen3_moe"}
        config |= {"num_experts": 128, "num_experts_per_tok": 8, "moe_intermediate_size": 1536}
        config |= {"decoder_sparse_step": 1, "mlp_only_layers": []}
    return describe(
        Snapshot(
            model=name,
            revision=None,
            source="recorded",
            config=config,
            documents={},
            files=(),
            checkpoint=None,
        )
    )


def _model(name: str, data: Path) -> Model | None:
    short = name.split("/")[-1]
    base = next((short.removesuffix(one) for one in _PACKED if short.endswith(one)), short)
    if (shaped := _shaped(base)) is not None:
        return shaped
    model, _ = model_of(_BASES.get(short, name), data)
    if model is not None and model.unpacked is not None:
        return model
    for suffix in _PACKED:
        if name.endswith(suffix):
            return model_of(name.removesuffix(suffix), data)[0]
    return model


def _card(name: str | None) -> Gpu | None:
    if name is None:
        return None
    try:
        return find(_CARDS.get(name, name))
    except HfmemError:
        return None


def _weights(model: Model, asked: Workload) -> Term:
    if asked.quantize is not None:
        return convert(model, scheme(asked.quantize), dtype=model.dtype).weights
    return weights(model.weights or (), dtype=model.dtype, model_type=model.model_type)


def _serving(model: Model, asked: Workload, gpu: Gpu, count: int) -> Serving:
    found = RUNTIMES[asked.runtime].serving
    return Serving() if found is None else found(model, asked, GpuGroup(gpu=gpu, count=count))


def _step(model: Model, asked: Workload, gpu: Gpu, count: int) -> Step | None:
    found = traffic(
        model,
        weights=_weights(model, asked),
        workload=asked,
        ctx=asked.ctx or 1,
        batch=1,
        kv_dtype="float16",
    )
    if found is None:
        return None
    row = efficiency(asked.runtime, found.packing, found.method, gpu)
    if row is None:
        return None
    return Step(
        traffic=found,
        row=row,
        gpu=gpu,
        serving=_serving(model, asked, gpu, count),
        batch=1,
        host=Host(),
        model=model,
    )

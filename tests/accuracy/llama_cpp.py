"""Rows of llama.cpp and ik_llama.cpp: KV bytes and compute buffers, ours beside the printed ones.

The rows are of 2025: logits were planned for every token of a micro-batch, and the mask came in
float32. ik_llama.cpp keeps full caches in sliding layers and plans its latent attention otherwise.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from msgspec import Struct

from hfmem.checkpoint.ggml import BY_NAME
from hfmem.checkpoint.snapshot import Snapshot
from hfmem.flags import flags_of
from hfmem.memory.workload import workload
from hfmem.model.describe import describe
from hfmem.model.forward_shapes import Experts
from hfmem.model.layers import LatentAttention
from hfmem.model.model import Model
from hfmem.runtimes.llama_cpp import estimate
from hfmem.runtimes.llama_cpp_graph import (
    DeviceGraph,
    LayerWork,
    MicroBatch,
    compute_buffer,
    host_buffer,
)
from hfmem.runtimes.llama_cpp_shapes import GraphFacts, graph_facts
from hfmem.units import MIB
from tests.accuracy.models import model_of

Row = Mapping[str, Any]


_SAME_SHAPES = {
    "deepseek-ai/DeepSeek-V3-0324": "deepseek-ai/DeepSeek-V3",
    "deepseek-ai/DeepSeek-R1-0528": "deepseek-ai/DeepSeek-R1",
}
# As published in their config.json.
_CONFIGS: dict[str, dict[str, object]] = {
    "Qwen/Qwen3-235B-A22B": {
        "model_type": "qwen3_moe",
        "hidden_size": 4096,
        "num_hidden_layers": 94,
        "num_attention_heads": 64,
        "num_key_value_heads": 4,
        "head_dim": 128,
        "intermediate_size": 12288,
        "moe_intermediate_size": 1536,
        "num_experts": 128,
        "num_experts_per_tok": 8,
        "decoder_sparse_step": 1,
        "mlp_only_layers": [],
        "norm_topk_prob": True,
        "vocab_size": 151936,
    },
    # Its sizes are the defaults of its class.
    "zai-org/GLM-4.7-Flash": {"model_type": "glm4_moe_lite"},
    "THUDM/GLM-Z1-32B-0414": {
        "model_type": "glm4",
        "hidden_size": 6144,
        "num_hidden_layers": 61,
        "num_attention_heads": 48,
        "num_key_value_heads": 2,
        "head_dim": 128,
        "intermediate_size": 23040,
        "vocab_size": 151552,
    },
}


class Figure(Struct, frozen=True, kw_only=True):
    """One figure of one row."""

    id: str
    engine: str
    quantity: str
    """``kv``, ``compute`` for the buffer of the device that holds the head, or ``host``."""
    measured: float
    ours: float

    @property
    def error(self) -> float:
        return self.ours / self.measured - 1


ENGINES = ("llama.cpp", "ik_llama.cpp")


def compared(row: Row) -> bool:
    """Whether a row is one of a cache or of buffers that an engine printed."""
    return (
        row["engine"] in ENGINES
        and row["kind"] == "measured"
        and row["measured"].get("kv_bytes_per_token") is not None
    )


def report(rows: Sequence[Row], data: Path) -> list[str]:
    """The table's lines: each engine for itself, and the rows that are off by more than 3 %."""
    found = [figure for row in rows if compared(row) for figure in figures(row, data)]
    lines = [f"{'engine':14}{'quantity':10}{'rows':>5}{'exact':>7}{'median':>9}{'worst':>9}"]
    for engine, quantity in sorted({(one.engine, one.quantity) for one in found}):
        kept = [one for one in found if (one.engine, one.quantity) == (engine, quantity)]
        exact = sum(abs(one.error) < EXACT for one in kept)
        worst = max(kept, key=lambda one: abs(one.error))
        lines.append(
            f"{engine:14}{quantity:10}{len(kept):5}{exact:7}"
            f"{median(abs(one.error) for one in kept):9.2%}{worst.error:+9.1%}"
        )
        lines += [
            f"    {one.id}: {one.measured / MIB:,.2f} MiB, ours {one.ours / MIB:,.2f}"
            for one in kept
            if abs(one.error) > FAR
        ]
    return lines


EXACT, FAR = 0.0005, 0.03
"""Printed figures have two decimals of a MiB; beyond 3 % a row is listed."""


def figures(row: Row, data: Path) -> Iterator[Figure]:
    """What can be compared of a row; nothing where its model's configuration is not at hand."""
    model = model_of_row(row["model"], data)
    if model is None:
        return
    ours = kv_bytes(model, row)
    if ours is not None:
        yield Figure(
            id=row["id"],
            engine=row["engine"],
            quantity="kv",
            measured=row["measured"]["kv_bytes_per_token"] * row["settings"]["ctx"],
            ours=ours,
        )
    buffers = row["measured"].get("compute_buffer_mib") or {}
    prepared = host_bytes(model, row)
    if prepared is not None and set(buffers) == {"CUDA0", "CUDA_Host"}:
        yield Figure(
            id=row["id"],
            engine=row["engine"],
            quantity="host",
            measured=buffers["CUDA_Host"] * MIB,
            ours=prepared,
        )
    planned = compute_bytes(model, row)
    single = [size for name, size in buffers.items() if name == "CPU" or name.startswith("CUDA")]
    if planned is not None and len(single) - ("CUDA_Host" in buffers) == 1:
        name = "CPU" if "CPU" in buffers else "CUDA0"
        yield Figure(
            id=row["id"],
            engine=row["engine"],
            quantity="compute",
            measured=buffers[name] * MIB,
            ours=planned,
        )


def model_of_row(name: str, data: Path) -> Model | None:
    """The model of a row; None where its configuration is not at hand."""
    config = _CONFIGS.get(name)
    if config is None:
        return model_of(_SAME_SHAPES.get(name, name), data)[0]
    facts = {"torch_dtype": "bfloat16", "max_position_embeddings": 40960, "rms_norm_eps": 1e-6}
    return describe(
        Snapshot(
            model=name,
            revision=None,
            source="recorded",
            config={**facts, **config},
            documents={},
            files=(),
            checkpoint=None,
        )
    )


def kv_bytes(model: Model, row: Row) -> int | None:
    """The cache of a row's settings; None for an expanded latent, which our model has not."""
    settings, size = row["settings"], row["measured"]["kv_bytes_per_token"]
    if _latent(model) and size > 100_000:
        return None
    kv = settings.get("kv_dtype", "f16")
    types = {"cache_type_k": kv, "cache_type_v": kv}
    if settings.get("flash_attn") != "1" and kv not in ("f16", "f32", "bf16"):
        types["cache_type_v"] = "f16"  # V needs flash attention
    flags = flags_of({"parallel": 1, "swa_full": True, **types}, runtime="llama.cpp")
    found = estimate(model, workload(ctx=settings["ctx"], runtime="llama.cpp", flags=flags), None)
    return found.phases[0].part("kv_cache").bytes


def _latent(model: Model) -> bool:
    return any(isinstance(k, LatentAttention) for kinds in model.decoder.layers for k in kinds)


def compute_bytes(model: Model, row: Row) -> int | None:
    """The buffer that plans the head, as llama.cpp of 2025 did."""
    settings, facts = row["settings"], graph_facts(model)
    expanded = _latent(model) and row["measured"]["kv_bytes_per_token"] > 100_000
    if facts is None or "ubatch" not in settings or expanded:
        return None
    copied = 0
    if row["engine"] == "llama.cpp" and "CUDA0" in row["measured"]["compute_buffer_mib"]:
        copied = _expert_tensor(facts, row)
    part = DeviceGraph(
        hidden=facts.hidden,
        layers=tuple(LayerWork(shape=shape, copied_expert_bytes=copied) for shape in facts.shapes),
        vocabulary=facts.vocabulary,
        last=True,
    )
    batch = MicroBatch(
        tokens=min(settings["ctx"], settings["ubatch"]),
        outputs=min(settings["ctx"], settings["ubatch"]),
        cells=settings["ctx"],
        window_cells=settings["ctx"],
        flash=settings.get("flash_attn") == "1",
        float_mask=True,
    )
    return compute_buffer(part, batch)


def host_bytes(model: Model, row: Row) -> int | None:
    """The host's buffer: in 2025 one way in, and a mask in float32."""
    settings, facts = row["settings"], graph_facts(model)
    if facts is None or "ubatch" not in settings or row["engine"] != "llama.cpp":
        return None
    part = DeviceGraph(
        hidden=facts.hidden,
        layers=tuple(LayerWork(shape=shape) for shape in facts.shapes),
        vocabulary=0,
        last=False,
    )
    tokens, cells = min(settings["ctx"], settings["ubatch"]), settings["ctx"]
    batch = MicroBatch(
        tokens=tokens,
        outputs=tokens,
        cells=cells,
        window_cells=cells,
        flash=True,
        float_mask=True,
    )
    return host_buffer(part, batch) - 4 * tokens * facts.hidden


def _expert_tensor(facts: GraphFacts, row: Row) -> int:
    """An expert tensor that is copied to the device, where experts stayed with the host."""
    held = row["measured"].get("model_buffers_mib") or {}
    routed = [shape.feed_forward for shape in facts.shapes]
    experts = next((one for one in routed if isinstance(one, Experts)), None)
    if experts is None or held.get("CPU", 0) < held.get("CUDA0", 0):
        return 0
    block = BY_NAME[row["quant"].split()[-1]]
    return block.tensor_bytes((experts.experts * experts.width, facts.hidden))

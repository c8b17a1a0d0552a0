"""Ollama: llama-server, started with defaults of its own.

Read from ollama at commit fb30760 (August 2026): llm/llama_server.go, server/sched.go,
server/routes.go, envconfig/config.go. It passes ``-c context × parallel -np parallel`` without a
shared cache, one type for K and V, and a batch that it chooses by context and headroom. Of several
cards it takes one alone where it expects the model to fill less than 80 % of it.
"""

from __future__ import annotations

import re
import shlex

from msgspec.structs import replace

from hfmem.checkpoint.snapshot import Note
from hfmem.gpu import GpuGroup
from hfmem.memory.estimate import MemoryEstimate
from hfmem.memory.workload import Workload
from hfmem.model.layers import FullAttention, LatentAttention, RecurrentState, SlidingWindow
from hfmem.model.model import Model
from hfmem.runtimes.llama_cpp import estimate as llama_cpp
from hfmem.runtimes.llama_cpp import held as llama_cpp_held
from hfmem.runtimes.llama_cpp_command import conversion
from hfmem.runtimes.llama_cpp_command import to_host as llama_cpp_to_host
from hfmem.runtimes.llama_cpp_weights import keeps_mxfp4, stored
from hfmem.units import GIB, MIB, gib

KV_DTYPES = ("auto", "f16", "q8_0", "q4_0")
"""docs/faq.mdx: OLLAMA_KV_CACHE_TYPE; f16 unless it is set."""
FILE_TYPES = ("q8_0", "q4_k_m", "q4_k_s")
"""docs/import.mdx: what ``ollama create --quantize`` makes."""
LARGE, MEDIUM, DEFAULT, CONSTRAINED = 2048, 1024, 512, 256
SINGLE_PERCENT = 80
"""Of a card's free memory, what a model may be expected to take of it alone (server/sched.go:
bestSingleGPUFit)."""
_NOT_IN_NAMES = re.compile(r"[^a-z0-9._-]+")
"""types/model/name.go: isValidPart."""
_ONE_COUNT = frozenset({"qwen3_next", "qwen3_5", "qwen3_5_text", "qwen3_5_moe", "qwen3_5_moe_text"})
"""Families with recurrent layers whose files give one count of KV heads for all layers (llama.cpp
conversion: Qwen3-Next and Qwen3.5 leave the key to the configuration's number)."""
_ONE_AT_A_TIME = frozenset(
    {
        *("mllama", "qwen3_vl", "qwen3_vl_moe", "qwen3_5", "qwen3_5_moe", "qwen3_next"),
        *("lfm2", "lfm2_moe", "nemotron_h"),
    }
)
"""server/sched.go (load): no parallel requests, by transformers' names of the families."""


def default_ctx(total_bytes: int) -> int:
    """The context by the memory of all GPUs together (server/routes.go: Serve).

    ``default_ctx(24 * GIB) == 32_768``: 4,096 below 23 GiB, 262,144 from 47 GiB on.
    """
    if total_bytes >= 47 * GIB:
        return 262_144
    return 32_768 if total_bytes >= 23 * GIB else 4096


def batch_for(cells: int, *, predicted: int, available: int) -> int:
    """Tokens of a batch (server/sched.go: automaticGenerationBatch, generationBatchFits).

    2,048 beyond 32 Ki tokens of context in all, 1,024 beyond 4 Ki, else 512; less where weights and
    cache take more than 60 or 75 % of what is available, or leave less than 2 GiB or 768 MiB below
    80 %. 0 for ``available`` is unknown.
    """
    batch = DEFAULT if cells <= 4096 else MEDIUM if cells <= 32_768 else LARGE
    if not available:
        return batch
    room = available * 80 // 100 - predicted
    if batch == LARGE and (predicted * 100 > available * 60 or room < 2 * GIB):
        batch = MEDIUM
    if batch == MEDIUM and (predicted * 100 > available * 75 or room < 768 * MIB):
        batch = DEFAULT
    return batch


def as_llama_server(model: Model, workload: Workload, group: GpuGroup | None) -> Workload:
    """The workload as Ollama hands it to llama-server. Raises UsageError."""
    limit = model.decoder.max_context
    ctx = workload.ctx
    if ctx is None:
        total = group.gpu.usable_bytes * group.count if group else 0
        ctx = min(default_ctx(total), limit or default_ctx(total))
    parallel = max(workload.batch, workload.flags.whole("parallel") or 1)
    cells = (ctx + workload.media_tokens) * parallel
    flags = workload.flags.but(parallel=parallel)
    quantize = made_of(model, workload.quantize)
    asked = replace(workload, runtime="llama.cpp", ctx=ctx, quantize=quantize, flags=flags)
    if flags.whole("ubatch_size") is not None:
        return asked
    if flags.choice("flash_attn") == "off" and workload.device == "cuda":
        small = group is not None and group.gpu.usable_bytes <= 8 * GIB and cells > 4096
        size = CONSTRAINED if small else DEFAULT
    else:
        taken = taken_of(model, asked, group)
        predicted = predicted_bytes(model, asked) or 0
        available = taken.usable_bytes if taken else 0
        size = batch_for(cells, predicted=predicted, available=available)
    return _sized(asked, size)


def made_of(model: Model, scheme: str | None) -> str | None:
    """The file type that ``ollama create`` makes: of FP8 in blocks Q8_0 unless another is asked for
    (server/create.go: createModel, hasSourceFP8Tensors)."""
    return "q8_0" if scheme is None and model.quantization == "fp8" else scheme


def held(model: Model, name: str | None, workload: Workload) -> tuple[int, int]:
    """Bytes of a file type on one device and in the files, as llama.cpp holds it."""
    return llama_cpp_held(model, made_of(model, name), workload)


def predicted_bytes(model: Model, asked: Workload) -> int | None:
    """What Ollama expects a model to take before it starts llama-server; None without weights.

    llm/llama_server.go (PredictServerVRAM): the file, and 2 × layers × least KV heads × hidden size
    / heads × cells × 2 bytes, whatever the type of the cache. Llama-3.1-8B in BF16 with 8,192
    cells: 16,060,522,752 + 1,073,741,824. ``asked`` is the workload of llama-server.
    """
    file = stored(model, asked.quantize, asked.dtype)
    if file is None:
        return None
    decoder = model.decoder
    heads = decoder.attention_heads
    size = (decoder.hidden_size or 0) // heads if heads else 0
    cells = ((asked.ctx or 0) + asked.media_tokens) * (asked.flags.whole("parallel") or 1)
    cache = 2 * len(decoder.layers) * _least_kv_heads(model) * size * cells * 2
    return file.file_bytes - file.towers + cache


def _least_kv_heads(model: Model) -> int:
    """Of the key ``attention.head_count_kv`` (fs/ggml: HeadCountKVMin), which counts 1 for a latent
    and 0 for a layer that is all recurrent, in the families whose files list it by layer."""
    counts = set[int]()
    listed = (model.decoder.model_type or "") not in _ONE_COUNT
    for kinds in model.decoder.layers:
        own = [kind.kv_heads for kind in kinds if isinstance(kind, (FullAttention, SlidingWindow))]
        own += [1 for kind in kinds if isinstance(kind, LatentAttention)]
        if listed and not own and any(isinstance(kind, RecurrentState) for kind in kinds):
            own = [0]
        counts.update(own)
    return max(1, min(counts, default=1))


def taken_of(model: Model, asked: Workload, group: GpuGroup | None) -> GpuGroup | None:
    """The cards of a group that Ollama starts llama-server on: one, where it expects the model to
    fill at most 80 % of it, else all (server/sched.go: selectLlamaServerPlacement)."""
    if group is None or group.count == 1 or asked.flags.whole("n_gpu_layers") == 0:
        return group
    alone = replace(group, count=1)
    predicted = predicted_bytes(model, asked)
    fits = predicted and predicted <= alone.usable_bytes * SINGLE_PERCENT // 100
    return alone if fits else group


def _sized(workload: Workload, size: int) -> Workload:
    flags = workload.flags.but(ubatch_size=size, batch_size=size)
    return replace(workload, flags=flags)


def estimate(model: Model, workload: Workload, group: GpuGroup | None) -> MemoryEstimate:
    """What Ollama's llama-server holds for a workload. Raises UsageError for what it refuses."""
    asked = as_llama_server(model, workload, group)
    taken = taken_of(model, asked, group)
    found = llama_cpp(model, asked, taken)
    notes = list(found.notes)
    if group is not None and taken is not None and taken.count < group.count:
        message = (
            f"Ollama puts the model on one of the {group.count} cards, since the "
            f"{gib(predicted_bytes(model, asked) or 0)} that it expects are at most "
            f"{SINGLE_PERCENT} % of it; OLLAMA_SCHED_SPREAD=1 spreads it."
        )
        notes.append(Note(code="one_card_taken", message=message))
    batch = asked.flags.whole("ubatch_size") or DEFAULT
    if workload.ctx is None:
        message = f"Ollama's context for this much GPU memory is taken: {asked.ctx or 0:,} tokens."
        notes.append(Note(code="default_ctx", message=message))
    if workload.flags.whole("ubatch_size") is None and batch != DEFAULT:
        message = f"Ollama takes batches of {batch:,} tokens here."
        notes.append(Note(code="ollama_batch", message=message))
    slots = asked.flags.whole("parallel") or 1
    if slots > 1 and model.decoder.model_type in _ONE_AT_A_TIME:
        message = "Ollama runs one request at a time of this architecture; computed as asked."
        notes.append(Note(code="one_at_a_time", message=message))
    return replace(found, notes=tuple(notes))


def serve_and_run(
    model: Model, workload: Workload, group: GpuGroup, _estimate: MemoryEstimate
) -> str:
    """The server with its environment, and the model: from the Hub, or made from a folder.

    ``OLLAMA_CONTEXT_LENGTH=8192 ollama serve &``, then ``ollama run hf.co/org/name``. Ollama
    quantizes F16, BF16 and F32 only (server/create.go: createModel), llama-quantize MXFP4 too.
    """
    asked = as_llama_server(model, workload, group)
    variables = [f"OLLAMA_CONTEXT_LENGTH={(asked.ctx or 0) + asked.media_tokens}"]
    parallel = asked.flags.whole("parallel") or 1
    if parallel > 1:
        variables.append(f"OLLAMA_NUM_PARALLEL={parallel}")
    attention = workload.flags.choice("flash_attn")
    if workload.kv_dtype not in ("auto", "f16"):
        variables.append(f"OLLAMA_KV_CACHE_TYPE={workload.kv_dtype}")
        attention = attention or "on"
    if attention in ("on", "off"):
        variables.append(f"OLLAMA_FLASH_ATTENTION={1 if attention == 'on' else 0}")
    lines = [f"{' '.join(variables)} ollama serve &"]
    name = _NOT_IN_NAMES.sub("-", model.name.rstrip("/").split("/")[-1].lower()).strip("-._")
    name = name or "model"
    if model.gguf_architecture is not None:
        reached = f"hf.co/{model.name}" if model.name.count("/") == 1 else name
        lines.append(shlex.join(["ollama", "run", reached]))
        return "\n".join(lines)
    make = ["ollama", "create", name, "-f", "Modelfile"]
    origin = model.name if model.source == "local" else f"./{name}"
    if workload.quantize is not None and keeps_mxfp4(model):
        before, made = conversion(model, workload.quantize)
        lines += [shlex.join(one) for one in before]
        origin = f"./{made}"
    else:
        if workload.quantize is not None:
            make += ["--quantize", workload.quantize]
        if model.source != "local":
            lines.append(shlex.join(["hf", "download", model.name, "--local-dir", name]))
    lines += [
        f"echo {shlex.quote(f'FROM {origin}')} > Modelfile",
        shlex.join(make),
        shlex.join(["ollama", "run", name]),
    ]
    return "\n".join(lines)


def to_host(
    model: Model, workload: Workload, estimate: MemoryEstimate, missing: int
) -> tuple[str, Workload]:
    """Whole layers in the host's memory: Ollama has no way to place experts (``num_gpu``)."""
    return llama_cpp_to_host(model, workload, estimate, missing, experts_apart=False)

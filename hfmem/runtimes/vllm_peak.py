"""What vLLM holds beside weights and KV cache: the profile's peak, CUDA graphs, libraries."""

from __future__ import annotations

from fractions import Fraction

from msgspec import Struct

from hfmem.dtypes import width
from hfmem.memory.overhead import CUDA_CONTEXT, GpuClass
from hfmem.memory.term import Term, total
from hfmem.model.layers import LatentAttention
from hfmem.model.model import Model
from hfmem.model.parameters import Routing
from hfmem.runtimes.vllm_settings import Settings
from hfmem.runtimes.vllm_versions import OUTSIDE_ALONE, OUTSIDE_TOGETHER
from hfmem.units import GIB, MIB

PEAK_FLOOR = 61 * MIB
"""0.06 GiB that every measured peak has beyond the tensors below (llm-d-planner#205)."""
_FUSED = "_proj_blocks"
"""Ends the names of gpt-oss's packed experts."""
LATENT_ROWS = 64 * 1024
"""Rows of the prefill workspace of MLA (0.33 mla_attention.py: chunked prefill workspace)."""


class Widths(Struct, frozen=True, kw_only=True):
    """Sizes that the peak depends on."""

    hidden: int
    feed_forward: int
    """Widest dense feed-forward layer; 0 where there is none."""
    expert: int
    chosen: int
    vocabulary: int


def widths(model: Model, routing: Routing | None) -> Widths | None:
    """From the configuration; None where it does not tell the hidden size and the vocabulary."""
    decoder, text = model.decoder, model.decoder.text
    vocabulary = decoder.vocab_size or text.integer_or_none("vocab_size")
    if decoder.hidden_size is None or vocabulary is None:
        return None
    wide = text.integer_or_none("intermediate_size")
    expert = text.integer_or_none("moe_intermediate_size") or 0
    if routing is not None and not expert:
        expert, wide = wide or 0, 0  # Mixtral: the experts' width is the only one
    if wide is None:
        wide = 0 if routing is not None else 4 * decoder.hidden_size
    return Widths(
        hidden=decoder.hidden_size,
        feed_forward=wide,
        expert=expert if routing is not None else 0,
        chosen=routing.chosen if routing is not None else 0,
        vocabulary=vocabulary,
    )


def activations(model: Model, size: Widths, settings: Settings, *, last: bool) -> Term:
    """The peak of the profile: a full step through the widest layer, or the sampler's warm-up.

    vLLM 0.33 v1/worker/gpu/model_runner.py: profile_run, _dummy_sampler_run. The sampler sorts
    fp32 logits of every sequence over the whole vocabulary on every rank, so it is divided by
    nothing: Llama-3.1-8B, 1,024 sequences and 128,256 entries of 14 bytes are 1.71 GiB of the
    measured 1.89. Stages before the last hand their hidden states on instead.
    """
    element = width(settings.dtype)
    tokens, tp = settings.step, settings.layout.tp
    step = tokens * element
    layer = Term(
        name="widest layer",
        bytes=step * (2 * size.hidden + 3 * -(-size.feed_forward // tp)),
        basis="derived",
        because=f"{tokens:,} tokens × {element} bytes × (2 × {size.hidden:,} + 3 × "
        f"{size.feed_forward:,} / {tp})",
    )
    each = settings.behaviour.sampler_bytes + (element - 2)
    sampled = min(settings.sequences, tokens)
    sampler = Term(
        name="sampler",
        bytes=int(each * sampled * size.vocabulary) + 2 * step * size.hidden,
        basis="measured",
        because=f"{float(each):g} bytes × {sampled:,} sequences × {size.vocabulary:,} entries of "
        f"the vocabulary, and 2 × {tokens:,} × {size.hidden:,} hidden states "
        f"({settings.behaviour.source})",
    )
    samples = last and not settings.pools
    largest = max(layer, sampler, key=lambda term: term.bytes) if samples else layer
    parts = [largest, *_workspaces(model, size, settings)]
    if not last:
        parts.append(_plain("handed on", 2 * step * size.hidden, "hidden states and residual"))
    parts.append(_plain("rest", PEAK_FLOOR, "beyond what is counted, in all runs on an H100"))
    found = total("activations", parts, because="peak of the profile run with dummy tokens")
    return Term(
        name="activations",
        bytes=found.bytes,
        basis="measured",
        because=found.because,
        low=found.bytes * 88 // 100,
        high=found.bytes * 117 // 100,
        parts=tuple(parts),
    )


def _workspaces(model: Model, size: Widths, settings: Settings) -> list[Term]:
    element, tokens, layout = width(settings.dtype), settings.step, settings.layout
    found = []
    # Triton's fused kernels for MXFP4 gather and scatter inside (fused_moe/experts/
    # gpt_oss_triton_kernels_moe.py): three runs of gpt-oss show no such workspace.
    fused = any(
        run.component == "experts" and _FUSED in run.run.name for run in model.weights or ()
    )
    if size.chosen and not fused:
        divided = 1 if layout.dealt else layout.experts
        expert = -(-size.expert // divided)
        # Replicas gather all their tokens before the experts (config/parallel.py:
        # all2all_backend, prepare_finalize/naive_dp_ep.py).
        rows = tokens * layout.dp * size.chosen
        if layout.dp > 1:
            gathered = tokens * layout.dp * size.hidden * element
            because = f"{tokens:,} tokens of each of {layout.dp} replicas × {size.hidden:,}"
            found.append(_plain("gathered tokens", gathered, because))
        space = rows * (max(2 * expert, size.hidden) + max(expert, size.hidden)) * element
        found.append(
            _plain(
                "expert workspaces",
                space,
                f"{rows:,} routed rows × (max(2 × {expert:,}, {size.hidden:,}) + max({expert:,}, "
                f"{size.hidden:,})) × {element} bytes (0.33 fused_moe/modular_kernel.py)",
            )
        )
    latent = next(
        (
            kind
            for kinds in model.decoder.layers
            for kind in kinds
            if isinstance(kind, LatentAttention)
        ),
        None,
    )
    if latent is not None:
        rows = min(LATENT_ROWS, max(8 * settings.ctx, 4 * settings.sequences * settings.block))
        space = rows * (latent.rank + latent.rope_dim) * element
        found.append(_plain("latent workspace", space, f"{rows:,} rows of the latent"))
    if any(run.component in {"vision", "audio"} for run in model.weights or ()):
        found.append(
            _plain(
                "encoder outputs",
                tokens * size.hidden * element,
                f"{tokens:,} × {size.hidden:,} × {element} bytes: the encoder's cache "
                "(0.33 config/scheduler.py: encoder_cache_size)",
            )
        )
    return found


def _plain(name: str, size: int, because: str) -> Term:
    return Term(name=name, bytes=size, basis="derived", because=because)


def capture_sizes(settings: Settings) -> int:
    """How many batch sizes CUDA graphs are captured for.

    vLLM 0.33 config/vllm.py: _set_cudagraph_sizes: 1, 2, 4, every 8 up to 256, every 16 up to
    min(2 × sequences, 512). ``51`` for 256 sequences or more.
    """
    most = min(2 * settings.sequences, 512, settings.step)
    small = [one for one in (1, 2, 4) if one <= most]
    return len(small) + len(range(8, min(most, 255) + 1, 8)) + len(range(256, most + 1, 16))


def graphs(weights_bytes: int, size: Widths, settings: Settings) -> Term:
    """CUDA graphs: 0.5 GiB and what the rank's weights add, for 51 sizes.

    Fitted to runs on an H100 (0.67 to 1.84 GiB, llm-d-planner#205).
    """
    if settings.eager:
        return Term(name="graphs", bytes=0, basis="exact", because="--enforce-eager: none")
    heavy = min(Fraction(2), Fraction(weights_bytes, 15 * GIB))
    share = Fraction(capture_sizes(settings), 51)
    base = Fraction(1, 2) + Fraction(2, 5) * heavy + (Fraction(1, 2) if size.chosen else 0)
    found = int(base * share * GIB)
    return Term(
        name="graphs",
        bytes=found,
        basis="measured",
        because=f"{capture_sizes(settings)} captured sizes; 0.67 to 1.84 GiB for 51 on an H100 "
        "(llm-d-planner#205)",
        low=found * 6 // 10,
        high=found * 17 // 10,
    )


def libraries(settings: Settings, gpu_class: GpuClass) -> Term:
    """What libraries allocate inside the budget: NCCL's buffers on first use, cuBLAS, kernels.

    Seen on an H100 with NVLink, and so less sure of other cards.
    """
    alone, together = settings.behaviour.non_torch
    tp = settings.layout.tp
    size = together if tp > 1 else alone if settings.layout.pp == 1 else 72 * MIB
    what = "NCCL and custom all-reduce buffers of a tensor parallel group" if tp > 1 else "kernels"
    return Term(
        name="libraries",
        bytes=size,
        basis="measured",
        because=f"{what}, outside of PyTorch's allocator ({settings.behaviour.source})",
        low=size * (9 if gpu_class == "datacenter" else 2) // 10,
        high=size * (11 if gpu_class == "datacenter" else 15) // 10,
    )


def outside(settings: Settings, gpu_class: GpuClass) -> Term:
    """What exists before vLLM measures: the driver's context and communicators."""
    context = CUDA_CONTEXT[gpu_class]
    extra = OUTSIDE_TOGETHER - OUTSIDE_ALONE if settings.layout.tp * settings.layout.pp > 1 else 0
    return Term(
        name="outside of the budget",
        bytes=context.typical + extra,
        basis="measured",
        because=f"{context.source}; communicators {extra:,} bytes",
        low=context.low + extra * (9 if gpu_class == "datacenter" else 4) // 10,
        high=context.high + extra * (11 if gpu_class == "datacenter" else 20) // 10,
    )

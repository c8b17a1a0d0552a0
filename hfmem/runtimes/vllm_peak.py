"""What vLLM holds beside weights and KV cache: the profile's peak, CUDA graphs, libraries."""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING

from msgspec import Struct

from hfmem.checkpoint.snapshot import Note
from hfmem.dtypes import width
from hfmem.gpu import Gpu
from hfmem.memory.overhead import CUDA_CONTEXT, GpuClass
from hfmem.memory.term import Term, total
from hfmem.model.model import Model
from hfmem.model.parameters import Routing
from hfmem.runtimes.vllm_settings import Settings
from hfmem.runtimes.vllm_versions import MEASURED, OUTSIDE_ALONE, OUTSIDE_TOGETHER
from hfmem.runtimes.vllm_workspaces import (
    attention_workspace,
    expanded_latent,
    expert_workspaces,
    plain,
)
from hfmem.units import GIB, MIB, gib

if TYPE_CHECKING:
    from hfmem.model.media import Media
    from hfmem.runtimes.vllm_encoder import EncoderRun

PEAK_FLOOR = 61 * MIB
"""0.06 GiB that every measured peak has beyond the tensors below (llm-d-planner#205)."""
PCIE_BUFFERS, PCIE_COMMUNICATORS = 123 * MIB, 100 * MIB
"""Of a tensor parallel group without NVLink, inside and outside of the budget."""
_FUSED = "_proj_blocks"
"""Ends the names of gpt-oss's packed experts."""


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


def activations(
    model: Model, size: Widths, settings: Settings, *, last: bool, items: tuple[Media, ...] = ()
) -> Term:
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
        f"the vocabulary, and 2 × {tokens:,} × {size.hidden:,} hidden states ({MEASURED})",
    )
    expanded = plain(
        "expanded latents",
        expanded_latent(model, settings) + 2 * step * size.hidden,
        f"keys and values of the latent workspace, and 2 × {tokens:,} × {size.hidden:,} hidden "
        "states (0.33 mla_attention.py: forward_impl)",
    )
    instants = [layer, expanded, sampler] if last and not settings.pools else [layer, expanded]
    largest = max(instants, key=lambda term: term.bytes)
    encoder = encoder_of(model, settings, size, items=items)
    outputs = () if encoder is None else (encoder.outputs,)
    parts = [largest, *_workspaces(model, size, settings), *outputs]
    if not last:
        parts.append(plain("handed on", 2 * step * size.hidden, "hidden states and residual"))
    rest = plain("rest", PEAK_FLOOR, "beyond what is counted, in all runs on an H100")
    parts.append(rest)
    if encoder is not None and encoder.peak.bytes + rest.bytes > sum(one.bytes for one in parts):
        because = "peak of the profile's encoder run, before the decoder's"
        return total("activations", (encoder.peak, rest), because=because)
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
    found: list[Term] = []
    # Triton's fused kernels for MXFP4 gather and scatter inside (fused_moe/experts/
    # gpt_oss_triton_kernels_moe.py): three runs of gpt-oss show no such workspace.
    fused = any(
        run.component == "experts" and _FUSED in run.run.name for run in model.weights or ()
    )
    if size.chosen and not fused:
        found.extend(
            expert_workspaces(settings, hidden=size.hidden, expert=size.expert, chosen=size.chosen)
        )
    attention = attention_workspace(model, settings)
    if attention is not None:
        found.append(attention)
    return found


def encoder_of(
    model: Model, settings: Settings, size: Widths, *, items: tuple[Media, ...]
) -> EncoderRun | None:
    """The profile's encoder run; None for a model without an encoder.

    Where the largest input or the encoder is not described, its outputs alone: as many tokens as
    a step has (0.33 config/scheduler.py: encoder_cache_size).
    """
    if not any(run.component in {"vision", "audio"} for run in model.weights or ()):
        return None
    from hfmem.runtimes.vllm_encoder import EncoderRun, encoder_run

    found = encoder_run(items, settings, hidden=size.hidden)
    if found is not None:
        return found
    element, tokens = width(settings.dtype), settings.step
    outputs = plain(
        "encoder outputs",
        tokens * size.hidden * element,
        f"{tokens:,} × {size.hidden:,} × {element} bytes: the encoder's cache",
    )
    return EncoderRun(peak=outputs, outputs=outputs)


def encoder_notes(peak: Term) -> tuple[Note, ...]:
    """What the reader must know of the profile's encoder run."""
    parts = {part.name: part for part in peak.parts}
    if (run := parts.get("encoder")) is not None:
        message = (
            f"vLLM profiles the encoder with its largest input, {gib(run.bytes)}: smaller pictures "
            "(--mm-processor-kwargs) or fewer kinds (--limit-mm-per-prompt) take less."
        )
        return (Note(code="encoder_profile", message=message),)
    kept = parts.get("encoder outputs")
    if kept is None or "largest input" in kept.because:
        return ()
    message = (
        "vLLM profiles the encoder with its largest input; what that takes of this model is not "
        "known, and not in the total."
    )
    return (Note(code="encoder_profile_unknown", message=message),)


def capture_sizes(settings: Settings) -> int:
    """How many batch sizes CUDA graphs are captured for.

    vLLM 0.33 config/vllm.py: _set_cudagraph_sizes: 1, 2, 4, every 8 up to 256, every 16 up to
    min(2 × sequences, 512). ``51`` for 256 sequences or more.
    """
    most = min(2 * settings.sequences, 512, settings.step)
    small = [one for one in (1, 2, 4) if one <= most]
    return len(small) + len(range(8, min(most, 255) + 1, 8)) + len(range(256, most + 1, 16))


def graphs(layers: int, size: Widths, settings: Settings) -> Term:
    """CUDA graphs of 51 sizes: 0.0187 GiB a layer of the rank, and what the widest layer adds.

    Fitted to half of the models of 0.18 and 0.19 on an H100 (0.64 to 1.85 GiB,
    llm-d-planner#205): median error 5.5 %, 7.4 % on the other half, at worst 26 %. Llama-3.1-8B:
    0.12 + 32 × 0.0187 + 0.145 × 14,336 / 16,384 are 0.85 of the measured 0.91 GiB. Experts added
    0.1 to 1.3 GiB in five models; half a GiB is taken, with that range.
    """
    if settings.eager:
        return Term(name="graphs", bytes=0, basis="exact", because="--enforce-eager: none")
    wide = Fraction(-(-size.feed_forward // settings.layout.tp), 16384)
    base = Fraction("0.12") + Fraction("0.0187") * layers + Fraction("0.145") * wide
    base += Fraction("0.5") if size.chosen else 0
    found = int(base * Fraction(capture_sizes(settings), 51) * GIB)
    return Term(
        name="graphs",
        bytes=found,
        basis="measured",
        because=f"{capture_sizes(settings)} captured sizes of {layers} layers: 0.12 + {layers} × "
        f"0.0187 + 0.145 × {float(wide):.2f}{' + 0.5' if size.chosen else ''} GiB for 51 "
        f"({MEASURED})",
        low=found * (65 if size.chosen else 78) // 100,
        high=found * (180 if size.chosen else 115) // 100,
    )


def over_pcie(gpu: Gpu | None) -> bool:
    """Whether ranks talk over PCIe: no link between the cards, or one that few owners have."""
    return gpu is not None and gpu.vendor == "nvidia" and (not gpu.link or gpu.kind == "consumer")


def libraries(settings: Settings, gpu_class: GpuClass) -> Term:
    """What libraries allocate inside the budget: NCCL's buffers on first use, cuBLAS, kernels.

    Seen on an H100 with NVLink, and over PCIe on RTX 4090 (0.25 GiB with two ranks in 0.7,
    vllm-project/vllm#13061) and RTX 3090 (0.20 in 0.8, #14447), where one rank takes 0.13.
    """
    alone, together = settings.behaviour.non_torch
    tp = settings.layout.tp
    if tp > 1 and over_pcie(settings.gpu):
        size = alone + PCIE_BUFFERS
        return Term(
            name="libraries",
            bytes=size,
            basis="measured",
            because="kernels, and NCCL's buffers over PCIe: 0.12 GiB above one rank (vllm-project/"
            "vllm#13061, #14447)",
            low=size * 5 // 10,
            high=size * 20 // 10,
        )
    size = together if tp > 1 else alone if settings.layout.pp == 1 else 72 * MIB
    what = "NCCL and custom all-reduce buffers of a tensor parallel group" if tp > 1 else "kernels"
    return Term(
        name="libraries",
        bytes=size,
        basis="measured",
        because=f"{what}, outside of PyTorch's allocator ({MEASURED})",
        low=size * (9 if gpu_class == "datacenter" else 2) // 10,
        high=size * (11 if gpu_class == "datacenter" else 15) // 10,
    )


def outside(settings: Settings, gpu_class: GpuClass) -> Term:
    """What exists before vLLM measures: the driver's context and communicators.

    Over PCIe 0.4 GiB with the context, on eight RTX 3090 (Sandermage/genesis-vllm-patches#24).
    """
    context = CUDA_CONTEXT[gpu_class]
    several, pcie = settings.layout.tp * settings.layout.pp > 1, over_pcie(settings.gpu)
    extra = (PCIE_COMMUNICATORS if pcie else OUTSIDE_TOGETHER - OUTSIDE_ALONE) if several else 0
    return Term(
        name="outside of the budget",
        bytes=context.typical + extra,
        basis="measured",
        because=f"{context.source}; communicators {extra:,} bytes",
        low=context.low + extra * (9 if gpu_class == "datacenter" else 4) // 10,
        high=context.high + extra * (11 if gpu_class == "datacenter" else 20) // 10,
    )

"""Tokens per second by the roofline: bytes that move, operations that run, and what lies between.

A decoding step takes the time of its launches and the time of its kernels; those take as long as
the slower of memory and arithmetic. Efficiencies are rows of ``efficiency.py``; bytes and
operations come from ``traffic.py``. Rates are ranges, because an engine's version and its host move
them.
"""

from __future__ import annotations

from typing import Literal

from msgspec import Struct
from msgspec.structs import replace

from hfmem.checkpoint.snapshot import Note
from hfmem.gpu import Gpu
from hfmem.hardware.efficiency import Span, efficiency
from hfmem.hardware.fit import Fit
from hfmem.hardware.host import host_part, whole_weights
from hfmem.hardware.prompt_efficiency import prompt_efficiency
from hfmem.hardware.step import Limit, Step, peak_rate
from hfmem.hardware.traffic import traffic
from hfmem.memory.estimate import MemoryEstimate
from hfmem.memory.workload import Workload
from hfmem.model.layers import NoCache
from hfmem.model.model import Model
from hfmem.runtimes import RUNTIMES
from hfmem.runtimes.serving import Serving

Band = Literal["slow", "acceptable", "smooth"]
SLOW, SMOOTH = 10.0, 20.0
"""Tokens per second that one reader sees: below the first is slow, from the second on smooth."""


class Throughput(Struct, frozen=True, kw_only=True):
    """How fast a workload goes on one group of GPUs."""

    gpu: str
    count: int
    decode: Span | None
    """Tokens per second of all sequences that run at once, least and most; None where not
    known."""
    per_sequence: Span | None
    """Of each sequence: what a reader sees."""
    prefill: Span | None
    """Prompt tokens per second, a prompt of the whole context on each sequence."""
    first_token_seconds: Span | None
    """To the first token of such prompts, all sent at once."""
    step_bytes: int | None
    """What one decoding step moves, all devices together."""
    limited_by: Limit | None
    basis: Literal["measured", "assumed"] | None
    because: str
    note: Note | None = None
    """Why something is not known."""

    @property
    def band(self) -> Band | None:
        """How it reads, by the middle of the range."""
        if self.per_sequence is None:
            return None
        middle = sum(self.per_sequence) / 2
        return "slow" if middle < SLOW else "acceptable" if middle < SMOOTH else "smooth"


def throughput(fit: Fit, *, model: Model, workload: Workload, memory: MemoryEstimate) -> Throughput:
    """The rates of a workload on a judged group of GPUs.

    ``memory`` is the estimate on that group. Llama-3.1-8B in bf16 at 8,192 tokens on an RTX 4090
    moves 16.09 GB a step: 62.7 tokens per second at the peak of 1,008 GB/s.
    """
    gpu = fit.group.gpu
    if memory.unknown or not _generates(model):
        return _unknown(fit, "a part of what it holds is not known")
    asked = RUNTIMES[workload.runtime].serving
    serving = Serving() if asked is None else asked(model, workload, fit.group)
    together = min(workload.batch, serving.sequences or workload.batch)
    batch = -(-together // serving.dp)
    found = traffic(
        model,
        weights=whole_weights(model, workload, memory.phases[-1].part("weights"), serving),
        workload=workload,
        ctx=memory.ctx + workload.media_tokens,
        batch=batch,
        kv_dtype=memory.kv_dtype,
        replicas=serving.dp,
        routed=together if serving.shares_experts else None,
    )
    if found is None:
        return _unknown(fit, "what a token of this model reads is not known")
    if gpu.bandwidth_bytes_per_second is None:
        return _unknown(fit, f"the memory bandwidth of {gpu.name} is not known")
    row = efficiency(workload.runtime, found.packing, found.method, gpu)
    if row is None:
        return _unknown(fit, f"there are no figures of {workload.runtime} to go by")
    host = host_part(
        fit, model=model, workload=workload, memory=memory, found=found, serving=serving
    )
    if isinstance(host, str):
        return _unknown(fit, host)
    step = Step(
        traffic=found, row=row, gpu=gpu, serving=serving, batch=batch, host=host, model=model
    )
    seconds = step.seconds()
    decode = (together / seconds[1], together / seconds[0])
    prompt = _prompt_seconds(step, workload, tokens=memory.ctx + workload.media_tokens)
    tokens = (memory.ctx + workload.media_tokens) * together
    return Throughput(
        gpu=gpu.id,
        count=fit.group.count,
        decode=decode,
        per_sequence=(1 / seconds[1], 1 / seconds[0]),
        prefill=None if prompt is None else (tokens / prompt[1], tokens / prompt[0]),
        first_token_seconds=prompt,
        step_bytes=step.moved,
        limited_by=step.limit(),
        basis=step.basis,
        because=step.because(),
        note=_note(gpu, known=prompt is not None, together=together, asked=workload.batch),
    )


def _note(gpu: Gpu, *, known: bool, together: int, asked: int) -> Note | None:
    if not known:
        return Note(
            code="prefill_unknown",
            message=f"How fast {gpu.name} computes in this type is not known, so neither is the "
            "time to the first token.",
        )
    if together < asked:
        return Note(
            code="speed_of_running",
            message=f"The speed is that of the {together:,} sequences that run at once; the other "
            f"{asked - together:,} wait.",
        )
    return None


def _generates(model: Model) -> bool:
    """Whether it makes one token after another: some layer keeps something between two."""
    kinds = [kind for layer in model.decoder.layers for kind in layer]
    return any(not isinstance(kind, NoCache) for kind in kinds)


def _unknown(fit: Fit, why: str) -> Throughput:
    return Throughput(
        gpu=fit.group.gpu.id,
        count=fit.group.count,
        decode=None,
        per_sequence=None,
        prefill=None,
        first_token_seconds=None,
        step_bytes=None,
        limited_by=None,
        basis=None,
        because=why,
        note=Note(code="throughput_unknown", message=f"Tokens per second are unknown: {why}."),
    )


def _prompt_seconds(step: Step, workload: Workload, *, tokens: int) -> Span | None:
    """Time of the passes over every prompt, of which the last ends with the first token.

    2 × active parameters × tokens, the head for the last token only, and causal attention; or, if
    that takes longer, reading all weights once a pass (what lies in the host, mostly).
    """
    shares = prompt_efficiency(workload.runtime, step.gpu)
    rate = peak_rate(step.gpu, step.model.dtype, step.traffic.packing)
    if shares is None or rate is None:
        return None
    found = step.traffic
    body = found.active_parameters - found.head_parameters
    each = 2 * body * tokens + 2 * found.head_parameters + found.prompt_operations
    operations = step.batch * each / step.serving.tp
    whole = _every_expert(step)
    prompts = tokens * step.batch
    passes = -(-prompts // (step.serving.prompt_tokens or max(1, prompts)))
    fast, slow = (
        max(operations / (rate * share), passes * whole.side(side))
        for side, share in ((0, shares[1]), (1, shares[0]))
    )
    return fast, slow


def _every_expert(step: Step) -> Step:
    """One token's step, with all experts read: between them the tokens of a prompt choose all."""
    found, host = step.traffic, step.host
    return replace(
        step,
        batch=1,
        traffic=replace(found, expert_bytes=found.stored_expert_bytes),
        host=replace(host, read_bytes=host.held_bytes, moved_bytes=host.held_bytes),
    )

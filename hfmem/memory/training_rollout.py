"""What generating completions holds beside the states of an online objective (GRPO, PPO)."""

from __future__ import annotations

from math import ceil

from hfmem.dtypes import FLOATS
from hfmem.memory.activations import decode_activations, prefill_activations
from hfmem.memory.kv_cache import group, total_bytes
from hfmem.memory.term import Term, total
from hfmem.memory.training_parameters import Parameter
from hfmem.memory.training_run import Rollout, TrainingRun
from hfmem.memory.training_sharding import Rank
from hfmem.model.forward_shapes import ForwardPass
from hfmem.model.model import Model

COMPLETION = {"grpo": 512, "ppo": 53}
"""Tokens: trl 1.16 trainer/grpo_config.py: max_completion_length; trl 1.12 experimental/ppo/
ppo_config.py: response_length."""
PPO_ROLLOUT = 64
"""Sequences of a call of generate in PPO: local_rollout_forward_batch_size."""


def completion_tokens(run: TrainingRun, *, tokens: int) -> int:
    """Tokens that are generated of a sequence of ``tokens``: GRPO of 1,024 tokens: 512."""
    said = run.rollout.completion
    return min(tokens, COMPLETION[run.objective] if said is None else said)


def generated_at_once(run: TrainingRun) -> int:
    """Sequences of one rank that are generated together.

    GRPO generates for a whole step: per-device batch × steps_per_generation, which is the number of
    accumulated micro-batches (trl 1.16 trainer/grpo_config.py: __post_init__).
    """
    whole = run.micro_batch * run.grad_accum
    return min(PPO_ROLLOUT, whole) if run.objective == "ppo" else whole


def colocated_bytes(rollout: Rollout) -> int:
    """What a vLLM on the same card takes: 0.3 of 80 GiB are 25,769,803,776 bytes."""
    if rollout.vllm_share is None or rollout.card_bytes is None:
        return 0
    return ceil(rollout.card_bytes * rollout.vllm_share)


def colocated(run: TrainingRun, phase: str) -> tuple[Term, ...]:
    """The term of a colocated vLLM in a phase; nothing where it sleeps or is not there."""
    size = colocated_bytes(run.rollout)
    if not size or (run.rollout.vllm_sleeps and phase != "generation"):
        return ()
    return (
        Term(
            name="vLLM on the same card",
            bytes=size,
            basis="derived",
            because=f"{run.rollout.vllm_share} of {run.rollout.card_bytes:,} bytes: its own copy "
            "of the weights, KV pool and graphs (trl 1.16 generation/vllm_generation.py)",
        ),
    )


def generation(
    model: Model,
    forward: ForwardPass,
    run: TrainingRun,
    rank: Rank,
    parameters: tuple[Parameter, ...],
    *,
    tokens: int,
    stream: int,
    casts: int,
) -> tuple[Term, Term]:
    """Activations and kept scores while transformers generates; none where vLLM does.

    ``stream`` is the width between the layers: where it is fp32, the rotated keys are too.
    ``casts`` are the 16-bit copies that autocast makes of the weights.
    """
    if run.rollout.vllm_share is not None:
        return (
            total("activations", (), because="vLLM generates, in its own share"),
            Term(name="logits", bytes=0, basis="exact", because="vLLM's own"),
        )
    batch, tp = generated_at_once(run), run.parallel.tp
    completion = completion_tokens(run, tokens=tokens)
    parts = [
        _cache(model, tokens=tokens, batch=batch, stream=stream, tp=tp),
        _running(forward, run, batch=batch, prompt=tokens - completion, tokens=tokens),
    ]
    if casts:
        parts.append(
            Term(
                name="weights cast to 16 bits",
                bytes=casts,
                basis="derived",
                because="autocast keeps a copy of every trained matrix for the length of a pass",
            )
        )
    if run.parallel.zero == 3 and run.parallel.dp > 1:
        parts.append(_gathered(rank, parameters))
    return (
        total("activations", parts, because=f"{batch:,} × {tokens:,} tokens, generated at once"),
        _scores(forward, run, batch=batch, completion=completion, tp=tp),
    )


def _cache(model: Model, *, tokens: int, batch: int, stream: int, tp: int) -> Term:
    dtype = model.dtype if model.dtype in FLOATS and model.dtype != "F32" else "BF16"
    size = total_bytes(
        group(model.decoder.layers), ctx=tokens, batch=batch, kv_dtype=dtype, model_dtype=dtype
    )
    size = -(-size // tp)
    wide = stream == 4
    return Term(
        name="KV cache",
        bytes=size * 3 // 2 if wide else size,
        basis="derived",
        because=f"{batch:,} × {tokens:,} tokens (transformers 5.23 cache_utils.py)"
        + ("; keys are rotated in fp32" if wide else ""),
        low=size,
        high=size * 3 // 2 if wide else size,
    )


def _running(
    forward: ForwardPass, run: TrainingRun, *, batch: int, prompt: int, tokens: int
) -> Term:
    first = prefill_activations(
        forward,
        tokens=max(1, prompt),
        batch=batch,
        attention=run.attention,
        device=run.device,
    )
    later = decode_activations(
        forward, context=tokens, batch=batch, attention=run.attention, device=run.device
    )
    # The prompt's pass has no completion in the cache yet; the larger of both bounds them.
    largest = max(first.activation_bytes, later.activation_bytes)
    return Term(
        name="running layer",
        bytes=-(-largest // run.parallel.tp),
        basis="derived",
        because=f"the {first.instant} of a prompt or the {later.instant} of a token, no gradients",
        low=-(-min(first.activation_bytes, later.activation_bytes) // run.parallel.tp),
    )


def _gathered(rank: Rank, parameters: tuple[Parameter, ...]) -> Term:
    whole = rank.total(parameters, lambda p: p.bytes, sharded=False)
    kept = rank.total(parameters, lambda p: p.bytes, sharded=True)
    return Term(
        name="gathered weights",
        bytes=whole - kept,
        basis="derived",
        because="ds3_gather_for_generation: all weights on every GPU (trl 1.16)",
        low=0,
    )


def _scores(
    forward: ForwardPass, run: TrainingRun, *, batch: int, completion: int, tp: int
) -> Term:
    """PPO keeps the scores of every generated token, and stacks them; a token's own otherwise."""
    one = 4 * batch * forward.vocab
    if run.objective != "ppo":
        return Term(
            name="logits",
            bytes=-(-one // tp),
            basis="derived",
            because=f"{batch:,} rows × {forward.vocab:,} × 4 bytes, of the last token",
        )
    whole = 4 * run.micro_batch * run.grad_accum * forward.vocab * completion
    return Term(
        name="logits",
        bytes=2 * whole,
        basis="derived",
        because=f"{run.micro_batch * run.grad_accum:,} sequences × {completion:,} tokens × "
        f"{forward.vocab:,} × 4 bytes, and stacked (trl 1.12 experimental/ppo/ppo_trainer.py: "
        "batch_generation)",
    )

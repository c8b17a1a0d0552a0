"""The terms of activations and logits at an instant, with the tensors that explain them."""

from __future__ import annotations

from collections import Counter

from hfmem.memory.term import Term, total
from hfmem.memory.training_pass import Activations
from hfmem.memory.training_phases import Held
from hfmem.memory.training_run import TrainingRun

_AUTOGRAD = "what autograd saves in transformers 5.23 with torch 2.13"
_PPO = "trl 1.12 experimental/ppo/ppo_trainer.py"
_CHECKPOINT = "transformers 5.23 modeling_layers.py: GradientCheckpointingLayer"


def activation_term(
    instant: Held, found: Activations | None, live: tuple[Term, ...], *, run: TrainingRun
) -> Term:
    """Activations at an instant: what the layers keep, and what is alive beside it."""
    if found is None:
        return Term(
            name="activations",
            bytes=0,
            basis="assumed",
            because="unknown: this family's layers are not described",
        )
    whole = found.whole
    if whole.critic is not None and instant.instant.startswith("value model"):
        whole = whole.critic
    kept = sum(layer.kept for layer in whole.layers)
    parts = list(live)
    rest = instant.activations - whole.gathered
    at_loss = instant.instant in ("loss", "logits", "output head", "last layer")
    if at_loss and kept:
        saved = whole.in_flight * kept
        parts.append(
            Term(
                name="saved by layers",
                bytes=saved,
                basis="exact" if run.parallel.tp == 1 else "derived",
                because=_kept(found, run),
                parts=_tensors(found, saved) if found.checkpoint is None else (),
            )
        )
        rest -= saved
    if whole.workspace:
        parts.append(
            Term(
                name="dequantized weight",
                bytes=whole.workspace,
                basis="derived",
                because="the largest quantized matrix in 16 bits, while a product reads it "
                "(bitsandbytes 0.50 functional.py: dequantize_4bit)",
            )
        )
        rest -= whole.workspace
    for part in (*_towers(instant, found), *_other_models(instant, found)):
        parts.append(part)
        rest -= part.bytes
    if rest:
        name = "around the layers" if at_loss else "running layer and what is kept before it"
        parts.append(
            Term(
                name=name,
                bytes=rest,
                basis="derived",
                because=f"{_rest(instant, found)} ({_AUTOGRAD})",
            )
        )
    return total("activations", parts, because=f"at {instant.phase}, {instant.instant}")


def _towers(instant: Held, found: Activations) -> tuple[Term, ...]:
    """What the encoders keep until their own backward pass; that is told with the running one."""
    towers = found.whole.towers
    if instant.instant == "embedding" or any(instant.instant == one.name for one in towers):
        return ()
    if instant.instant.startswith("value model"):
        return ()
    return tuple(
        Term(
            name=f"{one.name} encoder, saved",
            bytes=one.kept,
            basis="derived",
            because=one.because,
        )
        for one in towers
        if one.kept
    )


def _other_models(instant: Held, found: Activations) -> tuple[Term, ...]:
    """What the value model keeps until its turn, and the outputs of layers that PPO asks for."""
    whole, parts = found.whole, []
    if instant.instant.startswith("value model"):
        return ()
    if whole.critic is not None:
        waiting = whole.critic.outside_kept + sum(layer.kept for layer in whole.critic.layers)
        because = f"saved for its own backward pass, which comes after the policy's ({_PPO})"
        parts.append(("value model, saved", waiting, because))
    if whole.beside:
        because = f"every layer's output, of policy and value model: output_hidden_states ({_PPO})"
        parts.append(("hidden states", whole.beside, because))
    return tuple(
        Term(name=name, bytes=size, basis="derived", because=because)
        for name, size, because in parts
    )


def _kept(found: Activations, run: TrainingRun) -> str:
    count = sum(count for count, _ in found.shown)
    flight = f"; {found.whole.in_flight} micro-batches" if found.whole.in_flight > 1 else ""
    if found.checkpoint is not None:
        moved = "; on the host" if run.activation_offload else ""
        return f"{count} layers × {found.checkpoint.because}{moved}{flight} ({_CHECKPOINT})"
    kinds = " + ".join(
        f"{number} layers × {saved.bytes():,} bytes" for number, saved in found.shown
    )
    return f"{kinds}{flight} ({_AUTOGRAD})"


def _tensors(found: Activations, size: int) -> tuple[Term, ...]:
    """The layers' tensors by name, where they add up to what is kept."""
    sizes: Counter[str] = Counter()
    reasons: dict[str, str] = {}
    for count, saved in found.shown:
        for one in saved.all:
            sizes[one.name] += count * one.bytes
            reasons.setdefault(one.name, f"{one.because}, a layer")
    if sum(sizes.values()) != size:
        return ()
    return tuple(
        Term(name=name, bytes=amount, basis="exact", because=reasons[name])
        for name, amount in sizes.most_common()
    )


def _rest(instant: Held, found: Activations) -> str:
    whole = found.whole
    words = [f"{whole.outside_kept:,} bytes of final norm, positions and ids"]
    if whole.forward_casts and instant.phase == "forward":
        words.append(f"{whole.forward_casts:,} bytes of weights cast to 16 bits")
    if whole.in_flight > 1:
        words.append(f"{whole.in_flight} micro-batches are in flight")
    if instant.instant.startswith(("MLP", "attention")):
        words = [f"layer inputs before it, its own tensors and their gradients ({instant.instant})"]
    return "; ".join(words)


def logits_term(instant: Held, found: Activations | None) -> Term:
    """The logits chain at an instant."""
    because = "no logits are alive then"
    if found is None:
        because = "unknown: the vocabulary is not known"
    elif instant.logits and found.loss is not None:
        because = f"{found.loss.because} ({found.loss.source})"
    return Term(name="logits", bytes=instant.logits, basis="exact", because=because)

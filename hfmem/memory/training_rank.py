"""One rank's step: what it holds at the largest instant of every phase."""

from __future__ import annotations

from collections.abc import Iterator

from msgspec import Struct
from msgspec.structs import replace

from hfmem.memory.overhead import GpuClass
from hfmem.memory.term import Term, total
from hfmem.memory.training_estimate import TrainingPhase, TrainingPhaseName
from hfmem.memory.training_gradients import LayerGradients
from hfmem.memory.training_objective import beside_training, is_value, value_run
from hfmem.memory.training_overhead import training_overhead
from hfmem.memory.training_parameters import Parameter
from hfmem.memory.training_pass import Activations, activations, saving_of
from hfmem.memory.training_phases import Held, StepPhase, largest
from hfmem.memory.training_rollout import colocated, generation
from hfmem.memory.training_run import ONLINE, TrainingRun
from hfmem.memory.training_sharding import Rank, live_parts, shards_weights
from hfmem.memory.training_states import States, states
from hfmem.memory.training_terms import activation_term, logits_term
from hfmem.model.forward_shapes import ForwardPass
from hfmem.model.lora import Adapters
from hfmem.model.model import Model


class Question(Struct, frozen=True, kw_only=True):
    """A run on a model, with what both settle; the same for every rank."""

    model: Model
    forward: ForwardPass | None
    """None where the layers are not described."""
    run: TrainingRun
    parameters: tuple[Parameter, ...]
    lora: Adapters | None
    gpu_class: GpuClass
    tokens: int


def on_rank(asked: Question, rank: Rank) -> tuple[tuple[TrainingPhase, ...], int]:
    """The phases of a rank, and the bytes that offload puts in the host's memory for it."""
    run = asked.run
    kept = states(rank, asked.parameters, run, read=asked.model.is_read)
    found = _activations(asked, rank)
    phases = tuple(_phase(asked, rank, instant, kept, found) for instant in _instants(found, kept))
    if run.objective in ONLINE and asked.forward is not None:
        phases = (_generation(asked, rank, asked.forward, kept), *phases)
    return phases, kept.host_bytes + (found.host_bytes if found else 0)


def _activations(asked: Question, rank: Rank) -> Activations | None:
    """The pass of the trained model, with the value model's beside it where there is one."""
    if asked.forward is None:
        return None
    policy = tuple(p for p in asked.parameters if not is_value(p))
    value = tuple(p for p in asked.parameters if is_value(p))
    found = activations(
        asked.model,
        asked.forward,
        asked.run,
        rank,
        policy,
        asked.lora,
        tokens=asked.tokens,
    )
    if not value:
        return found
    critic = activations(
        asked.model,
        asked.forward,
        value_run(asked.run),
        rank,
        value,
        None,
        tokens=asked.tokens,
        scored_head=True,
    )
    return replace(found, whole=replace(found.whole, critic=critic.whole))


def _instants(found: Activations | None, kept: States) -> Iterator[Held]:
    """The largest instant of forward, backward and step."""
    step = Held(
        phase="step",
        instant="optimizer step",
        activations=0,
        logits=0,
        gradients=kept.gradients.bytes,
    )
    phases: tuple[StepPhase, ...] = ("forward", "backward")
    for phase in phases:
        yield replace(step, phase=phase) if found is None else largest(found.whole, phase)
    yield step


def _generation(asked: Question, rank: Rank, forward: ForwardPass, kept: States) -> TrainingPhase:
    """Before the step: gradients are gone, states are there, completions are generated."""
    run = asked.run
    saving = saving_of(asked.model, forward, run, tokens=asked.tokens)
    casts = 0
    if saving.cast_bytes is not None and not saving.frozen and not shards_weights(run.parallel):
        policy = tuple(p for p in asked.parameters if not is_value(p))
        layers = LayerGradients(rank, policy, run)
        casts = sum(layers.cast(index) for index in rank.layers)
    acts, logits = generation(
        asked.model,
        forward,
        run,
        rank,
        asked.parameters,
        tokens=asked.tokens,
        stream=saving.stream,
        casts=casts,
    )
    none = Term(name="gradients", bytes=0, basis="exact", because="freed after the last step")
    held = (none, kept.optimizer, acts, logits)
    return _together(asked, rank, kept, name="generation", instant="last token", held=held)


def _phase(
    asked: Question, rank: Rank, instant: Held, kept: States, found: Activations | None
) -> TrainingPhase:
    run = asked.run
    live = live_parts(rank, asked.parameters, compute=4 if run.precision == "fp32" else 2)
    optimizer = kept.optimizer
    if instant.phase == "step" or found is None:
        live = tuple(part for part in live if part.name == "gradient buckets")
    if instant.phase == "step":
        if optimizer.parts and kept.step.bytes:
            optimizer = total("optimizer", (*optimizer.parts, kept.step), because=optimizer.because)
        acts = total("activations", live, because="the backward pass has freed them")
        logits = Term(name="logits", bytes=0, basis="exact", because="freed")
    else:
        acts = activation_term(instant, found, live, run=run)
        logits = logits_term(instant, found)
    told = kept.gradients.because
    if instant.gradients != kept.gradients.bytes:
        told = f"{instant.gradients:,} bytes of {kept.gradients.bytes:,} are there by then"
    gradients = Term(name="gradients", bytes=instant.gradients, basis="exact", because=told)
    held = (gradients, optimizer, acts, logits)
    return _together(asked, rank, kept, name=instant.phase, instant=instant.instant, held=held)


def _together(
    asked: Question,
    rank: Rank,
    kept: States,
    *,
    name: TrainingPhaseName,
    instant: str,
    held: tuple[Term, Term, Term, Term],
) -> TrainingPhase:
    """Weights, other models, gradients, states, activations, logits and overhead of an instant."""
    run = asked.run
    beside = beside_training(run, rank, asked.parameters)
    weights = total("weights", (*kept.weights.parts, *beside), because=kept.weights.because)
    gradients, optimizer, acts, logits = held
    outside = training_overhead(
        run=run,
        gpu_class=asked.gpu_class,
        steady_bytes=weights.bytes + gradients.bytes + optimizer.bytes,
        dynamic_bytes=acts.bytes + logits.bytes,
    )
    if engine := colocated(run, name):
        outside = total("overhead", (*outside.parts, *engine), because=outside.because)
    return TrainingPhase(
        name=name,
        instant=instant,
        memory=total(
            "memory",
            (weights, gradients, optimizer, acts, logits, outside),
            because=f"held together at {name}, {instant}",
        ),
    )

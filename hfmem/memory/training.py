"""What a training step needs: states, saved activations, the loss, and the largest instant.

Nothing here depends on a library that trains; how recipes differ is data (``hfmem.recipes``).
"""

from __future__ import annotations

from msgspec.structs import replace

from hfmem.checkpoint.snapshot import Note
from hfmem.errors import UsageError
from hfmem.memory.overhead import GpuClass
from hfmem.memory.packed_loading import METHODS
from hfmem.memory.term import Term, total
from hfmem.memory.training_estimate import TRAINING_PARTS, TrainingEstimate, TrainingPhase
from hfmem.memory.training_notes import run_notes
from hfmem.memory.training_objective import value_parameters
from hfmem.memory.training_parameters import Parameter, parameters
from hfmem.memory.training_pass import masks_pictures
from hfmem.memory.training_rank import Question, on_rank
from hfmem.memory.training_run import DEFAULT_SEQ_LEN, MasterWeights, TrainingRun, checked
from hfmem.memory.training_sharding import Rank, stages
from hfmem.memory.training_towers import unsaved
from hfmem.model.backward_families import backward
from hfmem.model.forward_shapes import ForwardPass, Listed
from hfmem.model.layers import CrossAttention, FullAttention, RecurrentState
from hfmem.model.lora import Adapters, adapters
from hfmem.model.model import Model

__all__ = ["resolved", "training_estimate"]


def training_estimate(
    model: Model,
    run: TrainingRun,
    gpu_class: GpuClass = "unknown",
) -> TrainingEstimate:
    """What one step of a run needs, on the most loaded GPU and on all of them.

    Llama-3.1-8B, 2,048 tokens, bf16, AdamW (foreach): 80,302,612,480 bytes of tensors at the step.
    Raises UsageError where the run contradicts itself or does not suit the model.
    """
    run = resolved(checked(run))
    tokens, notes = _tokens(model, run)
    model, opened = _opened(model, run)
    notes += opened
    _trainable(model, run)
    lora = _adapters(model, run)
    forward, missing = described(model, run)
    if forward is not None:
        notes += _encoder_length(model, tokens=tokens)
    held = parameters(model, run, lora)
    if held is not None:
        held = (*held, *value_parameters(model, run))
    asked = Question(
        model=model,
        forward=forward,
        run=run,
        parameters=held or (),
        lora=lora,
        gpu_class=gpu_class,
        tokens=tokens,
    )
    answers = [on_rank(asked, rank) for rank in _ranks(model, run)]
    phases, _ = max(answers, key=lambda one: max(phase.memory.bytes for phase in one[0]))
    replicas = run.parallel.dp * run.parallel.tp
    peaks = tuple(max(found, key=lambda phase: phase.memory.bytes) for found, _ in answers)
    return TrainingEstimate(
        phases=phases,
        whole=_whole(peaks, replicas),
        gpus=run.parallel.gpus,
        seq_len=tokens,
        trainable=sum(p.total_elements for p in held or () if p.trained),
        host=_host(sum(host for _, host in answers) * replicas),
        unknown=_unknown(run, forward, held),
        notes=(
            *notes,
            *run_notes(forward, missing, run, lora, held or (), masked=masks_pictures(model, run)),
        ),
    )


def _ranks(model: Model, run: TrainingRun) -> tuple[Rank, ...]:
    """One rank of every pipeline stage."""
    return stages(
        run.parallel,
        layers=max(1, len(model.decoder.layers)),
        tied=model.decoder.text.flag("tie_word_embeddings"),
    )


def _adapters(model: Model, run: TrainingRun) -> Adapters | None:
    """What LoRA trains; None in full fine-tuning, and where the tensors are not known."""
    if not run.adapted or model.weights is None:
        return None
    if model.unpacked is None:
        raise UsageError(
            "The weights are packed, and their 16-bit shapes are not known.",
            hint="Name the model that it was quantized from.",
        )
    return adapters(model.unpacked, run.lora)


def _unknown(
    run: TrainingRun, forward: ForwardPass | None, held: tuple[Parameter, ...] | None
) -> tuple[str, ...]:
    """Parts of which something is not known."""
    unknown = ("weights", "gradients", "optimizer") if held is None else ()
    if forward is None:
        return (*unknown, "activations", "logits")
    return (*unknown, "activations") if unsaved(run, held or ()) else unknown


def _whole(peaks: tuple[TrainingPhase, ...], replicas: int) -> Term:
    """The sum over all GPUs; a single GPU's is its own."""
    if len(peaks) == 1 and replicas == 1:
        return peaks[0].memory
    parts = []
    for name in TRAINING_PARTS:
        stages_of = [phase.part(name) for phase in peaks]
        parts.append(
            Term(
                name=name,
                bytes=replicas * sum(part.bytes for part in stages_of),
                basis="derived",
                because=f"{replicas} replicas of {len(peaks)} pipeline stages",
                low=replicas * sum(part.range_bytes[0] for part in stages_of),
                high=replicas * sum(part.range_bytes[1] for part in stages_of),
            )
        )
    return total("memory", parts, because="all GPUs, each at its own peak")


def resolved(run: TrainingRun) -> TrainingRun:
    """A run whose mixed precision is what its engine does."""
    master: MasterWeights = run.master
    if run.parallel.zero and master == "autocast":
        # DeepSpeed's 16-bit optimizers keep fp32 master weights whatever the weights are.
        master = "engine"
        if run.precision == "bf16":
            run = replace(run, precision="bf16-mixed")
    if run.parallel.fsdp is not None and master == "autocast":
        master = "sharded"
    if run.method == "dora" and not run.lora.dora:
        return replace(run, master=master, lora=replace(run.lora, dora=True))
    return replace(run, master=master)


def described(model: Model, run: TrainingRun) -> tuple[ForwardPass | None, str]:
    """The pass whose saved tensors are known, or None and what is not known."""
    kinds = {type(kind) for layer in model.decoder.layers for kind in layer}
    family = model.decoder.model_type or model.model_type or "this family"
    if model.forward is None:
        return None, f"the layers of {family}"
    crosses = backward(family, model.forward).crosses
    eager = (run.attention or model.forward.default_attention) == "eager"
    if CrossAttention in kinds and (eager or not crosses):
        under = " under eager attention" if crosses else ""
        return None, f"an encoder and the attention to its output{under} ({family})"
    if any(isinstance(kind.shape.mixer, Listed) for kind in model.forward.kinds):
        return None, f"the recurrent or convolution layers of {family}"
    both = any(
        {RecurrentState, FullAttention} <= {type(kind) for kind in layer}
        for layer in model.decoder.layers
    )
    if both and not backward(family, model.forward).attention_beside:
        return None, f"the layers of {family} that have attention beside a recurrence"
    return model.forward, ""


def _tokens(model: Model, run: TrainingRun) -> tuple[int, tuple[Note, ...]]:
    """Tokens of a sequence, those of pictures and sound with the text's."""
    limit, notes = model.decoder.max_context, list[Note]()
    tokens = run.seq_len
    if tokens is None:
        tokens = min(DEFAULT_SEQ_LEN, limit or DEFAULT_SEQ_LEN)
        message = f"No sequence length was given: {tokens:,} tokens are assumed."
        notes.append(Note(code="default_ctx", message=message))
    if run.media is not None:
        tokens += run.media.tokens
        notes.append(run.media.notes[0])
    if limit is not None and tokens > limit:
        message = (
            f"{tokens:,} tokens are more than the model's maximum of {limit:,}; computed as asked."
        )
        notes.append(Note(code="beyond_max_context", message=message))
    return tokens, tuple(notes)


def _encoder_length(model: Model, *, tokens: int) -> tuple[Note, ...]:
    """What is taken for the length of an encoder's input where neither model nor processor tells:
    that of the decoder."""
    crossing = {
        kind for layer in model.decoder.layers for kind in layer if isinstance(kind, CrossAttention)
    }
    if all(kind.source_tokens or kind.usual_tokens for kind in crossing):
        return ()
    message = f"The encoder is taken to read as many tokens as the decoder: {tokens:,}."
    return (Note(code="encoder_ctx_assumed", message=message),)


# transformers 5.23 quantizers/: is_trainable is False.
_NOT_TRAINABLE = frozenset(
    {"mxfp4", "nvfp4", "fbgemm_fp8", "auto-round", "gguf", "quark", "higgs", "spqr", "vptq"}
    | {"metal", "gemma"}
)


def _opened(model: Model, run: TrainingRun) -> tuple[Model, tuple[Note, ...]]:
    """A model whose quantization cannot be trained over, with its weights in 16 bits."""
    method = (model.quantization or "").lower()
    trainable = not method or (method in METHODS and method not in _NOT_TRAINABLE)
    if trainable or model.unpacked is None or run.method == "qlora":
        return model, ()
    message = (
        f"transformers trains over no {method!r:.40} weights (5.23 quantizers/): the figures are "
        "those of the weights de-quantized to 16 bits before."
    )
    return replace(model, weights=model.unpacked), (Note(code="dequantized", message=message),)


def _trainable(model: Model, run: TrainingRun) -> None:
    packed = any(weight.packed for weight in model.weights or ())
    if packed and run.method == "full":
        raise UsageError(
            "The weights are quantized, and quantized weights cannot be trained in full.",
            hint="Say --method lora, or name the model that it was quantized from.",
        )
    heads = model.decoder.attention_heads
    tp = run.parallel.tp
    if heads and heads % tp:
        raise UsageError(
            f"{heads} attention heads cannot be split over {tp} tensor-parallel ranks.",
            hint=f"Choose --tp as a divisor of {heads}.",
        )
    layers = len(model.decoder.layers)
    if layers and run.parallel.pp > layers:
        raise UsageError(
            f"{layers} layers cannot fill {run.parallel.pp} pipeline stages.",
            hint=f"Choose --pp up to {layers}.",
        )


def _host(size: int) -> Term | None:
    if not size:
        return None
    return Term(
        name="host",
        bytes=size,
        basis="derived",
        because="moved by offload, of all ranks; pinned buffers of the engine come on top",
        high=size * 3 // 2,
    )

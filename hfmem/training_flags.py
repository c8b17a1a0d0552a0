"""What the flags of ``train`` say, on the command line and as keyword arguments."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, TypeVar, get_args

from msgspec import Struct, field

from hfmem.errors import UsageError
from hfmem.memory.training_run import (
    Checkpointing,
    Fsdp,
    Loss,
    Method,
    Objective,
    Offload,
    Precision,
)
from hfmem.memory.workload import Attention, Device, workload
from hfmem.model.media import MediaInput

if TYPE_CHECKING:
    from hfmem import TrainKeywords


class TrainingFlags(Struct, frozen=True, kw_only=True):
    """What was said; None leaves a field to the recipe, or to the default."""

    method: Method = "full"
    objective: Objective = "sft"
    recipe: str | None = None
    seq_len: int | None = None
    micro_batch: int | None = None
    grad_accum: int | None = None
    optimizer: str | None = None
    precision: Precision | None = None
    attention: Attention | None = None
    lora_rank: int | None = None
    lora_targets: str | None = None
    adapter: Path | None = None
    quantize: str | None = None
    checkpointing: Checkpointing | None = None
    loss: Loss | None = None
    compile: bool | None = None
    """Norms, rotary embedding and gated activations are fused."""
    optimizer_in_backward: bool | None = None
    activation_offload: bool | None = None
    fused_recurrence: bool | None = None
    packed: bool | None = None
    reference_model: bool | None = None
    """Hold a frozen reference model; None is what the objective needs."""
    completion_len: int | None = None
    generations: int | None = None
    vllm_gpu_memory_utilization: float | None = None
    """Share of the card that a colocated vLLM generates in."""
    vllm_sleep: bool = False
    brings: MediaInput = field(default_factory=MediaInput)
    """Pictures, film and sound of each sequence."""
    tp: int = 1
    pp: int = 1
    dp: int | None = None
    ep: int = 1
    sp: bool = False
    zero: int | None = None
    fsdp: Fsdp | None = None
    offload: Offload = "none"
    device: Device = "cuda"
    gpu: tuple[str, ...] = ()
    global_batch: int | None = None
    """Sequences a step over all GPUs; sets how many micro-batches are accumulated."""
    mfu: float | None = None
    rules: bool = False


def flags_of(options: TrainKeywords) -> TrainingFlags:
    """What keyword arguments say. Raises UsageError."""
    adapter, named = options.get("adapter"), options.get("gpu", ())
    return TrainingFlags(
        method=_choice("method", options.get("method", "full"), get_args(Method)),
        objective=_choice("objective", options.get("objective", "sft"), get_args(Objective)),
        recipe=options.get("recipe"),
        seq_len=options.get("seq_len"),
        micro_batch=options.get("micro_batch"),
        grad_accum=options.get("grad_accum"),
        optimizer=options.get("optimizer"),
        precision=_choice("precision", options.get("precision"), get_args(Precision)),
        attention=_choice("attention", options.get("attention"), get_args(Attention)),
        lora_rank=options.get("lora_rank"),
        lora_targets=options.get("lora_targets"),
        adapter=None if adapter is None else Path(adapter),
        quantize=options.get("quantize"),
        checkpointing=policy(
            options.get("gradient_checkpointing"),
            _choice("checkpointing", options.get("checkpointing"), get_args(Checkpointing)),
        ),
        loss=_choice("loss", options.get("loss"), get_args(Loss)),
        compile=options.get("compile"),
        optimizer_in_backward=options.get("optimizer_in_backward"),
        activation_offload=options.get("activation_offload"),
        fused_recurrence=options.get("fused_recurrence"),
        packed=options.get("packed"),
        reference_model=options.get("reference_model"),
        completion_len=options.get("completion_len"),
        generations=options.get("generations"),
        vllm_gpu_memory_utilization=options.get("vllm_gpu_memory_utilization"),
        vllm_sleep=options.get("vllm_sleep", False),
        brings=_brings(options),
        tp=options.get("tp", 1),
        pp=options.get("pp", 1),
        dp=options.get("dp"),
        ep=options.get("ep", 1),
        sp=options.get("sp", False),
        zero=options.get("zero"),
        fsdp=_choice("fsdp", options.get("fsdp"), get_args(Fsdp)),
        offload=_choice("offload", options.get("offload", "none"), get_args(Offload)),
        device=_choice("device", options.get("device", "cuda"), get_args(Device)),
        gpu=(named,) if isinstance(named, str) else tuple(named),
        global_batch=options.get("global_batch"),
        mfu=options.get("mfu"),
        rules=options.get("rules", False),
    )


def _brings(options: TrainKeywords) -> MediaInput:
    """What each sequence brings beside its text. Raises UsageError."""
    asked = workload(
        images=options.get("images", 0),
        image_size=options.get("image_size"),
        frames=options.get("frames", 0),
        audio_seconds=options.get("audio_seconds", 0),
    )
    return MediaInput(
        images=asked.images,
        image_size=asked.image_size,
        frames=asked.frames,
        audio_seconds=asked.audio_seconds,
    )


_Choice = TypeVar("_Choice", bound=str | None)


def _choice(name: str, value: _Choice, choices: tuple[str, ...]) -> _Choice:
    """A value of a closed set, or UsageError: the interface is called without a type checker."""
    if value is not None and value not in choices:
        raise UsageError(
            f"There is no {name} {value!r:.60}.", hint=f"Choose one of: {', '.join(choices)}."
        )
    return value


def policy(switch: bool | None, named: Checkpointing | None) -> Checkpointing | None:
    """What ``gradient_checkpointing`` and ``checkpointing`` say together. Raises UsageError."""
    if switch is None:
        return named
    if named is not None:
        raise UsageError(
            "--checkpointing and --gradient-checkpointing say the same.", hint="Keep one of them."
        )
    return "full" if switch else "none"

"""What is asked of a training run: how it trains, in which types, with which savers, spread how."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct, field

from hfmem.errors import UsageError
from hfmem.memory.workload import Attention, Device
from hfmem.model.lora import LoraSpec
from hfmem.model.media import Media, MediaInput

Method = Literal["full", "lora", "qlora", "dora"]
Objective = Literal["sft", "dpo", "grpo", "ppo"]
Precision = Literal["bf16", "bf16-mixed", "fp16-mixed", "fp32"]
"""bf16: everything in bf16, states too. bf16-mixed and fp16-mixed: 16-bit arithmetic over fp32
weights (or over frozen 16-bit ones). fp32: everything in fp32."""
Checkpointing = Literal["none", "full", "selective", "core-attention"]
"""full: every layer's input is kept and the rest computed again. selective: every second matrix
product and the attention are kept too (torchtitan's operator policy). core-attention: only the
attention scores are computed again (arXiv:2205.05198)."""
Loss = Literal["standard", "chunked", "fused"]
"""standard: all logits, their fp32 copy and its log-softmax. chunked: the head runs over pieces of
the sequence, computed again in the backward pass. fused: the loss's gradient is computed in the
forward pass, piece by piece (Liger)."""
MasterWeights = Literal["autocast", "engine", "megatron", "sharded"]
"""How mixed precision keeps its fp32 weights. autocast: the weights are fp32 and are cast for each
product. engine: 16-bit weights and gradients, fp32 master in the optimizer (DeepSpeed). megatron:
the same with fp32 gradients. sharded: FSDP, fp32 shards that are cast when gathered."""
Fsdp = Literal["full", "hybrid", "grad-op"]
Offload = Literal["none", "optimizer", "params"]


class Parallel(Struct, frozen=True, kw_only=True):
    """How a run is spread: dp × tp × pp GPUs."""

    dp: int = 1
    tp: int = 1
    pp: int = 1
    ep: int = 1
    sp: bool = False
    """Sequence parallelism: what tensor parallelism replicates is split along the sequence."""
    zero: int = 0
    """Stage of ZeRO, 0 to 3."""
    fsdp: Fsdp | None = None
    no_sync: bool = False
    """Under FSDP, gradients stay whole while micro-batches are accumulated (torch 2.13
    FullyShardedDataParallel.no_sync)."""
    gpus_per_node: int = 8
    offload: Offload = "none"
    ddp: bool = True
    """torch's DistributedDataParallel keeps the gradients in its buckets; False for an engine."""

    @property
    def gpus(self) -> int:
        """Of the whole run."""
        return self.dp * self.tp * self.pp

    @property
    def shards(self) -> int:
        """Ranks that states are partitioned over: data-parallel ones only."""
        return min(self.dp, self.gpus_per_node) if self.fsdp == "hybrid" else self.dp


class Rollout(Struct, frozen=True, kw_only=True):
    """Where the completions of an online objective (GRPO, PPO) come from."""

    completion: int | None = None
    """Tokens that are generated; None is the trainer's default, at most the sequence."""
    generations: int = 8
    """Completions of a prompt that are compared with each other (GRPO)."""
    vllm_share: float | None = None
    """Of the card's memory that a colocated vLLM takes; None generates with transformers."""
    vllm_sleeps: bool = False
    """vLLM gives its memory back while the trainer works."""
    card_bytes: int | None = None
    """The card's memory that ``vllm_share`` is of."""


class TrainingRun(Struct, frozen=True, kw_only=True):
    """One question. Nothing in it depends on the model."""

    method: Method = "full"
    objective: Objective = "sft"
    seq_len: int | None = None
    """Tokens of a sequence; None is min(2048, the model's maximum)."""
    micro_batch: int = 1
    """Sequences that pass through the model at once, on one data-parallel rank."""
    grad_accum: int = 1
    optimizer: str = "adamw"
    precision: Precision = "bf16-mixed"
    master: MasterWeights = "autocast"
    checkpointing: Checkpointing = "none"
    attention: Attention | None = None
    loss: Loss = "standard"
    tiled_head: bool = False
    """A chunked loss runs over tiles of tokens and vocabulary, as TRL's fused head does."""
    packed: bool = False
    """Several documents share a row, kept apart by a mask or by the kernel's own lengths."""
    reference: bool | None = None
    """A frozen reference model beside the trained one; None is what the objective needs."""
    rollout: Rollout = field(default_factory=Rollout)
    optimizer_in_backward: bool = False
    activation_offload: bool = False
    lora: LoraSpec = field(default_factory=LoraSpec)
    frozen_fp32: bool = False
    """Frozen weights are loaded in fp32, whatever the checkpoint holds."""
    adapter_fp32: bool = True
    """Adapters are fp32 although the weights are 16-bit (peft's autocast_adapter_dtype)."""
    one_type_at_zero3: bool = False
    """Adapters are cast to the weights' type at ZeRO stage 3, which gathers parameters of one type
    (trl 1.16 trainer/sft_trainer.py)."""
    quantize: str = "nf4-dq"
    """Scheme of QLoRA's frozen linear weights."""
    kbit_fp32: bool = True
    """What is not quantized is cast to fp32 (peft's prepare_model_for_kbit_training)."""
    embedding_states_32bit: bool = True
    """The trainer registers embeddings for 32-bit states under an 8-bit optimizer."""
    fused_layers: bool = False
    """Norms, rotary embedding and gated activations run in fused kernels, or are compiled."""
    fused_recurrence: bool = False
    """Recurrent layers run flash-linear-attention's or mamba-ssm's kernels: transformers takes them
    where they are installed."""
    parallel: Parallel = field(default_factory=Parallel)
    device: Device = "cuda"
    brings: MediaInput = field(default_factory=MediaInput)
    """Pictures, film and sound of each sequence, on top of ``seq_len``."""
    media: Media | None = None
    """What these become in the model that is asked about; ``plan`` fills it in for each one."""

    @property
    def adapted(self) -> bool:
        """Whether the model's own weights are frozen."""
        return self.method != "full"

    @property
    def mixed(self) -> bool:
        """Whether 16-bit arithmetic runs over fp32 weights."""
        return self.precision in ("bf16-mixed", "fp16-mixed")

    @property
    def sequences(self) -> int:
        """That pass through the model at once; a preference is a pair."""
        return self.micro_batch * (2 if self.objective == "dpo" else 1)


DEFAULT_SEQ_LEN = 2048
_LIMITS = {"seq-len": 2**30, "micro-batch": 2**24, "grad-accum": 2**24}
_DEGREE = 2**20
ONLINE: tuple[Objective, ...] = ("grpo", "ppo")
"""Objectives that generate what they train on."""


def checked(run: TrainingRun) -> TrainingRun:
    """The same run, or UsageError where its numbers or its choices contradict each other."""
    in_range(run)
    for wrong, message, hint in (*_contradictions(run), *_wrong_rollout(run)):
        if wrong:
            raise UsageError(message, hint=hint)
    return run


def in_range(run: TrainingRun) -> None:
    """Raise UsageError where a number of the run is none that it can be."""
    for name, value in (
        ("seq-len", run.seq_len),
        ("micro-batch", run.micro_batch),
        ("grad-accum", run.grad_accum),
    ):
        if value is not None and not 1 <= value <= _LIMITS[name]:
            raise UsageError(
                f"{name} is {value!r:.40}, not a whole number from 1 to {_LIMITS[name]:,}.",
                hint=f"Give --{name} a number in that range.",
            )
    layout = run.parallel
    for name in ("dp", "tp", "pp", "ep"):
        degree: int = getattr(layout, name)
        if not 1 <= degree <= _DEGREE:
            raise UsageError(
                f"{name} is {degree!r:.40}, not a whole number from 1 to {_DEGREE:,}.",
                hint=f"Give --{name} a number in that range.",
            )
    if layout.zero not in (0, 1, 2, 3):
        raise UsageError(f"ZeRO has no stage {layout.zero!r:.40}.", hint="Say --zero 0, 1, 2 or 3.")


def _contradictions(run: TrainingRun) -> tuple[tuple[bool, str, str], ...]:
    layout = run.parallel
    return (
        (
            layout.zero > 0 and layout.fsdp is not None,
            "ZeRO and FSDP are two ways to do the same.",
            "Keep --zero or --fsdp.",
        ),
        (
            layout.offload != "none" and layout.zero == 0 and layout.fsdp is None,
            "Offload needs an engine that shards.",
            "Add --zero 3 or --fsdp full."
            if layout.offload == "params"
            else "Add --zero 2 or --zero 3.",
        ),
        (
            # torch 2.13 distributed/fsdp/_fully_shard/_fsdp_api.py: CPUOffloadPolicy
            layout.offload == "optimizer" and layout.fsdp is not None,
            "FSDP offloads parameters, gradients and optimizer states together.",
            "Say --offload params.",
        ),
        (
            layout.offload == "params" and layout.zero not in (0, 3),
            "Parameters are offloaded at ZeRO stage 3 only.",
            "Say --zero 3, or --offload optimizer.",
        ),
        (
            run.optimizer_in_backward and run.grad_accum > 1,
            "An optimizer that steps in the backward pass cannot accumulate gradients.",
            "Leave --grad-accum at 1.",
        ),
        (
            # DeepSpeed's engine steps its own flat partitions; FSDP2 calls the hooks of a sharded
            # parameter (torch 2.13 distributed/fsdp/_fully_shard/_fsdp_collectives.py).
            run.optimizer_in_backward and layout.zero > 0,
            "DeepSpeed does not step parameters in the backward pass.",
            "Leave out --optimizer-in-backward, or say --fsdp full.",
        ),
        (
            layout.sp and layout.tp == 1,
            "Sequence parallelism splits over the tensor-parallel ranks, and there is one.",
            "Add --tp 2 or more.",
        ),
        (
            layout.ep > 1 and (layout.dp * layout.tp) % layout.ep != 0,
            f"{layout.ep} expert-parallel ranks do not divide dp × tp = {layout.dp * layout.tp}.",
            "Choose --ep as a divisor of dp × tp.",
        ),
        (
            run.method == "qlora" and run.precision == "fp32",
            "QLoRA computes in 16 bits.",
            "Say --precision bf16 or bf16-mixed.",
        ),
    )


def _wrong_rollout(run: TrainingRun) -> tuple[tuple[bool, str, str], ...]:
    rollout = run.rollout
    share, completion = rollout.vllm_share, rollout.completion
    return (
        (
            run.objective not in ONLINE and (share is not None or completion is not None),
            f"Nothing is generated for {run.objective}.",
            "Say --objective grpo, or leave out the options of the rollout.",
        ),
        (
            share is not None and not 0 < share < 1,
            f"vLLM cannot take {share!r:.20} of a card.",
            "Give --vllm-gpu-memory-utilization a number between 0 and 1.",
        ),
        (
            share is not None and run.objective == "ppo",
            "TRL's PPO generates with transformers.",
            "Leave out --vllm-gpu-memory-utilization, or say --objective grpo.",
        ),
        (
            rollout.vllm_sleeps and share is None,
            "Only a vLLM that shares the card can sleep.",
            "Add --vllm-gpu-memory-utilization 0.3.",
        ),
        (
            completion is not None and not 1 <= completion <= _LIMITS["seq-len"],
            f"completion-len is {completion!r:.40}, no number of tokens.",
            "Give --completion-len a whole number.",
        ),
        (
            completion is not None and run.seq_len is not None and completion > run.seq_len,
            "A completion is a part of the sequence and cannot be longer.",
            "Give --seq-len room for the prompt and the completion.",
        ),
        (
            not 2 <= rollout.generations <= _LIMITS["micro-batch"],
            f"GRPO compares 2 completions of a prompt or more, not {rollout.generations!r:.40}.",
            "Give --generations a whole number from 2.",
        ),
        (
            run.reference is True and run.objective == "sft",
            "Supervised fine-tuning has no reference model.",
            "Say --objective dpo, grpo or ppo, or leave out --reference-model.",
        ),
    )

"""What frameworks that train do by default: one row of data each, with where it was read."""

from __future__ import annotations

from msgspec import Struct
from msgspec.structs import replace

from hfmem.checkpoint.snapshot import Note
from hfmem.errors import UsageError
from hfmem.memory.training_run import Method, Parallel, TrainingRun
from hfmem.model.lora import LoraSpec


class Distributed(Struct, frozen=True, kw_only=True):
    """What a framework's recipe for several GPUs changes: FSDP, with every layer checkpointed."""

    parallel: Parallel
    optimizer: str | None = None
    methods: tuple[Method, ...] = ("full", "lora", "qlora", "dora")


class Recipe(Struct, frozen=True, kw_only=True):
    """A framework's defaults."""

    name: str
    full: TrainingRun
    adapted: TrainingRun
    """Of LoRA and QLoRA; the method itself is the question's."""
    quantized: TrainingRun | None = None
    """Of QLoRA, where it is not what LoRA is."""
    several: Distributed | None = None
    """On more than one GPU, where that is another recipe of the framework."""
    global_batch: int | None = None
    """Sequences a step over all GPUs, where the framework accumulates as many micro-batches as make
    it; a part of a micro-batch is dropped."""
    one_gpu: tuple[tuple[Method, str], ...] = ()
    """Methods that it refuses on more than one GPU, and where it says so."""
    source: str

    def run(self, method: Method, *, several: bool = False) -> TrainingRun:
        """The defaults for a method, on one GPU or on several."""
        adapted = self.adapted
        if method == "qlora" and self.quantized is not None:
            adapted = self.quantized
        run = self.full if method == "full" else adapted
        if several and self.several is not None and method in self.several.methods:
            changed = self.several
            run = replace(
                run,
                optimizer=changed.optimizer or run.optimizer,
                checkpointing="full",
                optimizer_in_backward=False,
                parallel=changed.parallel,
            )
        own = self.accumulated(micro_batch=run.micro_batch, dp=1)
        return replace(run, method=method, grad_accum=own or run.grad_accum)

    def accumulated(self, *, micro_batch: int, dp: int) -> int | None:
        """Micro-batches a step by its own global batch; None where it has none.

        litgpt's 16 sequences on 8 GPUs, one at a time: 2. Raises UsageError where they do not
        suffice for a micro-batch on every GPU.
        """
        if self.global_batch is None:
            return None
        found = self.global_batch // dp // micro_batch
        if not found:
            once = micro_batch * dp
            raise UsageError(
                f"{self.name}'s global batch of {self.global_batch:,} sequences is less than "
                f"{micro_batch:,} on each of {dp:,} GPUs.",
                hint=f"Say --global-batch {once} or more, or --grad-accum 1.",
            )
        return found

    def notes(self, run: TrainingRun) -> tuple[Note, ...]:
        """What the framework says against a run."""
        if run.parallel.gpus == 1:
            return ()
        return tuple(
            Note(
                code="one_gpu_only",
                message=f"{self.name} refuses {method} on more than one GPU ({where}): the "
                "figures are those of its layers and defaults under the layout that was asked.",
            )
            for method, where in self.one_gpu
            if method == run.method
        )


_QUERY_AND_VALUE = ("q_proj", "v_proj")
_TORCHTUNE_TARGETS = ("q_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")

_TRL = TrainingRun(
    checkpointing="full",
    micro_batch=8,
    seq_len=1024,
    loss="chunked",
    tiled_head=True,
    one_type_at_zero3=True,
)

RECIPES: tuple[Recipe, ...] = (
    Recipe(
        name="trl",
        full=_TRL,
        adapted=replace(_TRL, frozen_fp32=True, lora=LoraSpec(rank=8, targets=_QUERY_AND_VALUE)),
        quantized=replace(
            _TRL,
            frozen_fp32=True,
            adapter_fp32=False,
            lora=LoraSpec(rank=8, targets=_QUERY_AND_VALUE),
        ),
        source="trl 1.16 trainer/utils.py: create_model_from_path (fp32 where no dtype is given), "
        "add_fused_lm_head; base_config.py (bf16 autocast, checkpointing); sft_config.py (1,024 "
        "tokens); sft_trainer.py (adapters over quantized weights are cast to bf16); transformers "
        "5.23 training_args.py (batch 8, adamw_torch_fused); peft 0.21 (rank 8, query and value)",
    ),
    Recipe(
        name="torchtune",
        full=TrainingRun(
            precision="bf16",
            checkpointing="full",
            micro_batch=2,
            loss="chunked",
            optimizer="paged-adamw-8bit",
            optimizer_in_backward=True,
            embedding_states_32bit=False,
        ),
        adapted=TrainingRun(
            precision="bf16",
            checkpointing="full",
            micro_batch=2,
            grad_accum=8,
            loss="chunked",
            adapter_fp32=False,
            kbit_fp32=False,
            lora=LoraSpec(rank=8, targets=_TORCHTUNE_TARGETS),
        ),
        several=Distributed(parallel=Parallel(fsdp="full"), optimizer="adamw"),
        source="torchtune 0.6.1 recipes/configs/llama3_1/8B_full_single_device.yaml and "
        "8B_lora_single_device.yaml; on several GPUs 8B_full.yaml (FSDP2, fused AdamW, "
        "optimizer_in_bwd False) and 70B_lora.yaml",
    ),
    Recipe(
        name="unsloth",
        full=TrainingRun(
            precision="bf16",
            checkpointing="full",
            activation_offload=True,
            micro_batch=2,
            grad_accum=4,
            loss="fused",
            optimizer="adamw-8bit",
            fused_layers=True,
            fused_recurrence=True,
        ),
        adapted=TrainingRun(
            precision="bf16-mixed",
            checkpointing="full",
            activation_offload=True,
            micro_batch=2,
            grad_accum=4,
            loss="fused",
            optimizer="adamw-8bit",
            fused_layers=True,
            fused_recurrence=True,
            kbit_fp32=False,
        ),
        source="the notebooks of unslothai/notebooks: per_device_train_batch_size 2, "
        "gradient_accumulation_steps 4, adamw_8bit, use_gradient_checkpointing unsloth, r 16",
    ),
    Recipe(
        name="axolotl",
        full=TrainingRun(precision="bf16-mixed", seq_len=512),
        adapted=TrainingRun(precision="bf16-mixed", seq_len=512, lora=LoraSpec(rank=8)),
        source="axolotl 0.19 utils/schemas/config.py and training.py: sequence_len 512, "
        "micro_batch_size 1, adamw_torch_fused; loaders/model.py prepares for k-bit training",
    ),
    Recipe(
        name="litgpt",
        full=TrainingRun(precision="bf16", optimizer="adamw-foreach"),
        adapted=TrainingRun(
            precision="bf16",
            optimizer="adamw-foreach",
            adapter_fp32=False,
            kbit_fp32=False,
            lora=LoraSpec(rank=8, targets=_QUERY_AND_VALUE, dropout=True),
        ),
        several=Distributed(
            parallel=Parallel(fsdp="full", no_sync=True), methods=("full", "lora", "dora")
        ),
        global_batch=16,
        one_gpu=(("qlora", "litgpt 0.5.13 finetune/lora.py: setup"),),
        source="litgpt 0.5.13 finetune/full.py and lora.py: micro_batch_size 1, global_batch_size "
        "16 (args.py: TrainArgs.batch_size divides it by the devices), rank 8 on query and value, "
        "dropout 0.05, bf16-true; on several devices full.py's FSDPStrategy with "
        "activation_checkpointing_policy {Block} and lora.py's parallelize_fn (fully_shard, "
        "checkpoint_wrapper), with no_backward_sync while accumulating",
    ),
    Recipe(
        name="torchtitan",
        full=TrainingRun(
            precision="bf16-mixed",
            checkpointing="selective",
            seq_len=8192,
            parallel=Parallel(fsdp="full"),
        ),
        adapted=TrainingRun(
            checkpointing="selective", seq_len=8192, parallel=Parallel(fsdp="full")
        ),
        source="pytorch/torchtitan docs/: FSDP2 with bf16 parameters and fp32 reduction, selective "
        "activation checkpointing, fused AdamW, sequences of 8,192",
    ),
    Recipe(
        name="megatron",
        full=TrainingRun(
            precision="bf16-mixed",
            master="megatron",
            checkpointing="core-attention",
            fused_layers=True,
            fused_recurrence=True,
        ),
        adapted=TrainingRun(
            precision="bf16-mixed",
            master="megatron",
            checkpointing="core-attention",
            fused_layers=True,
            fused_recurrence=True,
        ),
        source="NVIDIA/Megatron-LM training/theoretical_memory_usage.py: bf16 weights, fp32 "
        "gradients, master weights and moments; selective recomputation of the core attention",
    ),
    Recipe(
        name="deepspeed",
        full=TrainingRun(master="engine", parallel=Parallel(zero=2)),
        adapted=TrainingRun(master="engine", parallel=Parallel(zero=2)),
        source="DeepSpeed runtime/zero/config.py: buckets of 5e8 elements; bf16 weights and "
        "gradients, fp32 master weights",
    ),
)
_BY_NAME = {recipe.name: recipe for recipe in RECIPES}
RECIPE_NAMES = tuple(_BY_NAME)


def recipe(name: str) -> Recipe:
    """The recipe of a name. Raises UsageError."""
    found = _BY_NAME.get(name)
    if found is None:
        raise UsageError(
            f"There is no recipe {name!r:.60}.", hint=f"Choose one of: {', '.join(_BY_NAME)}."
        )
    return found

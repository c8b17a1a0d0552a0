"""How a measured row about training reads as a run: one function a source, and what is refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from hfmem.memory.training_run import Parallel, TrainingRun
from hfmem.model.lora import LoraSpec
from hfmem.recipes import recipe

Settings = dict[str, Any]


class Asked(Struct, frozen=True, kw_only=True):
    """A run, and which figure of a row it is compared with."""

    run: TrainingRun
    key: str
    """Of the row's ``measured``; what it counts goes by the key."""
    extra_per_layer: int = 0
    """Bytes a token and layer that the row's method keeps beside those of the run."""
    extra_per_logit: int = 0
    """The same a token and vocabulary entry."""
    process: bool = False
    """The figure is of the whole process, as nvidia-smi shows it."""
    summed: bool = False
    """Over all GPUs."""


def _torchtune(case: Settings) -> Asked | str:
    """The configurations of a single device and of eight, as their files are."""
    settings = case["settings"]
    method = settings["method"].lower()
    full = recipe("torchtune").run("full")
    adapted = recipe("torchtune").run("qlora" if "qlora" in method else "lora")
    run = full if method.startswith("full") else adapted
    run = replace(run, seq_len=settings["ctx"], micro_batch=settings["batch"], fused_layers=True)
    if "a6000" in case["id"]:
        return "which savers were switched off on the larger card is not stated"
    if settings["num_gpus"] > 1:
        if method.startswith("full"):
            return "what stays on the GPU under torchtune's CPU offload is not described"
        run = replace(run, parallel=Parallel(dp=settings["num_gpus"], fsdp="full"))
    return Asked(run=run, key="total_gib")


def _torchtitan(case: Settings) -> Asked | str:
    """Context parallelism splits the sequence, and FSDP shards over its ranks too; float8 products
    keep their inputs in bf16 (torchao float8: matmul_with_hp_or_float8_args)."""
    settings = case["settings"]
    split = settings.get("cp", 1)
    run = replace(
        recipe("torchtitan").run("full"),
        seq_len=settings["ctx"] // split,
        micro_batch=settings["batch"],
        fused_layers=bool(settings.get("compile")),
        checkpointing=settings["ac"],
        parallel=Parallel(dp=settings["fsdp"] * split, fsdp="full", ddp=False),
    )
    return Asked(run=run, key="total_gib")


def _fms(case: Settings) -> Asked | str:
    """GPTQ in 4 bits with groups of 128 takes 4.16 bits a weight, double-quantized NF4 4.13."""
    settings = case["settings"]
    gptq = "GPTQ" in settings["method"]
    run = TrainingRun(
        method="full"
        if settings["method"] == "full"
        else "qlora"
        if "QLoRA" in settings["method"]
        else "lora",
        seq_len=settings["ctx"],
        micro_batch=settings["batch"],
        optimizer="adamw-foreach",
        precision="bf16" if settings["method"] == "full" else "bf16-mixed",
        checkpointing="full" if settings.get("gradient_checkpointing") else "none",
        attention="flash",
        kbit_fp32=False,
        quantize="nf4-dq" if gptq else "nf4",
        lora=LoraSpec(rank=16, targets=tuple(settings.get("target_modules", "").split())),
        parallel=Parallel(
            dp=settings["num_gpus"], fsdp="full" if settings["num_gpus"] > 1 else None
        ),
    )
    return Asked(run=run, key="peak_alloc_gib")


_PEFT_REFUSED = {
    "boft": "BOFT's block-diagonal rotations are not modelled",
    "oft": "OFT's rotations are not modelled",
    "loha": "LoHa's products of whole weights are not modelled",
    "vera": "VeRA's frozen projections of rank 256 are not modelled",
    "prefixtuning": "keys and values from a trained prefix are not modelled",
    "prompt_tuning": "the peak is of the evaluation: 50 sequences at once, with virtual tokens",
}


def _peft(case: Settings) -> Asked | str:
    """Methods without adapters keep what a frozen model keeps, of which the input wants a gradient:
    the same as an adapter of rank 1 on the first layer's query."""
    settings = case["settings"]
    method = settings["method"]
    if method in _PEFT_REFUSED:
        return _PEFT_REFUSED[method]
    hidden = 3072
    base = TrainingRun(
        method="full" if method == "full-finetuning" else "lora",
        seq_len=settings["ctx"],
        micro_batch=settings["batch"],
        optimizer="adamw-foreach",
        precision="bf16",
    )
    spec, extra = LoraSpec(rank=settings.get("lora_r", 8), targets=("q_proj", "v_proj")), 0
    input_only = LoraSpec(rank=1, targets=("q_proj",), layers=frozenset({0}))
    match method:
        case "lora":
            if "target-mlp" in case["id"]:
                spec = replace(spec, targets=("gate_proj", "up_proj", "down_proj"))
            spec = replace(spec, dora="dora" in case["id"])
        case "gralora" | "delora":
            # A and B of LoRA's shapes.
            pass
        case "adalora":
            # 12 ranks to begin with, of which 8 stay, on every linear layer: 18.4 M parameters.
            spec = LoraSpec(rank=64, targets=("q_proj", "v_proj"))
        case "ln_tuning":
            # The normed input of two norms in bf16, for the gradient of their weights.
            spec, extra = input_only, 2 * 2 * hidden
        case "ia3":
            # Keys, values and the MLP's product, before they are scaled, in fp32.
            spec, extra = input_only, 4 * (2 * 1024 + 8192)
        case "ptuning" | "trainable_tokens":
            spec = input_only
        case "full-finetuning":
            pass
        case _:
            return f"{method} is not modelled"
    return Asked(run=replace(base, lora=spec), key="total_gib", extra_per_layer=extra)


_LITGPT_WIDTHS = {
    "microsoft/phi-1_5": (2048, 8192),
    "stabilityai/stablelm-base-alpha-3b": (4096, 16384),
    "meta-llama/Llama-2-7b-hf": (4096, 11008),
    "meta-llama/Llama-2-13b-hf": (5120, 13824),
}
"""Hidden size and width of the MLP."""


def _litgpt(case: Settings) -> Asked | str:
    """Adapter keeps what a frozen model keeps; Adapter v2 the result of every product too, which
    its scale multiplies."""
    settings = case["settings"]
    if settings["num_gpus"] > 1:
        # Of 1 sequence, 2 bytes for each weight of the layers more explain three of four models
        # within 2.2 % (torch distributed/fsdp/_flat_param.py); of more sequences they do not.
        return (
            "the first FSDP's gradients of flat parameters cover frozen weights (litgpt of 2023), "
            "and how the peak grows with the micro-batch is not described"
        )
    neox = "stablelm" in case["model"]
    targets = ("query_key_value",) if neox else ("q_proj", "v_proj")
    quantized = case.get("quant")
    hidden, width = _LITGPT_WIDTHS[case["model"]]
    spec = LoraSpec(rank=8, targets=targets, dropout="phi" not in case["model"] and not neox)
    extra = 0
    if settings["method"] != "LoRA":
        spec = LoraSpec(rank=1, targets=targets[:1], layers=frozenset({0}))
    if settings["method"] == "Adapter v2":
        extra = 2 * (3 * hidden + hidden + (width if neox else 2 * width) + hidden)
    if quantized:
        # bitsandbytes 0.41 autograd/_functions.py: MatMul4Bit kept its input: of query, keys and
        # values, of the attention's output, of the MLP's products and of its last.
        shared = 1 if "phi" in case["model"] else 2
        extra += 2 * ((shared + 1) * hidden + width)
    run = replace(
        recipe("litgpt").run("qlora" if quantized else "lora"),
        seq_len=settings["ctx"],
        micro_batch=settings["batch"],
        quantize="nf4-dq" if quantized and "dq" in quantized else "nf4",
        lora=spec,
    )
    return Asked(run=run, key="total_gib", extra_per_layer=extra)


def _qwen1(case: Settings) -> Asked | str:
    """Qwen's finetune.py of 2023, rank 64 on every linear layer.

    LoRA: bf16 autocast, adapters in fp32 (peft 0.5), and for LoRA(emb) embeddings and head in full.
    Q-LoRA: GPTQ in 4 bits, in fp16 under DeepSpeed, whose loss is fp16 too: 4 bytes a logit less.
    Full: ZeRO-3. Adapters of 72 B: ZeRO-3.
    """
    settings = case["settings"]
    method = settings["method"]
    quantized, sharded = method == "Q-LoRA", "ZeRO3" in method or method == "Full"
    run = TrainingRun(
        method="full" if method == "Full" else "qlora" if quantized else "lora",
        seq_len=settings["ctx"],
        micro_batch=settings["batch"],
        grad_accum=settings["grad_accum"],
        precision="fp16-mixed" if quantized else "bf16-mixed",
        checkpointing="full",
        attention="flash",
        optimizer="adamw-foreach",
        adapter_fp32=not (quantized or sharded),
        # peft casts what is beside GPTQ weights to fp32 no more than these themselves.
        kbit_fp32=False,
        quantize="nf4-dq",
        lora=LoraSpec(
            rank=64, modules_to_save=("embed_tokens", "lm_head") if "emb" in method else ()
        ),
        parallel=Parallel(dp=settings["num_gpus"], zero=3 if sharded else 2 if quantized else 0),
    )
    return Asked(
        run=run,
        key="total_gb_printed",
        process=True,
        summed=settings["num_gpus"] > 1,
        extra_per_logit=-4 if quantized else 0,
    )


READERS: dict[str, Callable[[Settings], Asked | str]] = {
    "torchtune": _torchtune,
    "torchtitan": _torchtitan,
    "fms-acceleration": _fms,
    "peft-metamath": _peft,
    "litgpt-train": _litgpt,
    "qwen1-train": _qwen1,
}
REFUSED = {
    "peft-readme": "batch and sequence length are not stated",
    "unsloth-notebooks": "the lengths of the notebooks' texts are not stated",
    "torchtune-lora": "the sequence length is not stated",
}

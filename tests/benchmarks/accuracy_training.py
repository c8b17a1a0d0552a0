"""Training estimates against published measurements, by recipe.

Run as ``python -m tests.benchmarks.accuracy_training``: a line a row, the median a recipe, and
every row that is not modelled with the reason.
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from hfmem.memory.training import training_estimate
from hfmem.memory.training_run import Method, Parallel, TrainingRun
from hfmem.model.lora import LoraSpec
from hfmem.recipes import recipe
from hfmem.units import GIB
from tests.memory.training_models import LLAMA_8B, model_of

SHARED = Path(__file__).resolve().parents[3] / "shared"

_LLAMA_2_7B = {
    **LLAMA_8B,
    "intermediate_size": 11008,
    "num_key_value_heads": 32,
    "vocab_size": 32000,
    "max_position_embeddings": 4096,
}
_GRANITE = {
    "architectures": ["GraniteForCausalLM"],
    "model_type": "granite",
    "hidden_size": 2304,
    "intermediate_size": 9216,
    "num_hidden_layers": 40,
    "num_attention_heads": 36,
    "num_key_value_heads": 36,
    "vocab_size": 49152,
    "max_position_embeddings": 4096,
    "tie_word_embeddings": True,
    "dtype": "bfloat16",
}
CONFIGS: dict[str, dict[str, object]] = {
    "meta-llama/Llama-3.1-8B": LLAMA_8B,
    "meta-llama/Llama-3.1-8B-Instruct": LLAMA_8B,
    "meta-llama/Llama-3.1-70B-Instruct": {
        **LLAMA_8B,
        "hidden_size": 8192,
        "intermediate_size": 28672,
        "num_hidden_layers": 80,
        "num_attention_heads": 64,
    },
    "meta-llama/Llama-3.2-3B": {
        **LLAMA_8B,
        "hidden_size": 3072,
        "intermediate_size": 8192,
        "num_hidden_layers": 28,
        "num_attention_heads": 24,
        "head_dim": 128,
        "tie_word_embeddings": True,
    },
    "meta-llama/Llama-2-7b-hf": _LLAMA_2_7B,
    "meta-llama/Llama-2-13b-hf": {
        **_LLAMA_2_7B,
        "hidden_size": 5120,
        "intermediate_size": 13824,
        "num_hidden_layers": 40,
        "num_attention_heads": 40,
        "num_key_value_heads": 40,
    },
    "NousResearch/Llama-2-70b-hf": {
        **_LLAMA_2_7B,
        "hidden_size": 8192,
        "intermediate_size": 28672,
        "num_hidden_layers": 80,
        "num_attention_heads": 64,
        "num_key_value_heads": 8,
    },
    "mistralai/Mistral-7B-v0.1": {
        **LLAMA_8B,
        "architectures": ["MistralForCausalLM"],
        "model_type": "mistral",
        "vocab_size": 32000,
        "sliding_window": 4096,
    },
    "ibm/PowerLM-3b": _GRANITE,
    "microsoft/phi-1_5": {
        "architectures": ["PhiForCausalLM"],
        "model_type": "phi",
        "hidden_size": 2048,
        "intermediate_size": 8192,
        "num_hidden_layers": 24,
        "num_attention_heads": 32,
        "num_key_value_heads": 32,
        "vocab_size": 51200,
        "max_position_embeddings": 2048,
        "hidden_act": "gelu",
        "partial_rotary_factor": 0.5,
        "tie_word_embeddings": False,
        "dtype": "bfloat16",
    },
    "stabilityai/stablelm-base-alpha-3b": {
        "architectures": ["GPTNeoXForCausalLM"],
        "model_type": "gpt_neox",
        "hidden_size": 4096,
        "intermediate_size": 16384,
        "num_hidden_layers": 16,
        "num_attention_heads": 32,
        "vocab_size": 50688,
        "max_position_embeddings": 4096,
        "rotary_pct": 0.25,
        "use_parallel_residual": True,
        "tie_word_embeddings": False,
        "dtype": "bfloat16",
    },
    "bigcode/gpt_bigcode-santacoder": {
        "architectures": ["GPTBigCodeForCausalLM"],
        "model_type": "gpt_bigcode",
        "n_embd": 2048,
        "n_layer": 24,
        "n_head": 16,
        "n_inner": 8192,
        "n_positions": 2048,
        "vocab_size": 49280,
        "multi_query": True,
        "tie_word_embeddings": True,
        "dtype": "bfloat16",
    },
}
"""Sizes as published."""


EXPLAINED = (
    ("bnb.nf4", "bitsandbytes 0.41 kept the inputs of 4-bit products; 0.50 keeps none"),
    ("santacoder-full", "transformers 4 computed GPT-BigCode's loss in bf16, without an fp32 copy"),
    ("santacoder-qlora", "transformers 4 with every output cast to fp32 beside a copied logits"),
    ("mistral-7b-v0.1-lora", "transformers 4 kept a shifted copy of the fp32 logits"),
    ("mistral-7b-v0.1-qlora", "transformers 4 kept a shifted copy of the fp32 logits"),
    ("ctx8192", "near-full cards: the allocator reserves what is left"),
)
"""Why rows differ, by a part of their ids."""


class Row(Struct, frozen=True, kw_only=True):
    """A measured row with what is said of it."""

    id: str
    recipe: str
    measured: float | None
    """GiB."""
    estimated: float | None
    """GiB of the same thing: tensors, or what the allocator reserves."""
    why_not: str = ""

    @property
    def error(self) -> float | None:
        """Relative."""
        if self.measured is None or self.estimated is None:
            return None
        return self.estimated / self.measured - 1


def rows(shared: Path = SHARED) -> Iterator[Row]:
    """Every row about training; those that are not modelled say why."""
    readers = {
        "torchtune": _torchtune,
        "torchtune-lora": _torchtune_lora,
        "torchtitan": _torchtitan,
        "fms-acceleration": _fms,
        "peft-metamath": _peft,
        "litgpt-train": _litgpt,
    }
    refused = {
        "peft-readme": "batch and sequence length are not stated",
        "unsloth-notebooks": "the lengths of the notebooks' texts are not stated",
        "qwen1-train": "Qwen 1 is remote code, whose layers are not described",
    }
    text = (shared / "measured" / "cases.jsonl").read_text(encoding="utf-8")
    for case in map(json.loads, text.splitlines()):
        group = case.get("group")
        if group in refused:
            yield Row(
                id=case["id"], recipe=group, measured=None, estimated=None, why_not=refused[group]
            )
        elif group in readers:
            yield _row(case, readers[group](case))


Asked = tuple[TrainingRun, str] | str
"""A run and the key of the figure that it is compared with, or why there is none."""


def _row(case: dict[str, Any], asked: Asked) -> Row:
    if isinstance(asked, str):
        return Row(
            id=case["id"], recipe=case["group"], measured=None, estimated=None, why_not=asked
        )
    run, key = asked
    found = training_estimate(model_of(CONFIGS[case["model"]], name=case["model"]), run)
    paged = 0
    if "paged" in run.optimizer:
        paged = found.peak.part("optimizer").bytes
    size = max(phase.tensor_bytes for phase in found.phases) - paged
    if key != "peak_alloc_gib":
        size += sum(
            part.bytes
            for part in found.peak.part("overhead").parts
            if part.name.startswith("allocator")
        )
    return Row(
        id=case["id"],
        recipe=case["group"],
        measured=case["measured"][key],
        estimated=size / GIB,
    )


def _torchtune(case: dict[str, Any]) -> Asked:
    settings = case["settings"]
    shape = {"seq_len": settings["ctx"], "micro_batch": settings["batch"], "fused_layers": True}
    method = settings["method"].lower()
    if "a6000" in case["id"]:
        return "which savers were switched off on the larger card is not stated"
    if settings["num_gpus"] > 1:
        return "which of the distributed configuration's savers were on is not stated"
    if method.startswith("full"):
        run = replace(recipe("torchtune").run("full"), **shape)
        return replace(run, optimizer_in_backward="in-bwd" in method), "total_gib"
    run = replace(recipe("torchtune").run("qlora" if "qlora" in method else "lora"), **shape)
    return run, "total_gib"


def _torchtune_lora(case: dict[str, Any]) -> Asked:
    settings = case["settings"]
    if "ctx" not in settings:
        return "the sequence length is not stated"
    return "not read"


def _torchtitan(case: dict[str, Any]) -> Asked:
    settings = case["settings"]
    if settings.get("cp", 1) > 1:
        return "context parallelism is not modelled"
    if settings.get("float8"):
        return "float8 training is not modelled"
    run = replace(
        recipe("torchtitan").run("full"),
        seq_len=settings["ctx"],
        micro_batch=settings["batch"],
        fused_layers=bool(settings.get("compile")),
        parallel=Parallel(dp=settings["fsdp"], fsdp="full", ddp=False),
    )
    return run, "total_gib"


def _fms(case: dict[str, Any]) -> Asked:
    settings = case["settings"]
    if "GPTQ" in settings["method"]:
        return "GPTQ shapes under another name than the base model"
    method: Method = "full" if settings["method"] == "full" else "lora"
    if "QLoRA" in settings["method"]:
        method = "qlora"
    gpus = settings["num_gpus"]
    run = TrainingRun(
        method=method,
        seq_len=settings["ctx"],
        micro_batch=settings["batch"],
        optimizer="adamw-foreach",
        precision="bf16" if method == "full" else "bf16-mixed",
        checkpointing="full" if settings.get("gradient_checkpointing") else "none",
        attention="flash",
        kbit_fp32=False,
        quantize="nf4",
        lora=LoraSpec(rank=16, targets=tuple(settings.get("target_modules", "").split())),
        parallel=Parallel(dp=gpus, fsdp="full" if gpus > 1 else None),
    )
    return run, "peak_alloc_gib"


def _peft(case: dict[str, Any]) -> Asked:
    settings = case["settings"]
    if settings["method"] not in ("lora", "full-finetuning"):
        return f"{settings['method']} is not modelled"
    if "lorafa" in case["id"]:
        return "LoRA-FA is not modelled"
    targets = ("q_proj", "v_proj")
    if "target-mlp" in case["id"]:
        targets = ("gate_proj", "up_proj", "down_proj")
    run = TrainingRun(
        method="full" if settings["method"] != "lora" else "lora",
        seq_len=settings["ctx"],
        micro_batch=settings["batch"],
        optimizer="adamw-foreach",
        precision="bf16",
        lora=LoraSpec(rank=settings.get("lora_r", 8), targets=targets, dora="dora" in case["id"]),
    )
    return run, "total_gib"


def _litgpt(case: dict[str, Any]) -> Asked:
    settings = case["settings"]
    if settings["method"] != "LoRA":
        return f"{settings['method']} is not modelled"
    if settings["num_gpus"] > 1:
        return "FSDP with checkpointing over litgpt's own wrapping is not stated"
    fused = "phi" in case["model"] or "stablelm" in case["model"]
    targets = ("query_key_value",) if "stablelm" in case["model"] else ("q_proj", "v_proj")
    quantized = case.get("quant")
    run = replace(
        recipe("litgpt").run("qlora" if quantized else "lora"),
        seq_len=settings["ctx"],
        micro_batch=settings["batch"],
        quantize="nf4-dq" if quantized and "dq" in quantized else "nf4",
        lora=LoraSpec(rank=8, targets=targets, dropout=not fused),
    )
    return run, "total_gib"


def main() -> int:
    """Print all rows and the medians."""
    found = list(rows())
    for row in found:
        said = (
            f"{row.error:+7.1%}  {row.estimated:7.2f} of {row.measured:7.2f} GiB"
            if (row.error is not None and row.estimated is not None and row.measured is not None)
            else f"not modelled: {row.why_not}"
        )
        why = next((why for part, why in EXPLAINED if part in row.id), "")
        far = row.error is not None and abs(row.error) > 0.08
        print(f"{row.id:60} {said}{f'  ({why})' if why and far else ''}")
    for name, count in Counter(row.recipe for row in found).items():
        errors = [abs(row.error) for row in found if row.recipe == name and row.error is not None]
        told = f"median {median(errors):.1%}, worst {max(errors):.1%}" if errors else "none"
        print(f"{name}: {len(errors)} of {count} rows, {told}")
    return 0


if __name__ == "__main__":
    sys.exit(main())

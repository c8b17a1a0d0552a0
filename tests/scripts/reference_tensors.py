"""Writes fixtures/reference_tensors.json: what the reference implementation's classes declare.

Run where torch is installed: ``PYTHONPATH=. python tests/scripts/reference_tensors.py``.
Models are built on the meta device: no weights, no network.
"""

from __future__ import annotations

import json
import os
from math import prod
from pathlib import Path
from typing import Any

from hfmem.checkpoint.tensor import Tensor, runs

TARGET = Path(__file__).parents[2] / "fixtures" / "reference_tensors.json"
SEEING = frozenset({"gemma3", "llava", "llava_next", "qwen3_vl"})
CASES: tuple[tuple[str, dict[str, object]], ...] = (
    ("llama", {"attention_bias": True, "mlp_bias": True, "num_key_value_heads": 4}),
    ("llama", {"head_dim": 96, "num_key_value_heads": 4, "tie_word_embeddings": True}),
    ("granite", {"attention_bias": True}),
    ("smollm3", {}),
    ("mistral", {}),
    ("qwen2", {}),
    ("qwen3", {"attention_bias": True}),
    ("gemma", {}),
    ("gemma2", {}),
    ("gemma3_text", {}),
    ("phi3", {"num_key_value_heads": 8}),
    ("olmo2", {}),
    ("olmo3", {}),
    ("cohere", {"use_qk_norm": True}),
    ("cohere2", {}),
    ("stablelm", {"use_qkv_bias": True}),
    ("stablelm", {"use_parallel_residual": True}),
    ("seed_oss", {"attention_out_bias": True}),
    ("ernie4_5", {"use_bias": True}),
    ("glm4", {"attention_bias": True}),
    ("mixtral", {}),
    ("qwen2_moe", {}),
    ("qwen2_moe", {"mlp_only_layers": [0, 3], "decoder_sparse_step": 2, "num_experts": 8}),
    ("qwen3_moe", {"num_experts": 8}),
    ("olmoe", {"num_experts": 8, "num_key_value_heads": 4}),
    ("granitemoe", {}),
    ("gpt_oss", {"num_local_experts": 8}),
    ("deepseek_v2", {"n_routed_experts": 8}),
    ("deepseek_v2", {"q_lora_rank": None, "n_routed_experts": 8}),
    ("deepseek_v3", {"n_routed_experts": 8, "attention_bias": True}),
    ("gpt2", {"n_inner": 1024, "n_positions": 512}),
    ("gpt_bigcode", {}),
    ("gpt_neox", {}),
    ("bloom", {}),
    ("falcon", {}),
    ("falcon", {"parallel_attn": False, "bias": True, "multi_query": False}),
    (
        "falcon",
        {
            "new_decoder_architecture": True,
            "num_kv_heads": 8,
            "num_attention_heads": 64,
            "hidden_size": 4096,
        },
    ),
    ("phi", {}),
    ("starcoder2", {}),
    ("starcoder2", {"use_bias": False}),
    ("gemma3", {}),
    ("llava", {}),
    ("llava_next", {}),
    ("qwen3_vl", {"text_config": {"num_hidden_layers": 2}, "vision_config": {"depth": 2}}),
)


def declared(model_type: str, keys: dict[str, object]) -> dict[str, object]:
    """One case: the configuration's keys, and the parameters of its class in runs."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForImageTextToText

    auto: Any = AutoModelForImageTextToText if model_type in SEEING else AutoModelForCausalLM
    with torch.device("meta"):
        model = auto.from_config(AutoConfig.for_model(model_type, **keys), dtype=torch.bfloat16)
    named = ((name, tuple(value.shape)) for name, value in model.named_parameters())
    folded = runs(Tensor(name, "BF16", shape, 2 * prod(shape)) for name, shape in named)
    return {
        "config": {
            "model_type": model_type,
            "architectures": [type(model).__name__],
            "dtype": "bfloat16",
            **keys,
        },
        "tensors": [[run.name, list(run.shape)] for run in folded],
    }


def main() -> None:
    """Writes the fixture, one case a line."""
    os.environ["HF_HUB_OFFLINE"] = "1"
    import transformers

    cases = [json.dumps(declared(*case)) for case in CASES]
    head = json.dumps({"transformers": transformers.__version__})[1:-1]
    TARGET.write_text("{" + head + ', "cases": [\n' + ",\n".join(cases) + "\n]}\n")


if __name__ == "__main__":
    main()

"""Recurrent layers and hybrids against the reference implementation's own path in PyTorch.

Bytes a token and layer: storages that ``saved_tensors_hooks`` saw in transformers 5.23 with torch
2.13, at one and at two layers of 512 tokens. Peaks: a tracker of the allocator under fake tensors,
second step of fused AdamW in bf16, one sequence of 1,024 tokens.
"""

from __future__ import annotations

import pytest

from hfmem.memory.training import training_estimate
from hfmem.memory.training_pass import layer_order, saving_of
from hfmem.memory.training_run import TrainingRun
from hfmem.memory.training_saved import layer_saved
from tests.memory.training_models import model_of

GATED_DELTA: dict[str, object] = {
    "model_type": "qwen3_next",
    "hidden_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "linear_num_key_heads": 2,
    "linear_num_value_heads": 4,
    "linear_key_head_dim": 24,
    "linear_value_head_dim": 40,
    "linear_conv_kernel_dim": 4,
    "layer_types": ["linear_attention"] * 2,
    "mlp_only_layers": [0, 1],
    "intermediate_size": 48,
    "vocab_size": 128,
    "num_experts": 0,
    "dtype": "bfloat16",
}
MAMBA2: dict[str, object] = {
    "model_type": "mamba2",
    "hidden_size": 64,
    "num_hidden_layers": 2,
    "num_heads": 8,
    "head_dim": 16,
    "n_groups": 2,
    "state_size": 48,
    "chunk_size": 64,
    "expand": 2,
    "conv_kernel": 4,
    "vocab_size": 128,
    "dtype": "bfloat16",
}


@pytest.mark.parametrize(
    ("config", "method", "measured"),
    [
        (GATED_DELTA, "full", 16092.3125),
        (GATED_DELTA, "lora", 14572.28125),
        (MAMBA2, "full", 22277.25390625),
        (MAMBA2, "lora", 20709.19140625),
    ],
)
def test_saved_by_autograd(config: dict[str, object], method: str, measured: float) -> None:
    """Without adapters, "lora" is a frozen layer whose input wants a gradient."""
    model = model_of(config)
    assert model.forward is not None
    run = TrainingRun(precision="bf16", seq_len=512, method=method)
    saving = saving_of(model, model.forward, run, tokens=512)
    for shape in layer_order(model.forward):
        assert layer_saved(shape, saving).bytes() / 512 == pytest.approx(measured, rel=0.01)


FALCON: dict[str, object] = {
    "model_type": "falcon_h1",
    "hidden_size": 64,
    "intermediate_size": 112,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 24,
    "mamba_n_heads": 8,
    "mamba_d_head": 16,
    "mamba_n_groups": 1,
    "mamba_d_state": 48,
    "mamba_chunk_size": 64,
    "mamba_expand": 2,
    "mamba_d_ssm": 128,
    "vocab_size": 128,
    "dtype": "bfloat16",
}


@pytest.mark.parametrize(
    ("normed", "method", "measured"),
    [
        (False, "full", 22288.82),
        (False, "lora", 20624.70),
        (True, "full", 24084.82),
        (True, "lora", 21908.70),
    ],
)
def test_attention_beside_a_scan(normed: bool, method: str, measured: float) -> None:
    """256 tokens, at two and at four layers; the states of a padded fifth chunk are not counted."""
    model = model_of({**FALCON, "mamba_rms_norm": normed})
    assert model.forward is not None
    run = TrainingRun(precision="bf16", seq_len=256, method=method)
    saving = saving_of(model, model.forward, run, tokens=256)
    for shape in layer_order(model.forward):
        assert layer_saved(shape, saving).bytes() / 256 == pytest.approx(measured, rel=0.01)


@pytest.mark.parametrize("config", [GATED_DELTA, MAMBA2])
def test_kernels_keep_less(config: dict[str, object]) -> None:
    model = model_of(config)
    in_torch = TrainingRun(precision="bf16", seq_len=512)
    fused = TrainingRun(precision="bf16", seq_len=512, fused_recurrence=True)
    slow, fast = (training_estimate(model, run).peak.tensor_bytes for run in (in_torch, fused))
    assert fast < slow


_DENSE = {
    "hidden_size": 1024,
    "num_hidden_layers": 4,
    "num_attention_heads": 8,
    "intermediate_size": 2816,
    "vocab_size": 4096,
    "dtype": "bfloat16",
    "tie_word_embeddings": False,
}
_SCAN = {
    "mamba_n_heads": 32,
    "mamba_d_head": 64,
    "mamba_n_groups": 1,
    "mamba_d_state": 128,
    "mamba_chunk_size": 256,
    "mamba_expand": 2,
}
HYBRIDS: dict[str, dict[str, object]] = {
    "qwen3_next": {
        **_DENSE,
        "num_key_value_heads": 2,
        "head_dim": 128,
        "linear_num_key_heads": 8,
        "linear_num_value_heads": 16,
        "linear_key_head_dim": 64,
        "linear_value_head_dim": 64,
        "linear_conv_kernel_dim": 4,
        "layer_types": ["linear_attention"] * 3 + ["full_attention"],
        "mlp_only_layers": [0, 1, 2, 3],
        "num_experts": 0,
    },
    "bamba": {**_DENSE, **_SCAN, "num_key_value_heads": 4, "attn_layer_indices": [2]},
    "granitemoehybrid": {
        **_DENSE,
        **_SCAN,
        "num_key_value_heads": 4,
        "intermediate_size": 512,
        "shared_intermediate_size": 2816,
        "layer_types": ["mamba", "mamba", "attention", "mamba"],
        "num_local_experts": 0,
        "num_experts_per_tok": 0,
    },
    "falcon_h1": {
        **_DENSE,
        **_SCAN,
        "num_key_value_heads": 2,
        "head_dim": 64,
        "mamba_d_ssm": 2048,
        "mamba_chunk_size": 128,
    },
    "nemotron_h": {
        **_DENSE,
        "num_hidden_layers": 6,
        "hybrid_override_pattern": "M-M*M-",
        "num_key_value_heads": 2,
        "head_dim": 128,
        "mamba_num_heads": 32,
        "mamba_head_dim": 64,
        "n_groups": 4,
        "ssm_state_size": 128,
        "chunk_size": 128,
        "expand": 2,
    },
}


@pytest.mark.parametrize(
    ("model_type", "checkpointing", "peak"),
    [
        ("falcon_h1", "none", 1_586_021_888),
        ("falcon_h1", "full", 880_543_232),
        ("qwen3_next", "none", 913_211_904),
        ("qwen3_next", "full", 605_804_032),
        ("bamba", "none", 1_512_274_432),
        ("bamba", "full", 849_019_392),
        ("granitemoehybrid", "none", 1_509_912_064),
        ("granitemoehybrid", "full", 849_067_520),
        ("nemotron_h", "none", 1_193_617_920),
        ("nemotron_h", "full", 661_889_536),
    ],
)
def test_peak_of_a_step(model_type: str, checkpointing: str, peak: int) -> None:
    model = model_of({"model_type": model_type, **HYBRIDS[model_type]})
    run = TrainingRun(precision="bf16", seq_len=1024, checkpointing=checkpointing, device="cpu")
    found = training_estimate(model, run)
    assert found.peak.name == "backward"
    assert found.peak.tensor_bytes == pytest.approx(peak, rel=0.03)


@pytest.mark.parametrize(
    ("config", "says"),
    [
        ({"model_type": "t5", "architectures": ["T5ForConditionalGeneration"]}, "an encoder"),
        ({"model_type": "jamba", "architectures": ["JambaForCausalLM"]}, "jamba"),
        ({"model_type": "zamba2", "architectures": ["Zamba2ForCausalLM"]}, "zamba2"),
    ],
)
def test_what_is_not_described_is_named(config: dict[str, object], says: str) -> None:
    found = training_estimate(model_of(config), TrainingRun(seq_len=64))
    (message,) = (note.message for note in found.notes if note.code == "activations_unknown")
    assert says in message
    assert "activations" in found.unknown

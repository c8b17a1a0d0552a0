"""What a layer keeps, by family, against the tensors that autograd saves.

The expected figures are bytes a token and layer of transformers 5.23 and torch 2.13: small models
of every family ran on real tensors, and the storages that ``saved_tensors_hooks`` saw were added
up, parameters and buffers apart, at four and at eight layers. 37 tokens, no dropout counted.
"""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from hfmem.memory.training_pass import layer_order, saving_of
from hfmem.memory.training_run import TrainingRun
from hfmem.memory.training_saved import layer_saved
from hfmem.model.lora import LoraSpec, adapters
from tests.memory.training_models import model_of

TOKENS = 37
SMALL: dict[str, object] = {
    "hidden_size": 48,
    "intermediate_size": 112,
    "num_attention_heads": 6,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "vocab_size": 200,
    "num_hidden_layers": 4,
    "dtype": "bfloat16",
}
MOE = {
    **SMALL,
    "num_experts": 8,
    "num_local_experts": 8,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 24,
    "mlp_only_layers": [],
    "decoder_sparse_step": 1,
}
MIXTRAL = {key: value for key, value in MOE.items() if key != "moe_intermediate_size"}
PLAIN_HEADS = {key: value for key, value in SMALL.items() if key != "head_dim"}


@pytest.mark.parametrize(
    ("model_type", "config", "attention", "measured", "within"),
    [
        ("llama", SMALL, "sdpa", 2208, 0),
        ("llama", SMALL, "eager", 3772, 0),
        ("mistral", SMALL, "sdpa", 2208, 0),
        ("qwen3", SMALL, "sdpa", 3008, 0),
        ("gemma2", {**SMALL, "query_pre_attn_scalar": 16}, "eager", 5204.76, 21),
        ("gemma3_text", SMALL, "sdpa", 4272.2, 41),
        ("gemma3_text", SMALL, "eager", 5836.2, 41),
        ("olmo2", SMALL, "sdpa", 3432, 24),
        ("cohere", SMALL, "sdpa", 2113, 6),
        (
            "phi",
            {**SMALL, "hidden_act": "gelu_new", "partial_rotary_factor": 0.5},
            "sdpa",
            2044,
            4,
        ),
        ("gpt_neox", {**PLAIN_HEADS, "rotary_pct": 0.25, "hidden_act": "gelu"}, "sdpa", 1440, 8),
        ("starcoder2", {**SMALL, "hidden_act": "gelu_pytorch_tanh"}, "sdpa", 1376, 8),
        ("mixtral", MIXTRAL, "sdpa", 3604.86, 1),
        ("qwen3_moe", MOE, "sdpa", 2980.86, 16),
        ("qwen2_moe", {**MOE, "shared_expert_intermediate_size": 28}, "sdpa", 2502.86, 14),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_saved_by_autograd(
    model_type: str, config: dict[str, object], attention: str, measured: float, within: int
) -> None:
    """``within``: tables that do not grow with the tokens, and statistics that CUDA keeps wider."""
    model = model_of({"model_type": model_type, **config})
    run = TrainingRun(precision="bf16", attention=attention, seq_len=TOKENS)
    assert model.forward is not None
    saving = saving_of(model, model.forward, run, tokens=TOKENS)
    for shape in layer_order(model.forward):
        assert layer_saved(shape, saving).bytes() / TOKENS == pytest.approx(measured, abs=within)


BERT = {**PLAIN_HEADS, "num_key_value_heads": 6}
GPT2 = {"n_embd": 48, "n_head": 6, "n_layer": 4, "vocab_size": 200, "n_positions": 64}
OPT = {**PLAIN_HEADS, "ffn_dim": 112, "word_embed_proj_dim": 48}


@pytest.mark.parametrize(
    ("model_type", "config", "attention", "measured"),
    [
        ("bert", BERT, "sdpa", 1344),
        ("bert", BERT, "eager", 3240),
        ("gpt2", GPT2, "sdpa", 2816),
        ("gpt2", GPT2, "eager", 4712),
        ("opt", OPT, "sdpa", 1120),
        ("opt", OPT, "eager", 3400),
        # Without its masks of 48 bytes after attention and MLP.
        ("bert", {**BERT, "hidden_dropout_prob": 0.0}, "sdpa", 1344 - 96),
        # And without dropped scores and their masks: 6 heads × 64 × (2 + 1).
        ("bert", {**BERT, "attention_probs_dropout_prob": 0.0}, "eager", 3240 - 1152),
    ],
)
def test_dropouts_keep_their_masks(
    model_type: str, config: dict[str, object], attention: str, measured: float
) -> None:
    """64 tokens, the dropouts of the classes through ``torch.native_dropout`` as CUDA runs them;
    a LayerNorm's statistics have 4 bytes more there, two times."""
    model = model_of({"model_type": model_type, "dtype": "bfloat16", **config})
    run = TrainingRun(precision="bf16", attention=attention, seq_len=64)
    assert model.forward is not None
    saving = saving_of(model, model.forward, run, tokens=64)
    for shape in layer_order(model.forward):
        assert layer_saved(shape, saving).bytes() / 64 == measured + 8
    undropped = saving_of(model, model.forward, replace(run, objective="dpo"), tokens=64)
    assert undropped.dropouts == 0
    assert not undropped.drops_scores


@pytest.mark.parametrize(
    ("targets", "precision", "measured"),
    [("all-linear", "bf16", 3504), (("q_proj", "v_proj"), "bf16", 2016)],
)
def test_adapters_saved_by_autograd(
    targets: str | tuple[str, ...], precision: str, measured: int
) -> None:
    """Rank 4 with peft 0.21: fp32 adapters, each with an fp32 copy of its input."""
    model = model_of({"model_type": "llama", "architectures": ["LlamaForCausalLM"], **SMALL})
    spec = LoraSpec(rank=4, targets=targets)
    run = TrainingRun(method="lora", precision=precision, lora=spec, attention="sdpa")
    assert model.forward is not None
    assert model.weights is not None
    saving = saving_of(model, model.forward, run, tokens=TOKENS)
    of_a_layer = adapters(model.weights, spec).linear
    saved = layer_saved(layer_order(model.forward)[0], saving, adapters=of_a_layer)
    assert saved.bytes() == measured * TOKENS


def test_autocast_over_fp32_weights() -> None:
    """Without the weights' 16-bit copies, 67,584 bytes a layer: 4,224 − 1,826.6 bytes a token."""
    model = model_of({"model_type": "llama", **SMALL})
    run = TrainingRun(precision="bf16-mixed", attention="sdpa")
    assert model.forward is not None
    saving = saving_of(model, model.forward, run, tokens=TOKENS)
    hidden, wide, heads, inner, outer = 48, 112, 6, 96, 32
    expected = 26 * hidden + 8 * wide + 4 * (inner + outer) + 4 * heads + 8
    found = layer_saved(layer_order(model.forward)[0], saving).bytes() / TOKENS
    assert found == expected
    copies = 2 * (2 * hidden * inner + 2 * hidden * outer + 3 * hidden * wide)
    assert expected + copies / TOKENS == pytest.approx(4224, abs=0.5)

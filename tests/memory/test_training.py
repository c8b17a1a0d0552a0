"""A training step: the states and the tensors that its formulas give, and what changes them."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from hfmem.errors import UsageError
from hfmem.memory.training import training_estimate
from hfmem.memory.training_estimate import TRAINING_PARTS
from hfmem.memory.training_loss import loss_bytes
from hfmem.memory.training_pass import layer_order, saving_of
from hfmem.memory.training_run import Parallel, TrainingRun
from hfmem.memory.training_saved import layer_saved
from hfmem.model.lora import LoraSpec
from hfmem.units import GIB
from tests.memory.training_models import LLAMA_8B, QWEN2_7B, model_of

LLAMA, QWEN = model_of(LLAMA_8B), model_of(QWEN2_7B)
P = 8_030_261_248
PLAIN = TrainingRun(precision="bf16", seq_len=2048)


def states(run: TrainingRun) -> int:
    """Weights, gradients and optimizer states at the step."""
    step = next(phase for phase in training_estimate(LLAMA, run).phases if phase.name == "step")
    return sum(step.part(name).bytes for name in ("weights", "gradients", "optimizer"))


@pytest.mark.parametrize(
    ("changes", "bytes_per_parameter", "gib"),
    [
        ({}, 8, 59.83),
        ({"precision": "bf16-mixed"}, 16, 119.66),
        ({"precision": "fp16-mixed"}, 16, 119.66),
        ({"precision": "fp32"}, 16, 119.66),
        ({"precision": "bf16-mixed", "master": "megatron"}, 18, 134.62),
        ({"optimizer": "sgd"}, 4, 29.91),
        ({"optimizer": "sgd-momentum"}, 6, 44.87),
        ({"optimizer": "lion"}, 8, 59.83),
        ({"optimizer": "adamw-foreach"}, 10, 74.79),
        ({"optimizer": "ademamix"}, 16, 119.66),
    ],
)
def test_states_of_llama_8b(
    changes: dict[str, object], bytes_per_parameter: int, gib: float
) -> None:
    """2 + 2 + 12 (arXiv:1910.02054), Megatron's 18, torch's states in the weights' type."""
    found = states(replace(PLAIN, **changes))
    assert found == bytes_per_parameter * P
    assert found / GIB == pytest.approx(gib, abs=0.01)


@pytest.mark.parametrize(("model", "per_token"), [(LLAMA, 200_840), (QWEN, 225_400)])
def test_bytes_of_a_token_in_a_layer(model: object, per_token: int) -> None:
    """Measured on transformers 5.23 in eager PyTorch with sdpa: 16 H + 4 (Hq + Hkv) + 8 I + 4 heads
    + 8."""
    found = training_estimate(model, replace(PLAIN, seq_len=1024))
    kept = found.phases[0].part("activations").parts[0]
    assert kept.name == "saved by layers"
    assert kept.bytes == per_token * 1024 * len(model.decoder.layers)
    assert sum(part.bytes for part in kept.parts) == kept.bytes


def test_checkpointing_keeps_the_input_of_a_layer() -> None:
    found = training_estimate(LLAMA, replace(PLAIN, checkpointing="full"))
    kept = found.phases[0].part("activations").parts[0]
    assert kept.bytes == 2 * 4096 * 2048 * 32


def test_eager_scores() -> None:
    """16 H + 8 I + 8 Hq + 6 heads × tokens + 8 on transformers 5.23."""
    found = training_estimate(LLAMA, replace(PLAIN, attention="eager", seq_len=512))
    kept = found.phases[0].part("activations").parts[0]
    per_token = 16 * 4096 + 8 * 14336 + 8 * 4096 + 6 * 32 * 512 + 8
    assert kept.bytes == per_token * 512 * 32


def test_logits_of_the_standard_loss() -> None:
    """10 bytes a token and entry forward, 12 backward (torch's kernels in fp32)."""
    forward, backward, step = training_estimate(LLAMA, PLAIN).phases
    assert forward.part("logits").bytes == 10 * 2048 * 128_256
    assert backward.part("logits").bytes == 12 * 2048 * 128_256
    assert step.part("logits").bytes == 0


@pytest.mark.parametrize("loss", ["chunked", "fused"])
def test_other_losses_hold_less(loss: str) -> None:
    run = replace(PLAIN, checkpointing="full", micro_batch=8)
    assert (
        training_estimate(LLAMA, replace(run, loss=loss)).phases[0].part("logits").bytes
        < training_estimate(LLAMA, run).phases[0].part("logits").bytes / 4
    )


@pytest.mark.parametrize(
    ("width", "weight_cast", "trained", "head", "beside"),
    [
        # liger-kernel 0.8.2 ops/fused_linear_cross_entropy.py: grad_weight is zeros_like(weight).
        # ``grad_weight += torch.mm(…).float()``: a bf16 product and its fp32 copy.
        (2, False, True, 2, 6),
        # ``torch.addmm(out=grad_weight)`` adds in place; autocast copies the weight for the logits.
        (2, True, True, 4, 2),
        (4, False, True, 4, 4),
        # A frozen head has no gradient.
        (2, False, False, 0, 0),
        (2, True, False, 0, 2),
    ],
)
def test_ligers_loss(width: int, weight_cast: bool, trained: bool, head: int, beside: int) -> None:
    """Pieces of next_power_of_2(2,048 / 32) = 64 tokens; 128,256 entries are 32 times 4,096."""
    found = loss_bytes(
        "fused",
        rows=2048,
        vocab=128_256,
        hidden=4096,
        width=width,
        capped=False,
        head_trained=trained,
        weight_cast=weight_cast,
        stream=4 if weight_cast else width,
    )
    matrix = 128_256 * 4096
    kept = 2048 * 4096 * (4 if weight_cast else width) + matrix * head
    assert found.forward == 64 * 128_256 * width + kept + matrix * beside
    assert found.backward == kept


def test_ligers_gradients_are_counted_once() -> None:
    """They replace what the loss reads: no logits, no input of the head."""
    run = replace(PLAIN, loss="fused", checkpointing="full")
    forward = training_estimate(LLAMA, run).phases[0]
    around = forward.part("activations").bytes - 32 * 2048 * 4096 * 2
    # Final norm (fp32 copy, normed, deviation), cosine and sine in bf16, token ids.
    assert around == 2048 * (4096 * 6 + 4 + 2 * 128 * 2 + 8)


@pytest.mark.parametrize(
    ("method", "trainable"), [("lora", 41_943_040), ("qlora", 41_943_040), ("dora", 43_319_296)]
)
def test_trained_parameters_of_adapters(method: str, trainable: int) -> None:
    """Rank 16 on all linear layers; DoRA adds a magnitude an output: 1,376,256 of them."""
    run = replace(PLAIN, method=method, precision="bf16-mixed")
    assert training_estimate(LLAMA, run).trainable == trainable


def test_qlora_states_of_llama_8b() -> None:
    """6,979,321,856 elements in nf4-dq, the rest cast to fp32 (peft 0.21), and 16 bytes of states a
    trained parameter: 7.89 GiB and the tables of 224 weights."""
    run = replace(PLAIN, method="qlora", precision="bf16-mixed")
    assert states(run) / GIB == pytest.approx(7.89, rel=0.002)


def test_gradients_live_through_an_accumulating_step() -> None:
    once, twice = (
        training_estimate(LLAMA, replace(PLAIN, grad_accum=steps)).phases[0] for steps in (1, 2)
    )
    assert once.part("gradients").bytes == 0
    assert twice.part("gradients").bytes == 2 * P


def test_optimizer_in_backward_keeps_one_gradient() -> None:
    run = replace(PLAIN, optimizer_in_backward=True)
    for phase in training_estimate(LLAMA, run).phases:
        assert phase.part("gradients").bytes <= 2 * 128_256 * 4096


def test_activation_offload_moves_checkpoints_to_the_host() -> None:
    run = replace(PLAIN, checkpointing="full", activation_offload=True)
    found = training_estimate(LLAMA, run)
    assert found.host is not None
    assert found.host.bytes == 2 * 4096 * 2048 * 32


def test_the_step_is_the_peak_of_foreach_and_not_of_fused() -> None:
    """The oracle's rows of one sequence of 2,048 tokens."""
    assert training_estimate(LLAMA, replace(PLAIN, optimizer="adamw-foreach")).peak.name == "step"
    assert training_estimate(LLAMA, PLAIN).peak.name == "backward"


RUNS = st.builds(
    TrainingRun,
    method=st.sampled_from(["full", "lora", "qlora", "dora"]),
    precision=st.sampled_from(["bf16", "bf16-mixed", "fp16-mixed"]),
    checkpointing=st.sampled_from(["none", "full", "selective", "core-attention"]),
    attention=st.sampled_from(["sdpa", "flash", "eager"]),
    loss=st.sampled_from(["standard", "chunked", "fused"]),
    optimizer=st.sampled_from(["adamw", "adamw-8bit", "adafactor", "muon", "sgd", "galore"]),
    grad_accum=st.integers(1, 8),
    fused_layers=st.booleans(),
    parallel=st.builds(
        Parallel,
        dp=st.integers(1, 16),
        tp=st.sampled_from([1, 2, 4]),
        pp=st.sampled_from([1, 2, 3]),
        zero=st.integers(0, 3),
    ),
)


@settings(max_examples=40, deadline=None)
@given(run=RUNS, tokens=st.integers(1, 20_000), batch=st.integers(1, 8))
def test_totals_add_up_and_grow(run: TrainingRun, tokens: int, batch: int) -> None:
    small = training_estimate(QWEN, replace(run, seq_len=tokens, micro_batch=batch))
    large = training_estimate(QWEN, replace(run, seq_len=tokens + 1, micro_batch=batch))
    assert large.need_bytes >= small.need_bytes
    for phase in small.phases:
        assert tuple(part.name for part in phase.memory.parts) == TRAINING_PARTS
        assert sum(part.bytes for part in phase.memory.parts) == phase.memory.bytes
        assert all(part.bytes >= 0 for part in phase.memory.parts)
        _adds_up(phase.memory)
    assert small.whole.bytes <= small.need_bytes * small.gpus


def _adds_up(term: object) -> None:
    if term.parts:
        assert sum(part.bytes for part in term.parts) == term.bytes
        for part in term.parts:
            assert part.bytes >= 0, part
            _adds_up(part)


@pytest.mark.parametrize(
    ("run", "says"),
    [
        (TrainingRun(seq_len=0), "seq-len"),
        (TrainingRun(micro_batch=0), "micro-batch"),
        (TrainingRun(optimizer="lamb"), "lamb"),
        (TrainingRun(parallel=Parallel(zero=4)), "stage"),
        (TrainingRun(parallel=Parallel(dp=8, zero=2, fsdp="full")), "two ways"),
        (TrainingRun(parallel=Parallel(offload="optimizer")), "engine"),
        (TrainingRun(parallel=Parallel(dp=2, zero=2, offload="params")), "stage 3"),
        # torch.distributed.fsdp.CPUOffloadPolicy: one switch for all three.
        (TrainingRun(parallel=Parallel(dp=2, fsdp="full", offload="optimizer")), "together"),
        (TrainingRun(parallel=Parallel(tp=3)), "32 attention heads"),
        (TrainingRun(parallel=Parallel(pp=33)), "32 layers"),
        (TrainingRun(parallel=Parallel(sp=True)), "tensor-parallel"),
        (TrainingRun(parallel=Parallel(dp=3, ep=2)), "expert-parallel"),
        (TrainingRun(optimizer_in_backward=True, grad_accum=2), "accumulate"),
        # torch 2.13 _fsdp_collectives.py runs the hooks of sharded parameters; DeepSpeed has none.
        (
            TrainingRun(optimizer_in_backward=True, parallel=Parallel(dp=8, zero=2)),
            "DeepSpeed does not",
        ),
        (TrainingRun(method="qlora", precision="fp32"), "16 bits"),
        (TrainingRun(method="qlora", quantize="gptq-4bit"), "no scheme"),
    ],
)
def test_refused(run: TrainingRun, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        training_estimate(LLAMA, run)


def test_quantized_weights_are_not_trained_in_full() -> None:
    packed = {
        **LLAMA_8B,
        "architectures": ["DeepseekV3ForCausalLM"],
        "model_type": "deepseek_v3",
        "num_hidden_layers": 2,
        "first_k_dense_replace": 1,
        "moe_intermediate_size": 256,
        "n_routed_experts": 8,
        "num_experts_per_tok": 2,
        "n_shared_experts": 1,
        "n_group": 2,
        "topk_group": 1,
        "kv_lora_rank": 128,
        "q_lora_rank": 256,
        "qk_rope_head_dim": 64,
        "qk_nope_head_dim": 128,
        "v_head_dim": 128,
        "quantization_config": {
            "quant_method": "fp8",
            "fmt": "e4m3",
            "weight_block_size": [128, 128],
            "activation_scheme": "dynamic",
        },
    }
    with pytest.raises(UsageError, match="trained in full"):
        training_estimate(model_of(packed), PLAIN)


GPTQ = {"quant_method": "gptq", "bits": 4, "group_size": 128, "desc_act": False, "sym": True}
FP8 = {"quant_method": "fp8", "weight_block_size": [128, 128], "activation_scheme": "dynamic"}
NF4 = {
    "quant_method": "bitsandbytes",
    "load_in_4bit": True,
    "bnb_4bit_quant_type": "nf4",
    "bnb_4bit_use_double_quant": True,
    "bnb_4bit_quant_storage": "uint8",
}


@pytest.mark.parametrize("settings", [GPTQ, FP8])
def test_what_another_library_has_quantized_is_not_quantized_anew(
    settings: dict[str, object],
) -> None:
    """transformers 5.23 quantizers/auto.py: merge_quantization_configs raises ValueError."""
    packed = model_of({**LLAMA_8B, "quantization_config": settings})
    with pytest.raises(UsageError, match="quantized already"):
        training_estimate(packed, replace(PLAIN, method="qlora"))
    assert training_estimate(packed, replace(PLAIN, method="lora")).trainable == 41_943_040


def test_adapters_over_what_transformers_does_not_train_over() -> None:
    """MLX's settings name no method, and there is no quantizer (5.23 quantizers/auto.py)."""
    mlx = model_of({**LLAMA_8B, "quantization_config": {"group_size": 64, "bits": 4}})
    run = replace(PLAIN, method="lora")
    found, plain = training_estimate(mlx, run), training_estimate(LLAMA, run)
    assert found.peak.part("weights").bytes == plain.peak.part("weights").bytes
    assert "dequantized" in {note.code for note in found.notes}


def test_what_bitsandbytes_has_quantized_stays_as_it_is() -> None:
    """The checkpoint's own settings win: nf4 with double quantization, whatever is asked."""
    run = replace(PLAIN, method="qlora", precision="bf16-mixed")
    packed = model_of({**LLAMA_8B, "quantization_config": NF4})
    plain, *asked = (
        training_estimate(model, replace(run, quantize=quantize)).peak.part("weights").bytes
        for model, quantize in ((LLAMA, "nf4-dq"), (packed, "nf4-dq"), (packed, "int8"))
    )
    assert asked == [pytest.approx(plain, rel=1e-4)] * 2


def test_an_unknown_family_tells_its_states_only() -> None:
    found = training_estimate(
        model_of({"model_type": "mamba", "hidden_size": 64, "num_hidden_layers": 2}), PLAIN
    )
    assert "activations" in found.unknown
    assert any(note.code == "activations_unknown" for note in found.notes)


@pytest.mark.parametrize(
    ("wide", "checkpointing", "weights", "peak"),
    [
        (True, "none", 316_937_216, 843_458_560),
        (True, "full", 316_937_216, 578_541_568),
        (False, "none", 159_632_384, 637_788_160),
        (False, "full", 159_632_384, 378_769_408),
    ],
)
def test_adapters_over_frozen_weights(
    wide: bool, checkpointing: str, weights: int, peak: int
) -> None:
    """A tracker of the allocator under fake tensors, transformers 5.23, peft 0.21, torch 2.13: the
    second step of 1,024 tokens with rank-8 adapters, in bf16, or over fp32 weights under autocast.
    """
    model = model_of(
        {
            **LLAMA_8B,
            "hidden_size": 1024,
            "num_hidden_layers": 4,
            "num_attention_heads": 8,
            "num_key_value_heads": 2,
            "head_dim": 128,
            "intermediate_size": 2816,
            "vocab_size": 16384,
        }
    )
    run = TrainingRun(
        method="lora",
        seq_len=1024,
        lora=LoraSpec(rank=8),
        precision="bf16-mixed" if wide else "bf16",
        frozen_fp32=wide,
        checkpointing=checkpointing,
        device="cpu",
    )
    found = training_estimate(model, run)
    assert found.peak.part("weights").bytes == pytest.approx(weights, rel=1e-4)
    assert found.peak.tensor_bytes == pytest.approx(peak, rel=0.01)


def test_int8_products_keep_their_input_and_4_bit_ones_do_not() -> None:
    """bitsandbytes 0.50.2 autograd/_functions.py: MatMul8bitLt.forward keeps A, MatMul4Bit None.

    A Llama layer in bf16: the input of query, keys and values, that of gate and up, and that of
    down; the attention's output is there anyway.
    """
    kept = {}
    for scheme in ("nf4", "int8"):
        run = TrainingRun(method="qlora", quantize=scheme, precision="bf16", kbit_fp32=False)
        saving = saving_of(LLAMA, LLAMA.forward, run, tokens=64)
        shape = layer_order(LLAMA.forward)[0]
        kept[scheme] = layer_saved(shape, saving).bytes()
    assert kept["int8"] - kept["nf4"] == 64 * 2 * (4096 + 4096 + 14336)

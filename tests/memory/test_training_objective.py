"""Preferences and rewards: what TRL holds beside the trained model, and where completions are made.

Expected figures are sizes of Llama-3.1-8B (8,030,261,248 parameters, of which the head has
525,336,576; 131,072 bytes of cache a token in bf16) in the arithmetic of trl 1.16 (DPO, GRPO) and
trl 1.12 (PPO).
"""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from hfmem.errors import UsageError
from hfmem.memory.term import Term
from hfmem.memory.training import training_estimate
from hfmem.memory.training_estimate import TrainingEstimate, TrainingPhase
from hfmem.memory.training_loss import loss_bytes, ppo_loss_bytes
from hfmem.memory.training_objective import value_parameters
from hfmem.memory.training_pass import layer_order, saving_of
from hfmem.memory.training_run import Parallel, Rollout, TrainingRun
from hfmem.memory.training_saved import layer_saved
from hfmem.units import GIB
from tests.memory.training_models import LLAMA_8B, model_of

MODEL = model_of(LLAMA_8B)
PARAMETERS, HEAD = 8_030_261_248, 525_336_576
TILED = TrainingRun(precision="bf16", seq_len=2048, loss="chunked", tiled_head=True)


def phase(found: TrainingEstimate, name: str) -> TrainingPhase:
    return next(one for one in found.phases if one.name == name)


def inside(term: Term, name: str) -> int:
    return sum(part.bytes for part in term.parts if part.name == name)


@pytest.mark.parametrize(
    ("objective", "method", "reference", "bytes_a_parameter"),
    [
        ("dpo", "full", None, 2),
        ("dpo", "full", False, 0),
        ("dpo", "lora", None, 0),
        ("grpo", "full", None, 0),
        ("grpo", "full", True, 2),
        ("ppo", "full", None, 2),
        ("ppo", "lora", None, 0),
    ],
)
def test_reference_model(
    objective: str, method: str, reference: bool | None, bytes_a_parameter: int
) -> None:
    run = replace(TILED, objective=objective, method=method, reference=reference)
    weights = training_estimate(MODEL, run).peak.part("weights")
    assert inside(weights, "reference model") == bytes_a_parameter * PARAMETERS


def test_the_reference_has_the_type_of_the_trained_model() -> None:
    run = replace(TILED, objective="dpo", precision="bf16-mixed")
    weights = training_estimate(MODEL, run).peak.part("weights")
    assert inside(weights, "reference model") == 4 * PARAMETERS


def test_dpo_passes_pairs() -> None:
    pair = training_estimate(MODEL, replace(TILED, objective="dpo"))
    two = training_estimate(MODEL, replace(TILED, micro_batch=2))
    kept = [phase(found, "backward").part("activations").bytes for found in (pair, two)]
    assert kept[0] == kept[1]


def test_tiles_of_the_fused_head() -> None:
    """4,096 tokens × 32,768 entries at a time; gradients of hidden states and head in fp32."""
    found = loss_bytes(
        "chunked",
        rows=8192,
        vocab=128_256,
        hidden=4096,
        width=2,
        capped=False,
        head_trained=True,
        tiled=True,
    )
    tile = 4096 * 32_768 * 2
    assert found.forward == tile + 7 * 4 * 8192
    assert found.backward == tile + 4 * 8192 * 4096 + 4 * 128_256 * 4096
    assert found.kept == 2 * 8192 * 4096 + 3 * 4 * 8192


def test_ppo_keeps_all_logits_in_fp32_under_autocast() -> None:
    found = ppo_loss_bytes(rows=1024, completion_rows=512, vocab=128_256, width=2, converted=True)
    assert found.held == 1024 * 128_256 * 4
    assert found.backward - found.held == (2 * 512 + 1024) * 128_256 * 4


def test_grpo_generates_a_whole_step_at_once() -> None:
    run = replace(TILED, objective="grpo", micro_batch=2, grad_accum=4)
    made = phase(training_estimate(MODEL, run), "generation")
    assert inside(made.part("activations"), "KV cache") == 8 * 2048 * 131_072
    assert made.part("gradients").bytes == 0
    assert made.part("optimizer").bytes == 4 * PARAMETERS


def test_ppo_stacks_the_scores_of_every_token() -> None:
    rollout = Rollout(completion=100)
    run = replace(TILED, objective="ppo", micro_batch=2, grad_accum=2, rollout=rollout)
    made = phase(training_estimate(MODEL, run), "generation")
    assert made.part("logits").bytes == 2 * 4 * 100 * 128_256 * 4


@pytest.mark.parametrize(("sleeps", "in_backward"), [(False, 24 * GIB), (True, 0)])
def test_a_colocated_engine(sleeps: bool, in_backward: int) -> None:
    rollout = Rollout(vllm_share=0.3, vllm_sleeps=sleeps, card_bytes=80 * GIB)
    found = training_estimate(MODEL, replace(TILED, objective="grpo", rollout=rollout))
    name = "vLLM on the same card"
    assert inside(phase(found, "generation").part("overhead"), name) == 24 * GIB
    assert inside(phase(found, "backward").part("overhead"), name) == in_backward
    assert inside(phase(found, "generation").part("activations"), "KV cache") == 0


def test_ppo_trains_a_value_model_in_full() -> None:
    run = replace(TILED, objective="ppo", method="lora")
    value = value_parameters(MODEL, run)
    assert sum(one.total_elements for one in value) == PARAMETERS - HEAD + 4096
    assert all(one.trained for one in value)
    found = training_estimate(MODEL, run)
    assert found.trainable == PARAMETERS - HEAD + 4096 + 41_943_040
    policy = training_estimate(MODEL, replace(run, objective="sft"))
    assert found.need_bytes > policy.need_bytes + 6 * (PARAMETERS - HEAD)


@pytest.mark.parametrize(
    ("run", "says"),
    [
        (replace(TILED, rollout=Rollout(vllm_share=0.3)), "generated for sft"),
        (replace(TILED, objective="grpo", rollout=Rollout(vllm_share=1.5)), "1.5"),
        (replace(TILED, objective="grpo", rollout=Rollout(vllm_sleeps=True)), "sleep"),
        (replace(TILED, objective="grpo", rollout=Rollout(completion=4096)), "longer"),
        (replace(TILED, objective="grpo", rollout=Rollout(generations=1)), "2 completions"),
        (replace(TILED, objective="ppo", rollout=Rollout(vllm_share=0.3)), "transformers"),
        (replace(TILED, reference=True), "no reference"),
    ],
)
def test_refused(run: TrainingRun, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        training_estimate(MODEL, run)


def test_groups_that_do_not_fill_a_step_are_told() -> None:
    run = replace(TILED, objective="grpo", micro_batch=3)
    codes = [note.code for note in training_estimate(MODEL, run).notes]
    assert "broken_groups" in codes
    assert "broken_groups" not in [
        note.code for note in training_estimate(MODEL, replace(run, micro_batch=8)).notes
    ]


def test_packed_rows_need_a_mask_under_sdpa_only() -> None:
    packed = {
        attention: training_estimate(
            MODEL, replace(TILED, attention=attention, packed=True)
        ).need_bytes
        - training_estimate(MODEL, replace(TILED, attention=attention)).need_bytes
        for attention in ("sdpa", "flash")
    }
    # 32 layers keep a bias of 2,048 × 2,048 in bf16, and keys and values of 32 heads, not of 8.
    bias, repeated = 2048 * 2048 * 2, 2048 * 2 * 24 * 128 * 2
    assert packed["flash"] == 0
    assert packed["sdpa"] == pytest.approx(32 * (bias + repeated) + 2048 * 2048, rel=0.2)


def test_a_packed_layer_as_autograd_saves_it() -> None:
    """transformers 5.23, torch 2.13: a row of 64 tokens in two documents, real tensors, the
    difference of two layers and one: 2,280 bytes a token without packing, 2,600 with it."""
    small = model_of(
        {
            "model_type": "llama",
            "hidden_size": 64,
            "intermediate_size": 112,
            "num_attention_heads": 8,
            "num_key_value_heads": 2,
            "head_dim": 8,
            "vocab_size": 200,
            "num_hidden_layers": 2,
            "dtype": "bfloat16",
        }
    )
    assert small.forward is not None
    for packed, measured in ((False, 2280), (True, 2600)):
        run = TrainingRun(precision="bf16", seq_len=64, packed=packed)
        saving = saving_of(small, small.forward, run, tokens=64)
        for shape in layer_order(small.forward):
            assert layer_saved(shape, saving).bytes() == 64 * measured


SMALL = model_of({**LLAMA_8B, "num_hidden_layers": 2, "hidden_size": 256, "vocab_size": 512})


def _adds_up(term: Term) -> bool:
    low, high = term.range_bytes
    whole = not term.parts or term.bytes == sum(part.bytes for part in term.parts)
    return 0 <= low <= term.bytes <= high and whole and all(map(_adds_up, term.parts))


@given(
    objective=st.sampled_from(["sft", "dpo", "grpo", "ppo"]),
    method=st.sampled_from(["full", "lora", "qlora", "dora"]),
    checkpointing=st.sampled_from(["none", "full", "selective", "core-attention"]),
    loss=st.sampled_from(["standard", "chunked", "fused"]),
    layout=st.builds(Parallel, dp=st.integers(1, 8), pp=st.integers(1, 2), zero=st.integers(0, 3)),
    tiled_head=st.booleans(),
    packed=st.booleans(),
    frozen_fp32=st.booleans(),
    activation_offload=st.booleans(),
)
@settings(max_examples=60, deadline=None)
def test_every_number_is_the_sum_of_its_parts(layout: Parallel, **fields: object) -> None:
    run = TrainingRun(seq_len=32, parallel=layout, **fields)
    for one in training_estimate(SMALL, run).phases:
        assert _adds_up(one.memory), (one.name, one.instant)

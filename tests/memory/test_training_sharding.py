"""Who holds what: ZeRO's figures, FSDP, tensor, pipeline and expert parallelism."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from hfmem.memory.training import training_estimate
from hfmem.memory.training_estimate import TrainingPhase
from hfmem.memory.training_run import Parallel, TrainingRun
from hfmem.memory.training_sharding import stages
from tests.memory.training_models import LLAMA_8B, model_of

LLAMA = model_of(LLAMA_8B)
P = 8_030_261_248
NORMS = 65 * 4096
RUN = TrainingRun(precision="bf16-mixed", seq_len=512, checkpointing="full")


def step(layout: Parallel, **changes: object) -> TrainingPhase:
    """The optimizer step of the most loaded rank."""
    found = training_estimate(LLAMA, replace(RUN, parallel=layout, **changes))
    return next(phase for phase in found.phases if phase.name == "step")


@pytest.mark.parametrize(
    ("zero", "weights", "gradients", "states"),
    [
        # Figure 1 of arXiv:1910.02054: 2 + 2 + K over N, K = 12; N = 8.
        (1, 2, 2, 12 / 8),
        (2, 2, 2 / 8, 12 / 8),
        (3, 2 / 8, 2 / 8, 12 / 8),
    ],
)
def test_zero_stages(zero: int, weights: float, gradients: float, states: float) -> None:
    found = step(Parallel(dp=8, zero=zero))
    assert found.part("weights").bytes == pytest.approx(weights * P, rel=1e-6)
    assert found.part("gradients").bytes == pytest.approx(gradients * P, rel=1e-6)
    # The step adds fp32 gradients of the partition; stage 3 goes through it by groups of 1e9
    # (DeepSpeed runtime/zero/config.py: sub_group_size).
    fp32 = 4 * min(P / 8, 1e9) if zero == 3 else 4 * P / 8
    assert found.part("optimizer").bytes == pytest.approx(states * P + fp32, rel=1e-6)


def test_ddp_keeps_every_gradient_twice() -> None:
    """torch 2.13 DistributedDataParallel: gradient_as_bucket_view is False."""
    alone, two = step(Parallel()), step(Parallel(dp=2))
    assert two.part("gradients").bytes == alone.part("gradients").bytes == 4 * P
    assert two.part("activations").bytes == 4 * P


def test_fsdp_shards_fp32_and_gathers_blocks_in_16_bits() -> None:
    found = training_estimate(LLAMA, replace(RUN, parallel=Parallel(dp=8, fsdp="full")))
    backward = next(phase for phase in found.phases if phase.name == "forward")
    assert backward.part("weights").bytes == pytest.approx(4 * P / 8, rel=1e-6)
    block = 2 * 4096 * 4096 + 2 * 4096 * 1024 + 3 * 4096 * 14336 + 2 * 4096
    parts = {part.name: part.bytes for part in backward.part("activations").parts}
    assert parts["gathered blocks"] == 2 * 2 * block
    assert parts["gathered root"] == 2 * (2 * 128_256 * 4096 + 4096)


def test_gradients_stay_whole_without_synchronization() -> None:
    """torch 2.13 FullyShardedDataParallel.no_sync: unsharded gradients are accumulated."""
    layout = Parallel(dp=8, fsdp="full", no_sync=True)
    once, accumulated = (step(layout, precision="bf16", grad_accum=n) for n in (1, 2))
    assert once.part("gradients").bytes == pytest.approx(2 * P / 8, rel=1e-6)
    assert accumulated.part("gradients").bytes == 2 * P


def test_fsdp_steps_what_it_reduces_together() -> None:
    """torch 2.13 _fsdp_collectives.py, foreach_reduce: a group's shards, then their hooks.

    The largest group is the root: embedding and head of 128,256 × 4,096 and the last norm.
    """
    layout = Parallel(dp=8, fsdp="full")
    found = step(layout, precision="bf16", optimizer_in_backward=True)
    assert found.part("gradients").bytes == pytest.approx(
        2 * (2 * 128_256 * 4096 + 4096) / 8, rel=1e-6
    )


def test_hybrid_sharding_stays_inside_a_node() -> None:
    full = step(Parallel(dp=32, fsdp="full")).part("weights").bytes
    hybrid = step(Parallel(dp=32, fsdp="hybrid")).part("weights").bytes
    assert hybrid == pytest.approx(4 * full, rel=1e-6)


@pytest.mark.parametrize(
    ("layout", "precision", "each"),
    [
        # ZeRO-Infinity, arXiv:2104.07857: fp32 master weights, moments and gradients, and 16-bit
        # weights, once for all ranks.
        (Parallel(dp=8, zero=3, offload="params"), "bf16-mixed", 18),
        # torch 2.13 CPUOffloadPolicy: fp32 shards, gradients and both moments of AdamW.
        (Parallel(dp=8, fsdp="full", offload="params"), "bf16-mixed", 16),
        # The same four in 16 bits.
        (Parallel(dp=8, fsdp="full", offload="params"), "bf16", 8),
    ],
)
def test_offload_puts_states_in_the_host(layout: Parallel, precision: str, each: int) -> None:
    found = training_estimate(LLAMA, replace(RUN, parallel=layout, precision=precision))
    assert found.host is not None
    assert found.host.bytes == pytest.approx(each * P, rel=1e-5)
    for phase in found.phases:
        assert phase.part("optimizer").bytes == 0
        assert phase.part("weights").bytes == 0
        assert phase.part("gradients").bytes == 0


def test_tensor_parallelism_splits_matrices_and_keeps_norms() -> None:
    found = step(Parallel(tp=4))
    assert found.part("weights").bytes == 4 * ((P - NORMS) // 4 + NORMS)


def test_sequence_parallelism_splits_what_tensor_parallelism_keeps() -> None:
    run = replace(RUN, checkpointing="none", precision="bf16", seq_len=4096)
    kept = [
        training_estimate(LLAMA, replace(run, parallel=layout)).phases[0].part("activations").bytes
        for layout in (Parallel(), Parallel(tp=4), Parallel(tp=4, sp=True))
    ]
    assert kept[0] > kept[1] > kept[2]
    assert kept[2] == pytest.approx(kept[0] / 4, rel=0.01)


def test_pipeline_stages_share_the_layers() -> None:
    ranks = stages(Parallel(pp=3), layers=32, tied=False)
    assert [len(rank.layers) for rank in ranks] == [11, 11, 10]
    assert [rank.in_flight(8) for rank in ranks] == [3, 2, 1]
    assert [rank.in_flight(1) for rank in ranks] == [1, 1, 1]
    assert ranks[0].first
    assert ranks[-1].last


def test_pipeline_parallelism_adds_up_to_the_model() -> None:
    found = training_estimate(LLAMA, replace(RUN, parallel=Parallel(pp=4), grad_accum=8))
    weights = next(part for part in found.whole.parts if part.name == "weights")
    assert weights.bytes == 4 * P


def test_experts_are_spread_over_expert_parallel_ranks() -> None:
    moe = model_of(
        {
            **LLAMA_8B,
            "architectures": ["MixtralForCausalLM"],
            "model_type": "mixtral",
            "num_hidden_layers": 4,
            "num_local_experts": 8,
            "num_experts_per_tok": 2,
        }
    )
    experts = 4 * 8 * 3 * 4096 * 14336
    alone = training_estimate(moe, RUN).phases[2].part("weights").bytes
    spread = training_estimate(moe, replace(RUN, parallel=Parallel(dp=8, ep=8)))
    assert alone - spread.phases[2].part("weights").bytes == 4 * experts * 7 // 8

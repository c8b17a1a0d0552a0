"""Whether training fits, how far it could go, and what would change it."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from hfmem.gpu import GpuGroup
from hfmem.hardware.catalogue import find, parse_gpu
from hfmem.hardware.training_fit import judge_training, step_seconds
from hfmem.memory.training import training_estimate
from hfmem.memory.training_run import Parallel, TrainingRun
from tests.memory.training_models import LLAMA_8B, model_of

LLAMA = model_of(LLAMA_8B)
RUN = TrainingRun(precision="bf16", seq_len=2048, checkpointing="full")


def group(name: str) -> GpuGroup:
    """A group by the name that ``--gpu`` takes."""
    return parse_gpu(name)


def test_verdict_follows_the_need() -> None:
    fits = judge_training(group("h100"), model=LLAMA, run=RUN)
    assert fits.verdict in ("fits", "tight")
    assert fits.headroom_bytes == fits.usable_bytes - fits.per_gpu_bytes
    assert judge_training(group("rtx-4090"), model=LLAMA, run=RUN).verdict == "no"


def test_limits_are_exact() -> None:
    found = judge_training(group("h100"), model=LLAMA, run=RUN)
    gpu = find("h100")

    def need(**changes: int) -> int:
        return training_estimate(LLAMA, replace(RUN, **changes), "datacenter").need_bytes

    assert found.max_micro_batch is not None
    assert found.max_seq_len is not None
    assert need(micro_batch=found.max_micro_batch) <= gpu.usable_bytes
    assert need(micro_batch=found.max_micro_batch + 1) > gpu.usable_bytes
    assert need(seq_len=found.max_seq_len) <= gpu.usable_bytes
    assert need(seq_len=found.max_seq_len + 1) > gpu.usable_bytes


def test_no_advice_to_quantize_what_is_quantized() -> None:
    """transformers 5.23 quantizers/auto.py: merge_quantization_configs refuses bitsandbytes."""
    gptq = {"quant_method": "gptq", "bits": 4, "group_size": 128, "desc_act": False, "sym": True}
    packed = model_of({**LLAMA_8B, "num_hidden_layers": 160, "quantization_config": gptq})
    run = replace(RUN, method="lora", precision="bf16-mixed")
    found = judge_training(group("rtx-4090"), model=packed, run=run)
    assert (found.verdict, found.advice) == ("no", "")


def test_the_advice_fits() -> None:
    run = replace(RUN, checkpointing="none", seq_len=32768, method="lora")
    found = judge_training(group("h100"), model=LLAMA, run=run)
    assert found.verdict == "no"
    assert found.advice == "--gradient-checkpointing"
    changed = replace(run, checkpointing="full")
    assert judge_training(group("h100"), model=LLAMA, run=changed).fits


def test_fewest_gpus_fall_with_the_stage() -> None:
    found = judge_training(group("rtx-4090"), model=LLAMA, run=RUN)
    ranks = dict(found.zero_ranks)
    # 16 GB of 16-bit weights and as many gradients are on every GPU up to stage 1.
    assert ranks[0] is None
    assert ranks[1] is None
    assert ranks[3] is not None
    least = ranks[3]
    usable = find("rtx-4090").usable_bytes
    for count, holds in ((least, True), (least - 1, False)):
        run = replace(RUN, parallel=Parallel(dp=count, zero=3))
        assert (training_estimate(LLAMA, run, "consumer").need_bytes <= usable) is holds


@pytest.mark.parametrize(
    ("method", "checkpointing", "each"),
    [("full", "none", 6), ("full", "full", 8), ("lora", "none", 4), ("lora", "full", 6)],
)
def test_step_time_is_operations_over_rate(method: str, checkpointing: str, each: int) -> None:
    """6 operations a parameter and token (arXiv:2001.08361) at 40 % of the H100's bf16 rate."""
    run = replace(RUN, method=method, checkpointing=checkpointing, micro_batch=8)
    gpu = find("h100-sxm")
    found = training_estimate(LLAMA, run)
    seconds = step_seconds(LLAMA, run, found, gpu)
    assert gpu.bf16_flops is not None
    expected = each * 8_030_261_248 * 8 * 2048 / (0.4 * gpu.bf16_flops)
    assert seconds == pytest.approx(expected)


@pytest.mark.parametrize(("micro_batches", "longer"), [(1, 4.0), (3, 2.0), (12, 1.25)])
def test_the_bubble_of_a_pipeline_takes_time(micro_batches: int, longer: float) -> None:
    """4 stages: (m + 3) / m (arXiv:2104.04473, section 2.2)."""
    card = find("h100-sxm")
    plain = replace(RUN, grad_accum=micro_batches, parallel=Parallel(dp=4))
    staged = replace(plain, parallel=Parallel(pp=4))
    found = training_estimate(LLAMA, plain)
    data_parallel = step_seconds(LLAMA, plain, found, card)
    pipeline = step_seconds(LLAMA, staged, found, card)
    assert data_parallel is not None
    # A quarter of the sequences on as many cards.
    assert pipeline == pytest.approx(data_parallel / 4 * longer)


def test_an_unknown_model_is_not_judged() -> None:
    model = model_of({"model_type": "mamba", "hidden_size": 64, "num_hidden_layers": 2})
    assert judge_training(group("h100"), model=model, run=RUN).verdict is None


def test_no_time_is_told_where_completions_are_generated_first() -> None:
    """A reference that scores adds a forward pass: 2 operations a parameter and token."""
    card = find("h100")
    run = TrainingRun(seq_len=1024)
    plain = step_seconds(LLAMA, run, training_estimate(LLAMA, run), card)
    pair = replace(run, objective="dpo")
    preferred = step_seconds(LLAMA, pair, training_estimate(LLAMA, pair), card)
    online = replace(run, objective="grpo")
    assert step_seconds(LLAMA, online, training_estimate(LLAMA, online), card) is None
    assert plain is not None
    assert preferred == pytest.approx(plain * 2 * 8 / 6)

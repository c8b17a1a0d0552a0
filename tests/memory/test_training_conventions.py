"""Other estimators on the examples that their authors print."""

from __future__ import annotations

import pytest

from hfmem.memory.training_conventions import (
    deepspeed_zero2,
    deepspeed_zero3,
    megatron_activations,
    megatron_states,
)
from hfmem.units import GIB

# DeepSpeed docs/code-docs/source/memory.rst: t5-3b on one node of 8 GPUs, "cold" runs.
T5_3B, T5_LAYER = 2_851_000_000, 32_000_000


@pytest.mark.parametrize(("offload", "host", "gpu"), [(True, 127.45, 5.31), (False, 127.45, 15.93)])
def test_zero2(offload: bool, host: float, gpu: float) -> None:
    found = deepspeed_zero2(parameters=T5_3B, gpus_per_node=8, offload=offload)
    assert round(found.gpu_bytes / GIB, 2) == gpu
    assert round(found.host_bytes / GIB, 2) == host


@pytest.mark.parametrize(
    ("offload", "zero_init", "host", "gpu"),
    [
        ("params", True, 71.69, 0.12),
        ("params", False, 127.45, 0.12),
        ("optimizer", True, 63.72, 0.78),
        ("optimizer", False, 127.45, 0.78),
        ("none", True, 1.43, 6.09),
        ("none", False, 127.45, 6.09),
    ],
)
def test_zero3(offload: str, zero_init: bool, host: float, gpu: float) -> None:
    found = deepspeed_zero3(
        parameters=T5_3B,
        largest_layer=T5_LAYER,
        gpus_per_node=8,
        offload=offload,
        zero_init=zero_init,
    )
    assert round(found.gpu_bytes / GIB, 2) == gpu
    assert round(found.host_bytes / GIB, 2) == host


@pytest.mark.parametrize(
    ("gpus", "offload", "gpu"),
    [
        (1, "params", 0.25),
        (1, "optimizer", 5.43),
        (1, "none", 46.91),
        (2, "optimizer", 2.84),
        (2, "none", 23.58),
    ],
)
def test_zero3_of_t0_3b(gpus: int, offload: str, gpu: float) -> None:
    """transformers docs, DeepSpeed: 2,783 M parameters, 65 M in the largest layer, both rounded."""
    found = deepspeed_zero3(
        parameters=2_783_000_000, largest_layer=65_000_000, gpus_per_node=gpus, offload=offload
    )
    assert found.gpu_bytes / GIB == pytest.approx(gpu, abs=0.02)


def test_megatron_states() -> None:
    assert megatron_states(parameters=1000) == 18_000
    assert megatron_states(parameters=1000, data_parallel=8, distributed=True) == 7_500


def test_megatron_layer_is_34_sbh() -> None:
    """Table 2 of arXiv:2205.05198: tensor, sequence parallelism and selective recomputation."""
    sizes = {"tokens": 2048, "micro_batch": 4, "hidden": 12288, "ffn": 4 * 12288, "vocab": 51200}
    one = megatron_activations(**sizes, layers=1, tp=8)
    two = megatron_activations(**sizes, layers=2, tp=8)
    assert two - one == 34 * 2048 * 4 * 12288 // 8

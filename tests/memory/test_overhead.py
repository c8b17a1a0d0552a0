"""Overhead: a figure with a range, by device and class of card."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hfmem.memory import overhead
from hfmem.memory.overhead import GpuClass
from hfmem.memory.workload import Device
from hfmem.units import GIB, MIB

DEVICES: tuple[Device, ...] = ("cuda", "rocm", "mps", "cpu")
CLASSES: tuple[GpuClass, ...] = ("consumer", "datacenter", "unknown")


@pytest.mark.parametrize(
    ("gpu_class", "seen"),
    [
        ("consumer", 107 * MIB),  # RTX 4060 Ti, ggml-org/llama.cpp#23604
        ("consumer", 300 * MIB),  # lazily loaded kernels, pytorch/pytorch#107667
        ("datacenter", 522 * MIB),  # 0.51 GiB, H100, llm-d-planner#205
        ("datacenter", 555 * MIB),  # RTX PRO 6000, ggml-org/llama.cpp#23604
    ],
)
def test_observed_contexts_lie_inside(gpu_class: GpuClass, seen: int) -> None:
    for name in (gpu_class, "unknown"):
        observed = overhead.CUDA_CONTEXT[name]
        assert observed.low <= seen <= observed.high


# vLLM on an H100 outside of its pool: 0.51 GiB at start and 0.13 to 0.25 GiB while it profiles.
@pytest.mark.parametrize("seen", [int(0.64 * GIB), int(0.76 * GIB)])
def test_observed_h100_total_lies_inside(seen: int) -> None:
    low, high = overhead.overhead(
        device="cuda", gpu_class="datacenter", weights_bytes=0, dynamic_bytes=0
    ).range_bytes
    assert low <= seen <= high


@given(st.sampled_from(DEVICES), st.sampled_from(CLASSES), st.integers(0, 2**45))
def test_is_ordered_and_adds_up(device: Device, gpu_class: GpuClass, size: int) -> None:
    term = overhead.overhead(
        device=device, gpu_class=gpu_class, weights_bytes=size, dynamic_bytes=size
    )
    low, high = term.range_bytes
    assert 0 < low <= term.bytes <= high
    assert term.bytes == sum(part.bytes for part in term.parts)


def test_the_host_has_no_driver_context() -> None:
    term = overhead.overhead(
        device="cpu", gpu_class="unknown", weights_bytes=GIB, dynamic_bytes=GIB
    )
    assert [part.name for part in term.parts] == ["libraries"]

"""The host's memory: what loading leaves there, by what transformers 5.23 was seen to do."""

from __future__ import annotations

import pytest

import hfmem
from hfmem.memory.host import while_loading, while_serving
from hfmem.model.describe import describe
from hfmem.model.model import Model
from hfmem.source.recorded import bundled

LLAMA = "meta-llama/Llama-3.1-8B-Instruct"
GPT_OSS = "openai/gpt-oss-20b"


def model(name: str) -> Model:
    snapshot = bundled(name)
    assert snapshot is not None
    return describe(snapshot)


# core_model_loading.py: _materialize_copy casts on the host, in a pool of four threads; on-the-fly
# quantization turns the pool off. 128,256 × 4,096 is the largest tensor.
@pytest.mark.parametrize(
    ("dtype", "quantized", "bytes_", "least"),
    [
        ("BF16", False, 0, 0),
        ("F32", False, 4 * 128_256 * 4096 * 4, 128_256 * 4096 * 4),
        ("F32", True, 128_256 * 4096 * 4, 128_256 * 4096 * 4),
    ],
)
def test_casts_are_on_their_way(dtype: str, quantized: bool, bytes_: int, least: int) -> None:
    found = while_loading(model(LLAMA), dtype=dtype, quantized=quantized)
    assert found is not None
    assert found.bytes == bytes_
    checkpoint = model(LLAMA).checkpoint_bytes or 0
    assert found.range_bytes == (least, bytes_ + checkpoint)


def test_packed_weights_are_not_cast() -> None:
    found = while_loading(model(GPT_OSS), dtype="BF16", quantized=False)
    assert found is not None
    assert found.bytes == 0


@pytest.mark.parametrize(("device", "known"), [("cuda", True), ("cpu", False), ("mps", False)])
def test_the_host_is_the_device(device: str, known: bool) -> None:
    found = hfmem.estimate(LLAMA, ctx=1024, device=device, source="recorded")
    assert (found.memory.host is not None) == known
    assert (found.to_dict()["host_bytes"] is not None) == known


def test_what_vllm_offloads_is_the_hosts() -> None:
    found = while_serving(model(LLAMA), offloaded=2**32)
    assert found is not None
    assert found.bytes == 2**32
    asked = hfmem.estimate(LLAMA, runtime="vllm", tp=2, cpu_offload_gb="4", source="recorded")
    assert asked.memory.host is not None
    assert asked.memory.host.bytes == 2 * 4 * 2**30

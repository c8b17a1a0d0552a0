"""Device maps, against what transformers' own infer_auto_device_map makes."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hfmem.checkpoint.snapshot import Snapshot
from hfmem.hardware.catalogue import parse_gpu
from hfmem.hardware.fit import judge
from hfmem.memory.offload import place
from hfmem.memory.weights import weights
from hfmem.memory.workload import Workload
from hfmem.model.describe import describe
from hfmem.model.model import Model
from hfmem.runtimes import RUNTIMES
from hfmem.source.recorded import bundled

GIB = 2**30
LLAMA: dict[str, object] = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "torch_dtype": "bfloat16",
    "hidden_size": 4096,
    "intermediate_size": 14336,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "vocab_size": 128256,
}
TIED: dict[str, object] = {
    "architectures": ["Qwen3ForCausalLM"],
    "model_type": "qwen3",
    "torch_dtype": "bfloat16",
    "hidden_size": 2560,
    "intermediate_size": 9728,
    "num_hidden_layers": 36,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "head_dim": 128,
    "vocab_size": 151936,
    "tie_word_embeddings": True,
}


def model(config: dict[str, object]) -> Model:
    return describe(
        Snapshot(
            model="a/test",
            revision=None,
            source="local",
            config=config,
            documents={},
            files=(),
            checkpoint=None,
        )
    )


@pytest.mark.parametrize(
    ("config", "budgets", "gpu_layers", "host_bytes"),
    # transformers 5.23 integrations/accelerate.py: infer_auto_device_map on the meta device, with
    # these budgets as max_memory and a host without limit.
    [
        (LLAMA, (2,), 0, 15_009_849_344),
        (LLAMA, (4,), 5, 12_828_729_344),
        (LLAMA, (8,), 14, 8_902_713_344),
        (LLAMA, (12,), 24, 4_540_473_344),
        (LLAMA, (15,), 32, 0),
        (LLAMA, (6, 6), 23, 4_976_697_344),
        (TIED, (4,), 16, 4_037_237_760),
        (TIED, (6,), 27, 1_816_759_808),
        (TIED, (3, 3), 26, 2_018_621_440),
    ],
    ids=str,
)
def test_as_transformers_places_it(
    config: dict[str, object], budgets: tuple[int, ...], gpu_layers: int, host_bytes: int
) -> None:
    found = model(config)
    held = weights(found.weights or (), dtype="BF16", model_type=found.model_type)
    placed = place(found, held, dtype="BF16", budgets=[GIB * one for one in budgets])
    assert placed is not None
    assert (placed.gpu_layers, placed.host_bytes) == (gpu_layers, host_bytes)
    assert placed.layers == config["num_hidden_layers"]


@given(st.lists(st.integers(0, 20 * GIB), min_size=1, max_size=4))
@settings(max_examples=30, deadline=None)
def test_nothing_is_lost_and_no_budget_is_passed(budgets: list[int]) -> None:
    found = model(LLAMA)
    held = weights(found.weights or (), dtype="BF16", model_type=found.model_type)
    placed = place(found, held, dtype="BF16", budgets=budgets)
    assert placed is not None
    assert placed.gpu_bytes + placed.host_bytes == held.bytes
    assert placed.gpu_bytes <= sum(budgets)


def test_the_verdict_offload_comes_with_a_map() -> None:
    snapshot = bundled("meta-llama/Llama-3.1-70B-Instruct")
    assert snapshot is not None
    found = describe(snapshot)
    runtime = RUNTIMES["transformers"]
    small = judge(parse_gpu("rtx-4090"), model=found, workload=Workload(ctx=2048), runtime=runtime)
    large = judge(parse_gpu("b200"), model=found, workload=Workload(ctx=2048), runtime=runtime)
    assert (small.verdict, large.verdict) == ("offload", "fits")
    assert large.offload is None
    assert small.offload is not None
    # 80 layers of 1.71 GB; 25 GB hold an embedding, a streamed layer, and some ten of them.
    assert 8 <= small.offload.gpu_layers <= 12
    assert small.offload.gpu_bytes + small.offload.host_bytes == 141_107_412_992

"""Mistral's and Meta's own configurations, by the published parameters of their models."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from hfmem.checkpoint.native_params import config_of
from hfmem.checkpoint.snapshot import Snapshot
from hfmem.errors import HfmemError
from hfmem.model.describe import describe

# As published beside the weights.
MISTRAL_7B: dict[str, object] = {
    "dim": 4096,
    "n_layers": 32,
    "head_dim": 128,
    "hidden_dim": 14336,
    "n_heads": 32,
    "n_kv_heads": 8,
    "norm_eps": 1e-05,
    "vocab_size": 32768,
    "rope_theta": 1000000.0,
}
MIXTRAL = {**MISTRAL_7B, "vocab_size": 32000, "moe": {"num_experts_per_tok": 2, "num_experts": 8}}
LLAMA_31_8B: dict[str, object] = {
    "dim": 4096,
    "n_layers": 32,
    "n_heads": 32,
    "n_kv_heads": 8,
    "vocab_size": 128256,
    "ffn_dim_multiplier": 1.3,
    "multiple_of": 1024,
    "norm_eps": 1e-05,
    "rope_theta": 500000.0,
    "use_scaled_rope": True,
}
LLAMA_2_7B: dict[str, object] = {
    "dim": 4096,
    "multiple_of": 256,
    "n_heads": 32,
    "n_layers": 32,
    "norm_eps": 1e-05,
    "vocab_size": -1,
}


def described(params: Mapping[str, object]) -> Any:
    config = config_of(params)
    assert config is not None
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
    ("params", "parameters", "kv_heads"),
    [
        (MISTRAL_7B, 7_248_023_552, 8),
        (MIXTRAL, 46_702_792_704, 8),
        (LLAMA_31_8B, 8_030_261_248, 8),
        (LLAMA_2_7B, 6_738_415_616, 32),
    ],
)
def test_published_parameters(params: Mapping[str, object], parameters: int, kv_heads: int) -> None:
    model = described(params)
    assert model.parameters is not None
    assert model.parameters.total == parameters
    assert (len(model.decoder.layers), model.decoder.kv_heads) == (32, kv_heads)


@pytest.mark.parametrize(
    "params",
    [
        {},
        {"dim": 4096},
        {**MISTRAL_7B, "kv_lora_rank": 512},
        {**MISTRAL_7B, "moe": {"num_experts": 8}},
        {name: value for name, value in MISTRAL_7B.items() if name != "hidden_dim"},
        {**LLAMA_2_7B, "multiple_of": 0},
        {**LLAMA_2_7B, "dim": "4096"},
        {**LLAMA_2_7B, "ffn_dim_multiplier": float("inf")},
    ],
)
def test_what_is_more_or_lacks_a_size_is_not_told(params: Mapping[str, object]) -> None:
    assert config_of(params) is None


@pytest.mark.parametrize("value", [-1, 0, 2**70, "x", [1], 1.5, True])
@pytest.mark.parametrize("name", ["dim", "n_layers", "n_heads", "vocab_size", "head_dim"])
def test_hostile_values_are_one_error_or_unknown(name: str, value: object) -> None:
    if (name, value) == ("head_dim", 0):
        # No class says what it would be: the weights are unknown.
        assert described({**MISTRAL_7B, name: value}).weights is None
        return
    with pytest.raises(HfmemError) as caught:
        described({**MISTRAL_7B, name: value})
    assert "\n" not in caught.value.message

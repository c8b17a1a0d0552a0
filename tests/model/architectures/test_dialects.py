"""Configurations of types that nobody described, in the spellings that families have used.

The layers follow from what each key means in the family that it comes from; the sizes are those of
the table's own configuration: 16 heads of 64, 4 of them for keys and values.
"""

from __future__ import annotations

import pytest

from hfmem.errors import HfmemError, InvalidValueError, UnsupportedArchitectureError
from hfmem.model.architectures import layers
from hfmem.model.config import read
from hfmem.model.layers import ChunkedAttention, FullAttention, SlidingWindow

PLAIN: dict[str, object] = {
    "model_type": "nobody_knows_it",
    "hidden_size": 1024,
    "num_hidden_layers": 4,
    "num_attention_heads": 16,
    "num_key_value_heads": 4,
}
SPELLED = {
    "model_type": "nobody_knows_it",
    "dim": 1024,
    "n_layers": 4,
    "n_heads": 16,
}


def drawn(config: dict[str, object]) -> str:
    """One letter a layer: F full, S sliding, C chunked; and the heads where they are not 4."""
    letters = {FullAttention: "F", SlidingWindow: "S", ChunkedAttention: "C"}
    shown = ""
    for (kind,) in layers(read(config)).layers:
        assert isinstance(kind, FullAttention | SlidingWindow | ChunkedAttention)
        assert kind.head_dim == 64
        shown += letters[type(kind)] + ("" if kind.kv_heads == 4 else str(kind.kv_heads))
    return shown


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        (PLAIN, "FFFF"),
        ({**PLAIN, "model_type": None}, "FFFF"),
        ({**PLAIN, "head_dim": None}, "FFFF"),
        ({**PLAIN, "head_dim": 0}, "FFFF"),
        ({**PLAIN, "hidden_size": 1024.0}, "FFFF"),
        ({**PLAIN, "num_key_value_heads": None}, "F16F16F16F16"),
        # Mistral's params.json, GPT-2, ChatGLM, MPT and DBRX, GPT-BigCode, OpenELM.
        ({**SPELLED, "n_kv_heads": 4}, "FFFF"),
        ({"n_embd": 1024, "n_layer": 4, "n_head": 16, "n_head_kv": 4}, "FFFF"),
        ({**SPELLED, "multi_query_group_num": 4}, "FFFF"),
        ({**SPELLED, "attn_config": {"kv_n_heads": 4}}, "FFFF"),
        ({**SPELLED, "multi_query": True}, "F1F1F1F1"),
        ({**PLAIN, "num_key_value_heads": [4, 4, 2, 2]}, "FFF2F2"),
        # Wrappers, with and without a type of their own.
        ({"model_type": "wrapper", "text_config": PLAIN}, "FFFF"),
        ({"model_type": "wrapper", "llm_config": PLAIN}, "FFFF"),
        ({"model_type": "wrapper", "text_config": {**PLAIN, "model_type": None}}, "FFFF"),
        ({"model_type": "wrapper", "thinker_config": {"text_config": PLAIN}}, "FFFF"),
        ({**PLAIN, "text_config": "somebody/else"}, "FFFF"),
        # Windows: bare (Mistral), switched (Qwen2), a period (Gemma 3), letters (EXAONE 4), a list.
        ({**PLAIN, "sliding_window": 9}, "SSSS"),
        ({**PLAIN, "sliding_window": None}, "FFFF"),
        ({**PLAIN, "sliding_window": 9, "use_sliding_window": False}, "FFFF"),
        ({**PLAIN, "sliding_window": 9, "use_sliding_window": True,
          "max_window_layers": 3}, "FFFS"),
        ({**PLAIN, "sliding_window": 9, "sliding_window_pattern": 2}, "SFSF"),
        ({**PLAIN, "sliding_window": 9, "sliding_window_pattern": "LLLG"}, "SSSF"),
        ({**PLAIN, "sliding_window": 9,
          "layer_types": ["full_attention", "sliding_attention"] * 2}, "FSFS"),
        # Chunks (Llama 4): 1 rotates and is chunked, 0 is full.
        ({**PLAIN, "attention_chunk_size": 9, "no_rope_layers": [1, 1, 1, 0]}, "CCCF"),
        ({**PLAIN, "attention_chunk_size": 9}, "CCCC"),
    ],
)  # fmt: skip
def test_spellings(config: dict[str, object], expected: str) -> None:
    assert drawn(config) == expected


@pytest.mark.parametrize(
    ("changed", "error"),
    [
        ({"sliding_window": 9, "sliding_window_pattern": [1, 0]}, UnsupportedArchitectureError),
        ({"sliding_window": 9, "sliding_window_pattern": "LLX"}, UnsupportedArchitectureError),
        ({"sliding_window": 9, "global_attn_every_n_layers": 3}, UnsupportedArchitectureError),
        ({"layer_types": ["full_attention"]}, InvalidValueError),
        ({"layer_types": ["quantum_attention"] * 4}, UnsupportedArchitectureError),
        ({"num_key_value_heads": [4, 4]}, InvalidValueError),
        ({"num_key_value_heads": list(range(1, 200))}, InvalidValueError),
        ({"num_key_value_heads": [4, 4, 0, 4]}, InvalidValueError),
        ({"kv_lora_rank": 512}, UnsupportedArchitectureError),
        ({"num_kv_shared_layers": 2}, UnsupportedArchitectureError),
        ({"full_attention_interval": 4}, UnsupportedArchitectureError),
        ({"is_encoder_decoder": True}, UnsupportedArchitectureError),
    ],
)
def test_what_cannot_be_read_is_refused(
    changed: dict[str, object], error: type[HfmemError]
) -> None:
    with pytest.raises(error):
        layers(read({**PLAIN, **changed}))


def test_the_generic_rule_says_that_it_is_one() -> None:
    found = layers(read(PLAIN))
    assert found.resolved_by == "generic"
    assert [note.code for note in found.notes] == ["generic_architecture"]

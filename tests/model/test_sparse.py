"""Which attention is sparse, in words: counts of layers as the models' papers and configurations
give them."""

from __future__ import annotations

import pytest

from hfmem.model.sparse import sparse_attention
from tests.memory.training_models import LLAMA_8B, model_of

GEMMA3 = {
    **LLAMA_8B,
    "model_type": "gemma3_text",
    "architectures": ["Gemma3ForCausalLM"],
    "num_hidden_layers": 12,
    "sliding_window": 1024,
}


@pytest.mark.parametrize(
    ("config", "says"),
    [
        (LLAMA_8B, "not applicable"),
        (GEMMA3, "10 of 12 layers have a sliding window"),
    ],
)
def test_words(config: dict[str, object], says: str) -> None:
    assert says in sparse_attention(model_of(config))

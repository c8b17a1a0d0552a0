"""Models from configurations alone, for the tests of training."""

from __future__ import annotations

from hfmem.checkpoint.snapshot import Snapshot
from hfmem.model.describe import describe
from hfmem.model.model import Model

LLAMA_8B: dict[str, object] = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_size": 4096,
    "intermediate_size": 14336,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "vocab_size": 128256,
    "max_position_embeddings": 131072,
    "tie_word_embeddings": False,
    "dtype": "bfloat16",
}
QWEN2_7B: dict[str, object] = {
    **LLAMA_8B,
    "architectures": ["Qwen2ForCausalLM"],
    "model_type": "qwen2",
    "hidden_size": 3584,
    "intermediate_size": 18944,
    "num_hidden_layers": 28,
    "num_attention_heads": 28,
    "num_key_value_heads": 4,
    "vocab_size": 152064,
}


def model_of(config: dict[str, object], *, name: str = "test/model") -> Model:
    """A model that only its configuration describes."""
    return describe(
        Snapshot(
            model=name,
            revision=None,
            source="local",
            config=config,
            documents={},
            files=(),
            checkpoint=None,
        )
    )

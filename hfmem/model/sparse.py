"""Whether an architecture attends to a part of its tokens only, in words."""

from __future__ import annotations

from hfmem.model.layers import (
    ChunkedAttention,
    CompressedAttention,
    FullAttention,
    LatentAttention,
    SlidingWindow,
)
from hfmem.model.model import Model


def sparse_attention(model: Model) -> str:
    """What of a model's attention is sparse, and that it is counted already.

    Gemma-3-27B: 52 of 62 layers have a sliding window; Llama-3.1-8B has none.
    """
    layers = model.decoder.layers
    if not layers:
        return "Sparse attention: this model's layers are not known."
    counts = {"a sliding window": 0, "chunks": 0, "an indexer": 0, "compressed keys": 0}
    for layer in layers:
        for kind in layer:
            match kind:
                case SlidingWindow():
                    counts["a sliding window"] += 1
                case ChunkedAttention():
                    counts["chunks"] += 1
                case CompressedAttention():
                    counts["compressed keys"] += 1
                case LatentAttention() | FullAttention() if kind.indexer_dim:
                    counts["an indexer"] += 1
                case _:
                    pass
    found = [
        f"{count} of {len(layers)} layers have {name}" for name, count in counts.items() if count
    ]
    if not found:
        return (
            "Sparse attention is not applicable: every layer of this architecture attends to all "
            "tokens, and a switch does not change that."
        )
    return f"Sparse attention is the architecture's own: {', '.join(found)}; it is counted already."

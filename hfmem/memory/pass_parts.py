"""What lives through a whole forward pass of transformers, and its instants outside of layers."""

from __future__ import annotations

from hfmem.memory.instants import TRANSFORMERS, Instant, Part, Step, part
from hfmem.model.forward_shapes import ForwardPass


def inputs(forward: ForwardPass, step: Step) -> tuple[Part, ...]:
    """Token ids or pixels, the rope tables and learned positions, from the first layer to the last.

    Llama-3.1-8B, one sequence of 8,192 tokens in bf16: 131,072 bytes of ids and positions, and
    4,194,304 of cosine and sine (8,192 × 256 × 2).
    """
    ids = Part(
        name="token ids",
        bytes=8 * step.queries * (step.batch + 1),
        what=f"8 bytes × {step.queries:,} × {step.batch + 1}: int64 ids, and their positions",
    )
    width = 4 if forward.rope_fp32 else step.width
    rope = part("rope tables", step.queries, forward.rope_elements, width, "cosine and sine")
    width = forward.hidden if forward.position_embeddings else 0
    learned = part("position embeddings", step.queries, width, step.width, "one row a position")
    pixels = part("pixel values", step.rows, forward.pixels, step.width, "of each patch")
    return (pixels, rope, learned) if forward.pixels else (ids, rope, learned)


def per_layer_inputs(forward: ForwardPass, step: Step) -> tuple[Part, ...]:
    """The embeddings that a model has for each of its layers (Gemma 3n, Gemma 4); () without."""
    if not forward.per_layer_inputs:
        return ()
    each = forward.per_layer_copies * forward.per_layer_inputs
    return (part("per-layer inputs", step.rows, each, step.width, "all layers' own embeddings"),)


def per_layer_projection(forward: ForwardPass, step: Step) -> Instant:
    """models/gemma4/modeling_gemma4.py: project_per_layer_inputs, before any layer runs."""
    width = forward.per_layer_inputs
    return Instant(
        name="per-layer inputs",
        parts=(
            part("per-layer inputs", step.rows, 2 * width, step.width, "embeddings, projection"),
            part("per-layer norm", step.rows, 2 * width, 4, "fp32 copy and product"),
            part("residual stream", step.rows, forward.hidden, step.width, "embeddings"),
        ),
    )


def logits(forward: ForwardPass, step: Step, rows: int) -> Instant:
    """generation/utils.py: _sample copies the last row to fp32 while the logits live."""
    vocab = forward.vocab
    each = rows * step.batch
    copies = forward.logits_copies
    return Instant(
        name="logits",
        parts=(
            part("residual stream", step.rows, forward.hidden, step.width, "last hidden state"),
            part("logits", each, copies * vocab, step.width, f"{copies} of the vocabulary"),
            part(
                "sampling",
                step.batch,
                vocab,
                4,
                "fp32 copy of the last row",
                source=f"{TRANSFORMERS} generation/utils.py: _sample",
            ),
        ),
    )

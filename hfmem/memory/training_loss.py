"""What the output head and the loss hold: the logits chain, forward and backward."""

from __future__ import annotations

from typing import assert_never

from msgspec import Struct

from hfmem.memory.training_run import Loss

CHUNKS = 8
"""torchtune 0.6 modules/loss/ce_chunked_output_loss.py: num_output_chunks."""
LIGER_SOURCE = "liger-kernel ops/fused_linear_cross_entropy.py"


class LossBytes(Struct, frozen=True, kw_only=True):
    """Bytes of the chain at its instants."""

    forward: int
    """At the loss, while logits and their copies are alive."""
    kept: int
    """From there to the backward pass."""
    backward: int
    """When the gradient of the logits is computed."""
    after: int
    """While the head's own gradients are computed."""
    because: str
    source: str


def loss_bytes(
    loss: Loss, *, rows: int, vocab: int, hidden: int, width: int, capped: bool, head_trained: bool
) -> LossBytes:
    """The chain of a causal language model's loss over ``rows`` tokens.

    Standard in bf16: 10 bytes a token and vocabulary entry forward (logits, fp32 copy,
    log-softmax), 12 backward (log-softmax and two fp32 gradients): 2,048 tokens of 128,256 entries
    are 2,626,682,880 and 3,152,019,456 bytes. ``capped`` is where a tanh caps the logits, which
    keeps its result.
    """
    cells = rows * vocab
    match loss:
        case "standard":
            upcast = 4 if width < 4 else 0
            tanh = width if capped else 0
            return LossBytes(
                forward=cells * (width + upcast + 4 + tanh),
                kept=cells * (4 + tanh),
                backward=cells * (12 + tanh),
                after=cells * (width + tanh),
                because=f"{rows:,} tokens × {vocab:,} × (logits {width}, fp32 copy {upcast}, "
                f"log-softmax 4{f', tanh {tanh}' if tanh else ''}) bytes; backward 4 + 4 + 4",
                source="transformers 5.23 loss/loss_utils.py: ForCausalLMLoss",
            )
        case "chunked":
            piece = -(-rows // CHUNKS) * vocab
            return LossBytes(
                forward=piece * (width + 8),
                kept=0,
                backward=piece * (width + 12),
                after=piece * width,
                because=f"{CHUNKS} pieces of {-(-rows // CHUNKS):,} tokens × {vocab:,}, computed "
                "again in the backward pass",
                source="torchtune 0.6 modules/loss/cross_entropy_loss.py: "
                "LinearCrossEntropyLoss, 8 chunks",
            )
        case "fused":
            chunk = liger_chunk(rows=rows, vocab=vocab, hidden=hidden)
            gradient = rows * hidden * width + (vocab * hidden * width if head_trained else 0)
            return LossBytes(
                forward=chunk * vocab * (width + 4) + gradient,
                kept=gradient,
                backward=gradient,
                after=gradient,
                because=f"{chunk:,} of {rows:,} tokens × {vocab:,} at a time; the gradient of the "
                "hidden states is kept" + (", the head's too" if head_trained else ""),
                source=LIGER_SOURCE,
            )
        case _:
            assert_never(loss)


def liger_chunk(*, rows: int, vocab: int, hidden: int) -> int:
    """Tokens of a piece: as much logits memory as the hidden states take, a power of two.

    ``liger_chunk(rows=4096, vocab=128_256, hidden=4096) == 128``.
    """
    pieces = -(-vocab // hidden)
    return min(rows, 1 << max(0, -(-rows // pieces) - 1).bit_length())

"""What the output head and the loss hold: the logits chain, forward and backward."""

from __future__ import annotations

from typing import assert_never

from msgspec import Struct

from hfmem.memory.training_run import Loss

CHUNKS = 8
"""torchtune 0.6 modules/loss/ce_chunked_output_loss.py: num_output_chunks."""
TILE_TOKENS, TILE_VOCABULARY = 4_096, 32_768
TILED_SOURCE = (
    "trl 1.16 kernels/chunked_logprob.py: TOKEN_CHUNK_SIZE, trainer/utils.py: add_fused_lm_head"
)
LIGER_SOURCE = "liger-kernel 0.8.2 ops/fused_linear_cross_entropy.py"


class LossBytes(Struct, frozen=True, kw_only=True):
    """Bytes of the chain at its instants."""

    forward: int
    """At the loss, while logits and their copies are alive."""
    kept: int
    """From there to the backward pass, beside what the next two count."""
    backward: int
    """When the gradient of the logits is computed."""
    after: int
    """While the head's own gradients are computed."""
    because: str
    source: str
    held: int = 0
    """Of it, to the end of the backward pass."""


def loss_bytes(
    loss: Loss,
    *,
    rows: int,
    vocab: int,
    hidden: int,
    width: int,
    capped: bool,
    head_trained: bool,
    narrow: bool = False,
    tiled: bool = False,
    weight_cast: bool = False,
    stream: int = 2,
) -> LossBytes:
    """The chain of a causal language model's loss over ``rows`` tokens.

    Standard in bf16: 10 bytes a token and vocabulary entry forward (logits, fp32 copy,
    log-softmax), 12 backward (log-softmax and two fp32 gradients): 2,048 tokens of 128,256 entries
    are 2,626,682,880 and 3,152,019,456 bytes. ``capped`` is where a tanh caps the logits, which
    keeps its result; ``narrow`` where all of it stays in the logits' own type.
    """
    match loss:
        case "standard":
            return _standard(rows=rows, vocab=vocab, width=width, capped=capped, narrow=narrow)
        case "chunked" if tiled:
            return _tiled(
                rows=rows,
                vocab=vocab,
                hidden=hidden,
                width=width,
                head_trained=head_trained,
                weight_cast=weight_cast,
                stream=stream,
            )
        case "chunked":
            return _chunked(rows=rows, vocab=vocab, width=width)
        case "fused":
            return _fused(
                rows=rows,
                vocab=vocab,
                hidden=hidden,
                width=width,
                head_trained=head_trained,
                weight_cast=weight_cast,
                stream=stream,
            )
        case _:
            assert_never(loss)


def _standard(*, rows: int, vocab: int, width: int, capped: bool, narrow: bool) -> LossBytes:
    """All logits, their fp32 copy and its log-softmax."""
    cells = rows * vocab
    upcast = 4 if width < 4 and not narrow else 0
    soft = width if narrow else 4
    tanh = width if capped else 0
    return LossBytes(
        forward=cells * (width + upcast + soft + tanh),
        kept=cells * (soft + tanh),
        backward=cells * (3 * soft + tanh),
        after=cells * (width + tanh),
        because=f"{rows:,} tokens × {vocab:,} × (logits {width}, fp32 copy {upcast}, "
        f"log-softmax {soft}{f', tanh {tanh}' if tanh else ''}) bytes; backward 3 × {soft}",
        source="torch.nn.CrossEntropyLoss over the logits as they are"
        if narrow
        else "transformers 5.23 loss/loss_utils.py: ForCausalLMLoss",
    )


def _chunked(*, rows: int, vocab: int, width: int) -> LossBytes:
    """Pieces of the sequence, computed again in the backward pass."""
    tokens = -(-rows // CHUNKS)
    piece = tokens * vocab
    return LossBytes(
        forward=piece * (width + 8),
        kept=0,
        backward=piece * (width + 12),
        after=piece * width,
        because=f"{CHUNKS} pieces of {tokens:,} tokens × {vocab:,}, computed again in the backward "
        "pass",
        source="torchtune 0.6 modules/loss/cross_entropy_loss.py: LinearCrossEntropyLoss, 8 chunks",
    )


def liger_chunk(*, rows: int, vocab: int, hidden: int) -> int:
    """Tokens of a piece: as much logits memory as the hidden states take, a power of two.

    ``liger_chunk(rows=4096, vocab=128_256, hidden=4096) == 128``.
    """
    pieces = -(-vocab // hidden)
    return min(rows, 1 << max(0, -(-rows // pieces) - 1).bit_length())


_STATISTICS = 7
"""fp32 numbers a token: maximum, sums of the soft-max, its entropy and squares, the target's."""


def _tiled(
    *,
    rows: int,
    vocab: int,
    hidden: int,
    width: int,
    head_trained: bool,
    weight_cast: bool,
    stream: int,
) -> LossBytes:
    """TRL's fused head: one tile of logits at a time, the gradients of the product in fp32.

    8,192 tokens, 128,256 entries of 4,096 in bf16: a tile of 4,096 × 32,768 × 2 = 268,435,456 bytes
    forward; backward the gradients of the hidden states, 134,217,728, and of the head,
    2,101,346,304, beside it.
    """
    columns = min(vocab, TILE_VOCABULARY)
    tile = min(rows, TILE_TOKENS) * columns * width
    tile += columns * hidden * width if weight_cast else 0
    kept = rows * hidden * stream + 4 * 3 * rows
    gradients = 4 * rows * hidden + (4 * vocab * hidden if head_trained else 0)
    return LossBytes(
        forward=tile + 4 * _STATISTICS * rows,
        kept=kept,
        backward=tile + gradients,
        after=gradients,
        because=f"tiles of {min(rows, TILE_TOKENS):,} tokens × {columns:,} of {vocab:,} entries × "
        f"{width}; in the backward pass fp32 gradients of {rows:,} × {hidden:,} hidden states"
        + (f" and of the head's {vocab:,} × {hidden:,}" if head_trained else ""),
        source=TILED_SOURCE,
    )


def ppo_loss_bytes(
    *, rows: int, completion_rows: int, vocab: int, width: int, converted: bool
) -> LossBytes:
    """PPO's chain: the policy returns all logits, which live until the micro-batch is over.

    ``converted`` is where accelerate makes an fp32 copy of what a mixed-precision model returns.
    1,024 tokens of which 512 are generated, 128,256 entries, converted: 525,336,576 bytes held.
    """
    each = 4 if converted else width
    held = rows * vocab * each
    kept = 0 if each == 4 else completion_rows * vocab * width
    gradients = (2 * completion_rows + rows) * vocab * each
    return LossBytes(
        forward=held + kept + (rows * vocab * width if converted else 0),
        kept=0,
        backward=held + kept + gradients,
        after=held + rows * vocab * width,
        held=held,
        because=f"{rows:,} tokens × {vocab:,} × {each} bytes to the end of the micro-batch, and "
        f"the gradients of {completion_rows:,} generated ones",
        source="trl 1.12 experimental/ppo/ppo_trainer.py: PPOTrainer.train",
    )


def _fused(
    *,
    rows: int,
    vocab: int,
    hidden: int,
    width: int,
    head_trained: bool,
    weight_cast: bool,
    stream: int,
) -> LossBytes:
    """Liger's: the gradients are computed in the forward pass, a piece at a time.

    Logits become their own gradient in place. The head's is in the type of its weight: a 16-bit one
    is added to by way of a product and its fp32 copy, an fp32 one in place, after a 16-bit copy of
    the weight. 4,096 tokens, 128,256 entries of 4,096 in bf16, trained: pieces of 128 tokens are
    32,833,536 bytes, the gradients 33,554,432 and 1,050,673,152, beside them 3,152,019,456.
    """
    chunk = liger_chunk(rows=rows, vocab=vocab, hidden=hidden)
    matrix = vocab * hidden
    weight = 4 if weight_cast else width
    gradient = rows * hidden * stream + (matrix * weight if head_trained else 0)
    beside = 0
    if weight_cast:
        beside = matrix * width
    elif head_trained:
        beside = matrix * (width + (4 if width < 4 else 0))
    told = "; the gradient of the hidden states is kept" + (
        ", the head's too" if head_trained else ""
    )
    if beside:
        told += f"; {beside:,} bytes of the head's shape while a piece is computed"
    return LossBytes(
        forward=chunk * vocab * width + gradient + beside,
        kept=0,
        backward=gradient,
        after=gradient,
        because=f"{chunk:,} of {rows:,} tokens × {vocab:,} × {width} at a time{told}",
        source=LIGER_SOURCE,
    )

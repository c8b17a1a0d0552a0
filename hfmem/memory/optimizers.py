"""What each optimizer keeps for a parameter and what its step holds for a moment."""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import Literal

from msgspec import Struct

from hfmem.errors import UsageError

Shape = tuple[int, ...]
StepKind = Literal["fused", "foreach", "single"]
"""fused: one kernel that holds nothing. foreach: temporaries for all parameters at once. single:
for one parameter after the other."""


class Optimizer(Struct, frozen=True, kw_only=True):
    """An optimizer as its library implements it."""

    name: str
    state: Callable[[Shape, int], int]
    """Bytes kept for a parameter of a shape whose elements take so many bytes."""
    step: StepKind
    temporaries: int = 0
    """Tensors of the parameter's size and type that a step holds beside gradients and states."""
    temporary_bytes: int | None = None
    """Bytes of a temporary's element; None is the parameter's own."""
    embeddings_32bit: bool = False
    """The trainer keeps 32-bit states for embeddings (transformers 5.23 trainer.py)."""
    embedding_state: Callable[[Shape, int], int] | None = None
    """Where embeddings and the head are given to another optimizer."""
    paged: bool = False
    """States lie in unified memory and move to the host under pressure."""
    source: str

    @property
    def library(self) -> str:
        """Who implements it: ``torch``, ``bitsandbytes``, ``transformers``, or a paper's number."""
        return self.source.split()[0].rstrip(":")


def _in_type(copies: int) -> Callable[[Shape, int], int]:
    """States like the parameter itself: ``torch.zeros_like(p)``."""
    return lambda shape, width: copies * width * prod(shape)


def _in_fp32(copies: int) -> Callable[[Shape, int], int]:
    return lambda shape, _: 4 * copies * prod(shape)


_BLOCK, _SMALLEST = 256, 4096


def _in_8bit(copies: int, *, fp32_copies: int | None = None) -> Callable[[Shape, int], int]:
    """bitsandbytes: a byte an element and an fp32 absmax a block of 256; fp32 below 4,096
    elements."""

    def size(shape: Shape, _width: int) -> int:
        elements = prod(shape)
        if elements < _SMALLEST:
            return 4 * (fp32_copies or copies) * elements
        return copies * (elements + 4 * -(-elements // _BLOCK))

    return size


def _adafactor(shape: Shape, _width: int) -> int:
    """A row and a column of fp32 for a matrix, all of it for a vector (no first moment)."""
    if len(shape) < 2:
        return 4 * prod(shape)
    return 4 * prod(shape[:-2]) * (shape[-2] + shape[-1])


def _muon(shape: Shape, width: int) -> int:
    """Momentum for a matrix; AdamW's two moments for what is none."""
    return (1 if len(shape) == 2 else 2) * width * prod(shape)


_GALORE_RANK = 128


def _galore(shape: Shape, width: int) -> int:
    """Two moments of the projected gradient [rank, n] and the projector [m, rank], m ≤ n."""
    if len(shape) != 2:
        return 2 * width * prod(shape)
    small, large = sorted(shape)
    rank = min(_GALORE_RANK, small)
    return width * (2 * rank * large + rank * small)


_TORCH = "torch 2.13 optim/"
_BNB = "bitsandbytes 0.50 optim/optimizer.py: blocks of 256, tensors below 4,096 elements in fp32"

OPTIMIZERS: tuple[Optimizer, ...] = (
    Optimizer(
        name="adamw",
        state=_in_type(2),
        step="fused",
        source=f"{_TORCH}adamw.py, fused=True: the default of transformers 5.23",
    ),
    Optimizer(
        name="adamw-foreach",
        state=_in_type(2),
        step="foreach",
        temporaries=1,
        source=f"{_TORCH}adam.py: _multi_tensor_adam holds the square roots of all second moments",
    ),
    Optimizer(
        name="adamw-single",
        state=_in_type(2),
        step="single",
        temporaries=2,
        source=f"{_TORCH}adam.py: _single_tensor_adam",
    ),
    Optimizer(
        name="adamw-8bit",
        state=_in_8bit(2),
        step="fused",
        embeddings_32bit=True,
        embedding_state=_in_fp32(2),
        source=_BNB,
    ),
    Optimizer(
        name="paged-adamw-8bit",
        state=_in_8bit(2),
        step="fused",
        embeddings_32bit=True,
        embedding_state=_in_fp32(2),
        paged=True,
        source=_BNB,
    ),
    Optimizer(
        name="paged-adamw",
        state=_in_fp32(2),
        step="fused",
        paged=True,
        source="bitsandbytes 0.50 optim/adamw.py: PagedAdamW, fp32 states",
    ),
    Optimizer(
        name="adafactor",
        state=_adafactor,
        step="single",
        temporaries=3,
        temporary_bytes=4,
        source="transformers 5.23 optimization.py: Adafactor without beta1, one parameter at a "
        "time in fp32",
    ),
    Optimizer(
        name="lion",
        state=_in_fp32(1),
        step="fused",
        source="bitsandbytes 0.50 optim/lion.py: fp32 state",
    ),
    Optimizer(
        name="lion-8bit",
        state=_in_8bit(1),
        step="fused",
        embeddings_32bit=True,
        embedding_state=_in_fp32(1),
        source=_BNB,
    ),
    Optimizer(
        name="sgd",
        state=lambda _shape, _width: 0,
        step="foreach",
        source=f"{_TORCH}sgd.py: momentum 0 keeps nothing",
    ),
    Optimizer(
        name="sgd-momentum",
        state=_in_type(1),
        step="foreach",
        source=f"{_TORCH}sgd.py: _multi_tensor_sgd updates in place",
    ),
    Optimizer(
        name="adagrad",
        state=_in_type(1),
        step="foreach",
        temporaries=2,
        source=f"{_TORCH}adagrad.py: _multi_tensor_adagrad holds a root and a numerator",
    ),
    Optimizer(
        name="rmsprop",
        state=_in_type(1),
        step="foreach",
        temporaries=1,
        source=f"{_TORCH}rmsprop.py: _multi_tensor_rmsprop holds the roots",
    ),
    Optimizer(
        name="muon",
        state=_muon,
        step="single",
        temporaries=3,
        embedding_state=_in_type(2),
        source=f"{_TORCH}_muon.py for matrices; embeddings, head and vectors stay with AdamW, as "
        "its documentation asks",
    ),
    Optimizer(
        name="galore",
        state=_galore,
        step="single",
        temporaries=3,
        temporary_bytes=4,
        source=f"arXiv:2403.03507: moments of the gradient projected to rank {_GALORE_RANK}",
    ),
    Optimizer(
        name="ademamix",
        state=_in_fp32(3),
        step="fused",
        source="bitsandbytes 0.50 optim/ademamix.py: two first moments and a second in fp32",
    ),
)
_BY_NAME = {optimizer.name: optimizer for optimizer in OPTIMIZERS}
OPTIMIZER_NAMES = tuple(_BY_NAME)


def optimizer(name: str) -> Optimizer:
    """The optimizer of a name. Raises UsageError.

    ``optimizer("adamw").state((4096, 1024), 2) == 16_777_216``.
    """
    found = _BY_NAME.get(name)
    if found is None:
        raise UsageError(
            f"There is no optimizer {name!r:.60}.", hint=f"Choose one of: {', '.join(_BY_NAME)}."
        )
    return found

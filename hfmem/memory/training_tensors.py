"""The vocabulary of the saved tensors: how a pass saves, and what one saved tensor is."""

from __future__ import annotations

from msgspec import Struct
from msgspec.structs import replace

from hfmem.memory.workload import Attention
from hfmem.model.backward_families import Backward, ScanEnd
from hfmem.model.forward_shapes import Attention as AttentionShape


class Saved(Struct, frozen=True, kw_only=True):
    """A tensor that lives from the forward to the backward pass."""

    name: str
    bytes: int
    because: str
    inner: bool
    """Tensor parallelism splits it: heads, MLP columns. What it does not split, sequence
    parallelism does."""

    def on_rank(self, *, tp: int, sp: bool) -> int:
        """Bytes on one tensor-parallel rank."""
        return -(-self.bytes // tp) if self.inner or sp else self.bytes


class Crossing(Struct, frozen=True, kw_only=True):
    """The attention of every layer to an encoder's output."""

    attention: AttentionShape
    tokens: int
    """Of one sequence, in the encoder."""


class Saving(Struct, frozen=True, kw_only=True):
    """How a pass saves: sizes, types, and which weights want a gradient."""

    hidden: int
    sequences: int
    tokens: int
    """Of one sequence."""
    width: int
    """Bytes of an element of what products give."""
    kernel: int
    """Bytes of an element of what the attention kernel is given."""
    stream: int
    """Bytes of an element between the layers: fp32 under autocast over fp32 weights."""
    attention: Attention
    backward: Backward
    frozen: bool
    """The layers' own weights want no gradient."""
    cast_bytes: int | None = None
    """Under autocast over fp32 weights: every product casts its input to this many bytes."""
    adapter_input: int = 2
    """Bytes of an element of an adapter's input as it is kept."""
    adapter_copies: bool = True
    """Every adapter casts its input, so that it has a copy of its own."""
    adapter_dropout: bool = False
    dora: bool = False
    fused_layers: bool = False
    packed: bool = False
    """Rows hold several documents, or pictures that see themselves whole: sdpa is given a mask."""
    keeps_inputs: bool = False
    """Frozen products keep their input all the same, as those of LLM.int8 do (bitsandbytes 0.50
    autograd/_functions.py: MatMul8bitLt; MatMul4Bit keeps none)."""
    fused_recurrence: bool = False
    """Recurrent layers run flash-linear-attention's or mamba-ssm's kernels."""
    scan_end: ScanEnd = "mamba2"
    cross: Crossing | None = None
    beside: AttentionShape | None = None
    """The attention that every recurrent layer has beside its recurrence."""
    dropouts: int = 0
    """Results of a layer that pass a dropout before they are added: attention's, the MLP's."""
    drops_scores: bool = False
    """Eager attention drops some of its scores; a fused kernel keeps the seed alone."""
    query_rank: int = 0
    """Of the query's own latent in multi-head latent attention."""

    @property
    def rows(self) -> int:
        """Tokens of all sequences."""
        return self.sequences * self.tokens

    @property
    def source(self) -> Saving:
        """The same over the encoder's positions. Of a model without cross-attention, itself."""
        return self if self.cross is None else replace(self, tokens=self.cross.tokens, cross=None)

    def tensor(
        self, name: str, elements: int, width: int, what: str, *, inner: bool = False
    ) -> Saved:
        """A tensor of ``elements`` for every token."""
        return Saved(
            name=name,
            bytes=self.rows * elements * width,
            because=f"{self.rows:,} tokens × {elements:,} × {width} bytes"
            + (f": {what}" if what else ""),
            inner=inner,
        )

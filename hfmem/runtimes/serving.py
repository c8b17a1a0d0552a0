"""How an engine goes through tokens, as far as its speed depends on that."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct


class Serving(Struct, frozen=True, kw_only=True):
    """An engine's way with a workload on a group of GPUs; as it stands, that of an engine which
    deals out whole layers, runs all sequences at once and reads a prompt in one pass."""

    tp: int = 1
    """Ranks that every layer is divided over; layers that are dealt out take turns."""
    dp: int = 1
    """Groups of ranks with a part of the sequences each."""
    shares_experts: bool = False
    """One set of experts is dealt out to all ranks."""
    prompt_tokens: int | None = None
    """Prompt tokens of one forward pass; None for a whole prompt."""
    sequences: int | None = None
    """That run at once at most, the others wait; None where nothing but memory bounds them."""
    host: Literal["copied", "read", "computed"] = "copied"
    """What becomes of weights in the host's memory: whole modules are copied to the card in every
    step, the card reads what it needs in place, or the host computes with them."""

    @property
    def ranks(self) -> int:
        """That work at the same time; the stages of a pipeline take turns."""
        return self.tp * self.dp

"""The shape of an answer about training: what is held at each instant of a step."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

from hfmem.checkpoint.snapshot import Note
from hfmem.memory.term import Term

TrainingPhaseName = Literal["generation", "forward", "backward", "step"]
TRAINING_PARTS = ("weights", "gradients", "optimizer", "activations", "logits", "overhead")
"""The names of a phase's terms, in the order in which they are shown."""


class TrainingPhase(Struct, frozen=True, kw_only=True):
    """What a device holds at the largest instant of a phase."""

    name: TrainingPhaseName
    instant: str
    """Such as ``logits``, ``attention of layer 0``, ``embedding``."""
    memory: Term
    """Exactly the sum of its parts, named as in ``TRAINING_PARTS``."""

    def part(self, name: str) -> Term:
        """One of the parts."""
        return next(part for part in self.memory.parts if part.name == name)

    @property
    def tensor_bytes(self) -> int:
        """Without what is no tensor: what torch.cuda.max_memory_allocated reports."""
        return self.memory.bytes - self.part("overhead").bytes


class TrainingEstimate(Struct, frozen=True, kw_only=True):
    """What a training step needs, instant by instant."""

    phases: tuple[TrainingPhase, ...]
    """On the most loaded GPU."""
    whole: Term
    """Of all GPUs, replicas included, each at its own peak; parts as in ``TRAINING_PARTS``."""
    gpus: int
    seq_len: int
    """Tokens of a sequence, defaults resolved."""
    trainable: int
    """Trained parameters."""
    host: Term | None = None
    """What offload puts in the host's memory, of all nodes; None without offload."""
    unknown: tuple[str, ...] = ()
    """Parts that are not known; their bytes are 0 and the total is a lower bound."""
    notes: tuple[Note, ...] = ()

    @property
    def peak(self) -> TrainingPhase:
        """The largest instant of the step."""
        return max(self.phases, key=lambda phase: phase.memory.bytes)

    @property
    def need_bytes(self) -> int:
        """What each device must have."""
        return self.peak.memory.bytes

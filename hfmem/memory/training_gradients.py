"""Gradients and 16-bit copies of weights by layer, on one rank."""

from __future__ import annotations

from msgspec import Struct
from msgspec.structs import replace

from hfmem.memory.training_parameters import Parameter
from hfmem.memory.training_run import TrainingRun
from hfmem.memory.training_sharding import Rank, shards_gradients
from hfmem.memory.training_states import gradient_width


class LayerGradients(Struct, frozen=True):
    """Gradients by layer, on one rank."""

    rank: Rank
    parameters: tuple[Parameter, ...]
    run: TrainingRun

    @property
    def _none(self) -> bool:
        """Each gradient is used, or moved to the host, as soon as it is there."""
        return self.run.optimizer_in_backward or self.run.parallel.offload != "none"

    def of(self, layer: int) -> int:
        """Bytes of a layer's gradients."""
        if self._none:
            return 0
        one = replace(self.rank, layers=range(layer, layer + 1), first=False, last=False)
        trained = [p for p in self.parameters if p.trained]
        return one.total(
            trained,
            lambda p: p.elements * gradient_width(p, self.run),
            sharded=shards_gradients(self.run),
        )

    def outside(self, *, first: bool) -> int:
        """Bytes of the gradients before the first layer, or behind the last."""
        if self._none:
            return 0
        end = replace(
            self.rank,
            layers=range(0),
            first=first and self.rank.first,
            last=not first and self.rank.last,
        )
        return end.total(
            [p for p in self.parameters if p.trained],
            lambda p: p.elements * gradient_width(p, self.run),
            sharded=shards_gradients(self.run),
        )

    def cast(self, layer: int) -> int:
        """Bytes of the 16-bit copies of a layer's matrices."""
        one = replace(self.rank, layers=range(layer, layer + 1), first=False, last=False)
        return one.total(
            [p for p in self.parameters if p.linear], lambda p: 2 * p.elements, sharded=False
        )

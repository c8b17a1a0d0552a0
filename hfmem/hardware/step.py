"""One decoding step on the ranks of a layout: what takes how long."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from msgspec import Struct

from hfmem.gpu import Gpu
from hfmem.hardware.efficiency import Efficiency, Span, around
from hfmem.hardware.host import Host
from hfmem.hardware.prompt_efficiency import PROMPT_SOURCE
from hfmem.hardware.traffic import Packing, Traffic
from hfmem.model.model import Model
from hfmem.runtimes.serving import Serving

Limit = Literal["memory", "launches", "arithmetic", "host link", "host memory"]

# Start of a collective operation over two or more cards: over NVLink, and over PCIe.
NVLINK_US: Span = around(7.5)
PCIE_US: Span = around(21)


class Step(Struct, frozen=True, kw_only=True):
    """One decoding step on the ranks of a layout."""

    traffic: Traffic
    row: Efficiency
    gpu: Gpu
    serving: Serving
    batch: int
    host: Host
    model: Model

    @property
    def moved(self) -> int:
        """By all ranks together, with the cache as often as the engine moves it."""
        return int((self.weight_bytes + self.cache_bytes) * self.serving.ranks)

    @property
    def weight_bytes(self) -> float:
        """Weights that one rank (or, where layers are dealt out, all in turn) reads on the card."""
        found, layout = self.traffic, self.serving
        dealt = layout.ranks if layout.shares_experts else layout.tp
        weights = found.dense_bytes / layout.tp + found.expert_bytes / dealt
        return max(0.0, weights - self.host.read_bytes / layout.ranks)

    @property
    def cache_bytes(self) -> float:
        """Of cache and state that one rank moves."""
        found, ranks = self.traffic, self.serving.tp
        heads = min(ranks, self.model.decoder.kv_heads or ranks)
        cache = (found.cache_bytes - found.replicated_bytes) / heads + found.replicated_bytes
        return self.row.cache_passes * cache + found.state_bytes / ranks

    @property
    def basis(self) -> Literal["measured", "assumed"]:
        """Measured where every part of it was, on such cards."""
        if self.host.moved_bytes:
            return "assumed"
        if self.traffic.routed_layers and self.row.routed_basis == "assumed":
            return "assumed"
        return self.row.basis

    def memory_seconds(self, side: int) -> float:
        """Reading weights and cache; ``side`` 0 is the least, 1 the most."""
        row, peak = self.row, self.gpu.bandwidth_bytes_per_second or 1
        cached = (row.cache_bandwidth or row.bandwidth)[1 - side]
        return (self.weight_bytes / row.bandwidth[1 - side] + self.cache_bytes / cached) / peak

    def arithmetic_seconds(self, side: int) -> float:
        """Multiplying, by as many rows as the kernels take at least; 0 where no rate is known."""
        rate = peak_rate(self.gpu, self.model.dtype, self.traffic.packing)
        if rate is None:
            return 0.0
        found, rows = self.traffic, max(self.row.tile_rows, self.batch)
        operations = 2 * found.active_parameters * rows + self.batch * found.attention_operations
        return operations / self.serving.tp / (rate * self.row.compute[1 - side])

    def launch_seconds(self, side: int) -> float:
        """What the layers take whatever their size."""
        each = self.traffic.layers * self.row.layer_us[side]
        return (each + self.traffic.routed_layers * self.row.routed_us[side]) / 1e6

    def host_seconds(self, side: int) -> float:
        """Fetching, or computing where it lies, what the cards do not hold."""
        return self.host.moved_bytes / self.serving.ranks / self.host.rate[1 - side]

    def exchange_seconds(self, side: int) -> float:
        """Two sums over the ranks in every layer: 2 L (start + 2 (t − 1) / t · B h b / rate)."""
        ranks = self.serving.tp
        if ranks == 1:
            return 0.0
        link = self.gpu.link_bytes_per_second
        start = (NVLINK_US if link else PCIE_US)[side] / 1e6
        rate = link or self.gpu.host_bytes_per_second
        message = self.batch * (self.model.decoder.hidden_size or 0) * 2
        carried = 2 * (ranks - 1) / ranks * message / rate if rate else 0.0
        return 2 * self.traffic.layers * (start + carried)

    def seconds(self) -> Span:
        """Least and most time of the step."""
        return self.side(0), self.side(1)

    def side(self, side: int) -> float:
        """The whole step, at its least (0) or its most (1)."""
        kernels = max(self.memory_seconds(side), self.arithmetic_seconds(side))
        launches = self.launch_seconds(side)
        device = max(kernels, launches) if self.row.overlaps else kernels + launches
        return device + self.host_seconds(side) + self.exchange_seconds(side)

    def limit(self) -> Limit:
        """What takes the most of it."""
        parts: Mapping[Limit, float] = {
            "memory": sum(map(self.memory_seconds, (0, 1))),
            "launches": sum(map(self.launch_seconds, (0, 1))),
            "arithmetic": sum(map(self.arithmetic_seconds, (0, 1))),
            self.host.limit: sum(map(self.host_seconds, (0, 1))),
        }
        return max(parts, key=parts.__getitem__)

    def because(self) -> str:
        """The formula with its numbers."""
        found, row = self.traffic, self.row
        words = [
            f"{found.dense_bytes:,} bytes of dense weights",
            *([f"{found.expert_bytes:,} of touched experts"] if found.expert_bytes else []),
            f"{row.cache_passes} × {found.cache_bytes:,} of cache",
            *([f"{found.state_bytes:,} of state"] if found.state_bytes else []),
        ]
        shares = f"{row.bandwidth[0]:.0%} to {row.bandwidth[1]:.0%}"
        peak = (self.gpu.bandwidth_bytes_per_second or 0) / 1e9
        joined = "or" if row.overlaps else "and"
        text = (
            f"{' + '.join(words)} on {self.serving.tp} at once at {shares} of {peak:,.0f} GB/s, "
            f"{joined} {found.layers} layers × {row.layer_us[0]:.0f} to {row.layer_us[1]:.0f} µs"
        )
        if self.host.moved_bytes:
            low, high = (rate / 1e9 for rate in self.host.rate)
            text += (
                f", and {self.host.moved_bytes:,} bytes by the {self.host.limit} at {low:.0f} to "
                f"{high:.0f} GB/s"
            )
        return f"{text} ({self.basis}: {row.source}; prompts: {PROMPT_SOURCE})"


def peak_rate(gpu: Gpu, dtype: str, packing: Packing) -> int | None:
    """Peak operations per second of the matrices; weights of 4 bits are multiplied in 16."""
    if dtype == "F32" and packing == "float":
        return gpu.fp32_flops
    plain = gpu.bf16_flops or gpu.fp16_flops
    return gpu.fp8_flops or plain if packing == "fp8" else plain

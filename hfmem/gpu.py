"""What hfmem knows of an accelerator. A leaf: it imports nothing of hfmem."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

GpuKind = Literal[
    "consumer", "laptop", "workstation", "datacenter", "integrated", "apple", "cpu", "unknown"
]
SizeBasis = Literal["observed", "recalled", "estimated", "measured", "given"]


class Gpu(Struct, frozen=True, kw_only=True):
    """One device as an engine sees it: how much it holds, and how fast it moves and multiplies."""

    id: str
    """What ``--gpu`` takes, such as ``h100-sxm``."""
    name: str
    vendor: str = ""
    """``nvidia``, ``amd``, ``intel``, ``google``, ``apple``, ``cpu`` for the memory of the host;
    empty for a bare size."""
    kind: GpuKind = "unknown"
    """What the driver's own overhead goes by; ``unknown`` is a bare size or a card that the
    catalogue lacks."""
    architecture: str = ""
    """The vendor's name of the generation: ``Ada``, ``Hopper``, ``CDNA3``, ``M3``."""
    compute_capability: str = ""
    """CUDA compute capability (``9.0``) or AMD target (``gfx942``); empty where there is none."""
    unified_memory: bool = False
    """The CPU and everything that runs on it share this memory."""

    marketed_gb: int | None = None
    """The number on the box. Vendors mean GB or GiB by it: for display only."""
    driver_bytes: int | None = None
    """What the driver's tool reports as the total (``nvidia-smi`` memory.total), in bytes."""
    usable_bytes: int
    """What the framework reports as the total, in bytes: torch ``total_memory`` or
    ``cudaMemGetInfo``, Metal's recommendedMaxWorkingSetSize, the XLA limit. Before the context of
    any process; engines multiply this by their utilization."""
    usable_basis: SizeBasis
    """How ``usable_bytes`` is known: ``observed`` in a published log of this card, ``recalled``
    from such logs, ``estimated`` by rule, ``measured`` on this machine, ``given`` by the user."""

    memory_type: str = ""
    """``GDDR6X``, ``HBM3``, ``LPDDR5X``; empty when unknown."""
    bandwidth_bytes_per_second: int | None = None
    """Theoretical peak of the device's memory, in bytes per second."""
    bf16_flops: int | None = None
    """Peak dense rate with bf16 operands and fp32 accumulation, in operations per second. Here and
    below None means that no native path, or no figure with a source, is known."""
    fp16_flops: int | None = None
    """As ``bf16_flops``; the only 16-bit rate of cards before bf16 (Volta, Turing, RDNA2)."""
    fp8_flops: int | None = None
    fp4_flops: int | None = None
    int8_ops: int | None = None
    fp32_flops: int | None = None
    """The vector rate: what a model in full precision runs at without TF32."""

    host_bytes_per_second: int | None = None
    """From the host's memory to the device, one direction, peak, in bytes per second."""
    link: str = ""
    """The link to other accelerators apart from PCIe: ``NVLink``, ``Infinity Fabric``."""
    link_bytes_per_second: int | None = None
    """Peak of ``link`` in one direction, in bytes per second: half of the vendor's figure."""

    aliases: tuple[str, ...] = ()
    note: str = ""
    """One clause that a reader of the figures must know; empty for most."""
    source: str = ""
    """Where the figures come from."""


class GpuGroup(Struct, frozen=True, kw_only=True):
    """``count`` equal devices."""

    gpu: Gpu
    count: int = 1
    used_bytes: int = 0
    """What other programs hold of ``gpu.usable_bytes``, on the fullest device of the group."""
    note: str = ""
    """What to tell the user about how this group was understood; empty when it is plain."""

    @property
    def usable_bytes(self) -> int:
        """What the group can hold beside other programs, by its fullest device, in bytes."""
        return max(0, self.gpu.usable_bytes - self.used_bytes) * self.count

"""Which layers llama.cpp gives to which device, and what stays with the host."""

from __future__ import annotations

from msgspec import Struct

from hfmem.checkpoint.snapshot import Note
from hfmem.memory.term import Term, total
from hfmem.memory.workload import Workload
from hfmem.model.layers import LatentAttention
from hfmem.model.model import Model
from hfmem.runtimes.llama_cpp_cache import layer_caches, window_cells
from hfmem.runtimes.llama_cpp_graph import DeviceGraph, LayerWork, MicroBatch, host_buffer
from hfmem.runtimes.llama_cpp_settings import Settings
from hfmem.runtimes.llama_cpp_shapes import GraphFacts
from hfmem.runtimes.llama_cpp_weights import Stored
from hfmem.units import MIB

CACHE_RAM = 8192 * MIB
"""common/common.h: cache_ram_mib, of finished prompts."""


class Place(Struct, frozen=True, kw_only=True):
    """The layers of a device; ``head`` where it holds the output layer."""

    layers: range
    head: bool


def places(count: int, *, layers: int, gpu_layers: int | None) -> tuple[Place, ...]:
    """Which layers each of equal devices gets; the first ones stay with the host.

    src/llama-model.cpp (load_tensors): the output layer counts as one more, and ``-ngl`` takes from
    the end. 32 layers on 2 devices: 0 to 16 and 17 to 31 with the head.
    """
    units = min(layers + 1, layers + 1 if gpu_layers is None else gpu_layers)
    start = layers + 1 - units
    found = []
    for device in range(count):
        mine = [u for u in range(start, layers + 1) if (u - start) * count // units == device]
        own = [unit for unit in mine if unit < layers]
        kept = range(own[0], own[-1] + 1) if own else range(0)
        found.append(Place(layers=kept, head=layers in mine))
    return tuple(found)


def micro_batch(chosen: Settings, window: int | None) -> MicroBatch:
    """What the buffers are planned for: tokens in equal parts of every slot
    (src/llama-context.cpp: graph_reserve)."""
    tokens = min(chosen.n_ctx, chosen.ubatch)
    return MicroBatch(
        tokens=-(-tokens // chosen.slots) * chosen.slots,
        outputs=chosen.slots,
        cells=chosen.cells,
        window_cells=window_cells(chosen, window) if window else 0,
        flash=chosen.flash,
    )


def on_host(
    model: Model,
    file: Stored,
    chosen: Settings,
    *,
    facts: GraphFacts | None,
    dealt: tuple[Place, ...],
    copies: int,
) -> Term:
    """What stays in the host's memory beside devices: weights, caches, inputs, logits.

    Llama-3.1-8B with 8,192 cells: 0.98 GiB of input embedding, 24 MiB of inputs. llama-server
    keeps finished prompts there too, up to 8 GiB (common/common.h: cache_ram_mib).
    """
    held = {number for place in dealt for number in place.layers}
    moved = chosen.cpu_moe or 0
    layers = range(len(file.layers))
    because = f"{file.because}; mapped, or copied with --no-mmap"
    sizes = {
        "embedding": file.embedding,
        "layers": sum(file.layers[n] + file.experts[n] for n in layers if n not in held),
        "experts": sum(file.experts[n] for n in layers if n in held and n < moved),
        "output": 0 if any(place.head for place in dealt) or file.tied else file.output,
    }
    parts = [
        Term(name=name, bytes=size, basis=file.basis, because=because)
        for name, size in sizes.items()
    ]
    caches = layer_caches(model.decoder.layers, chosen) or ()
    kept = held if chosen.kv_offload else set()
    cache = sum(size for n, (size, _) in enumerate(caches) if n not in kept)
    parts.append(
        Term(name="KV cache", bytes=cache, basis="exact", because="of layers that stay here")
    )
    if facts is not None:
        part = DeviceGraph(
            hidden=facts.hidden,
            layers=tuple(LayerWork(shape=shape) for shape in facts.shapes),
            vocabulary=0,
            last=False,
            copies=copies,
        )
        parts += [
            Term(
                name="inputs",
                bytes=host_buffer(part, micro_batch(chosen, facts.window)),
                basis="derived",
                because="embeddings and masks of a micro-batch (src/llama-graph.cpp)",
            ),
            Term(
                name="logits",
                bytes=4 * chosen.slots * facts.vocabulary,
                basis="derived",
                because=f"{chosen.slots} slots × {facts.vocabulary:,} × 4 bytes "
                "(src/llama-context.cpp: output_reserve)",
            ),
        ]
    parts.append(
        Term(
            name="finished prompts",
            bytes=0,
            basis="assumed",
            because="--cache-ram 8192 (common/common.h: cache_ram_mib)",
            high=CACHE_RAM,
        )
    )
    held_here = [one for one in parts if one.range_bytes[1]]
    return total("host", held_here, because="in the host's memory, beside the process itself")


def notes(
    model: Model,
    workload: Workload,
    chosen: Settings,
    *,
    file: Stored | None,
) -> tuple[Note, ...]:
    """What a person has to know beside the figures."""
    found = []
    if workload.ctx is None:
        message = f"No context was given: {chosen.ctx:,} tokens are assumed."
        found.append(Note(code="default_ctx", message=message))
    limit = model.decoder.max_context
    if limit is not None and chosen.ctx > limit:
        message = (
            f"{chosen.ctx:,} tokens are more than the model's maximum of {limit:,}; computed as "
            "asked."
        )
        found.append(Note(code="beyond_max_context", message=message))
    given = workload.flags.whole("parallel")
    if given is not None and given < chosen.slots:
        message = f"{chosen.slots} sequences at once need -np {chosen.slots}; computed so."
        found.append(Note(code="parallel", message=message))
    if file is not None and model.gguf_architecture is None:
        message = (
            f"llama.cpp reads GGUF: the weights are those of a conversion to {file.file_type}."
        )
        found.append(Note(code="gguf_conversion", message=message))
    latent = any(isinstance(k, LatentAttention) for kinds in model.decoder.layers for k in kinds)
    if latent and model.gguf_architecture is None:
        message = "The GGUF file must carry the MLA keys; files made before expand K and V."
        found.append(Note(code="gguf_latent_keys", message=message))
    return tuple(found)

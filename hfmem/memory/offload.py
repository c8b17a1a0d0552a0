"""Which layers stay on the GPUs when a model does not fit, and what the host holds then."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from itertools import accumulate

from msgspec import Struct

from hfmem.memory.estimate import MemoryEstimate
from hfmem.memory.term import Term
from hfmem.memory.weights import loaded_bytes
from hfmem.model.model import Model
from hfmem.model.weights import WeightRun


class DeviceMap(Struct, frozen=True, kw_only=True):
    """Where the weights go: to the GPUs first, the rest to the host."""

    layers: int
    """Decoder layers of the model."""
    gpu_layers: int
    """Of them on a GPU."""
    gpu_bytes: int
    host_bytes: int
    max_memory_bytes: int
    """What ``max_memory`` has to give each GPU, so that cache and activations have room beside."""


class _Module(Struct, frozen=True):
    """What is placed as a whole."""

    name: str
    bytes: int
    is_layer: bool = False


def device_map(
    model: Model, estimate: MemoryEstimate, *, dtype: str, free_bytes: int, count: int
) -> DeviceMap | None:
    """The map that ``device_map="auto"`` makes of what a card has beside cache and activations.

    Modules go to the first GPU in order, then to the next, then to the host; the first GPU keeps
    room for the largest module that is still to be placed, which is where offloaded layers are
    streamed to (accelerate 1.15 utils/modeling.py and transformers 5.23 integrations/accelerate.py:
    infer_auto_device_map). Left to itself transformers fills nine tenths of the free memory with
    weights, whatever the cache needs; ``max_memory_bytes`` is what to give it instead. None where
    the weights or their layers are not known. 80 layers of 1.6 GiB between an embedding and a head
    of 2.3 GiB, on 60 GiB: the embedding and 34 layers, with room for the head.
    """
    used = [phase for phase in estimate.most_loaded if phase.name != "loading"]
    if not used or not model.weights:
        return None
    beside = max(phase.memory.bytes - phase.part("weights").bytes for phase in used)
    budget = max(0, free_bytes - beside)
    weights = estimate.peak.part("weights")
    return place(model, weights, dtype=dtype, budgets=[budget] * count)


def place(model: Model, weights: Term, *, dtype: str, budgets: Sequence[int]) -> DeviceMap | None:
    """The map for given bytes of weights on each GPU; None for a model without decoder layers.

    Llama-3.1-8B with 8 GiB: the embedding and 14 of 32 layers, 8,902,713,344 bytes on the host.
    """
    modules = _modules(model, weights, dtype=dtype)
    if not any(module.is_layer for module in modules):
        return None
    on_gpu = _placed(modules, budgets=budgets)
    gpu_bytes = sum(module.bytes for module in on_gpu)
    return DeviceMap(
        layers=sum(module.is_layer for module in modules),
        gpu_layers=sum(module.is_layer for module in on_gpu),
        gpu_bytes=gpu_bytes,
        host_bytes=sum(module.bytes for module in modules) - gpu_bytes,
        max_memory_bytes=min(budgets, default=0),
    )


def _placed(modules: Sequence[_Module], *, budgets: Sequence[int]) -> Sequence[_Module]:
    """The modules that the GPUs hold; once one is full, no later module goes back to it."""
    # The largest of what comes after each module, which the first GPU keeps room for.
    reserved = list(accumulate((module.bytes for module in reversed(modules)), max, initial=0))
    reserved = reserved[-2::-1]
    number = 0
    for device, budget in enumerate(budgets):
        held = 0
        while number < len(modules):
            room = reserved[number] if device == 0 else 0
            if held + modules[number].bytes + room > budget:
                break
            held += modules[number].bytes
            number += 1
    return modules[:number]


@lru_cache(maxsize=16)
def _modules(model: Model, weights: Term, *, dtype: str) -> tuple[_Module, ...]:
    """Embeddings and towers, the layers in order, then norms and head; scaled to ``weights``."""
    runs = [run for run in model.weights or () if run.loaded]
    sizes = [loaded_bytes(run, dtype=dtype, model_type=model.model_type) for run in runs]
    held = {part.name: part.bytes for part in weights.parts}
    raw: dict[str, int] = {}
    for run, size in zip(runs, sizes, strict=True):
        raw[_part(run)] = raw.get(_part(run), 0) + size
    whole = sum(sizes)
    layers: dict[int, int] = {}
    before: dict[str, int] = {}
    after: dict[str, int] = {}
    for run, size in zip(runs, sizes, strict=True):
        name = _part(run)
        # Quantized weights are told by component; the file types of llama.cpp are not.
        numerator, denominator = (held[name], raw[name]) if name in held else (weights.bytes, whole)
        scaled = size * numerator // max(1, denominator)
        numbers = run.run.indices() if run.component in ("language", "experts") else None
        if numbers is not None and not run.module:
            for layer in numbers:
                layers[layer] = layers.get(layer, 0) + scaled // len(numbers)
        else:
            place = after if run.component in ("language", "head") else before
            place[name] = place.get(name, 0) + scaled
    return (
        *(_Module(name, size) for name, size in before.items()),
        *(_Module(f"layer {layer}", size, True) for layer, size in sorted(layers.items())),
        *(_Module(name, size) for name, size in after.items()),
    )


def _part(run: WeightRun) -> str:
    return run.module or run.component

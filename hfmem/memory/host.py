"""What the host's memory holds beside the devices: files on their way, and what stays there."""

from __future__ import annotations

from functools import lru_cache

from hfmem.checkpoint.ggml import is_block_type
from hfmem.dtypes import BITS, torch_name, width
from hfmem.memory.term import Term, total
from hfmem.memory.weights import loaded_dtype
from hfmem.model.model import Model

WORKERS = 4
"""transformers 5.23 core_model_loading.py: GLOBAL_WORKERS."""


def mapped_files(model: Model) -> Term:
    """Files that are mapped while they are read: pages that the system takes back when it needs
    them. 0 bytes, at most the whole checkpoint."""
    size = model.checkpoint_bytes or 0
    return Term(
        name="mapped files",
        bytes=0,
        basis="derived",
        because=f"{size:,} bytes of the files are mapped, not copied; the system takes their pages "
        "back when it needs them",
        low=0,
        high=size,
    )


@lru_cache(maxsize=32)
def while_loading(model: Model, *, dtype: str, quantized: bool) -> Term | None:
    """What transformers holds on the host while it loads onto another device.

    safetensors files and PyTorch's are mapped; a tensor that is cast is cast on the host before it
    goes, by four threads at once (transformers 5.23 core_model_loading.py: GLOBAL_WORKERS,
    _materialize_copy). GGUF files are unpacked whole before anything goes (transformers 5.23
    modeling_gguf_pytorch_utils.py: load_gguf_checkpoint). None where the weights are not known.

    A checkpoint of 841,062,400 bytes in float32 that is loaded in bfloat16 onto the CPU was seen
    to map all of it and to allocate half of it; nothing was allocated without the cast.
    """
    if model.weights is None:
        return None
    if model.gguf_architecture is not None:
        return _unpacked(model, dtype=dtype)
    cast = sorted(
        (
            run.run.elements * width(dtype)
            for run in model.weights
            if run.loaded
            and not run.packed
            and run.run.dtype in BITS
            and loaded_dtype(run, dtype=dtype, model_type=model.model_type) != run.run.dtype
        ),
        reverse=True,
    )
    at_once = 1 if quantized else WORKERS
    flying = sum(cast[:1]) * at_once
    because = f"the largest tensor that is cast to {torch_name(dtype)}, {at_once} at once"
    parts = [mapped_files(model)]
    if flying:
        parts.append(
            Term(name="casts", bytes=flying, basis="derived", because=because, low=sum(cast[:1]))
        )
    return total("host", parts, because="while transformers loads; the process itself comes on top")


def while_serving(model: Model, *, offloaded: int) -> Term | None:
    """What an engine that reads safetensors leaves with the host: the weights that are moved there
    and, while it loads, mapped files (vLLM 0.33 model_loader/weight_utils.py: safe_open). Its
    processes come on top. None where the weights are not known."""
    if model.weights is None:
        return None
    parts = [mapped_files(model)]
    if offloaded:
        because = "--cpu-offload-gb of every GPU"
        parts.append(Term(name="offloaded", bytes=offloaded, basis="exact", because=because))
    return total("host", parts, because="beside the engine's own processes")


def _unpacked(model: Model, *, dtype: str) -> Term:
    runs = [run for run in model.weights or () if run.loaded]
    kept = sum(run.run.elements * run.run.count * width(dtype) for run in runs)
    largest = max((run.run.elements for run in runs), default=0)
    packed = any(is_block_type(run.run.dtype) for run in runs)
    parts = (
        mapped_files(model),
        Term(
            name="unpacked",
            bytes=kept,
            basis="derived",
            because=f"every tensor in {torch_name(dtype)}, before any of them goes to the device",
        ),
        Term(
            name="unpacking",
            bytes=8 * largest if packed else 4 * largest,
            basis="derived",
            because="the largest tensor in float32, as it is unpacked and as it is copied",
        ),
    )
    return total("host", parts, because="transformers unpacks a GGUF file on the host")

"""How llama-server is run for a workload, and what moves to the host when it does not fit."""

from __future__ import annotations

import shlex

from msgspec.structs import replace

from hfmem.gpu import GpuGroup
from hfmem.memory.estimate import MemoryEstimate
from hfmem.memory.quantize.llama_file_types import FILE_TYPES
from hfmem.memory.workload import Workload
from hfmem.model.model import Model
from hfmem.runtimes.llama_cpp_settings import settings
from hfmem.runtimes.llama_cpp_weights import keeps_mxfp4, requantized, stored
from hfmem.units import gib

_SPELLED = {
    "n_gpu_layers": "-ngl",
    "n_cpu_moe": "--n-cpu-moe",
    "cpu_moe": "--cpu-moe",
    "parallel": "-np",
    "kv_unified": "--kv-unified",
    "ubatch_size": "-ub",
    "batch_size": "-b",
    "cache_type_k": "-ctk",
    "cache_type_v": "-ctv",
    "flash_attn": "-fa",
    "swa_full": "--swa-full",
    "no_kv_offload": "--no-kv-offload",
}


def llama_server(
    model: Model, workload: Workload, _group: GpuGroup, _estimate: MemoryEstimate
) -> str:
    """``llama-server -hf org/name -c 8192 -ngl 99``, with what was asked.

    A model that is no GGUF repository is downloaded, converted and quantized first, and the file is
    named after it.
    """
    chosen = settings(model, workload)
    words = ["llama-server"]
    before: list[list[str]] = []
    if model.gguf_architecture is not None:
        words += _gguf_source(model)
    else:
        file = stored(model, workload.quantize, workload.dtype)
        before, made = conversion(model, "auto" if file is None else file.file_type.split()[0])
        words += ["-m", made]
        if file is not None and file.towers:
            line, projector = _projection(model)
            before.append(line)
            words += ["--mmproj", projector]
    words += ["-c", str(chosen.n_ctx)]
    flags = dict(workload.flags.given)
    if "parallel" not in flags and workload.batch > 1:
        words += ["-np", str(chosen.slots), "--kv-unified"]
    if "n_gpu_layers" not in flags:
        words += ["-ngl", "99"]
    if workload.kv_dtype != "auto":
        words += ["-ctk", workload.kv_dtype, "-ctv", workload.kv_dtype]
    if "parallel" in flags:
        flags["parallel"] = chosen.slots
    for flag, spelled in _SPELLED.items():
        value = flags.get(flag)
        if value is True:
            words.append(spelled)
        elif value is not None:
            words += [spelled, str(value)]
    return "\n".join(shlex.join(line) for line in (*before, words))


def _named(model: Model) -> tuple[str, str]:
    """What files of a model are named after, and the folder that it lies in."""
    name = model.name.rstrip("/").split("/")[-1] or "model"
    return name, model.name if model.source == "local" else name


def _projection(model: Model) -> tuple[list[str], str]:
    """The command that makes a file of the encoders, and the file (convert_hf_to_gguf.py)."""
    name, folder = _named(model)
    made = f"mmproj-{name}.gguf"
    return ["python", "convert_hf_to_gguf.py", folder, "--mmproj", "--outfile", made], made


_OUT_TYPES = frozenset({"f32", "f16", "bf16", "q8_0", "tq1_0", "tq2_0"})
"""convert_hf_to_gguf.py: --outtype."""


def conversion(model: Model, kind: str) -> tuple[list[list[str]], str]:
    """The commands that make a GGUF file of a checkpoint, and the file's name.

    What the conversion keeps in MXFP4 is quantized again with ``--allow-requantize`` only
    (src/llama-quant.cpp).
    """
    name, folder = _named(model)
    lines = []
    if model.source != "local":
        revision = ["--revision", model.revision] if model.revision else []
        lines.append(["hf", "download", model.name, *revision, "--local-dir", folder])
    lower, made = kind.lower(), f"{name}-{kind.upper()}.gguf"
    kept = keeps_mxfp4(model)
    direct = lower in _OUT_TYPES and not kept
    quantized = not direct and lower in FILE_TYPES
    first = f"{name}-{'MXFP4' if kept else 'BF16'}.gguf" if quantized else made
    out = lower if direct else "bf16" if quantized and not kept else "auto"
    lines.append(["python", "convert_hf_to_gguf.py", folder, "--outtype", out, "--outfile", first])
    if quantized:
        again = ["--allow-requantize"] if requantized(model, kind) else []
        lines.append(["llama-quantize", *again, first, made, kind.upper()])
    return lines, made


def _gguf_source(model: Model) -> list[str]:
    first = next(iter(model.loaded_files), "")
    if "/" in model.name and not model.name.startswith((".", "/")):
        return ["-hf", model.name, *(["-hff", first] if first else [])]
    return ["-m", first or model.name]


def to_host(
    model: Model,
    workload: Workload,
    estimate: MemoryEstimate,
    missing: int,
    *,
    experts_apart: bool = True,
) -> tuple[str, Workload]:
    """Experts of the first layers in the host's memory, or whole layers of a dense model.

    The order of --fit (common/fit.cpp): experts before layers. For a large batch the device keeps
    room for the largest expert tensor, which is copied to it.
    """
    file = stored(model, workload.quantize, workload.dtype)
    layers = len(model.decoder.layers)
    experts = sum(file.experts) if file is not None and experts_apart else 0
    already = workload.flags.whole("n_cpu_moe") or 0
    if file is not None and experts and not workload.flags.switch("cpu_moe"):
        wanted = missing + (0 if already else 2 * file.expert_tensor)
        each = max(1, experts // max(1, layers))
        moved = min(layers, already - (-wanted * estimate.count // each))
        if experts // estimate.count > wanted:
            changed = workload.flags.but(n_cpu_moe=moved)
            label = f"experts of {moved} of {layers} layers in the host's memory"
            return f"{label} ({gib(each * moved)})", replace(workload, flags=changed)
    cache = estimate.largest.part("kv_cache").bytes * estimate.count
    whole = (0 if file is None else file.layer_bytes + file.output) + cache
    each = max(1, whole // max(1, layers + 1))
    beside = 0 if file is None else max(file.layer_tensor, file.expert_tensor)
    gone = -(-(missing + beside) * estimate.count // each)
    kept = max(0, (workload.flags.whole("n_gpu_layers") or layers + 1) - gone)
    changed = workload.flags.but(n_gpu_layers=kept)
    return f"{kept} of {layers + 1} layers on the GPUs", replace(workload, flags=changed)

"""Weights that engines printed, beside ours: in 16 bits and quantized, far rows with their reason.

What a row prints differs: vLLM and SGLang what loading took of a rank's device memory, llama.cpp
the tensors of its file (``model size``) or the file itself. transformers prints no weights: Qwen's
tables tell what PyTorch holds while it generates, of which the cache and the workspace of cuBLAS
are taken here. AWQ's rows there are peaks that grow with the prompt, so those of one token serve.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from statistics import median
from typing import Any

from msgspec import Struct

from hfmem.errors import HfmemError
from hfmem.flags import flags_of
from hfmem.gpu import GpuGroup
from hfmem.hardware.catalogue import find
from hfmem.memory.quantize import convert, scheme
from hfmem.memory.workload import workload
from hfmem.runtimes import RUNTIMES
from hfmem.units import GIB
from tests.accuracy.llama_cpp import model_of_row
from tests.accuracy.models import model_of, scheme_of
from tests.accuracy.rows import Pair, pairs

Row = Mapping[str, Any]


class Weighed(Struct, frozen=True, kw_only=True):
    """The weights of one row."""

    engine: str
    kind: str
    """``16 bits`` or ``quantized``."""
    model: str
    quant: str
    id: str
    measured: float
    ours: float
    why: str
    """What explains a difference of more than 0.5 %; empty where nothing has to."""

    @property
    def error(self) -> float:
        return self.ours / self.measured - 1


# llama.cpp prints "Q4_K - Medium", which the rows shorten.
_FILE_TYPES = {
    **{"F16": "f16", "Q8_0": "q8_0", "Q8_0_R8": "q8_0", "Q6_K": "q6_k", "Q4_0": "q4_0"},
    **{"Q5_K": "q5_k_m", "Q4_K": "q4_k_m", "Q4_K_M": "q4_k_m", "IQ4_XS": "iq4_xs"},
    "MXFP4": "mxfp4_moe",
}
_16_BITS = frozenset({"F16", "BF16", "None"})


def all_weighed(rows: Iterable[Row], data: Path) -> list[Weighed]:
    """Every row that weights were printed in, and ours could be put beside."""
    found: list[Weighed] = []
    for row in rows:
        if row["kind"] != "measured":
            continue
        if row["engine"] == "vllm":
            found.extend(_of_vllm(row, pairs(row, data) or ()))
        elif (one := weighed(row, data)) is not None:
            found.append(one)
    return found


def weighed(row: Row, data: Path) -> Weighed | None:
    """Our weights beside a row's; None where it prints none, or its model or mix is not at hand."""
    match row["engine"]:
        case "llama.cpp" | "ik_llama.cpp":
            found = _llama_cpp(row, data)
        case "sglang":
            found = _sglang(row, data)
        case "transformers":
            found = _transformers(row, data)
        case _:
            return None
    if found is None:
        return None
    measured, ours = found
    return _weighed(row, measured, ours)


def _of_vllm(row: Row, compared: Iterable[Pair]) -> Iterator[Weighed]:
    return (
        _weighed(row, pair.measured, pair.ours)
        for pair in compared
        if pair.quantity == "weights_gib"
    )


def _weighed(row: Row, measured: float, ours: float) -> Weighed:
    quant = str(row["quant"] or scheme_of(row["model"])).removeprefix("GGUF ")
    return Weighed(
        engine=row["engine"],
        kind="16 bits" if quant in _16_BITS else "quantized",
        model=row["model"],
        quant=quant,
        id=row["id"],
        measured=measured,
        ours=ours,
        why=_why(row),
    )


def _why(row: Row) -> str:
    return next((why for pattern, why in _EXPLAINED if re.search(pattern, row["id"])), "")


_EXPLAINED: tuple[tuple[str, str], ...] = (
    (
        r"ctx2048-f16-ub512-mla2-fa1$",
        "a recipe of its own under the label Q8_0, 4.0 bits a weight",
    ),
    (
        r"v3-0324-ctx32768-f16-ub(?:512|4096)",
        "a recipe of its own under the label Q4_K; DeepSeek-R1, of the same shapes, takes 376.65",
    ),
    (r"qwen3-30b-a3b-ctx32768-f16-ub512-mla0-fa1", "the size of Unsloth's UD-Q4_K_XL, 17.7 GB"),
    (r"qwen3-32b-ctx16896", "the size of Unsloth's UD-Q4_K_XL, 20.0 GB"),
    (
        r"llama-3.1-8b-instruct-ctx1024",
        "another mix under the label Q5_K, 5.52 bits a weight",
    ),
    (
        r"w8a8-tp2",
        "vLLM 0.19 divided the vision tower of this checkpoint, which it keeps whole in others",
    ),
    (r"kyuz0", "ROCm on Strix Halo; what else the figure holds is not said"),
    (r"vllm-23278", "Marlin, which pads the experts; our rule pads to less on this card"),
    (
        r"r1-distill-qwen\d+b-tp2|gemma3-27b-tp4",
        "vLLM 0.7 and 0.8 on several ranks; buffers that loading allocates are in the figure",
    ),
    (r"awq-int4", "AutoAWQ's rows are peaks, with what its kernels hold beside"),
    (r"qwen3-30b-a3b-fp8", "experts in FP8 blocks; 0.33 GiB at every length are not explained"),
    (r"qwen3-14b-fp8", "0.09 GiB at every length are not explained"),
    (r"-npu", "an Ascend NPU; what else the change in free memory holds is not said"),
    (
        r"sglang-infx2128-dsv4pro",
        "the change in free memory; whether every rank held attention whole is not said",
    ),
)


def _llama_cpp(row: Row, data: Path) -> tuple[float, float] | None:
    measured = row["measured"].get("weights_gib")
    label = str(row["quant"]).removeprefix("GGUF ")
    model = model_of_row(row["model"], data)
    if measured is None or model is None or label not in _FILE_TYPES:
        return None
    imatrix = label.startswith("IQ")
    try:
        held = convert(model, scheme(_FILE_TYPES[label]), dtype="BF16", imatrix=imatrix)
    except HfmemError:
        return None
    # Encoders are in a file of their own.
    tensors = sum(part.bytes for part in held.weights.parts if part.name != "mmproj")
    return measured, tensors / GIB


def _sglang(row: Row, data: Path) -> tuple[float, float] | None:
    model = model_of_row(row["model"], data)
    if model is None or model.weights is None or "weights_gib" not in row["measured"]:
        return None
    tp = row["settings"].get("tp", 1)
    flags = flags_of({"tp": tp}, runtime="sglang")
    group = GpuGroup(gpu=find("h200"), count=tp)
    found = RUNTIMES["sglang"].estimate(model, workload(runtime="sglang", flags=flags), group)
    return row["measured"]["weights_gib"], found.largest.part("weights").bytes / GIB


def _transformers(row: Row, data: Path) -> tuple[float, float] | None:
    settings, total = row["settings"], row["measured"].get("total_gib")
    if total is None or not str(row["group"]).startswith("qwen-speed"):
        return None
    # With one token of input some models end before the 2,048 that the cache is counted for.
    wanted = 1 if "AWQ" in row["model"] else _LONGEST
    version = str(row["engine_version"])
    if settings.get("input_len") != wanted or not version.startswith("4.51"):
        return None
    model, exact = model_of(row["model"], data)
    name = None if exact else scheme_of(row["model"])
    if model is None or model.weights is None or not (exact or name):
        return None
    group = GpuGroup(gpu=find("a100-80gb-sxm"), count=settings.get("num_gpus", 1))
    asked = workload(ctx=settings["ctx"], quantize=name)
    found = RUNTIMES["transformers"].estimate(model, asked, group)
    held = next(phase for phase in found.phases if phase.name == "decode")
    cache = held.part("kv_cache").bytes / GIB
    return total - cache - _CUBLAS, held.part("weights").bytes / GIB


_LONGEST = 30_720
_CUBLAS = 32 / 1024
"""GiB of workspace on Hopper, which PyTorch's allocator hands out (aten/src/ATen/cuda/
CublasHandlePool.cpp: getChosenWorkspaceSize)."""


def table(found: Iterable[Weighed]) -> list[str]:
    """A line for each engine and kind, and one for each row that is more than 0.5 % off."""
    groups: dict[tuple[str, str], list[Weighed]] = {}
    for one in found:
        groups.setdefault((one.engine, one.kind), []).append(one)
    lines = [
        f"{'weights':14}{'kind':12}{'rows':>5}{'models':>7}{'median':>9}{'worst':>9}  worst row"
    ]
    for (engine, kind), members in sorted(groups.items()):
        worst = max(members, key=lambda one: abs(one.error))
        lines.append(
            f"{engine:14}{kind:12}{len(members):5}{len({one.model for one in members}):7}"
            f"{typical(members):9.2%}{worst.error:+9.2%}  {worst.id}"
        )
    far = [one for members in groups.values() for one in members if abs(one.error) > _NEAR]
    lines += [
        f"  {one.error:+8.2%}  {one.engine} {one.id} ({one.measured:g}, ours {one.ours:.4g}): "
        f"{one.why or 'not explained'}"
        for one in sorted(far, key=lambda one: -abs(one.error))
    ]
    return lines


_NEAR = 0.005


def typical(members: Iterable[Weighed]) -> float:
    """The median error, where every model in one quantization weighs the same."""
    errors: dict[tuple[str, str], list[float]] = {}
    for one in members:
        errors.setdefault((one.model, one.quant), []).append(abs(one.error))
    return median(median(same) for same in errors.values())

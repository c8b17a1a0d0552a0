"""Training estimates against published measurements, by recipe.

``python -m tests.accuracy.training DIR``, with ``cases.jsonl`` in DIR: a line a row, the median a
recipe, and every row that is not modelled with the reason.
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import median

from msgspec import Struct

from hfmem.memory.training import training_estimate
from hfmem.units import GIB
from tests.accuracy.training_models import CONFIGS
from tests.accuracy.training_readers import READERS, REFUSED, Asked, Settings
from tests.memory.training_models import model_of

EXPLAINED = (
    ("bnb.nf4", "bitsandbytes 0.41 and litgpt of 2023: casts that neither makes any more"),
    ("qwen1-train", "1 to 2 GiB beside the tensors on short sequences, as nvidia-smi shows"),
    ("torchtune-llama-3.1-70b", "what FSDP gathers of 70 B is an upper bound"),
    ("adapterv2", "litgpt of 2023 kept two results of a product, before scale and after"),
    ("santacoder-full", "transformers 4 computed GPT-BigCode's loss in bf16, without an fp32 copy"),
    ("santacoder-qlora", "transformers 4 with every output cast to fp32 beside a copied logits"),
    ("mistral-7b-v0.1-lora", "transformers 4 kept a shifted copy of the fp32 logits"),
    ("mistral-7b-v0.1-gptq", "transformers 4 kept a shifted copy of the fp32 logits"),
    ("mistral-7b-v0.1-qlora", "transformers 4 kept a shifted copy of the fp32 logits"),
    ("torchtitan", "near-full cards: the allocator reserves what is left"),
)
"""Why rows differ, by a part of their ids."""


class Row(Struct, frozen=True, kw_only=True):
    """A measured row with what is said of it."""

    id: str
    recipe: str
    measured: float | None
    """GiB."""
    estimated: float | None
    """GiB of the same thing: tensors, or what the allocator reserves."""
    why_not: str = ""
    run: str = ""
    """Equal for rows whose run is the same on each GPU: they weigh as one."""

    @property
    def error(self) -> float | None:
        """Relative."""
        if self.measured is None or self.estimated is None:
            return None
        return self.estimated / self.measured - 1


def rows(data: Path) -> Iterator[Row]:
    """Every row about training; those that are not modelled say why."""
    text = (data / "cases.jsonl").read_text(encoding="utf-8")
    for case in map(json.loads, text.splitlines()):
        group = case.get("group")
        if group in REFUSED:
            yield _refused(case, REFUSED[group])
        elif group in READERS:
            asked = READERS[group](case)
            yield _refused(case, asked) if isinstance(asked, str) else _row(case, asked)


def _refused(case: Settings, why: str) -> Row:
    return Row(id=case["id"], recipe=case["group"], measured=None, estimated=None, why_not=why)


def _base(model: str) -> str:
    """The model that a quantized one was made from."""
    if "GPTQ" in model:
        named = model.rsplit("/", 1)[-1].removesuffix("-GPTQ")
        return next(name for name in CONFIGS if name.rsplit("/", 1)[-1].startswith(named[:10]))
    return model.removesuffix("-Int4")


_UNITS = {"total_gb_printed": 1e9 / GIB}


def _row(case: Settings, asked: Asked) -> Row:
    run, key = asked.run, asked.key
    model = model_of(CONFIGS[_base(case["model"])], name=case["model"])
    found = training_estimate(model, run)
    peak = found.peak.memory
    paged = found.peak.part("optimizer").bytes if "paged" in run.optimizer else 0
    overhead = found.peak.part("overhead")
    size = max(phase.tensor_bytes for phase in found.phases) - paged
    layers, tokens = len(model.decoder.layers), found.seq_len * run.sequences
    size += asked.extra_per_layer * layers * tokens
    extra = asked.extra_per_logit * (model.forward.vocab if model.forward else 0) * tokens
    size += extra
    if asked.process:
        size = peak.bytes + extra
    elif key != "peak_alloc_gib":
        size += sum(p.bytes for p in overhead.parts if p.name.startswith("allocator"))
    return Row(
        id=case["id"],
        recipe=case["group"],
        measured=case["measured"][key] * _UNITS.get(key, 1),
        estimated=size * (found.gpus if asked.summed else 1) / GIB,
        run=f"{case['model']} {size}",
    )


def median_error(found: Sequence[Row], recipe: str) -> float | None:
    """Of a recipe, where equal runs weigh as one; None where nothing is modelled."""
    runs: dict[str, list[float]] = {}
    for row in found:
        if row.recipe == recipe and row.error is not None:
            runs.setdefault(row.run, []).append(abs(row.error))
    return median(median(errors) for errors in runs.values()) if runs else None


def report(found: Sequence[Row]) -> Iterator[str]:
    """A line a row, then the medians."""
    for row in found:
        if row.error is None or row.estimated is None or row.measured is None:
            yield f"{row.id:60} not modelled: {row.why_not}"
            continue
        why = next((why for part, why in EXPLAINED if part in row.id), "")
        said = f"{row.error:+7.1%}  {row.estimated:7.2f} of {row.measured:7.2f} GiB"
        yield f"{row.id:60} {said}{f'  ({why})' if why and abs(row.error) > 0.08 else ''}"
    yield from summary(found)


def summary(found: Sequence[Row]) -> Iterator[str]:
    """The medians, and how many rows of why are not modelled."""
    for name, count in Counter(row.recipe for row in found).items():
        errors = [abs(row.error) for row in found if row.recipe == name and row.error is not None]
        middle = median_error(found, name)
        told = "none" if middle is None else f"median {middle:.1%}, worst {max(errors):.1%}"
        yield f"{name}: {len(errors)} of {count} rows, {told}"
    modelled = [row for row in found if row.error is not None]
    yield f"training: {len(modelled)} of {len(found)} rows are modelled; not modelled:"
    for why, count in Counter(row.why_not for row in found if row.why_not).most_common():
        yield f"  {count:3} {why}"


def main(arguments: Sequence[str]) -> int:
    """Print all rows and the medians; 2 without the data."""
    if len(arguments) != 1 or not (Path(arguments[0]) / "cases.jsonl").is_file():
        sys.stderr.write("error: give the folder of cases.jsonl\n")
        return 2
    sys.stdout.writelines(f"{line}\n" for line in report(list(rows(Path(arguments[0])))))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""``python -m tests.accuracy DIR``: our figures against measured ones.

DIR holds ``cases.jsonl``. Groups weigh the same whatever their number of rows; inside of a large
group every model weighs the same. A row without a configuration is listed as not covered.
"""

from __future__ import annotations

import json
import sys
from collections import defaultdict
from collections.abc import Iterable, Sequence
from hashlib import sha256
from pathlib import Path
from statistics import median

from tests.accuracy import llama_cpp
from tests.accuracy.rows import Pair, pairs, why_not
from tests.accuracy.training import rows as training_rows
from tests.accuracy.training import summary
from tests.accuracy.weights import all_weighed
from tests.accuracy.weights import table as weights_table
from tests.accuracy_speed.__main__ import collect
from tests.accuracy_speed.__main__ import report as speed_report

LARGE_GROUP = 8


def main(arguments: Sequence[str]) -> int:
    """Print the table; the exit code is 2 without the data."""
    if len(arguments) != 1 or not (Path(arguments[0]) / "cases.jsonl").is_file():
        sys.stderr.write("error: give the folder of cases.jsonl: python -m tests.accuracy DIR\n")
        return 2
    data = Path(arguments[0]).resolve()
    found: list[Pair] = []
    missing: dict[str, int] = defaultdict(int)
    rows = covered = 0
    for line in (data / "cases.jsonl").read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        if row["engine"] not in {"vllm", "transformers"} or row["kind"] != "measured":
            continue
        if not set(row["measured"]) & _MEMORY:
            continue
        rows += 1
        ours = pairs(row, data)
        if ours is None:
            missing[f"{row['engine']} {row['model']}: {why_not(row, data)}"] += 1
            continue
        covered += 1
        found.extend(ours)
    sys.stdout.write("\n".join(report(found)) + "\n")
    lines = (data / "cases.jsonl").read_text(encoding="utf-8").splitlines()
    printed = all_weighed(map(json.loads, lines), data)
    sys.stdout.write("\n".join(["", *weights_table(printed)]) + "\n")
    sys.stdout.write(f"\ncovered {covered} of {rows} rows with memory figures; not covered:\n")
    for name, count in sorted(missing.items()):
        sys.stdout.write(f"  {count:3} {name}\n")
    sys.stdout.write("\n" + "\n".join(summary(list(training_rows(data)))) + "\n")
    kept = [json.loads(line) for line in lines]
    sys.stdout.write("\n" + "\n".join(llama_cpp.report(kept, data)) + "\n")
    rates, _ = collect(data)
    sys.stdout.write("\ntokens per second of one sequence\n")
    sys.stdout.write("\n".join(speed_report(rates)) + "\n")
    return 0


_MEMORY = {"weights_gib", "kv_gib", "total_gib", "activation_peak_gib", "graph_gib"}


def held_out(pair: Pair) -> bool:
    """The half that no constant was fitted on: by model, so that its rows stay together."""
    return sha256(pair.model.encode()).digest()[0] % 2 == 0


def version_band(pair: Pair) -> str:
    """vLLM up to 0.16 is another engine in its activations; the rest by what was read."""
    if pair.engine != "vllm":
        return pair.version
    minor = int(pair.version.split(".")[1])
    return "0.17 and later" if minor >= 17 else "up to 0.16"


EXPLAINED = {
    **{
        f"qwen-qwen2.5-transformers-qwen2.5-{size}b-instruct-awq-in1": "its AWQ checkpoint of a "
        "tied model loads a head of its own, which only its files say, and drops it later"
        for size in ("0.5", "1.5", "3")
    },
    "transformers 4.38": "kept float32 logits of every position of the prompt; 4.46 does not",
    "vllm up to 0.16, 0.6 to 0.8 (V0)": "an older engine: its step was a whole prompt, its sampler "
    "took 37 bytes an entry and not 14",
    "vllm-0.19-granite-3.1-2b-instruct": "0.46 GiB outside of torch, 0.25 in every other model",
}
"""Rows, or versions, that are further off than the rest, and why."""


def weighted_median(kept: Iterable[Pair]) -> float:
    """The median of absolute errors, where every group, or every model of a large one, weighs 1."""
    by_group: dict[str, list[Pair]] = defaultdict(list)
    for pair in kept:
        by_group[pair.group].append(pair)
    weighed: list[tuple[float, float]] = []
    for members in by_group.values():
        by_model: dict[str, list[Pair]] = defaultdict(list)
        for pair in members:
            by_model[pair.model].append(pair)
        share = 1.0 if len(members) >= LARGE_GROUP else 1 / len(by_model)
        weighed.extend(
            (median(abs(pair.error) for pair in same), share) for same in by_model.values()
        )
    weighed.sort()
    half = sum(weight for _, weight in weighed) / 2
    seen = 0.0
    for error, weight in weighed:
        seen += weight
        if seen >= half:
            return error
    return 0.0


def report(found: Sequence[Pair]) -> list[str]:
    """The table's lines."""
    lines = [
        f"{'engine':13}{'version':16}{'quantity':21}{'rows':>5}{'median':>9}{'held out':>9}"
        f"{'worst':>8}  worst row"
    ]
    keys = sorted({(pair.engine, version_band(pair), pair.quantity) for pair in found})
    for engine, version, quantity in keys:
        kept = [
            pair
            for pair in found
            if (pair.engine, version_band(pair), pair.quantity) == (engine, version, quantity)
        ]
        worst = max(kept, key=lambda pair: abs(pair.error))
        unseen = [pair for pair in kept if held_out(pair)]
        lines.append(
            f"{engine:13}{version:16}{quantity:21}{len(kept):5}"
            f"{weighted_median(kept):9.2%}{weighted_median(unseen):9.2%}{worst.error:+8.1%}"
            f"  {worst.id} ({worst.measured:g}, ours {worst.ours:.4g})"
        )
    lines += [f"  {name}: {why}" for name, why in EXPLAINED.items()]
    ranged = [pair for pair in found if pair.inside is not None and pair.version != "4.38"]
    if ranged:
        inside = sum(bool(pair.inside) for pair in ranged) / len(ranged)
        widest = max(pair.width or 0 for pair in ranged)
        unseen = [pair for pair in ranged if held_out(pair)]
        half = sum(bool(pair.inside) for pair in unseen) / max(1, len(unseen))
        lines.append(
            f"range_bytes of transformers 4.46 and later holds {inside:.0%} of {len(ranged)} "
            f"totals ({half:.0%} of those held out); its half is at most {widest:.1%}"
        )
    return lines


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

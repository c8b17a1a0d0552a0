"""Lists that outgrow one machine: partitions of models in, Parquet out, on a cluster of Ray.

    pip install "hfmem-cli[ray]"
    python examples/ray_audit.py LISTS OUT --ctx 8192 --gpu h100 --workers 8 --sharing 2

LISTS is a folder of lists as ``hfmem audit`` takes them, each a partition; OUT a folder, on storage
that all machines see, with the columns of ``hfmem audit -o FILE.parquet``. A model that several
lists name is asked for once:

    OUT/question.json           what was asked; another question needs another folder
    OUT/rows/DIGEST.parquet     estimates: one row a model and commit, whole files or none
    OUT/failures/DIGEST.parquet what failed in the last run

Idempotent by commit: what is in OUT/rows is not written again while the Hub names the same commit,
so a run that is repeated, or goes on after a crash, adds what is new and nothing else. With HF_HOME
on shared storage a model whose commit is known costs one request.

The Hub's quota is one for an account, or for an address without one. ``--sharing N`` is how many
workers have it in common, and each keeps to an N-th of it (``quota_share``): all of them when they
use one token or one address, those of one machine when every machine has an address of its own.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import ray
from pyarrow import parquet

BATCH = 100
"""Models of one file."""


def models_of(lists: Path, known: Mapping[str, Sequence[str]]) -> list[dict[str, str]]:
    """The models of every list of a folder, each once, with the commits that are written."""
    from hfmem.lists import read_list

    found: dict[str, dict[str, str]] = {}
    for path in sorted(path for path in lists.iterdir() if path.is_file()):
        for row in read_list(str(path), stdin=io.BytesIO()):
            columns = json.dumps({"list": path.name, **row.input})
            commits = json.dumps(known.get(row.model, ()))
            found.setdefault(row.model, {"model": row.model, "input": columns, "known": commits})
    return list(found.values())


class Auditor:
    """A worker: batches of models in, files of rows out."""

    def __init__(self, *, out: str, asked: Mapping[str, Any]) -> None:
        from hfmem import auditing

        self._out = Path(out)
        self._options = auditing.options_of(**asked)

    def __call__(self, batch: Mapping[str, Sequence[Any]]) -> dict[str, list[int]]:
        """Audit a batch; how many rows are new, were known, and failed."""
        from hfmem import auditing
        from hfmem.report.json import line

        items = [
            auditing.ListItem(model=str(model), input=json.loads(str(columns)))
            for model, columns in zip(batch["model"], batch["input"], strict=True)
        ]
        answers = auditing.audit(items, self._options, expected=len(items))
        rows = [json.loads(line(answer)) for answer in answers]
        failed = [row for row in rows if row["type"] == "failure"]
        known = [json.loads(str(commits)) for commits in batch["known"]]
        new = [
            row
            for row, commits in zip(rows, known, strict=True)
            if row["type"] == "result" and row["revision"] not in commits
        ]
        self._write("rows", new)
        self._write("failures", failed)
        kept = len(rows) - len(new) - len(failed)
        return {"new": [len(new)], "known": [kept], "failed": [len(failed)]}

    def _write(self, folder: str, rows: Sequence[Mapping[str, Any]]) -> None:
        """A file of rows, under a name that the same rows have again."""
        if not rows:
            return
        from hfmem.report import parquet as report

        keys = sorted(f"{row['model']} {row.get('revision')} {row.get('code')}" for row in rows)
        digest = hashlib.sha256("\n".join(keys).encode()).hexdigest()[:16]
        target = self._out / folder / f"{digest}.parquet"
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=target.parent, prefix=".", delete=False) as draft:
            path = Path(draft.name)
        report.write(path, rows, self._options.workload)
        path.replace(target)


def audit(
    lists: Path, out: Path, *, asked: Mapping[str, Any], workers: int, sharing: int
) -> dict[str, int]:
    """Audit every list of a folder on the cluster that Ray is connected to."""
    _check_question(out, asked)
    models = models_of(lists, _kept(out / "rows"))
    if not models:
        raise SystemExit(f"error: {lists} holds no list")
    _forget(out / "failures")
    blocks = max(workers, -(-len(models) // BATCH))
    counted = ray.data.from_items(models, override_num_blocks=blocks).map_batches(
        Auditor,
        batch_size=BATCH,
        compute=ray.data.ActorPoolStrategy(size=workers),
        fn_constructor_kwargs={"out": str(out), "asked": {**asked, "quota_share": 1 / sharing}},
    )
    totals = {"new": 0, "known": 0, "failed": 0}
    for row in counted.iter_rows():
        totals = {name: totals[name] + int(row[name]) for name in totals}
    return totals


def _kept(folder: Path) -> dict[str, list[str]]:
    """The commits of each model that earlier runs wrote, by the name that was asked for."""
    found: dict[str, list[str]] = {}
    for path in sorted(folder.glob("*.parquet")):
        for row in parquet.read_table(path, columns=["model", "revision"]).to_pylist():
            found.setdefault(row["model"], []).append(row["revision"])
    return found


def _check_question(out: Path, asked: Mapping[str, Any]) -> None:
    path = out / "question.json"
    question = json.dumps(asked, sort_keys=True)
    if path.exists() and path.read_text(encoding="utf-8") != question:
        raise SystemExit(f"error: {out} holds the answers to another question: {path.read_text()}")
    out.mkdir(parents=True, exist_ok=True)
    path.write_text(question, encoding="utf-8")


def _forget(folder: Path) -> None:
    for path in folder.glob("*.parquet"):
        path.unlink()


def _check(lists: Path, asked: Mapping[str, Any]) -> None:
    """Say what is wrong before a cluster is started."""
    import hfmem

    if not lists.is_dir():
        raise SystemExit(f"error: {lists} is no folder of lists")
    try:
        hfmem.audit((), **asked)
    except hfmem.UsageError as error:
        raise SystemExit(f"error: {error.message}\nhint: {error.hint}") from None


def main(words: Iterable[str] | None = None) -> None:
    """Audit the lists that the command line names."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("lists", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--ctx", type=int, default=8192)
    parser.add_argument("--gpu", action="append", default=[])
    parser.add_argument("--runtime", default="transformers")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--sharing", type=int, help="workers that have one quota; all")
    parser.add_argument("--address", help="of the cluster; none starts one here")
    found = parser.parse_args(None if words is None else list(words))
    asked = {"ctx": found.ctx, "gpu": found.gpu, "runtime": found.runtime}
    _check(found.lists, asked)
    ray.init(address=found.address)
    totals = audit(
        found.lists,
        found.out,
        asked=asked,
        workers=found.workers,
        sharing=found.sharing or found.workers,
    )
    print(", ".join(f"{number:,} {name}" for name, number in totals.items()))


if __name__ == "__main__":
    main()

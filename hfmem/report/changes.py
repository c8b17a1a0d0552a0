"""What changed since an earlier audit: commit, size, types, verdicts, models that came and went."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from itertools import chain
from pathlib import Path
from typing import Any

from msgspec import Struct
from msgspec.structs import asdict

from hfmem.errors import UsageError
from hfmem.report.phrases import size_or_unknown
from hfmem.text import clean

Facts = Mapping[str, str]
"""What is compared of a model, in the words in which a difference is told, in that order."""

_SHORT_COMMIT = 8
_ESTIMATED = "estimated"
_OF_THE_MODEL = frozenset({"answer", "commit", "dtype", "size"})
"""What does not depend on the question."""
_BYTES_CAP = 2**31


class Baseline(Struct, frozen=True, kw_only=True):
    """An earlier audit."""

    facts: Mapping[str, Facts]
    question: Mapping[str, object] | None
    """What it asked, as ``json.asked``; None where it does not say."""


class Change(Struct, frozen=True, kw_only=True):
    """One difference of one model."""

    model: str
    what: str
    """``commit``, ``size`` (of the checkpoint), ``total``, ``dtype``, ``h100-sxm``, ``answer``,
    ``list``."""
    then: str
    now: str

    def line(self) -> str:
        """The difference in one line."""
        return f"{clean(self.model)}: {clean(self.what)} {clean(self.then)} → {clean(self.now)}"

    def to_dict(self) -> dict[str, str]:
        """An element of the JSON's ``changes``."""
        return asdict(self)


def baseline(path: Path) -> Baseline:
    """An earlier audit: a file of ``--format jsonl`` or ``json``, or a journal.

    Raises UsageError.
    """
    questions: list[Mapping[str, object]] = []
    try:
        facts = dict(keyed(_rows(path, questions)))
        return Baseline(facts=facts, question=questions[0] if questions else None)
    except OSError as error:
        raise UsageError(
            f"The baseline {str(path)!r:.200} cannot be read: {error.strerror}.",
            hint="Name a file that `hfmem audit LIST -o FILE.jsonl` wrote.",
        ) from None
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise UsageError(
            f"The baseline {str(path)!r:.200} is not the JSON of an audit.",
            hint="Name a file that `hfmem audit LIST -o FILE.jsonl` or `-o FILE.json` wrote.",
        ) from None


def other_question(then: Baseline, asked: Mapping[str, object]) -> str:
    """How the question of a baseline differs, in words; empty where it is the same.

    ``ctx 4096 then, 8192 now``. The GPUs are no part of it: those that both name are compared.
    """
    if then.question is None:
        estimated = any(facts["answer"] == _ESTIMATED for facts in then.facts.values())
        return "it does not say what was asked" if estimated else ""
    return ", ".join(
        f"{name} {clean(str(then.question.get(name)))} then, {clean(str(value))} now"
        for name, value in asked.items()
        if _plain(then.question.get(name)) != _plain(value)
    )


def compare(
    then: Baseline, now: Iterable[Mapping[str, Any]], asked: Mapping[str, object]
) -> Iterator[Change]:
    """Every difference, in the order of the list; what is no longer listed comes last.

    Of a baseline with another question only what does not depend on it is compared.
    """
    seen = set()
    same = not other_question(then, asked)
    for key, facts in keyed(now):
        seen.add(key)
        before = then.facts.get(key)
        model = facts["model"]
        if before is None:
            yield Change(model=model, what="list", then="not in it", now="in it")
            continue
        # A card that only one of the two audits was asked about is no change.
        for what in [name for name in facts if name in before and name != "model"]:
            if (same or what in _OF_THE_MODEL) and facts[what] != before[what]:
                yield Change(model=model, what=what, then=before[what], now=facts[what])
    for key, facts in then.facts.items():
        if key not in seen:
            yield Change(model=facts["model"], what="list", then="in it", now="not in it")


def keyed(rows: Iterable[Mapping[str, Any]]) -> Iterator[tuple[str, Facts]]:
    """The facts of each row under its model's name; of a name that comes again ``#2`` and on."""
    times: dict[str, int] = {}
    for row in rows:
        name = str(row["model"])
        times[name] = times.get(name, 0) + 1
        yield f"{name}#{times[name]}", _facts(row)


def _facts(row: Mapping[str, Any]) -> Facts:
    if "code" in row:
        return {"model": str(row["model"]), "answer": str(row["code"])}
    memory, parameters = row["memory"], row["parameters"]["by_dtype"] or {}
    return {
        "model": str(row["model"]),
        "answer": _ESTIMATED,
        "commit": str(row["revision"] or "unknown")[:_SHORT_COMMIT],
        "dtype": " + ".join(sorted(parameters)) or str(row["dtype"]),
        "size": _exactly(row["checkpoint_bytes"]),
        "total": size_or_unknown(memory["total_bytes"]),
        **{
            f"{fit['gpu']}" + (f":{fit['count']}" if fit["count"] > 1 else ""): str(
                fit["verdict"] or "unknown"
            )
            for fit in row["fit"]
        },
    }


def _plain(value: object) -> object:
    """As JSON has it: a pair is a list."""
    return json.loads(json.dumps(value))


def _exactly(size: int | None) -> str:
    return "unknown" if size is None else f"{size:,} bytes"


def _rows(path: Path, questions: list[Mapping[str, object]]) -> Iterator[Mapping[str, Any]]:
    """The elements of a document, or the lines of JSONL, of which the first shows which it is.

    What was asked is appended to ``questions`` where it is found.
    """
    with path.expanduser().open("rb") as file:
        first = file.readline(_BYTES_CAP)
        if first.strip() in (b"{", b""):
            document = json.loads(first + file.read(_BYTES_CAP))
            questions.append(document["workload"])
            yield from chain(document["results"], document["failures"])
            return
        for line in chain((first,), file):
            row = json.loads(line)
            asked = row.get("question" if row.get("type") == "audit" else "workload")
            if isinstance(asked, dict) and not questions:
                questions.append(asked)
            if "results" in row:
                yield from chain(row["results"], row["failures"])
            elif row["type"] != "audit":
                yield row

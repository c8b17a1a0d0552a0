"""Answers read back from their rows look as they did."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from hfmem.answer import Estimate, Failure
from hfmem.memory.workload import Workload
from hfmem.report import json as own_json
from hfmem.report.document import Layout, renderer
from hfmem.report.documents import Store, pieces
from hfmem.report.formats import Format
from hfmem.report.screen import Screen


@pytest.fixture
def answers(
    full_estimate: Estimate,
    make_estimate: Callable[..., Estimate],
    make_failure: Callable[..., Failure],
) -> list[Estimate | Failure]:
    return [
        full_estimate,
        make_estimate("org/unknown", unknown=("weights",), fit=full_estimate.fit),
        make_failure("org/gated", input={"team": "search"}),
    ]


@pytest.mark.parametrize("explain", [False, True])
@pytest.mark.parametrize("name", ["table", "markdown", "csv", "json", "jsonl"])
def test_many_rows_are_laid_out_as_from_the_objects(
    name: Format, explain: bool, answers: list[Estimate | Failure]
) -> None:
    layout = Layout(workload=Workload(ctx=8192), screen=Screen(), single=False, explain=explain)
    lines = [own_json.line(answer) for answer in answers]
    store = Store(lines=lambda: iter(lines))
    written = "".join(pieces(name, store, layout))
    direct = renderer(name)(answers, layout)
    if name == "json":
        assert json.loads(written) == json.loads(direct)
    else:
        assert written == direct


def test_parquet(
    answers: list[Estimate | Failure], tmp_path: object, full_estimate: Estimate
) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    from pathlib import Path

    from hfmem.report.documents import write_parquet

    lines = [own_json.line(answer) for answer in answers]
    path = Path(str(tmp_path)) / "x.parquet"
    layout = Layout(workload=Workload(ctx=8192), screen=Screen(), single=False, explain=False)
    write_parquet(path, Store(lines=lambda: iter(lines)), layout)
    first, unknown, failed = parquet.read_table(path).to_pylist()
    assert (first["model"], first["total_bytes"]) == (full_estimate.model.name, 16 * 2**30)
    assert [fit["verdict"] for fit in first["fit"]] == ["fits", "no"]
    assert (unknown["weights_bytes"], unknown["total_bytes"]) == (None, None)
    assert (failed["error_code"], failed["input"]) == ("gated_model", [("team", "search")])

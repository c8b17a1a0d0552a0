"""Parquet for data frames: typed columns, one row a model, failures included."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hfmem.errors import UsageError
from hfmem.memory.estimate import PARTS
from hfmem.memory.workload import Workload
from hfmem.report.stored import Stored

if TYPE_CHECKING:
    import pyarrow as pa

_BATCH = 1000
_INT64_MAX = 2**63 - 1
_TOO_LARGE = "Numbers beyond 64 bits are null."


def require() -> None:
    """Raise UsageError where pyarrow is not installed."""
    try:
        import pyarrow.parquet  # noqa: F401
    except ImportError:
        raise UsageError(
            "Parquet needs pyarrow, which is not installed.",
            hint='Install it: pip install "hfmem-cli[parquet]"',
        ) from None


def write(path: Path, rows: Iterable[Stored], workload: Workload) -> None:
    """All rows, a thousand a row group; sizes in bytes, unknown is null.

    ``fit`` is a list of structures, one a GPU group; ``input`` the list's own columns.
    """
    import pyarrow as pa
    from pyarrow import parquet

    schema = _schema()
    with parquet.ParquetWriter(path, schema, compression="zstd") as writer:
        flat = (_bounded(_row(row, workload)) for row in rows)
        while batch := list(islice(flat, _BATCH)):
            writer.write_table(pa.Table.from_pylist(batch, schema=schema))


def _schema() -> pa.Schema:
    import pyarrow as pa

    text, number = pa.string(), pa.int64()
    verdict = pa.struct(
        [
            *(("gpu", text), ("count", number), ("verdict", text), ("decided_by", text)),
            *(("usable_bytes", number), ("headroom_bytes", number)),
            *(("max_ctx", number), ("max_batch", number)),
        ]
    )
    return pa.schema(
        [
            *((name, text) for name in ("model", "revision", "source", "model_type", "dtype")),
            *((name, number) for name in ("parameters_total", "parameters_active")),
            *((name, number) for name in ("ctx", "batch")),
            ("runtime", text),
            *((f"{name}_bytes", number) for name in ("total", *PARTS)),
            *((name, number) for name in ("range_low_bytes", "range_high_bytes")),
            ("phase", text),
            ("kv_cache_bytes_per_token", number),
            ("kv_cache_dtype", text),
            *((name, number) for name in ("checkpoint_bytes", "files_bytes")),
            ("fit", pa.list_(verdict)),
            ("notes", pa.list_(text)),
            *((name, text) for name in ("error_code", "error_message", "error_hint")),
            ("input", pa.map_(text, text)),
        ]
    )


def _bounded(row: dict[str, Any]) -> dict[str, Any]:
    """The row with null for what 64 bits do not hold: an absurd question has absurd answers."""
    held: dict[str, Any] = _held(row)
    if held != row:
        held["notes"] = [*held.get("notes", ()), _TOO_LARGE]
    return held


def _held(value: Any) -> Any:
    match value:
        case dict():
            return {key: _held(inner) for key, inner in value.items()}
        case list():
            return [_held(inner) for inner in value]
        case int() if abs(value) > _INT64_MAX:
            return None
        case _:
            return value


def _row(row: Stored, workload: Workload) -> dict[str, Any]:
    if row["type"] == "failure":
        return {
            "model": row["model"],
            **{f"error_{name}": row[name] for name in ("code", "message", "hint")},
            "input": list(row["input"].items()),
        }
    return {
        **{name: row[name] for name in ("model", "revision", "source", "dtype", "ctx", "phase")},
        "model_type": row["architecture"]["model_type"],
        "parameters_total": row["parameters"]["total"],
        "parameters_active": row["parameters"]["active"],
        "batch": workload.batch,
        "runtime": workload.runtime,
        **row["memory"],
        "range_low_bytes": row["range_bytes"][0],
        "range_high_bytes": row["range_bytes"][1],
        "kv_cache_bytes_per_token": row["kv_cache"]["bytes_per_token"],
        "kv_cache_dtype": row["kv_cache"]["dtype"],
        "checkpoint_bytes": row["checkpoint_bytes"],
        "files_bytes": row["download"]["files_bytes"],
        "fit": row["fit"],
        "notes": [note["message"] for note in row["notes"]],
        "input": list(row["input"].items()),
    }

"""The formats by name, and the suffixes that mean them."""

from __future__ import annotations

from typing import Literal

Format = Literal["table", "json", "jsonl", "csv", "markdown", "html", "parquet"]

SUFFIXES: dict[str, Format] = {
    ".txt": "table",
    ".json": "json",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".csv": "csv",
    ".md": "markdown",
    ".markdown": "markdown",
    ".html": "html",
    ".htm": "html",
    ".parquet": "parquet",
}

"""Lists of models: plain text, CSV and JSONL, from a file or a pipe, as they come."""

from __future__ import annotations

import codecs
import csv
import io
import json
import re
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import BinaryIO, Literal

from hfmem.answer import Failure, failure
from hfmem.auditing import ListItem
from hfmem.errors import InvalidListLineError, UsageError
from hfmem.text import clean

Kind = Literal["text", "csv", "jsonl"]
Row = ListItem | Failure

MAX_BYTES = 256 * 2**20
MAX_LINE = 2**20
"""Characters of a line, or of a CSV cell."""
MAX_ROWS = 1_000_000

_KINDS: dict[str, Kind] = {".csv": "csv", ".tsv": "csv", ".jsonl": "jsonl", ".ndjson": "jsonl"}
# utf-32-le begins with the mark of utf-16-le, so it is looked for first.
_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_UNDECODED = re.compile("[\ud800-\udfff]")
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
_PATH = re.compile(r"[./~\\]|[A-Za-z]:[\\/]")


def read_list(path: str, *, stdin: BinaryIO) -> tuple[Row, ...]:
    """The models of a list, in order; a line that names none is a Failure in its place.

    ``-`` reads ``stdin``. A list is text (one MODEL a line, ``#`` comments, blank lines), or CSV or
    JSONL with ``model`` as one of its columns, by its suffix or else its first line. Lines that
    repeat a model are rows of their own. Raises UsageError for a list that cannot be read, names
    nothing, has no column ``model`` or is beyond MAX_BYTES or MAX_ROWS.
    """
    name = "standard input" if path == "-" else path
    text = decode(_read(path, stdin=stdin), name=name)
    kind = _KINDS.get(Path(path).suffix.lower()) or _guess(text)
    rows = tuple(islice(_READERS[kind](text, name), MAX_ROWS + 1))
    if len(rows) > MAX_ROWS:
        raise UsageError(f"{name} has more than {MAX_ROWS:,} models.", hint="Split the list.")
    if not rows:
        raise UsageError(f"{name} names no model.", hint="Write one MODEL a line.")
    return rows


def _read(path: str, *, stdin: BinaryIO) -> bytes:
    try:
        if path == "-":
            content = stdin.read(MAX_BYTES + 1)
        else:
            with Path(path).expanduser().open("rb") as file:
                content = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise UsageError(
            f"The list {path!r:.200} cannot be read: {error.strerror}.",
            hint=f"To estimate one model: hfmem {path:.200}",
        ) from None
    except ValueError:
        raise UsageError(f"{path!r:.200} is not a path.", hint="Name a file, or -.") from None
    if len(content) > MAX_BYTES:
        raise UsageError(
            f"The list {path!r:.200} is larger than {MAX_BYTES // 2**20} MiB.",
            hint="Split the list.",
        )
    return content


def decode(content: bytes, *, name: str) -> str:
    """Text by its byte-order mark, else UTF-8; UTF-16 without a mark is known by its zeros.

    Bytes that are no UTF-8 become lone surrogates, for the line's own failure. Raises UsageError
    for broken UTF-16 and UTF-32.
    """
    marked = next((pair for pair in _MARKS if content.startswith(pair[0])), None)
    mark, encoding = marked or (b"", _without_mark(content[:4096]))
    content = content[len(mark) :]
    if encoding == "utf-8":
        return content.decode("utf-8", "surrogateescape")
    try:
        return content.decode(encoding)
    except UnicodeDecodeError as error:
        raise UsageError(
            f"{name} is no valid {encoding.upper()}: {error.reason}.", hint="Save it as UTF-8."
        ) from None


def _without_mark(head: bytes) -> str:
    """ASCII in UTF-16 has a zero in every other byte."""
    even, odd = head[0::2].count(0), head[1::2].count(0)
    if 3 * max(even, odd) < len(head):
        return "utf-8"
    return "utf-16-le" if odd > even else "utf-16-be"


def _guess(text: str) -> Kind:
    first = next((line for line in _lines(text[:MAX_LINE]) if line.strip()), "")
    if first.lstrip().startswith("{"):
        return "jsonl"
    return "csv" if _delimiter(first) else "text"


def _delimiter(header: str) -> str | None:
    """What separates the columns of a header that has ``model`` beside others."""
    for candidate in (",", ";", "\t"):
        cells = [cell.strip().strip('"').casefold() for cell in header.split(candidate)]
        if len(cells) > 1 and "model" in cells:
            return candidate
    return None


def _lines(text: str) -> Iterator[str]:
    """Lines by LF, CRLF or CR alone; ``splitlines`` would also cut at form feeds and the like."""
    yield from (line.rstrip("\n") for line in io.StringIO(text, newline=None))


def _text_rows(text: str, name: str) -> Iterator[Row]:
    for number, line in enumerate(_lines(text), start=1):
        model = re.split(r"(?:^|\s)#", line, maxsplit=1)[0].strip()
        if not model:
            continue
        readable = not (_UNDECODED.search(model) or _CONTROL.search(model))
        if readable and re.search(r"[\s,;]", model) and not _PATH.match(model):
            yield _bad(
                f"{_at(name, number)} is not one model.",
                line,
                hint="Write one MODEL a line; a CSV needs a header with the column model.",
            )
        else:
            yield _item(model, {}, at=_at(name, number), shown=line)


def _csv_rows(text: str, name: str) -> Iterator[Row]:
    header_line = next((line for line in _lines(text) if line.strip()), "")
    csv.field_size_limit(MAX_LINE)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=_delimiter(header_line) or ",")
    rows = _readable(reader, name)
    header: list[str] | None = None
    for at, cells in rows:
        if isinstance(cells, Failure):
            yield cells
        elif not any(cell.strip() for cell in cells):
            continue
        elif header is None:
            header = _header(cells, name)
        else:
            yield _csv_row(cells, header, at=at)


def _readable(reader: Iterator[list[str]], name: str) -> Iterator[tuple[str, list[str] | Failure]]:
    """Every row with its place; one that the csv module refuses as a Failure."""
    number = 0
    while True:
        number += 1
        at = f"Row {number:,} of {name}"
        try:
            yield at, next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            yield at, _bad(f"{at}: {error}.", "", hint="Check its quotes.")


def _header(cells: list[str], name: str) -> list[str]:
    columns = [clean(cell) or f"column {number}" for number, cell in enumerate(cells, start=1)]
    models = [number for number, column in enumerate(columns) if column.casefold() == "model"]
    if len(models) != 1:
        raise UsageError(
            f"{name} has {len(models) or 'no'} columns called model; it has: "
            f"{', '.join(columns[:20])}.",
            hint="Name the column with the models: model",
        )
    columns[models[0]] = "model"
    seen: dict[str, int] = {}
    for number, column in enumerate(columns):
        seen[column] = seen.get(column, 0) + 1
        if seen[column] > 1:
            columns[number] = f"{column} {seen[column]}"
    return columns


def _csv_row(cells: list[str], header: list[str], *, at: str) -> Row:
    if len(cells) > len(header):
        return _bad(
            f"{at} has {len(cells)} cells below {len(header)} columns.",
            cells[header.index("model")],
            hint="Quote cells that hold the separator.",
        )
    columns = dict(zip(header, cells, strict=False))
    return _item(columns.pop("model", ""), columns, at=at)


def _jsonl_rows(text: str, name: str) -> Iterator[Row]:
    for number, line in enumerate(_lines(text), start=1):
        if line.strip():
            yield _jsonl_row(line, at=_at(name, number))


def _jsonl_row(line: str, *, at: str) -> Row:
    hint = 'Write one object a line: {"model": "org/name"}'
    if len(line) > MAX_LINE:
        return _bad(f"{at} is longer than {MAX_LINE:,} characters.", line, hint=hint)
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        return _bad(f"{at} is not JSON.", line, hint=hint)
    if not isinstance(row, dict) or not isinstance(model := row.pop("model", None), str):
        return _bad(f"{at} is no object with a text called model.", line, hint=hint)
    columns = {
        key: value if isinstance(value, str) else json.dumps(value) for key, value in row.items()
    }
    return _item(model, columns, at=at, shown=line)


def _item(model: str, columns: dict[str, str], *, at: str, shown: str = "") -> Row:
    """A model of the list, or the failure of a line that holds what no name can."""
    name = model.strip()
    if not name:
        return _bad(f"{at} names no model.", shown, hint="Fill in its column model.")
    if _UNDECODED.search(name):
        return _bad(f"{at} is not UTF-8.", shown or model, hint="Save the list as UTF-8.")
    if _CONTROL.search(name) or len(name) > MAX_LINE:
        return _bad(f"{at} is no text.", shown or model, hint="A list is text, CSV or JSONL.")
    return ListItem(
        model=name,
        input={_replaced(key): _replaced(value) for key, value in columns.items()},
    )


def _replaced(text: str) -> str:
    return _UNDECODED.sub("\ufffd", text)


def _bad(message: str, line: str, *, hint: str) -> Failure:
    shown = clean(line, limit=120)
    return failure(shown, InvalidListLineError(clean(message), hint=hint))


def _at(name: str, number: int) -> str:
    return f"Line {number:,} of {clean(name, limit=120)}"


_READERS: dict[Kind, Callable[[str, str], Iterator[Row]]] = {
    "text": _text_rows,
    "csv": _csv_rows,
    "jsonl": _jsonl_rows,
}

"""Lists of models, as people and programs write them."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hfmem import lists
from hfmem.answer import Failure
from hfmem.auditing import ListItem
from hfmem.errors import UsageError
from hfmem.lists import read_list


def read(content: bytes) -> tuple[ListItem | Failure, ...]:
    return read_list("-", stdin=io.BytesIO(content))


def models(content: bytes) -> list[str]:
    rows = read(content)
    assert all(isinstance(row, ListItem) for row in rows)
    return [row.model for row in rows]


TEXT = "# ours\n\norg/a\n  org/b@main  # two\norg/c:Q4_K_M\norg/a\n"


@pytest.mark.parametrize(
    "content",
    [
        TEXT.encode(),
        TEXT.rstrip("\n").encode(),
        TEXT.replace("\n", "\r\n").encode(),
        TEXT.replace("\n", "\r").encode(),
        TEXT.encode("utf-8-sig"),
        TEXT.encode("utf-16"),
        TEXT.encode("utf-16-le"),
        TEXT.encode("utf-16-be"),
        TEXT.encode("utf-32"),
    ],
)
def test_text_in_every_encoding(content: bytes) -> None:
    assert models(content) == ["org/a", "org/b@main", "org/c:Q4_K_M", "org/a"]


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("model,team\norg/a,search\norg/b,ads\n", [("org/a", {"team": "search"})]),
        ("team;model\nsearch;org/a\n", [("org/a", {"team": "search"})]),
        ("team\tmodel\nsearch\torg/a\n", [("org/a", {"team": "search"})]),
        ('"team","model"\r\n"a,\nb","org/a"\r\n', [("org/a", {"team": "a,\nb"})]),
        (" Model , Team \norg/a,x\n", [("org/a", {"Team": "x"})]),
        ("\nmodel,team\n\n,,\norg/a\n", [("org/a", {})]),
        ("model,x,x,\norg/a,1,2,3\n", [("org/a", {"x": "1", "x 2": "2", "column 4": "3"})]),
        ('{"model": "org/a", "n": 1, "l": [1]}\n\n', [("org/a", {"n": "1", "l": "[1]"})]),
        ('{"n": "\\ud800", "model": "org/a"}', [("org/a", {"n": "\ufffd"})]),
    ],
)
def test_columns_are_carried(content: str, expected: list[tuple[str, dict[str, str]]]) -> None:
    if content == "\nmodel,team\n\n,,\norg/a\n":
        content = content.replace(",,\n", ",\n")
    rows = read(content.encode())
    assert [(row.model, row.input) for row in rows][:1] == expected


@pytest.mark.parametrize(
    ("content", "line", "says"),
    [
        (b"org/a\norg/b org/c\n", 1, "Line 2 of standard input is not one model."),
        (b"org/a\norg/b,ads\n", 1, "Line 2 of standard input is not one model."),
        (b"org/\xff x\norg/a\n", 0, "Line 1 of standard input is not UTF-8."),
        (b"org/\xff\norg/a\n", 0, "Line 1 of standard input is not UTF-8."),
        (b"org/a\norg/\x01b\n", 1, "Line 2 of standard input is no text."),
        (b"model,team\n,ads\n", 0, "Row 2 of standard input names no model."),
        (b"model,team\na,b,c\n", 0, "Row 2 of standard input has 3 cells below 2 columns."),
        (b'{"model": "a"}\nnot json\n', 1, "Line 2 of standard input is not JSON."),
        (b'{"model": 7}\n', 0, "Line 1 of standard input is no object with a text called model."),
        (b'{"model": "a"}\n["b"]\n', 1, "is no object"),
        (b'{"model": ""}\n', 0, "names no model"),
        (b'{"model": "\\ud800"}\n', 0, "is not UTF-8"),
        (b'{"model": "a", "x": ' + b"[" * 100_000 + b"\n", 0, "is not JSON"),
        (b'{"model": "a", "x": ' + b"9" * 5000 + b"}\n", 0, "is not JSON"),
    ],
)
def test_a_bad_line_is_a_failure_in_its_place(content: bytes, line: int, says: str) -> None:
    failure = read(content)[line]
    assert isinstance(failure, Failure)
    assert failure.code == "invalid_list_line"
    assert says in failure.message
    assert failure.hint
    assert len(failure.model) <= 120


def test_good_lines_survive_bad_ones() -> None:
    rows = read(b"a\nb c\nd\n")
    assert [type(row) for row in rows] == [ListItem, Failure, ListItem]


def test_paths_may_hold_blanks() -> None:
    assert models(b"./my models/a\n~/x y\nC:\\my models\n") == [
        "./my models/a",
        "~/x y",
        "C:\\my models",
    ]


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("a.txt", b"", "names no model"),
        ("a.txt", b"# only\n\n", "names no model"),
        ("a.csv", b"name,team\norg/a,x\n", "no columns called model; it has: name, team"),
        ("a.csv", b"model,Model\norg/a,x\n", "2 columns called model"),
        ("a.txt", b"\xff\xfea", "is no valid UTF-16-LE"),
    ],
)
def test_a_list_that_says_nothing(name: str, content: bytes, says: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(UsageError, match=says) as caught:
        read_list(str(path), stdin=io.BytesIO())
    assert caught.value.hint


@pytest.mark.parametrize("path", ["/nowhere/list.txt", "/", "a\0b"])
def test_a_list_that_is_not_there(path: str) -> None:
    with pytest.raises(UsageError):
        read_list(path, stdin=io.BytesIO())


def test_the_suffix_decides_before_the_content(tmp_path: Path) -> None:
    path = tmp_path / "list.csv"
    path.write_text("model\norg/a\n")
    assert [row.model for row in read_list(str(path), stdin=io.BytesIO())] == ["org/a"]


def test_caps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lists, "MAX_ROWS", 3)
    assert len(read(b"a\n" * 3)) == 3
    with pytest.raises(UsageError, match="more than 3 models"):
        read(b"a\n" * 4)
    monkeypatch.setattr(lists, "MAX_BYTES", 2**20)
    with pytest.raises(UsageError, match="larger than 1 MiB"):
        read(b"a\n" * 2**20)


def test_long_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lists, "MAX_LINE", 1000)
    (cell,) = read(b"model,x\norg/a," + b"y" * 1001 + b"\n")
    assert isinstance(cell, Failure)
    (line,) = read(b'{"model": "a", "x": "' + b"y" * 1001 + b'"}\n')
    assert isinstance(line, Failure)


@given(st.binary(max_size=400))
def test_any_bytes_are_rows_or_one_clear_error(content: bytes) -> None:
    try:
        rows = read(content)
    except UsageError:
        return
    for row in rows:
        assert row.model == row.model.strip()
        row.model.encode()

"""JSON from strangers."""

from __future__ import annotations

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hfmem.checkpoint import strict_json
from hfmem.errors import InvalidValueError


def loads(raw: bytes, *, max_depth: int = 64) -> object:
    return strict_json.loads(raw, what="config.json", error=InvalidValueError, max_depth=max_depth)


@pytest.mark.parametrize(
    ("raw", "because"),
    [
        (b"", "not JSON"),
        (b"<!DOCTYPE html>", "not JSON"),
        (b"{}{}", "not JSON"),
        (b'{"a": 1,}', "not JSON"),
        (b'{"a\n": 1}', "not JSON"),
        (b"\xff\xfe{\x00}\x00", "UTF-8"),
        (b'{"a": "\xc3"}', "UTF-8"),
        # transformers 5.23.0 reads config.json as utf-8 and fails on the mark as well.
        (b"\xef\xbb\xbf{}", "byte order mark"),
        (b'{"a": 1, "a": 1}', "'a' twice"),
        (b'{"b": {"a": 1, "a": 2}}', "'a' twice"),
        (b'{"\\u0061": 1, "a": 1}', "'a' twice"),
        (b'{"a": NaN}', "NaN"),
        (b'{"a": "\\ud800"}', "surrogate"),
        (b'{"\\udc00": 1}', "surrogate"),
        (b'{"a": ' + b"9" * 5000 + b"}", "too long"),
        (b'{"a": ' + b"9" * 100 + b"}", "2^127"),
        (b'{"a": -' + b"9" * 100 + b"}", "2^127"),
        (b"[" * 100_000, "deep"),
        (b"[" * 66 + b"]" * 66, "deeper than 64"),
        (b'{"a":' * 66 + b"1" + b"}" * 66, "deeper than 64"),
    ],
)
def test_refused(raw: bytes, because: str) -> None:
    with pytest.raises(InvalidValueError) as caught:
        loads(raw)
    assert because in caught.value.message
    assert caught.value.message.startswith("config.json ")
    assert caught.value.hint


@pytest.mark.parametrize(
    ("raw", "value"),
    [
        (b"{}", {}),
        (b" [1, -2.5e3, true, null] ", [1, -2500.0, True, None]),
        ('{"é": "日本"}'.encode(), {"é": "日本"}),
        (b'{"a": "\\ud83d\\ude00"}', {"a": "\U0001f600"}),
        # int(1e30), which tokenizers save for "no limit".
        (b"1000000000000000019884624838656", int(1e30)),
        # nvidia/Nemotron-H-56B-Base-8K: config.json.
        (b'{"time_step_limit": [0.0, Infinity]}', {"time_step_limit": [0.0, math.inf]}),
        (b"[" * 64 + b"]" * 64, None),
    ],
)
def test_read(raw: bytes, value: object) -> None:
    found = loads(raw)
    assert value is None or found == value


values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**64), 2**64)
    | st.floats(allow_nan=False)
    | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4)
    ),
    max_leaves=12,
)


@given(values, st.booleans())
def test_reads_what_json_writes(value: object, ensure_ascii: bool) -> None:
    assert loads(json.dumps(value, ensure_ascii=ensure_ascii).encode()) == value


@given(st.binary(max_size=100))
def test_arbitrary_bytes_raise_the_promised_error_only(raw: bytes) -> None:
    try:
        found = loads(raw)
    except InvalidValueError:
        return
    assert found == json.loads(raw.decode())


def test_pairs_keep_order_and_repetition() -> None:
    found = strict_json.pairs(b'{"b": [{}], "a": 1, "b": 2}', what="x", error=InvalidValueError)
    assert found == (("b", [()]), ("a", 1), ("b", 2))
    assert isinstance(found, tuple)
    assert strict_json.first_duplicate(found) == "'b'"


@pytest.mark.parametrize("constant", [b"NaN", b"Infinity", b"-Infinity"])
def test_pairs_have_no_constants(constant: bytes) -> None:
    with pytest.raises(InvalidValueError, match="which is no number"):
        strict_json.pairs(constant, what="x", error=InvalidValueError)

"""The engines' flags: every type's values, what is refused, and equal flags that are equal."""

from __future__ import annotations

from fractions import Fraction

import pytest

from hfmem.errors import UsageError
from hfmem.flag import Flags, Value
from hfmem.flags import FLAGS, flags_of


@pytest.mark.parametrize(
    ("name", "given", "value"),
    [
        ("max_num_seqs", "256", 256),
        ("max_num_seqs", 512, 512),
        ("max_num_batched_tokens", "8_192", 8192),
        ("gpu_memory_utilization", "0.92", Fraction(23, 25)),
        ("gpu_memory_utilization", 0.5, Fraction(1, 2)),
        ("gpu_memory_utilization", "1", Fraction(1)),
        ("cpu_offload_gb", "1.5", 3 * 2**29),
        ("kv_cache_memory_bytes", "8GiB", 2**33),
        ("kv_cache_memory_bytes", "1000", 1000),
        ("enforce_eager", True, True),
        ("mamba_cache_mode", "align", "align"),
    ],
)
def test_values(name: str, given: object, value: Value) -> None:
    assert dict(flags_of({name: given}, runtime="vllm").given) == {name: value}


@pytest.mark.parametrize(
    ("name", "given"),
    [
        ("max_num_seqs", "0"),
        ("max_num_seqs", "-1"),
        ("max_num_seqs", "1.5"),
        ("max_num_seqs", "2k"),
        ("max_num_seqs", "9" * 30),
        ("max_num_seqs", "٣"),
        ("gpu_memory_utilization", "0"),
        ("gpu_memory_utilization", "1.01"),
        ("gpu_memory_utilization", "nan"),
        ("cpu_offload_gb", "9999999999"),
        ("kv_cache_memory_bytes", "8G"),
        ("kv_cache_memory_bytes", "0"),
        ("mamba_cache_mode", "paged"),
        ("enforce_eager", "yes"),
    ],
)
def test_refused(name: str, given: object) -> None:
    with pytest.raises(UsageError) as caught:
        flags_of({name: given}, runtime="vllm")
    assert caught.value.hint


def test_a_flag_of_another_engine() -> None:
    with pytest.raises(UsageError, match="--max-num-seqs") as caught:
        flags_of({"max_num_seqs": "1"}, runtime="transformers")
    assert "vllm" in caught.value.hint


def test_what_is_not_given_is_not_there() -> None:
    found = flags_of({"tp": None, "enforce_eager": False, "nonesuch": 1}, runtime="vllm")
    assert not found
    assert (found.whole("tp"), found.share("x"), found.choice("x")) == (None, None, None)
    assert not found.switch("enforce_eager")


def test_equal_flags_are_equal() -> None:
    one = flags_of({"tp": 2, "pp": 3}, runtime="vllm")
    assert one == flags_of({"pp": "3", "tp": "2"}, runtime="vllm")
    assert one.but(pp=None) == Flags((("tp", 2),))
    assert {one, one.but(tp=2)} == {one}


def test_no_two_flags_share_a_spelling() -> None:
    spelled = [word for flag in FLAGS for word in flag.spellings]
    assert len(spelled) == len(set(spelled))
    assert all(flag.runtimes and flag.help for flag in FLAGS)

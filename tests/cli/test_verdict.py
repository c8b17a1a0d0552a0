"""The exit code of one answer, by the contract's table."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from hfmem.answer import Estimate, Failure
from hfmem.cli.verdict import verdict
from hfmem.hardware.fit import Fit
from hfmem.units import GIB


# make_estimate needs 16 GiB, or at least 2 GiB without the weights.
@pytest.mark.parametrize(
    ("fits", "limit", "unknown", "code"),
    [
        ((), None, (), 0),
        (("fits",), None, (), 0),
        (("tight",), None, (), 0),
        (("offload",), None, (), 1),
        (("no",), None, (), 1),
        (("fits", "no"), None, (), 1),
        ((None,), None, ("weights",), 2),
        ((None, "no"), None, ("weights",), 2),
        ((), 16 * GIB, (), 0),
        ((), 16 * GIB - 1, (), 1),
        (("fits",), GIB, (), 1),
        ((), GIB, ("weights",), 1),
        ((), 99 * GIB, ("weights",), 2),
        ((), None, ("weights",), 0),
    ],
)
def test_verdict(
    fits: tuple[str | None, ...],
    limit: int | None,
    unknown: tuple[str, ...],
    code: int,
    make_estimate: Callable[..., Estimate],
    make_fit: Callable[..., Fit],
) -> None:
    estimate = make_estimate(fit=tuple(map(make_fit, fits)), unknown=unknown)
    assert verdict(estimate, limit) == code


def test_a_failure_is_two(make_failure: Callable[..., Failure]) -> None:
    assert verdict(make_failure(), None) == 2

"""The error tree: codes are unique, promised, and survive a process border."""

from __future__ import annotations

import pickle

import pytest

from hfmem import errors

# The codes that the contract promises for the rows of failed models.
PROMISED = {
    "model_not_found",
    "gated_model",
    "revision_not_found",
    "offline",
    "hub_unavailable",
    "rate_limited",
    "no_weights",
    "malformed_header",
    "missing_key",
    "invalid_value",
    "unsupported_architecture",
    "invalid_list_line",
    "internal_error",
}


def leaves(cls: type[errors.HfmemError]) -> list[type[errors.HfmemError]]:
    children = cls.__subclasses__()
    return [leaf for child in children for leaf in leaves(child)] or [cls]


def test_every_promised_code_has_one_class() -> None:
    codes = [leaf.code for leaf in leaves(errors.HfmemError)]
    assert sorted(codes) == sorted(PROMISED)


def test_the_drawing_names_every_class() -> None:
    names = [name for name in vars(errors) if name.endswith("Error")]
    missing = [name for name in names if name not in (errors.__doc__ or "")]
    assert missing == []


@pytest.mark.parametrize("leaf", leaves(errors.HfmemError))
def test_survives_pickling(leaf: type[errors.HfmemError]) -> None:
    back = pickle.loads(pickle.dumps(leaf("what", hint="do")))
    assert (type(back), back.message, back.hint) == (leaf, "what", "do")

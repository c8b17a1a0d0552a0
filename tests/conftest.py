"""Fixtures of the whole suite."""

from __future__ import annotations

from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def shared() -> Path:
    """The reference data beside the repository; a test that needs it is skipped without."""
    path = ROOT.parent / "shared"
    if not path.is_dir():
        pytest.skip("the reference data is not beside this checkout")
    return path

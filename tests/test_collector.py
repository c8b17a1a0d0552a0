"""The search for garbage is left as it was found."""

from __future__ import annotations

import gc

from hfmem import collector


def test_paused_puts_everything_back() -> None:
    assert gc.isenabled()
    threshold = gc.get_threshold()
    with collector.paused():
        assert not gc.isenabled()
        collector.seldom()
        assert gc.isenabled()
        assert gc.get_threshold() != threshold
    assert gc.isenabled()
    assert gc.get_threshold() == threshold


def test_two_threads_that_pause_leave_it_on() -> None:
    first, second = collector.paused(), collector.paused()
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    second.__exit__(None, None, None)
    assert gc.isenabled()

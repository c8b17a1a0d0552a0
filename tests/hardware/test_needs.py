from bisect import bisect_right
from itertools import accumulate

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hfmem.gpu import GpuGroup
from hfmem.hardware.catalogue import COMMON, find
from hfmem.hardware.fit import judge
from hfmem.hardware.needs import Line, Needs
from hfmem.memory.workload import Workload
from hfmem.model.describe import describe
from hfmem.runtimes import RUNTIMES, Runtime
from hfmem.source.recorded import bundled

rises = st.lists(st.integers(0, 2**40) | st.integers(0, 3), min_size=1, max_size=300)


@settings(max_examples=200)
@given(rises, st.lists(st.integers(-5, 2**44), min_size=1, max_size=4))
def test_the_largest_is_what_bisection_of_all_points_finds(
    steps: list[int], rooms: list[int]
) -> None:
    needs = list(accumulate(steps))
    line = Line(lambda number: needs[number - 1])
    for usable in rooms:
        found = line.largest(usable=usable, limit=len(needs))
        assert found == bisect_right(needs, usable)


@pytest.mark.parametrize(
    ("usable", "limit", "largest"),
    [
        (999, 100, 0),
        (1_000, 1, 1),
        (10_999, 100, 10),
        (11_000, 100, 11),
        (100_000, 100, 100),
        (10**9, 100, 100),
    ],
)
def test_a_line_of_a_thousand_bytes_each(usable: int, limit: int, largest: int) -> None:
    assert Line(lambda number: 1_000 * number).largest(usable=usable, limit=limit) == largest


def test_no_point_is_asked_for_twice() -> None:
    asked: list[int] = []

    def need(number: int) -> int:
        asked.append(number)
        return 1_000 * number + max(0, number - 50) ** 2

    line = Line(need)
    for usable in (60_000, 30_000, 60_000, 90_000):
        line.largest(usable=usable, limit=10_000)
    assert len(asked) == len(set(asked))
    # A hundred would be a search through the points; bisection alone takes 14 for each.
    assert len(asked) < 40


@pytest.mark.parametrize("runtime", RUNTIMES.values(), ids=list(RUNTIMES))
@pytest.mark.parametrize("name", ["Qwen/Qwen3-8B", "openai/gpt-oss-20b"])
def test_cards_that_share_points_are_judged_as_each_alone(name: str, runtime: Runtime) -> None:
    snapshot = bundled(name)
    assert snapshot is not None
    model, workload = describe(snapshot), Workload(ctx=8192, runtime=runtime.name)
    needs = Needs(model, workload, runtime)
    for card in (*COMMON, "tesla-t4", "v100-sxm2-32gb"):
        group = GpuGroup(gpu=find(card), count=1)
        alone = judge(group, model=model, workload=workload, runtime=runtime)
        shared = judge(group, model=model, workload=workload, runtime=runtime, needs=needs)
        assert shared == alone

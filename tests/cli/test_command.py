"""Groups of options: declared where the command names them, handed over by name."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Annotated

import pytest
import typer

from hfmem.cli import groups
from hfmem.cli.command import ENGINE, with_groups
from hfmem.flags import FLAGS

COLOUR = Annotated[str, typer.Option("--colour")]
LOUD = Annotated[bool, typer.Option("--loud")]


def test_a_group_stands_where_its_name_is() -> None:
    seen: list[tuple[object, ...]] = []

    @with_groups(look={"colour": (COLOUR, "red"), "loud": (LOUD, False)})
    def paint(first: int, *, look: Mapping[str, object], last: int = 3) -> int:
        seen.append((first, dict(look), last))
        return 0

    declared = inspect.signature(paint).parameters
    assert list(declared) == ["first", "colour", "loud", "last"]
    assert [one.default for one in declared.values()][1:] == ["red", False, 3]
    assert declared["colour"].annotation == COLOUR
    assert paint(first=1, colour="blue", loud=True, last=2) == 0
    assert seen == [(1, {"colour": "blue", "loud": True}, 2)]


@pytest.mark.parametrize(
    ("group", "words"),
    [
        (groups.QUESTION, groups.QuestionWords),
        (groups.ACCESS, groups.AccessWords),
        (groups.FORM, groups.FormWords),
    ],
)
def test_the_types_of_a_group_are_those_of_its_options(group: groups.Group, words: type) -> None:
    assert list(group) == list(words.__annotations__)


def test_every_engine_flag_is_an_option() -> None:
    assert list(ENGINE) == [flag.name for flag in FLAGS]

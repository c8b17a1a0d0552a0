"""Which verb a command line means, typed or completed."""

from __future__ import annotations

import pytest

from hfmem.cli.routing import VALUED, completed_verb, route
from hfmem.errors import UsageError


@pytest.mark.parametrize(
    ("words", "routed"),
    [
        ("", "estimate"),
        ("gpt2", "estimate gpt2"),
        ("--ctx 8k gpt2", "estimate --ctx 8k gpt2"),
        ("gpt2 --ctx 8k", "estimate gpt2 --ctx 8k"),
        ("--json gpt2", "estimate --json gpt2"),
        ("estimate gpt2", "estimate gpt2"),
        ("estimate audit", "estimate audit"),
        ("audit list.txt --json", "audit list.txt --json"),
        ("gpus", "gpus"),
        ("record gpt2 -o d", "record gpt2 -o d"),
        ("mcp", "mcp"),
        ("train gpt2 --method lora", "train gpt2 --method lora"),
        ("--help", "estimate --help"),
        ("audit --help", "audit --help"),
        # A later word is a model, whatever it is called.
        ("gpt2 audit", "estimate gpt2 audit"),
        ("gpt2 train", "estimate gpt2 train"),
        ("./audit", "estimate ./audit"),
        ("org/audit", "estimate org/audit"),
        ("-- audit", "estimate -- audit"),
        ("--ctx 8k -- audit", "estimate --ctx 8k -- audit"),
        # A verb can be an option's value.
        ("--revision train gpt2", "estimate --revision train gpt2"),
        ("-o audit gpt2", "estimate -o audit gpt2"),
        ("--ctx", "estimate --ctx"),
        ("-", "estimate -"),
    ],
)
def test_route(words: str, routed: str) -> None:
    assert route(words.split()) == routed.split()


@pytest.mark.parametrize(
    ("words", "says", "hints"),
    [
        ("--ctx 8k audit list.txt", "audit comes first", "hfmem audit"),
        ("--ctx=8k audit list.txt", "audit comes first", "hfmem audit"),
        ("-c8k estimate gpt2", "estimate comes first", "hfmem estimate"),
        ("--json --offline gpus", "gpus comes first", "hfmem gpus"),
        ("--json mcp", "mcp comes first", "hfmem estimate mcp"),
        ("--json train gpt2", "train", "hfmem estimate train"),
    ],
)
def test_refused(words: str, says: str, hints: str) -> None:
    with pytest.raises(UsageError) as caught:
        route(words.split())
    assert says in caught.value.message
    assert hints in caught.value.hint


def test_valued_options_are_those_that_take_a_value() -> None:
    from typer.main import get_command

    from hfmem.cli.estimate import app

    declared = {
        name
        for option in get_command(app).params
        if option.param_type_name == "option" and not getattr(option, "is_flag", False)
        for name in option.opts
    }
    assert declared == VALUED


@pytest.mark.parametrize(
    ("variable", "line", "cursor", "verb", "left", "left_cursor"),
    [
        ("COMP_WORDS", "hfmem\n--c", "1", "estimate", "hfmem\n--c", "1"),
        ("COMP_WORDS", "hfmem\naudit\n--c", "2", "audit", "hfmem\n--c", "1"),
        ("COMP_WORDS", "hfmem\naud", "1", "estimate", "hfmem\naud", "1"),
        ("COMP_WORDS", "hfmem\naudit", "1", "estimate", "hfmem\naudit", "1"),
        ("COMP_WORDS", "/x/hfmem\ngpus\n", "2", "gpus", "/x/hfmem\n", "1"),
        ("_TYPER_COMPLETE_ARGS", "hfmem --c", None, "estimate", "hfmem --c", None),
        ("_TYPER_COMPLETE_ARGS", "hfmem record --r", None, "record", "hfmem --r", None),
        ("_TYPER_COMPLETE_ARGS", "hfmem audit ", None, "audit", "hfmem ", None),
        ("_TYPER_COMPLETE_ARGS", "hfmem gpt2 audit ", None, "estimate", "hfmem gpt2 audit ", None),
        ("_TYPER_COMPLETE_ARGS", "", None, "estimate", "", None),
    ],
)
def test_completed_verb(
    variable: str,
    line: str,
    cursor: str | None,
    verb: str,
    left: str,
    left_cursor: str | None,
) -> None:
    environment = {variable: line} | ({} if cursor is None else {"COMP_CWORD": cursor})
    assert completed_verb(environment) == verb
    assert environment[variable] == left
    assert environment.get("COMP_CWORD") == left_cursor

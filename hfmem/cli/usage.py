"""Errors of the parser in the words of the command line; imported where there is one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from hfmem.cli.suggestions import MODEL_OPTIONS, meant_options, meant_verb

if TYPE_CHECKING:
    import typer

_EXAMPLES = {"audit": "list.txt", "record": "gpt2 -o facts"}


def complaint(error: typer.TyperException, *, name: str, words: Sequence[str]) -> tuple[str, str]:
    """The message and the hint of an error; ``words`` is the command line behind ``name``."""
    # typer keeps the class of this error to itself.
    unknown = getattr(error, "option_name", None) if hasattr(error, "possibilities") else None
    message = error.message if unknown else error.format_message()
    message = " ".join(message.replace("Value error, ", "").split()).rstrip(".") + "."
    if unknown:
        typed = words[0] if " " not in name else ""
        if typed.isalpha() and (verb := meant_verb(typed)):
            return message, f"Did you mean the verb: {name} {verb} …?"
        known = _spellings(getattr(error, "ctx", None))
        if meant := meant_options(unknown, known=known, words=words):
            return message, f"Did you mean {' or '.join(meant)}?"
        if unknown in MODEL_OPTIONS:
            return message, f"A model is named without an option: {name} gpt2"
    if message.startswith("Missing argument"):
        example = _EXAMPLES.get(name.split()[-1], "gpt2")
        return message, f"For example: {name} {example}; see {name} --help"
    return message, f"See: {name} --help"


def _spellings(context: Any) -> tuple[str, ...]:
    """Every way to write the options of the command that was parsed."""
    if context is None:
        return ()
    declared = (
        spelling
        for option in context.command.params
        if option.param_type_name == "option"
        for spelling in (*option.opts, *option.secondary_opts)
    )
    return (*declared, *context.help_option_names)

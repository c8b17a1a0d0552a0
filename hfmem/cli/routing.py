"""Which verb a command line means, before any option is parsed.

The verb is optional: a first word that is no verb and no global option means ``estimate``.
"""

from __future__ import annotations

import re
from collections.abc import MutableMapping, Sequence

from hfmem.errors import UsageError
from hfmem.flags import FLAGS

VERBS = {
    "estimate": "what models need, and where they fit; the default",
    "audit": "every model of a list: one row each",
    "train": "training and fine-tuning",
    "gpus": "the accelerators that are known",
    "record": "save a model's facts for use without a network",
    "mcp": "serve estimates to agents; needs the extra [mcp]",
}
VALUED = frozenset(
    {
        *("--ctx", "-c", "--max-model-len", "--batch", "-b", "--runtime", "-r"),
        *("--kv-dtype", "--kv-cache-dtype", "--dtype", "--attention", "--device", "--encoder-ctx"),
        "--quantize",
        *("--images", "--image-size", "--frames", "--audio-seconds"),
        *("--gpu", "--revision", "--token", "--source", "--recorded"),
        *("--format", "--output", "-o", "--fail-over", "--plot"),
        *(word for flag in FLAGS if flag.type != "switch" for word in flag.spellings),
    }
)
"""Options of ``estimate`` that take the next word."""

_VERB_WORD = re.compile(rf"(\s*\S+\s+)({'|'.join(VERBS)})\s+")


def route(words: Sequence[str]) -> list[str]:
    """The command line with its verb written first: ``route(["gpt2"]) == ["estimate", "gpt2"]``.

    Raises UsageError for a verb after an option.
    """
    first = words[0] if words else ""
    if first in VERBS:
        return list(words)
    late = _first_positional(words)
    if late != first and late in VERBS:
        raise UsageError(
            f"The verb {late} comes first.",
            hint=f"Write: hfmem {late} … {_reach(late)}",
        )
    return ["estimate", *words]


def _reach(word: str) -> str:
    return f"A model of that name is reached with: hfmem estimate {word}"


def _first_positional(words: Sequence[str]) -> str:
    """The first word that is neither an option nor its value; none is sought behind ``--``."""
    rest = iter(words)
    for word in rest:
        if word == "--":
            return ""
        if not word.startswith("-") or word == "-":
            return word
        if word in VALUED:
            next(rest, None)
    return ""


def completed_verb(environment: MutableMapping[str, str]) -> str:
    """The verb of the command line that a shell wants completed; it is taken out of the line.

    The shells' scripts, made by typer, hand over the line in COMP_WORDS (bash, with COMP_CWORD the
    index of the word at the cursor) or _TYPER_COMPLETE_ARGS. A verb that is still being typed is
    none yet.
    """
    for variable in ("COMP_WORDS", "_TYPER_COMPLETE_ARGS"):
        line = environment.get(variable, "")
        match = _VERB_WORD.match(line)
        if match is None:
            continue
        environment[variable] = match[1] + line[match.end() :]
        if variable == "COMP_WORDS":
            cursor = environment.get("COMP_CWORD", "")
            environment["COMP_CWORD"] = str(int(cursor) - 1) if cursor.isdecimal() else "1"
        return match[2]
    return "estimate"

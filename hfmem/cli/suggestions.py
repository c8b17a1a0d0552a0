"""What was meant, where a word of the command line is nearly another; only errors ask for it."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from hfmem.cli.routing import VERBS

if TYPE_CHECKING:
    from hfmem.answer import Estimate, Failure

_ALIKE = 0.6
"""The likeness that difflib takes for close."""
_AS_NEAR = 0.1
"""What another option may be less alike than the closest one, and still be offered."""
_VERB_ALIKE = 0.75
_ELSEWHERE = {
    "--ctx": (
        *("--context", "--context-length", "--context-size", "--ctx-size", "--ctx-len", "--n-ctx"),
        *("--max-length", "--max-seq-len", "--max-seq-length", "--seq-len", "--seq-length"),
    ),
    "--quantize": ("--quant", "--quantization", "--load-in-4bit", "--load-in-8bit"),
    "--runtime": ("--backend", "--engine", "--framework"),
    "--gpu": ("--card", "--num-gpus", "--n-gpus", "--gpu-count"),
    "--batch": ("--concurrency", "--num-seqs"),
}
"""What other programs call an option."""
MODEL_OPTIONS = frozenset({"--model", "--models", "--model-id", "--model-name", "--model-path"})
"""Where other programs take the model, which is named here without an option."""
_NOT_FOUND = frozenset({"model_not_found", "offline", "hub_unavailable"})


def meant_options(
    option: str, *, known: Collection[str], words: Sequence[str] = ()
) -> tuple[str, ...]:
    """The options that an unknown one may mean, the closest first; ``words`` is the command line.

    ``meant_options("--gpus", known=("--gpu", "--gpu-layers")) == ("--gpu",)``; of ``-gpu`` the
    parser complains about ``-g``, and the word itself is in ``words``.
    """
    from difflib import SequenceMatcher

    for word in words if len(option) == 2 else ():
        if word.startswith(option) and (long := f"-{word.partition('=')[0]}") in known:
            return (long,)
    plain = option.lower().replace("_", "-")
    if plain in known:
        return (plain,)
    for name, others in _ELSEWHERE.items():
        if plain in others and name in known:
            return (name,)
    if not plain.startswith("--"):
        return ()
    bare = plain.removeprefix("--")
    alike = {
        name: SequenceMatcher(None, name.removeprefix("--"), bare).ratio()
        for name in known
        if name.startswith("--")
    }
    best = max(alike.values(), default=0.0)
    near = [name for name, one in alike.items() if one >= max(_ALIKE, best - _AS_NEAR)]
    return tuple(sorted(near, key=lambda name: (-alike[name], name))[:3])


def meant_verb(word: str) -> str | None:
    """The verb that a word is nearly: ``meant_verb("trian") == "train"``."""
    from difflib import get_close_matches

    close = get_close_matches(word.lower(), VERBS, n=1, cutoff=_VERB_ALIKE)
    return close[0] if close else None


def with_verbs(
    answers: Iterable[Estimate | Failure], *, first: str
) -> Iterator[Estimate | Failure]:
    """The answers; where the first word is no model that can be found, with the verb that it is
    nearly.
    """
    from msgspec.structs import replace

    from hfmem.answer import Failure

    for answer in answers:
        match answer:
            case Failure(model=model, code=code) if model == first and code in _NOT_FOUND:
                verb = meant_verb(first)
                meant = f"Did you mean the verb: hfmem {verb} …? " if verb else ""
                yield replace(answer, hint=meant + answer.hint)
            case _:
                yield answer

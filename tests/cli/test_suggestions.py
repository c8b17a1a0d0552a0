"""What a mistyped option or verb is taken for; the truth is what a person meant who typed it."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from hfmem.answer import Failure
from hfmem.cli.suggestions import meant_options, meant_verb, with_verbs

KNOWN = (
    *("--ctx", "-c", "--max-model-len", "--batch", "--batch-size", "--ubatch-size", "--kv-dtype"),
    *("--dtype", "--kv-cache-dtype", "--quantize", "--attention", "--gpu", "--gpu-layers", "-ngl"),
    *("--n-gpu-layers", "--rules", "--runtime", "--frames", "--images", "--offline", "--help"),
)


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("--gpus", ("--gpu",)),
        ("--quantise", ("--quantize",)),
        ("--kvdtype", ("--kv-dtype", "--dtype")),
        ("--batch_size", ("--batch-size",)),
        ("--CTX", ("--ctx",)),
        ("--offlin", ("--offline",)),
        # llama.cpp's, SGLang's and vLLM's own words.
        ("--ctx-size", ("--ctx",)),
        ("--context-length", ("--ctx",)),
        ("--quantization", ("--quantize",)),
        ("--zzz", ()),
        ("--models", ()),
        ("-z", ()),
    ],
)
def test_an_option_that_is_nearly_another(typed: str, meant: tuple[str, ...]) -> None:
    assert meant_options(typed, known=KNOWN) == meant


@pytest.mark.parametrize(
    ("letter", "words", "meant"),
    [
        ("-g", ["gpt2", "-gpu", "h100"], ("--gpu",)),
        ("-g", ["gpt2", "-gpu=h100"], ("--gpu",)),
        ("-g", ["gpt2", "-gp", "h100"], ()),
    ],
)
def test_an_option_with_one_dash(letter: str, words: list[str], meant: tuple[str, ...]) -> None:
    assert meant_options(letter, known=KNOWN, words=words) == meant


def test_a_name_of_elsewhere_is_offered_only_where_its_option_is() -> None:
    assert meant_options("--context", known=("--output", "--revision")) == ()


@pytest.mark.parametrize(
    ("word", "verb"),
    [
        ("audti", "audit"),
        ("trian", "train"),
        ("gpu", "gpus"),
        ("recrod", "record"),
        ("estimte", "estimate"),
        ("bert", None),
        ("t5", None),
        ("gpt2", None),
    ],
)
def test_a_word_that_is_nearly_a_verb(word: str, verb: str | None) -> None:
    assert meant_verb(word) == verb


def test_the_hint_of_a_model_that_is_not_there_names_the_verb(
    make_failure: Callable[..., Failure],
) -> None:
    missing = make_failure("audti", code="model_not_found", hint="Check the name.")
    others = (
        make_failure("list", code="model_not_found", hint="Check the name."),
        make_failure("audti", code="gated_model", hint="Log in."),
    )
    found, *unchanged = with_verbs((missing, *others), first="audti")
    assert isinstance(found, Failure)
    assert found.hint == "Did you mean the verb: hfmem audit …? Check the name."
    assert tuple(unchanged) == others


def test_a_mistyped_verb_on_the_command_line(
    desk: object, make_failure: Callable[..., Failure], hfmem: Callable[..., object]
) -> None:
    desk.answers["trian"] = make_failure("trian", code="model_not_found", hint="Check the name.")
    outcome = hfmem("trian")
    assert outcome.code == 2
    assert "hint: Did you mean the verb: hfmem train …? Check the name." in outcome.err

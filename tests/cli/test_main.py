"""Command lines from end to end: what is asked, printed and returned."""

from __future__ import annotations

import io
import json
import re
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from hfmem._version import __version__
from hfmem.answer import Estimate, Failure
from hfmem.errors import UsageError
from hfmem.hardware.fit import Fit


@pytest.mark.parametrize(
    ("words", "error", "hint"),
    [
        ("", "Missing argument 'MODEL'.", "For example: hfmem gpt2; see hfmem --help"),
        ("audit", "Missing argument 'LIST'.", "hfmem audit list.txt"),
        ("record gpt2", "Missing option '--output'", "hfmem record --help"),
        ("gpt2 --cxt 8k", "No such option: --cxt.", "Did you mean --ctx"),
        ("gpt2 --gpus h100", "No such option: --gpus.", "Did you mean --gpu?"),
        ("gpt2 --context 8k", "No such option: --context.", "Did you mean --ctx?"),
        ("gpt2 --quantise nf4", "No such option: --quantise.", "Did you mean --quantize?"),
        ("gpt2 -gpu h100", "No such option: -g.", "Did you mean --gpu?"),
        ("gpt2 --model gpt2", "No such option: --model.", "without an option: hfmem gpt2"),
        ("train gpt2 --optimiser sgd", "No such option: --optimiser.", "Did you mean --optimizer?"),
        ("trian gpt2 --method qlora", "No such option: --method.", "the verb: hfmem train"),
        ("train audti --serach x", "No such option: --serach.", "See: hfmem train --help"),
        ("audit --serach x", "No such option: --serach.", "Did you mean --search?"),
        ("gpus --jsn", "No such option: --jsn.", "Did you mean --json?"),
        ("gpt2 --hlep", "No such option: --hlep.", "Did you mean --help"),
        ("gpt2 --zzz", "No such option: --zzz.", "hfmem --help"),
        ("gpt2 -z", "No such option: -z.", "hfmem --help"),
        ("gpt2 --ctx", "Option '--ctx' requires an argument.", "hfmem --help"),
        ("gpt2 --ctx 0", "'0' is not a number of tokens.", "8k"),
        ("gpt2 --ctx 8g", "'8g' is not a number of tokens.", "8k"),
        ("gpt2 --batch x", "'x' is not a number of sequences.", "whole number"),
        ("gpt2 --batch 0", "batch is 0", "--batch"),
        ("gpt2 --batch 99999999999999999999", "is not a number of sequences.", "whole number"),
        ("gpt2 --dtype int4", "'int4'", "bfloat16"),
        ("gpt2 --runtime vllm@", "'vllm@' names no version.", "vllm@VERSION, or vllm alone"),
        ("gpt2 --attention fast", "'fast' is not one of 'sdpa', 'flash', 'eager'.", "--help"),
        ("gpt2 --format xlsx", "'xlsx' is not one of 'table'", "--help"),
        ("gpt2 --fail-over 24G", "'24G' is not a size.", "24GiB"),
        ("gpt2 --json --format csv", "contradict each other", "Keep one"),
        ("gpus --json --format csv", "contradict each other", "Keep one"),
        ("gpus --format xlsx", "'xlsx' is not one of 'table'", "--help"),
        ("gpt2 --json -o x.csv", "contradict each other", "Keep one"),
        ("gpt2 -o x.xlsx", "'.xlsx' means no format", ".json"),
        ("gpt2 --format parquet", "Parquet is not for a terminal.", "-o FILE.parquet"),
        ("audit x --resume", "--resume needs a file.", "-o FILE"),
        ("audit x --author y", "both a LIST and a listing", "Leave out one"),
        ("audit x --baseline /nowhere", "cannot be read: No such file", "hfmem audit LIST"),
        ("gpt2 -o /nowhere/x.json", "There is no folder /nowhere.", "Create it"),
        ("gpt2 --explain --format csv", "--explain has no place in CSV.", "json"),
        ("-", "- is not a model.", "hfmem audit -"),
        ("audit /nowhere/list.txt", "cannot be read: No such file", "hfmem /nowhere/list.txt"),
        ("gpus nosuchcard", "'nosuchcard' is not known.", "hfmem gpus"),
        ("--ctx 8k audit x", "The verb audit comes first.", "hfmem audit"),
    ],
)
def test_usage_errors(words: str, error: str, hint: str, hfmem: Callable[..., object]) -> None:
    outcome = hfmem(*words.split())
    assert outcome.code == 2
    assert outcome.out == ""
    first, second = outcome.err.splitlines()
    assert first.startswith("error: ")
    assert error in first
    assert second.startswith("hint: ")
    assert hint in second


@pytest.mark.parametrize(
    ("words", "error", "hint"),
    [
        ("gpt2 --gpu rtx-9999", "'rtx-9999' is not known.", "hfmem gpus"),
        ("gpt2 -r nope", "There is no runtime 'nope'.", "transformers"),
        ("gpt2 --kv-dtype nope", "no KV cache type 'nope'", "auto"),
    ],
)
def test_unknown_names_list_the_choices(
    words: str,
    error: str,
    hint: str,
    hfmem: Callable[..., object],
) -> None:
    outcome = hfmem(*words.split())
    assert (outcome.code, outcome.out) == (2, "")
    assert error in outcome.err
    assert hint in outcome.err


def test_options_reach_the_question(desk: object, hfmem: Callable[..., object]) -> None:
    words = (
        "--max-model-len 32k a b -b 4 --kv-cache-dtype fp8 --dtype fp16 --attention eager "
        "--device cpu --encoder-ctx 1500 --gpu h100:2 --gpu 24GiB --revision main --token t "
        "--offline --source recorded --recorded facts --rules --json"
    )
    outcome = hfmem(*words.split())
    assert outcome.code == 0
    ((models, options),) = desk.asked
    assert models == ("a", "b")
    workload = options.workload
    assert (workload.ctx, workload.batch, workload.kv_dtype) == (32768, 4, "fp8")
    assert (workload.dtype, workload.attention, workload.device) == ("F16", "eager", "cpu")
    assert (workload.encoder_ctx, options.gpus) == (1500, ("h100:2", "24GiB"))
    assert (options.revision, options.token, options.offline) == ("main", "t", True)
    assert (options.source, options.recorded, options.rules) == ("recorded", Path("facts"), True)


def test_defaults(desk: object, hfmem: Callable[..., object]) -> None:
    assert hfmem("gpt2").code == 0
    ((models, options),) = desk.asked
    assert (models, options.gpus, options.source) == (("gpt2",), (), "auto")
    assert (options.workload.ctx, options.workload.batch) == (None, 1)
    assert options.workload.runtime == "transformers"


def test_one_model_is_shown_in_full(desk: object, hfmem: Callable[..., object]) -> None:
    outcome = hfmem("gpt2")
    assert outcome.out.startswith("gpt2\nQwen2ForCausalLM")
    assert outcome.err == ""
    assert "prefill  16.00 GiB  the largest" in hfmem("gpt2", "--explain").out


def test_several_models_are_rows(
    desk: object, make_failure: Callable[..., Failure], hfmem: Callable[..., object]
) -> None:
    desk.answers["b"] = make_failure("b")
    outcome = hfmem("a", "b", "c")
    assert outcome.code == 2
    assert "2 models" in outcome.out
    assert "failed  b  gated_model" in outcome.out
    assert outcome.err.startswith("error: b is gated.\nhint: ")


@pytest.mark.parametrize("words", ["b", "a b --json", "a b --format csv", "a b -o out.txt"])
def test_failures_outside_the_table_are_errors(
    words: str,
    desk: object,
    make_failure: Callable[..., Failure],
    hfmem: Callable[..., object],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.chdir(tmp_path)
    desk.answers["b"] = make_failure("b", message="It is gated.", hint="hf auth login")
    outcome = hfmem(*words.split())
    assert outcome.code == 2
    assert outcome.err == "error: b: It is gated.\nhint: hf auth login\n"


def test_many_failures_are_summed(
    desk: object, make_failure: Callable[..., Failure], hfmem: Callable[..., object]
) -> None:
    models = [f"org/m{number}" for number in range(25)]
    desk.answers.update({model: make_failure(model) for model in models})
    outcome = hfmem(*models, "--json")
    assert len(json.loads(outcome.out)["failures"]) == 25
    assert outcome.err.count("error: ") == 21
    assert outcome.err.endswith("error: 5 more models failed; the output names them.\n")


def test_exit_code_is_the_worst(
    desk: object,
    make_estimate: Callable[..., Estimate],
    make_failure: Callable[..., Failure],
    make_fit: Callable[..., Fit],
    hfmem: Callable[..., object],
) -> None:
    desk.answers["small"] = make_estimate("small", fit=(make_fit("tight"),))
    desk.answers["big"] = make_estimate("big", fit=(make_fit("offload"),))
    desk.answers["gone"] = make_failure("gone")
    assert hfmem("small").code == 0
    assert hfmem("small", "big").code == 1
    assert hfmem("small", "big", "gone").code == 2
    assert hfmem("gone", "big").code == 2


def test_fail_over_says_by_how_much(desk: object, hfmem: Callable[..., object]) -> None:
    assert hfmem("a", "--fail-over", "16GiB").code == 0
    outcome = hfmem("a", "--fail-over", "17GB", "--json")
    assert outcome.code == 1
    assert json.loads(outcome.out)["results"]
    assert outcome.err == ("over the limit: a needs 17,179,869,184 bytes, 179,869,184 too many\n")


def test_a_limit_that_cannot_be_judged_is_an_error(
    desk: object, make_estimate: Callable[..., Estimate], hfmem: Callable[..., object]
) -> None:
    desk.answers["a"] = make_estimate("a", unknown=("weights",))
    outcome = hfmem("a", "--fail-over", "99GiB")
    assert outcome.code == 2
    assert outcome.err.startswith("error: a: the limit cannot be judged without weights.")


def test_an_interrupt_keeps_what_is_done(desk: object, hfmem: Callable[..., object]) -> None:
    desk.answers["c"] = KeyboardInterrupt()
    for options in (("--json",), ("--format", "jsonl"), ()):
        outcome = hfmem("a", "b", "c", "d", *options)
        assert outcome.code == 130
        assert outcome.err == ""
        assert set(re.findall(r"^a\b|\"model\": \"a\"", outcome.out, re.MULTILINE))
        assert "Traceback" not in outcome.out


def test_jsonl_is_streamed(
    desk: object, hfmem: Callable[..., object], capsys: pytest.CaptureFixture[str]
) -> None:
    seen: list[str] = []

    stream = desk._stream

    def spied(items: tuple[object, ...], options: object) -> object:
        for answer in stream(items, options):
            seen.append(capsys.readouterr().out)
            yield answer

    desk._stream = spied
    outcome = hfmem("a", "b", "c", "--format", "jsonl")
    lines = [*seen[1:], outcome.out]
    assert [json.loads(line)["model"] for line in lines] == ["a", "b", "c"]


def test_audit_reads_standard_input(
    desk: object, hfmem: Callable[..., object], monkeypatch: pytest.MonkeyPatch
) -> None:
    content = b"# models\na\nb\n"
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content), encoding="utf-8"))
    outcome = hfmem("audit", "-", "--json")
    assert [row["model"] for row in json.loads(outcome.out)["results"]] == ["a", "b"]


def test_audit_carries_columns_and_bad_lines(
    desk: object, hfmem: Callable[..., object], tmp_path: Path
) -> None:
    path = tmp_path / "list.csv"
    path.write_text("model,team\na,search\n,ads\n")
    outcome = hfmem("audit", str(path), "--json")
    document = json.loads(outcome.out)
    assert outcome.code == 2
    assert document["results"][0]["input"] == {"team": "search"}
    assert document["failures"][0]["code"] == "invalid_list_line"


def test_audit_of_one_model_is_a_row(
    desk: object, hfmem: Callable[..., object], tmp_path: Path
) -> None:
    path = tmp_path / "list.txt"
    path.write_text("a\n")
    assert "1 model" in hfmem("audit", str(path)).out


def test_version_and_help(hfmem: Callable[..., object]) -> None:
    assert hfmem("--version").out == f"hfmem {__version__}\n"
    assert hfmem("gpt2", "--version").out == f"hfmem {__version__}\n"
    for words in (["--help"], ["-h"], ["audit", "-h"], ["gpus", "-h"], ["record", "--help"]):
        outcome = hfmem(*words)
        assert outcome.code == 0
        assert "Usage: hfmem" in outcome.out


def test_help_names_the_other_verbs(hfmem: Callable[..., object]) -> None:
    text = " ".join(hfmem("--help").out.split())
    for verb in ("hfmem audit", "hfmem gpus", "hfmem record"):
        assert verb in text


def test_a_bug_is_one_line_and_its_report(
    desk: object, hfmem: Callable[..., object], monkeypatch: pytest.MonkeyPatch
) -> None:
    desk.answers["a"] = ZeroDivisionError("division by zero")
    monkeypatch.setenv("HF_DEBUG", "0")
    outcome = hfmem("a")
    assert outcome.code == 2
    assert outcome.err == (
        "error: This is a bug in hfmem: ZeroDivisionError: division by zero\n"
        "hint: Please report it with the traceback that HF_DEBUG=1 shows.\n"
    )
    monkeypatch.setenv("HF_DEBUG", "1")
    with pytest.raises(ZeroDivisionError):
        hfmem("a")


def test_errors_are_one_line(desk: object, hfmem: Callable[..., object]) -> None:
    desk.answers["a"] = UsageError("two\nlines\x1b[31m", hint="and\nhint")
    assert hfmem("a").err == "error: two lines\\x1b[31m\nhint: and hint\n"

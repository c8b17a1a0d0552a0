"""What only a process of its own can show: start, completion, pipes."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from hfmem._version import __version__

ROOT = Path(__file__).resolve().parents[2]


def run(
    *words: str,
    env: dict[str, str] | None = None,
    python: tuple[str, ...] = (),
    errors: str = "strict",
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *python, "-m", "hfmem", *words],
        cwd=ROOT,
        env=os.environ | {"PYTHONIOENCODING": "utf-8"} | (env or {}),
        capture_output=True,
        text=True,
        errors=errors,
        check=False,
        timeout=60,
    )


def test_module() -> None:
    done = run("--version")
    assert (done.returncode, done.stdout) == (0, f"hfmem {__version__}\n")


@pytest.mark.parametrize(
    ("words", "heavy"),
    [
        (("--version",), ("typer", "rich", "huggingface_hub", "transformers", "hfmem.answer")),
        (("--help",), ("huggingface_hub", "transformers", "hfmem.answer", "pydantic")),
        (("--cxt",), ("rich", "huggingface_hub", "transformers", "hfmem.answer")),
    ],
)
def test_start_imports_little(words: tuple[str, ...], heavy: tuple[str, ...]) -> None:
    trace = run(*words, python=("-X", "importtime")).stderr
    imported = {line.rpartition("|")[2].strip() for line in trace.splitlines()}
    assert "hfmem.cli" in imported
    assert not imported.intersection(heavy)


@pytest.mark.parametrize(
    ("line", "expected", "not_expected"),
    [
        ("hfmem --c", {"--ctx"}, {"--json"}),
        ("hfmem a", {"audit"}, {"gpus"}),
        ("hfmem audit --of", {"--offline"}, {"--ctx"}),
        ("hfmem record --", {"--output", "--revision"}, {"--ctx", "--gpu"}),
        ("hfmem gpus --j", {"--json"}, {"--ctx"}),
        ("hfmem estimate --fa", {"--fail-over"}, {"--json"}),
        ("hfmem gpt2 --gpu h100-s", {"h100-sxm"}, {"a100-sxm-80gb"}),
        ("hfmem --runtime ", {"transformers"}, {"--ctx"}),
        ("hfmem gpt2 --attention ", {"sdpa", "flash", "eager"}, {"--ctx"}),
        ("hfmem gpt2 au", set(), {"audit"}),
    ],
)
@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion(line: str, expected: set[str], not_expected: set[str], shell: str) -> None:
    words = line.split(" ")
    env = {"_HFMEM_COMPLETE": f"complete_{shell}", "_TYPER_COMPLETE_FISH_ACTION": "get-args"}
    if shell == "bash":
        env |= {"COMP_WORDS": "\n".join(words), "COMP_CWORD": str(len(words) - 1)}
    else:
        env |= {"_TYPER_COMPLETE_ARGS": line}
    done = run(env=env)
    assert done.stderr == ""
    if shell == "zsh":
        offered = set(re.findall(r'^(?:_arguments .*\(\()?"([^"]+)"', done.stdout, re.MULTILINE))
    else:
        offered = {row.partition("\t")[0] for row in done.stdout.splitlines()}
    assert expected <= offered
    assert not offered & not_expected


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_script(shell: str) -> None:
    done = run(
        "--show-completion", shell, env={"_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"}
    )
    assert done.returncode == 0
    assert "_HFMEM_COMPLETE=complete_" in done.stdout


@pytest.mark.parametrize("words", [("--help",), ("audit", "--help"), ("train", "--help")])
@pytest.mark.parametrize(
    "env",
    [
        {"PYTHONIOENCODING": "latin-1"},
        # An empty PYTHONIOENCODING is none.
        {
            **{"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
            "PYTHONIOENCODING": "",
        },
    ],
    ids=["latin-1", "C locale"],
)
def test_help_without_unicode(words: tuple[str, ...], env: dict[str, str]) -> None:
    done = run(*words, env=env, errors="replace")
    assert (done.returncode, done.stderr) == (0, "")
    assert "--json" in done.stdout


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
@pytest.mark.parametrize("word", ["--version", "--help", "gpus", "--show-completion"])
def test_a_full_disk_is_no_bug(word: str) -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "hfmem", word],
            cwd=ROOT,
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
            timeout=60,
        )
    assert done.returncode == 2
    assert done.stderr == (
        "error: Standard output cannot be written: No space left on device.\n"
        "hint: Write to a file: -o FILE\n"
    )


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
def test_errors_that_cannot_be_written_leave_the_exit_code() -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "hfmem", "--cxt"], cwd=ROOT, stderr=full, check=False, timeout=60
        )
    assert done.returncode == 2


def test_a_closed_pipe_is_quiet() -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "hfmem", "gpus"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == ""
    assert process.returncode == 141

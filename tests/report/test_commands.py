"""Commands that are folded still mean the same to a shell and to Python."""

from __future__ import annotations

import ast
import shlex

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hfmem.report.commands import folded

VLLM = (
    "vllm serve org/name --revision 9902e215c22ae016fbeb1edb789be62b9f00c88c --max-model-len 32768 "
    "--kv-cache-dtype fp8 --enforce-eager --tensor-parallel-size 2"
)
PYTHON = (
    "model = AutoModelForCausalLM.from_pretrained('org/name', dtype=\"auto\", "
    'max_memory={0: "15205MiB", "cpu": "1000GiB"}, revision=\'main\')'
)


@pytest.mark.parametrize(
    ("line", "width", "expected"),
    [
        ("vllm serve gpt2", None, ["vllm serve gpt2"]),
        ("vllm serve gpt2", 15, ["vllm serve gpt2"]),
        ("vllm serve gpt2 --tp 2", 18, ["vllm serve gpt2 \\", "  --tp 2"]),
        # A word that is too long stays whole.
        ("x --to abcdefghijkl", 12, ["x --to \\", "  abcdefghijkl"]),
        ("echo 'FROM ./a b' > Modelfile", 20, ["echo 'FROM ./a b' \\", "  > Modelfile"]),
        # Between brackets Python needs no backslash, and takes none in a comment.
        ("m = f('a b', c=1)  # made so", 16, ["m = f('a b',", "  c=1) \\", "  # made so"]),
    ],
)
def test_folded(line: str, width: int | None, expected: list[str]) -> None:
    assert list(folded(line, width=width)) == expected


@pytest.mark.parametrize("width", range(20, 130, 7))
def test_a_folded_command_is_the_same_command(width: int) -> None:
    shell = "\n".join(folded(VLLM, width=width))
    assert shlex.split(shell.replace("\\\n", "")) == shlex.split(VLLM)
    python = "\n".join(folded(PYTHON, width=width))
    assert ast.dump(ast.parse(python)) == ast.dump(ast.parse(PYTHON))


@settings(max_examples=60)
@given(words=st.lists(st.from_regex(r"[a-z]{1,9}", fullmatch=True)), width=st.integers(14, 60))
def test_lines_are_no_wider_than_asked(words: list[str], width: int) -> None:
    lines = list(folded(" ".join(words), width=width))
    assert "".join(lines).replace("\\", "").split() == words
    assert max(map(len, lines)) <= width

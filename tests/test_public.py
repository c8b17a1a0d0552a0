"""The public surface: names, laziness, the same answers as the command line."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from msgspec.structs import replace

import hfmem


def test_every_public_name_is_there() -> None:
    assert sorted(hfmem.__all__) == hfmem.__all__ == dir(hfmem)
    for name in hfmem.__all__:
        assert getattr(hfmem, name) is not None


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="nonesuch"):
        _ = hfmem.nonesuch


@pytest.mark.parametrize(
    "heavy", ["huggingface_hub", "transformers", "rich", "typer", "hfmem.answer"]
)
def test_importing_imports_nothing_heavy(heavy: str) -> None:
    code = f"import sys, hfmem; sys.exit({heavy!r} in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_estimate_and_audit_agree() -> None:
    name = "Qwen/Qwen3-8B"
    alone = hfmem.estimate(name, ctx=8192, gpu="rtx-4090", source="recorded")
    (row,) = hfmem.audit([name], ctx=8192, gpu=["rtx-4090"], source="recorded")
    assert isinstance(row, hfmem.Estimate)
    # The free disk space is another one every time.
    assert replace(row, download=alone.download).to_dict() == alone.to_dict()
    assert alone.fit[0].group.gpu.id == "rtx-4090"


def test_audit_keeps_the_order_and_never_ends_early() -> None:
    expected = {
        "Qwen/Qwen3-8B": "Qwen/Qwen3-8B",
        "no/such": "model_not_found",
        "google/gemma-3-27b-it": "google/gemma-3-27b-it",
        "not a model": "invalid_value",
    }
    rows = hfmem.audit([*expected] * 10, ctx=1024, source="recorded")
    found = [row.model.name if isinstance(row, hfmem.Estimate) else row.code for row in rows]
    assert found == [*expected.values()] * 10


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        ({"ctx": 0}, "ctx"),
        ({"ctx": "8k"}, "ctx is '8k', not a whole number"),
        ({"ctx": 8192.0}, "ctx"),
        ({"batch": -1}, "batch"),
        ({"runtime": "tensorrt"}, "runtime"),
        ({"kv_dtype": "int1"}, "int1"),
        ({"dtype": "int4"}, "int4"),
        ({"attention": "paged"}, "paged"),
        ({"gpu": "voodoo2"}, "voodoo2"),
        ({"gpu": "24G"}, "24G"),
    ],
)
def test_bad_arguments_are_usage_errors(flags: dict[str, object], said: str) -> None:
    with pytest.raises(hfmem.UsageError, match=said) as caught:
        hfmem.estimate("Qwen/Qwen3-8B", source="recorded", **flags)
    assert caught.value.hint


def test_a_misspelt_keyword_is_refused() -> None:
    asked = {"gpus": "h100"}
    with pytest.raises(TypeError, match=r"estimate\(\) got an unexpected keyword argument 'gpus'"):
        hfmem.estimate("Qwen/Qwen3-8B", **asked)
    with pytest.raises(TypeError, match=r"audit\(\) got"):
        hfmem.audit(["Qwen/Qwen3-8B"], **asked)
    with pytest.raises(TypeError, match=r"train\(\) got"):
        hfmem.train("Qwen/Qwen3-8B", **asked)


def test_a_model_is_a_text_or_a_path(tmp_path: Path) -> None:
    (row,) = hfmem.audit([tmp_path], source="recorded")
    assert isinstance(row, hfmem.Failure)
    assert row.model == str(tmp_path)
    with pytest.raises(TypeError):
        next(hfmem.audit([5], source="recorded"))

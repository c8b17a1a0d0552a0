"""Activations as terms: what each says of itself, and what is only supposed."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

import hfmem
from hfmem.answer import Estimate
from hfmem.memory.term import Term
from hfmem.units import GIB

SMALL = {
    "hidden_size": 256,
    "intermediate_size": 704,
    "num_hidden_layers": 4,
    "num_attention_heads": 8,
    "num_key_value_heads": 2,
    "vocab_size": 1000,
    "torch_dtype": "bfloat16",
}
GATED_DELTA = {
    "model_type": "qwen3_next",
    "head_dim": 32,
    "linear_num_key_heads": 8,
    "linear_num_value_heads": 16,
    "linear_key_head_dim": 64,
    "linear_value_head_dim": 64,
    "num_experts": 0,
}


@pytest.fixture
def answered(tmp_path: Path) -> Callable[..., Estimate]:
    """The answer to a configuration on its own."""

    def answer(config: dict[str, object], **options: object) -> Estimate:
        (tmp_path / "config.json").write_text(json.dumps(SMALL | config), encoding="utf-8")
        return hfmem.estimate(str(tmp_path), **{"ctx": 4096, **options})

    return answer


def terms(term: Term) -> list[Term]:
    """A term and all below it."""
    return [term, *(one for part in term.parts for one in terms(part))]


def activations(answer: Estimate) -> Term:
    """Of prefill."""
    phase = next(phase for phase in answer.memory.phases if phase.name == "prefill")
    return phase.part("activations")


@pytest.mark.parametrize(
    ("config", "file"),
    [
        ({"model_type": "llama"}, "models/llama/modeling_llama.py"),
        ({"model_type": "gpt_oss", "num_local_experts": 8, "num_experts_per_tok": 2},
         "models/gpt_oss/modeling_gpt_oss.py"),
        ({"model_type": "gemma3_text", "sliding_window": 512, "head_dim": 32},
         "models/gemma3/modeling_gemma3.py"),
        ({"model_type": "lfm2"}, "models/lfm2/modeling_lfm2.py"),
        ({"model_type": "vit", "image_size": 224, "patch_size": 16}, "models/vit/modeling_vit.py"),
    ],
)  # fmt: skip
def test_every_activation_has_its_numbers_and_its_file(
    answered: Callable[..., Estimate], config: dict[str, object], file: str
) -> None:
    answer = answered(config)
    whole = activations(answer)
    assert file in whole.because
    assert whole.parts
    for phase in answer.memory.phases[1:]:
        for term in terms(phase.part("activations"))[1:]:
            assert "transformers 5.23 " in term.because
            assert ".py" in term.because
            assert f"{abs(term.bytes):,}" in term.because or "×" in term.because
            assert " * " not in term.because


def test_every_measured_figure_says_by_whom(answered: Callable[..., Estimate]) -> None:
    for device in ("cuda", "cpu"):
        answer = answered({"model_type": "llama"}, device=device)
        for phase in answer.memory.phases:
            for term in terms(phase.part("overhead")):
                if term.basis == "measured" and not term.parts:
                    assert any(
                        word in term.because for word in ("measured", "#", "CublasHandlePool")
                    )


def test_what_nobody_read_is_assumed_with_a_wide_range(answered: Callable[..., Estimate]) -> None:
    supposed = activations(answered({"model_type": "internlm2"}))
    llama = activations(answered({"model_type": "llama"}))
    assert {term.basis for term in terms(supposed)} == {"assumed"}
    assert supposed.bytes == llama.bytes
    assert supposed.range_bytes == (supposed.bytes // 2, supposed.bytes * 4)
    assert "nobody read" in supposed.because


def test_fused_kernels_are_the_low_end_and_a_note(answered: Callable[..., Estimate]) -> None:
    answer = answered(GATED_DELTA)
    found = activations(answer)
    note = next(note for note in answer.notes if note.code == "recurrent_kernels")
    # A scan of 4,096 tokens holds 10 × 1,024 values and 3 × 16 × 64 of chunks in fp32 a token.
    scan = 4096 * 4 * (10 * 1024 + 3 * 16 * 64)
    assert f"{scan / GIB:.2f}"[:3] in note.message
    assert found.range_bytes[0] < found.bytes // 2


def test_plain_attention_has_no_such_note(answered: Callable[..., Estimate]) -> None:
    notes = answered({"model_type": "llama"}).notes
    assert all(note.code != "recurrent_kernels" for note in notes)


def test_a_picture_encoder_has_the_context_of_a_picture(
    answered: Callable[..., Estimate],
) -> None:
    config = {"model_type": "vit", "image_size": 224, "patch_size": 16}
    answer = answered(config, ctx=8192, batch=3)
    assert answer.memory.ctx == 197
    assert any(note.code == "picture_positions" for note in answer.notes)
    # Two of the MLP's width, four of the hidden size and the pixels of a patch.
    assert activations(answer).bytes == 3 * 197 * 2 * (2 * 704 + 4 * 256 + 3 * 16**2)

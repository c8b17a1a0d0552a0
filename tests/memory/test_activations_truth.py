"""The activation model against the peaks of the reference implementation.

Both files hold allocator-level peaks of transformers 5.23 on CPU kernels, hence ``device="cpu"``.
"""

from __future__ import annotations

import json
from pathlib import Path
from statistics import median

import pytest

from hfmem.memory.activations import Peak, decode_activations, prefill_activations
from hfmem.model.architectures import layers
from hfmem.model.config import read
from hfmem.model.forward import ForwardPass, forward_pass
from hfmem.model.forward_shapes import Attention
from tests.benchmarks.accuracy_activations import Row, corpus_rows, math_kernel

pytestmark = pytest.mark.shared

SHAPES = {
    "llama31_8b": {
        "model_type": "llama",
        "hidden_size": 4096,
        "intermediate_size": 14336,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "vocab_size": 128256,
    },
    "qwen25_7b": {
        "model_type": "qwen2",
        "hidden_size": 3584,
        "intermediate_size": 18944,
        "num_hidden_layers": 28,
        "num_attention_heads": 28,
        "num_key_value_heads": 4,
        "vocab_size": 152064,
    },
}
"""The configurations that the truth was made from."""


def described(values: dict[str, object]) -> ForwardPass:
    """The forward pass of a configuration that is known to have one."""
    decoder = layers(read(values))
    forward = forward_pass(decoder.text, decoder.layers)
    assert forward is not None
    return forward


def inference_rows(shared: Path) -> list[dict[str, object]]:
    """The inference rows of the two 7-8B shapes."""
    lines = (shared / "oracle" / "peak_truth.jsonl").read_text(encoding="utf-8").splitlines()
    return [row for row in map(json.loads, lines) if row["kind"] == "infer"]


def test_two_shapes_by_attention_batch_and_logits(shared: Path) -> None:
    rows = inference_rows(shared)
    assert len(rows) == 20
    for row in rows:
        peak = prefill_activations(
            described(SHAPES[row["shape"]]),
            tokens=row["seq"],
            batch=row["batch"],
            attention=row["attn"],
            logits_rows=row["seq"] if row["full_logits"] else 1,
            device="cpu",
        )
        held = row["prefill"]["peak"] - row["weights"]
        label = f"{row['shape']} {row['attn']} {row['batch']} x {row['seq']}"
        assert peak.total_bytes + row["weights"] == pytest.approx(
            row["prefill"]["peak"], rel=0.01
        ), label
        assert peak.activation_bytes == pytest.approx(held - row["cache_live"], rel=0.001), label


def test_decode_of_two_shapes(shared: Path) -> None:
    for row in inference_rows(shared):
        peak = decode_activations(
            described(SHAPES[row["shape"]]),
            context=row["seq"] + 2,
            batch=row["batch"],
            attention=row["attn"],
            device="cpu",
        )
        if row["full_logits"]:
            continue  # the prompt's logits were alive during the step
        assert peak.total_bytes + row["weights"] == pytest.approx(row["decode"]["peak"], rel=0.01)


def test_corpus_fused_rows(shared: Path) -> None:
    rows = [row for row in corpus_rows(shared) if not row.unfused and not row.math]
    activations = sorted(abs(row.activation_error) for row in rows)
    totals = [abs(row.total_error) for row in rows]
    print(*(line(row) for row in rows), sep="\n")
    assert len(rows) > 100
    assert median(totals) < 0.001
    assert max(totals) < 0.005
    assert median(activations) < 0.001
    assert activations[-1] < 0.02


def test_corpus_rows_on_the_math_kernel(shared: Path) -> None:
    """The truth counts 8 bytes a score; the allocator's events show 9: the byte of the row mask."""
    rows = [row for row in corpus_rows(shared) if row.math and not row.unfused]
    print(*(line(row) for row in rows), sep="\n")
    assert rows
    assert all(0.05 < row.activation_error < 0.125 for row in rows)


def test_corpus_rows_without_fused_recurrence(shared: Path) -> None:
    rows = [row for row in corpus_rows(shared) if row.unfused]
    print(*(line(row) for row in rows), sep="\n")
    assert rows
    assert median(abs(row.activation_error) for row in rows) < 0.01
    assert all(abs(row.total_error) < 0.01 for row in rows)


def test_decode_of_the_corpus(shared: Path) -> None:
    errors = [row.decode_error for row in corpus_rows(shared)]
    assert median(map(abs, errors)) < 0.005
    assert max(map(abs, errors)) < 0.02


def test_every_family_with_a_config_and_a_peak_is_described(shared: Path) -> None:
    assert all(row.described for row in corpus_rows(shared))


def test_math_kernel_is_only_asked_where_shapes_forbid_the_fused_ones() -> None:
    llama = described(SHAPES["llama31_8b"])
    assert not math_kernel(llama)
    assert all(isinstance(kind.shape.mixer, Attention) for kind in llama.kinds)


def line(row: Row) -> str:
    """One row of the table."""
    peak: Peak = row.peak
    return (
        f"{row.model[:44]:44} {row.tokens:5} {peak.instant:18} "
        f"activations {row.activation_error:+8.3%} total {row.total_error:+8.4%}"
    )

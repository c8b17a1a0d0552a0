"""Packed parameters by component: bits a weight with scales, scales apart."""

from __future__ import annotations

from hfmem.model.describe import describe
from hfmem.model.packed_parameters import bits_per_weight, packed_parts
from hfmem.source.recorded import bundled


def test_gpt_oss() -> None:
    found = bundled("openai/gpt-oss-20b")
    assert found is not None
    parts = packed_parts(describe(found).weights or ())
    # 24 layers, 32 experts, [5760, 2880] and [2880, 2880]: half a byte each, a byte for every 32.
    experts = 24 * 32 * (5760 + 2880) * 2880
    assert [(part.component, part.parameters) for part in parts] == [("experts", experts)]
    assert (parts[0].weights_bytes, parts[0].scales_bytes) == (experts // 2, experts // 32)
    assert parts[0].bits_per_weight == 4.25


def test_plain_models_have_none() -> None:
    found = bundled("Qwen/Qwen3-8B")
    assert found is not None
    assert packed_parts(describe(found).weights or ()) == ()
    assert bits_per_weight(()) is None


def test_deepseek_v3_is_fp8_in_blocks() -> None:
    found = bundled("deepseek-ai/DeepSeek-V3")
    assert found is not None
    parts = packed_parts(describe(found).weights or ())
    bits = bits_per_weight(parts)
    # 8 bits and an fp32 scale for every 128 × 128.
    assert bits is not None
    assert 8.001 < bits < 8.003
    assert {part.component for part in parts} == {"language", "experts", "draft"}

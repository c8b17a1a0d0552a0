"""One model's whole answer: what depends on the question, and what must not."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import hfmem
from hfmem.errors import UsageError

QWEN = "Qwen/Qwen3-8B"


def ladder(**flags: str) -> dict[str, tuple[str | None, int | None]]:
    found = hfmem.estimate(QWEN, ctx=8192, source="recorded", **flags).precision
    return {rung.scheme: (rung.smallest_gpu, rung.smallest_count) for rung in found}


# A scheme that runs on few cards decides for its own rung only.
@pytest.mark.parametrize("scheme", ["nvfp4", "mlx-4bit"])
def test_the_ladder_does_not_depend_on_the_scheme_that_was_asked(scheme: str) -> None:
    plain, asked = ladder(), ladder(quantize=scheme)
    assert plain
    assert asked == plain


def test_mlx_refuses_what_it_cannot_load() -> None:
    with pytest.raises(hfmem.UsageError, match="nf4"):
        hfmem.estimate(QWEN, runtime="mlx", quantize="nf4", source="recorded")


@pytest.mark.parametrize(("ctx", "allowed"), [(8192, False), (131_072, True)])
def test_a_context_beyond_the_maximum_is_allowed_in_the_command(ctx: int, allowed: bool) -> None:
    found = hfmem.estimate(QWEN, ctx=ctx, runtime="vllm", gpu="h200", source="recorded")
    commands = [one.command or "" for one in found.fit[0].advice]
    assert commands
    assert all(("VLLM_ALLOW_LONG_MAX_MODEL_LEN=1 " in one) == allowed for one in commands)


# What a configuration declares may differ from what somebody uploads; what was read does not.
def test_weights_that_nobody_read_are_derived(tmp_path: Path) -> None:
    config = {
        "model_type": "llama",
        "architectures": ["LlamaForCausalLM"],
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "vocab_size": 100,
        "dtype": "bfloat16",
    }
    (tmp_path / "config.json").write_text(json.dumps(config))
    declared = hfmem.estimate(str(tmp_path), ctx=128).memory.peak
    bundled = hfmem.estimate(QWEN, ctx=128, source="recorded").memory.peak
    facts = Path(hfmem.__file__).parent / "source" / "bundled" / "Qwen--Qwen3-8B.json"
    text = facts.read_text().replace('"origin": "reconstructed"', '"origin": "hub"')
    (tmp_path / facts.name).write_text(text)
    recorded = hfmem.estimate(QWEN, ctx=128, source="recorded", recorded=tmp_path).memory.peak
    for peak, weights in ((declared, "derived"), (bundled, "derived"), (recorded, "exact")):
        assert (peak.part("weights").basis, peak.part("kv_cache").basis) == (weights, "exact")


def test_a_card_decides_the_backend() -> None:
    with pytest.raises(UsageError, match="--device cpu does not drive H100"):
        hfmem.estimate(QWEN, gpu="h100", device="cpu", source="recorded")


# Loading is DeepSeek-V3's largest instant by less than the range of its prefill, which is shown.
def test_one_card_is_shown_at_the_instant_of_all() -> None:
    found = hfmem.estimate("deepseek-ai/DeepSeek-V3", ctx=8192, gpu="h200:8", source="recorded")
    assert found.per_gpu is not None
    assert found.memory.peak.name == "prefill"
    shown = {part.name: part.bytes for part in found.per_gpu.memory.parts}
    assert shown["kv_cache"] > 0


# Of transformers, both read the length of cross-attention from the encoder: Whisper's always takes
# max_source_positions, T5's what it is given.
WHISPER = {
    **{"model_type": "whisper", "architectures": ["WhisperForConditionalGeneration"]},
    **{"d_model": 384, "encoder_layers": 4, "decoder_layers": 4, "vocab_size": 51_865},
    **{"encoder_attention_heads": 6, "decoder_attention_heads": 6, "max_source_positions": 1500},
    **{"encoder_ffn_dim": 1536, "decoder_ffn_dim": 1536, "max_target_positions": 448},
}
T5 = {
    **{"model_type": "t5", "architectures": ["T5ForConditionalGeneration"], "d_model": 512},
    **{"d_kv": 64, "d_ff": 2048, "num_layers": 6, "num_heads": 8, "vocab_size": 32_128},
}


@pytest.mark.parametrize(
    ("config", "given", "said"),
    [
        (None, 1500, "no layer of this model attends"),
        (None, None, ""),
        (WHISPER, 100, "always gives 1,500 tokens"),
        (T5, 512, ""),
    ],
)
def test_a_length_of_the_encoder_that_changes_nothing_is_said(
    config: dict[str, object] | None, given: int | None, said: str, tmp_path: Path
) -> None:
    if config is not None:
        (tmp_path / "config.json").write_text(json.dumps(config))
    model = QWEN if config is None else str(tmp_path)
    source = "recorded" if config is None else "auto"
    found = hfmem.estimate(model, ctx=64, encoder_ctx=given, source=source)
    messages = [note.message for note in found.notes if note.code == "encoder_ctx_unused"]
    assert len(messages) == bool(said)
    assert all(said in message for message in messages)

"""Every described family in small, against live tensors of the reference implementation.

``traced_families.json`` holds configurations of transformers 5.23 shrunk to a few layers, in two
shapes each (a wide MLP, or wide heads), and the largest sum of live tensors beside the parameters
that a dispatch-mode tracer saw in one prefill (torch 2.13 under fake tensors on a CPU, bf16, the
attention that the class takes by default, logits of the last token).
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from hfmem.memory.activations import prefill_activations
from hfmem.model.architectures import layers
from hfmem.model.config import read
from hfmem.model.forward import forward_pass, picture_positions, supposed_pass
from hfmem.model.forward_families import BY_MODEL_TYPE

ROWS = json.loads(Path(__file__).with_name("traced_families.json").read_text(encoding="utf-8"))
ENCODER = {
    "hidden_size": 256,
    "num_hidden_layers": 4,
    "num_attention_heads": 8,
    "intermediate_size": 704,
    "vocab_size": 1000,
    "max_position_embeddings": 2048,
}


@pytest.mark.parametrize(
    "row",
    ROWS,
    ids=[f"{index}-{row['config']['model_type']}" for index, row in enumerate(ROWS)],
)
def test_a_family_in_small(row: dict[str, object]) -> None:
    decoder = layers(read(row["config"]))
    forward = forward_pass(decoder.text, decoder.layers)
    assert forward is not None
    peak = prefill_activations(forward, tokens=row["tokens"], batch=row["batch"], device="cpu")
    assert peak.total_bytes == pytest.approx(row["traced"], rel=0.03)
    assert all(part.source for part in peak.parts)


# Traced as above; encoders and pictures ran on real tensors.
@pytest.mark.parametrize(
    ("config", "tokens", "batch", "traced"),
    [
        ({"model_type": "modernbert"}, 1024, 2, 18_112_512),
        ({"model_type": "modernbert", "intermediate_size": 1536}, 1024, 2, 31_744_000),
        ({"model_type": "deberta-v2"}, 1024, 2, 87_073_280),
        ({"model_type": "deberta-v2", "relative_attention": True}, 1024, 2, 210_019_840),
        ({"model_type": "mpnet"}, 1024, 2, 108_019_712),
        ({"model_type": "esm"}, 1024, 2, 15_745_024),
        ({"model_type": "eurobert", "num_key_value_heads": 8}, 1024, 2, 13_000_704),
        # 28 × 28 patches of 8 and the class token.
        ({"model_type": "vit", "intermediate_size": 1024, "patch_size": 8}, 785, 4, 20_496_384),
        ({"model_type": "dinov2", "intermediate_size": 1024, "patch_size": 8}, 785, 4, 20_496_384),
    ],
)  # fmt: skip
def test_an_encoder_in_small(
    config: dict[str, object], tokens: int, batch: int, traced: int
) -> None:
    decoder = layers(read({**ENCODER, **config}))
    forward = forward_pass(decoder.text, decoder.layers)
    assert forward is not None
    peak = prefill_activations(forward, tokens=tokens, batch=batch, device="cpu")
    assert peak.total_bytes == pytest.approx(traced, rel=0.01)


def test_most_described_families_were_traced() -> None:
    traced = {layers(read(row["config"])).text.model_type for row in ROWS}
    assert len(traced & set(BY_MODEL_TYPE)) > 90


def test_the_class_around_gemma_4_holds_the_layers_embeddings_twice() -> None:
    # Gemma4ForConditionalGeneration at its class's defaults, 1,024 tokens of text.
    decoder = layers(read({"model_type": "gemma4"}))
    forward = forward_pass(decoder.text, decoder.layers, wrapped=True)
    assert forward is not None
    peak = prefill_activations(forward, tokens=1024, device="cpu")
    assert peak.total_bytes == pytest.approx(262_709_760, rel=0.001)


@pytest.mark.parametrize("key", ["attn_implementation", "_attn_implementation"])
def test_a_configuration_may_choose_eager_attention(key: str) -> None:
    decoder = layers(read({**ENCODER, "model_type": "llama", key: "eager"}))
    forward = forward_pass(decoder.text, decoder.layers)
    assert forward is not None
    assert forward.default_attention == "eager"
    assert "as config.json says" in forward.source


def test_a_picture_has_its_patches_and_a_class_token() -> None:
    vit = {"model_type": "vit", "image_size": 224, "patch_size": 16}
    assert picture_positions(read(vit)) == 14 * 14 + 1
    assert picture_positions(read({"model_type": "bert"})) is None


@pytest.mark.parametrize(
    ("config", "instant"),
    [
        # Read by nobody: a gated decoder, one with experts, one with recurrent layers.
        ({"model_type": "internlm2", "num_key_value_heads": 2}, "mlp"),
        ({"model_type": "minimax", "num_key_value_heads": 2, "head_dim": 32,
          "num_local_experts": 8, "num_experts_per_tok": 2}, "experts gate"),
    ],
)  # fmt: skip
def test_a_family_that_nobody_read_is_supposed(config: dict[str, object], instant: str) -> None:
    decoder = layers(read({**ENCODER, **config}))
    assert forward_pass(decoder.text, decoder.layers) is None
    supposed = supposed_pass(decoder.text, decoder.layers)
    assert supposed is not None
    assert prefill_activations(supposed, tokens=1024).instant == instant

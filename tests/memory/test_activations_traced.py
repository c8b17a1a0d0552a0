"""Families whose class defaults were run in small: peaks of live tensors beside the parameters.

transformers 5.23 and torch 2.13 under fake tensors on the CPU, bf16, one sequence, the attention
that the class takes by default. Encoder-decoders ran with as many encoder tokens, and the keys of
cross-attention that lie there are taken off the figure.
"""

from __future__ import annotations

import pytest

from hfmem.memory.activations import prefill_activations
from hfmem.model.architectures import layers
from hfmem.model.config import read
from hfmem.model.forward import forward_pass

SMALL = {"num_hidden_layers": 3}
WIDE = {"hidden_size": 1024, "intermediate_size": 4096, "num_attention_heads": 16}


@pytest.mark.parametrize(
    ("config", "tokens", "traced", "off"),
    [
        ({"model_type": "bert", **SMALL}, 512, 8_654_848, 0.002),
        ({"model_type": "xlm-roberta", **SMALL, **WIDE}, 512, 11_538_432, 0.002),
        ({"model_type": "distilbert", "n_layers": 3}, 512, 8_654_848, 0.002),
        ({"model_type": "electra", **SMALL}, 512, 2_887_680, 0.002),
        ({"model_type": "albert", **SMALL, **WIDE}, 512, 19_009_536, 0.01),
        ({"model_type": "nomic_bert", **SMALL}, 512, 12_722_176, 0.002),
        ({"model_type": "clip_text_model", **SMALL}, 77, 1_262_592, 0.002),
        (
            {"model_type": "bloom", "hidden_size": 1024, "n_layer": 3, "n_head": 16},
            1024,
            262_185_472,
            0.002,
        ),
        ({"model_type": "mpt", "d_model": 1024, "n_layers": 3, "n_heads": 16}, 1024, 227_680_256,
         0.005),
        ({"model_type": "gptj", "n_embd": 1024, "n_layer": 3, "n_head": 16, "rotary_dim": 64},
         1024, 208_814_080, 0.005),
        ({"model_type": "codegen", "n_embd": 1024, "n_layer": 3, "n_head": 16, "rotary_dim": 64},
         1024, 216_285_184, 0.01),
        ({"model_type": "gpt_neo", "hidden_size": 1024, "num_layers": 2, "num_heads": 16,
          "attention_types": [[["global", "local"], 1]]}, 1024, 197_149_184, 0.002),
        ({"model_type": "xglm", "d_model": 1024, "ffn_dim": 4096, "num_layers": 3,
          "attention_heads": 16}, 1024, 90_194_432, 0.002),
        ({"model_type": "biogpt", **SMALL, **WIDE}, 1024, 37_769_216, 0.002),
        ({"model_type": "persimmon", **SMALL, **WIDE}, 1024, 46_284_800, 0.005),
        ({"model_type": "vaultgemma", **SMALL, **WIDE, "num_key_value_heads": 4, "head_dim": 64},
         1024, 187_974_656, 0.002),
        ({"model_type": "granitemoeshared", **SMALL, **WIDE, "num_key_value_heads": 4,
          "intermediate_size": 512, "num_local_experts": 16, "num_experts_per_tok": 4},
         1024, 45_597_696, 0.002),
        ({"model_type": "ernie4_5_moe", **SMALL, **WIDE, "num_key_value_heads": 4,
          "intermediate_size": 3072, "moe_intermediate_size": 512, "moe_num_experts": 16,
          "moe_k": 4, "moe_layer_start_index": 1}, 1024, 47_956_992, 0.005),
        # Two layers' cross-attention of 512 × 1,024 × 2 × 2 bytes each, and the encoder's output.
        ({"model_type": "bart", "encoder_layers": 2, "decoder_layers": 2}, 512,
         22_032_384 - 5 * 1_048_576, 0.002),
        # One layer's; two layers' of 1,500 × 1,280.
        ({"model_type": "t5", "num_layers": 2, "d_model": 1024, "d_ff": 4096, "num_heads": 16},
         512, 45_359_104 - 3 * 1_048_576, 0.02),
        ({"model_type": "whisper", "d_model": 1280, "decoder_layers": 2,
          "decoder_attention_heads": 20, "decoder_ffn_dim": 5120}, 448,
         38_704_128 - 5 * 3_840_000, 0.005),
    ],
)  # fmt: skip
def test_traced_prefill(config: dict[str, object], tokens: int, traced: int, off: float) -> None:
    decoder = layers(read({**config, "vocab_size": 1000}))
    forward = forward_pass(decoder.text, decoder.layers)
    assert forward is not None
    peak = prefill_activations(forward, tokens=tokens, device="cpu")
    assert peak.total_bytes == pytest.approx(traced, rel=off)

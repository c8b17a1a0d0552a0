"""What a token reads of an encoder's keys and values: as many tokens as the cache holds."""

from __future__ import annotations

from fractions import Fraction

import pytest

from hfmem.checkpoint.snapshot import Snapshot
from hfmem.hardware.cache_reads import cache_reads
from hfmem.memory.workload import workload
from hfmem.model.describe import describe


# The classes' defaults in transformers 5.23: layers × 2 × width × 2 bytes a token, of the decoder's
# 1,024 and of those that the encoder gives.
@pytest.mark.parametrize(
    ("model_type", "name", "encoder", "token_bytes", "tokens"),
    [
        ("pix2struct", "Pix2Struct", None, 12 * 2 * 768 * 2, 1024 + 2048),
        ("pix2struct", "Pix2Struct", 512, 12 * 2 * 768 * 2, 1024 + 512),
        ("pp_formulanet", "PPFormulaNet", None, 8 * 2 * 512 * 2, 1024 + 64),
        ("whisper", "Whisper", None, 4 * 2 * 384 * 2, 1024 + 1500),
        ("t5", "T5", None, 6 * 2 * 512 * 2, 1024 + 1024),
        ("t5", "T5", 300, 6 * 2 * 512 * 2, 1024 + 300),
    ],
)
def test_cross_attention_reads_the_whole_encoder(
    model_type: str, name: str, encoder: int | None, token_bytes: int, tokens: int
) -> None:
    model = describe(
        Snapshot(
            model="org/model",
            revision=None,
            source="local",
            config={
                "model_type": model_type,
                "architectures": [f"{name}ForConditionalGeneration"],
                "dtype": "bfloat16",
            },
            documents={},
            files=(),
            checkpoint=None,
        )
    )
    asked = workload(ctx=1024, encoder_ctx=encoder)
    assert cache_reads(model, asked, ctx=1024, bits=Fraction(16)).read == token_bytes * tokens

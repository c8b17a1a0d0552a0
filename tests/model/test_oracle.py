"""Every configuration that the reference implementation was run on, to the byte.

The truth is the sum over the cache's tensors after a prefill by transformers 5.23.0 on the meta
device.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from hfmem.dtypes import from_name
from hfmem.errors import UnsupportedArchitectureError
from hfmem.memory.kv_cache import bytes_by_kind, cache_bytes, group, total_bytes
from hfmem.model.architectures import layers
from hfmem.model.config import read

pytestmark = pytest.mark.shared

PICTURE_TOKENS = 4 * 1601
"""Llama-3.2-Vision: four tiles of 560 / 14 squared patches and a class token."""
GROWN = {("meta-llama/Llama-3.2-11B-Vision-Instruct", 32768)}
"""The run was extrapolated by growing every layer, the picture's too, which the model never
does."""


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_published_configurations(shared: Path) -> None:
    rows = lines(shared / "oracle" / "truth_corpus.jsonl")
    assert len(rows) == 113
    wrong, compared = [], 0
    for row in rows:
        name = row["model"].replace("/", "--")
        config = json.loads((shared / "corpus" / "configs" / f"{name}.json").read_text())
        decoder = layers(read(config))
        assert decoder.resolved_by == "entry", row["model"]
        dtype = from_name(row["dtype"])
        assert dtype is not None
        for text, expected in row["kv_bytes"].items():
            ctx = int(text)
            if (row["model"], ctx) in GROWN:
                continue
            compared += 1
            found = total_bytes(
                group(decoder.layers),
                ctx=ctx,
                kv_dtype=dtype,
                model_dtype=dtype,
                encoder_ctx=PICTURE_TOKENS if row["model_type"] == "mllama" else ctx,
            )
            if found != expected:
                wrong.append((row["model"], ctx, found, expected))
    assert wrong == []
    assert compared > 300


# Keys that the runs set beside the class's defaults.
SETTINGS: dict[str, dict[str, object]] = {
    "bamba": {"attn_layer_indices": [9, 18, 27]},
    "granitemoehybrid": {
        "layer_types": ["attention" if i % 8 == 5 else "mamba" for i in range(32)]
    },
    "nemotron": {"num_key_value_heads": 8},
    **{
        name: {"is_decoder": True}
        for name in (
            *("bert", "bert-generation", "big_bird", "camembert", "data2vec-text", "electra"),
            *("ernie", "rembert", "megatron-bert", "roberta", "roberta-prelayernorm", "roc_bert"),
            *("roformer", "xlm-roberta", "xlm-roberta-xl", "xmod", "reformer"),
        )
    },
}
ENCODER_TOKENS = {
    "MllamaForCausalLM": 0,
    "MllamaForConditionalGeneration": 4 * 1025,
    "MoonshineForConditionalGeneration": 40,
    "PPFormulaNetForConditionalGeneration": 64,
    "Pix2StructForConditionalGeneration": 2048,
    "SeamlessM4TForSpeechToText": 376,
    "SeamlessM4Tv2ForSpeechToText": 376,
    "Speech2TextForConditionalGeneration": 750,
    "SpeechT5ForSpeechToText": 49,
}
REFUSED = {
    "cpmant": "caches 32 learned prompt tokens before the text",
    "reformer": "caches hash buckets",
}
APART = {
    "dots3_note": "the indexer's keys come out in fp32 there: 13 layers x 128 x 2 bytes a token",
    "dots3_note_text": "as dots3_note",
    "git": "the picture's 197 tokens are in the context",
    "recurrent_gemma": "the run saw the module's state only, not its window of keys and values",
    "xlstm": "a counter of 8 bytes",
}


def difference(model_type: str, ctx: int) -> int:
    """What the run has on top, for the rows in APART."""
    match model_type:
        case "dots3_note" | "dots3_note_text":
            return 13 * 128 * 2 * ctx
        case "git":
            return 197 * 6 * 2 * 768 * 2
        case "xlstm":
            return 8
        case _:
            return 0


def test_class_defaults(shared: Path) -> None:
    rows = lines(shared / "oracle" / "truth_defaults.jsonl")
    assert len(rows) == 279
    wrong, compared = [], 0
    for row in rows:
        model_type = row["job"].split(":")[1]
        values = {"model_type": model_type, "architectures": [row["class"]]}
        config = read(values | SETTINGS.get(model_type, {}))
        if model_type in REFUSED:
            with pytest.raises(UnsupportedArchitectureError):
                layers(config)
            continue
        groups = group(layers(config).layers)
        for text, expected in row["kv_bytes"].items():
            ctx = int(text)
            compared += 1
            parts = cache_bytes(
                groups,
                ctx=ctx,
                kv_dtype="BF16",
                model_dtype="BF16",
                encoder_ctx=ENCODER_TOKENS.get(row["class"], ctx),
            )
            kinds = bytes_by_kind(parts)
            found = kinds["recurrent"] if model_type == "recurrent_gemma" else sum(kinds.values())
            if found + difference(model_type, ctx) != expected:
                wrong.append((row["job"], ctx, found, expected))
    assert wrong == []
    assert compared > 750

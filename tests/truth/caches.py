"""KV cache and state against the reference implementation's own cache, to the byte.

The truth is the sum over the cache's tensors after a prefill by transformers 5.23.0 on the meta
device.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hfmem.dtypes import from_name
from hfmem.errors import ConfigError, UnsupportedArchitectureError
from hfmem.memory.kv_cache import bytes_by_kind, cache_bytes, group, total_bytes
from hfmem.model.architectures import layers
from hfmem.model.config import read
from hfmem.model.encoder_runs import encoder_run
from tests.truth.row import Row

PICTURE_TOKENS = 4 * 1601
"""Llama-3.2-Vision: four tiles of 560 / 14 squared patches and a class token."""
GROWN = {("meta-llama/Llama-3.2-11B-Vision-Instruct", 32768)}
"""The run was extrapolated by growing every layer, the picture's too, which the model never
does."""
_ENCODER = "the configuration names the encoder alone, the reference ran both halves"
# Keys that the runs of the class defaults set beside them.
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


def lines(path: Path) -> list[dict[str, Any]]:
    """The objects of a JSONL file."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def published_config(shared: Path, model: str) -> dict[str, object] | None:
    """A configuration of the corpus; None where it has none."""
    path = shared / "corpus" / "configs" / f"{model.replace('/', '--')}.json"
    if not path.is_file():
        return None
    found: dict[str, object] = json.loads(path.read_text(encoding="utf-8"))
    return found


def corpus(shared: Path) -> Iterator[Row]:
    """Published configurations at every context of their rows."""
    for truth in lines(shared / "oracle" / "truth_corpus.jsonl"):
        values = published_config(shared, truth["model"])
        decoder = layers(read(values or {}))
        dtype = from_name(truth["dtype"])
        for text, expected in truth["kv_bytes"].items():
            ctx = int(text)
            if (truth["model"], ctx) in GROWN:
                continue
            found = total_bytes(
                group(decoder.layers),
                ctx=ctx,
                kv_dtype=dtype or "BF16",
                model_dtype=dtype or "BF16",
                encoder_ctx=PICTURE_TOKENS if truth["model_type"] == "mllama" else ctx,
            )
            name = f"{truth['model']} @{ctx}"
            alone = str((values or {}).get("architectures", "")).find("EncoderModel") >= 0
            yield Row(
                table="cache, published",
                name=name,
                expected=expected,
                found=found,
                reason=_ENCODER if alone else "",
                tolerance=0,
            )


def defaults(shared: Path) -> Iterator[Row]:
    """The class defaults of every model type that the reference ran."""
    for truth in lines(shared / "oracle" / "truth_defaults.jsonl"):
        model_type = truth["job"].split(":")[1]
        values = {"model_type": model_type, "architectures": [truth["class"]]}
        config = read(values | SETTINGS.get(model_type, {}))
        reason = REFUSED.get(model_type, "")
        groups = run = None
        try:
            run = encoder_run(config, {})
            groups = group(layers(config).layers)
        except (ConfigError, UnsupportedArchitectureError) as error:
            reason = reason or error.message
        for text, expected in truth["kv_bytes"].items():
            ctx = int(text)
            found = None
            if groups is not None:
                parts = cache_bytes(
                    groups,
                    ctx=ctx,
                    kv_dtype="BF16",
                    model_dtype="BF16",
                    encoder_ctx=run.tokens if run else ENCODER_TOKENS.get(truth["class"], ctx),
                )
                kinds = bytes_by_kind(parts)
                only_state = model_type == "recurrent_gemma"
                found = kinds["recurrent"] if only_state else sum(kinds.values())
                found += beside(model_type, ctx)
            yield Row(
                table="cache, class defaults",
                name=f"{truth['job']} @{ctx}",
                expected=expected,
                found=found,
                reason=reason,
                tolerance=0,
            )


def beside(model_type: str, ctx: int) -> int:
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

"""Writes fixtures/reference_counts.jsonl: how many parameters every class of the reference holds.

Every model type that transformers gives a generating class (and a few lines of encoders), at small
depth and at one changed key a time: a flag that a row of hfmem/model/declared forgets shows here.
Run where torch is installed: ``PYTHONPATH=. python tests/scripts/reference_counts.py [TYPE…]``.
Models are built on the meta device: no weights, no network; minutes.
"""

from __future__ import annotations

import dataclasses
import json
import os
import re
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from huggingface_hub.errors import StrictDataclassError

TARGET = Path(__file__).parents[2] / "fixtures" / "reference_counts.jsonl"
MAPPINGS = (
    "MODEL_FOR_MULTIMODAL_LM_MAPPING_NAMES",
    "MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES",
    "MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES",
    "MODEL_FOR_SPEECH_SEQ_2_SEQ_MAPPING_NAMES",
    "MODEL_FOR_CAUSAL_LM_MAPPING_NAMES",
)
"""The first that names a type gives its class."""
LINES = "Bert Roberta XLMRoberta Camembert Data2VecText Electra MPNet DistilBert ModernBert"
OTHER_CLASSES = (
    *(
        f"{stem}{task}"
        for stem in LINES.split()
        for task in ("ForMaskedLM", "Model", "ForSequenceClassification")
    ),
    *("LlamaModel", "LlamaForSequenceClassification", "MistralModel", "Qwen2Model", "Qwen3Model"),
    *("Qwen3ForSequenceClassification", "Gemma2ForSequenceClassification", "MixtralModel"),
    *("T5EncoderModel", "MT5EncoderModel", "UMT5EncoderModel"),
)
"""Encoders, embedding models and rerankers."""
SETTINGS: dict[str, dict[str, Any]] = {
    "dbrx": {"attn_config": {"rope_theta": 5e5, "clip_qkv": 8.0, "kv_n_heads": 8}},
    "dots1": {"n_routed_experts": 8, "n_shared_experts": 2, "n_group": 1, "topk_group": 1},
    "hunyuan_v1_dense": {"head_dim": 128},
    "hunyuan_v1_moe": {"head_dim": 128},
    "lfm2_moe": {"layer_types": ["conv", "full_attention", "conv", "conv"]},
    "nemotron": {"num_key_value_heads": 8},
}
"""What a class cannot be built without."""
SMALL = 4
SECONDS = 60
"""What is not built by then has no meta device."""
FAILURES = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    ImportError,
    LookupError,
    RuntimeError,
    TimeoutError,
    TypeError,
    ValueError,
    StrictDataclassError,
)
"""How a class says that a value does not fit."""
_DEPTH = re.compile(r"^(?:(?:num|encoder|decoder|n)_(?:\w+_)?layers?|depth|(?:en|de)coder_layers)$")
_EXPERTS = re.compile(r"^(?:num_experts|num_local_experts|n_routed_experts|moe_num_experts)$")
_IRRELEVANT = re.compile(
    r"dropout|drop_path|layerdrop|drop_rate|eps(ilon)?$|initializer|_coef|_std$|token_id|token_index"
    r"|loss|label|problem_type|return_dict|use_cache|^output_(?!dim|proj)|chunk_size|transformers_version"
    r"|^architectures$|^dtype$|_prob$|temperature|noise|_path$|aux_|^summary_|is_encoder_decoder"
    r"|implementation|^id2|bfloat|pruned|torchscript|gradient|router_z|jitter|tie_encoder"
)
_RATIO = re.compile(r"ratio|factor|expand|mult|fraction|scale")


def classes() -> Iterator[tuple[str, str]]:
    """Model types and the classes that are built of them."""
    import transformers
    from transformers.models.auto import modeling_auto

    found: dict[str, str] = {}
    for mapping in reversed(MAPPINGS):
        for model_type, names in getattr(modeling_auto, mapping).items():
            found[model_type] = names if isinstance(names, str) else names[0]
    yield from sorted(found.items())
    for name in OTHER_CLASSES:
        yield getattr(transformers, name).config_class.model_type, name


def count(model_type: str, name: str, values: dict[str, Any]) -> int:
    """Parameters of a class; a tied one counts once."""
    import torch
    import transformers

    config = transformers.CONFIG_MAPPING[model_type].from_dict({"model_type": model_type, **values})
    signal.alarm(SECONDS)
    try:
        with torch.device("meta"):
            model = getattr(transformers, name)(config)
    finally:
        signal.alarm(0)
    return sum(parameter.numel() for parameter in model.parameters())


def _late(*_: object) -> None:
    raise TimeoutError(f"not built in {SECONDS} seconds")


def sections(model_type: str) -> Iterator[tuple[str, str, bool]]:
    """Nested sections: key, model type, whether the class leaves them out by default."""
    from transformers import CONFIG_MAPPING

    for key, spec in CONFIG_MAPPING[model_type].sub_configs_defaults.items():
        kind = getattr(spec, "model_type", None) or getattr(spec.config_class, "model_type", None)
        if kind in CONFIG_MAPPING:
            yield key, kind, bool(getattr(spec, "optional", False))


def fields(model_type: str) -> Iterator[tuple[str, Any, str]]:
    """Fields that bear on sizes: name, default, annotation."""
    from transformers import CONFIG_MAPPING

    nested = {key for key, _, _ in sections(model_type)}
    for item in dataclasses.fields(CONFIG_MAPPING[model_type]):
        if item.name not in nested and not _IRRELEVANT.search(item.name):
            default = None if item.default is dataclasses.MISSING else item.default
            yield item.name, default, str(item.type)


def small(model_type: str) -> dict[str, Any]:
    """What makes a class quick to build: few layers, few experts."""
    values: dict[str, Any] = {}
    for name, default, _ in fields(model_type):
        if _DEPTH.match(name) and type(default) is int and default > SMALL:
            values[name] = SMALL
        if _EXPERTS.match(name) and type(default) is int and default > 8:
            values[name] = 8
    for key, kind, optional in sections(model_type):
        inner = small(kind)
        if inner and not optional:
            values[key] = {"model_type": kind, **inner}
    return values


def changes(model_type: str) -> Iterator[tuple[str, Any]]:
    """Every field once, said differently."""
    for name, default, annotation in fields(model_type):
        match default:
            case bool():
                yield name, not default
            case int() if _DEPTH.match(name):
                yield name, SMALL - 1
            case int():
                yield name, 2 * default if default > 0 else 2
                if re.search("shared|nextn|first_k|mtp", name):
                    yield name, 0
                if "None" in annotation:
                    yield name, None
            case float() if _RATIO.search(name):
                yield name, 2 * default
            case None if "bool" in annotation:
                yield name, True
            case None if "int" in annotation and "list" not in annotation:
                yield name, 128


def paths(model_type: str) -> Iterator[tuple[tuple[str, ...], Any]]:
    """The changes of a type and of its sections."""
    for name, value in changes(model_type):
        yield (name,), value
    for key, kind, _ in sections(model_type):
        for name, value in changes(kind):
            yield (key, name), value


def row(model_type: str, name: str) -> dict[str, Any] | None:
    """One class: its smallest configuration, and every change that can be built."""
    base, total = None, 0
    # Some classes check their lists of layers against a depth of their own.
    for tried in (small(model_type), {}):
        try:
            base = tried | SETTINGS.get(model_type, {})
            total = count(model_type, name, base)
            break
        except FAILURES as error:
            print(f"{model_type}: not built: {str(error)[:90]}", file=sys.stderr)
            base = None
    if base is None:
        return None
    found = []
    for path, value in paths(model_type):
        values = json.loads(json.dumps(base))
        place = values
        for part in path[:-1]:
            place = place.setdefault(part, {})
        place[path[-1]] = value
        try:
            parameters = count(model_type, name, values)
        except FAILURES:
            continue
        if parameters != total or isinstance(value, bool):
            found.append([".".join(path), value, parameters])
    return {
        "model_type": model_type,
        "class": name,
        "values": base,
        "parameters": total,
        "changes": found,
    }


def main(wanted: list[str]) -> None:
    """Writes the fixture, one class a line, or prints those of the types that are named."""
    os.environ["HF_HUB_OFFLINE"] = "1"
    os.environ["TRANSFORMERS_VERBOSITY"] = "error"
    signal.signal(signal.SIGALRM, _late)
    rows = [
        found
        for model_type, name in classes()
        if not wanted or model_type in wanted
        if (found := row(model_type, name)) is not None
    ]
    text = "".join(json.dumps(one) + "\n" for one in rows)
    if wanted:
        print(text, end="")
    else:
        TARGET.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])

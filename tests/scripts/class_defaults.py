"""Writes hfmem/model/class_defaults.json.gz from the installed transformers.

Run after an upgrade of transformers: ``python tests/scripts/class_defaults.py``.
"""

from __future__ import annotations

import datetime
import gzip
import json
import os
from pathlib import Path
from typing import Any

from hfmem.model.class_defaults import TABLE, declared, section_name

TARGET = Path(__file__).parents[2] / "hfmem" / "model" / TABLE


def table() -> dict[str, list[object]]:
    """Every configuration class of the installed transformers, by model type."""
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    from transformers import CONFIG_MAPPING as MAPPING

    mapping: Any = MAPPING
    found: dict[str, list[object]] = {}
    pending = [(name, mapping[name]) for name in mapping]
    while pending:
        name, config_class = pending.pop()
        if name in found:
            continue
        found[name] = declared(config_class, mapping)
        pending += [
            (section_name(spec.config_class, mapping), spec.config_class)
            for spec in config_class.sub_configs_defaults.values()
            if hasattr(spec.config_class, "sub_configs_defaults")
        ]
    return dict(sorted(found.items()))


GENERATING = (
    "CAUSAL_LM",
    "IMAGE_TEXT_TO_TEXT",
    "SEQ_TO_SEQ_CAUSAL_LM",
    "MULTIMODAL_LM",
    "SPEECH_SEQ_2_SEQ",
    "TEXT_TO_WAVEFORM",
    "TEXT_TO_SPECTROGRAM",
    "VISION_2_SEQ",
)


def generating_classes() -> dict[str, list[str]]:
    """Every class that generates, with the model types that it serves, its namesake first."""
    from transformers.models.auto import modeling_auto

    found: dict[str, list[str]] = {}
    for task in GENERATING:
        names = getattr(modeling_auto, f"MODEL_FOR_{task}_MAPPING_NAMES", {})
        for model_type, classes in names.items():
            for name in [classes] if isinstance(classes, str) else classes:
                if model_type not in found.setdefault(name, []):
                    found[name].append(model_type)

    def stranger(class_name: str, model_type: str) -> bool:
        squashed = model_type.replace("_", "").replace("-", "").removesuffix("text")
        return class_name.split("For")[0].replace("_", "").lower() != squashed

    return {
        name: sorted(types, key=lambda model_type: stranger(name, model_type))
        for name, types in sorted(found.items())
    }


def main() -> None:
    """Write the table; the compressed file depends on the content alone."""
    import transformers

    rows = table()
    header = {
        "transformers": transformers.__version__,
        "written": datetime.datetime.now(datetime.UTC).date().isoformat(),
    }
    lines = [json.dumps(header), json.dumps(generating_classes(), separators=(",", ":"))]
    lines += [f"{name}\t{json.dumps(row, separators=(',', ':'))}" for name, row in rows.items()]
    TARGET.write_bytes(gzip.compress("\n".join(lines).encode(), compresslevel=9, mtime=0))
    print(f"{len(rows)} classes, {TARGET.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()

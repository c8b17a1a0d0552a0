"""Writes hfmem/runtimes/vllm_support.json from a source tree of vLLM.

python tests/scripts/vllm_support.py FOLDER VERSION, the folder of the package vllm. Nothing is
imported: the registry's tables and the quantization methods are literals of their syntax trees.
"""

from __future__ import annotations

import ast
import json
import sys
from collections.abc import Sequence
from pathlib import Path

OUT = Path(__file__).parents[2] / "hfmem" / "runtimes" / "vllm_support.json"
GENERATES = ("_TEXT_GENERATION_MODELS", "_MULTIMODAL_MODELS", "_TRANSFORMERS_SUPPORTED_MODELS")
POOLS = (
    "_EMBEDDING_MODELS",
    "_LATE_INTERACTION_MODELS",
    "_REWARD_MODELS",
    "_TOKEN_CLASSIFICATION_MODELS",
    "_SEQUENCE_CLASSIFICATION_MODELS",
)


def assigned(path: Path) -> dict[str, ast.expr]:
    """The module's top-level names and the expressions that they were given."""
    found: dict[str, ast.expr] = {}
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign):
            found.update((one.id, node.value) for one in node.targets if isinstance(one, ast.Name))
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.value:
            found[node.target.id] = node.value
    return found


def keys(table: ast.expr) -> list[str]:
    """The string keys of a dictionary's display; merged dictionaries are left out."""
    assert isinstance(table, ast.Dict)
    return [ast.literal_eval(one) for one in table.keys if isinstance(one, ast.Constant)]


def strings(node: ast.expr) -> list[str]:
    """Every string in an expression."""
    return [
        one.value
        for one in ast.walk(node)
        if isinstance(one, ast.Constant) and isinstance(one.value, str)
    ]


def main(arguments: Sequence[str]) -> int:
    """Write the table; the exit code is 2 without the two arguments."""
    if len(arguments) != 2:
        sys.stderr.write("error: give the folder of the package vllm and its version\n")
        return 2
    package = Path(arguments[0])
    registry = assigned(package / "model_executor" / "models" / "registry.py")
    methods = assigned(package / "model_executor" / "layers" / "quantization" / "__init__.py")
    generates = {name for table in GENERATES for name in keys(registry[table])}
    pools = {name for table in POOLS for name in keys(registry[table])} - generates
    until = registry["_PREVIOUSLY_SUPPORTED_MODELS"]
    document = {
        "version": arguments[1],
        "generates": sorted(generates),
        "pools": sorted(pools),
        "until": dict(sorted(ast.literal_eval(until).items())),
        "elsewhere": dict(sorted(ast.literal_eval(registry["_OOT_SUPPORTED_MODELS"]).items())),
        "quantization": sorted(strings(methods["QuantizationMethods"])),
        "deprecated_quantization": sorted(strings(methods["DEPRECATED_QUANTIZATION_METHODS"])),
    }
    OUT.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

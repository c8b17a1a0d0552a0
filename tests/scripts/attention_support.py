"""Write hfmem/model/attention_support.json: the model types that take eager attention by default.

``python tests/scripts/attention_support.py`` reads ``_supports_sdpa`` of the causal and conditional
generation classes of the installed transformers (modeling_utils.py: get_correct_attn_implementation
takes sdpa where the class has it and eager otherwise). The source is read, nothing is executed.
"""

from __future__ import annotations

import ast
import importlib.metadata
import importlib.util
import json
from pathlib import Path

TARGET = Path(__file__).resolve().parents[2] / "hfmem" / "model" / "attention_support.json"
SUFFIXES = ("ForCausalLM", "ForConditionalGeneration", "LMHeadModel", "PreTrainedModel")


def supports_sdpa(tree: ast.Module) -> bool | None:
    """What the file's base class says; None where no class of the file is a pretrained model."""
    said: bool | None = None
    for node in tree.body:
        if not isinstance(node, ast.ClassDef) or not node.name.endswith("PreTrainedModel"):
            continue
        said = bool(said)
        for line in node.body:
            match line:
                case ast.Assign(
                    targets=[ast.Name(id="_supports_sdpa")], value=ast.Constant(value=value)
                ):
                    said = bool(value)
                case _:
                    pass
    return said


def model_types(configuration: Path) -> set[str]:
    """The model types that a configuration file declares."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(configuration.read_text(encoding="utf-8"))):
        match node:
            case (
                ast.Assign(
                    targets=[ast.Name(id="model_type")], value=ast.Constant(value=str() as name)
                )
                | ast.AnnAssign(
                    target=ast.Name(id="model_type"), value=ast.Constant(value=str() as name)
                )
            ):
                found.add(name)
            case _:
                pass
    return found


def main() -> None:
    """Write the table."""
    spec = importlib.util.find_spec("transformers")
    if spec is None or spec.origin is None:
        raise SystemExit("transformers is not installed")
    eager: set[str] = set()
    for modeling in sorted((Path(spec.origin).parent / "models").glob("*/modeling_*.py")):
        configuration = modeling.with_name(modeling.name.replace("modeling_", "configuration_"))
        if not configuration.exists():
            continue
        source = modeling.read_text(encoding="utf-8")
        if (
            any(suffix in source for suffix in SUFFIXES)
            and supports_sdpa(ast.parse(source)) is False
        ):
            eager |= model_types(configuration)
    table = {"transformers": importlib.metadata.version("transformers"), "eager": sorted(eager)}
    TARGET.write_text(json.dumps(table, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

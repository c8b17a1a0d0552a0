"""A configuration whose two names, ``model_type`` and ``architectures``, are of different families.

transformers goes by ``model_type`` (5.23 models/auto/auto_factory.py: _BaseAutoModelClass maps the
configuration's class), vLLM by ``architectures`` (0.33 model_executor/models/registry.py). Whoever
reads the answer must know which was taken.
"""

from __future__ import annotations

from hfmem.checkpoint.snapshot import Note
from hfmem.model.class_defaults import class_facts, model_types_of_stem
from hfmem.model.config import Config, class_name


def disagreement(config: Config) -> Note | None:
    """The note; None where the names agree, or where one of them is unknown.

    ``llama`` with ``Qwen2ForCausalLM``: transformers builds a Llama of it.
    """
    named, kind = class_name(config) or "", config.model_type
    if kind is None or class_facts(kind) is None:
        return None
    told = model_types_of_stem(named)
    if not told or any(_related(kind, other) for other in told):
        return None
    return Note(
        code="class_disagrees",
        message=f"architectures names {named[:80]}, a class of {told[0]}, and model_type is "
        f"{kind[:80]}: model_type was followed, as transformers does; vLLM follows architectures.",
    )


def _related(kind: str, other: str) -> bool:
    """Whether one is the other, a section of it, or built of the same tensors (T5 and mT5)."""
    if kind == other or other in _sections(kind) or kind in _sections(other):
        return True
    # Names that differ are rare, and a short run is half imports.
    from hfmem.model.declared.families import of_type

    return any(other in family.model_types for family in of_type(kind))


def _sections(kind: str) -> frozenset[str | None]:
    facts = class_facts(kind)
    return frozenset(spec.model_type for spec in facts.sections.values()) if facts else frozenset()

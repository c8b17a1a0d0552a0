"""Which layers a quantized checkpoint has packed, told from its settings where no file does."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

from msgspec import Struct

from hfmem.checkpoint.name_patterns import matches, of_globs, of_ignored, of_modules
from hfmem.checkpoint.tensor import TensorRun, template
from hfmem.model.components import ComponentRun

_LAYERS_CAP = 2000
# Routers, norms and convolutions are no linear layers, whatever the settings leave out; nor are
# Kimi K3's residual projections and those to the width of its experts.
_NOT_LINEAR = re.compile(
    r"(?:router|\.gate|norm\w*|ln_\w+|conv\w*|\.A_log|res_proj|routed_expert_\w+)\.weight$"
)
_TABLE = re.compile(r"(?:embed\w*|wte|wpe|shared|relative_attention_bias)\.weight$")
_ENCODERS = frozenset({"vision", "audio", "projector"})
_TEXT = frozenset({"language", "experts", "encoder", "draft"})
_WRAPPERS = ("", "model.", "language_model.", "model.language_model.")
_UNWRAPPED = re.compile(r"^(?:model\.|language_model\.)+")


class Layers(Struct, frozen=True, kw_only=True):
    """What is packed of a model."""

    left_out: tuple[str, ...]
    """Globs over the names of modules that stay as they are."""
    encoders: bool = False
    """Towers and projectors are packed too, where nothing leaves them out."""
    tables: bool = False
    """Embeddings and the head too, as MLX does it."""
    drafts: bool = True
    """Layers that predict ahead are in the files."""


def layers_of(method: str, settings: Mapping[str, object]) -> Layers | None:
    """What settings say; None where they say it in words that are not understood.

    GPTQModel and AutoAWQ pack the decoder's linear layers and leave the rest; compressed-tensors,
    ModelOpt and FP8 name what they leave; the head is left by all of them but MLX.
    """
    match method:
        case "gptq" | "awq" | "auto-round":
            told = settings.get("modules_to_not_convert") or ()
            plain = "dynamic" not in settings and "extra_config" not in settings
            return Layers(left_out=_parts(told)) if plain else None
        case "compressed-tensors":
            ignored = of_ignored(_listed(settings.get("ignore")))
            return None if ignored is None else Layers(left_out=ignored, encoders=True)
        case "modelopt":
            names = settings.get("exclude_modules", settings.get("ignore"))
            # NVIDIA's files have no layers that predict ahead (GLM-5.1, Qwen3.5-122B).
            return Layers(left_out=of_globs(_listed(names)), encoders=True, drafts=False)
        case "fp8":
            names = _listed(settings.get("modules_to_not_convert"))
            return Layers(left_out=of_modules(names), encoders=True)
        case "bitsandbytes":
            names = _listed(settings.get("llm_int8_skip_modules"))
            return Layers(left_out=_parts(names), encoders=True)
        case "mlx":
            return Layers(left_out=(), tables=True)
    return None


def _parts(names: object) -> tuple[str, ...]:
    """Any part of a path."""
    return tuple(f"*{name}*" for name in _listed(names) if isinstance(name, str) and name)


def _listed(names: object) -> Sequence[object]:
    return names if isinstance(names, list | tuple) else ()


def packed_runs(item: ComponentRun, layers: Layers) -> Iterator[tuple[TensorRun, bool]]:
    """A run, or the parts of it that differ, each with whether it is packed."""
    run = item.run
    if not _is_linear(item, layers):
        yield run, False
        return
    indices = run.indices()
    if indices is None or len(indices) > _LAYERS_CAP or not any(map(_has_digit, layers.left_out)):
        yield run, not _is_left(run, layers)
        return
    start, verdict = indices.start, None
    for index in (*indices, indices.stop):
        part = run.restricted(range(index, index + 1)) if index in indices else None
        new = None if part is None else not _is_left(part, layers)
        if verdict is not None and new != verdict:
            whole = run.restricted(range(start, index))
            assert whole is not None
            yield whole, verdict
            start = index
        verdict = new


def _has_digit(glob: str) -> bool:
    return any(char.isdigit() for char in glob)


def _is_linear(item: ComponentRun, layers: Layers) -> bool:
    run, name = item.run, template(item.run.name)
    if len(run.shape) != 2 or not name.endswith(".weight") or _NOT_LINEAR.search(name):
        return False
    if item.component in ("embedding", "head") or _TABLE.search(name):
        return layers.tables and item.component in ("embedding", "head")
    return item.component in _TEXT or (layers.encoders and item.component in _ENCODERS)


def _is_left(run: TensorRun, layers: Layers) -> bool:
    """By the first name of a run, as its class or any wrapper of it spells it."""
    name = next(run.names()).removesuffix(".weight")
    bare = _UNWRAPPED.sub("", name)
    spelled = {name, *(wrapper + bare for wrapper in _WRAPPERS)}
    return any(matches(glob, one) for glob in layers.left_out for one in spelled)

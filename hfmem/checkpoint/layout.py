"""Which files of a repository a runtime loads; everything else in it is another copy of the same
weights.

The order is that of transformers 5.23.0 (modeling_utils.py: ``_get_resolved_checkpoint_files``):
``transformers_weights`` of the configuration, model.safetensors, its shards, pytorch_model.bin, its
shards. What another runtime takes before them is data of ``loaders.py``. Shards are known by their
names, so that the index, which is megabytes for a large model, is read only where the names leave a
doubt.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from msgspec import Struct

from hfmem.checkpoint.loaders import DEFAULT, TRANSFORMERS, Pick
from hfmem.checkpoint.snapshot import Note, RepoFile
from hfmem.checkpoint.weight_sets import (
    Alternative,
    Component,
    FileSet,
    WeightFormat,
    WeightSet,
    is_safe_name,
    weight_sets,
)
from hfmem.errors import NoWeightsError

__all__ = ["PROCESSOR_DOCUMENTS", "SMALL_DOCUMENTS", "WeightSet", "weight_files"]

SMALL_DOCUMENTS = (
    "quantize_config.json",
    "quant_config.json",
    "hf_quant_config.json",
    "quantization_config.json",
    "adapter_config.json",
    "model_index.json",
    "params.json",
    "open_clip_config.json",
)
"""Files beside config.json that decide what is loaded or how it is packed; read where the listing
has them.
"""

PROCESSOR_DOCUMENTS = (
    "preprocessor_config.json",
    "video_preprocessor_config.json",
    "processor_config.json",
)
"""Files that decide how many tokens a picture, a film or a sound becomes."""

# What the libraries call their weights, in the order in which they are looked for.
_STEMS: tuple[str, ...] = (
    "model",
    "diffusion_pytorch_model",
    "pytorch_model",
    "open_clip_model",
    "open_clip_pytorch_model",
)
# What PEFT and diffusers call an adapter.
_ADAPTER_STEMS = ("adapter_model", "pytorch_lora_weights")
_CONSOLIDATED = "consolidated"
_TENSOR_FORMATS: tuple[WeightFormat, ...] = ("safetensors", "torch")
_OTHER_FORMATS: tuple[WeightFormat, ...] = ("onnx", "other")


def weight_files(
    files: Sequence[RepoFile],
    *,
    config: Mapping[str, object] | None = None,
    documents: Mapping[str, Mapping[str, object]] | None = None,
    index_names: Mapping[str, Sequence[str]] | None = None,
    pick: Pick = DEFAULT,
    quantization: str | None = None,
) -> WeightSet | None:
    """The weight files that a runtime reads; None for a listing without any weights.

    ``documents`` are those of SMALL_DOCUMENTS that were read, ``index_names`` the files that an
    index named (see ``WeightSet.index``), ``pick`` is the runtime's preference and the variant
    (``files`` are those of its subfolder), ``quantization`` picks from a GGUF repository. Raises
    NoWeightsError where there are weights, but none that are whole or named as a model's, and for
    a variant that is not there.
    """
    sets = weight_sets(files)
    names = _Names(listing={file.name: file for file in files}, indexes=index_names or {})
    if quantization is not None:
        chosen = _gguf(sets, quantization)
    else:
        first = (_gguf(sets, None) if pick.loader.gguf_first else None) or _explicit(names, config)
        chosen = (
            first
            or _pipeline(names, sets, documents=documents or {}, variant=pick.variant)
            or _model(names, sets, folder="", pick=pick)
            or _parts(names, sets)
            or _adapter(sets)
            or _only_file(sets)
            or _gguf(sets, None)
            or _foreign(sets)
        )
        if pick.variant is not None:
            _check_variant(chosen, sets, pick.variant)
    if chosen is None:
        if sets:
            from hfmem.checkpoint.layout_refusals import no_gguf, no_model

            raise no_model(sets) if quantization is None else no_gguf(quantization)
        return None
    return _with_rest(chosen, names, sets)


def _check_variant(chosen: WeightSet | None, sets: Sequence[FileSet], variant: str) -> None:
    from hfmem.checkpoint.variants import is_variant, no_variant

    if not is_variant(chosen, variant):
        raise no_variant(sets, variant, stems=_STEMS)


class _Names(Struct, frozen=True, kw_only=True):
    """The listing by name, and what the indexes that were read name."""

    listing: Mapping[str, RepoFile]
    indexes: Mapping[str, Sequence[str]]


def _component(found: FileSet, *, name: str = "") -> Component:
    return Component(name=name, format=found.format, files=found.files)


def _explicit(names: _Names, config: Mapping[str, object] | None) -> WeightSet | None:
    """``transformers_weights``: the configuration names the file."""
    name = (config or {}).get("transformers_weights")
    if not isinstance(name, str) or not is_safe_name(name) or name not in names.listing:
        return None
    if name.endswith(".index.json"):
        return _indexed(names, name)
    if not name.endswith(".safetensors"):
        return None
    file = names.listing[name]
    return WeightSet(components=(Component(name="", format="safetensors", files=(file,)),))


def _indexed(names: _Names, index: str) -> WeightSet:
    """The files that an index names, or the wish to read it."""
    if index not in names.indexes:
        return WeightSet(components=(), index=index)
    folder = index.rpartition("/")[0]
    shards: dict[str, RepoFile] = {}
    for name in names.indexes[index]:
        path = f"{folder}/{name}" if folder else name
        if path not in names.listing or not is_safe_name(path):
            raise NoWeightsError(
                f"{index!r:.120} names {name!r:.120}, which is not in the repository.",
                hint="The upload is incomplete; its weights cannot be counted.",
            )
        shards[path] = names.listing[path]
    files = tuple(shards.values())
    return WeightSet(components=(Component(name=folder, format="safetensors", files=files),))


def _model(
    names: _Names,
    sets: Sequence[FileSet],
    *,
    folder: str,
    pick: Pick = DEFAULT,
) -> WeightSet | None:
    """The weights of one folder, by the names that libraries give them."""
    here = [found for found in sets if found.folder == folder]
    stems = [f"{stem}.{pick.variant}" for stem in _STEMS] if pick.variant else []
    stems = [*(() if folder else pick.loader.names), *stems, *_STEMS, _CONSOLIDATED]
    indexed = any(found.format == "safetensors" for found in here)
    for form in _TENSOR_FORMATS:
        for stem in stems:
            named = [found for found in here if found.stem == stem and found.format == form]
            whole = [found for found in named if found.complete]
            if single := [found for found in whole if not found.sharded]:
                return WeightSet(components=(_component(single[0], name=folder),))
            if len(whole) == 1:
                return WeightSet(components=(_component(whole[0], name=folder),))
            if indexed and (index := _index(names, folder=folder, stem=stem)):
                return _indexed(names, index)
            if len(whole) > 1:
                from hfmem.checkpoint.layout_refusals import ambiguous

                raise ambiguous(whole)
    return None


def _index(names: _Names, *, folder: str, stem: str) -> str | None:
    """The index of shards that do not tell: no usual names, or more than one complete set."""
    base, _, variant = stem.partition(".")
    candidates = [f"{base}.safetensors.index.json"]
    if variant:
        candidates = [
            f"{base}.safetensors.index.{variant}.json",
            f"{base}.{variant}.safetensors.index.json",
            f"{base}.safetensors.{variant}.index.json",
        ]
    paths = (f"{folder}/{name}" if folder else name for name in candidates)
    return next((path for path in paths if path in names.listing), None)


def _pipeline(
    names: _Names,
    sets: Sequence[FileSet],
    *,
    documents: Mapping[str, Mapping[str, object]],
    variant: str | None,
) -> WeightSet | None:
    """A diffusers pipeline: the folders that model_index.json gives a library and a class."""
    if "model_index.json" not in names.listing:
        return None
    folders = sorted({found.folder for found in sets if found.folder and "/" not in found.folder})
    notes: tuple[Note, ...] = ()
    pipeline = documents.get("model_index.json")
    if pipeline is None:
        message = "model_index.json was not read: every folder with weights counts as a component."
        notes = (Note(code="assumed_components", message=message),)
    else:
        folders = [
            name for name, value in pipeline.items() if _is_present(value) and name in folders
        ]
    components: list[Component] = []
    for folder in folders:
        found = _model(names, sets, folder=folder, pick=Pick(loader=TRANSFORMERS, variant=variant))
        found = found or _only_file([one for one in sets if one.folder == folder])
        if found is None:
            continue
        if found.index:
            return found
        components.extend(
            Component(name=folder, format=one.format, files=one.files) for one in found.components
        )
        notes += found.notes
    return WeightSet(components=tuple(components), notes=notes) if components else None


def _is_present(value: object) -> bool:
    """``["diffusers", "AutoencoderKL"]`` is a component, ``[null, null]`` one that is left out."""
    return (
        isinstance(value, list) and len(value) == 2 and all(isinstance(item, str) for item in value)
    )


def _parts(names: _Names, sets: Sequence[FileSet]) -> WeightSet | None:
    """sentence-transformers keeps a model in ``0_Transformer`` where the root has none."""
    if "modules.json" not in names.listing:
        return None
    components = _modules(names, sets)
    return WeightSet(components=components) if components else None


def _modules(names: _Names, sets: Sequence[FileSet]) -> tuple[Component, ...]:
    """The numbered folders of modules.json that hold weights: ``2_Dense``."""
    folders = sorted({found.folder for found in sets if _is_module(found.folder)})
    found = (_model(names, sets, folder=folder) for folder in folders)
    return tuple(component for one in found if one for component in one.components)


def _is_module(folder: str) -> bool:
    number, _, name = folder.partition("_")
    return number.isdecimal() and number.isascii() and bool(name) and "/" not in folder


def _adapter(sets: Sequence[FileSet]) -> WeightSet | None:
    for form in _TENSOR_FORMATS:
        for found in sets:
            if not found.folder and found.stem in _ADAPTER_STEMS and found.format == form:
                return WeightSet(components=(_component(found),), is_adapter=True)
    return None


def _only_file(sets: Sequence[FileSet]) -> WeightSet | None:
    """One complete set under a name that no library uses: it can only be the model."""
    for form in _TENSOR_FORMATS:
        here = [found for found in sets if found.format == form and found.complete]
        if not here:
            continue
        depth = min(_depth(found) for found in here)
        match [found for found in here if _depth(found) == depth]:
            case [one]:
                message = f"{one.name} has no name that loaders look for; it is the only one."
                return WeightSet(
                    components=(_component(one),),
                    is_adapter="lora" in one.stem.lower(),
                    notes=(Note(code="unconventional_file_name", message=message),),
                )
        return None
    return None


def _depth(found: FileSet) -> int:
    return len(found.folder.split("/")) if found.folder else 0


def _gguf(sets: Sequence[FileSet], quantization: str | None) -> WeightSet | None:
    offered = [found for found in sets if found.format == "gguf"]
    if not offered:
        return None
    from hfmem.checkpoint.gguf_files import choose_gguf

    chosen = choose_gguf(offered, quantization)
    if chosen is None:
        return None
    found, notes = chosen
    return WeightSet(components=(_component(found),), notes=notes)


def _foreign(sets: Sequence[FileSet]) -> WeightSet | None:
    """ONNX, Keras and others: nothing is known of them but their sizes."""
    for form in _OTHER_FORMATS:
        here = [found for found in sets if found.format == form]
        if here:
            best = min(here, key=lambda found: (found.stem != "model", len(found.name), found.name))
            return WeightSet(components=(_component(best),))
    return None


def _with_rest(chosen: WeightSet, names: _Names, sets: Sequence[FileSet]) -> WeightSet:
    """The choice with a sentence-transformers model's further modules, and with what it leaves."""
    components = chosen.components
    if "modules.json" in names.listing and components and not components[0].name:
        components += _modules(names, sets)
    loaded = {file.name for component in components for file in component.files}
    alternatives = tuple(
        Alternative(
            name=found.name, format=found.format, file_count=len(found.files), bytes=found.bytes
        )
        for found in sets
        if not any(file.name in loaded for file in found.files)
    )
    notes = chosen.notes
    if unsafe := sum(not is_safe_name(name) for name in names.listing):
        message = f"{unsafe} file names of the listing would leave the repository and are ignored."
        notes += (Note(code="unsafe_name", message=message),)
    return WeightSet(
        components=components,
        is_adapter=chosen.is_adapter,
        alternatives=alternatives,
        index=chosen.index,
        notes=notes,
    )

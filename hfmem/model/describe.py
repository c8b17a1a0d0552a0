"""From a snapshot to a model: configuration, cache layers, classified weights, parameter counts."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING

from msgspec import Struct
from msgspec.structs import replace

from hfmem.checkpoint.kv_scheme import kv_scheme
from hfmem.checkpoint.packed import Packing, packing
from hfmem.checkpoint.quantization import QUANTIZED_KEYS, declared_settings
from hfmem.checkpoint.snapshot import GGUF_DOCUMENT, Checkpoint, Note, Snapshot
from hfmem.checkpoint.tensor import TensorRun, total_bytes
from hfmem.dtypes import FLOATS, from_name
from hfmem.errors import InvalidValueError, MissingKeyError, UnsupportedArchitectureError
from hfmem.model.architectures import Decoder, layers
from hfmem.model.components import ComponentRun, split
from hfmem.model.config import Config, read, text_section
from hfmem.model.declared import declared_tensors, logical_tensors
from hfmem.model.forward import ForwardPass, forward_pass
from hfmem.model.layers import CrossAttention
from hfmem.model.model import Model
from hfmem.model.parameters import Parameters, count_parameters, held_once, routing
from hfmem.model.tying import tied as tied_head
from hfmem.model.unpacked import unpacked
from hfmem.model.weights import WeightRun, module_of
from hfmem.model.witnesses import confirmed
from hfmem.units import gib

if TYPE_CHECKING:
    from hfmem.model.media import EncoderPass

# Buffers that old checkpoints store and the classes compute: transformers drops them at load
# (_keys_to_ignore_on_load_unexpected of gpt2, gpt_neox, gptj and the rotary modules).
_BUFFERS = re.compile(r"(?:\.inv_freq|\.masked_bias|attn\.bias|attention\.bias)$")


def describe(snapshot: Snapshot) -> Model:
    """Everything that the arithmetic needs, read once.

    A folder with only config.json gets the tensors that its configuration declares, where that is
    exact. Raises ConfigError and UnsupportedArchitectureError.
    """
    keys = snapshot.documents.get(GGUF_DOCUMENT)
    if keys is not None and snapshot.checkpoint is not None:
        from hfmem.model.gguf import describe_gguf

        return describe_gguf(snapshot, snapshot.checkpoint, keys)
    config = read(snapshot.config or {})
    notes = list(snapshot.notes)
    checkpoint = snapshot.checkpoint or _declared(config, snapshot.documents, notes)
    pipeline = _pipeline(snapshot)
    decoder, encoders, told = _decoded(snapshot, config, checkpoint, pipeline)
    notes.extend(told)
    weights: tuple[WeightRun, ...] | None = None
    parameters = None
    method = None
    if checkpoint is not None:
        packed = packing(checkpoint.tensors, config=snapshot.config, documents=snapshot.documents)
        notes.extend(packed.notes)
        method = packed.method
        runs = split(checkpoint.tensors, decoder_layers=len(decoder.layers) or None)
        # What a class declares holds what it ties once already.
        tied = snapshot.checkpoint is not None and tied_head(config, decoder.text)
        weights = _weights(runs, packed, tied=tied)
        if snapshot.checkpoint is not None:
            decoder, contradictions = confirmed(decoder, weights)
            notes.extend(contradictions)
        parameters = count_parameters(
            runs, routing=routing(config), tied=tied, logical=packed.logical
        )
        contradiction = _contradiction(config, weights)
        if contradiction is not None:
            notes.append(contradiction.note)
            if contradiction.is_another_model:
                weights = None
    elif snapshot.config is not None:
        parameters = _parameters_alone(config, decoder)
    dtype = _dtype(config, checkpoint, notes)
    return Model(
        name=snapshot.model,
        revision=snapshot.revision,
        source=snapshot.source,
        model_type=config.model_type,
        class_name=next(iter(config.text_list("architectures") or ()), pipeline),
        dtype=dtype,
        decoder=decoder,
        cache_known=snapshot.config is not None or pipeline is not None,
        forward=_forward(decoder, config),
        encoders=encoders,
        weights=weights,
        unpacked=unpacked(config, weights, layers=len(decoder.layers) or None, dtype=dtype)
        if weights is not None
        else None,
        pipeline=pipeline,
        quantization=method,
        kv_scheme=kv_scheme(snapshot.config, snapshot.documents),
        parameters=parameters,
        checkpoint_bytes=total_bytes(checkpoint.tensors) if checkpoint else None,
        loaded_files=checkpoint.files if checkpoint else (),
        reconstructed=snapshot.reconstructed,
        notes=(*notes, *decoder.notes),
    )


class _Contradiction(Struct, frozen=True, kw_only=True):
    note: Note
    is_another_model: bool
    """By more than a factor of two: what the files hold cannot be the weights of this cache."""


def _contradiction(config: Config, weights: tuple[WeightRun, ...]) -> _Contradiction | None:
    """Where the files hold far more or less than the configuration declares.

    Heads, vocabularies and towers differ a little between files and classes; a tenth is no longer
    the model that config.json describes.
    """
    expected = _or_none(logical_tensors, config)
    stored = [run.logical for run in weights if run.loaded]
    if expected is None or None in stored:
        return None
    declared = sum(run.elements * run.count for run in expected)
    held = sum((run.logical or 0) * run.run.count for run in weights if run.loaded)
    if 10 * abs(held - declared) <= declared:
        return None
    is_another = held * 2 < declared or held > declared * 2
    message = (
        f"The files hold {held:,} parameters, config.json declares {declared:,}: "
        "one of them belongs to another model"
    )
    message += ", and the weights are unknown." if is_another else "."
    return _Contradiction(
        note=Note(code="files_contradict_config", message=message), is_another_model=is_another
    )


def _declared(
    config: Config, documents: Mapping[str, Mapping[str, object]], notes: list[Note]
) -> Checkpoint | None:
    """What the configuration declares, for a snapshot without files.

    Settings of a quantization in a section or in a document beside it are as good as at the top:
    what is stored is then not what the class declares.
    """
    own = {key: config.values[key] for key in QUANTIZED_KEYS if key in config.values}
    beside = not declared_settings(own, {}) and declared_settings(config.values, documents)
    tensors = None if beside else _or_none(declared_tensors, config)
    packed = ""
    if tensors is None and declared_settings(config.values, documents):
        from hfmem.model.quantized_tensors import quantized_tensors

        tensors = _or_none(lambda given: quantized_tensors(given, documents), config)
        packed = ", packed as the settings of its quantization say"
    unread = any(note.code == "unread_weights" for note in notes)
    if tensors is None:
        notes.append(
            Note(
                code="weights_unknown",
                message=("" if unread else "There are no weight files. ")
                + f"{_missing(config, quantized=bool(beside))}: the weights are unknown.",
            )
        )
        return None
    why = "" if unread else "There are no weight files: "
    message = f"{why}the tensors are those that config.json declares{packed}."
    notes.append(Note(code="weights_from_config", message=message[0].upper() + message[1:]))
    return Checkpoint(files=(), tensors=tensors, metadata={})


def _missing(config: Config, *, quantized: bool) -> str:
    """What the weights cannot be told without."""
    if _or_none(logical_tensors, config) is None:
        names = config.values.get("architectures")
        named = names[0] if isinstance(names, list) and names else config.model_type
        shown = ascii(named)[1:61].rstrip("'") if isinstance(named, str) else "its class"
        return f"config.json does not declare every shape of {shown}"
    if quantized or declared_settings(config.values, {}):
        return "Only the packer of its quantization knows what the files hold"
    return "config.json names no dtype"


def _or_none(
    read_tensors: Callable[[Config], tuple[TensorRun, ...] | None], config: Config
) -> tuple[TensorRun, ...] | None:
    """None too for a value that no size can follow from: a tower's odd section hides its tensors,
    and neither the cache nor the files."""
    try:
        return read_tensors(config)
    except InvalidValueError:
        return None


def _parameters_alone(config: Config, decoder: Decoder) -> Parameters | None:
    """What the class declares, where only the packer knows how the files hold it: GPTQ, AWQ, MLX.

    The bytes are unknown then, the parameters are not.
    """
    tensors = _or_none(logical_tensors, config)
    if tensors is None:
        return None
    counted = count_parameters(
        split(tensors, decoder_layers=len(decoder.layers) or None),
        routing=routing(config),
        tied=False,
    )
    return replace(counted, by_dtype={})


def _decoded(
    snapshot: Snapshot, config: Config, checkpoint: Checkpoint | None, pipeline: str | None
) -> tuple[Decoder, tuple[EncoderPass, ...], tuple[Note, ...]]:
    """The decoder, with what it sees of an encoder of fixed length and that one's passes."""
    if snapshot.config is None:
        return _no_decoder(_NO_CONFIG if pipeline is None else _PIPELINE), (), ()
    decoder = _decoder(config, checkpoint)
    crossing = (isinstance(kind, CrossAttention) for layer in decoder.layers for kind in layer)
    if not any(crossing):
        return decoder, (), ()
    # Few models cross, and a short run is half imports.
    from hfmem.model.encoder_runs import with_encoder

    return with_encoder(config, decoder, snapshot.documents)


def _decoder(config: Config, checkpoint: Checkpoint | None) -> Decoder:
    try:
        return layers(config)
    except UnsupportedArchitectureError as error:
        if checkpoint is None:
            raise
        size = total_bytes(checkpoint.tensors)
        raise UnsupportedArchitectureError(
            error.message,
            hint=f"{error.hint} The weights alone are {gib(size)}.".strip(),
        ) from error


_NO_CONFIG = Note(
    code="no_config", message="There is no config.json: cache and activations are unknown."
)
_PIPELINE = Note(
    code="no_cache",
    message="A diffusers pipeline keeps no KV cache; what its denoiser and VAE compute with "
    "depends on the size of the picture and is not estimated.",
)


def _pipeline(snapshot: Snapshot) -> str | None:
    """The class that model_index.json names, where there is no model beside it, or that of one of
    diffusers' own components.
    """
    index = snapshot.documents.get("model_index.json")
    if snapshot.config is not None:
        index = snapshot.config if "_diffusers_version" in snapshot.config else None
    if index is None:
        return None
    name = index.get("_class_name")
    return name if isinstance(name, str) and name.isidentifier() else "DiffusionPipeline"


def _no_decoder(note: Note) -> Decoder:
    """Stands for a decoder that nothing tells of: a weight file without its configuration."""
    return Decoder(
        layers=(),
        text=read({}),
        model_type=None,
        hidden_size=None,
        attention_heads=None,
        kv_heads=None,
        head_dim=None,
        max_context=None,
        vocab_size=None,
        resolved_by="generic",
        source="there is no configuration",
        notes=(note,),
    )


def _weights(runs: Iterable[ComponentRun], packed: Packing, *, tied: bool) -> tuple[WeightRun, ...]:
    kept = tuple(runs)
    once = {id(item) for item in held_once(kept, tied=tied)}
    return tuple(
        WeightRun(
            run=item.run,
            component=item.component,
            logical=packed.logical(item.run),
            packed=packed.is_packed(item.run),
            format=packed.stored(item.run).format,
            role=packed.stored(item.run).role,
            module=module_of(item.run.name),
            loaded=item.component != "draft"
            and id(item) in once
            and not _BUFFERS.search(item.run.name),
        )
        for item in kept
    )


def _dtype(config: Config, checkpoint: Checkpoint | None, notes: list[Note]) -> str:
    """What ``dtype="auto"`` loads in: the configuration's, else the first float type of the files.

    transformers 5.23 modeling_utils.py: _get_dtype. A wrapper whose own section is silent follows
    its text section here, as the files do.
    """
    for section in (config, text_section(config)):
        named = section.text("dtype")
        dtype = from_name(named) if named else None
        if dtype in FLOATS:
            return dtype
    stored = [run.dtype for run in checkpoint.tensors if run.dtype in FLOATS] if checkpoint else []
    if stored:
        return stored[0]
    notes.append(
        Note(
            code="assumed_dtype",
            message="Neither config.json nor a header names a float type: BF16 is assumed.",
        )
    )
    return "BF16"


def _forward(decoder: Decoder, config: Config) -> ForwardPass | None:
    """None too where the configuration lacks a size that only the activations need."""
    try:
        wrapped = config.model_type != decoder.text.model_type
        return forward_pass(decoder.text, decoder.layers, wrapped=wrapped)
    except MissingKeyError:
        return None

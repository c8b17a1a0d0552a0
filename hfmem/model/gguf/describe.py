"""From the snapshot of a GGUF file to a model."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from hfmem.checkpoint.ggml import is_block_type
from hfmem.checkpoint.gguf_files import GgufListing, gguf_listing
from hfmem.checkpoint.snapshot import Checkpoint, Note, Snapshot
from hfmem.checkpoint.tensor import TensorRun, total_bytes
from hfmem.dtypes import FLOATS
from hfmem.errors import InvalidValueError, MissingKeyError, UnsupportedArchitectureError
from hfmem.model.architectures import Decoder
from hfmem.model.components import ComponentRun, split
from hfmem.model.config import Config
from hfmem.model.forward import ForwardPass, forward_pass
from hfmem.model.gguf.families import SOURCE
from hfmem.model.gguf.keys import Keys, read_keys
from hfmem.model.gguf.layers import cache_layers
from hfmem.model.gguf.text import text_config
from hfmem.model.layers import Layer, heads_shown
from hfmem.model.model import Model
from hfmem.model.parameters import count_parameters, held_once, routing
from hfmem.model.weights import WeightRun
from hfmem.units import gib

FORMAT = "gguf"
# Tables that transformers and the configuration have as numbers, not as weights.
_TABLES = re.compile(r"^(?:blk\.\{\d+\.\.\d+\}\.)?rope_(?:freqs|factors_long|factors_short)\.")
# What transformers loads a GGUF file in unasked: torch's default type, as the file's own
# configuration names none (transformers 5.23 quantizers/quantizer_gguf.py: update_dtype).
_DTYPE = "F32"


def describe_gguf(
    snapshot: Snapshot, checkpoint: Checkpoint, document: Mapping[str, object]
) -> Model:
    """Everything that the arithmetic needs, from the keys and the tensor table of the file.

    Weights keep the type of ggml (``Q4_K``) and their exact bytes. Raises ConfigError and
    UnsupportedArchitectureError.
    """
    keys = read_keys(document)
    try:
        layers = cache_layers(keys)
    except UnsupportedArchitectureError as error:
        raise UnsupportedArchitectureError(
            error.message,
            hint=f"{error.hint} The weights alone are {gib(total_bytes(checkpoint.tensors))}.",
        ) from error
    tied = not any(run.name == "output.weight" for run in checkpoint.tensors)
    text = text_config(keys, tied=tied)
    runs = split(checkpoint.tensors, decoder_layers=len(layers) or None)
    decoder = _decoder(keys, layers, text)
    weights = _weights(runs, tied=tied)
    listing = gguf_listing(snapshot.files) if snapshot.files else None
    return Model(
        name=_name(snapshot, listing),
        revision=snapshot.revision,
        source=snapshot.source,
        model_type=text.model_type,
        class_name=None,
        dtype=_DTYPE,
        decoder=decoder,
        cache_known=True,
        forward=_forward(text, layers),
        weights=weights,
        unpacked=None if any(run.packed for run in weights) else weights,
        quantization=FORMAT,
        parameters=count_parameters(runs, routing=routing(text), tied=tied, logical=_logical),
        checkpoint_bytes=total_bytes(checkpoint.tensors),
        loaded_files=checkpoint.files,
        reconstructed=snapshot.reconstructed,
        gguf_architecture=keys.architecture,
        gguf_listing=listing,
        notes=(*snapshot.notes, *_notes(keys, text)),
    )


def _name(snapshot: Snapshot, listing: GgufListing | None) -> str:
    """With the quantization, where a repository has several: ``org/name:Q4_K_M``."""
    if listing is None or len(listing.models) < 2 or snapshot.source == "local":
        return snapshot.model
    loaded = set(snapshot.checkpoint.files) if snapshot.checkpoint else set()
    chosen = next((one.name for one in listing.models if set(one.files) <= loaded), None)
    return snapshot.model if chosen is None else f"{snapshot.model}:{chosen}"


def _logical(run: TensorRun) -> int:
    return 0 if _TABLES.match(run.name) else run.elements


def _weights(runs: Iterable[ComponentRun], *, tied: bool) -> tuple[WeightRun, ...]:
    kept = tuple(runs)
    once = {id(item) for item in held_once(kept, tied=tied)}
    return tuple(
        WeightRun(
            run=item.run,
            component=item.component,
            logical=_logical(item.run),
            packed=is_block_type(item.run.dtype) or item.run.dtype not in FLOATS,
            format=FORMAT if is_block_type(item.run.dtype) else None,
            role="weight" if is_block_type(item.run.dtype) else "plain",
            loaded=item.component != "draft" and id(item) in once,
        )
        for item in kept
    )


def _decoder(keys: Keys, layers: tuple[Layer, ...], text: Config) -> Decoder:
    first = next((kind for layer in layers for kind in layer if heads_shown(kind)[0]), None)
    kv_heads, head_dim = heads_shown(first)
    return Decoder(
        layers=layers,
        text=text,
        model_type=text.model_type,
        hidden_size=text.integer_or_none("hidden_size"),
        attention_heads=text.integer_or_none("num_attention_heads") if first else None,
        kv_heads=kv_heads,
        head_dim=head_dim,
        max_context=keys.own.integer_or_none("context_length") or None,
        vocab_size=keys.vocab_size,
        resolved_by="entry",
        source=SOURCE,
    )


def _forward(text: Config, layers: tuple[Layer, ...]) -> ForwardPass | None:
    """What a forward pass computes; None where the file does not say enough for that."""
    try:
        return forward_pass(text, layers)
    except (MissingKeyError, InvalidValueError):
        return None


def _notes(keys: Keys, text: Config) -> Iterable[Note]:
    if text.model_type is None:
        yield Note(
            code="gguf_architecture",
            message=f"{keys.architecture[:60]} has no description of its forward pass in hfmem: "
            "activations are assumed.",
        )

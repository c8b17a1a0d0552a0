"""What each runtime looks for in a repository that holds several copies of the same weights."""

from __future__ import annotations

from collections.abc import Mapping

from msgspec import Struct


class Loader(Struct, frozen=True, kw_only=True):
    """What a runtime takes before what the libraries' order says."""

    names: tuple[str, ...] = ()
    """Of weights in the root folder: ``consolidated``."""
    gguf_first: bool = False
    source: str


class Pick(Struct, frozen=True, kw_only=True):
    """Which of a repository's copies is asked for."""

    loader: Loader
    variant: str | None = None
    """``fp16`` for ``model.fp16.safetensors``, as in ``from_pretrained(variant=…)``."""
    subfolder: str | None = None
    """Where the model lies, as in ``from_pretrained(subfolder=…)``: ``text_encoder_2``."""


TRANSFORMERS = Loader(
    source="transformers 5.23 modeling_utils.py: _get_resolved_checkpoint_files",
)
_GGML = Loader(
    gguf_first=True,
    source="llama.cpp 2026-11 common/download.cpp: -hf looks for GGUF files alone",
)
_LOADERS: Mapping[str, Loader] = {
    "vllm": Loader(
        names=("consolidated",),
        source="vLLM 0.33 model_loader/default_loader.py: load_format auto is mistral where there "
        "are consolidated*.safetensors",
    ),
    "llama.cpp": _GGML,
    "ollama": _GGML,
}

DEFAULT = Pick(loader=TRANSFORMERS)


def loader_of(runtime: str) -> Loader:
    """What a runtime takes; what transformers takes where it has no preference of its own."""
    return _LOADERS.get(runtime, TRANSFORMERS)


def pick_of(runtime: str, *, variant: str | None, subfolder: str | None, quantized: bool) -> Pick:
    """What a question picks: one that starts from 16 bits (``quantized``) takes no GGUF first."""
    loader = loader_of(runtime)
    if quantized and loader.gguf_first:
        loader = TRANSFORMERS
    return Pick(loader=loader, variant=variant, subfolder=subfolder)

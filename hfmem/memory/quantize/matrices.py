"""A model's matrices as quantizers see them: linear layers, routed experts, embeddings."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Literal, NamedTuple

from hfmem.checkpoint.tensor import template
from hfmem.dtypes import FLOATS
from hfmem.model.components import Component
from hfmem.model.model import Model
from hfmem.model.weights import WeightRun

Kind = Literal["linear", "experts", "tower", "embedding", "head", "rest"]
"""``experts``: routed experts; ``tower``: linear layers of a vision or audio encoder and of its
projector; ``rest``: norms, routers, convolutions, biases, tables."""


class Matrix(NamedTuple):
    """Weights of one shape; of ``rest`` only the bytes and elements matter."""

    kind: Kind
    out_features: int
    in_features: int
    copies: int
    name: str = ""
    """Without its numbers: ``model.layers.{}.mlp.up_proj.weight``."""
    layers: range | None = None
    """Numbers of the layers that have it; None outside of layers."""

    @property
    def elements(self) -> int:
        """Of one weight."""
        return self.out_features * self.in_features

    @property
    def total_elements(self) -> int:
        """Of all copies."""
        return self.elements * self.copies


_KINDS: dict[Component, Kind] = {
    "language": "linear",
    "encoder": "linear",
    "denoiser": "linear",
    "experts": "experts",
    "vision": "tower",
    "audio": "tower",
    "projector": "tower",
    "embedding": "embedding",
    "head": "head",
}
# Routers are parameters of classes of their own in transformers 5; a convolution is no linear
# layer.
_NOT_LINEAR = re.compile(r"(?:router|\.gate|norm\w*|conv\w*|\.A_log)\.(?:weight|bias)$")
_EMBEDDING = re.compile(r"embed\w*\.weight$")
# Of CLIP, T5 and other text encoders; FLUX's context_embedder is a linear layer.
_TABLE = re.compile(
    r"(?:embedding|embeddings|shared|embed_tokens|wte|wpe|relative_attention_bias)\.weight$"
)
# Conv1D of these stores [in, out] (transformers 5.23 pytorch_utils.py); GPT-BigCode has the same
# names and linear layers.
_TRANSPOSED = re.compile(r"\.(?:c_attn|c_proj|c_fc|q_attn)\.weight$")
_CONV1D_MODELS = frozenset({"gpt2", "openai-gpt", "imagegpt", "decision_transformer"})
_INPUT_SIDE = re.compile(r"gate|up_proj|\.w1|\.w3|\.v1|input_linear")


@lru_cache(maxsize=64)
def matrices(model: Model) -> tuple[tuple[WeightRun, Matrix], ...] | None:
    """Every loaded run with what a quantizer makes of it; None where the shapes are not known.

    Llama-3.1-8B: 224 linear weights of 6,979,321,856 elements, an embedding and a head of
    525,336,576 each. A checkpoint that is packed is taken by the shapes that its configuration
    declares (gpt-oss-20b), or by its own where it stores one element a weight (FP8).
    """
    runs = model.unpacked
    if runs is None:
        return None
    if model.pipeline is not None:
        return tuple((weight, _of_component(weight)) for weight in runs if weight.loaded)
    hidden = model.decoder.hidden_size
    return tuple(
        (weight, _matrix(weight, hidden=hidden, model_type=model.model_type))
        for weight in runs
        if weight.loaded
    )


def _of_component(weight: WeightRun) -> Matrix:
    """A matrix of a diffusion pipeline's component: what has two dimensions and is no table is a
    linear layer, whatever it is for; a convolution has more.
    """
    run = weight.run
    name = template(run.name)
    linear = len(run.shape) == 2 and name.endswith(".weight") and run.dtype in FLOATS
    if not linear or _TABLE.search(name):
        return Matrix("rest", 1, run.elements, run.count, name, run.indices())
    return Matrix("linear", run.shape[0], run.shape[1], run.count, name, run.indices())


def _matrix(weight: WeightRun, *, hidden: int | None, model_type: str | None) -> Matrix:
    run = weight.run
    name = template(run.name)
    kind = _KINDS.get(weight.component, "rest")
    rest = Matrix("rest", 1, run.elements, run.count, name, run.indices())
    if run.dtype not in FLOATS or _NOT_LINEAR.search(name):
        return rest
    if kind in ("linear", "tower") and _EMBEDDING.search(name):
        return rest
    if kind == "experts" and len(run.shape) == 3:
        experts, first, second = run.shape
        inner = _INPUT_SIDE.search(name.rpartition("experts")[2]) is not None
        # Stored [E, in, out] or [E, out, in]; the side of the hidden size tells.
        side = first if inner else second
        if first != second and side == hidden:
            first, second = second, first
        return Matrix(kind, first, second, run.count * experts, name, run.indices())
    if len(run.shape) != 2 or not name.endswith(".weight") or kind == "rest":
        return rest
    out_features, in_features = run.shape
    if model_type in _CONV1D_MODELS and _TRANSPOSED.search(name):
        out_features, in_features = in_features, out_features
    return Matrix(kind, out_features, in_features, run.count, name, run.indices())

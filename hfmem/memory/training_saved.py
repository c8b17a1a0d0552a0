"""What one layer keeps from the forward pass for the backward pass.

The rule. A product keeps its input when its weight is trained; a norm keeps its input, and the
normed input when its weight is trained; an activation keeps its input; a product of two tensors
keeps both; a fused attention kernel keeps query, keys, values, its output and one fp32 number a
query and head. Views of one tensor are one tensor. What is neither is gone before the layer ends.

A Llama layer in bf16, everything trained: 16 H + 4 (Hq + Hkv) d + 8 I + 4 heads + 8 bytes a token,
200,840 for Llama-3.1-8B and 225,400 for Qwen2.5-7B. Compared with the tensors that autograd saves
in transformers 5.23 with torch 2.13.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import assert_never

from msgspec import Struct

from hfmem.errors import UsageError
from hfmem.memory.training_attention import attention_saved, cross_saved
from hfmem.memory.training_recurrent import recurrent_saved
from hfmem.memory.training_tensors import Saved, Saving
from hfmem.model.forward_shapes import (
    Attention,
    Experts,
    GatedDelta,
    LayerShape,
    Listed,
    Mamba2,
    Mixer,
    Mlp,
)
from hfmem.model.lora import Adapter

__all__ = ["LayerSaved", "Saved", "Saving", "layer_saved"]


class LayerSaved(Struct, frozen=True, kw_only=True):
    """One layer's tensors, by its halves: the backward pass frees the second one first."""

    mixer: tuple[Saved, ...]
    mlp: tuple[Saved, ...]

    @property
    def all(self) -> tuple[Saved, ...]:
        """Both halves."""
        return self.mixer + self.mlp

    def bytes(self, *, tp: int = 1, sp: bool = False) -> int:
        """Of both halves, on one rank."""
        return sum(one.on_rank(tp=tp, sp=sp) for one in self.all)


def layer_saved(
    shape: LayerShape, saving: Saving, *, adapters: tuple[Adapter, ...] = ()
) -> LayerSaved:
    """What a layer of ``shape`` keeps; ``adapters`` are those of this layer."""
    mixer: list[Saved] = []
    mlp: list[Saved] = []
    if shape.mixer is not None:
        products = _mixer_products(shape.mixer)
        mixer += _normed(saving, saving.backward.mixer_norms, products, "attention")
        match shape.mixer:
            case Attention():
                mixer += attention_saved(shape.mixer, saving)
            case GatedDelta() | Mamba2():
                mixer += recurrent_saved(shape.mixer, saving)
                if saving.beside is not None:
                    mixer += _beside(saving.beside, saving)
            case Listed():
                raise undescribed()
            case _:
                assert_never(shape.mixer)
    if saving.cross is not None:
        mixer += norm_saved(saving, saving.hidden, "cross-attention")
        mixer += cross_saved(saving.cross.attention, saving)
    dense = [one for one in (shape.parallel_mlp, shape.feed_forward) if one is not None]
    if dense:
        norms = saving.backward.mlp_norms if shape.mixer is not None else 1
        products = sum(_mlp_products(one) for one in dense)
        mlp += _normed(saving, norms, products, "MLP")
        for one in dense:
            mlp += _mlp(one, saving) if isinstance(one, Mlp) else _experts(one, saving)
    if saving.dropouts:
        # torch 2.13 derivatives.yaml: native_dropout keeps a boolean of its input's size.
        mask = saving.tensor("dropout mask", saving.hidden, 1, "boolean")
        mlp += [mask] * (1 if mlp else 0)
        mixer += [mask] * (1 if saving.dropouts > 1 and mixer else 0)
    for adapter in adapters:
        half = mlp if _is_mlp(adapter) else mixer
        its = saving.source if _reads_encoder(adapter) else saving
        half += _adapter(adapter, its, experts=shape.feed_forward)
    return LayerSaved(mixer=tuple(mixer), mlp=tuple(mlp))


def _beside(attention: Attention, saving: Saving) -> Iterator[Saved]:
    """An attention that reads what the recurrence reads, scaled: a copy of its own."""
    if saving.keeps_inputs or not saving.frozen:
        yield saving.tensor("input of attention beside", saving.hidden, saving.width, "scaled")
    yield from attention_saved(attention, saving)


def _normed(saving: Saving, norms: int, products: int, what: str) -> Iterator[Saved]:
    """The norms before (and after) a block, and the input of its products."""
    for _ in range(norms):
        yield from norm_saved(saving, saving.hidden, what)
    kept = not saving.frozen or saving.keeps_inputs
    if not kept or (not norms and saving.cast_bytes is None):
        return
    copies = products if saving.cast_bytes is not None else 1
    yield saving.tensor(
        f"input of {what} products",
        copies * saving.hidden,
        saving.width,
        ("kept by LLM.int8" if saving.frozen else "kept for the weights' gradients")
        + (", cast for each product" if copies > 1 else ""),
    )


def norm_saved(saving: Saving, size: int, what: str, *, heads: int = 1) -> Iterator[Saved]:
    """One norm over ``heads`` vectors of ``size`` elements in all.

    RMSNorm in bf16, trained, 4,096 wide: 4 × 4,096 + 2 × 4,096 + 4 bytes a token.
    """
    trained = not saving.frozen
    inner = heads > 1
    if saving.fused_layers:
        yield saving.tensor(f"{what} norm", size, saving.stream, "input", inner=inner)
        yield saving.tensor(f"{what} norm deviation", heads, 4, "fp32", inner=inner)
        return
    match saving.backward.norm:
        case "rms":
            yield saving.tensor(f"{what} norm", size, 4, "fp32 copy of the input", inner=inner)
            if trained:
                yield saving.tensor(
                    f"{what} normed", size, saving.stream, "before its weight", inner=inner
                )
            yield saving.tensor(f"{what} norm deviation", heads, 4, "fp32", inner=inner)
        case "rms_fp32":
            copies = 2 if trained else 1
            yield saving.tensor(
                f"{what} norm", copies * size, 4, "fp32 input and normed input", inner=inner
            )
            yield saving.tensor(f"{what} norm deviation", heads, 4, "fp32", inner=inner)
        case "layer_norm":
            if what != "MLP" or not saving.backward.shared_input:
                yield saving.tensor(f"{what} norm", size, saving.stream, "input", inner=inner)
            yield saving.tensor(f"{what} norm deviation", 2 * heads, 4, "mean too", inner=inner)
        case "mean_variance":
            copies = 3 if trained else 2
            yield saving.tensor(
                f"{what} norm", copies * size, 4, "input, centred and normed", inner=inner
            )
            yield saving.tensor(f"{what} norm deviation", heads, 4, "fp32", inner=inner)
        case other:
            assert_never(other)


def undescribed() -> UsageError:
    """Of a mixer whose code is only listed instant by instant."""
    return UsageError("What a layer of this family saves for the backward pass is not described.")


def _mixer_products(mixer: Mixer) -> int:
    """Products that read the normed hidden states."""
    match mixer:
        case Attention(latent=latent, fused_qkv=fused):
            return 1 if fused else 2 if latent else 3
        case GatedDelta(fused_projection=fused):
            return 2 if fused else 4
        case Mamba2():
            return 1
        case Listed():
            raise undescribed()
        case _:
            assert_never(mixer)


def _mlp_products(mlp: Mlp | Experts) -> int:
    if isinstance(mlp, Mlp):
        return 2 if mlp.form == "gated" else 1
    return 1 + (2 if mlp.shared_width and mlp.shared_form == "gated" else bool(mlp.shared_width))


def _mlp(mlp: Mlp, saving: Saving) -> Iterator[Saved]:
    """gated: gate, activated gate, up, and their product for the last product's weight."""
    gated = mlp.form != "plain"
    kept = _activation(mlp.activation_copies, saving) + (2 if gated else 0)
    if saving.fused_layers:
        kept = 3 if gated else 2
    if saving.frozen and not saving.keeps_inputs:
        # The last of them is the input of the output product alone.
        kept -= 0 if saving.backward.result_only else 1
    yield saving.tensor(
        "MLP",
        kept * mlp.width,
        saving.width,
        "gate, activated gate, up and product" if gated else "before and after the activation",
        inner=True,
    )


def _activation(copies: int, saving: Saving) -> int:
    """Tensors that an activation keeps, its result included: input and result of one kernel, the
    result alone of a ReLU, and every step where it is spelled out in Python (gelu_new: five)."""
    if saving.backward.result_only:
        return 1
    return copies if copies <= 3 else copies + 1


def _experts(moe: Experts, saving: Saving) -> Iterator[Saved]:
    """Routed tokens sorted by expert, their gates, and the outputs that the router weighs."""
    wide, gated = moe.top_k * moe.width, 1 + int(moe.gated)
    kept = gated + moe.gate_copies - (1 if saving.frozen else 0)
    yield saving.tensor("expert gates", kept * wide, saving.width, f"top {moe.top_k}", inner=True)
    routed = moe.top_k * moe.input_width
    copies = 1 if saving.frozen else 2
    yield saving.tensor(
        "expert inputs and outputs", copies * routed, saving.width, f"top {moe.top_k}"
    )
    yield saving.tensor("router", moe.experts, 4, "fp32 probabilities")
    if saving.backward.fp32_router and not saving.frozen:
        yield saving.tensor("router input", saving.hidden, 4, "fp32")
    yield saving.tensor("routing", 4 * moe.top_k, 8, "int64 indices")
    yield saving.tensor("routing weights", 2 * moe.top_k + 1, 4, "of the chosen experts")
    if moe.shared_width:
        form = 3 if moe.shared_form != "plain" else 1
        shared = (form + (0 if saving.frozen else 1)) * moe.shared_width
        yield saving.tensor(
            "shared expert", shared, saving.width, "gate, activated, up", inner=True
        )
        if moe.shared_first:
            yield saving.tensor("shared output", saving.hidden, saving.width, "before its gate")


_ATTENTION_INPUT = (
    *("q_proj", "k_proj", "v_proj", "qkv_proj", "c_attn", "query_key_value", "Wqkv", "qkv"),
)
_MLP_INPUT = ("gate_proj", "up_proj", "gate_up_proj", "fc1", "c_fc", "dense_h_to_4h", "w1", "w3")
_ATTENTION_OUTPUT = ("o_proj", "out_proj", "dense", "wo", "self_attention.dense", "proj")
_MLP_OUTPUT = ("down_proj", "fc2", "dense_4h_to_h", "w2")


def _reads_encoder(adapter: Adapter) -> bool:
    return ".encoder_attn." in adapter.name and _end(adapter) in ("k_proj", "v_proj")


def _end(adapter: Adapter) -> str:
    return adapter.name.rsplit(".", 1)[-1]


def _is_mlp(adapter: Adapter) -> bool:
    return ".mlp." in adapter.name or _end(adapter) in (*_MLP_INPUT, *_MLP_OUTPUT)


def _adapter(adapter: Adapter, saving: Saving, *, experts: Mlp | Experts | None) -> Iterator[Saved]:
    """An adapter keeps its input for A and A's output for B.

    An fp32 adapter casts its input, so q, k and v have a copy each; a 16-bit one reads what the
    others read. peft 0.21 tuners/lora/layer.py: Linear.forward.
    """
    numerator, denominator = 1, 1
    if adapter.component == "experts" and isinstance(experts, Experts):
        numerator, denominator = experts.top_k, experts.experts
    own = saving.adapter_copies or saving.adapter_dropout
    kept = adapter.in_features
    if not own:
        kept = _shared_input(adapter)
    if kept:
        yield saving.tensor(
            f"{_end(adapter)} adapter input",
            kept * numerator // denominator,
            saving.adapter_input,
            "its own copy" if own else "shared with the layer",
            inner=_end(adapter) in (*_MLP_OUTPUT, *_ATTENTION_OUTPUT),
        )
    if saving.adapter_dropout:
        yield saving.tensor(f"{_end(adapter)} dropout", adapter.in_features, 1, "mask")
    yield saving.tensor(
        f"{_end(adapter)} adapter rank",
        adapter.rank * numerator,
        saving.adapter_input,
        "A's output",
    )
    if saving.dora:
        each = saving.width + saving.adapter_input
        yield saving.tensor(
            f"{_end(adapter)} DoRA", adapter.out_features, each, "both results before their sum"
        )


def _shared_input(adapter: Adapter) -> int:
    """Elements that a 16-bit adapter's input adds: the first of q, k and v stands for all three."""
    end = _end(adapter)
    if end in _ATTENTION_OUTPUT:
        return 0
    first = end in ("q_proj", "qkv_proj", "c_attn", "query_key_value", "Wqkv", "qkv") or end in (
        *("gate_proj", "gate_up_proj", "fc1", "c_fc", "dense_h_to_4h", "w1"),
        *_MLP_OUTPUT,
    )
    known = first or end in (*_ATTENTION_INPUT, *_MLP_INPUT)
    return adapter.in_features if first or not known else 0

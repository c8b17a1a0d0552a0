"""What a layer's MLP or its experts hold, and the norm before them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal, assert_never

from msgspec.structs import replace

from hfmem.memory.instants import TRANSFORMERS, Instant, Part, Step, part
from hfmem.model.forward_shapes import Experts, ForwardPass, LayerShape, Mlp

NORM_BYTES = {"rms": 8, "mean_variance": 12, "fused": 0}
"""Of one element at a norm's peak: an fp32 copy and an fp32 product; three for Cohere's."""


def feed_forward_instants(
    forward: ForwardPass, layer: LayerShape, step: Step, *, residents: int
) -> Iterator[Instant]:
    """The instants of a layer after its attention."""
    hidden = forward.hidden
    norm = NORM_BYTES[forward.norm]
    if norm:
        yield Instant(
            name="norm",
            parts=(
                _stream(forward, step, residents - 1),
                part("norm", step.rows, hidden, norm, "fp32 copies"),
            ),
        )
    if layer.parallel_mlp is not None:
        yield _mlp_instant(forward, layer.parallel_mlp, step, residents=residents)
        # models/gemma4/modeling_gemma4.py: the MLP's output and its norm wait for the experts.
        residents += 2
    match layer.feed_forward:
        case Mlp() as mlp:
            if mlp.after_residents:
                fp32 = part("norm", step.rows, hidden, NORM_BYTES["rms"], "fp32 copies")
                after = (_stream(forward, step, mlp.after_residents), fp32)
                yield Instant(name="norm after the mlp", parts=after)
            yield _mlp_instant(forward, mlp, step, residents=residents)
        case Experts(every_token=True) as experts:
            yield from _every_token_instants(forward, experts, step, residents=residents)
        case Experts() as experts:
            yield from _expert_instants(forward, experts, step, residents=residents)
        case None:
            pass
        case other:
            assert_never(other)


def mlp_elements(
    *, width: int, form: Literal["gated", "fused", "plain"], copies: int, hidden: int
) -> int:
    """Elements of one token at an MLP's peak.

    Gated: activated gate, up and product, ``mlp_elements(width=14_336, form="gated", copies=2,
    hidden=4_096) == 43_008``. Fused: the projection, of which both halves are views, activated gate
    and product. Plain: as many as the activation holds. Or one of them and the output.
    """
    match form:
        case "gated":
            return max(3 * width, copies * width, width + hidden)
        case "fused":
            return max(4 * width, (copies + 1) * width, width + hidden)
        case "plain":
            return max(copies * width, width + hidden)
        case other:
            assert_never(other)


def _stream(forward: ForwardPass, step: Step, residents: int) -> Part:
    wide = residents * forward.hidden
    return part("residual stream", step.rows, wide, step.width, f"{residents} hidden-wide tensors")


def _mlp_instant(forward: ForwardPass, mlp: Mlp, step: Step, *, residents: int) -> Instant:
    elements = mlp_elements(
        width=mlp.width, form=mlp.form, copies=mlp.activation_copies, hidden=forward.hidden
    )
    if mlp.masked:
        # One byte an element, in elements of the model's dtype.
        elements += mlp.width // step.width
    what = f"{mlp.form}, {mlp.width:,} wide"
    return Instant(
        name="mlp",
        parts=(
            _stream(forward, step, residents),
            part("mlp intermediate", step.rows, elements, step.width, what),
        ),
    )


def _expert_instants(
    forward: ForwardPass, moe: Experts, step: Step, *, residents: int
) -> Iterator[Instant]:
    """integrations/moe.py: grouped_mm_experts_forward, the default where the class allows it.

    Every token is copied once for each of its experts. At the gate the copies, the projection and
    the gate's own temporaries are alive; at the end the copies, the experts' output, the weighted
    output and its restored order.
    """
    extra = int(moe.shared_first and moe.shared_width > 0)
    latent = moe.input_width if moe.input_width != forward.hidden else 0
    stream = _stream(forward, step, residents + extra)
    rows = step.rows * moe.top_k
    router = moe.router_bytes or step.width
    dispatch = part(
        "expert dispatch",
        rows,
        moe.input_width + latent // moe.top_k,
        step.width,
        f"tokens copied to {moe.top_k} experts each",
    )
    routing = _routing(moe, step, rows=rows)
    projected = moe.width * (2 if moe.gated else 1)
    biased = moe.width * 2 if moe.bias else 0
    inner = projected + moe.width * moe.gate_copies + biased
    yield Instant(
        name="experts gate",
        parts=(
            stream,
            dispatch,
            part("expert intermediate", rows, inner, step.width, "projection, gate and product"),
            routing,
        ),
    )
    back = part(
        "expert output",
        rows,
        moe.input_width * (2 if moe.bias else 1),
        step.width,
        "of all experts",
    )
    weighted = part(
        "weighted output",
        rows,
        2 * moe.input_width,
        max(router, step.width),
        "weighted, and in the tokens' order",
    )
    restored = replace(
        routing,
        bytes=routing.bytes + 8 * rows,
        what=f"{rows:,} routed rows × 8 bytes of the inverse order, and {routing.what}",
    )
    yield Instant(name="experts combine", parts=(stream, dispatch, back, weighted, restored))
    if moe.shared_width:
        yield _shared_expert(forward, moe, step, residents=residents)


def _routing(moe: Experts, step: Step, *, rows: int) -> Part:
    """Ids, their order and weights of the routed rows, and the router's logits."""
    router = moe.router_bytes or step.width
    return Part(
        name="routing",
        bytes=rows * (24 + 2 * router) + step.rows * moe.experts * router,
        what=f"{rows:,} routed rows × {24 + 2 * router} bytes + {step.rows:,} rows × "
        f"{moe.experts} experts × {router} bytes: ids, their order and weights; router logits",
        source=f"{TRANSFORMERS} integrations/moe.py: grouped_mm_experts_forward",
    )


def _shared_expert(forward: ForwardPass, moe: Experts, step: Step, *, residents: int) -> Instant:
    elements = mlp_elements(
        width=moe.shared_width,
        form=moe.shared_form,
        copies=moe.shared_copies,
        hidden=forward.hidden,
    )
    return Instant(
        name="shared expert",
        parts=(
            _stream(forward, step, residents + int(not moe.shared_first)),
            part("mlp intermediate", step.rows, elements, step.width, "shared expert"),
        ),
    )


def _every_token_instants(
    forward: ForwardPass, moe: Experts, step: Step, *, residents: int
) -> Iterator[Instant]:
    """models/llama4/modeling_llama4.py: Llama4TextMoe repeats all tokens for each of its experts.

    The repeated tokens and the joint projection live until the experts return; beside them the
    activated gate and the product, then the product and the output.
    """
    stream = _stream(forward, step, residents)
    rows = step.rows * moe.experts
    copied = part(
        "expert dispatch", rows, forward.hidden, step.width, f"all tokens for {moe.experts} experts"
    )
    for name, elements, what in (
        ("experts gate", 4 * moe.width, "projection, gate and product"),
        ("experts down", 3 * moe.width + forward.hidden, "projection, product and output"),
    ):
        inner = part("expert intermediate", rows, elements, step.width, what)
        yield Instant(name=name, parts=(stream, copied, inner))

"""What the layers of a family keep for the backward pass beyond what their shapes tell.

Read from transformers 5.23 and compared with the tensors that autograd saves there. A family that
is not here has two RMSNorms a layer whose product is taken in the model's type, as Llama has.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from msgspec import Struct
from msgspec.structs import replace

from hfmem.model.forward_shapes import ForwardPass

SavedNorm = Literal["rms", "rms_fp32", "layer_norm", "mean_variance"]
"""rms: an fp32 copy of the input, the normed input in the model's type. rms_fp32: the weight is
multiplied in fp32, so both are fp32 (Gemma, OLMo 2, gpt-oss). layer_norm: torch's kernel keeps its
input, a mean and a deviation. mean_variance: Cohere's, three fp32 tensors."""


ScanEnd = Literal["mamba2", "normed", "gated"]
"""What follows a Mamba-2 scan in PyTorch. mamba2: a gated RMSNorm, as Mamba-2 has it. normed and
gated: Falcon-H1's gated RMSNorm, or the product with the activated gate alone."""


class Backward(Struct, frozen=True, kw_only=True):
    """How a family's layers save."""

    mixer_norms: int = 1
    mlp_norms: int = 1
    """0 where attention and MLP share the norm of their input."""
    norm: SavedNorm = "rms"
    shared_input: bool = False
    """The MLP's norm reads the same tensor as the attention's (a parallel residual)."""
    fp32_router: bool = False
    """The router reads an fp32 copy of the hidden states."""
    copies_attention: bool = False
    """Query and keys are joined from a rotated and an unrotated part, so the attention's output is
    laid out by heads and must be copied before the output projection."""
    result_only: bool = False
    """The activation is a ReLU: its result serves for its own gradient."""
    soft_capped: bool = False
    """Eager attention caps its scores: one more tensor of scores in the model's type."""
    dropouts: int = 2
    """Results of a layer that a dropout follows, where its configuration asks for one."""
    drops: bool = False
    """Its class has a dropout of 0.1 after them where the configuration says nothing."""
    drops_scores: bool = False
    """Likewise of the attention's scores."""
    narrow_scores: bool = False
    """Eager attention's softmax stays in the model's type."""
    attention_beside: bool = False
    """Every recurrent layer has an attention too, which reads the same normed hidden states."""
    scan_end: ScanEnd = "mamba2"
    normed_scan: str = ""
    """A key of the configuration that makes it end ``normed``."""
    crosses: bool = False
    """Its layers attend to an encoder's output, after a norm of their own."""
    narrow_loss: bool = False
    """The loss is computed in the logits' own type."""
    capped_logits: bool = False
    """The logits are capped by a tanh, which keeps its result; scaling them keeps nothing."""


_FP32 = Backward(norm="rms_fp32")
_FOUR_FP32 = Backward(norm="rms_fp32", mixer_norms=2, mlp_norms=2)
_TORCH = Backward(norm="layer_norm")
_GPT2 = Backward(norm="layer_norm", drops=True, drops_scores=True)
_BERT = Backward(
    norm="layer_norm", drops=True, drops_scores=True, narrow_scores=True, narrow_loss=True
)
_BART = Backward(norm="layer_norm", drops=True, crosses=True, narrow_loss=True)

_BY_MODEL_TYPE: Mapping[str, Backward] = {
    **dict.fromkeys(("gemma", "gpt_oss", "olmo2", "olmo3", "exaone4"), _FP32),
    **dict.fromkeys(("qwen3_next", "qwen3_5_text", "qwen3_5_moe_text"), _FP32),
    "gemma2": Backward(
        norm="rms_fp32", mixer_norms=2, mlp_norms=2, soft_capped=True, capped_logits=True
    ),
    "gemma4_text": Backward(norm="rms_fp32", mixer_norms=2, mlp_norms=2, capped_logits=True),
    "gemma3_text": _FOUR_FP32,
    "glm4": Backward(mixer_norms=2, mlp_norms=2, copies_attention=True),
    "glm": Backward(copies_attention=True),
    **dict.fromkeys(
        ("glm4_moe", "dots1", "solar_open", "exaone_moe"),
        Backward(copies_attention=True, fp32_router=True),
    ),
    **dict.fromkeys(
        ("deepseek_v2", "deepseek_v3", "deepseek_v32", "glm4_moe_lite", "glm_moe_dsa"),
        Backward(fp32_router=True),
    ),
    "nemotron_h": Backward(fp32_router=True),
    "falcon_h1": Backward(attention_beside=True, scan_end="gated", normed_scan="mamba_rms_norm"),
    **dict.fromkeys(("cohere", "cohere2"), Backward(norm="mean_variance", mlp_norms=0)),
    "phi": Backward(norm="layer_norm", mlp_norms=0, copies_attention=True),
    "falcon": Backward(norm="layer_norm", mlp_norms=0),
    "gpt_neox": Backward(norm="layer_norm", copies_attention=True, shared_input=True),
    "stablelm": Backward(norm="layer_norm", copies_attention=True),
    **dict.fromkeys(("starcoder2", "nemotron", "phimoe"), _TORCH),
    **dict.fromkeys(("gpt2", "gpt_bigcode"), _GPT2),
    "opt": Backward(norm="layer_norm", result_only=True, drops=True),
    **dict.fromkeys(
        ("bert", "roberta", "xlm-roberta", "camembert", "electra", "ernie", "data2vec-text"),
        _BERT,
    ),
    **dict.fromkeys(
        ("bart", "mbart", "marian", "pegasus", "m2m_100", "blenderbot", "blenderbot-small"), _BART
    ),
    "plbart": _BART,
    "whisper": replace(_BART, drops=False, copies_attention=True),
    "distilbert": replace(_BERT, dropouts=1),
}
_LLAMA = Backward()

PICTURES_MASKED = frozenset({"gemma3", "shieldgemma2", "paligemma", "colpali"})
"""Model types whose pictures attend to themselves both ways, for which a mask over all pairs is
made (transformers 5.23 masking_utils.py: blockwise_overlay, from the processor's token_type_ids).
"""


def backward(model_type: str | None, forward: ForwardPass) -> Backward:
    """How the layers of a decoder save. ``backward("gemma2", …).mixer_norms == 2``."""
    found = _BY_MODEL_TYPE.get(model_type or "")
    if found is not None:
        return found
    return _TORCH if forward.norm == "fused" else _LLAMA

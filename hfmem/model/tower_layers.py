"""The layers of the encoders of pictures and sound, as a backward pass sees them.

Read from transformers 5.23 and compared with the tensors that autograd saves there, tower by tower.
An encoder that is not here has no figure in training, and the answer says so.
"""

from __future__ import annotations

from collections.abc import Mapping

from msgspec import Struct
from msgspec.structs import replace

from hfmem.model.backward_families import Backward
from hfmem.model.components import Component
from hfmem.model.config import Config
from hfmem.model.forward_family import ACTIVATION_COPIES
from hfmem.model.forward_shapes import Attention, LayerShape, Mlp, Stored
from hfmem.model.media import TowerPass
from hfmem.model.vision_towers import NAMED_TOWERS


class TowerLayers(Struct, frozen=True, kw_only=True):
    """The layers of one pass over what a sequence brings."""

    name: str
    component: Component
    """Of its weights."""
    count: int
    hidden: int
    shape: LayerShape
    backward: Backward
    values_normed: bool = False
    """Values pass a norm without a weight, in fp32."""
    scaled: bool
    """Both results are multiplied with a trained vector, whose gradient takes them."""
    hooked: bool
    """Its patches want a gradient where a trainer checkpoints under frozen weights (transformers
    5.23 modeling_utils.py: enable_input_require_grads finds its input embeddings)."""
    eager: bool
    """Its own code computes the scores of all pairs, whatever attention is asked for."""
    sequences: int
    """What does not attend to each other: pictures, tiles or windows of sound."""
    tokens: int
    """Positions of one of them."""
    values: int
    """Pixel or mel values of all of them, and what else their convolutions keep."""
    mask_pairs: int
    """Pairs of positions in a mask that all layers share."""
    source: str

    @property
    def positions(self) -> int:
        """Of everything that one sequence brings."""
        return self.sequences * self.tokens


_PLAIN = Backward(norm="layer_norm")
_COPIED = Backward(norm="layer_norm", copies_attention=True)
_RMS = Backward(norm="rms", copies_attention=True)


class _Form(Struct, frozen=True, kw_only=True):
    model_types: tuple[str, ...]
    source: str
    backward: Backward = _PLAIN
    gated: bool = False
    width: str | None = None
    """Key of the MLP's width, where it is not the usual one."""
    heads_normed: bool = False
    """Query, keys and values are normed by heads."""
    fused_qkv: bool = False
    """Query, keys and values are views of one projection; query and keys are rotated."""
    scaled: bool = False
    masked: bool = False
    """All positions of the pass attend under one dense mask."""
    hooked: bool = True
    """``get_input_embeddings`` of its class gives a module."""
    convolves: bool = False
    """Whisper's two convolutions: both sides of the activations of twice and of once as many
    positions are kept."""


_FORMS: tuple[_Form, ...] = (
    _Form(
        model_types=("clip_vision_model",),
        source="models/clip/modeling_clip.py: CLIPEncoderLayer",
    ),
    _Form(
        model_types=("siglip_vision_model", "siglip", "idefics3_vision", "smolvlm_vision"),
        source="models/siglip/modeling_siglip.py: SiglipEncoderLayer",
    ),
    _Form(
        model_types=("llama4_vision_model",),
        source="models/llama4/modeling_llama4.py: Llama4VisionEncoderLayer",
    ),
    _Form(
        model_types=("internvl_vision",),
        scaled=True,
        source="models/internvl/modeling_internvl.py: InternVLVisionLayer",
    ),
    _Form(
        model_types=("pixtral",),
        backward=Backward(norm="rms"),
        gated=True,
        masked=True,
        source="models/pixtral/modeling_pixtral.py: PixtralAttentionLayer",
    ),
    _Form(
        model_types=(
            *("qwen3_vl_vision", "qwen3_vl", "qwen3_vl_moe_vision", "qwen3_vl_moe"),
            *("qwen3_5_vision", "qwen3_5", "qwen3_5_moe_vision", "qwen3_5_moe"),
        ),
        fused_qkv=True,
        backward=_COPIED,
        hooked=False,
        source="models/qwen3_vl/modeling_qwen3_vl.py: Qwen3VLVisionBlock",
    ),
    _Form(
        model_types=("qwen2_vl_vision", "qwen2_vl"),
        fused_qkv=True,
        backward=_COPIED,
        source="models/qwen2_vl/modeling_qwen2_vl.py: Qwen2VLVisionBlock",
    ),
    _Form(
        model_types=("qwen2_5_vl_vision", "qwen2_5_vl"),
        backward=_RMS,
        gated=True,
        fused_qkv=True,
        source="models/qwen2_5_vl/modeling_qwen2_5_vl.py: Qwen2_5_VLVisionBlock",
    ),
    _Form(
        model_types=("qwen2_5_omni_vision_encoder",),
        backward=_RMS,
        gated=True,
        source="models/qwen2_5_omni/modeling_qwen2_5_omni.py: Qwen2_5OmniVisionBlock",
    ),
    _Form(
        model_types=("glm4v_vision", "glm4v_moe_vision"),
        backward=_RMS,
        gated=True,
        fused_qkv=True,
        width="out_hidden_size",
        hooked=False,
        source="models/glm4v/modeling_glm4v.py: Glm4vVisionBlock",
    ),
    _Form(
        model_types=("gemma4_vision",),
        backward=Backward(norm="rms_fp32", mixer_norms=2, mlp_norms=2),
        gated=True,
        heads_normed=True,
        hooked=False,
        source="models/gemma4/modeling_gemma4.py: Gemma4VisionEncoderLayer",
    ),
    _Form(
        model_types=("qwen2_audio_encoder", "voxtral_encoder", "audioflamingo3_encoder"),
        backward=_COPIED,
        convolves=True,
        source="models/whisper/modeling_whisper.py: WhisperEncoderLayer",
    ),
)
_BY_TYPE: Mapping[str, _Form] = {name: form for form in _FORMS for name in form.model_types}
_NAMED_HEADS = 16
"""Of every tower in ``NAMED_TOWERS``: CLIP-L's 1,024 and SigLIP so400m's 1,152."""


def tower_layers(config: Config, run: TowerPass) -> TowerLayers | None:
    """The layers behind a pass; None for an encoder that is not described.

    Raises MissingKeyError and InvalidValueError where its section lacks a size.
    """
    if run.section == "mm_vision_tower":
        return _named(config, run)
    section = config.section(run.section)
    form = _BY_TYPE.get(section.model_type or "") if section is not None else None
    if section is None or form is None or not _is_plain(section):
        return None
    hidden = section.integer_or_none("embed_dim", low=1) or _either(
        section, "hidden_size", "d_model"
    )
    width = section.integer_or_none("encoder_ffn_dim", low=1) or section.integer_or_none(
        "intermediate_size", low=1
    )
    if form.width is not None:
        width = section.integer(form.width, low=1)
    inner = width or hidden * (section.integer_or_none("mlp_ratio", low=1) or 4)
    name = section.text("hidden_act") or section.text("activation_function") or "gelu"
    return _layers(
        form,
        run,
        count=_either(section, "num_hidden_layers", "depth", "encoder_layers"),
        hidden=hidden,
        heads=_either(section, "num_attention_heads", "num_heads", "encoder_attention_heads"),
        inner=inner,
        copies=ACTIVATION_COPIES.get(name, 2),
    )


def _layers(
    form: _Form,
    run: TowerPass,
    *,
    count: int,
    hidden: int,
    heads: int,
    inner: int,
    copies: int,
    eager: bool = False,
) -> TowerLayers:
    each = max(1, hidden // heads)
    sequences = -(-run.items // run.together)
    tokens = run.positions * run.together
    return TowerLayers(
        name=run.section.removesuffix("_config"),
        component="audio" if run.kind == "audio" else "vision",
        count=count,
        hidden=hidden,
        shape=LayerShape(
            mixer=Attention(
                heads=heads,
                kv_heads=heads,
                head_dim=each,
                v_head_dim=each,
                fused_qkv=form.fused_qkv,
                qk_norm=form.heads_normed,
            ),
            feed_forward=Mlp(
                width=inner,
                form="gated" if form.gated else "plain",
                activation_copies=copies,
            ),
            parallel_mlp=None,
            stored=Stored(key=0, value=0),
        ),
        backward=form.backward,
        values_normed=form.heads_normed,
        scaled=form.scaled,
        hooked=form.hooked,
        eager=eager,
        sequences=sequences,
        tokens=tokens,
        values=run.values * run.items + (5 * hidden * sequences * tokens if form.convolves else 0),
        mask_pairs=sequences * tokens**2 if form.masked else 0,
        source=f"transformers 5.23 {form.source}",
    )


def _is_plain(section: Config) -> bool:
    """InternVL's towers of other norms, and those that norm query and keys, are not described."""
    return section.text("norm_type") in (None, "layer_norm") and not section.flag("use_qk_norm")


def _either(section: Config, *keys: str) -> int:
    """The first of the keys that is stated. Raises MissingKeyError naming the first."""
    for key in keys:
        found = section.integer_or_none(key, low=1)
        if found is not None:
            return found
    return section.integer(keys[0], low=1)


def _named(config: Config, run: TowerPass) -> TowerLayers | None:
    known = NAMED_TOWERS.get(config.text("mm_vision_tower") or "")
    if known is None:
        return None
    kind, hidden, inner, layers = known
    # Its SigLIP has code of its own, its CLIP is that of transformers.
    eager = kind.startswith("siglip")
    found = _layers(
        _BY_TYPE[kind],
        run,
        count=layers,
        hidden=hidden,
        heads=_NAMED_HEADS,
        inner=inner,
        copies=ACTIVATION_COPIES["gelu_pytorch_tanh" if eager else "quick_gelu"],
        eager=eager,
    )
    source = f"LLaVA-NeXT llava/model/multimodal_encoder/siglip_encoder.py ({found.source})"
    return replace(found, name="vision", source=source if eager else found.source)

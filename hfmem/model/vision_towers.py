"""What the encoders of pictures and sound hold while they run: widths, read from their own section.

Read from transformers 5.23 and checked there with a tracer of live tensors. A layer peaks in its
MLP, which holds a few hidden-wide tensors (embeddings, layer input, the sum after attention, its
norm) and the activation; Qwen's towers peak where query and keys are rotated in fp32. An encoder
that is not here has no figure, and the answer says so.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from msgspec import Struct

from hfmem.model.config import Config
from hfmem.model.forward_families import ACTIVATION_COPIES
from hfmem.model.media import EncoderPass, TowerPass


class _Tower(Struct, frozen=True, kw_only=True):
    model_types: tuple[str, ...]
    residents: int
    source: str
    gated: bool = False
    rotary: int = 0
    """fp32 tensors as wide as the hidden states while query and keys are rotated."""
    rotary_residents: int = 5
    """Tensors of the model's dtype meanwhile: layer input, its norm and the projections."""
    width: str | None = None
    """Key of the MLP's width, where it is not the usual one."""
    joint_items: bool = False
    """All positions attend under one dense mask."""
    padded_to: int = 1
    """Positions of a tile are filled up to a multiple."""


_ROTARY_FP32: Final = 6
"""fp32 tensors as wide as the query: both copies, two products, a sum, the halves swapped."""

_TOWERS: tuple[_Tower, ...] = (
    _Tower(
        model_types=("clip_vision_model",),
        residents=4,
        source="models/clip/modeling_clip.py: CLIPEncoderLayer, CLIPMLP",
    ),
    _Tower(
        model_types=(
            *("siglip_vision_model", "siglip", "idefics3_vision", "smolvlm_vision"),
            *("siglip2_vision_model", "idefics2_vision"),
        ),
        residents=4,
        source="models/siglip/modeling_siglip.py: SiglipEncoderLayer, SiglipMLP",
    ),
    _Tower(
        model_types=("vit", "deit", "dinov2", "dinov2_with_registers", "vit_msn"),
        residents=4,
        source="models/vit/modeling_vit.py: ViTLayer, ViTMLP",
    ),
    _Tower(
        model_types=("internvl_vision", "intern_vit_6b"),
        residents=5,
        source="models/internvl/modeling_internvl.py: InternVLVisionLayer",
    ),
    _Tower(
        model_types=("pixtral",),
        residents=5,
        gated=True,
        joint_items=True,
        source="models/pixtral/modeling_pixtral.py: PixtralAttentionLayer, "
        "generate_block_attention_mask",
    ),
    _Tower(
        model_types=("llama4_vision_model",),
        residents=4,
        # Both copies and both products; layer input, its two norms, q, k, v and both results.
        rotary=4,
        rotary_residents=8,
        source="models/llama4/modeling_llama4.py: vision_apply_rotary_emb, as complex numbers",
    ),
    _Tower(
        model_types=("glm4v_vision", "glm4v_moe_vision", "glm_ocr_vision"),
        residents=3,
        gated=True,
        rotary=_ROTARY_FP32,
        width="out_hidden_size",
        source="models/glm4v/modeling_glm4v.py: apply_rotary_pos_emb_vision, Glm4VisionMlp",
    ),
    _Tower(
        model_types=("kimi_k25_vision", "moonvit"),
        residents=4,
        rotary=_ROTARY_FP32,
        source="models/kimi_k25/modeling_kimi_k25.py: apply_rotary_pos_emb_vision",
    ),
    _Tower(
        model_types=("gemma4_vision",),
        residents=4,
        gated=True,
        source="models/gemma4/modeling_gemma4.py: Gemma4VisionEncoderLayer",
    ),
    _Tower(
        model_types=("mllama_vision_model",),
        residents=6,
        joint_items=True,
        padded_to=8,
        source="models/mllama/modeling_mllama.py: MllamaVisionEncoderLayer",
    ),
    _Tower(
        model_types=(
            *("qwen2_vl_vision", "qwen2_vl", "qwen2_5_vl_vision", "qwen2_5_vl"),
            *("qwen3_vl_vision", "qwen3_vl", "qwen3_5_vision", "qwen3_5"),
            *("qwen3_vl_moe_vision", "qwen3_vl_moe", "qwen3_5_moe_vision", "qwen3_5_moe"),
            *("qwen2_5_omni_vision_encoder", "qwen3_omni_moe_vision_encoder"),
        ),
        residents=3,
        rotary=_ROTARY_FP32,
        source="models/qwen2_vl/modeling_qwen2_vl.py: VisionAttention, apply_rotary_pos_emb_vision",
    ),
    _Tower(
        model_types=(
            *("whisper", "qwen2_audio_encoder", "voxtral_encoder", "audioflamingo3_encoder"),
            "qwen2_5_omni_audio_encoder",
        ),
        residents=4,
        source="models/whisper/modeling_whisper.py: WhisperEncoderLayer",
    ),
)
_BY_TYPE: Mapping[str, _Tower] = {name: tower for tower in _TOWERS for name in tower.model_types}

NAMED_TOWERS: Mapping[str, tuple[str, int, int, int]] = {
    "google/siglip-so400m-patch14-384": ("siglip_vision_model", 1152, 4304, 26),
    "openai/clip-vit-large-patch14": ("clip_vision_model", 1024, 4096, 24),
    "openai/clip-vit-large-patch14-336": ("clip_vision_model", 1024, 4096, 24),
}
"""Towers that LLaVA's flat configurations name: type, width, MLP's width and the layers that
LLaVA-NeXT runs (llava/model/multimodal_encoder/siglip_encoder.py cuts the last)."""


def encoder_pass(config: Config, run: TowerPass) -> EncoderPass | None:
    """The widths behind a pass; None for an encoder whose code is not described.

    Raises MissingKeyError and InvalidValueError where its section lacks a size.
    """
    if run.section == "mm_vision_tower":
        return _named(config, run)
    section = config if config.model_type == "whisper" else config.section(run.section)
    if section is not None and run.kind == "audio":
        convolving = _convolution(section, run)
        if convolving is not None:
            return convolving
    tower = _BY_TYPE.get(section.model_type or "") if section is not None else None
    if section is None or tower is None:
        return None
    hidden = section.integer_or_none("embed_dim", low=1) or section.integer("hidden_size", low=1)
    ratio = section.integer_or_none("mlp_ratio", low=1)
    # An encoder-decoder's intermediate_size would be its decoder's.
    width = section.integer_or_none("encoder_ffn_dim", low=1) or section.integer_or_none(
        "intermediate_size", low=1
    )
    if tower.width is not None:
        width = section.integer(tower.width, low=1)
    inner = width or (ratio or 4) * hidden
    name = section.text("hidden_act") or section.text("activation_function") or "gelu"
    gated = tower.gated or section.model_type in _GATED
    copies = 3 if gated else ACTIVATION_COPIES.get(name, 2)
    each = -(-run.positions // tower.padded_to) * tower.padded_to
    positions = each * run.items
    sequences = -(-run.items // run.together)
    kept = _kept_states(config, section)
    return EncoderPass(
        name=run.section.removesuffix("_config"),
        positions=positions,
        values=run.values * run.items,
        hidden=hidden,
        inner=copies * inner,
        residents=tower.residents,
        kept_states=kept,
        rotary_elements=tower.rotary * hidden,
        rotary_residents=tower.rotary_residents,
        mask_pairs=sequences * (each * run.together) ** 2 if tower.joint_items else 0,
        projected=_projected(config) if kept else 0,
        projected_beside_states=kept > 0,
        source=f"transformers 5.23 {tower.source}",
    )


_GATED: Final = frozenset({"qwen2_5_vl_vision", "qwen2_5_vl", "qwen2_5_omni_vision_encoder"})


def _convolution(section: Config, run: TowerPass) -> EncoderPass | None:
    """Encoders of sound that hold most in their first convolutions.

    Gemma 4: half of the mel frames × half of the bands × 128 channels, as convolved, normed and
    laid out again (Gemma4AudioSubSampleConvProjectionLayer). Qwen3-Omni: chunks of 100 frames,
    halved both ways, in 480 channels before and after the activation, and a padded copy of what it
    is given.
    """
    frames = run.items * run.positions
    match section.model_type:
        case "gemma4_audio":
            channels = (section.integer_list("subsampling_conv_channels", low=1) or (128,))[0]
            positions, each = -(-frames // 2), 3 * channels * 64
            values, source = run.values * run.items, "models/gemma4/modeling_gemma4.py"
        case "qwen3_omni_moe_audio_encoder" | "qwen3_asr_encoder":
            channels = section.integer("downsample_hidden_size", low=1)
            bands = -(-section.integer("num_mel_bins", low=1) // 2)
            chunks = -(-frames // 100)
            positions, each = min(chunks, 500), 2 * channels * bands * 50
            values, source = 2 * run.values * run.items, "models/qwen3_omni_moe/modeling"
            source += "_qwen3_omni_moe.py: Qwen3OmniMoeAudioEncoder"
        case _:
            return None
    return EncoderPass(
        name=run.section.removesuffix("_config"),
        positions=positions,
        values=values,
        hidden=section.integer_or_none("hidden_size", low=1) or section.integer("d_model", low=1),
        inner=0,
        residents=0,
        convolved=each,
        convolved_positions=positions,
        source=f"transformers 5.23 {source}",
    )


def _kept_states(config: Config, section: Config) -> int:
    """LLaVA takes the features of an inner layer, so all layers' outputs are kept."""
    if config.model_type not in _LLAVA:
        return 0
    return section.integer_or_none("num_hidden_layers", high=1000) or 0


_LLAVA: Final = frozenset(
    {"llava", "llava_next", "llava_next_video", "llava_onevision", "video_llava", "vipllava"}
)


def _projected(config: Config) -> int:
    text = config.section("text_config")
    return 0 if text is None else text.integer_or_none("hidden_size", low=1) or 0


def _named(config: Config, run: TowerPass) -> EncoderPass | None:
    known = NAMED_TOWERS.get(config.text("mm_vision_tower") or "")
    if known is None:
        return None
    kind, hidden, inner, layers = known
    tower = _BY_TYPE[kind]
    copies = ACTIVATION_COPIES["quick_gelu" if kind.startswith("clip") else "gelu_pytorch_tanh"]
    return EncoderPass(
        name="vision",
        positions=run.positions * run.items,
        values=run.values * run.items,
        hidden=hidden,
        inner=copies * inner,
        residents=tower.residents,
        kept_states=layers,
        projected=config.integer_or_none("hidden_size", low=1) or 0,
        source=f"transformers 5.23 {tower.source}, all hidden states kept (LLaVA-NeXT "
        "llava/model/multimodal_encoder)",
    )

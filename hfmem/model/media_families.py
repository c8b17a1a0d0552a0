"""Which rules count the pictures, the film and the sound of a family: one small entry each."""

from __future__ import annotations

from collections.abc import Callable

from msgspec import Struct

from hfmem.model import media_grids, media_llava, media_pictures, media_sound, media_tiles
from hfmem.model.media import Found, MediaInput, Reader

Rule = Callable[[Reader, MediaInput], Found]


class Family(Struct, frozen=True, kw_only=True):
    """The rules of some model types; None is a kind of input that they do not take."""

    model_types: tuple[str, ...]
    source: str
    images: Rule | None = None
    frames: Rule | None = None
    audio: Rule | None = None


LLAVA_NEXT_CODE = Family(
    model_types=(),
    images=media_llava.llava_next_images,
    frames=media_llava.llava_next_frames,
    source="LLaVA-NeXT llava/model/llava_arch.py: get_2dPool, add_token_per_grid",
)
"""Flat configurations of LLaVA-NeXT's own classes, whatever their model type says."""
LLAVA_NEXT_CLASSES = frozenset(
    {
        "LlavaGemmaForCausalLM",
        "LlavaLlamaForCausalLM",
        "LlavaMistralForCausalLM",
        "LlavaMixtralForCausalLM",
        "LlavaQwenForCausalLM",
        "LlavaQwenMoeForCausalLM",
    }
)

FAMILIES: tuple[Family, ...] = (
    Family(
        model_types=("llava", "vipllava"),
        images=media_llava.llava_images,
        source="models/llava/processing_llava.py",
    ),
    Family(
        model_types=("video_llava",),
        images=media_llava.llava_images,
        frames=media_llava.video_llava_frames,
        source="models/video_llava/processing_video_llava.py",
    ),
    Family(
        model_types=("llava_next",),
        images=media_llava.hub_anyres_images,
        source="models/llava_next/processing_llava_next.py: _get_number_of_features",
    ),
    Family(
        model_types=("llava_next_video",),
        images=media_llava.hub_anyres_images,
        frames=media_llava.next_video_frames,
        source="models/llava_next_video/processing_llava_next_video.py",
    ),
    Family(
        model_types=("llava_onevision",),
        images=media_llava.onevision_images,
        frames=media_llava.onevision_frames,
        source="models/llava_onevision/processing_llava_onevision.py",
    ),
    Family(
        model_types=("qwen2_vl", "qwen2_5_vl", "exaone4_5", "colqwen2"),
        images=media_pictures.qwen_images,
        frames=media_pictures.qwen2_frames,
        source="models/qwen2_vl/processing_qwen2_vl.py, image_ and video_processing_qwen2_vl.py",
    ),
    Family(
        model_types=("qwen2_5_omni", "qwen2_5_omni_thinker"),
        images=media_pictures.qwen_images,
        frames=media_pictures.qwen2_frames,
        audio=media_sound.omni_seconds,
        source="models/qwen2_5_omni/processing_qwen2_5_omni.py",
    ),
    Family(
        model_types=("qwen3_vl", "qwen3_vl_moe", "qwen3_5", "qwen3_5_moe", "qwen4_exp"),
        images=media_pictures.qwen_images,
        frames=media_pictures.qwen3_frames,
        source="models/qwen3_vl/processing_qwen3_vl.py, video_processing_qwen3_vl.py",
    ),
    Family(
        model_types=("qwen3_omni_moe", "qwen3_omni_moe_thinker"),
        images=media_pictures.qwen_images,
        frames=media_pictures.qwen2_frames,
        audio=media_sound.qwen3_omni_seconds,
        source="models/qwen3_omni_moe/processing_qwen3_omni_moe.py",
    ),
    Family(
        model_types=("gemma3", "shieldgemma2", "t5gemma2"),
        images=media_pictures.gemma3_images,
        source="models/gemma3/processing_gemma3.py; pan and scan is off by default",
    ),
    Family(
        model_types=("gemma3n",),
        images=media_pictures.gemma3n_images,
        audio=media_sound.gemma3n_seconds,
        source="models/gemma3n/processing_gemma3n.py",
    ),
    Family(
        model_types=("gemma4", "gemma4_unified", "diffusion_gemma"),
        images=media_pictures.gemma4_images,
        frames=media_pictures.gemma4_frames,
        audio=media_sound.gemma4_seconds,
        source="models/gemma4/processing_gemma4.py: _get_num_multimodal_tokens",
    ),
    Family(
        model_types=("paligemma", "colpali"),
        images=media_pictures.patches_images,
        source="models/paligemma/processing_paligemma.py",
    ),
    Family(
        model_types=("internvl", "internvl_chat", "qianfan_ocr"),
        images=media_pictures.internvl_images,
        frames=media_pictures.internvl_frames,
        source="models/internvl/processing_internvl.py, got_ocr2/image_processing_got_ocr2.py",
    ),
    Family(
        model_types=("pixtral", "mistral3", "mistral_large4", "lighton_ocr"),
        images=media_pictures.pixtral_images,
        source="models/pixtral/processing_pixtral.py",
    ),
    Family(
        model_types=("llama4",),
        images=media_pictures.llama4_images,
        source="models/llama4/processing_llama4.py, image_processing_llama4.py",
    ),
    Family(
        model_types=("idefics3", "smolvlm"),
        images=media_pictures.idefics3_images,
        source="models/idefics3/processing_idefics3.py, image_processing_idefics3.py",
    ),
    Family(
        model_types=("mllama",),
        images=media_pictures.mllama_images,
        source="models/mllama/image_processing_mllama.py",
    ),
    Family(
        model_types=("glm4v", "glm4v_moe", "glm46v", "glm_ocr"),
        images=media_grids.glm4v_images,
        frames=media_grids.glm4v_frames,
        source="models/glm4v/processing_glm4v.py, image_ and video_processing_glm4v.py",
    ),
    Family(
        model_types=("kimi_k25",),
        images=media_grids.kimi_k25_images,
        frames=media_grids.kimi_k25_frames,
        source="models/kimi_k25/processing_kimi_k25.py, image_ and video_processing_kimi_k25.py",
    ),
    Family(
        model_types=("kimi_vl",),
        images=media_grids.kimi_vl_images,
        source="moonshotai/Kimi-VL-A3B-Instruct image_processing_kimi_vl.py",
    ),
    Family(
        model_types=("ernie4_5_vl_moe", "ernie4_5_moe_vl"),
        images=media_grids.ernie_images,
        frames=media_grids.ernie_frames,
        source="models/ernie4_5_vl_moe/processing_ernie4_5_vl_moe.py",
    ),
    Family(
        model_types=("minimax_m3_vl",),
        images=media_grids.minimax_images,
        frames=media_grids.minimax_frames,
        source="models/minimax_m3_vl/processing_minimax_m3_vl.py",
    ),
    Family(
        model_types=("video_llama_3",),
        images=media_grids.video_llama_images,
        frames=media_grids.video_llama_frames,
        source="models/video_llama_3/processing_video_llama_3.py",
    ),
    Family(
        model_types=("paddleocr_vl",),
        images=media_grids.paddle_images,
        source="models/paddleocr_vl/image_processing_paddleocr_vl.py",
    ),
    Family(
        model_types=("hunyuan_vl",),
        images=media_grids.hunyuan_images,
        source="models/hunyuan_vl/processing_hunyuan_vl.py",
    ),
    Family(
        model_types=("emu3",),
        images=media_grids.emu3_images,
        source="models/emu3/processing_emu3.py",
    ),
    Family(
        model_types=("aya_vision",),
        images=media_tiles.aya_images,
        source="models/aya_vision/processing_aya_vision.py",
    ),
    Family(
        model_types=("cohere2_vision",),
        images=media_tiles.cohere2_images,
        source="models/cohere2_vision/processing_cohere2_vision.py",
    ),
    Family(
        model_types=("minicpmv", "minicpmo"),
        images=media_tiles.minicpm_images,
        source="openbmb/MiniCPM-V-2_6 image_processing_minicpmv.py",
    ),
    Family(
        model_types=("minicpmv4_6", "minicpmv4_7"),
        images=media_tiles.minicpm46_images,
        source="models/minicpmv4_6/processing_minicpmv4_6.py, image_processing_minicpmv4_6.py",
    ),
    Family(
        model_types=("lfm2_vl",),
        images=media_tiles.lfm2_images,
        source="models/lfm2_vl/processing_lfm2_vl.py, image_processing_lfm2_vl.py",
    ),
    Family(
        model_types=("aria",),
        images=media_tiles.aria_images,
        source="models/aria/processing_aria.py",
    ),
    Family(
        model_types=("deepseek_ocr2",),
        images=media_tiles.deepseek_ocr_images,
        source="models/deepseek_ocr2/processing_deepseek_ocr2.py",
    ),
    Family(
        model_types=("perception_lm",),
        images=media_tiles.perception_images,
        source="models/perception_lm/processing_perception_lm.py",
    ),
    Family(
        model_types=("ovis2",),
        images=media_tiles.ovis2_images,
        source="models/ovis2/processing_ovis2.py",
    ),
    Family(
        model_types=("blip-2", "instructblip"),
        images=media_tiles.queries_images,
        source="models/blip_2/processing_blip_2.py",
    ),
    Family(
        model_types=("kosmos-2",),
        images=media_tiles.kosmos2_images,
        source="models/kosmos2/processing_kosmos2.py",
    ),
    Family(
        model_types=("idefics2",),
        images=media_tiles.idefics2_images,
        source="models/idefics2/processing_idefics2.py",
    ),
    Family(
        model_types=("chameleon",),
        images=media_tiles.chameleon_images,
        source="models/chameleon/processing_chameleon.py",
    ),
    Family(
        model_types=("got_ocr2",),
        images=media_tiles.got_ocr_images,
        source="models/got_ocr2/processing_got_ocr2.py",
    ),
    Family(
        model_types=("janus", "deepseek_vl", "deepseek_vl_hybrid"),
        images=media_tiles.siglip_images,
        source="models/janus/processing_janus.py, deepseek_vl/processing_deepseek_vl.py",
    ),
    Family(
        model_types=("ultravox",),
        audio=media_sound.ultravox_seconds,
        source="fixie-ai/ultravox ultravox_processing.py",
    ),
    Family(
        model_types=("audioflamingo3", "musicflamingo"),
        audio=media_sound.flamingo_seconds,
        source="models/audioflamingo3/processing_audioflamingo3.py",
    ),
    Family(
        model_types=("glmasr",),
        audio=media_sound.glmasr_seconds,
        source="models/glmasr/processing_glmasr.py",
    ),
    Family(
        model_types=("granite_speech", "granite_speech_plus"),
        audio=media_sound.granite_speech_seconds,
        source="models/granite_speech/feature_extraction_granite_speech.py",
    ),
    Family(
        model_types=("phi4_multimodal", "phi4mm"),
        audio=media_sound.phi4_seconds,
        source="models/phi4_multimodal/feature_extraction_phi4_multimodal.py",
    ),
    Family(
        model_types=("qwen3_asr",),
        audio=media_sound.qwen3_omni_seconds,
        source="models/qwen3_asr/processing_qwen3_asr.py: _get_audio_token_length",
    ),
    Family(
        model_types=("whisper",),
        audio=media_sound.whisper_seconds,
        source="models/whisper/feature_extraction_whisper.py, modeling_whisper.py",
    ),
    Family(
        model_types=("qwen2_audio",),
        audio=media_sound.qwen2_audio_seconds,
        source="models/qwen2_audio/processing_qwen2_audio.py",
    ),
    Family(
        model_types=("voxtral",),
        audio=media_sound.voxtral_seconds,
        source="models/voxtral/processing_voxtral.py, modeling_voxtral.py",
    ),
)
"""Where nothing else is said, the files are those of transformers 5.23."""

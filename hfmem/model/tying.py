"""Whose word it is that a model's head is its embedding again."""

from __future__ import annotations

from hfmem.model.class_defaults import class_facts
from hfmem.model.config import Config

_EITHER = frozenset(
    {
        *("fast_vlm", "glm4v", "glm4v_moe", "glm_ocr", "hunyuan_vl", "kosmos-2", "llava"),
        *("llava_next_video", "llava_onevision", "minimax_m3_vl", "paddleocr_vl", "qwen2_5_vl"),
        *("qwen2_vl", "shieldgemma2", "video_llama_3"),
    }
)
"""Their classes take over what the decoder's section says (models/llava/configuration_llava.py:
LlavaConfig.__post_init__)."""
_DECODERS_OWN = frozenset(
    {
        *("blip-2", "instructblip", "instructblipvideo", "llama4", "nemotron_h_omni", "vibevoice"),
        *("encoder-decoder", "speech-encoder-decoder", "vision-encoder-decoder"),
    }
)
"""The head is inside, in a class of its own with the decoder's section (models/llama4/
modeling_llama4.py: Llama4ForConditionalGeneration.language_model)."""
_SET_TO_TIED = frozenset({"nomic_bert", "t5", "umt5"})
"""Their classes tie without a default that says so (models/t5/configuration_t5.py:
T5Config.__post_init__); a file that says false holds another head all the same."""


_FOLLOWS = "perception_lm"
"""Its class takes the decoder's word where the file is silent at the top."""


def tied(config: Config, text: Config) -> bool:
    """Whether a stored head is the embedding again: what the file says at the top, then the class.

    transformers 5.23 modeling_utils.py: get_expanded_tied_weights_keys reads a class's own
    configuration. Qwen3-VL-235B says false there, and its decoder's own class would say true;
    LLaVA-NeXT's class says false, whatever stands in the decoder's section. That section counts
    where the class takes it over, where the head is inside it, and where nobody knows the class.
    Raises InvalidValueError.
    """
    key, kind = "tie_word_embeddings", config.model_type or ""
    if kind in _DECODERS_OWN:
        return text.flag(key)
    if kind in _EITHER:
        return config.flag(key) or text.flag(key)
    known = config is not text and kind != _FOLLOWS and class_facts(kind) is not None
    return config.flag(key, default=kind in _SET_TO_TIED or (not known and text.flag(key)))

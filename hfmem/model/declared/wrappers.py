"""Models that see with towers of their own."""

from __future__ import annotations

from collections.abc import Callable

from hfmem.model.config import MAX_LAYERS, Config, of_class
from hfmem.model.declared import sound, towers, vision
from hfmem.model.declared.blocks import (
    NotDeclaredError,
    Part,
    Parts,
    gated_mlp,
    layers,
    linear,
    norm,
    norms,
    under,
    weight,
)
from hfmem.model.declared.families import text_parts
from hfmem.model.declared.family import Family
from hfmem.model.declared.style import Rule
from hfmem.model.declared.wrapper import (
    Wrapper,
    section,
    width,
)
from hfmem.model.tying import tied


def _idefics2_beside(config: Config) -> Parts:
    """Idefics 2: a perceiver brings every picture to the same number of latents."""
    asked, size = section(config, "perceiver_config"), width(config)
    each = asked.integer("resampler_head_dim", low=1)
    query = asked.integer("resampler_n_heads", low=1) * each
    kv = asked.integer("num_key_value_heads", low=1) * each
    entry = width(config, "vision_config")
    inner = section(config, "text_config").integer("intermediate_size", low=1)
    layer = (
        *norms("input_latents_norm", "input_context_norm", "post_attention_layernorm", size=size),
        *under(
            "self_attn",
            linear("q_proj", query, size),
            linear("k_proj", kv, size),
            linear("v_proj", kv, size),
            linear("o_proj", size, query),
        ),
        *under("mlp", gated_mlp(size, 4 * size)),
    )
    latents = asked.integer("resampler_n_latents", low=1)
    return (
        *under(
            "model.connector.modality_projection",
            linear("gate_proj", inner, entry),
            linear("up_proj", inner, entry),
            linear("down_proj", size, inner),
        ),
        *under(
            "model.connector.perceiver_resampler",
            (Part("latents", (latents, size)),),
            layers("layers", range(asked.integer("resampler_depth", high=MAX_LAYERS)), layer),
            norm("norm", size),
        ),
        *under("model.vision_model", towers.idefics(section(config, "vision_config"))),
    )


def _idefics3_beside(config: Config) -> Parts:
    factor = config.integer("scale_factor", low=1)
    entry = width(config, "vision_config") * factor * factor
    return (
        *linear("model.connector.modality_projection.proj", width(config), entry),
        *under("model.vision_model", towers.idefics(section(config, "vision_config"))),
    )


def _mllama_beside(config: Config) -> Parts:
    found = section(config, "vision_config")
    output = found.integer("vision_output_dim", low=1)
    return (
        *linear("multi_modal_projector", width(config), output, bias=True),
        *under("vision_model", towers.mllama(found)),
    )


def _llama4_beside(config: Config) -> Parts:
    found = section(config, "vision_config")
    output = found.integer("vision_output_dim", low=1)
    return (
        *linear("multi_modal_projector.linear_1", width(config), output),
        *under("vision_model", towers.llama4(found)),
    )


def _kimi_beside(config: Config) -> Parts:
    found = section(config, "vision_config")
    entry = 4 * found.integer("hidden_size", low=1)
    if found.integer_list("merge_kernel_size") not in (None, (2, 2)):
        raise NotDeclaredError
    return (
        *norm("mm_projector.pre_norm", config.integer("projection_hidden_size"), bias=True),
        *linear("mm_projector.in_proj", entry, entry, bias=True),
        *linear("mm_projector.out_proj", width(config), entry, bias=True),
        *under("vision_tower", towers.moonvit(found)),
    )


def _minimax_beside(config: Config) -> Parts:
    found = section(config, "vision_config")
    output = width(config)
    middle = config.integer_or_none("projector_hidden_size", low=1) or output
    merge = found.integer("spatial_merge_size", low=1) ** 2
    return under(
        "multi_modal_projector",
        linear("linear_1", middle, found.integer("hidden_size", low=1), bias=True),
        linear("linear_2", output, middle, bias=True),
        linear("merge_linear_1", middle, merge * output, bias=True),
        linear("merge_linear_2", output, middle, bias=True),
    ) + under("vision_tower", towers.minimax(found))


def _minicpmv_beside(config: Config) -> Parts:
    found = section(config, "vision_config")
    times, entry = config.integer("merger_times", low=1), 4 * found.integer("hidden_size", low=1)
    if times != 1 or config.integer_list("merge_kernel_size") not in (None, (2, 2)):
        raise NotDeclaredError
    return under(
        "model.merger.mlp.0",
        norm("pre_norm", entry, bias=True),
        linear("linear_1", entry, entry, bias=True),
        linear("linear_2", width(config), entry, bias=True),
    ) + under("model.vision_tower", towers.minicpmv(found))


def _gemma4_beside(config: Config) -> Parts:
    """The towers are there where their sections are."""
    seen, heard = config.section("vision_config"), config.section("audio_config")
    parts: Parts = ()
    if seen is not None:
        entry = seen.integer("hidden_size", low=1)
        parts += (
            *linear("model.embed_vision.embedding_projection", width(config), entry),
            *under("model.vision_tower", towers.gemma4(seen)),
        )
    if heard is not None:
        entry = heard.integer("output_proj_dims", low=1)
        parts += (
            *linear("model.embed_audio.embedding_projection", width(config), entry),
            *under("model.audio_tower", sound.gemma4(heard)),
        )
    return parts


_MOBILENET_V5 = 294_126_912
"""Parameters of timm's mobilenetv5_300m_enc, whose layers no configuration tells. Of the published
5,439,438,272 of gemma-3n-E2B-it and 7,849,978,192 of E4B it is what decoder, ears and embedders
leave, the same in both."""


def _gemma3n_beside(config: Config) -> Parts:
    """Gemma 3n: eyes of a size of their own, a conformer, and an embedder for each."""
    seen, heard = section(config, "vision_config"), section(config, "audio_config")
    if seen.text("architecture") != "mobilenetv5_300m_enc":
        raise NotDeclaredError
    return (
        Part("model.vision_tower.timm_model", (_MOBILENET_V5,)),
        *under("model.embed_vision", _soft_embedder(seen, width(config))),
        *under("model.audio_tower", sound.gemma3n(heard)),
        *under("model.embed_audio", _soft_embedder(heard, width(config))),
    )


def _soft_embedder(config: Config, output: int) -> Parts:
    size = config.integer("hidden_size", low=1)
    return (
        *weight("embedding", config.integer("vocab_size", low=1), size),
        *norms("hard_embedding_norm", "soft_embedding_norm", size=size),
        *linear("embedding_projection", output, size),
    )


def _visual(build: Rule) -> Rule:
    """A tower below ``model.visual``, merger and all."""
    return lambda config: under("model.visual", build(section(config, "vision_config")))


def _glm4v_beside(config: Config) -> Parts:
    return under("model.visual", towers.glm4v(section(config, "vision_config")))


def qwen_flat(build: Rule, text_type: str) -> Callable[[Config], Parts]:
    """Qwen2-VL and 2.5-VL as published: the decoder's own names, and its keys at the top of the
    first files."""

    def parts(config: Config) -> Parts:
        text = config.section("text_config")
        flat = text is None or not text.values
        source = of_class(config.values, text_type) if flat or text is None else text
        found = text_parts(source.with_values({"tie_word_embeddings": tied(config, source)}))
        if found is None:
            raise NotDeclaredError
        return (*found, *build(section(config, "vision_config")))

    return parts


ROWS: tuple[Family, ...] = (
    Family(
        model_types=("idefics2",),
        classes=("Idefics2ForConditionalGeneration",),
        parts=Wrapper(beside=_idefics2_beside),
        source="idefics2/modeling_idefics2.py",
    ),
    Family(
        model_types=("idefics3", "smolvlm"),
        classes=("Idefics3ForConditionalGeneration", "SmolVLMForConditionalGeneration"),
        parts=Wrapper(beside=_idefics3_beside),
        source="idefics3/modeling_idefics3.py, smolvlm/modeling_smolvlm.py",
    ),
    Family(
        model_types=("mllama",),
        classes=("MllamaForConditionalGeneration",),
        parts=Wrapper(beside=_mllama_beside, inside=False),
        source="mllama/modeling_mllama.py, names as published",
    ),
    Family(
        model_types=("llama4",),
        classes=("Llama4ForConditionalGeneration",),
        parts=Wrapper(beside=_llama4_beside, inside=False),
        source="llama4/modeling_llama4.py",
    ),
    Family(
        model_types=("kimi_k25",),
        classes=("Kimi_K25ForConditionalGeneration", "KimiK25ForConditionalGeneration"),
        parts=Wrapper(beside=_kimi_beside, inside=False),
        source="kimi_k25/modeling_kimi_k25.py, names as published",
    ),
    Family(
        model_types=("minimax_m3_vl",),
        classes=("MiniMaxM3SparseForConditionalGeneration",),
        parts=Wrapper(beside=_minimax_beside, inside=False),
        source="minimax_m3_vl/modeling_minimax_m3_vl.py, names as published",
    ),
    Family(
        model_types=("minicpmv4_6",),
        classes=("MiniCPMV4_6ForConditionalGeneration",),
        parts=Wrapper(beside=_minicpmv_beside),
        source="minicpmv4_6/modeling_minicpmv4_6.py",
    ),
    Family(
        model_types=("gemma3n",),
        classes=("Gemma3nForConditionalGeneration",),
        parts=Wrapper(beside=_gemma3n_beside),
        source="gemma3n/modeling_gemma3n.py",
    ),
    Family(
        model_types=("gemma4",),
        classes=("Gemma4ForConditionalGeneration",),
        parts=Wrapper(beside=_gemma4_beside),
        source="gemma4/modeling_gemma4.py",
    ),
    Family(
        model_types=("qwen2_vl",),
        classes=("Qwen2VLForConditionalGeneration",),
        parts=qwen_flat(vision.qwen2_vl, "qwen2_vl_text"),
        source="qwen2_vl/modeling_qwen2_vl.py, names as published",
    ),
    Family(
        model_types=("qwen2_5_vl",),
        classes=("Qwen2_5_VLForConditionalGeneration",),
        parts=qwen_flat(vision.qwen2_5_vl, "qwen2_5_vl_text"),
        source="qwen2_5_vl/modeling_qwen2_5_vl.py, names as published",
    ),
    Family(
        model_types=("qwen3_vl", "qwen3_vl_moe"),
        classes=("Qwen3VLForConditionalGeneration", "Qwen3VLMoeForConditionalGeneration"),
        parts=Wrapper(beside=_visual(vision.qwen3_vl)),
        source="qwen3_vl/modeling_qwen3_vl.py, qwen3_vl_moe/modeling_qwen3_vl_moe.py",
    ),
    Family(
        model_types=("qwen3_5", "qwen3_5_moe"),
        classes=("Qwen3_5ForConditionalGeneration", "Qwen3_5MoeForConditionalGeneration"),
        parts=Wrapper(beside=_visual(vision.qwen3_vl)),
        source="qwen3_5/modeling_qwen3_5.py, qwen3_5_moe/modeling_qwen3_5_moe.py",
    ),
    Family(
        model_types=("glm4v_moe",),
        classes=("Glm4vMoeForConditionalGeneration",),
        parts=Wrapper(beside=_glm4v_beside),
        source="glm4v_moe/modeling_glm4v_moe.py",
    ),
    Family(
        model_types=("glm4v",),
        classes=("Glm4vForConditionalGeneration",),
        parts=Wrapper(beside=_glm4v_beside),
        source="glm4v/modeling_glm4v.py",
    ),
)
"""Wrappers, one row each."""

"""What part of a model a tensor is, told from its name.

One table of patterns over names without their numbers; the first that matches wins. Names are the
publishers' habits, not a standard: what no row knows is ``other``, and counts like anything else.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache
from typing import Literal

from msgspec import Struct

from hfmem.checkpoint.tensor import TensorRun, template

Component = Literal[
    "language",
    "embedding",
    "head",
    "experts",
    "draft",
    "vision",
    "projector",
    "audio",
    "encoder",
    "denoiser",
    "adapter",
    "other",
]
"""``experts`` are routed ones, a shared expert is ``language``; ``draft`` predicts tokens ahead and
is loaded only for speculative decoding; ``encoder`` is a text or speech encoder that is the model's
own; ``denoiser`` is a diffusion transformer or U-Net."""


class ComponentRun(Struct, frozen=True, kw_only=True):
    """A run of tensors that belong to one component."""

    run: TensorRun
    component: Component


def _segment(*names: str) -> str:
    """A pattern for a name between dots."""
    return rf"(?:^|\.)(?:{'|'.join(names)})(?:\.|$)"


_WRAPPERS = (
    r"^(?:(?:model|language_model|text_model|llm|thinker|transformer|backbone|gpt_neox|rwkv"
    r"|decoder|base_model)\.)*"
)

_RULES: tuple[tuple[Component, str], ...] = (
    ("adapter", r"^adapter/"),
    # PEFT 0.21 names its parameters after their method.
    ("adapter", r"lora_(?:[ABE]|embedding_[AB]|magnitude_vector)(?:\.|$)"),
    ("adapter", _segment("ia3_l", "vera_lambda_[bd]", "prompt_embeddings", "prompt_encoder")),
    # Multi-token prediction: Qwen3-Next mtp, MiMo mtp_layers, GGUF nextn; Medusa's heads.
    ("draft", _segment("mtp", "mtp_layers", "mtp_block", "nextn", "medusa_head")),
    # Sound has its projectors before it.
    ("projector", _segment("audio_projection(?:_layer)?", "audio_projector", "embed_audio")),
    ("audio", _segment("audio_tower", "audio_encoder", "audio_model", "audio_embed", "audio")),
    ("audio", _segment("apm", "speech_encoder", "speech_tower", "sound_tower") + r"|^a\."),
    # Speech out of Qwen-Omni and MiniCPM-o.
    ("audio", _segment("talker", "token2wav", "code2wav", "tts")),
    # A projector is often a child of the tower: Qwen's merger, Phi-4's img_projection, Molmo's.
    ("projector", _segment("multi_modal_projector", "(?:mm|vision)_projector", "projector")),
    ("projector", _segment("(?:deepstack_)?merger(?:_list)?", "patch_merger", "connector")),
    ("projector", _segment("aligner", "vision_language_adapter", "(?:perceiver_)?resampler")),
    ("projector", _segment("(?:visual|text|img|language)_projection", "image_projector")),
    ("projector", _segment("image_pooling_2d", r"vision\.linear_proj", "qformer", "query_tokens")),
    # The vectors that end a row of patches stand beside the projector; InternVL's is mlp1.
    ("projector", _segment("image_newline", "view_seperator", "pre_mm_projector_norm")),
    ("projector", _segment("embed_vision") + r"|^(?:model\.)?mlp1\.|^mm\."),
    ("vision", _segment("vision_(?:tower|model|encoder|backbone|embed_tokens)", "vision")),
    ("vision", _segment("visual", "visual_(?:encoder|tokenizer)", "vit", "vpm", "sam_model")),
    ("vision", _segment("img_processor", "image_(?:encoder|embed|vit)", "vqmodel") + r"|^v\."),
    # DeepSeek-OCR 2 encodes pictures with a Qwen2 of its own.
    ("vision", _segment("gen_vision_model") + r"|^model\.qwen2_model\."),
    ("denoiser", r"^(?:(?:single_|joint_)?transformer_blocks|(?:down|up)_blocks|mid_block)\."),
    ("denoiser", r"^(?:double_blocks|single_blocks|time_(?:text_)?embed(?:ding)?)\."),
    ("denoiser", r"^(?:x_embedder|context_embedder|norm_out|conv_in|conv_out|conv_norm_out)\."),
    # Routed experts: unfused or fused, MLX's switch_mlp, GGUF's _exps, Granite's and Step's.
    ("experts", _segment("experts", "switch_mlp", "ffn_(?:gate|up|down|gate_up)_exps")),
    ("experts", r"\.block_sparse_moe\.(?:input|output)_linear\.|\.moe\.(?:gate|up|down)_proj\."),
    ("embedding", _segment("embed_tokens(?:_per_layer)?", "wte", "wpe", "tok_embeddings")),
    (
        "embedding",
        _segment("word_embeddings?", "embed_in", "embeddings", "(?:token|position)_embd"),
    ),
    ("embedding", _segment("per_layer_token_embd") + r"|^(?:model\.)?shared\.weight$"),
    ("embedding", _WRAPPERS + r"(?:embed|embedding|token_embedding)\."),
    # ChatGLM calls its decoder an encoder.
    ("language", r"^transformer\.encoder\."),
    ("encoder", _segment("encoder", "text_encoder") + r"|^(?:enc|text_model|distilbert)\."),
    ("encoder", r"^(?:\w+\.)?pooler\."),
    ("embedding", _segment("embed_positions")),
    ("head", _WRAPPERS + r"(?:lm_head|embed_out|output_layer|output|head|proj_out|score)(?:\.|$)"),
    ("head", _WRAPPERS + r"(?:classifier|qa_outputs|cls|v_head|generator|predictions)(?:\.|$)"),
    ("head", _WRAPPERS + r"(?:vocab_(?:projector|transform)|logit_(?:scale|bias)|ff_out)(?:\.|$)"),
    ("language", _segment("layers?", "h", "blocks?", "blk", "decoder", "model", "transformer")),
    ("language", _segment("language_model", "llm", "backbone", "rwkv")),
    ("language", r"^(?:norm|final_norm|norm_f|ln_f|output_norm|final_layernorm|rope_freqs)\."),
    ("language", r"^(?:word_embeddings_layernorm|token_embd_norm)\."),
)
_TABLE = tuple((component, re.compile(pattern)) for component, pattern in _RULES)

_BEYOND_ANY_LAYER = 10**9
# A decoder's own layer: no path through an encoder or a tower leads to it.
_DECODER_LAYER = re.compile(_WRAPPERS + r"(?:layers|h|blk|blocks)\.\{\}\.")


def component(run: TensorRun) -> Component:
    """The component that a run's name tells; layers beyond the decoder's own are ``split``'s.

    ``model.layers.{0..31}.block_sparse_moe.experts.{0..7}.w1.weight`` is ``experts``.
    """
    return _of_template(template(run.name))


@lru_cache(maxsize=4096)
def _of_template(name: str) -> Component:
    return next((found for found, pattern in _TABLE if pattern.search(name)), "other")


def split(
    runs: Iterable[TensorRun], *, decoder_layers: int | None = None
) -> tuple[ComponentRun, ...]:
    """Every run with its component; a run that crosses the draft border becomes two.

    ``decoder_layers`` is ``num_hidden_layers``: what is stored beyond it, DeepSeek-V3's layer 61
    with its own embedding and head, is ``draft`` (vLLM 0.33 model_executor/models/deepseek_v2.py:
    get_spec_layer_idx_from_weight_name skips it). None leaves the layers alone.
    """
    found: list[ComponentRun] = []
    for run in runs:
        kind = component(run)
        if decoder_layers is None or not _DECODER_LAYER.match(template(run.name)):
            found.append(ComponentRun(run=run, component=kind))
            continue
        own = run.restricted(range(decoder_layers))
        beyond = run.restricted(range(decoder_layers, _BEYOND_ANY_LAYER))
        if own is not None:
            found.append(ComponentRun(run=own, component=kind))
        if beyond is not None:
            found.append(ComponentRun(run=beyond, component="draft"))
    return tuple(found)

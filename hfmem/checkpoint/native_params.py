"""``params.json``, in which Mistral and Meta describe their own files, as a configuration.

Read where there is no config.json, as vLLM reads Mistral's (vLLM 0.33
transformers_utils/configs/mistral.py: adapt_config_dict; llama-models
models/llama3/model.py: FeedForward, for Meta's feed-forward size).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from hfmem.checkpoint.snapshot import Note

_PARAMS: Final = "params.json"

_NAMES = {
    "dim": "hidden_size",
    "n_layers": "num_hidden_layers",
    "n_heads": "num_attention_heads",
    "n_kv_heads": "num_key_value_heads",
    "head_dim": "head_dim",
    "hidden_dim": "intermediate_size",
    "vocab_size": "vocab_size",
    "norm_eps": "rms_norm_eps",
    "rope_theta": "rope_theta",
    "sliding_window": "sliding_window",
    "max_position_embeddings": "max_position_embeddings",
    "max_seq_len": "max_position_embeddings",
}
# Parts that change what a layer keeps or computes, and that the names above do not tell.
_OTHER = ("q_lora_rank", "kv_lora_rank", "ssm_cfg", "yarn", "multimodal", "audio_model_args")


def native_config(
    documents: Mapping[str, Mapping[str, object]],
) -> tuple[dict[str, object] | None, tuple[Note, ...]]:
    """The configuration that a repository's params.json tells, with a note that it does."""
    config = config_of(documents.get(_PARAMS, {}))
    if config is None:
        return None, ()
    message = "There is no config.json: the configuration is that of params.json."
    return config, (Note(code="native_params", message=message),)


def config_of(params: Mapping[str, object]) -> dict[str, object] | None:
    """The configuration of a plain decoder; None for what is more, or lacks a size.

    Mistral-7B-v0.3: ``{"dim": 4096, "n_layers": 32, …}`` is 32 layers of 8 heads of 128. A vision
    encoder beside the decoder is left to the files.
    """
    if (
        any(name in params for name in _OTHER)
        or not {"dim", "n_layers", "n_heads"} <= params.keys()
    ):
        return None
    found: dict[str, object] = {
        ours: params[theirs] for theirs, ours in _NAMES.items() if params.get(theirs) is not None
    }
    is_meta = "multiple_of" in params
    moe = params.get("moe")
    found["tie_word_embeddings"] = params.get("tied_embeddings") is True
    if isinstance(moe, Mapping):
        if not {"num_experts", "num_experts_per_tok"} <= moe.keys() or "expert_hidden_dim" in moe:
            return None
        found["num_local_experts"] = moe["num_experts"]
        found["num_experts_per_tok"] = moe["num_experts_per_tok"]
    kind = "llama" if is_meta else "mixtral" if isinstance(moe, Mapping) else "mistral"
    found["model_type"] = kind
    found["architectures"] = [f"{kind.capitalize()}ForCausalLM"]
    if kind != "llama":
        found.setdefault("sliding_window", None)
    found.setdefault("num_key_value_heads", params["n_heads"])
    if is_meta:
        found["intermediate_size"] = _meta_width(params)
        if found.get("vocab_size") == -1:
            # Llama 2's files leave it to the tokenizer.
            found["vocab_size"] = 32_000
    return None if found.get("intermediate_size") is None else found


def _meta_width(params: Mapping[str, object]) -> int | None:
    """Two thirds of four times the width, by the multiplier, up to the next multiple.

    Llama-3.1-8B: 4096, 1.3 and 1024 are 14,336.
    """
    dim, multiple = params["dim"], params["multiple_of"]
    factor = params.get("ffn_dim_multiplier", 1)
    if type(dim) is not int or type(multiple) is not int or not 0 < dim < 2**24:
        return None
    if not isinstance(factor, int | float) or not 0 < factor < 100 or not 0 < multiple < 2**24:
        return None
    wide = int(factor * (2 * (4 * dim) // 3))
    return -(-wide // multiple) * multiple

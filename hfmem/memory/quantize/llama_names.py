"""What llama.cpp's quantizer sees in a tensor: the role that decides its type.

The converter's name map is llama.cpp gguf-py/gguf/tensor_mapping.py; only the roles that some file
type treats apart matter here, everything else is ``other`` and gets the file's default type.
"""

from __future__ import annotations

import re
from typing import Literal

Role = Literal[
    "token_embd",
    "output",
    "attn_q",
    "attn_k",
    "attn_v",
    "attn_output",
    "ffn_up",
    "ffn_gate",
    "ffn_gate_up",
    "ffn_down",
    "kv_b",
    "plain",
    "other",
]
"""``attn_v`` holds fused q, k, v too, as the quantizer counts them; ``ffn_gate_up`` are experts
that the converter splits in two; ``kv_b`` becomes two tensors; ``plain`` stays in 32 bits."""

_RULES: tuple[tuple[Role, str], ...] = (
    # As a GGUF file of 16 bits has them already.
    ("plain", r"\.ffn_gate_inp\w*\.weight$"),
    ("token_embd", r"^token_embd\.weight$"),
    ("attn_q", r"\.attn_q\.weight$"),
    ("attn_k", r"\.attn_k\.weight$"),
    ("attn_v", r"\.attn_(?:v|qkv)\.weight$"),
    ("attn_output", r"\.attn_output\.weight$"),
    ("ffn_gate", r"\.ffn_gate(?:_exps|_shexp)?\.weight$"),
    ("ffn_up", r"\.ffn_up(?:_exps|_shexp)?\.weight$"),
    ("ffn_down", r"\.ffn_down(?:_exps|_shexp)?\.weight$"),
    # As the Hub has them.
    ("plain", r"norm\w*\.|conv\w*\.|\.(?:gate|router)\.weight$|shared_expert_gate|router"),
    ("plain", r"(?:wpe|embed_positions|position_embeddings|token_type_embeddings)\.weight$"),
    ("plain", r"altup|laurel|per_layer_model_projection"),
    # A GGUF file's own names.
    ("plain", r"^(?:position_embd|token_types)\.|^blk\.\{\}\.(?:ffn_gate_inp|ssm_conv1d)"),
    ("attn_v", r"^blk\.\{\}\.attn_(?:qkv|v)\.weight$"),
    ("token_embd", r"^(?:per_layer_)?token_embd\.weight$"),
    ("attn_q", r"^blk\.\{\}\.attn_q\.weight$"),
    ("attn_k", r"^blk\.\{\}\.attn_k\.weight$"),
    ("attn_output", r"^blk\.\{\}\.attn_output\.weight$"),
    ("ffn_gate", r"^blk\.\{\}\.ffn_gate(?:_exps|_shexp)?\.weight$"),
    ("ffn_up", r"^blk\.\{\}\.ffn_up(?:_exps|_shexp)?\.weight$"),
    ("ffn_down", r"^blk\.\{\}\.ffn_down(?:_exps|_shexp)?\.weight$"),
    ("token_embd", r"(?:embed_tokens(?:_per_layer)?|wte|word_embeddings|embed_in)\.weight$"),
    ("token_embd", r"(?:tok_embeddings|embeddings|embedding)\.weight$|^shared\.weight$"),
    ("output", r"(?:^|\.)(?:lm_head|embed_out|output|output_layer)\.weight$"),
    ("kv_b", r"\.kv_b_proj\.weight$"),
    ("attn_v", r"\.(?:c_attn|qkv_proj|query_key_value|Wqkv|W_pack|in_proj_qkv)\.weight$"),
    ("attn_q", r"(?:attn|attention)\.(?:q_proj|wq|query)\.weight$"),
    ("attn_k", r"(?:attn|attention)\.(?:k_proj|wk|key)\.weight$"),
    ("attn_v", r"(?:attn|attention)\.(?:v_proj|wv|value)\.weight$"),
    ("other", r"linear_attn\.|mixer\.|mamba\.|\.ssm"),
    ("attn_output", r"(?:attn|attention)\.(?:o_proj|out_proj|wo|dense|c_proj)\.weight$"),
    ("ffn_gate_up", r"experts\.gate_up_proj(?:\.weight)?$"),
    ("ffn_gate", r"\.(?:gate_proj|w1)(?:\.weight)?$"),
    ("ffn_down", r"\.(?:down_proj|w2|fc2|dense_4h_to_h|fc_out)(?:\.weight)?$"),
    ("ffn_down", r"mlp\.c_proj\.weight$"),
    ("ffn_up", r"\.(?:up_proj|w3|fc1|c_fc|dense_h_to_4h|fc_in|gate_up_proj)(?:\.weight)?$"),
)
_TABLE = tuple((role, re.compile(pattern)) for role, pattern in _RULES)


def role(name: str) -> Role:
    """The role of a tensor by its name without numbers.

    ``role("model.layers.{}.self_attn.v_proj.weight") == "attn_v"``.
    """
    return next((found for found, pattern in _TABLE if pattern.search(name)), "other")

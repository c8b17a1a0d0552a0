"""Families that transformers runs from code in the repository; hfmem never runs it, the facts are
read here."""

from __future__ import annotations

from hfmem.model.architectures.attention import Heads, full, heads
from hfmem.model.architectures.entry import Architecture
from hfmem.model.architectures.patterns import FULL, every, layer_count
from hfmem.model.architectures.stacks import stack
from hfmem.model.config import MAX_LAYERS, Config
from hfmem.model.layers import FullAttention, Layer, NoCache, SharedCache


def chatglm(config: Config) -> Layer:
    """ChatGLM2 and 3, GLM-4-9B: ``multi_query_group_num`` kv heads where
    ``multi_query_attention``."""
    query = config.integer("num_attention_heads", low=1)
    size = config.integer_or_none("kv_channels") or config.integer("hidden_size", low=1) // query
    kv = query
    if config.flag("multi_query_attention"):
        kv = config.integer("multi_query_group_num", low=1)
    return (FullAttention(kv_heads=kv, head_dim=size, v_head_dim=size),)


def nas_blocks(config: Config) -> tuple[Layer, ...]:
    """``block_configs[i].attention``: no_op or a linear layer keeps nothing, else heads /
    n_heads_in_group.

    Llama-3.3-Nemotron-Super-49B: 49 of 80 blocks attend.
    """
    per_layer = config.integer_list("num_key_value_heads_per_layer", high=2**20)
    size = heads(config)
    if per_layer is not None:
        return tuple((_attention(size, kv),) for kv in per_layer)
    blocks = config.list("block_configs")
    if blocks is None:
        return stack(every(FULL))(config)
    return tuple(_nas_block(config, size, block) for block in blocks)


def _nas_block(config: Config, size: Heads, block: object) -> Layer:
    attention = block.get("attention") if isinstance(block, dict) else None
    if not isinstance(attention, dict):
        raise config.invalid("block_configs", block, "a list of blocks with their attention")
    if attention.get("no_op") or attention.get("replace_with_linear"):
        return (NoCache(),)
    kv = attention.get("num_key_value_heads")
    group = attention.get("n_heads_in_group")
    if isinstance(group, int) and 0 < group <= size.query:
        kv = size.query // group
    if not isinstance(kv, int) or not 0 < kv <= 2**20:
        raise config.invalid("block_configs", attention, "a block that names its heads")
    return (_attention(size, kv),)


def _attention(size: Heads, kv: int) -> FullAttention:
    return FullAttention(kv_heads=kv, head_dim=size.head_dim, v_head_dim=size.v_head_dim)


def openelm(config: Config) -> tuple[Layer, ...]:
    """``num_kv_heads`` lists the heads layer by layer."""
    size = config.integer("head_dim", low=1)
    per_layer = config.integer_list("num_kv_heads", low=1, high=2**20) or ()
    count = config.integer("num_transformer_layers", low=1, high=MAX_LAYERS)
    if len(per_layer) < count:
        raise config.invalid("num_kv_heads", list(per_layer), f"a list of {count:,} layers")
    return tuple(
        (FullAttention(kv_heads=kv, head_dim=size, v_head_dim=size),) for kv in per_layer[:count]
    )


def cross_layer(config: Config) -> tuple[Layer, ...]:
    """Cross-layer attention: the first of every ``cla_share_factor`` layers keeps, the rest read
    it."""
    own = full(config)
    share = config.integer_or_none("cla_share_factor", low=1) or 1
    if not config.flag("use_cla"):
        share = 1
    return tuple(
        own if index % share == 0 else (SharedCache(of_layer=index - index % share),)
        for index in range(layer_count(config))
    )


REMOTE_CODE = (
    Architecture(
        model_types=("baichuan", "qwen", "internlm", "aquila", "orion", "xverse"),
        cache=stack(every(FULL), full=full, keys=()),
        source="vllm/model_executor/models/baichuan.py and qwen.py: heads of hidden / heads",
    ),
    Architecture(
        model_types=(
            "internlm2",
            "mimo",
            "minicpmv",
            "Yi",
            "minicpm",
            "phi3small",
            "phi-msft",
            "grok-1",
            "arctic",
            "exaone",
            "step1",
        ),
        cache=stack(every(FULL), full=full, keys=()),
        source="vllm/model_executor/models/internlm2.py: num_key_value_heads",
    ),
    Architecture(
        model_types=("chatglm",),
        cache=stack(every(FULL), full=chatglm, keys=()),
        source="vllm/model_executor/models/chatglm.py: multi_query_group_num",
    ),
    Architecture(
        model_types=("deci", "nemotron-nas"),
        cache=nas_blocks,
        source="vllm/model_executor/models/nemotron_nas.py: block_configs",
    ),
    Architecture(
        model_types=("openelm",),
        cache=openelm,
        source="apple/OpenELM modeling_openelm.py: num_kv_heads",
    ),
    Architecture(
        model_types=("hunyuan",),
        cache=cross_layer,
        source="vllm/model_executor/models/hunyuan_v1.py: _get_cla_factor",
    ),
)

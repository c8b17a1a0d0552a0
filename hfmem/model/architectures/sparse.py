"""Families with a sparse indexer beside their attention, and DeepSeek-V4's compressed caches."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from hfmem.model.architectures.attention import (
    compressed,
    full_indexed,
    latent,
    latent_indexed,
)
from hfmem.model.architectures.entry import Architecture
from hfmem.model.architectures.patterns import (
    FULL,
    INDEXED,
    LINEAR,
    SLIDING,
    every,
    first_of_period,
    last_of_period,
)
from hfmem.model.architectures.stacks import stack
from hfmem.model.architectures.states import gated_delta, kimi_delta
from hfmem.model.config import MAX_LAYERS, Config
from hfmem.model.layers import Layer, RecurrentState

CSA, HCA = "compressed_sparse_attention", "heavily_compressed_attention"
_RATIO_KINDS = {0: SLIDING, 4: CSA, 128: HCA}
_LETTERS = {"F": "full", "S": "shared"}
_M3 = "minimax_m3_sparse"
UNINDEXED = "indexed_attention, shared"


def deepseek_v4(config: Config) -> tuple[Layer, ...]:
    """``compress_ratios`` names each layer's pooling: 0 window only, 4 sparse with an indexer, 128
    heavy."""
    rates = dict(_V4_RATES)
    said = config.value("compress_rates")
    if isinstance(said, Mapping):
        rates |= said
    for kind, key in ((CSA, "compress_rate_csa"), (HCA, "compress_rate_hca")):
        own = config.integer_or_none(key, low=1, high=2**20)
        if own is not None:
            rates[kind] = own
    return _V4(config.with_values({"compress_rates": rates}))


def _v4_types(config: Config, count: int) -> Sequence[str]:
    ratios = config.integer_list("compress_ratios")
    if ratios is not None:
        kinds = [_RATIO_KINDS.get(ratio, f"ratio {ratio}") for ratio in ratios[:count]]
        if len(kinds) < count:
            raise config.invalid("compress_ratios", list(ratios), f"a list of {count:,} ratios")
        return kinds
    return [CSA if i > 1 and i % 2 else HCA for i in range(count)]


_V4_RATES = {CSA: 4, HCA: 128}
_V4 = stack(
    _v4_types,
    others={CSA: compressed(CSA, indexed=True), HCA: compressed(HCA, indexed=False)},
)


def minimax_m3(config: Config) -> tuple[Layer, ...]:
    """Sparse layers keep an indexer key beside keys and values; ``sparse_attention_config`` says
    which."""
    nested = config.value("sparse_attention_config")
    if isinstance(nested, Mapping):
        given = {"index_head_dim": nested.get("sparse_index_dim")}
        if "layer_types" not in config.values and "sparse_attention_freq" in nested:
            freq = nested["sparse_attention_freq"]
            if not isinstance(freq, list) or len(freq) > MAX_LAYERS:
                raise config.invalid("sparse_attention_freq", freq, "a list of layers")
            given["layer_types"] = [_M3 if sparse else FULL for sparse in freq]
        config = config.with_values({k: v for k, v in given.items() if v is not None})
    return stack(every(FULL), others={_M3: full_indexed})(config)


def shared_indexers(config: Config, types: Sequence[str]) -> Sequence[str]:
    """Layers that reuse another layer's selection keep no indexer key (GLM-5.2: 57 of 78 do).

    ``indexer_types`` lists them, or ``index_topk_pattern`` in letters, or ``index_topk_freq`` and
    ``index_skip_topk_offset`` give a period (models/glm_moe_dsa/configuration_glm_moe_dsa.py).
    """
    count = len(types)
    listed_types = config.text_list("indexer_types")
    pattern = config.value("index_topk_pattern")
    if listed_types is None and isinstance(pattern, str):
        listed_types = tuple(_LETTERS.get(letter, letter) for letter in pattern[:MAX_LAYERS])
    if listed_types is None:
        period = max(config.integer_or_none("index_topk_freq") or 1, 1)
        offset = config.integer_or_none("index_skip_topk_offset")
        first = 2 if offset is None else offset
        listed_types = tuple(
            "shared" if max(i - first + 1, 0) % period else "full" for i in range(count)
        )
    return _without_indexer(config, types, listed_types)


def hy_v4_indexers(config: Config, types: Sequence[str]) -> Sequence[str]:
    """Unlisted, layer 0 and every fourth after layer 1 have an indexer of their own."""
    own = config.text_list("indexer_types") or [
        "full" if i == 0 or (i - 1) % 4 == 0 else "shared" for i in range(len(types))
    ]
    return _without_indexer(config, types, own)


def _without_indexer(
    config: Config, types: Sequence[str], indexers: Sequence[str]
) -> Sequence[str]:
    if len(indexers) < len(types):
        raise config.invalid("indexer_types", list(indexers), f"a list of {len(types):,} types")
    return [
        UNINDEXED if kind == INDEXED and indexer == "shared" else kind
        for kind, indexer in zip(types, indexers, strict=False)
    ]


def full_means_indexed(config: Config, types: Sequence[str]) -> Sequence[str]:
    """Files that predate the name write full_attention for layers with an indexer."""
    return shared_indexers(config, [INDEXED if kind == FULL else kind for kind in types])


def packed_indexer(config: Config) -> Layer:
    """GLM-5-next: the indexer caches a key, a gate of the same size, and one flag a token."""
    key = config.integer("index_head_dim", low=1)
    return latent_indexed(config.with_values({"index_head_dim": 2 * key + 1}))


def qwen4_indexed(config: Config) -> Layer:
    """Full attention beside ``indexer_kv_heads`` raw keys of ``indexer_head_dim`` a token."""
    keys = config.integer("indexer_kv_heads", low=1) * config.integer("indexer_head_dim", low=1)
    return full_indexed(config.with_values({"index_head_dim": keys}))


def qwen4_exp(config: Config) -> tuple[Layer, ...]:
    """Three delta nets to one indexed layer; ``ple_layer_ids``, counted from 1, keep an n-gram
    convolution too."""
    layers = _QWEN4(config)
    chosen = set(config.integer_list("ple_layer_ids", high=MAX_LAYERS) or ())
    if not chosen:
        return layers
    ngram = config.integer("ngram_size", low=1)
    columns = (config.integer("ple_conv_kernel_size", low=1) - 1) * ngram
    width = config.integer("hidden_size", low=1) * config.integer("hc_count", low=1)
    convolution = RecurrentState(
        conv_elements=width * columns,
        state_elements=ngram - 1,
        conv_dtype=None,
        state_dtype="I64",
        conv_kernel=columns,
    )
    return tuple(
        (*layer, convolution) if i + 1 in chosen else layer for i, layer in enumerate(layers)
    )


_QWEN4 = stack(
    last_of_period(4, key="full_attention_interval", last=INDEXED, rest=LINEAR),
    full=qwen4_indexed,
    indexed=qwen4_indexed,
    linear=gated_delta,
)
_INDEXED = {UNINDEXED: latent}


SPARSE = (
    Architecture(
        model_types=("deepseek_v32", "axk2"),
        cache=stack(every(INDEXED), full=latent, indexed=latent_indexed),
        source="transformers/models/deepseek_v32/modeling_deepseek_v32.py: update_indexer",
    ),
    Architecture(
        model_types=("glm_moe_dsa",),
        cache=stack(
            every(INDEXED),
            full=latent,
            indexed=latent_indexed,
            retype=shared_indexers,
            others=_INDEXED,
        ),
        source="transformers/models/glm_moe_dsa/configuration_glm_moe_dsa.py: indexer_types",
    ),
    Architecture(
        model_types=("hy_v4",),
        cache=stack(
            every(INDEXED),
            full=latent,
            indexed=latent_indexed,
            retype=hy_v4_indexers,
            others=_INDEXED,
        ),
        source="transformers/models/hy_v4/configuration_hy_v4.py: indexer_types",
    ),
    Architecture(
        model_types=("glm5_next_text",),
        cache=stack(
            first_of_period(4, offset=3, first=INDEXED, rest=LINEAR),
            full=latent,
            indexed=packed_indexer,
            linear=kimi_delta,
            retype=full_means_indexed,
            others=_INDEXED,
        ),
        source="transformers/models/glm5_next/configuration_glm5_next.py: __post_init__",
    ),
    Architecture(
        model_types=("qwen4_exp_text",),
        cache=qwen4_exp,
        source="transformers/models/qwen4_exp/modeling_qwen4_exp.py: update_indexer",
    ),
    Architecture(
        model_types=("deepseek_v4",),
        cache=deepseek_v4,
        source="transformers/models/deepseek_v4/modeling_deepseek_v4.py: DeepseekV4CSACache",
    ),
    Architecture(
        model_types=("minimax_m3_vl_text", "minimax_m3"),
        cache=minimax_m3,
        source="transformers/models/minimax_m3_vl/modeling_minimax_m3_vl.py: "
        "MiniMaxM3VLSparseCacheLayer",
    ),
)

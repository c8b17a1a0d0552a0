"""Decoders with Mamba layers or short convolutions."""

from __future__ import annotations

from hfmem.model.forward_family import ExpertsFamily, Family

HYBRIDS: tuple[Family, ...] = (
    Family(
        model_types=("mamba2",),
        mixer_residents=4,
        recurrence="mamba2",
        flags=frozenset({"alone"}),
        source="models/mamba2/modeling_mamba2.py: mamba2_chunk_scan; the residual is fp32",
    ),
    Family(
        model_types=("mamba", "falcon_mamba"),
        mixer_residents=4,
        recurrence="mamba",
        flags=frozenset({"alone"}),
        source="models/mamba/modeling_mamba.py: mamba_selective_scan; the residual is fp32",
    ),
    Family(
        model_types=("bamba",),
        recurrence="bamba",
        source="models/bamba/modeling_bamba.py: mamba2_chunk_scan, BambaDecoderLayer",
    ),
    Family(
        model_types=("granitemoehybrid",),
        mlp="fused",
        logits_copies=2,
        experts=ExpertsFamily(),
        first_dense="shared_intermediate_size",
        recurrence="bamba",
        source="models/granitemoehybrid/modeling_granitemoehybrid.py: mamba2_chunk_scan, "
        "GraniteMoeHybridMLP",
    ),
    Family(
        model_types=("falcon_h1",),
        recurrence="bamba",
        flags=frozenset({"parallel_state"}),
        source="models/falcon_h1/modeling_falcon_h1.py: mamba2_chunk_scan, FalconH1DecoderLayer",
    ),
    Family(
        model_types=("zamba2",),
        mixer_residents=5,
        recurrence="zamba2",
        flags=frozenset({"parallel_state", "alone"}),
        source="models/zamba2/modeling_zamba2.py: mamba2_chunk_scan, Zamba2HybridLayer",
    ),
    Family(
        model_types=("jamba",),
        experts=ExpertsFamily(),
        recurrence="jamba",
        rotary="none",
        source="models/jamba/modeling_jamba.py: mamba_selective_scan, JambaSparseMoeBlock",
    ),
    Family(
        model_types=("lfm2",),
        qk_norm=True,
        recurrence="short_conv",
        flags=frozenset({"lfm2"}),
        source="models/lfm2/modeling_lfm2.py: Lfm2ShortConv, Lfm2MLP",
    ),
    Family(
        model_types=("lfm2_moe",),
        qk_norm=True,
        experts=ExpertsFamily(),
        recurrence="short_conv",
        source="models/lfm2_moe/modeling_lfm2_moe.py: Lfm2MoeShortConv, Lfm2MoeSparseMoeBlock",
    ),
    Family(
        model_types=("kimi_linear",),
        experts=ExpertsFamily(fp32_weights=True),
        recurrence="kimi_delta",
        rotary="none",
        source="models/kimi_linear/modeling_kimi_linear.py: chunk_kimi_delta_attention",
    ),
    Family(
        model_types=("olmo_hybrid",),
        rotary="fp32_tables",
        qk_norm=True,
        recurrence="delta",
        source="models/olmo_hybrid/modeling_olmo_hybrid.py: torch_chunk_gated_delta_rule",
    ),
    Family(
        model_types=("gemma3n_text",),
        mixer_residents=15,
        mlp_residents=20,
        after_residents=27,
        activation_copies=4,
        qk_norm=True,
        rope_tables=2,
        logits_copies=2,
        flags=frozenset({"gemma3n"}),
        source="models/gemma3n/modeling_gemma3n.py: Gemma3nTextDecoderLayer, Gemma3nTextAltUp",
    ),
)

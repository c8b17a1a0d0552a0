"""The rules of thumb that people use, beside the exact figures.

They are shown because people arrive with these numbers in their heads; none of them takes part in
an estimate. Each is applied as its authors wrote it, in their units.
"""

from __future__ import annotations

from msgspec import Struct

from hfmem.memory.estimate import MemoryEstimate
from hfmem.units import GB, GIB


class Rule(Struct, frozen=True, kw_only=True):
    """A popular rule, applied to this model."""

    id: str
    name: str
    formula: str
    """The rule with this model's numbers put in."""
    bytes: int | None
    """What it comes to; None for a rule that names no amount for this model."""
    exact_bytes: int | None
    """The figure that the rule stands for; None where this answer has none."""
    comment: str

    @property
    def ratio(self) -> float | None:
        """The rule over the exact figure: 2.0 is twice too much."""
        if self.bytes is None or not self.exact_bytes:
            return None
        return self.bytes / self.exact_bytes


class Facts(Struct, frozen=True, kw_only=True):
    """What the rules ask for."""

    parameters: int
    bits: int
    """Of a weight as loaded."""
    layers: int
    hidden_size: int
    kv_heads: int | None
    head_dim: int | None
    batch: int


def rules(facts: Facts, estimate: MemoryEstimate) -> tuple[Rule, ...]:
    """Every rule, in the order of its write-up.

    For 72 B parameters in 16 bits rule B1 says 144 GB, and 187 GB with 30 % activations.
    """
    peak = estimate.peak
    weights = peak.part("weights").bytes
    cache = peak.part("kv_cache").bytes
    activations = peak.part("activations").bytes
    total = peak.memory.bytes
    return (
        *_weights_and_more(facts, weights=weights, total=total),
        *_precisions(facts, weights=weights, total=total),
        *_cache_rules(
            facts,
            ctx=estimate.ctx,
            cache=cache,
            activations=activations,
            overhead=peak.part("overhead").bytes,
            total=total,
        ),
        *_training_sizes(facts),
        *_training_parts(facts, ctx=estimate.ctx),
        *_SAVERS,
    )


def _weights_and_more(facts: Facts, *, weights: int, total: int) -> tuple[Rule, ...]:
    """Weights in one precision, and shares of them for all else."""
    p, bits = facts.parameters, facts.bits
    plain = p * bits // 8
    return (
        Rule(
            id="A1",
            name="weights",
            formula=f"P × bits/8 = {p:,} × {bits}/8; its GB is 2^30",
            bytes=plain,
            exact_bytes=weights,
            comment="right for one type everywhere; packed types carry scales",
        ),
        Rule(
            id="A2",
            name="activations",
            formula="30 to 50 % of the weights (40 % here)",
            bytes=plain * 40 // 100,
            exact_bytes=total - weights,
            comment="activations grow with the prompt, not with the weights; compared with all "
            "that is not weights",
        ),
        Rule(
            id="B1",
            name="weights and activations",
            formula=f"P × 2 B + 30 % = {p / 1e9:.1f}e9 × 2 × 1.3",
            bytes=p * 26 // 10,
            exact_bytes=total,
            comment="20 to 30 % on top, whatever the context",
        ),
    )


def _precisions(facts: Facts, *, weights: int, total: int) -> tuple[Rule, ...]:
    """Gigabytes by billions of parameters and precision."""
    p, bits = facts.parameters, facts.bits
    billions = p / 1e9
    return (
        Rule(
            id="B2",
            name="4-bit weights",
            formula=f"2, 1 or 0.5 B a parameter in FP16, INT8, 4 bits = {2 * billions:.1f}, "
            f"{billions:.1f}, {billions / 2:.1f} GB (4 bits here)",
            bytes=p // 2,
            exact_bytes=None,
            comment="leaves out scales and what no loader quantizes; see the precision ladder",
        ),
        Rule(
            id="D1",
            name="weights by precision",
            formula=f"N × 4, 2, 1 or 0.5 GB in FP32, 16 bits, INT8, INT4, N in billions = "
            f"{billions:.1f} ({bits / 8:g} here)",
            bytes=int(billions * bits / 8 * GB),
            exact_bytes=weights,
            comment="decimal GB",
        ),
        Rule(
            id="D2",
            name="with overhead",
            formula=f"N × bits/8 × (1 + O), O = 0.1…0.3 (0.2 here), N = {billions:.1f}",
            bytes=int(billions * bits / 8 * 1.2 * GB),
            exact_bytes=total,
            comment="overhead is added, it does not multiply",
        ),
        Rule(
            id="E1",
            name="2 GB per billion",
            formula=f"2 GB × {billions:.1f} in 16 bits, 0.5 to 2 GB when quantized",
            bytes=int(2 * billions * GB),
            exact_bytes=weights,
            comment="16-bit weights only",
        ),
    )


def _cache_rules(
    facts: Facts, *, ctx: int, cache: int, activations: int, overhead: int, total: int
) -> tuple[Rule, ...]:
    layers, hidden, batch, bits = facts.layers, facts.hidden_size, facts.batch, facts.bits
    step = layers * batch * ctx * hidden * bits // 8
    heads = None
    if facts.kv_heads is not None and facts.head_dim is not None:
        heads = ctx * layers * facts.kv_heads * facts.head_dim * 2 * 2 * batch
    return (
        Rule(
            id="C1",
            name="total",
            formula="M = m + a + k + o",
            bytes=None,
            exact_bytes=total,
            comment="right; C2 to C5 are its parts",
        ),
        Rule(
            id="C2",
            name="weights",
            formula=f"p·t/8 = {facts.parameters:,}·{bits}/8",
            bytes=facts.parameters * bits // 8,
            exact_bytes=total - cache - activations - overhead,
            comment="as A1",
        ),
        Rule(
            id="C3",
            name="activations",
            formula=f"l·b·s·h·t/8 = {layers}·{batch}·{ctx}·{hidden}·{bits}/8",
            bytes=step,
            exact_bytes=activations,
            comment="counts every layer; inference keeps one layer's at a time",
        ),
        Rule(
            id="C4",
            name="KV cache",
            formula=f"2·b·s·l·h·t/8 = 2·{batch}·{ctx}·{layers}·{hidden}·{bits}/8",
            bytes=2 * step,
            exact_bytes=cache,
            comment="takes the hidden size for the KV heads: no GQA, no MLA, no window, no state",
        ),
        Rule(
            id="C5",
            name="total",
            formula=f"t(p + 3·l·b·s·h)/8 + 2e9 = {bits}({facts.parameters:,} + "
            f"3·{layers}·{batch}·{ctx}·{hidden})/8 + 2e9; 5e9 on macOS",
            bytes=facts.parameters * bits // 8 + 3 * step + 2 * GB,
            exact_bytes=total,
            comment="C2 + C3 + C4 and a fixed overhead",
        ),
        Rule(
            id="D3",
            name="KV cache",
            formula=f"ctx·layers·kv_heads·head_dim·2·2·users = {ctx}·{layers}·"
            f"{facts.kv_heads}·{facts.head_dim}·2·2·{batch}",
            bytes=heads,
            exact_bytes=cache,
            comment="right where every layer is full attention in 16 bits",
        ),
    )


def _training_sizes(facts: Facts) -> tuple[Rule, ...]:
    """What training takes as a whole, by the size of the model."""
    p = facts.parameters
    return (
        Rule(
            id="A4",
            name="hardware floor of a 7B model",
            formula="FP16 inference ≥ 24 GB, INT8 and INT4 ≤ 10 GB; training 80 GB and more in "
            "FP32, 40 to 60 GB in 16 bits (FP16 inference here)",
            bytes=24 * GIB if 6e9 <= p <= 8.5e9 else None,
            exact_bytes=None,
            comment="13 to 16 GB of weights and a short context run on a 16 to 24 GB card",
        ),
        Rule(
            id="A3",
            name="training",
            formula="activations 2 to 3 ×, optimizer states 2 to 3 × the parameters",
            bytes=None,
            exact_bytes=None,
            comment="AdamW in mixed precision keeps 12 B a parameter beside weights and gradients",
        ),
        Rule(
            id="D4",
            name="training",
            formula="Adam up to 8 ×, AdaFactor and Lion about 2 ×, gradients 1 ×, buffers 1.2 to "
            "1.5 × the weights, activations by batch",
            bytes=None,
            exact_bytes=None,
            comment="moments and master weights are 6 × the 16-bit weights",
        ),
    )


def _training_parts(facts: Facts, *, ctx: int) -> tuple[Rule, ...]:
    """States, activations, adapters and the batch, one by one."""
    p = facts.parameters
    return (
        Rule(
            id="E2",
            name="training, AdamW",
            formula=f"16 B × {p:,}: 2 + 4 of weights, 8 of AdamW, 2 of gradients",
            bytes=16 * p,
            exact_bytes=None,
            comment="states only; activations and logits come on top",
        ),
        Rule(
            id="E3",
            name="training activations",
            formula=f"layers·hidden·sequence·batch = {facts.layers}·{facts.hidden_size}·{ctx}·"
            f"{facts.batch}, 2 B each; the square root with checkpointing, linear with flash "
            "attention",
            bytes=2 * facts.layers * facts.hidden_size * ctx * facts.batch,
            exact_bytes=None,
            comment="what full checkpointing keeps; without it a layer saves about 34 to 49 times "
            "its hidden size in bytes a token (arXiv:2205.05198)",
        ),
        Rule(
            id="E4",
            name="LoRA adapters",
            formula=f"1 % of the parameters by rank and targets = {p // 100:,}, 16 B each; QLoRA "
            "4 × less for the weights",
            bytes=16 * (p // 100),
            exact_bytes=None,
            comment="depends on rank and targets",
        ),
        Rule(
            id="E5",
            name="effective batch",
            formula="batch × gradient accumulation",
            bytes=None,
            exact_bytes=None,
            comment="right: only the micro-batch costs memory",
        ),
    )


_SAVERS = (
    Rule(
        id="B3",
        name="ways to make it fit",
        formula="INT8, 4-bit, offload, activation checkpointing, parallelism, sparse attention",
        bytes=None,
        exact_bytes=None,
        comment="checkpointing saves nothing in inference: nothing is kept for a backward pass",
    ),
    Rule(
        id="D6",
        name="memory savers",
        formula="gradient checkpointing, flash and multi-query attention, pipeline, tensor "
        "parallelism, ZeRO, paged KV, group-wise, mixed and vector quantization",
        bytes=None,
        exact_bytes=None,
        comment="the heads of the cache are the model's own; --attention shows the rest",
    ),
    Rule(
        id="D5",
        name="speed",
        formula="< 10 tok/s painful, 10 to 20 acceptable, 20 and more smooth; bandwidth and "
        "tensor cores decide, not VRAM alone",
        bytes=None,
        exact_bytes=None,
        comment="reading speed, not memory",
    ),
)
"""Ways to make it fit, and how fast it should be."""

"""Worked peaks, each number derived by hand from the modeling file that its row names."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hfmem.memory.activations import Peak, decode_activations, prefill_activations
from hfmem.memory.feed_forward_activations import mlp_elements
from hfmem.model.config import read
from hfmem.model.forward import default_attention, forward_pass
from hfmem.model.forward_shapes import ForwardPass
from hfmem.model.layers import (
    FullAttention,
    LatentAttention,
    Layer,
    NoCache,
    RecurrentState,
    SharedCache,
    SlidingWindow,
)


def full(kv_heads: int, head_dim: int) -> Layer:
    return (FullAttention(kv_heads=kv_heads, head_dim=head_dim, v_head_dim=head_dim),)


def sliding(kv_heads: int, head_dim: int, window: int) -> Layer:
    kind = SlidingWindow(kv_heads=kv_heads, head_dim=head_dim, v_head_dim=head_dim, window=window)
    return (kind,)


def described(layers: tuple[Layer, ...], **keys: Any) -> ForwardPass:
    forward = forward_pass(read(keys), layers)
    assert forward is not None
    return forward


LLAMA_8B = described(
    (full(8, 128),) * 32,
    model_type="llama",
    hidden_size=4096,
    intermediate_size=14336,
    num_attention_heads=32,
    num_key_value_heads=8,
    head_dim=128,
    vocab_size=128256,
    hidden_act="silu",
)
GEMMA_27B = described(
    ((*(sliding(16, 128, 1024),) * 5, full(16, 128)) * 11)[:62],
    model_type="gemma3_text",
    hidden_size=5376,
    intermediate_size=21504,
    num_attention_heads=32,
    num_key_value_heads=16,
    head_dim=128,
    vocab_size=262208,
    hidden_activation="gelu_pytorch_tanh",
)
QWEN_30B_A3B = described(
    (full(4, 128),) * 48,
    model_type="qwen3_moe",
    hidden_size=2048,
    intermediate_size=6144,
    moe_intermediate_size=768,
    num_attention_heads=32,
    num_key_value_heads=4,
    head_dim=128,
    num_experts=128,
    num_experts_per_tok=8,
    decoder_sparse_step=1,
    mlp_only_layers=[],
    vocab_size=151936,
    hidden_act="silu",
)
DEEPSEEK_V3 = described(
    ((LatentAttention(rank=512, rope_dim=64, heads=128),),) * 61,
    model_type="deepseek_v3",
    hidden_size=7168,
    intermediate_size=18432,
    moe_intermediate_size=2048,
    num_attention_heads=128,
    qk_nope_head_dim=128,
    qk_rope_head_dim=64,
    v_head_dim=128,
    n_routed_experts=256,
    num_experts_per_tok=8,
    n_shared_experts=1,
    first_k_dense_replace=3,
    vocab_size=129280,
    hidden_act="silu",
)
GPT_NEOX_20B = described(
    (full(64, 96),) * 44,
    model_type="gpt_neox",
    hidden_size=6144,
    intermediate_size=24576,
    num_attention_heads=64,
    vocab_size=50432,
    rotary_pct=0.25,
    hidden_act="gelu_fast",
)
QWEN_NEXT = described(
    (
        *(
            (
                RecurrentState(
                    conv_elements=8192 * 4,
                    state_elements=32 * 128 * 128,
                    conv_dtype=None,
                    state_dtype="F32",
                ),
            ),
        )
        * 3,
        full(2, 256),
    )
    * 12,
    model_type="qwen3_next",
    hidden_size=2048,
    intermediate_size=5120,
    num_attention_heads=16,
    num_key_value_heads=2,
    head_dim=256,
    linear_num_key_heads=16,
    linear_num_value_heads=32,
    linear_key_head_dim=128,
    linear_value_head_dim=128,
    num_experts=512,
    num_experts_per_tok=10,
    moe_intermediate_size=512,
    shared_expert_intermediate_size=512,
    decoder_sparse_step=1,
    mlp_only_layers=[],
    vocab_size=151936,
    hidden_act="silu",
)
ALL = (LLAMA_8B, GEMMA_27B, QWEN_30B_A3B, DEEPSEEK_V3, GPT_NEOX_20B, QWEN_NEXT)


def size(peak: Peak, name: str) -> int:
    return sum(part.bytes for part in peak.parts if part.name == name)


@pytest.mark.parametrize(
    ("forward", "tokens", "instant", "part", "expected"),
    [
        # modeling_llama.py: embeddings, layer input, sum, normed sum; silu(gate), up, product
        (LLAMA_8B, 8192, "mlp", "residual stream", 268_435_456),
        (LLAMA_8B, 8192, "mlp", "mlp intermediate", 704_643_072),
        # LlamaRotaryEmbedding: cosine and sine of 128 dimensions, for one row of positions
        (LLAMA_8B, 8192, "mlp", "rope tables", 4_194_304),
        # activations.py: FastGELUActivation holds five tensors of the MLP's width
        (GPT_NEOX_20B, 2048, "mlp", "mlp intermediate", 5 * 24_576 * 2048 * 2),
        # modeling_gpt_neox.py: embeddings, layer input, attention output, normed input
        (GPT_NEOX_20B, 2048, "mlp", "residual stream", 4 * 6_144 * 2048 * 2),
        # cache_utils.py: 52 sliding layers keep 1,023 of 8,192 tokens; 2 x 16 x 128 elements each
        (GEMMA_27B, 8192, "mlp", "prompt cache", 52 * 7_169 * 4_096 * 2),
        # masking_utils.py: one boolean mask for the window
        (GEMMA_27B, 8192, "mlp", "attention mask", 8192 * 8192),
        # integrations/moe.py: 8 copies of each token; weighted, and put in order again
        (QWEN_30B_A3B, 8192, "experts combine", "expert dispatch", 8192 * 8 * 2048 * 2),
        (QWEN_30B_A3B, 8192, "experts combine", "expert output", 8192 * 8 * 2048 * 2),
        (QWEN_30B_A3B, 8192, "experts combine", "weighted output", 8192 * 8 * 2 * 2048 * 2),
        # modeling_qwen3_next.py: ten fp32 tensors of 32 heads of 128, three of chunks of 64
        (QWEN_NEXT, 8192, "recurrence", "scan values", 8192 * 5 * 4096 * 4),
        (QWEN_NEXT, 8192, "recurrence", "scan keys", 8192 * 5 * 4096 * 4),
        (QWEN_NEXT, 8192, "recurrence", "scan matrices", 8192 * 3 * 32 * 64 * 4),
    ],
)
def test_prefill_part(
    forward: ForwardPass, tokens: int, instant: str, part: str, expected: int
) -> None:
    peak = prefill_activations(forward, tokens=tokens)
    assert peak.instant == instant
    assert size(peak, part) == expected


def test_eager_attention_holds_ten_bytes_a_score_in_bf16() -> None:
    """modeling_llama.py: scores 2, fp32 copy 4, fp32 softmax 4; K and V repeated to 32 heads."""
    peak = prefill_activations(LLAMA_8B, tokens=1024, attention="eager")
    assert peak.instant == "attention"
    assert size(peak, "attention scores") == 32 * 1024 * 1024 * 10
    assert size(peak, "repeated keys and values") == 1024 * 32 * 256 * 2
    assert size(peak, "attention mask") == 1024 * 1024 * 2


def test_full_logits_are_the_peak_of_a_small_model() -> None:
    """modeling_llama.py: lm_head over all rows, while the last hidden state lives."""
    peak = prefill_activations(LLAMA_8B, tokens=8192, logits_rows=8192)
    assert peak.instant == "logits"
    assert size(peak, "logits") == 2_101_346_304
    assert size(peak, "residual stream") == 67_108_864


def test_a_value_narrower_than_the_key_is_fused_on_cuda_and_not_on_a_cpu() -> None:
    """sdp_utils.cpp: check_head_dim_size_mem_efficient; sdp_utils_cpp.cpp: check_head_dim_size_cpp.

    With scores out of the way DeepSeek-V3 peaks in its experts: weights of the router are fp32.
    """
    cpu = prefill_activations(DEEPSEEK_V3, tokens=2048, device="cpu")
    assert cpu.instant == "attention"
    assert size(cpu, "attention scores") == 128 * 2048 * 2048 * 9
    cuda = prefill_activations(DEEPSEEK_V3, tokens=2048, device="cuda")
    assert cuda.instant == "experts combine"
    assert size(cuda, "weighted output") == 2048 * 8 * 2 * 7168 * 4


def test_latent_decode_expands_the_whole_context() -> None:
    """modeling_deepseek_v3.py: expand_kv, 128 heads of 256 from kv_b_proj and of 192 keys."""
    peak = decode_activations(DEEPSEEK_V3, context=8192)
    assert peak.instant == "attention"
    assert size(peak, "expanded keys and values") == 8192 * 128 * (256 + 192) * 2
    assert peak.cache_bytes == 575_668_224


def test_decode_concatenates_one_layer_at_a_time() -> None:
    """cache_utils.py: DynamicLayer.update; 8 heads of 128."""
    peak = decode_activations(LLAMA_8B, context=8192)
    assert peak.instant == "cache concatenation"
    assert size(peak, "cache concatenation") == 16_777_216
    assert peak.cache_bytes == 32 * 8192 * 2048 * 2


def test_a_recurrent_layer_changes_its_state_in_three_copies() -> None:
    """modeling_qwen3_next.py: torch_recurrent_gated_delta_rule; 32 heads of 128 x 128, fp32."""
    peak = decode_activations(QWEN_NEXT, context=64)
    assert peak.instant == "recurrence"
    assert size(peak, "recurrent state") == 3 * 32 * 128 * 128 * 4


def test_gemma_holds_the_prompt_until_the_step_after_it() -> None:
    first = decode_activations(GEMMA_27B, context=8193)
    later = decode_activations(GEMMA_27B, context=8193, first_step=False)
    assert size(first, "prompt cache") > 0
    assert size(later, "prompt cache") == 0


def test_layers_without_a_cache_run_for_the_logits_rows_only() -> None:
    """modeling_gemma4.py: _maybe_slice_kv_shared_inputs; the second half is twice as wide."""
    forward = described(
        (*(sliding(1, 256, 512),) * 2, full(1, 512), *((SharedCache(of_layer=2),),) * 3),
        model_type="gemma4_text",
        hidden_size=1536,
        intermediate_size=6144,
        num_attention_heads=8,
        num_key_value_heads=1,
        head_dim=256,
        global_head_dim=512,
        sliding_window=512,
        layer_types=["sliding_attention"] * 2 + ["full_attention"] * 4,
        use_double_wide_mlp=True,
        hidden_size_per_layer_input=0,
        vocab_size=262144,
        hidden_activation="gelu_pytorch_tanh",
    )
    last = prefill_activations(forward, tokens=2048)
    assert size(last, "mlp intermediate") == 2048 * 3 * 6144 * 2
    every = prefill_activations(forward, tokens=2048, logits_rows=2048)
    assert every.total_bytes > last.total_bytes


@pytest.mark.parametrize(
    ("form", "copies", "expected"),
    [
        ("gated", 2, 3 * 704),  # modeling_llama.py: LlamaMLP
        ("gated", 4, 4 * 704),  # the same with activations.py: NewGELUActivation
        ("fused", 2, 4 * 704),  # modeling_phi3.py: Phi3MLP, both halves are views of one projection
        ("plain", 2, 2 * 704),  # modeling_starcoder2.py: Starcoder2MLP
        ("plain", 1, 704 + 192),  # linear: the projection and the output
    ],
)
def test_mlp_elements(form: Any, copies: int, expected: int) -> None:
    assert mlp_elements(width=704, form=form, copies=copies, hidden=192) == expected


@pytest.mark.parametrize(
    ("model_type", "expected"),
    [
        ("llama", "sdpa"),
        ("gemma2", "eager"),  # modeling_gemma2.py: _supports_sdpa = False, for its soft-capping
        ("gpt_oss", "eager"),  # modeling_gpt_oss.py: _supports_sdpa = False, for its sinks
        (None, "sdpa"),
    ],
)
def test_default_attention(model_type: str | None, expected: str) -> None:
    assert default_attention(model_type) == expected


@pytest.mark.parametrize(
    ("model_type", "layers"),
    [
        ("chatglm", (full(2, 128),)),  # remote code: nothing is described
        ("llama", ((NoCache(),),)),  # no such layer in this family's code
        ("llama", ()),
        (None, (full(2, 128),)),
    ],
)
def test_what_is_not_described_has_no_forward_pass(
    model_type: str | None, layers: tuple[Layer, ...]
) -> None:
    keys = {"model_type": model_type, "hidden_size": 64, "num_attention_heads": 4}
    keys |= {"intermediate_size": 128, "vocab_size": 100, "hidden_act": "silu"}
    assert forward_pass(read(keys), layers) is None


def test_work_does_not_grow_with_the_layers() -> None:
    assert len(LLAMA_8B.kinds) == 1
    assert [kind.count for kind in GEMMA_27B.kinds] == [52, 10]
    assert GEMMA_27B.kinds[0].filled == (52, 10)
    assert GEMMA_27B.kinds[1].filled == (50, 10)
    assert GEMMA_27B.kinds[1].before == (5, 0)


forwards = st.sampled_from(ALL)
lengths = st.integers(min_value=2, max_value=40_000)
batches = st.integers(min_value=1, max_value=16)
attentions = st.sampled_from(["sdpa", "flash", "eager"])
devices = st.sampled_from(["cuda", "cpu"])


@given(forward=forwards, tokens=lengths, batch=batches, attention=attentions, device=devices)
def test_more_tokens_or_sequences_never_hold_less(
    forward: ForwardPass, tokens: int, batch: int, attention: Any, device: Any
) -> None:
    for peak in (prefill_activations, _decode):
        held = peak(forward, tokens=tokens, batch=batch, attention=attention, device=device)
        longer = peak(forward, tokens=tokens + 1, batch=batch, attention=attention, device=device)
        wider = peak(forward, tokens=tokens, batch=batch + 1, attention=attention, device=device)
        assert longer.total_bytes >= held.total_bytes
        assert wider.total_bytes > held.total_bytes


def _decode(forward: ForwardPass, *, tokens: int, **keys: Any) -> Peak:
    return decode_activations(forward, context=tokens, first_step=False, **keys)


@given(forward=forwards, tokens=lengths, batch=batches)
def test_attention_that_keeps_scores_holds_no_less(
    forward: ForwardPass, tokens: int, batch: int
) -> None:
    flash, sdpa, eager = (
        prefill_activations(forward, tokens=tokens, batch=batch, attention=attention)
        for attention in ("flash", "sdpa", "eager")
    )
    assert flash.total_bytes <= sdpa.total_bytes <= eager.total_bytes


@given(forward=forwards, tokens=lengths, batch=batches, width=st.sampled_from([2, 4]))
def test_parts_are_positive_and_named_once(
    forward: ForwardPass, tokens: int, batch: int, width: int
) -> None:
    peak = prefill_activations(forward, tokens=tokens, batch=batch, dtype_bytes=width)
    assert all(part.bytes > 0 and part.because for part in peak.parts)
    assert peak.total_bytes == peak.cache_bytes + sum(part.bytes for part in peak.parts)


@given(tokens=lengths, batch=batches)
def test_fused_recurrence_holds_no_more(tokens: int, batch: int) -> None:
    torch_path = prefill_activations(QWEN_NEXT, tokens=tokens, batch=batch)
    fused = prefill_activations(QWEN_NEXT, tokens=tokens, batch=batch, fused_recurrence=True)
    assert fused.total_bytes <= torch_path.total_bytes


@given(forward=forwards, tokens=lengths, rows=st.integers(min_value=1, max_value=40_000))
def test_more_logits_never_hold_less(forward: ForwardPass, tokens: int, rows: int) -> None:
    last = prefill_activations(forward, tokens=tokens)
    more = prefill_activations(forward, tokens=tokens, logits_rows=min(rows, tokens))
    assert more.total_bytes >= last.total_bytes

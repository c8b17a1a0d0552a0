"""SGLang's pools: bytes of a token, recurrent states, and the shares that they are given.

Read from SGLang 0.5.23: srt/model_executor/pool_configurator.py and
srt/mem_cache/kv_cache_configurator.py.
"""

from __future__ import annotations

from fractions import Fraction

from msgspec import Struct

from hfmem.dtypes import BITS
from hfmem.memory.term import Term, total
from hfmem.model.layers import (
    CacheKind,
    ChunkedAttention,
    CompressedAttention,
    CrossAttention,
    FullAttention,
    LatentAttention,
    NoCache,
    RecurrentState,
    SharedCache,
    SlidingWindow,
)
from hfmem.model.model import Model
from hfmem.runtimes.sglang_settings import Settings

_INDEXER_BLOCK = 128


class Cells(Struct, frozen=True, kw_only=True):
    """Bytes of one token in the pools of a rank, and of one sequence's recurrent state."""

    full: int
    sliding: int
    """Summed over the sliding layers; in the full pool's tokens they weigh the ratio."""
    window: int
    state: int

    def token(self, ratio: Fraction) -> Fraction:
        """Bytes of a token of the pool: full layers, and the ratio's share of sliding ones."""
        if not self.full:
            return Fraction(self.sliding)
        return self.full + ratio * self.sliding


def cells(model: Model, chosen: Settings, layers: range) -> Cells | None:
    """Sums over a rank's layers; None for a layout that is not described.

    Llama-3.1-8B in bf16: 131,072 bytes a token; gpt-oss-120b 36,864 in 18 full layers and as many
    in sliding ones.
    """
    full = sliding = state = window = 0
    for number in layers:
        for kind in model.decoder.layers[number]:
            match kind:
                case FullAttention() | SlidingWindow() | ChunkedAttention():
                    size = _attention(kind, chosen)
                    if isinstance(kind, FullAttention) or not chosen.hybrid_swa:
                        full += size
                    else:
                        sliding += size
                        window = kind.window if isinstance(kind, SlidingWindow) else kind.chunk
                case LatentAttention():
                    full += _latent(kind, chosen)
                case RecurrentState():
                    state += _state(kind, chosen)
                case CompressedAttention() | CrossAttention():
                    return None
                case SharedCache() | NoCache():
                    pass
    return Cells(full=full, sliding=sliding, window=window, state=state)


def _element_bits(chosen: Settings) -> int:
    match chosen.kv_dtype:
        case "auto":
            return BITS[chosen.dtype]
        case "fp8_e4m3" | "fp8_e5m2" | "mxfp8":
            return 8
        case _:
            return 16


def _attention(kind: CacheKind, chosen: Settings) -> int:
    match kind:
        case FullAttention() | SlidingWindow() | ChunkedAttention():
            heads = max(1, kind.kv_heads // chosen.tp)
            elements = heads * (kind.head_dim + kind.v_head_dim)
            size = elements * _element_bits(chosen) // 8
            return size + (elements // 32 if chosen.kv_dtype == "mxfp8" else 0)
        case _:
            return 0


def _latent(kind: LatentAttention, chosen: Settings) -> int:
    """rank + rope elements on every rank; with an indexer 656 bytes in fp8 and 132 of its keys
    (calculate_mla_kv_cache_dim, _compute_dsa_indexer_cell_size)."""
    bits = _element_bits(chosen)
    size = (kind.rank + kind.rope_dim) * bits // 8
    if not kind.indexer_dim:
        return size
    if bits == 8:
        size = kind.rank + kind.rank // _INDEXER_BLOCK * 4 + 2 * kind.rope_dim
    return size + kind.indexer_dim + kind.indexer_dim // _INDEXER_BLOCK * 4


def _state(kind: RecurrentState, chosen: Settings) -> int:
    """The convolution in bf16 without its newest column, the state in float32 by default
    (configs/mamba_utils.py: mamba2_state_dtype); both divided by the tensor parallel size."""
    conv = kind.conv_elements
    if kind.conv_kernel > 1:
        conv = conv // kind.conv_kernel * (kind.conv_kernel - 1)
    size = 2 * conv + kind.state_elements * BITS[chosen.state_dtype] // 8
    return -(-size // chosen.tp)


def claim(size: Cells, chosen: Settings, *, sequences: int, tokens: int) -> Term:
    """The least pools that hold the sequences, in the shares that SGLang gives them.

    Full and sliding pools keep the ratio 1 : 0.8 whatever the window; recurrent state gets 0.9 of
    what the tokens get, so the larger need decides (kv_cache_configurator.py:
    _handle_max_mamba_cache, pool_configurator.py: _solve_pool_sizes).
    """
    ratio = chosen.swa_ratio
    pool_tokens = sequences * tokens
    if size.sliding and size.full:
        held = max(sequences * min(tokens, size.window), size.window + 2)
        pool_tokens = max(pool_tokens, int(-(-held // ratio)))
    cached = int(pool_tokens * size.token(ratio))
    parts = [
        Term(
            name="tokens",
            bytes=cached,
            basis="exact",
            because=f"{pool_tokens:,} tokens × {float(size.token(ratio)):,.0f} bytes"
            + (f", sliding layers at {float(ratio):g}" if size.sliding and size.full else ""),
        )
    ]
    if size.state:
        slots = sequences * chosen.state_slots
        states = (slots + 2) * size.state
        share = chosen.mamba_ratio
        parts.append(
            Term(
                name="recurrent",
                bytes=states,
                basis="exact",
                because=f"({sequences} sequences × {chosen.state_slots} slots + 2) × "
                f"{size.state:,} bytes",
            )
        )
        whole = max(int(states * (1 + share) / share), int(cached * (1 + share)))
        parts.append(
            Term(
                name="unused share",
                bytes=whole - states - cached,
                basis="exact",
                because=f"state and tokens share the pool {float(share):g} : 1",
            )
        )
    return total("kv_cache", parts, because="pools of SGLang 0.5.23")

"""The union of cache kinds is closed, hashable, and every kind has a stable name."""

from __future__ import annotations

from typing import get_args

import pytest

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
    kind_name,
)

NAMES = [
    (FullAttention(kv_heads=8, head_dim=128, v_head_dim=128), "full"),
    (SlidingWindow(kv_heads=8, head_dim=128, v_head_dim=128, window=4), "sliding"),
    (ChunkedAttention(kv_heads=8, head_dim=128, v_head_dim=128, chunk=4), "chunked"),
    (LatentAttention(rank=512, rope_dim=64, heads=128), "latent"),
    (CompressedAttention(head_dim=512, window=128, ratio=4), "compressed"),
    (
        RecurrentState(conv_elements=1, state_elements=1, conv_dtype=None, state_dtype="F32"),
        "recurrent",
    ),
    (CrossAttention(kv_heads=8, head_dim=64, v_head_dim=64, source_tokens=None), "cross"),
    (SharedCache(of_layer=3), "shared"),
    (NoCache(), "none"),
]


@pytest.mark.parametrize(("kind", "name"), NAMES, ids=[name for _kind, name in NAMES])
def test_names(kind: CacheKind, name: str) -> None:
    assert kind_name(kind) == name
    assert len({kind, kind}) == 1


def test_every_kind_has_a_name() -> None:
    assert {type(kind) for kind, _name in NAMES} == set(get_args(CacheKind))


def test_a_kind_does_not_change() -> None:
    with pytest.raises(AttributeError, match="immutable"):
        setattr(NAMES[0][0], "kv_heads", 1)  # noqa: B010 the plain assignment is a type error

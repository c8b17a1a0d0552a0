"""From a GGUF file's header to a model and its answer."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from hfmem.answer import answer
from hfmem.checkpoint.gguf import parse_header
from hfmem.checkpoint.gguf_set import joined
from hfmem.checkpoint.snapshot import GGUF_DOCUMENT, Checkpoint, RepoFile, Snapshot
from hfmem.checkpoint.tensor import runs
from hfmem.errors import HfmemError, UnsupportedArchitectureError
from hfmem.memory.workload import Workload
from hfmem.model.describe import describe
from hfmem.question import question
from hfmem.report.json import dumps, result
from tests.gguf_files import Value, gguf, llama
from tests.loopback import Sparse


def snapshot(file: Sparse, *names: str) -> Snapshot:
    header = parse_header(file.head, file="m-Q4_K_M.gguf", file_bytes=file.size)
    files, keys = joined([("m-Q4_K_M.gguf", header)], component="")
    return Snapshot(
        model="org/m",
        revision=None,
        source="hub",
        config=None,
        documents={GGUF_DOCUMENT: keys},
        files=tuple(RepoFile(name=name, bytes=file.size) for name in ("m-Q4_K_M.gguf", *names)),
        checkpoint=Checkpoint(
            files=("m-Q4_K_M.gguf",), tensors=runs(files[0].header.tensors), metadata={}
        ),
    )


def tensors(
    kind: str, *, layers: int = 32, tied: bool = False
) -> dict[str, tuple[str, tuple[int, ...]]]:
    """Those of a Llama-3.1-8B, all matrices of one type."""
    found: dict[str, tuple[str, tuple[int, ...]]] = {
        "token_embd.weight": (kind, (128256, 4096)),
        "rope_freqs.weight": ("F32", (64,)),
        "output_norm.weight": ("F32", (4096,)),
    }
    if not tied:
        found["output.weight"] = (kind, (128256, 4096))
    for layer in range(layers):
        for name, shape in (
            ("attn_q", (4096, 4096)),
            ("attn_k", (1024, 4096)),
            ("attn_v", (1024, 4096)),
            ("attn_output", (4096, 4096)),
            ("ffn_gate", (14336, 4096)),
            ("ffn_up", (14336, 4096)),
            ("ffn_down", (4096, 14336)),
        ):
            found[f"blk.{layer}.{name}.weight"] = (kind, shape)
        for name in ("attn_norm", "ffn_norm"):
            found[f"blk.{layer}.{name}.weight"] = ("F32", (4096,))
    return found


KEYS: dict[str, Value] = llama() | {"tokenizer.ggml.tokens": ["x"] * 128}
NORMS = (2 * 32 + 1) * 4096


def test_llama() -> None:
    """Llama-3.1-8B has 8,030,261,248 parameters; Q8_0 is 34 bytes for 32 of the matrices'."""
    model = describe(snapshot(gguf(KEYS, tensors("Q8_0"))))
    assert model.parameters is not None
    assert model.parameters.total == 8_030_261_248 == model.parameters.active
    matrices = 8_030_261_248 - NORMS
    assert model.parameters.by_dtype == {"Q8_0": matrices, "F32": NORMS}
    assert model.checkpoint_bytes == matrices * 34 // 32 + 4 * (NORMS + 64)
    assert model.parameters.by_component.keys() == {"language", "embedding", "head"}
    decoder = model.decoder
    assert (decoder.hidden_size, decoder.attention_heads, decoder.kv_heads) == (4096, 32, 8)
    assert (decoder.head_dim, decoder.max_context, decoder.vocab_size) == (128, 131072, 128)
    assert (model.model_type, model.gguf_architecture) == ("llama", "llama")
    assert model.forward is not None


def test_a_tied_head_is_not_stored() -> None:
    model = describe(snapshot(gguf(KEYS, tensors("Q8_0", tied=True))))
    assert model.parameters is not None
    assert model.parameters.total == 8_030_261_248 - 128256 * 4096
    assert model.decoder.text.flag("tie_word_embeddings")


def test_the_draft_layer_is_apart() -> None:
    keys = KEYS | {"llama.block_count": 33, "llama.nextn_predict_layers": 1}
    model = describe(snapshot(gguf(keys, tensors("Q8_0", layers=33))))
    assert model.parameters is not None
    assert len(model.decoder.layers) == 32
    assert (
        model.parameters.by_component["draft"] == (8_030_261_248 - 2 * 128256 * 4096 - 4096) // 32
    )
    assert all(not weight.loaded for weight in model.weights or () if weight.component == "draft")


def test_experts() -> None:
    keys = KEYS | {"llama.expert_count": 8, "llama.expert_used_count": 2, "llama.block_count": 1}
    found = tensors("Q8_0", layers=1) | {
        f"blk.0.ffn_{name}_exps.weight": ("Q8_0", (8, 14336, 4096))
        for name in ("gate", "up", "down")
    }
    model = describe(snapshot(gguf(keys, found)))
    assert model.model_type == "mixtral"
    assert model.parameters is not None
    routed = 3 * 8 * 14336 * 4096
    assert model.parameters.by_component["experts"] == routed
    assert model.parameters.total is not None
    assert model.parameters.active == model.parameters.total - routed * 6 // 8


@pytest.mark.parametrize(
    ("dtype", "width"),
    # transformers 5.23 quantizers/quantizer_gguf.py: update_dtype takes torch's default, float32.
    [(None, 4), ("BF16", 2)],
)
def test_transformers_expands_it(dtype: str | None, width: int) -> None:
    found = answer(
        snapshot(gguf(KEYS, tensors("Q4_K"))),
        question(Workload(ctx=8192, batch=1, runtime="transformers", dtype=dtype)),
    )
    weights = found.memory.peak.part("weights").bytes
    assert weights == pytest.approx(8_030_261_248 * width, abs=64 * 4)
    # 32 layers × 2 × 8 heads × 128 × 8,192 tokens.
    assert found.memory.peak.part("kv_cache").bytes == 32 * 2 * 8 * 128 * 8192 * width
    assert not found.memory.unknown


def test_an_architecture_that_transformers_does_not_load() -> None:
    keys = {name.replace("llama", "olmo2"): value for name, value in KEYS.items()}
    found = answer(
        snapshot(gguf(keys | {"general.architecture": "olmo2"}, tensors("Q4_K"))),
        question(Workload(ctx=8192, batch=1, runtime="transformers")),
    )
    assert "not_for_transformers" in {note.code for note in found.notes}


def test_the_quantizations_beside_it() -> None:
    found = snapshot(gguf(KEYS, tensors("Q4_K")), "m-Q8_0.gguf", "mmproj-F16.gguf")
    element = result(answer(found, question(Workload(ctx=8192))))
    quantizations = element["quantizations"]
    assert isinstance(quantizations, list)
    assert [(one["name"], one["role"], one["chosen"]) for one in quantizations] == [
        ("Q4_K_M", "model", True),
        ("Q8_0", "model", False),
        ("mmproj-F16.gguf", "projector", False),
    ]


def test_an_unknown_architecture_tells_the_size() -> None:
    keys = {"general.architecture": "tomorrow", "tomorrow.block_count": 3}
    with pytest.raises(UnsupportedArchitectureError, match="tomorrow") as error:
        describe(snapshot(gguf(keys, {"a": ("F16", (2**30,))})))
    assert "The weights alone are 2.00 GiB." in error.value.hint


BASE = snapshot(gguf(KEYS, tensors("Q4_K", layers=2)))
numbers = st.sampled_from(
    [0, -1, 1, 2, 7, 10**9, 2**31, 2**53, 2**63, 10**30, 0.5, True, "x", None]
)
keys_of_llama = st.sampled_from([name for name in KEYS if name.startswith("llama.")])


@given(st.dictionaries(keys_of_llama, numbers | st.lists(numbers, max_size=4), max_size=3))
@settings(max_examples=60, deadline=None)
def test_hostile_keys(changes: dict[str, object]) -> None:
    document = dict(BASE.documents[GGUF_DOCUMENT]) | changes
    document = {key: value for key, value in document.items() if value is not None}
    hostile = replace(BASE, documents={GGUF_DOCUMENT: document})
    try:
        found = answer(hostile, question(Workload(ctx=128)))
    except HfmemError:
        return
    assert dumps(result(found))

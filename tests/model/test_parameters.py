"""Parameter counts, against the published ones."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hfmem.checkpoint.tensor import TensorRun, brace_count
from hfmem.model.components import split
from hfmem.model.config import read
from hfmem.model.parameters import Parameters, Routing, count_parameters, routing, stored_elements
from hfmem.source import recorded


def logical(run: TensorRun) -> int | None:
    """What the two packed formats among the bundled models stand for."""
    if run.name.endswith("_blocks"):
        return 2 * run.elements
    return 0 if run.name.endswith(("_scales", "weight_scale_inv")) else run.elements


def bundled(model: str) -> Parameters:
    found = recorded.bundled(model)
    assert found is not None
    assert found.config is not None
    assert found.checkpoint is not None
    config = read(found.config)
    return count_parameters(
        split(found.checkpoint.tensors, decoder_layers=config.integer_or_none("num_hidden_layers")),
        routing=routing(config),
        tied=config.flag("tie_word_embeddings"),
        logical=logical,
    )


@pytest.mark.parametrize(
    ("model", "total", "active"),
    [
        # The Hub's totals, and what the model cards call active.
        ("mistralai/Mixtral-8x7B-Instruct-v0.1", 46_702_792_704, 12_879_925_248),  # "12.9B"
        ("Qwen/Qwen3-30B-A3B", 30_532_122_624, 3_353_032_704),  # "3.3B activated"
        # "3.6B" without the embedding; 4 of 32 experts of 19,110,297,600 weights and their biases.
        ("openai/gpt-oss-20b", 20_914_757_184, 1_797_824_064 + 19_116_933_120 // 8),
        ("lmms-lab/LLaVA-Video-72B-Qwen2", 73_180_522_016, 73_180_522_016),
        ("google/gemma-3-27b-it", 27_432_406_640, 27_432_406_640),
    ],
)
def test_published_models(model: str, total: int, active: int) -> None:
    found = bundled(model)
    assert found.total == total == sum(found.by_component.values())
    assert sum(found.by_dtype.values()) == total
    assert found.active == active


def test_deepseek_v3() -> None:
    found = bundled("deepseek-ai/DeepSeek-V3")
    assert found.total is not None
    assert found.active is not None
    # The main model as its class counts it, 671,026,404,352, and 58 layers' 256 corrections.
    assert found.total - found.by_component["draft"] == 671_026_404_352 + 58 * 256
    assert found.by_component["embedding"] == found.by_component["head"] == 129_280 * 7168
    # The technical report says 37B active.
    assert found.active == pytest.approx(37e9, rel=0.02)
    # README_WEIGHTS.md: 11.5B unique parameters beside copies of the embedding and the head.
    assert found.by_component["draft"] - 2 * 129_280 * 7168 == pytest.approx(11.5e9, rel=0.02)
    assert found.by_dtype["F32"] == 59 * 256


def test_gpt_oss_by_the_publishers_count() -> None:
    found = bundled("openai/gpt-oss-20b")
    # huggingface.js counts BF16 1,804,459,584 and U8 19,110,297,600.
    assert found.by_dtype == {"BF16": 1_804_459_584, "U8": 19_110_297_600}
    assert found.active is not None
    # OpenAI's model card: 3.61 B active, the embedding left out.
    assert round((found.active - found.by_component["embedding"]) / 1e9, 2) == 3.61


def test_llava_by_component() -> None:
    assert bundled("lmms-lab/LLaVA-Video-72B-Qwen2").by_component == {
        "embedding": 152_064 * 8192,
        "language": 72_706_203_648 - 2 * 152_064 * 8192,  # Qwen2-72B's published total
        "head": 152_064 * 8192,
        "projector": 76_562_432 + 8192,  # two layers, and the row's end
        "vision": 397_747_744,  # SigLIP so400m, 26 layers
    }


def run(name: str, *shape: int, dtype: str = "BF16") -> TensorRun:
    return TensorRun(name=name, dtype=dtype, shape=shape, bytes=0, count=brace_count(name))


EMBEDDING = run("model.embed_tokens.weight", 100, 8)
HEAD = run("lm_head.weight", 100, 8)
PACKED = run("model.layers.{0..1}.mlp.up_proj.weight", 4, 8, dtype="U8")
BART_TABLES = (
    *(run(f"model.{part}.weight", 100, 8) for part in ("shared", "encoder.embed_tokens")),
    run("model.decoder.embed_tokens.weight", 100, 8),
    HEAD,
)
EXPERTS = run("model.layers.{0..1}.mlp.experts.{0..7}.up_proj.weight", 4, 8)


@pytest.mark.parametrize(
    ("tensors", "tied", "total"),
    [
        ((EMBEDDING, HEAD), False, 1600),
        ((EMBEDDING, HEAD), True, 800),
        # A resized head is no copy, whatever the flag says.
        ((EMBEDDING, run("lm_head.weight", 128, 8)), True, 800 + 1024),
        ((EMBEDDING, HEAD, run("lm_head.bias", 100)), True, 900),
        # T5 stores the shared embedding once or three times.
        ((run("shared.weight", 100, 8), run("encoder.embed_tokens.weight", 100, 8)), True, 800),
        # v1.1 says false and stores another head, which is kept beside the embedding.
        ((run("shared.weight", 100, 8), HEAD), False, 1600),
        # Loaded by BART, mBART, Pegasus, Marian, M2M-100: one table where tied, else four.
        (BART_TABLES, True, 800),
        (BART_TABLES, False, 3200),
        ((), False, 0),
    ],
)
def test_a_tied_tensor_counts_once(tensors: tuple[TensorRun, ...], tied: bool, total: int) -> None:
    assert count_parameters(split(tensors), routing=None, tied=tied).total == total


def test_an_unknown_packing_makes_the_total_unknown() -> None:
    def unknown(run: TensorRun) -> int | None:
        return None if run.dtype == "U8" else run.elements

    found = count_parameters(split((EMBEDDING, PACKED)), routing=None, tied=False, logical=unknown)
    assert (found.total, found.active) == (None, None)
    assert found.by_component == {"embedding": 800}


def test_experts_without_a_routing_leave_active_unknown() -> None:
    found = count_parameters(split((EMBEDDING, EXPERTS)), routing=None, tied=False)
    assert (found.total, found.active) == (800 + 16 * 32, None)


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({"model_type": "mixtral", "num_local_experts": 8, "num_experts_per_tok": 2}, (8, 2)),
        # DBRX keeps them in a section, DeepSeek and gpt-oss have names of their own.
        ({"ffn_config": {"moe_num_experts": 16, "moe_top_k": 4}}, (16, 4)),
        ({"n_routed_experts": 256, "num_experts_per_tok": 8}, (256, 8)),
        ({"text_config": {"num_experts": 128, "num_experts_per_tok": 8}}, (128, 8)),
        ({"num_experts": 128}, None),
        ({"num_experts": 4, "num_experts_per_tok": 8}, None),
        ({"num_experts": 0, "num_experts_per_tok": 0}, None),
        ({}, None),
    ],
)
def test_routing(config: dict[str, object], expected: tuple[int, int] | None) -> None:
    found = routing(read(config))
    assert (None if found is None else (found.experts, found.chosen)) == expected


@given(
    layers=st.integers(1, 8),
    experts=st.integers(1, 64),
    data=st.data(),
)
def test_active_is_whole_and_between_the_parts(
    layers: int, experts: int, data: st.DataObject
) -> None:
    chosen = data.draw(st.integers(1, experts))
    name = f"model.layers.{{0..{layers - 1}}}.mlp.experts.{{0..{experts - 1}}}.up_proj.weight"
    found = count_parameters(
        split((EMBEDDING, run(name, 4, 8))),
        routing=Routing(experts=experts, chosen=chosen),
        tied=False,
    )
    assert found.active == EMBEDDING.elements + layers * chosen * 32
    assert found.active is not None
    assert found.total is not None
    assert found.active <= found.total


def test_stored_elements_are_the_shapes_product() -> None:
    assert stored_elements(EMBEDDING) == 800
    assert stored_elements(run("scalar")) == 1


def test_a_norm_of_the_head_is_no_copy_of_the_embedding_s() -> None:
    """RoBERTa's head has a norm of 768, as its embedding has: 124,697,433 parameters with both."""
    shapes = {
        "roberta.embeddings.word_embeddings.weight": (50265, 768),
        "roberta.embeddings.LayerNorm.weight": (768,),
        "lm_head.layer_norm.weight": (768,),
        "lm_head.decoder.weight": (50265, 768),
    }
    tensors = tuple(
        TensorRun(name=name, dtype="F32", shape=shape, bytes=0, count=1)
        for name, shape in shapes.items()
    )
    found = count_parameters(split(tensors, decoder_layers=12), routing=None, tied=True)
    assert found.total == 50265 * 768 + 768 + 768

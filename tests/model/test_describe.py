"""From a snapshot to a model: types, tied heads, buffers, what is and is not loaded."""

from __future__ import annotations

from math import prod

import pytest
from msgspec.structs import replace

from hfmem.checkpoint.snapshot import Checkpoint, Note, Snapshot
from hfmem.checkpoint.tensor import TensorRun
from hfmem.errors import UnsupportedArchitectureError
from hfmem.model.describe import describe

LLAMA = {
    "model_type": "llama",
    "architectures": ["LlamaForCausalLM"],
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 100,
    "dtype": "bfloat16",
}


def run(name: str, *shape: int, dtype: str = "BF16", count: int = 1) -> TensorRun:
    width = {"BF16": 2, "F16": 2, "F32": 4, "U8": 1}[dtype]
    return TensorRun(name=name, dtype=dtype, shape=shape, bytes=width * prod(shape), count=count)


LAYER = (
    run("model.layers.{0..1}.self_attn.q_proj.weight", 64, 64, count=2),
    run("model.layers.{0..1}.self_attn.k_proj.weight", 32, 64, count=2),
    run("model.layers.{0..1}.self_attn.v_proj.weight", 32, 64, count=2),
    run("model.layers.{0..1}.self_attn.o_proj.weight", 64, 64, count=2),
    run("model.layers.{0..1}.mlp.gate_proj.weight", 128, 64, count=2),
    run("model.layers.{0..1}.mlp.up_proj.weight", 128, 64, count=2),
    run("model.layers.{0..1}.mlp.down_proj.weight", 64, 128, count=2),
    run("model.layers.{0..1}.input_layernorm.weight", 64, count=2),
    run("model.layers.{0..1}.post_attention_layernorm.weight", 64, count=2),
)
WHOLE = (
    run("model.embed_tokens.weight", 100, 64),
    *LAYER,
    run("model.norm.weight", 64),
    run("lm_head.weight", 100, 64),
)


def snapshot(
    config: dict[str, object] | None, tensors: tuple[TensorRun, ...] | None = WHOLE
) -> Snapshot:
    checkpoint = None if tensors is None else Checkpoint(files=("m",), tensors=tensors, metadata={})
    return Snapshot(
        model="org/model",
        revision=None,
        source="local",
        config=config,
        documents={},
        files=(),
        checkpoint=checkpoint,
    )


@pytest.mark.parametrize(
    ("config", "tensors", "dtype"),
    [
        (LLAMA, WHOLE, "BF16"),
        ({**LLAMA, "dtype": None, "torch_dtype": "float16"}, WHOLE, "F16"),
        # transformers 5.23 modeling_utils.py: dtype="auto" falls back to the first float tensor.
        ({**LLAMA, "dtype": None}, (run("model.norm.weight", 64, dtype="F32"), *WHOLE), "F32"),
        ({**LLAMA, "dtype": "int8"}, WHOLE, "BF16"),
    ],
)
def test_dtype(config: dict[str, object], tensors: tuple[TensorRun, ...], dtype: str) -> None:
    assert describe(snapshot(config, tensors)).dtype == dtype


def test_a_stored_copy_of_a_tied_head_is_loaded_once() -> None:
    tied = describe(snapshot({**LLAMA, "tie_word_embeddings": True}))
    untied = describe(snapshot({**LLAMA, "tie_word_embeddings": False}))
    assert tied.parameters
    assert untied.parameters
    assert untied.parameters.total
    assert tied.parameters.total == untied.parameters.total - 100 * 64
    assert {item.run.name for item in tied.weights or () if not item.loaded} == {"lm_head.weight"}
    assert tied.checkpoint_bytes == untied.checkpoint_bytes


# Loaded by the five classes of transformers 5.23 from files that hold the head and from files that
# do not: what is held of a vocabulary of 100 and a width of 64. A head that the file ties has the
# embedding's values, one that it does not tie has its own; then both stay, in the classes too that
# set tie_word_embeddings to true themselves.
@pytest.mark.parametrize("name", ["t5", "mt5", "umt5", "longt5", "switch_transformers"])
@pytest.mark.parametrize(
    ("stored", "says", "held"),
    [(True, False, 2), (True, True, 1), (True, None, 1), (False, False, 1), (False, True, 1)],
)
def test_the_head_of_t5(name: str, stored: bool, says: bool | None, held: int) -> None:
    config: dict[str, object] = {"model_type": name, "architectures": ["OneLayerT5"]}
    if says is not None:
        config["tie_word_embeddings"] = says
    tensors = (run("shared.weight", 100, 64), run("encoder.embed_tokens.weight", 100, 64))
    model = describe(snapshot(config, (*tensors, *([run("lm_head.weight", 100, 64)] * stored))))
    loaded = [item.run for item in model.weights or () if item.loaded]
    assert sum(item.elements for item in loaded) == held * 100 * 64


@pytest.mark.parametrize(
    "name",
    [
        "model.layers.{0..1}.self_attn.rotary_emb.inv_freq",
        "gpt_neox.layers.{0..1}.attention.masked_bias",
        "transformer.h.{0..1}.attn.bias",
    ],
)
def test_buffers_that_the_code_computes_are_not_loaded(name: str) -> None:
    model = describe(snapshot(LLAMA, (*WHOLE, run(name, 1, dtype="F32", count=2))))
    assert [item.run.name for item in model.weights or () if not item.loaded] == [name]


def test_layers_beyond_the_model_are_a_draft() -> None:
    beyond = run("model.layers.{2..2}.eh_proj.weight", 64, 128)
    model = describe(snapshot(LLAMA, (*WHOLE, beyond)))
    draft = [item for item in model.weights or () if item.component == "draft"]
    assert [(item.run.name, item.loaded) for item in draft] == [(beyond.name, False)]


def test_the_headers_win_over_the_configuration() -> None:
    config = {**LLAMA, "num_key_value_heads": 4}
    model = describe(snapshot(config))
    assert "headers_contradict_config" in {note.code for note in model.notes}
    assert model.decoder.layers == describe(snapshot(LLAMA)).decoder.layers


def test_files_of_another_model_are_noticed() -> None:
    assert describe(snapshot(LLAMA)).notes == ()
    # Without one projection a sixth is missing; with three tensors it cannot be this model.
    fewer = tuple(item for item in WHOLE if "gate_proj" not in item.name)
    for kept, known in ((fewer, True), (WHOLE[:3], False)):
        wrong = describe(snapshot(LLAMA, kept))
        assert "files_contradict_config" in {note.code for note in wrong.notes}
        assert (wrong.weights is not None) is known


@pytest.mark.parametrize(
    ("facts", "is_read"),
    [
        (snapshot(LLAMA), True),
        (snapshot(LLAMA, None), False),
        (replace(snapshot(LLAMA), reconstructed=True), False),
        # A note is for readers: whatever it is called, the facts are as the source says.
        (replace(snapshot(LLAMA), notes=(Note(code="reconstructed", message="a word"),)), True),
    ],
)
def test_what_was_read(facts: Snapshot, is_read: bool) -> None:
    assert describe(facts).is_read is is_read


def test_a_configuration_alone_declares_its_tensors() -> None:
    model = describe(snapshot(LLAMA, None))
    assert model.checkpoint_bytes == sum(item.total_bytes for item in WHOLE)
    assert {note.code for note in model.notes} == {"weights_from_config"}


def test_weights_alone_leave_the_cache_unknown() -> None:
    model = describe(snapshot(None))
    assert not model.cache_known
    assert model.checkpoint_bytes == sum(item.total_bytes for item in WHOLE)
    assert "no_config" in {note.code for note in model.notes}


def test_an_unknown_architecture_still_names_its_weights() -> None:
    config = {"model_type": "nonesuch", "architectures": ["NonesuchForCausalLM"]}
    with pytest.raises(UnsupportedArchitectureError) as caught:
        describe(snapshot(config))
    assert "weights alone" in caught.value.hint


CLASSLESS = {"architectures": ["NewForCausalLM"]}


@pytest.mark.parametrize(
    ("change", "parameters", "said"),
    [
        ({}, 86_848, "There are no weight files: the tensors are those that config.json declares."),
        ({"dtype": None}, 86_848, "config.json names no dtype"),
        (
            {"quantization_config": {"quant_method": "no_such_method"}},
            86_848,
            "Only the packer of its quantization knows what the files hold",
        ),
        (CLASSLESS, None, "config.json does not declare every shape of NewForCausalLM"),
    ],
)
def test_a_configuration_alone_says_what_it_lacks(
    change: dict[str, object], parameters: int | None, said: str
) -> None:
    """2 × 6,400 + 64 + 2 layers of 2 × 4,096 + 2 × 2,048 + 3 × 8,192 + 128."""
    model = describe(snapshot({**LLAMA, **change}, None))
    found = model.parameters
    assert (None if found is None else found.total) == parameters
    assert any(said in note.message for note in model.notes), model.notes


def test_a_tower_that_makes_no_sense_hides_neither_cache_nor_files() -> None:
    config: dict[str, object] = {
        "model_type": "llava",
        "architectures": ["LlavaForConditionalGeneration"],
        "text_config": LLAMA,
        "vision_config": {"model_type": "clip_vision_model", "image_size": "large"},
    }
    assert describe(snapshot(config, None)).weights is None
    held = describe(snapshot(config)).parameters
    assert held is not None
    assert held.total == sum(run.elements * run.count for run in WHOLE)


@pytest.mark.parametrize(
    ("top", "inner", "counted"),
    [(False, True, True), (True, False, False), (None, False, True), (None, True, True)],
)
def test_the_top_of_a_wrapper_says_whether_the_head_is_tied(
    top: bool | None, inner: bool, counted: bool
) -> None:
    """Qwen3-VL-235B says false at the top, as its class does; its decoder's would tie a head."""
    config: dict[str, object] = {
        "model_type": "qwen3_vl",
        "architectures": ["Qwen3VLForConditionalGeneration"],
        "text_config": {**LLAMA, "model_type": "qwen3_vl_text", "tie_word_embeddings": inner},
    }
    if top is not None:
        config["tie_word_embeddings"] = top
    found = describe(snapshot(config)).parameters
    assert found is not None
    assert ("head" in found.by_component) is counted


def test_a_classifier_is_no_tied_head() -> None:
    """Two labels have the shape of BERT's two token types."""
    config = {"model_type": "bert", "architectures": ["BertForSequenceClassification"]}
    config |= {"hidden_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2}
    tensors = (
        run("bert.embeddings.word_embeddings.weight", 100, 64),
        run("bert.embeddings.token_type_embeddings.weight", 2, 64),
        run("classifier.weight", 2, 64),
    )
    found = describe(snapshot(config, tensors)).parameters
    assert found is not None
    assert found.by_component["head"] == 128

"""The typed reader: aliases, defaults, sections, and values that are not what they should be."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hfmem.errors import ConfigError, InvalidValueError, MissingKeyError
from hfmem.model.config import MAX_LAYERS, Config, class_name, read, text_section


def plain(**values: object) -> Config:
    return Config(values=values, model_type=None)


# (keys of the file, key that is asked for, its value, why)
ALIASES = [
    ({"n_embd": 768}, "hidden_size", 768, "GPT-2"),
    ({"d_model": 512}, "hidden_size", 512, "T5"),
    ({"n_embed": 14336}, "hidden_size", 14336, "BLOOM"),
    ({"n_layer": 12}, "num_hidden_layers", 12, "GPT-2"),
    ({"n_head_kv": 8}, "num_key_value_heads", 8, "Falcon"),
    ({"multi_query_group_num": 2}, "num_key_value_heads", 2, "ChatGLM"),
    ({"hidden_size": 1, "n_embd": 2}, "hidden_size", 1, "the key itself comes first"),
    ({"hidden_size": None, "n_embd": 2}, "hidden_size", 2, "a null under one name hides no other"),
    ({"hidden_size": 4096.0}, "hidden_size", 4096, "a whole number written as a float"),
]


@pytest.mark.parametrize(("values", "key", "expected", "why"), ALIASES)
def test_names_of_a_key(values: dict[str, object], key: str, expected: int, why: str) -> None:
    assert plain(**values).integer(key) == expected, why


def test_a_missing_key_is_named_with_its_section() -> None:
    config = read({"model_type": "gemma3", "text_config": {"num_hidden_layers": 1}})
    section = config.section("text_config")
    assert section is not None
    with pytest.raises(MissingKeyError, match=r"config\.json: text_config has no n_experts"):
        section.integer("n_experts")


@pytest.mark.parametrize(
    ("model_type", "key", "expected"),
    [
        ("gemma3_text", "head_dim", 256),
        ("gpt2", "hidden_size", 768),
        ("t5", "head_dim", 64),
        ("whisper", "max_source_positions", 1500),
    ],
)
def test_what_the_class_declares(model_type: str, key: str, expected: int) -> None:
    assert read({"model_type": model_type}).integer(key) == expected


def test_a_null_in_the_file_beats_the_class() -> None:
    assert read({"model_type": "mistral"}).integer_or_none("sliding_window") == 4096
    said = read({"model_type": "mistral", "sliding_window": None})
    assert said.integer_or_none("sliding_window") is None
    assert not said.has("sliding_window")


@pytest.mark.parametrize(
    "value",
    [
        pytest.param("32", id="text"),
        pytest.param("x" * 1000, id="long text"),
        pytest.param(True, id="boolean"),
        pytest.param(-1, id="negative"),
        pytest.param(0.5, id="fraction"),
        pytest.param(float("nan"), id="nan"),
        pytest.param(float("inf"), id="infinity"),
        pytest.param(2**60, id="too large"),
        pytest.param(10**5000, id="5,001 digits"),
        pytest.param([32], id="list"),
        pytest.param({"a": 1}, id="object"),
    ],
)
def test_no_whole_number(value: object) -> None:
    with pytest.raises(InvalidValueError) as raised:
        plain(hidden_size=value).integer("hidden_size")
    assert len(raised.value.message) < 200


@pytest.mark.parametrize(
    ("method", "value"),
    [
        ("flag", 1),
        ("flag", "true"),
        ("text", 1),
        ("number", "1.0"),
        ("number", float("nan")),
        ("number", True),
        ("list", "abc"),
        ("list", [0] * (MAX_LAYERS + 1)),
        ("text_list", ["a", 1]),
        ("integer_list", [1, "2"]),
        ("integer_list", [1, None]),
    ],
)
def test_values_of_the_wrong_type(method: str, value: object) -> None:
    with pytest.raises(InvalidValueError):
        getattr(plain(key=value), method)("key")


def test_absent_values() -> None:
    config = plain()
    assert config.flag("key", default=True) is True
    assert config.text("key") is config.number("key") is config.list("key") is None
    assert config.integer_list("key") is config.text_list("key") is config.section("key") is None


SECTIONS: list[tuple[str, dict[str, Any], str | None, int | None, str]] = [
    (
        "present: its class's defaults, not what the wrapper builds an absent one from",
        {"model_type": "paligemma", "text_config": {"hidden_size": 64}},
        "gemma",
        16,
        "num_attention_heads",
    ),
    (
        "absent: the wrapper's own values",
        {"model_type": "paligemma"},
        "gemma",
        8,
        "num_attention_heads",
    ),
    (
        "a class of its own reads the section whatever its model_type says",
        {"model_type": "gemma3", "text_config": {"model_type": "llama"}},
        "gemma3_text",
        256,
        "head_dim",
    ),
    (
        "an open class goes by the section's model_type",
        {"model_type": "llava", "text_config": {"model_type": "gemma"}},
        "gemma",
        256,
        "head_dim",
    ),
]


@pytest.mark.parametrize(
    ("values", "model_type", "expected", "key"),
    [row[1:] for row in SECTIONS],
    ids=[row[0] for row in SECTIONS],
)
def test_sections(
    values: dict[str, Any], model_type: str | None, expected: int | None, key: str
) -> None:
    section = read(values).section("text_config")
    assert section is not None
    assert section.model_type == model_type
    assert section.integer_or_none(key) == expected


@pytest.mark.parametrize("value", ["lmsys/vicuna-7b", 7, [], None])
def test_what_is_no_section(value: object) -> None:
    assert read({"model_type": "llava", "text_config": value}).section("text_config") is None


def test_optional_sections_stay_absent() -> None:
    assert read({"model_type": "gemma4"}).section("audio_config") is None


def test_the_text_section_of_an_omni_model() -> None:
    text = {"model_type": "qwen2_5_omni_text", "hidden_size": 8}
    thinker = {"model_type": "qwen2_5_omni_thinker", "text_config": text}
    found = text_section(read({"model_type": "qwen2_5_omni", "thinker_config": thinker}))
    assert found.values is text
    assert found.where == "config.json: thinker_config: text_config"


def test_sections_without_end() -> None:
    deep: dict[str, object] = {}
    for _ in range(100):
        deep = {"text_config": deep}
    assert text_section(read(deep)).where.count("text_config") == 4


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["LlamaForCausalLM", "Other"], "LlamaForCausalLM"),
        ("LlamaForCausalLM", "LlamaForCausalLM"),
        ([], None),
        ([1], None),
        (None, None),
        ({"a": 1}, None),
    ],
)
def test_class_name(names: object, expected: str | None) -> None:
    assert class_name(plain(architectures=names)) == expected


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4)
    ),
    max_leaves=8,
)


@given(value=JSON)
def test_a_reader_returns_its_type_or_a_config_error(value: object) -> None:
    config = plain(key=value)
    kinds: dict[str, tuple[type, ...]] = {
        "integer": (int,),
        "flag": (bool,),
        "text": (str, type(None)),
        "number": (float, type(None)),
        "integer_list": (tuple, type(None)),
        "text_list": (tuple, type(None)),
        "section": (Config, type(None)),
    }
    for method, expected in kinds.items():
        try:
            found = getattr(config, method)("key")
        except ConfigError:
            continue
        assert isinstance(found, expected)


@pytest.mark.parametrize(
    ("model_type", "given", "hidden", "heads"),
    [
        # configuration_voxtral.py fills the decoder's section with its own 3,072, Llama has 4,096.
        ("voxtral", {"num_hidden_layers": 4}, 3072, 32),
        ("voxtral", {"hidden_size": 2048, "num_attention_heads": 16}, 2048, 16),
        # configuration_qwen2_audio.py does not.
        ("qwen2_audio", {"num_hidden_layers": 4}, 4096, 32),
    ],
)
def test_sections_that_a_class_fills(
    model_type: str, given: dict[str, object], hidden: int, heads: int
) -> None:
    text = read({"model_type": model_type, "text_config": given}).section("text_config")
    assert text is not None
    assert text.integer("hidden_size") == hidden
    assert text.integer("num_attention_heads") == heads

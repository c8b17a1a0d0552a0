"""Tensors declared by a configuration, against published files and the reference implementation."""

from __future__ import annotations

import importlib.util
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hfmem.checkpoint.tensor import Tensor, TensorRun, brace_count, runs, total_bytes
from hfmem.errors import InvalidValueError
from hfmem.model.components import split
from hfmem.model.config import MAX_LAYERS, read, text_section
from hfmem.model.declared import declared_tensors, logical_tensors
from hfmem.model.declared.families import families
from hfmem.source import recorded
from tests.model.test_declared_counts import BUFFERS, ROWS

ROOT = Path(__file__).parents[2]


def fixture(name: str) -> Any:
    return json.loads((ROOT / "fixtures" / name).read_text(encoding="utf-8"))


def elements(tensors: tuple[TensorRun, ...]) -> int:
    return sum(run.elements * run.count for run in tensors)


def names(tensors: tuple[TensorRun, ...]) -> set[str]:
    return {name for run in tensors for name in run.names()}


def label(row: Any) -> str:
    if "model" in row:
        return str(row["model"])
    config = {key: row["config"][key] for key in row["config"] if key != "architectures"}
    return ",".join(f"{key}={value}" for key, value in config.items() if key != "dtype")


# Experts are fused in the class and not in the files; GPT-NeoX's head, BLOOM's prefix and the
# wrappers' were renamed in the class. There only the number of parameters can be compared.
RENAMED = {
    "mixtral", "olmoe", "qwen2_moe", "qwen3_moe", "granitemoe", "deepseek_v2", "deepseek_v3",
    "gpt_neox", "bloom", "gemma3", "llava", "llava_next",
}  # fmt: skip


@pytest.mark.parametrize("case", fixture("reference_tensors.json")["cases"], ids=label)
def test_as_the_reference_implementation_declares(case: Any) -> None:
    found = logical_tensors(read(case["config"]))
    assert found is not None
    reference = tuple(
        TensorRun(name=name, dtype="BF16", shape=tuple(shape), bytes=0, count=brace_count(name))
        for name, shape in case["tensors"]
    )
    if case["config"]["model_type"] in RENAMED:
        # The correction of V3's router is a buffer of the class, and stored like a parameter.
        stored = (run for run in found if not run.name.endswith("e_score_correction_bias"))
        assert elements(tuple(stored)) == elements(reference)
    else:
        assert {n: run.shape for run in found for n in run.names()} == {
            n: run.shape for run in reference for n in run.names()
        }


@pytest.mark.parametrize("row", fixture("published_totals.json"), ids=label)
def test_parameters_of_published_configurations(row: Any) -> None:
    config = read(row["config"])
    found = logical_tensors(config)
    assert found is not None
    layers = text_section(config).integer_or_none("num_hidden_layers")
    own = (item.run for item in split(found, decoder_layers=layers) if item.component != "draft")
    loaded = (run for run in own if not run.name.endswith(BUFFERS))
    assert elements(tuple(loaded)) == row["parameters"]


@pytest.mark.parametrize("row", fixture("published_files.json"), ids=label)
def test_parameters_of_published_files(row: Any) -> None:
    """With what the class leaves aside: layers for multi-token prediction, buffers."""
    found = logical_tensors(read(row["config"]))
    assert found is not None
    assert elements(found) == row["parameters"]


@pytest.mark.parametrize(
    ("config", "parameters"),
    [
        # total_size of the published indexes, halved.
        (
            {
                "model_type": "chatglm",
                "architectures": ["ChatGLMModel"],
                "add_qkv_bias": True,
                "ffn_hidden_size": 13696,
                "hidden_size": 4096,
                "kv_channels": 128,
                "multi_query_attention": True,
                "multi_query_group_num": 2,
                "num_attention_heads": 32,
                "num_layers": 28,
                "padded_vocab_size": 65024,
            },
            12_487_168_064 // 2,
        ),
        (
            {
                "model_type": "phi3small",
                "architectures": ["Phi3SmallForCausalLM"],
                "ff_intermediate_size": 14336,
                "hidden_size": 4096,
                "num_attention_heads": 32,
                "num_hidden_layers": 32,
                "num_key_value_heads": 8,
                "vocab_size": 100352,
            },
            7_392_272_384,
        ),
        (
            {
                "model_type": "baichuan",
                "architectures": ["BaichuanForCausalLM"],
                "hidden_size": 4096,
                "intermediate_size": 11008,
                "num_attention_heads": 32,
                "num_hidden_layers": 32,
                "vocab_size": 125696,
            },
            7_505_973_248,
        ),
        (
            {
                "model_type": "Yi",
                "architectures": ["YiForCausalLM"],
                "hidden_size": 7168,
                "intermediate_size": 20480,
                "num_attention_heads": 56,
                "num_hidden_layers": 60,
                "num_key_value_heads": 8,
                "vocab_size": 64000,
            },
            34_388_917_248,
        ),
        (
            {
                "model_type": "minicpm",
                "architectures": ["MiniCPMForCausalLM"],
                "hidden_size": 2304,
                "intermediate_size": 5760,
                "num_attention_heads": 36,
                "num_hidden_layers": 40,
                "num_key_value_heads": 36,
                "vocab_size": 122753,
            },
            2_724_880_896,
        ),
        (
            {
                "model_type": "exaone",
                "architectures": ["ExaoneForCausalLM"],
                "hidden_size": 4096,
                "intermediate_size": 14336,
                "num_attention_heads": 32,
                "num_key_value_heads": 8,
                "num_layers": 32,
                "vocab_size": 102400,
            },
            7_818_448_896,
        ),
    ],
    ids=["chatglm3-6b", "Phi-3-small", "Baichuan2-7B", "Yi-34B", "MiniCPM-2B", "EXAONE-3.5-7.8B"],
)
def test_parameters_of_remote_code(config: dict[str, object], parameters: int) -> None:
    found = logical_tensors(read(config))
    assert found is not None
    assert elements(found) == parameters


GLM_AIR: dict[str, object] = {
    "model_type": "glm4_moe",
    "architectures": ["Glm4MoeForCausalLM"],
    "attention_bias": True,
    "first_k_dense_replace": 1,
    "head_dim": 128,
    "hidden_size": 4096,
    "intermediate_size": 10944,
    "moe_intermediate_size": 1408,
    "n_routed_experts": 128,
    "n_shared_experts": 1,
    "num_attention_heads": 96,
    "num_hidden_layers": 46,
    "num_key_value_heads": 8,
    "num_nextn_predict_layers": 1,
    "tie_word_embeddings": False,
    "vocab_size": 151552,
}


@pytest.mark.parametrize(
    ("config", "parameters"),
    [
        (GLM_AIR, 110_468_824_832),
        (
            {
                **GLM_AIR,
                "first_k_dense_replace": 3,
                "hidden_size": 5120,
                "intermediate_size": 12288,
                "moe_intermediate_size": 1536,
                "n_routed_experts": 160,
                "num_hidden_layers": 92,
                "use_qk_norm": True,
            },
            358_337_791_296,
        ),
        (
            {
                "model_type": "glm4_moe_lite",
                "architectures": ["Glm4MoeLiteForCausalLM"],
                "num_nextn_predict_layers": 1,
            },
            31_221_488_576,
        ),
        (
            {
                "model_type": "qwen2_5_omni",
                "architectures": ["Qwen2_5OmniForConditionalGeneration"],
                "talker_config": {
                    "hidden_size": 896,
                    "num_attention_heads": 12,
                    "num_hidden_layers": 24,
                    "head_dim": 128,
                },
                "thinker_config": {
                    "vision_config": {"hidden_size": 1280, "out_hidden_size": 3584},
                },
            },
            10_732_225_408,
        ),
        # The files hold keys and values of the layers that read another's: 2,097,408 each.
        (
            {
                "model_type": "gemma3n",
                "architectures": ["Gemma3nForConditionalGeneration"],
                "text_config": {
                    "intermediate_size": [8192] * 30,
                    "num_hidden_layers": 30,
                    "num_kv_shared_layers": 10,
                },
            },
            5_439_438_272 - 10 * 2_097_408,
        ),
        (
            {
                "model_type": "gemma3n",
                "architectures": ["Gemma3nForConditionalGeneration"],
            },
            7_849_978_192 - 15 * 2_097_408,
        ),
    ],
    ids=["GLM-4.5-Air", "GLM-4.5", "GLM-4.7-Flash", "Qwen2.5-Omni-7B", "gemma-3n-E2B", "E4B"],
)
def test_parameters_with_all_that_a_repository_holds(
    config: dict[str, object], parameters: int
) -> None:
    """The Hub's count: with layers for multi-token prediction, or a voice."""
    found = logical_tensors(read(config))
    assert found is not None
    assert elements(found) == parameters


SIZES = {
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_attention_heads": 4,
    "num_hidden_layers": 1,
    "vocab_size": 8,
}


@pytest.mark.parametrize(
    "config",
    [
        {"model_type": "internlm2", "architectures": ["InternLM2ForCausalLM"], "bias": True},
        {"model_type": "chatglm", "pre_seq_len": 128},
        {"model_type": "minicpmv", "version": 2.6, "vision_config": {}},
        {"model_type": "nemotron-nas"},
        {"model_type": "t5", "architectures": ["T5EncoderModel"], "is_decoder": True},
    ],
)
def test_a_case_that_a_row_does_not_know_is_not_declared(config: dict[str, object]) -> None:
    assert logical_tensors(read({**SIZES, **config})) is None


# The published index of nothing else: a class without model_type, as MiniCPM3's first files.
def test_a_class_tells_the_model_type() -> None:
    config = {"architectures": ["LlamaForCausalLM"], **SIZES}
    assert logical_tensors(read(config)) == logical_tensors(read({**config, "model_type": "llama"}))


INDEXES = [row for row in fixture("published_indexes.json") if row["config"]]
# What a publisher stores beyond what the class holds.
STORED_TWICE = {"tiiuae/falcon-180B-chat": {"lm_head.weight"}}


@pytest.mark.parametrize("row", INDEXES, ids=label)
def test_names_of_published_indexes(row: Any) -> None:
    found = logical_tensors(read(row["config"]))
    assert found is not None
    published = {
        name
        for pattern in row["names"]
        for name in TensorRun(name=pattern, dtype="", shape=(), bytes=0, count=1).names()
    }
    if "quantization" in row["config"]:
        published = {name for name in published if not name.endswith((".scales", ".biases"))}
    assert names(found) == published - STORED_TWICE.get(row["model"], set())


@pytest.mark.parametrize(
    ("model", "because"),
    [
        ("google/gemma-2b-it", ""),
        ("mattshumer/Reflection-Llama-3.1-70B", "stored in F32, and says so"),
        ("microsoft/WizardLM-2-8x22B", ""),
        ("mistralai/Devstral-Small-2507", ""),
        ("mlx-community/Qwen3-1.7B-bf16", ""),
    ],
)
def test_bytes_of_published_indexes(model: str, because: str) -> None:
    row = next(row for row in INDEXES if row["model"] == model)
    found = declared_tensors(read(row["config"]))
    assert found is not None, because
    assert total_bytes(found) == row["total_size"]


@pytest.mark.parametrize(
    ("model", "tensors", "size", "stored"),
    [
        # LLaVA-Video 72B: 73.2 B on the Hub; 7B: llava-onevision-qwen2-7b-ov's published count.
        ("lmms-lab/LLaVA-Video-72B-Qwen2", 1389, 146_361_044_032, 73_180_522_016),
        ("lmms-lab/LLaVA-Video-7B-Qwen2", 765, 16_060_697_664, 8_030_348_832),
        # The Hub's safetensors totals.
        ("meta-llama/Llama-3.1-8B-Instruct", 291, 16_060_522_496, 8_030_261_248),
        ("meta-llama/Llama-3.1-70B-Instruct", 723, 141_107_412_992, 70_553_706_496),
        ("Qwen/Qwen2.5-7B-Instruct", 339, 15_231_233_024, 7_615_616_512),
        ("Qwen/Qwen3-8B", 399, 16_381_470_720, 8_190_735_360),
        ("Qwen/Qwen3-30B-A3B", 18867, 61_064_245_248, 30_532_122_624),
        ("mistralai/Mistral-7B-Instruct-v0.3", 291, 14_496_047_104, 7_248_023_552),
        ("mistralai/Mixtral-8x7B-Instruct-v0.1", 995, 93_405_585_408, 46_702_792_704),
        # total_size of medgemma-27b-it's index, the same tensors.
        ("google/gemma-3-27b-it", 1247, 54_864_813_280, 27_432_406_640),
        # The Hub counts the scales of FP8 blocks as well.
        ("deepseek-ai/DeepSeek-V3", 91991, 688_574_839_360, 684_531_386_000),
        # total_size of its index; half of 19,110,297,600 packed values, 597,196,800 scales.
        ("openai/gpt-oss-20b", 459, 13_761_264_768, 11_956_805_184),
    ],
)
def test_bundled_models(model: str, tensors: int, size: int, stored: int) -> None:
    found = recorded.bundled(model)
    assert found is not None
    assert found.checkpoint is not None
    held = found.checkpoint.tensors
    assert sum(run.count for run in held) == tensors
    assert total_bytes(held) == size
    assert elements(held) == stored
    assert [note.code for note in found.notes] == ["reconstructed"]
    assert len(found.checkpoint.files) == len(found.files)


def test_twelve_models_are_bundled() -> None:
    assert len(recorded.bundled_names()) == 12


def script(name: str, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    path = ROOT / "tests" / "scripts" / f"{name}.py"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    # A dataclass looks its own module up.
    monkeypatch.setitem(sys.modules, name, module)
    spec.loader.exec_module(module)
    return module


def test_bundled_files_are_what_the_script_writes(monkeypatch: pytest.MonkeyPatch) -> None:
    folder = ROOT / "hfmem" / "source" / "bundled"
    written = {path.name: path.read_text(encoding="utf-8") for path in folder.iterdir()}
    assert written == script("reconstruct", monkeypatch).texts()


LLAMA = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "vocab_size": 100,
    "torch_dtype": "bfloat16",
}


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"model_type": "no_such_type"}, "an unknown family"),
        ({"architectures": ["LlamaForTokenClassification"]}, "another head"),
        ({"torch_dtype": None}, "nobody says the dtype"),
        ({"torch_dtype": "auto"}, "a dtype that is no type"),
        ({"quantization_config": {"quant_method": "gptq", "bits": 4}}, "the packer decides"),
        ({"quantization": {"bits": 4, "group_size": 64}}, "MLX's key"),
        ({"quantization_config": "fp8"}, "a scheme that is no object"),
    ],
)
def test_what_is_not_known_exactly_is_not_declared(change: dict[str, object], why: str) -> None:
    assert declared_tensors(read({**LLAMA, **change})) is None, why


def test_a_quantized_configuration_still_tells_its_parameters() -> None:
    quantized = {**LLAMA, "quantization_config": {"quant_method": "awq", "bits": 4}}
    assert logical_tensors(read(quantized)) == declared_tensors(read(LLAMA))


@pytest.mark.parametrize(
    "change",
    [
        {"weight_block_size": None},
        {"weight_block_size": [128, 64]},
        {"fmt": "e5m2"},
        {"scale_fmt": "ue8m0"},
        {"modules_to_not_convert": ["lm_head"]},
    ],
)
def test_fp8_in_another_layout_is_not_declared(change: dict[str, object]) -> None:
    found = recorded.bundled("deepseek-ai/DeepSeek-V3")
    assert found is not None
    assert found.config is not None
    settings = found.config["quantization_config"]
    assert isinstance(settings, dict)
    config = {**found.config, "quantization_config": {**settings, **change}}
    assert declared_tensors(read(config)) is None


def test_hostile_sizes_are_refused_or_cheap() -> None:
    with pytest.raises(InvalidValueError):
        declared_tensors(read({**LLAMA, "num_hidden_layers": MAX_LAYERS + 1}))
    with pytest.raises(InvalidValueError):
        declared_tensors(read({**LLAMA, "hidden_size": "64"}))
    found = declared_tensors(read({**LLAMA, "num_hidden_layers": MAX_LAYERS}))
    assert found is not None
    assert len(found) == 12


PUBLISHED = [row["config"] for row in fixture("published_totals.json")]
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=4,
)


@given(config=st.sampled_from(PUBLISHED), value=JSON, data=st.data())
def test_a_damaged_configuration_is_refused_or_read(
    config: dict[str, object], value: object, data: st.DataObject
) -> None:
    key = data.draw(st.sampled_from(sorted(config)))
    try:
        found = declared_tensors(read({**config, key: value}))
    except InvalidValueError:
        return
    for run in found or ():
        assert run.count == brace_count(run.name) > 0
        assert run.bytes >= run.elements >= 0


def test_no_layers_leave_the_rest() -> None:
    found = declared_tensors(read({**LLAMA, "num_hidden_layers": 0}))
    assert found is not None
    assert [run.name for run in found] == [
        "model.embed_tokens.weight",
        "model.norm.weight",
        "lm_head.weight",
    ]


@given(
    layers=st.integers(1, 6),
    every=st.integers(1, 4),
    dense=st.lists(st.integers(0, 7), max_size=3),
)
def test_sparse_layers_fold_into_the_runs_of_their_tensors(
    layers: int, every: int, dense: list[int]
) -> None:
    """Runs that are declared are the runs that the tensors of a file would be folded into."""
    config = {
        **LLAMA,
        "architectures": ["Qwen3MoeForCausalLM"],
        "model_type": "qwen3_moe",
        "num_hidden_layers": layers,
        "decoder_sparse_step": every,
        "mlp_only_layers": dense,
        "num_experts": 3,
        "moe_intermediate_size": 32,
    }
    found = declared_tensors(read(config))
    assert found is not None
    tensors = [
        Tensor(name, run.dtype, run.shape, run.bytes) for run in found for name in run.names()
    ]
    assert set(runs(tensors)) == set(found)
    routed = {name.split(".")[2] for name in names(found) if ".experts." in name}
    expected = {str(n) for n in range(layers) if n not in dense and (n + 1) % every == 0}
    assert routed == expected


def model_types(config: dict[str, Any]) -> Iterator[str]:
    """Of a configuration and of its sections."""
    if "model_type" in config:
        yield config["model_type"]
    for section in config.values():
        if isinstance(section, dict):
            yield from model_types(section)


def test_every_family_is_compared_with_something() -> None:
    published = [*fixture("published_totals.json"), *fixture("published_files.json")]
    tested = {kind for row in published for kind in model_types(row["config"])}
    tested |= {row["model_type"] for row in ROWS}
    tested |= {kind for row in ROWS for kind in model_types(row["values"])}
    tested |= {"gemma3n", "llava", "Yi", "baichuan", "chatglm", "exaone", "minicpm", "phi3small"}
    for family in families():
        assert ".py" in family.source
        assert tested & set(family.model_types), f"{family.model_types} is compared with nothing"


def test_a_model_type_and_class_belong_to_one_family() -> None:
    pairs = [(kind, name) for one in families() for kind in one.model_types for name in one.classes]
    assert len(pairs) == len(set(pairs))

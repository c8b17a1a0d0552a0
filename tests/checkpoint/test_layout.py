"""Which files are loaded, on listings of the kinds that the Hub has."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hfmem.checkpoint.index import shard_names
from hfmem.checkpoint.layout import WeightSet, weight_files
from hfmem.checkpoint.loaders import TRANSFORMERS, Pick, loader_of
from hfmem.checkpoint.snapshot import RepoFile
from hfmem.errors import MalformedHeaderError, NoWeightsError


def listing(names: Iterable[str]) -> list[RepoFile]:
    """Files of which each has a size of its own, so that a sum tells which were taken."""
    return [RepoFile(name=name, bytes=1 << place) for place, name in enumerate(names)]


def shards(stem: str, total: int, rest: str = ".safetensors") -> list[str]:
    return [f"{stem}-{number:05d}-of-{total:05d}{rest}" for number in range(1, total + 1)]


def taken(found: WeightSet | None) -> list[str]:
    assert found is not None
    return [file.name for file in found.files]


GPT2 = [
    ".gitattributes",
    "64-8bits.tflite",
    "64-fp16.tflite",
    "64.tflite",
    "config.json",
    "flax_model.msgpack",
    "model.safetensors",
    "onnx/decoder_model.onnx",
    "onnx/decoder_model_merged.onnx",
    "pytorch_model.bin",
    "rust_model.ot",
    "tf_model.h5",
    "tokenizer.json",
]
MISTRAL = ["config.json", "consolidated.safetensors", "params.json", "model.safetensors.index.json"]
MISTRAL += shards("model", 3)
LLAMA = [
    "config.json",
    "model.safetensors.index.json",
    "original/consolidated.00.pth",
    "original/params.json",
    *shards("model", 4),
]
WHISPER = [
    "config.json",
    "flax_model.msgpack",
    "model.safetensors",
    *shards("model.fp32", 2),
    "model.safetensors.index.fp32.json",
    "pytorch_model.bin",
    *shards("pytorch_model.fp32", 2, ".bin"),
]
MPNET = [
    "1_Pooling/config.json",
    "config.json",
    "model.safetensors",
    "modules.json",
    "onnx/model.onnx",
    "onnx/model_O1.onnx",
    "openvino/openvino_model.bin",
    "openvino/openvino_model.xml",
    "pytorch_model.bin",
    "train_script.py",
]

# Listing, and what transformers takes of it; the listings of named repositories are shortened.
TABLE: dict[str, tuple[list[str], list[str]]] = {
    "openai-community/gpt2": (GPT2, ["model.safetensors"]),
    "mistralai/Mistral-7B-Instruct-v0.3": (MISTRAL, shards("model", 3)),
    "meta-llama/Llama-3.1-8B-Instruct": (LLAMA, shards("model", 4)),
    "openai/whisper-large-v3": (WHISPER, ["model.safetensors"]),
    "sentence-transformers/all-mpnet-base-v2": (MPNET, ["model.safetensors"]),
    "google/embeddinggemma-300m": (
        [
            "1_Pooling/config.json",
            "2_Dense/config.json",
            "2_Dense/model.safetensors",
            "3_Dense/config.json",
            "3_Dense/model.safetensors",
            "config.json",
            "model.safetensors",
            "modules.json",
        ],
        ["model.safetensors", "2_Dense/model.safetensors", "3_Dense/model.safetensors"],
    ),
    "sentence-transformers/clip-ViT-B-32": (
        ["0_CLIPModel/config.json", "0_CLIPModel/model.safetensors", "modules.json"],
        ["0_CLIPModel/model.safetensors"],
    ),
    # Underscores for hyphens.
    "bigscience/bloom": (
        ["config.json", "model.safetensors.index.json"]
        + [f"model_{number:05d}-of-00003.safetensors" for number in (1, 2, 3)]
        + [f"pytorch_model_{number:05d}-of-00003.bin" for number in (1, 2, 3)],
        [f"model_{number:05d}-of-00003.safetensors" for number in (1, 2, 3)],
    ),
    # A total of another width than the number.
    "deepseek-ai/DeepSeek-OCR-2": (
        ["config.json", "model-00001-of-000001.safetensors", "model.safetensors.index.json"],
        ["model-00001-of-000001.safetensors"],
    ),
    # Shards without leading zeros.
    "moonshotai/Kimi-K2-Instruct": (
        ["config.json", *(f"model-{number}-of-11.safetensors" for number in range(1, 12))],
        sorted(f"model-{number}-of-11.safetensors" for number in range(1, 12)),
    ),
    "shards from zero": (
        ["model-00000-of-00002.safetensors", "model-00001-of-00002.safetensors"],
        ["model-00000-of-00002.safetensors", "model-00001-of-00002.safetensors"],
    ),
    "the suffix before the number": (
        [f"model.safetensors-{number:05d}-of-00002.safetensors" for number in (1, 2)],
        [f"model.safetensors-{number:05d}-of-00002.safetensors" for number in (1, 2)],
    ),
    # transformers looks for the one file first.
    "one file beside shards": (
        ["model.safetensors", "model.safetensors.index.json", *shards("model", 2)],
        ["model.safetensors"],
    ),
    "an unfinished set beside a whole one": (
        [*shards("model", 2), *shards("model", 3)[:1]],
        shards("model", 2),
    ),
    "consolidated and nothing else": (
        ["params.json", "consolidated.safetensors", "tekken.json"],
        ["consolidated.safetensors"],
    ),
    "no weights of a trainer": (
        ["config.json", "pytorch_model.bin", "training_args.bin", "optimizer.pt", "scheduler.pt"],
        ["pytorch_model.bin"],
    ),
    "a diffusers component": (
        ["config.json", "diffusion_pytorch_model.safetensors", "diffusion_pytorch_model.bin"],
        ["diffusion_pytorch_model.safetensors"],
    ),
    "an open_clip model": (
        ["open_clip_config.json", "open_clip_model.safetensors", "open_clip_pytorch_model.bin"],
        ["open_clip_model.safetensors"],
    ),
    "an adapter beside its merged model": (
        ["adapter_config.json", "adapter_model.safetensors", "config.json", "model.safetensors"],
        ["model.safetensors"],
    ),
    "one file of any name": (["my-merge.safetensors", "README.md"], ["my-merge.safetensors"]),
    "one variant": (["config.json", "model.fp16.safetensors"], ["model.fp16.safetensors"]),
}


@pytest.mark.parametrize("case", TABLE)
def test_what_transformers_loads(case: str) -> None:
    names, expected = TABLE[case]
    found = weight_files(listing(names))
    assert taken(found) == expected
    assert found is not None
    sizes = {file.name: file.bytes for file in listing(names)}
    assert found.total_bytes == sum(sizes[name] or 0 for name in expected)
    assert not {file.name for file in found.files} & {item.name for item in found.alternatives}


@pytest.mark.parametrize(
    ("names", "runtime", "variant", "expected"),
    [
        # vLLM reads a root's consolidated*.safetensors before all else.
        (MISTRAL, "vllm", None, ["consolidated.safetensors"]),
        (MISTRAL, "sglang", None, shards("model", 3)),
        (GPT2, "vllm", None, ["model.safetensors"]),
        (WHISPER, "transformers", "fp32", shards("model.fp32", 2)),
        # llama.cpp looks for GGUF files alone, and takes another copy where there are none.
        (["model.safetensors", "m-Q8_0.gguf"], "llama.cpp", None, ["m-Q8_0.gguf"]),
        (["model.safetensors", "m-Q8_0.gguf"], "mlx", None, ["model.safetensors"]),
        (GPT2, "ollama", None, ["model.safetensors"]),
        # diffusers wrote the variant behind the number until 0.28.
        (
            [
                "diffusion_pytorch_model.safetensors",
                *shards("diffusion_pytorch_model", 2, ".fp16.safetensors"),
            ],
            "transformers",
            "fp16",
            shards("diffusion_pytorch_model", 2, ".fp16.safetensors"),
        ),
    ],
)
def test_loaders_and_variants(
    names: list[str], runtime: str, variant: str | None, expected: list[str]
) -> None:
    pick = Pick(loader=loader_of(runtime), variant=variant)
    assert taken(weight_files(listing(names), pick=pick)) == expected


@pytest.mark.parametrize(
    ("names", "hint"),
    [
        (GPT2, "Leave out --variant: there is one set of weights."),
        (WHISPER, "It has: fp32."),
        (
            ["model.bf16.safetensors", "model.fp16-00001-of-00001.safetensors"],
            "It has: bf16, fp16.",
        ),
    ],
)
def test_a_variant_that_is_not_there_is_refused(names: list[str], hint: str) -> None:
    # transformers refuses too: "there is a file without the variant".
    with pytest.raises(NoWeightsError, match="no weights of the variant 'fp8'") as caught:
        weight_files(listing(names), pick=Pick(loader=TRANSFORMERS, variant="fp8"))
    assert caught.value.hint == hint


SDXL = [
    "model_index.json",
    "sd_xl_base_1.0.safetensors",
    "sd_xl_offset_example-lora_1.0.safetensors",
    "scheduler/scheduler_config.json",
    *(
        f"{folder}/{stem}{variant}.safetensors"
        for folder, stem in [
            ("text_encoder", "model"),
            ("text_encoder_2", "model"),
            ("unet", "diffusion_pytorch_model"),
            ("vae", "diffusion_pytorch_model"),
            ("vae_1_0", "diffusion_pytorch_model"),
        ]
        for variant in ("", ".fp16")
    ),
    "unet/model.onnx",
    "unet/model.onnx_data",
]
SDXL_PIPELINE = {
    "_class_name": "StableDiffusionXLPipeline",
    "_diffusers_version": "0.19.0.dev0",
    "force_zeros_for_empty_prompt": True,
    "scheduler": ["diffusers", "EulerDiscreteScheduler"],
    "text_encoder": ["transformers", "CLIPTextModel"],
    "text_encoder_2": ["transformers", "CLIPTextModelWithProjection"],
    "image_encoder": [None, None],
    "unet": ["diffusers", "UNet2DConditionModel"],
    "vae": ["diffusers", "AutoencoderKL"],
}


@pytest.mark.parametrize("variant", [None, "fp16"])
def test_a_pipeline_is_the_components_of_its_index(variant: str | None) -> None:
    found = weight_files(
        listing(SDXL),
        documents={"model_index.json": SDXL_PIPELINE},
        pick=Pick(loader=TRANSFORMERS, variant=variant),
    )
    suffix = f".{variant}.safetensors" if variant else ".safetensors"
    assert found is not None
    assert [(part.name, [file.name for file in part.files]) for part in found.components] == [
        ("text_encoder", [f"text_encoder/model{suffix}"]),
        ("text_encoder_2", [f"text_encoder_2/model{suffix}"]),
        ("unet", [f"unet/diffusion_pytorch_model{suffix}"]),
        ("vae", [f"vae/diffusion_pytorch_model{suffix}"]),
    ]
    assert "sd_xl_base_1.0.safetensors" in {item.name for item in found.alternatives}
    assert found.notes == ()


def test_a_pipeline_whose_index_was_not_read_says_so() -> None:
    found = weight_files(listing(SDXL))
    assert found is not None
    assert [note.code for note in found.notes] == ["assumed_components"]


@pytest.mark.parametrize(
    "name",
    ["adapter_model.safetensors", "pytorch_lora_weights.safetensors", "my_style_LoRA.safetensors"],
)
def test_an_adapter_is_never_the_model(name: str) -> None:
    found = weight_files(listing(["README.md", name]))
    assert taken(found) == [name]
    assert found is not None
    assert found.is_adapter


@pytest.mark.parametrize(
    ("names", "form", "expected"),
    [
        (["config.json", "pytorch_model.bin"], "torch", ["pytorch_model.bin"]),
        (["params.json", "consolidated.00.pth"], "torch", ["consolidated.00.pth"]),
        (
            ["params.json", "consolidated.00.pth", "consolidated.01.pth"],
            "torch",
            ["consolidated.00.pth", "consolidated.01.pth"],
        ),
        (["original/consolidated.00.pth"], "torch", ["original/consolidated.00.pth"]),
        (
            ["onnx/model.onnx", "onnx/model.onnx_data"],
            "onnx",
            ["onnx/model.onnx", "onnx/model.onnx_data"],
        ),
        (["onnx/model.onnx", "onnx/model_int8.onnx"], "onnx", ["onnx/model.onnx"]),
        (["model.nemo"], "other", ["model.nemo"]),
        (["openvino_model.bin", "openvino_model.xml"], "other", ["openvino_model.bin"]),
        (["model.bin", "model.pt"], "torch", ["model.bin"]),
    ],
)
def test_other_formats_are_named_with_their_size(
    names: list[str], form: str, expected: list[str]
) -> None:
    found = weight_files(listing(names))
    assert taken(found) == expected
    assert found is not None
    assert found.format == form
    assert found.total_bytes is not None


GGUF = [
    "README.md",
    "imatrix.gguf",
    "mmproj-F16.gguf",
    "Llama-3.2-1B-Instruct-IQ4_XS.gguf",
    "Llama-3.2-1B-Instruct-Q4_K_M.gguf",
    "Llama-3.2-1B-Instruct-Q8_0.gguf",
    "Llama-3.2-1B-Instruct-UD-Q2_K_XL.gguf",
    *(f"BF16/{name}" for name in shards("Llama-3.2-1B-Instruct-BF16", 2, ".gguf")),
]


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        (None, ["Llama-3.2-1B-Instruct-Q4_K_M.gguf"]),
        ("Q8_0", ["Llama-3.2-1B-Instruct-Q8_0.gguf"]),
        ("q8_0", ["Llama-3.2-1B-Instruct-Q8_0.gguf"]),
        ("UD-Q2_K_XL", ["Llama-3.2-1B-Instruct-UD-Q2_K_XL.gguf"]),
        ("IQ4_XS", ["Llama-3.2-1B-Instruct-IQ4_XS.gguf"]),
        ("BF16", [f"BF16/{name}" for name in shards("Llama-3.2-1B-Instruct-BF16", 2, ".gguf")]),
        ("Llama-3.2-1B-Instruct-Q8_0.gguf", ["Llama-3.2-1B-Instruct-Q8_0.gguf"]),
    ],
)
def test_quantizations(asked: str | None, expected: list[str]) -> None:
    found = weight_files(listing(GGUF), quantization=asked)
    assert taken(found) == expected
    assert found is not None
    assert found.format == "gguf"
    assert [note.code for note in found.notes] == ([] if asked else ["default_quantization"])


def test_an_unknown_quantization_names_the_known_ones() -> None:
    with pytest.raises(NoWeightsError) as caught:
        weight_files(listing(GGUF), quantization="Q3_K_M")
    assert "Q8_0" in caught.value.hint
    assert "IQ4_XS" in caught.value.hint


@pytest.mark.parametrize(
    ("asked", "message", "hint"),
    [
        ("Q4_0", "no quantization 'Q4_0' to choose", ":Q4_0, or"),
        ("Q4_0", "has no GGUF files", "--quantize q4_0 --runtime llama.cpp"),
        ("model-Q4_0.gguf", "has no GGUF files, so no 'model-Q4_0.gguf'", "Leave out the file"),
    ],
)
def test_a_quantization_needs_gguf_files(asked: str, message: str, hint: str) -> None:
    with pytest.raises(NoWeightsError, match=message) as caught:
        weight_files(listing(["config.json", "model.safetensors"]), quantization=asked)
    assert hint in caught.value.hint


@pytest.mark.parametrize(
    ("names", "because"),
    [
        (["config.json", *shards("model", 3)[:2]], "incomplete"),
        (["a.safetensors", "b.safetensors"], "several sets"),
        (["checkpoint-1000/model.safetensors", "checkpoint-500/model.safetensors"], "several sets"),
        (["model-00001-of-99999.safetensors"], "incomplete"),
    ],
)
def test_no_whole_model(names: list[str], because: str) -> None:
    with pytest.raises(NoWeightsError, match=because):
        weight_files(listing(names))


@pytest.mark.parametrize(
    "names",
    [
        [],
        ["README.md", "config.json", "tokenizer.json", "vocab.txt"],
        ["training_args.bin"],
        # Names that would leave the repository are not files of it.
        ["../model.safetensors", "/etc/model.safetensors", "..\\model.safetensors"],
        ["a/../model.safetensors", "C:model.safetensors", "a//model.safetensors"],
        ["model\n.safetensors"],
    ],
)
def test_no_weights(names: list[str]) -> None:
    assert weight_files(listing(names)) is None


def test_unsafe_names_are_said() -> None:
    found = weight_files(listing(["model.safetensors", "../model-00001-of-00001.safetensors"]))
    assert taken(found) == ["model.safetensors"]
    assert found is not None
    assert [note.code for note in found.notes] == ["unsafe_name"]


INDEX = "model.safetensors.index.json"


@pytest.mark.parametrize(
    "names",
    [
        # Names of no convention, and two whole sets: the index tells.
        [INDEX, "part-a.safetensors", "part-b.safetensors"],
        [INDEX, *shards("model", 2), *shards("model", 3)],
    ],
)
def test_an_index_is_asked_for_where_the_names_leave_a_doubt(names: list[str]) -> None:
    found = weight_files(listing(names))
    assert found is not None
    assert (found.index, found.files) == (INDEX, ())
    chosen = names[1:3]
    assert taken(weight_files(listing(names), index_names={INDEX: chosen})) == chosen


def test_an_index_in_a_component_is_asked_for() -> None:
    names = [
        "model_index.json",
        f"text_encoder/{INDEX}",
        "text_encoder/x.safetensors",
        "text_encoder/y.safetensors",
    ]
    documents = {"model_index.json": {"text_encoder": ["transformers", "T5EncoderModel"]}}
    found = weight_files(listing(names), documents=documents)
    assert found is not None
    assert found.index == f"text_encoder/{INDEX}"
    again = weight_files(
        listing(names),
        documents=documents,
        index_names={f"text_encoder/{INDEX}": ["x.safetensors", "y.safetensors"]},
    )
    assert taken(again) == names[2:]


@pytest.mark.parametrize("missing", ["model-00002-of-00002.safetensors", "../x.safetensors"])
def test_an_index_that_names_an_absent_file(missing: str) -> None:
    with pytest.raises(NoWeightsError, match="not in the repository"):
        weight_files(listing([INDEX, *shards("model", 2)[:1]]), index_names={INDEX: [missing]})


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        (
            {"transformers_weights": "weights/quantized.safetensors"},
            ["weights/quantized.safetensors"],
        ),
        ({"transformers_weights": "../quantized.safetensors"}, ["model.safetensors"]),
        ({"transformers_weights": "absent.safetensors"}, ["model.safetensors"]),
        ({"transformers_weights": 1}, ["model.safetensors"]),
    ],
)
def test_the_configuration_may_name_the_file(
    config: Mapping[str, object], expected: Sequence[str]
) -> None:
    names = ["model.safetensors", "weights/quantized.safetensors"]
    assert taken(weight_files(listing(names), config=config)) == expected


def test_an_unknown_size_is_no_sum() -> None:
    files = [RepoFile(name=name, bytes=None) for name in shards("model", 2)]
    found = weight_files(files)
    assert found is not None
    assert found.total_bytes is None


@given(
    st.lists(
        st.sampled_from(
            [
                *GPT2,
                *MISTRAL,
                *LLAMA,
                *WHISPER,
                *MPNET,
                *SDXL,
                *GGUF,
                INDEX,
                "model_index.json",
                "x.safetensors",
            ]
        ),
        unique=True,
    )
)
def test_no_file_is_ever_taken_twice(names: list[str]) -> None:
    try:
        found = weight_files(listing(names))
    except NoWeightsError:
        return
    if found is None:
        return
    files = taken(found)
    assert len(set(files)) == len(files)
    assert set(files) <= set(names)
    assert sum(item.file_count for item in found.alternatives) + len(files) <= len(names)


@pytest.mark.parametrize(
    ("raw", "names"),
    [
        (
            b'{"metadata": {}, "weight_map": {"a": "1.safetensors", "b": "2.safetensors"}}',
            2,
        ),
        (b'{"weight_map": {"a": "1.safetensors", "b": "1.safetensors"}}', 1),
    ],
)
def test_shard_names(raw: bytes, names: int) -> None:
    assert len(shard_names(raw, file=INDEX)) == names


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"[]",
        b"{}",
        b'{"weight_map": {}}',
        b'{"weight_map": []}',
        b'{"weight_map": {"a": ["1.safetensors"]}}',
        b'{"weight_map": {"a": 1}}',
        b'{"weight_map": {"a": "../../../../etc/passwd"}}',
        b'{"weight_map": {"a": "http://127.0.0.1:1/x.safetensors"}}',
        b'{"weight_map": {"a": "/x.safetensors"}}',
        b'{"weight_map": {"a": "x.bin"}}',
        b'{"weight_map": {"a": "x.safetensors", "a": "y.safetensors"}}',
        json.dumps({"weight_map": {str(n): f"{n}.safetensors" for n in range(4097)}}).encode(),
    ],
)
def test_shard_names_refused(raw: bytes) -> None:
    with pytest.raises(MalformedHeaderError, match=r"index\.json"):
        shard_names(raw, file=INDEX)


@pytest.mark.shared
def test_published_indexes(shared: Path) -> None:
    """The names of every published index tell, without it, which files it names."""
    seen = 0
    for path in sorted((shared / "corpus" / "index").glob("*.json")):
        named = set(json.loads(path.read_text())["weight_map"].values())
        torch = "pytorch_bin" in path.name
        if not torch:
            assert set(shard_names(path.read_bytes(), file=INDEX)) == named
        diffusers = "diffusion_pytorch_model" in min(named)
        index = f"diffusion_pytorch_{INDEX}" if diffusers else INDEX
        found = weight_files(listing([index, *sorted(named)]))
        assert set(taken(found)) == named
        assert found is not None
        assert (found.index, found.format) == (None, "torch" if torch else "safetensors")
        seen += 1
    assert seen == 30

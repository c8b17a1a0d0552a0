"""Files of llama.cpp from shapes alone: bits a weight, tensor bytes, published files."""

from __future__ import annotations

import json
import statistics
from pathlib import Path

import pytest

from hfmem.checkpoint.gguf import parse_header
from hfmem.checkpoint.gguf_set import joined
from hfmem.checkpoint.snapshot import GGUF_DOCUMENT, Checkpoint, Snapshot
from hfmem.checkpoint.tensor import runs
from hfmem.memory.quantize import convert, scheme
from hfmem.memory.quantize.llama_names import Role, role
from hfmem.memory.quantize.llama_rules import fitting, more_bits
from hfmem.model.describe import describe
from hfmem.model.model import Model
from hfmem.source.recorded import bundled
from tests.gguf_files import gguf, llama

LLAMA = "meta-llama/Llama-3.1-8B-Instruct"
LLAMA_1B = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "torch_dtype": "bfloat16",
    "hidden_size": 2048,
    "intermediate_size": 8192,
    "num_hidden_layers": 16,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "head_dim": 64,
    "vocab_size": 128256,
    "tie_word_embeddings": True,
    "rope_scaling": {"rope_type": "llama3", "factor": 32.0},
}


def model(name: str) -> Model:
    if name == "meta-llama/Llama-3.2-1B-Instruct":
        return configured(LLAMA_1B)
    found = bundled(name)
    assert found is not None
    return describe(found)


def configured(config: dict[str, object]) -> Model:
    return describe(
        Snapshot(
            model="a/test",
            revision=None,
            source="local",
            config=config,
            documents={},
            files=(),
            checkpoint=None,
        )
    )


def size(found: Model, file_type: str, *, imatrix: bool = False) -> int:
    return convert(found, scheme(file_type), dtype="BF16", imatrix=imatrix).weights.bytes


@pytest.mark.parametrize(
    ("file_type", "bits"),
    # llama.cpp tools/quantize/README.md, the table of Llama-3.1-8B.
    [
        ("IQ1_S", 2.0042),
        ("IQ1_M", 2.1460),
        ("IQ2_XXS", 2.3824),
        ("IQ2_XS", 2.5882),
        ("IQ2_S", 2.7403),
        ("IQ2_M", 2.9294),
        ("IQ3_XXS", 3.2548),
        ("IQ3_XS", 3.4977),
        ("IQ3_S", 3.6606),
        ("IQ3_M", 3.7628),
        ("IQ4_XS", 4.4597),
        ("IQ4_NL", 4.6818),
        ("Q2_K_S", 2.9697),
        ("Q2_K", 3.1593),
        ("Q3_K_S", 3.6429),
        ("Q3_K_L", 4.2979),
        ("Q4_K_S", 4.6672),
        ("Q4_K_M", 4.8944),
        ("Q5_K_S", 5.5704),
        ("Q5_K_M", 5.7036),
        ("Q6_K", 6.5633),
        ("Q8_0", 8.5008),
        ("F16", 16.0005),
    ],
)
def test_bits_a_weight(file_type: str, bits: float) -> None:
    # Its parameters are the 8,030,261,248 and the 64 rotary factors of the file.
    assert round(size(model(LLAMA), file_type) * 8 / 8_030_261_312, 4) == bits


@pytest.mark.parametrize(
    ("name", "file_type", "published", "metadata"),
    # Sizes of the files on the Hub (bartowski, unsloth) and of what lies before their tensors: 39
    # to 61 bytes for each entry of the vocabulary.
    [
        (LLAMA, "Q4_K_M", 4_920_739_232, 7_840_928),
        (LLAMA, "Q5_K_M", 5_730_000_000, 7_840_928),
        (LLAMA, "Q6_K", 6_600_000_000, 7_840_928),
        (LLAMA, "Q8_0", 8_540_000_000, 7_840_928),
        ("meta-llama/Llama-3.2-1B-Instruct", "Q4_K_M", 807_694_464, 7_831_552),
        ("Qwen/Qwen3-30B-A3B", "Q4_K_M", 18_556_685_824, 5_969_408),
        ("meta-llama/Llama-3.1-70B-Instruct", "Q4_K_M", 42_520_000_000, 7_840_928),
        ("meta-llama/Llama-3.1-70B-Instruct", "Q8_0", 74_980_000_000, 7_840_928),
    ],
)
def test_published_files(name: str, file_type: str, published: int, metadata: int) -> None:
    assert abs(size(model(name), file_type) + metadata - published) <= published * 0.002


def test_an_importance_matrix_changes_the_mix() -> None:
    # The same table, for files that are made with one.
    found = model(LLAMA)
    assert round(size(found, "iq4_xs", imatrix=True) * 8 / 8_030_261_312, 4) == 4.4231
    assert size(found, "q4_0", imatrix=True) == 4_668_055_808


def test_the_encoder_is_a_file_of_its_own() -> None:
    found = convert(model("google/gemma-3-27b-it"), scheme("q4_k_m"), dtype="BF16")
    parts = {part.name: part.bytes for part in found.weights.parts}
    vision = sum(
        run.run.total_bytes
        for run in model("google/gemma-3-27b-it").weights or ()
        if run.component in ("vision", "projector")
    )
    assert parts["mmproj"] == vision


@pytest.mark.parametrize(
    ("name", "wanted"),
    # llama.cpp gguf-py/gguf/tensor_mapping.py.
    [
        ("model.layers.{}.self_attn.v_proj.weight", "attn_v"),
        ("transformer.h.{}.attn.c_attn.weight", "attn_v"),
        ("model.layers.{}.self_attn.qkv_proj.weight", "attn_v"),
        ("model.layers.{}.self_attn.o_proj.weight", "attn_output"),
        ("model.layers.{}.mlp.experts.{}.down_proj.weight", "ffn_down"),
        ("model.layers.{}.block_sparse_moe.experts.{}.w2.weight", "ffn_down"),
        ("model.layers.{}.block_sparse_moe.experts.{}.w1.weight", "ffn_gate"),
        ("model.layers.{}.block_sparse_moe.gate.weight", "plain"),
        ("model.layers.{}.mlp.experts.gate_up_proj", "ffn_gate_up"),
        ("model.layers.{}.mlp.gate_up_proj.weight", "ffn_up"),
        ("model.layers.{}.self_attn.kv_b_proj.weight", "kv_b"),
        ("model.layers.{}.self_attn.q_a_proj.weight", "other"),
        ("model.layers.{}.linear_attn.out_proj.weight", "other"),
        ("model.embed_tokens.weight", "token_embd"),
        ("transformer.wpe.weight", "plain"),
        ("lm_head.weight", "output"),
    ],
)
def test_roles(name: str, wanted: Role) -> None:
    assert role(name) == wanted


@pytest.mark.parametrize(
    ("wanted", "columns", "found"),
    # src/llama-quant.cpp: tensor_type_fallback.
    [
        ("Q4_K", 4096, "Q4_K"),
        ("Q4_K", 2880, "Q5_0"),
        ("Q6_K", 2880, "Q8_0"),
        ("IQ4_XS", 2880, "IQ4_NL"),
        ("Q2_K", 1152, "Q4_0"),
        ("Q8_0", 1000, "F16"),
    ],
)
def test_rows_that_blocks_do_not_divide(wanted: str, columns: int, found: str) -> None:
    assert fitting(wanted, columns) == found


def test_more_bits() -> None:
    # 32 layers: four at each end, and every third of those between.
    assert [number for number in range(32) if more_bits(number, 32)] == [
        *range(4),
        *(6, 9, 12, 15, 18, 21, 24, 27),
        *range(28, 32),
    ]


@pytest.mark.shared
def test_sizes_that_engines_printed(shared: Path) -> None:
    """The size of a file as llama.cpp and ik_llama.cpp print it, of models whose shapes are known.

    Above 1 %: Kimi-K2 in IQ3_XXS, a custom mix of ik_llama.cpp.
    """
    configs = {
        path.stem.replace("--", "/", 1): path
        for path in (shared / "corpus" / "configs").glob("*.json")
    }
    errors: list[float] = []
    for line in (shared / "measured" / "cases.jsonl").read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        printed = row["measured"].get("weights_gib")
        kind = str(row["quant"]).removeprefix("GGUF ")
        if printed is None or row["kind"] != "measured" or not _plain(kind):
            continue
        if row["model"] not in configs or not str(row["quant"]).startswith("GGUF"):
            continue
        config = json.loads(configs[row["model"]].read_text(encoding="utf-8"))
        config.pop("quantization_config", None)
        found = configured({"torch_dtype": "bfloat16", **config})
        if found.unpacked is None:
            continue
        parts = convert(found, scheme(kind), dtype="BF16").weights.parts
        predicted = sum(part.bytes for part in parts if part.name != "mmproj") / 2**30
        errors.append(abs(predicted / printed - 1))
    assert len(errors) >= 8
    assert statistics.median(errors) <= 0.005


def _plain(kind: str) -> bool:
    return kind in {"Q8_0", "F16", "Q2_K", "Q4_0", "Q6_K", "Q4_K_M", "IQ3_XXS", "IQ4_XS"}


def test_a_gguf_file_of_16_bits_is_quantized_by_its_own_names() -> None:
    """As the safetensors it was converted from, to the byte: 4,912,898,304 in Q4_K_M."""
    shapes = {
        "attn_q": (4096, 4096),
        "attn_k": (1024, 4096),
        "attn_v": (1024, 4096),
        "attn_output": (4096, 4096),
        "ffn_gate": (14336, 4096),
        "ffn_up": (14336, 4096),
        "ffn_down": (4096, 14336),
    }
    tensors: dict[str, tuple[str, tuple[int, ...]]] = {
        "token_embd.weight": ("F16", (128256, 4096)),
        "rope_freqs.weight": ("F32", (64,)),
        "output_norm.weight": ("F32", (4096,)),
        "output.weight": ("F16", (128256, 4096)),
    }
    for layer in range(32):
        for name, shape in shapes.items():
            tensors[f"blk.{layer}.{name}.weight"] = ("F16", shape)
        for name in ("attn_norm", "ffn_norm"):
            tensors[f"blk.{layer}.{name}.weight"] = ("F32", (4096,))
    file = gguf(llama(), tensors)
    header = parse_header(file.head, file="m-F16.gguf", file_bytes=file.size)
    files, keys = joined([("m-F16.gguf", header)], component="")
    half = describe(
        Snapshot(
            model="a/test",
            revision=None,
            source="local",
            config=None,
            documents={GGUF_DOCUMENT: keys},
            files=(),
            checkpoint=Checkpoint(
                files=("m-F16.gguf",), tensors=runs(files[0].header.tensors), metadata={}
            ),
        )
    )
    assert size(half, "q4_k_m") == 4_912_898_304
    for file_type in ("q2_k", "q3_k_l", "q5_k_m", "q6_k", "q8_0", "iq2_m", "iq4_xs"):
        assert size(half, file_type) == size(model(LLAMA), file_type)


# gguf-py/gguf/tensor_mapping.py: the same tensor under both names.
@pytest.mark.parametrize(
    ("hub", "file"),
    [
        ("model.embed_tokens.weight", "token_embd.weight"),
        ("lm_head.weight", "output.weight"),
        ("model.layers.{}.self_attn.q_proj.weight", "blk.{}.attn_q.weight"),
        ("model.layers.{}.self_attn.k_proj.weight", "blk.{}.attn_k.weight"),
        ("model.layers.{}.self_attn.v_proj.weight", "blk.{}.attn_v.weight"),
        ("model.layers.{}.self_attn.o_proj.weight", "blk.{}.attn_output.weight"),
        ("model.layers.{}.mlp.gate_proj.weight", "blk.{}.ffn_gate.weight"),
        ("model.layers.{}.mlp.experts.{}.up_proj.weight", "blk.{}.ffn_up_exps.weight"),
        ("model.layers.{}.mlp.down_proj.weight", "blk.{}.ffn_down.weight"),
        ("model.layers.{}.mlp.gate.weight", "blk.{}.ffn_gate_inp.weight"),
    ],
)
def test_a_tensor_has_its_role_under_both_names(hub: str, file: str) -> None:
    assert role(hub) == role(file)

"""What mlx-lm makes of a checkpoint: packed as it is, expanded to bf16 as it loads, or refused.

Read from mlx-lm 0.32.2: utils.py (load_model, _transform_awq_weights) and the ``sanitize`` of
models/*.py.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct
from msgspec.structs import replace

from hfmem.memory.quantize import scheme
from hfmem.memory.quantize.convert import as_converted, convert
from hfmem.memory.term import Term, total
from hfmem.memory.weights import Expansion, loaded_bytes
from hfmem.memory.weights import weights as held_weights

if TYPE_CHECKING:
    from hfmem.memory.workload import Workload
    from hfmem.model.model import Model
    from hfmem.model.weights import WeightRun

TOWERS = frozenset({"vision", "audio", "projector"})
MODEL_TYPES = frozenset(
    {
        *("afm7", "afmoe", "apertus", "baichuan_m1", "bailing_hybrid", "bailing_moe"),
        *("bailing_moe_linear", "bailing_moe_v3", "bitnet", "cohere", "cohere2", "dbrx"),
        *("deepseek", "deepseek_v2", "deepseek_v3", "deepseek_v32", "deepseek_v41"),
        *("deepseek_v41_text", "dots1", "ernie4_5", "ernie4_5_moe", "exaone", "exaone4"),
        *("exaone_moe", "falcon_h1", "falcon_mamba", "gear", "gemma", "gemma2", "gemma3"),
        *("gemma3_text", "gemma3n", "gemma4", "gemma4_text", "gemma4_unified", "glm", "glm4"),
        *("glm4_moe", "glm4_moe_lite", "glm_moe_dsa", "gpt2", "gpt_bigcode", "gpt_neox"),
        *("gpt_oss", "gptj", "granite", "granitemoe", "granitemoehybrid", "helium", "hunyuan"),
        *("hunyuan_v1_dense", "internlm2", "internlm3", "iquestcoder", "iquestloopcoder", "jamba"),
        *("joyai_llm_flash", "kimi_k2", "kimi_k25", "kimi_k3", "kimi_linear", "kimi_vl", "Klear"),
        *("laguna", "lfm2", "lfm2-vl", "lfm2_moe", "lille-130m", "llama", "llama4", "llama4_text"),
        *("llava", "longcat_flash", "longcat_flash_ngram", "mamba", "mamba2", "mellum", "mimo"),
        *("mimo_v2_flash", "minicpm", "minicpm3", "minimax", "minimax_m2", "minimax_m3_vl"),
        *("ministral3", "mistral", "mistral3", "mistral4", "mixtral", "muse_glimmer"),
        *("muse_spark", "nanbeige", "nanochat", "nemotron", "nemotron-nas", "nemotron_h", "olmo"),
        *("olmo2", "olmo3", "olmo_hybrid", "olmoe", "openelm", "phi", "phi-msft", "phi3"),
        *("phi3small", "phimoe", "phixtral", "pixtral", "plamo", "plamo2", "plamo3", "qwen"),
        *("qwen2", "qwen2_5_vl", "qwen2_moe", "qwen2_vl", "qwen3", "qwen3_5", "qwen3_5_moe"),
        *("qwen3_moe", "qwen3_next", "qwen3_vl", "qwen3_vl_moe", "recurrent_gemma", "rwkv7"),
        *("seed_oss", "smollm3", "solar_open", "spark2_5", "stablelm", "starcoder2", "step3p5"),
        *("talkie", "telechat3", "xverse", "youtu_llm"),
    }
)
"""models/*.py and utils.py: MODEL_REMAPPING."""
_EXPANDS_FP8 = frozenset(
    {
        *("deepseek_v3", "kimi_k2", "kimi_k25", "joyai_llm_flash", "deepseek_v32", "glm_moe_dsa"),
        *("minimax", "minimax_m2", "mimo_v2_flash", "mistral3", "ministral3", "mistral4"),
    }
)
"""Model types whose ``sanitize`` multiplies ``weight`` by ``weight_scale_inv`` into bf16."""
_TAKES_PACKED = frozenset({"deepseek_v3", "kimi_k2", "kimi_k25", "joyai_llm_flash", "mistral4"})
"""Model types whose ``sanitize`` renames compressed-tensors' ``weight_packed``."""
_POWER_OF_TWO = frozenset({"F8_E8M0", "U8"})


class Loading(Struct, frozen=True, kw_only=True):
    """What happens to packed weights on their way into memory."""

    expansion: Expansion | None = None
    """To bf16; None where they stay packed."""
    offsets: bool = False
    """Whether every scale gets an offset of its size beside it, in place of zero points."""
    refusal: str | None = None
    """Why mlx-lm does not load them."""


def loading(model: Model) -> Loading:
    """By the packed formats that the checkpoint holds.

    DeepSeek-V3's FP8 becomes bf16: 671 B parameters of 2 bytes.
    """
    if model.gguf_architecture is not None:
        return _refused("does not read GGUF files")
    kind = model.model_type or ""
    if model.model_type is not None and kind not in MODEL_TYPES:
        return Loading(refusal=f"mlx-lm has no model of the type {kind!r:.60}")
    runs = [run for run in model.weights or () if run.packed and run.loaded]
    formats = {run.format or "an unknown format" for run in runs if run.role == "weight"}
    if all(one in ("MLX", "MXFP4 blocks") or one.startswith("mlx-") for one in formats):
        return Loading()
    if formats <= {"FP8", "FP8, fused experts"}:
        if any(run.role == "scale" and run.run.dtype in _POWER_OF_TWO for run in runs):
            return Loading()
        if kind in _EXPANDS_FP8:
            return Loading(expansion=Expansion(width=2, keeps_scales=False))
        return _refused(f"expands FP8 in some families only, and {kind or 'this'} is none of them")
    if formats == {"GPTQ or AWQ"}:
        if any(run.run.name.endswith(".g_idx") for run in runs):
            return _refused("does not take a checkpoint of GPTQ with g_idx")
        if any(_bits(run) != 4 for run in runs if run.role == "weight"):
            return _refused("takes 4 bits of AWQ and GPTQ only")
        return Loading(offsets=True)
    if formats == {"compressed-tensors, packed"} and kind in _TAKES_PACKED:
        return Loading(offsets=True)
    if formats <= {"NVFP4, MXFP4 or BitNet", "compressed-tensors, FP4", "NVFP4, fused experts"}:
        return Loading()
    return _refused(f"has no loader for weights in {', '.join(sorted(formats))}")


def _refused(why: str) -> Loading:
    return Loading(
        refusal=f"mlx-lm {why}; convert the 16-bit model: mlx_lm.convert --hf-path MODEL -q"
    )


def _bits(run: WeightRun) -> int | None:
    """Of a weight in words of 32 bits."""
    return run.run.elements * 32 // run.logical if run.logical else None


def held(model: Model, *, dtype: str) -> Term:
    """The weights as mlx-lm holds them, without encoders of pictures and sound."""
    runs = tuple(run for run in model.weights or () if run.component not in TOWERS)
    return _loaded(model, runs, dtype=dtype)


def _loaded(model: Model, runs: tuple[WeightRun, ...], *, dtype: str) -> Term:
    how = loading(model)
    if not how.offsets:
        return held_weights(runs, dtype=dtype, model_type=None, expansion=how.expansion)
    kept = tuple(run for run in runs if run.role not in ("zero_point", "bookkeeping"))
    found = held_weights(kept, dtype=dtype, model_type=None)
    offsets = sum(run.run.total_bytes for run in kept if run.role == "scale" and run.loaded)
    part = Term(
        name="offsets",
        bytes=offsets,
        basis="derived",
        because="one for every scale (mlx-lm utils.py: _transform_awq_weights)",
    )
    return total("weights", (*found.parts, part), because=found.because)


def _kept(model: Model) -> frozenset[str]:
    """Components whose weights ``mlx_lm.convert -q`` leaves in MXFP4: it quantizes the modules that
    are not quantized yet (utils.py: quantize_model)."""
    packed = [run for run in model.weights or () if run.packed and run.loaded]
    formats = {run.format for run in packed if run.role == "weight"}
    return (
        frozenset(run.component for run in packed) if formats == {"MXFP4 blocks"} else frozenset()
    )


def converted(model: Model, name: str, *, dtype: str) -> Model:
    """The model as ``mlx_lm.convert -q`` makes it. Raises UsageError.

    gpt-oss-20b in 8 bits: its experts stay in MXFP4, the rest takes 8.5 bits a weight.
    """
    made, kept = as_converted(model, scheme(name, runtime="mlx"), dtype=dtype), _kept(model)
    runs = [run for run in made.weights or () if run.component not in kept]
    runs += [run for run in model.weights or () if run.component in kept]
    return replace(made, weights=tuple(runs))


def bytes_in(model: Model, name: str | None, _workload: Workload) -> tuple[int, int]:
    """Bytes of the weights in a scheme of MLX, as loaded and in the files. Raises UsageError.

    Encoders of pictures and sound are in the files only. Llama-3.1-8B in 4 bits and groups of 64:
    4.5 bits a weight, embedding and head too, beside norms in 16 bits.
    """
    if name is None:
        return held(model, dtype=model.dtype).bytes, sum(
            run.run.total_bytes for run in model.weights or () if run.loaded
        )
    sizes: dict[str, int] = {}
    if name == "bf16":
        for run in model.weights or ():
            size = 2 * (run.logical or 0) * run.run.count if run.loaded else 0
            sizes[run.component] = sizes.get(run.component, 0) + size
    else:
        parts = convert(model, scheme(name, runtime="mlx"), dtype=model.dtype).weights.parts
        sizes = {part.name: part.bytes for part in parts}
        kept = _kept(model)
        sizes |= dict.fromkeys(kept, 0)
        for run in model.weights or ():
            if run.component in kept:
                size = loaded_bytes(run, dtype=model.dtype, model_type=None)
                sizes[run.component] += size if run.loaded else 0
    return sum(size for what, size in sizes.items() if what not in TOWERS), sum(sizes.values())

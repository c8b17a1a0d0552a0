"""What an engine makes of a scheme that it is asked to load a checkpoint in.

Engines quantize 16-bit weights as they load. Of a checkpoint that is quantized already they keep
its own settings, where the one asked for is of the same kind, or refuse.
"""

from __future__ import annotations

from collections.abc import Mapping

from msgspec.structs import replace

from hfmem.checkpoint.snapshot import Note
from hfmem.errors import UsageError
from hfmem.memory.quantize.schemes import scheme
from hfmem.memory.workload import Workload
from hfmem.model.model import Model
from hfmem.runtimes.llama_cpp_weights import requantized

_BITSANDBYTES = frozenset({"bitsandbytes", "bitsandbytes_4bit", "bitsandbytes_8bit"})
_SAME_KIND: Mapping[str, Mapping[str, frozenset[str]]] = {
    # transformers 5.23 quantizers/auto.py: AUTO_QUANTIZATION_CONFIG_MAPPING, by class.
    "transformers": {
        "fp8": frozenset({"fp8", "mxfp8"}),
        **dict.fromkeys(("int8", "nf4", "nf4-dq"), _BITSANDBYTES),
        "torchao": frozenset({"torchao"}),
        "hqq": frozenset({"hqq"}),
        "mxfp4": frozenset({"mxfp4"}),
        "nvfp4": frozenset({"nvfp4"}),
    },
    "vllm": {"fp8": frozenset({"fp8"}), "nf4": _BITSANDBYTES},
    "sglang": {"fp8": frozenset({"fp8"})},
}
"""By engine, the schemes that it makes as it loads (torchao's and hqq's by their first word), and
the ``quant_method`` of checkpoints that it loads in the same way."""
_RULES = {
    "transformers": "transformers takes settings of the checkpoint's own kind only "
    "(quantizers/auto.py: merge_quantization_configs)",
    "vllm": "vLLM takes the checkpoint's own method only (config/model.py: _verify_quantization)",
    "sglang": "SGLang takes the checkpoint's own method only (configs/model_config.py: "
    "_verify_quantization)",
}
_TWICE = (
    "vLLM would quantize it a second time as it loads (config/quantization.py: "
    "resolve_quantization_config), which it does for few kinds of weights "
    "(quantization/base_config.py: dequantize_weight)"
)


def settled(model: Model, workload: Workload) -> tuple[Workload, tuple[Note, ...]]:
    """The workload as its engine would load the checkpoint, and what to say of it.

    DeepSeek-V3, whose checkpoint is FP8, asked for in fp8 is loaded as it is. Raises UsageError
    where the engine refuses: DeepSeek-V3 in nf4.
    """
    asked, method = workload.quantize, (model.quantization or "").lower()
    if not asked or model.pipeline is not None or model.gguf_architecture is not None:
        return workload, ()
    engine, one = workload.runtime, scheme(asked, runtime=workload.runtime)
    if engine == "transformers" and one.name == "mxfp4" and model.model_type != "gpt_oss":
        message = (
            f"--quantize {asked} changes nothing: transformers takes the experts of gpt-oss alone "
            "to MXFP4 (integrations/mxfp4.py: replace_with_mxfp4_linear)."
        )
        return replace(workload, quantize=None), (Note(code="quantizes_nothing", message=message),)
    if not method:
        return workload, ()
    if one.file_type is not None:
        if engine not in ("llama.cpp", "ollama") or not requantized(model, one.file_type):
            return workload, ()
        message = (
            f"The conversion keeps the experts in MXFP4; in {asked} they are after llama-quantize "
            "--allow-requantize only (src/llama-quant.cpp)."
        )
        return workload, (Note(code="requantized", message=message),)
    named = one.name
    word = named.split("-")[0]
    kinds = _SAME_KIND.get(engine, {})
    same = kinds.get(named, kinds.get(word if word in ("torchao", "hqq") else ""))
    if same is None:
        return workload, ()  # Another checkpoint.
    prevails = engine == "vllm" and _prevails(model, method)
    if method in same or (prevails and named == "nf4"):
        message = (
            f"The checkpoint is quantized with {method[:40]} already: {engine} loads it as it is, "
            f"and --quantize {asked} changes nothing."
        )
        return replace(workload, quantize=None), (Note(code="quantized_already", message=message),)
    raise UsageError(
        f"{model.name!r:.120} is quantized with {method[:40]} already and cannot be loaded in "
        f"{asked}: {_TWICE if prevails else _RULES[engine]}.",
        hint="Leave --quantize out, or name the 16-bit checkpoint that it was made from; the "
        "precision table without --quantize has what that would take.",
    )


def loads(model: Model, workload: Workload) -> bool:
    """Whether the engine loads the model in the scheme that is asked for, or a checkpoint made
    so."""
    try:
        return settled(model, workload)[0].quantize is not None
    except UsageError:
        return False


def _prevails(model: Model, method: str) -> bool:
    """Checkpoints whose method vLLM takes whatever is asked for (override_quantization_method of
    quantization/mxfp4.py, modelopt.py and inc/inc.py)."""
    own = ("modelopt", "modelopt_fp4", "modelopt_mixed", "nvfp4", "auto-round")
    return method in own or (method == "mxfp4" and model.model_type == "gpt_oss")

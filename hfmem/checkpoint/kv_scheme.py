"""The type of the KV cache that a quantized checkpoint asks for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

_SECTIONS = ("text_config", "llm_config", "language_config", "thinker_config")
_FP8 = {"fp8", "fp8_e4m3", "float8_e4m3fn"}
_NVFP4 = {"nvfp4"}


def kv_scheme(
    config: Mapping[str, object] | None, documents: Mapping[str, Mapping[str, object]]
) -> str | None:
    """``fp8`` or ``nvfp4`` where the quantization names a type for the cache; None for none.

    compressed-tensors writes ``kv_cache_scheme: {"num_bits": 8, "type": "float"}``, ModelOpt
    ``kv_cache_quant_algo: "FP8"`` (vLLM 0.33 utils/torch_utils.py:
    get_kv_cache_quant_algo_string, attention.py for compressed-tensors).
    """
    for settings in _settings(config or {}, documents):
        for key in ("kv_cache_scheme", "kv_cache_quant_algo"):
            found = settings.get(key)
            if isinstance(found, Mapping) and found.get("type") == "float":
                return {8: "fp8", 4: "nvfp4"}.get(_whole(found.get("num_bits")))
            if isinstance(found, str):
                name = found.lower()
                return "fp8" if name in _FP8 else "nvfp4" if name in _NVFP4 else None
    return None


def _whole(value: object) -> int:
    return value if type(value) is int else 0


def _settings(
    config: Mapping[str, object], documents: Mapping[str, Mapping[str, object]]
) -> Iterator[Mapping[str, object]]:
    sections = (config, *(config.get(name) for name in _SECTIONS))
    declared = [one.get("quantization_config") for one in sections if isinstance(one, Mapping)]
    for settings in (*declared, documents.get("hf_quant_config.json")):
        if isinstance(settings, Mapping):
            yield settings
            if isinstance(inner := settings.get("quantization"), Mapping):
                yield inner

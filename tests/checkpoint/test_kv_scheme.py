"""The cache's type as quantized checkpoints write it."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from hfmem.checkpoint.kv_scheme import kv_scheme

COMPRESSED = {"num_bits": 8, "type": "float", "strategy": "tensor"}


# vLLM 0.33 utils/torch_utils.py: get_kv_cache_quant_algo_string; the files of llm-compressor and
# of ModelOpt.
@pytest.mark.parametrize(
    ("config", "documents", "found"),
    [
        ({}, {}, None),
        (None, {}, None),
        ({"quantization_config": {"kv_cache_scheme": COMPRESSED}}, {}, "fp8"),
        ({"quantization_config": {"kv_cache_scheme": None}}, {}, None),
        (
            {"quantization_config": {"kv_cache_scheme": {"num_bits": 4, "type": "float"}}},
            {},
            "nvfp4",
        ),
        ({"quantization_config": {"kv_cache_scheme": {"num_bits": 8, "type": "int"}}}, {}, None),
        (
            {"quantization_config": {"kv_cache_scheme": {"num_bits": True, "type": "float"}}},
            {},
            None,
        ),
        ({"text_config": {"quantization_config": {"kv_cache_scheme": COMPRESSED}}}, {}, "fp8"),
        ({}, {"hf_quant_config.json": {"quantization": {"kv_cache_quant_algo": "FP8"}}}, "fp8"),
        ({}, {"hf_quant_config.json": {"quantization": {"kv_cache_quant_algo": "NVFP4"}}}, "nvfp4"),
        ({}, {"hf_quant_config.json": {"quantization": {"kv_cache_quant_algo": None}}}, None),
        ({"quantization_config": {"quant_method": "gptq", "bits": 4}}, {}, None),
        ({"quantization_config": "fp8"}, {}, None),
    ],
)
def test_schemes(
    config: Mapping[str, object] | None,
    documents: Mapping[str, Mapping[str, object]],
    found: str | None,
) -> None:
    assert kv_scheme(config, documents) == found

"""The flags of the engines of one machine: llama.cpp, Ollama, MLX and transformers."""

from __future__ import annotations

from hfmem.flag import Flag

_GGML = ("llama.cpp", "ollama")
_CACHE_TYPES = ("f32", "f16", "bf16", "q8_0", "q4_0", "q4_1", "iq4_nl", "q5_0", "q5_1")
TRANSFORMERS: tuple[Flag, ...] = (
    Flag(
        name="variant",
        spellings=("--variant",),
        type="name",
        help="The copy of the weights to load: fp16 for model.fp16.safetensors.",
        runtimes=("transformers",),
    ),
    Flag(
        name="subfolder",
        spellings=("--subfolder",),
        type="name",
        help="The folder of the repository that holds the model: text_encoder_2.",
        runtimes=("transformers",),
    ),
)
"""Of transformers: arguments of ``from_pretrained``."""
LLAMA_CPP: tuple[Flag, ...] = (
    Flag(
        name="n_gpu_layers",
        spellings=("-ngl", "--gpu-layers", "--n-gpu-layers"),
        type="whole",
        low=0,
        help="Layers on the GPUs, the output layer as one more.",
        runtimes=_GGML,
    ),
    Flag(
        name="n_cpu_moe",
        spellings=("-ncmoe", "--n-cpu-moe"),
        type="whole",
        low=0,
        help="Layers, from the first, whose experts stay in the host's memory.",
        runtimes=_GGML[:1],
    ),
    Flag(
        name="cpu_moe",
        spellings=("-cmoe", "--cpu-moe"),
        type="switch",
        help="Keep all experts in the host's memory.",
        runtimes=_GGML[:1],
    ),
    Flag(
        name="parallel",
        spellings=("-np", "--parallel"),
        type="whole",
        high=256,
        help="Slots: sequences that the server runs at once.",
        runtimes=_GGML,
    ),
    Flag(
        name="kv_unified",
        spellings=("-kvu", "--kv-unified"),
        type="switch",
        help="One cache for all slots, also where -np is given.",
        runtimes=_GGML[:1],
    ),
    Flag(
        name="ubatch_size",
        spellings=("-ub", "--ubatch-size"),
        type="whole",
        high=2**20,
        help="Tokens of a micro-batch, which buffers are planned for.",
        runtimes=_GGML,
    ),
    Flag(
        name="batch_size",
        spellings=("--batch-size",),
        type="whole",
        high=2**20,
        help="Tokens that are handed over at once; at least a micro-batch.",
        runtimes=_GGML[:1],
    ),
    Flag(
        name="cache_type_k",
        spellings=("-ctk", "--cache-type-k"),
        type="choice",
        choices=_CACHE_TYPES,
        help="Type of K in the cache.",
        runtimes=_GGML[:1],
    ),
    Flag(
        name="cache_type_v",
        spellings=("-ctv", "--cache-type-v"),
        type="choice",
        choices=_CACHE_TYPES,
        help="Type of V in the cache.",
        runtimes=_GGML[:1],
    ),
    Flag(
        name="flash_attn",
        spellings=("-fa", "--flash-attn"),
        type="choice",
        choices=("auto", "on", "off"),
        help="Flash attention.",
        runtimes=_GGML,
    ),
    Flag(
        name="swa_full",
        spellings=("--swa-full",),
        type="switch",
        help="Keep every token in sliding layers too.",
        runtimes=_GGML[:1],
    ),
    Flag(
        name="no_kv_offload",
        spellings=("-nkvo", "--no-kv-offload"),
        type="switch",
        help="Keep the cache in the host's memory.",
        runtimes=_GGML[:1],
    ),
)
"""Of ``llama-server``; Ollama has a few of them as parameters and environment variables."""
MLX: tuple[Flag, ...] = (
    Flag(
        name="kv_bits",
        spellings=("--kv-bits",),
        type="whole",
        high=8,
        help="Bits of an element of the KV cache: 8, 4 or 2.",
        runtimes=("mlx",),
    ),
    Flag(
        name="quantized_kv_start",
        spellings=("--quantized-kv-start",),
        type="whole",
        low=0,
        help="Tokens from which the KV cache is quantized.",
        runtimes=("mlx",),
    ),
)
"""Of ``mlx_lm.generate``."""

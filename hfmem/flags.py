"""The engines' own flags: names, types and limits. A leaf beside ``flag.py``.

``--help`` reads this table and nothing of the arithmetic. A flag bears the engine's name for it;
what it does is the engine's business (``hfmem.runtimes``).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from hfmem.errors import UsageError
from hfmem.flag import Flag, Flags, Value

_ENGINES = ("vllm", "sglang")
_DISTRIBUTED = (
    Flag(
        name="tp",
        spellings=("--tp", "--tensor-parallel-size", "--tp-size"),
        type="whole",
        high=4096,
        help="Tensor parallel: GPUs that share every layer.",
        runtimes=_ENGINES,
    ),
    Flag(
        name="pp",
        spellings=("--pp", "--pipeline-parallel-size", "--pp-size"),
        type="whole",
        high=4096,
        help="Pipeline parallel: stages of whole layers.",
        runtimes=_ENGINES,
    ),
    Flag(
        name="ep",
        spellings=("--ep", "--expert-parallel-size", "--ep-size"),
        type="whole",
        high=4096,
        help="Expert parallel: GPUs that the experts are dealt out to.",
        runtimes=_ENGINES,
    ),
    Flag(
        name="dp",
        spellings=("--dp", "--data-parallel-size", "--dp-size"),
        type="whole",
        high=4096,
        help="Data parallel: replicas of the attention layers.",
        runtimes=_ENGINES,
    ),
)
_VLLM = (
    Flag(
        name="enable_expert_parallel",
        spellings=("--enable-expert-parallel",),
        type="switch",
        help="Deal experts out over tp × dp GPUs.",
        runtimes=("vllm",),
    ),
    Flag(
        name="dcp",
        spellings=("--decode-context-parallel-size",),
        type="whole",
        high=4096,
        help="Decode context parallel: GPUs of a tensor parallel group that share the tokens.",
        runtimes=("vllm",),
    ),
    Flag(
        name="gpu_memory_utilization",
        spellings=("--gpu-memory-utilization",),
        type="share",
        help="Share of the card that the engine takes.",
        runtimes=("vllm",),
    ),
    Flag(
        name="max_num_seqs",
        spellings=("--max-num-seqs",),
        type="whole",
        high=2**20,
        help="Sequences that the engine runs at once at most.",
        runtimes=("vllm",),
    ),
    Flag(
        name="max_num_batched_tokens",
        spellings=("--max-num-batched-tokens",),
        type="whole",
        high=2**24,
        help="Tokens of one step at most.",
        runtimes=("vllm",),
    ),
    Flag(
        name="block_size",
        spellings=("--block-size",),
        type="whole",
        high=2**20,
        help="Tokens of a block of the KV cache.",
        runtimes=("vllm",),
    ),
    Flag(
        name="enforce_eager",
        spellings=("--enforce-eager",),
        type="switch",
        help="No CUDA graphs.",
        runtimes=("vllm",),
    ),
    Flag(
        name="cpu_offload_gb",
        spellings=("--cpu-offload-gb",),
        type="gib",
        help="GiB of each GPU's weights that stay in the host's memory.",
        runtimes=("vllm",),
    ),
    Flag(
        name="disable_hybrid_kv_cache_manager",
        spellings=("--disable-hybrid-kv-cache-manager",),
        type="switch",
        help="Keep every token in sliding and chunked layers too.",
        runtimes=("vllm",),
    ),
    Flag(
        name="kv_cache_memory_bytes",
        spellings=("--kv-cache-memory-bytes",),
        type="size",
        help="Size of the KV pool of each GPU, in place of the utilization.",
        runtimes=("vllm",),
    ),
    Flag(
        name="mamba_cache_mode",
        spellings=("--mamba-cache-mode",),
        type="choice",
        choices=("none", "align", "all"),
        help="Which recurrent states are kept for prefix caching.",
        runtimes=("vllm",),
    ),
    Flag(
        name="mamba_ssm_cache_dtype",
        spellings=("--mamba-ssm-cache-dtype",),
        type="choice",
        choices=("auto", "float32", "float16", "bfloat16"),
        help="Type of the recurrent state.",
        runtimes=("vllm",),
    ),
    Flag(
        name="no_enable_prefix_caching",
        spellings=("--no-enable-prefix-caching",),
        type="switch",
        help="No reuse of equal prefixes.",
        runtimes=("vllm",),
    ),
)
_GGML = ("llama.cpp", "ollama")
_CACHE_TYPES = ("f32", "f16", "bf16", "q8_0", "q4_0", "q4_1", "iq4_nl", "q5_0", "q5_1")
_LLAMA_CPP = (
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
_SGLANG = (
    Flag(
        name="mem_fraction_static",
        spellings=("--mem-fraction-static",),
        type="share",
        help="Share of the free memory for weights and pools.",
        runtimes=_ENGINES[1:],
    ),
    Flag(
        name="chunked_prefill_size",
        spellings=("--chunked-prefill-size",),
        type="whole",
        high=2**24,
        help="Tokens of a chunk of a prompt.",
        runtimes=_ENGINES[1:],
    ),
    Flag(
        name="max_running_requests",
        spellings=("--max-running-requests",),
        type="whole",
        high=2**20,
        help="Requests that run at once at most.",
        runtimes=_ENGINES[1:],
    ),
    Flag(
        name="cuda_graph_max_bs",
        spellings=("--cuda-graph-max-bs",),
        type="whole",
        high=2**16,
        help="Largest batch that is captured as a CUDA graph.",
        runtimes=_ENGINES[1:],
    ),
    Flag(
        name="swa_full_tokens_ratio",
        spellings=("--swa-full-tokens-ratio",),
        type="share",
        help="Tokens of sliding layers for each of the full ones.",
        runtimes=_ENGINES[1:],
    ),
    Flag(
        name="mamba_full_memory_ratio",
        spellings=("--mamba-full-memory-ratio",),
        type="share",
        help="Memory of recurrent states for each byte of the KV cache.",
        runtimes=_ENGINES[1:],
    ),
    Flag(
        name="mamba_radix_cache_strategy",
        spellings=("--mamba-radix-cache-strategy",),
        type="choice",
        choices=("no_buffer", "extra_buffer", "extra_buffer_lazy"),
        help="How many recurrent states a request holds for the reuse of prefixes.",
        runtimes=_ENGINES[1:],
    ),
    Flag(
        name="disable_radix_cache",
        spellings=("--disable-radix-cache",),
        type="switch",
        help="No reuse of equal prefixes.",
        runtimes=_ENGINES[1:],
    ),
)
_MLX = (
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
_TRANSFORMERS = (
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
FLAGS: tuple[Flag, ...] = (*_TRANSFORMERS, *_DISTRIBUTED, *_VLLM, *_LLAMA_CPP, *_SGLANG, *_MLX)
"""Every engine's flags; a row names the runtimes that take it."""


def flags_of(given: Mapping[str, object], *, runtime: str) -> Flags:
    """The flags among ``given`` (None is not given), checked against those of a runtime; ``all``
    takes every one.

    Raises UsageError for a value that a flag cannot have and for a flag that the runtime lacks.
    """
    rows = {flag.name: flag for flag in FLAGS}
    kept: dict[str, Value] = {}
    for name, value in given.items():
        flag = rows.get(name)
        if flag is None or value is None or (flag.type == "switch" and value is False):
            continue
        if runtime not in (*flag.runtimes, "all"):
            raise UsageError(
                f"The runtime {runtime!r:.60} has no {flag.spellings[0]}.",
                hint=f"It belongs to --runtime {' and '.join(flag.runtimes)}.",
            )
        kept[name] = flag.parse(value)
    return Flags(tuple(sorted(kept.items())))


def flags_for(runtime: str) -> Iterable[Flag]:
    """The flags that a runtime takes."""
    return (flag for flag in FLAGS if runtime in flag.runtimes)

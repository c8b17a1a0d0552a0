"""The flags of the engines that serve on many GPUs: vLLM and SGLang."""

from __future__ import annotations

from hfmem.flag import Flag

_ENGINES = ("vllm", "sglang")
DISTRIBUTED: tuple[Flag, ...] = (
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
"""Of both: how a model is dealt out over GPUs."""
VLLM: tuple[Flag, ...] = (
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
"""Of vLLM, as ``vllm serve`` names them."""
SGLANG: tuple[Flag, ...] = (
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
"""Of SGLang, as ``sglang.launch_server`` names them."""

"""The engines' own flags: names, types and limits. A leaf: it imports errors and units only.

``--help`` reads this table and nothing of the arithmetic. A flag bears the engine's name for it;
what it does is the engine's business (``hfmem.runtimes``).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from fractions import Fraction
from typing import Literal

from msgspec import Struct

from hfmem.errors import UsageError
from hfmem.units import parse_size

Value = int | Fraction | bool | str
FlagType = Literal["whole", "share", "gib", "size", "switch", "choice", "name"]
"""``whole``: a whole number. ``share``: a decimal fraction. ``gib``: a decimal number of GiB, kept
in bytes. ``size``: bytes, or a size such as 8GiB. ``switch``: present or absent. ``name``: a file's
or a folder's, with nothing in it that leaves the repository."""


class Flag(Struct, frozen=True, kw_only=True):
    """One flag of one or more engines."""

    name: str
    """Key in ``Flags`` and keyword in Python: ``max_num_seqs``."""
    spellings: tuple[str, ...]
    """On the command line, the engine's own first."""
    type: FlagType
    help: str
    runtimes: tuple[str, ...]
    """Names of the runtimes that take it."""
    low: int = 1
    """Least whole number."""
    high: int = 2**30
    choices: tuple[str, ...] = ()

    def parse(self, given: object) -> Value:
        """The value of a text of the command line, or of a keyword's argument. Raises UsageError.

        ``max_num_seqs.parse("256") == 256``; ``cpu_offload_gb.parse("1.5") == 1_610_612_736``.
        """
        value = self._value(given)
        if value is None:
            raise UsageError(
                f"{self.spellings[0]} is {str(given)!r:.60}, which it cannot be.",
                hint=f"Give {self.spellings[0]} {self._takes()}.",
            )
        return value

    def _value(self, given: object) -> Value | None:
        text = str(given).strip()
        match self.type:
            case "switch":
                return given if isinstance(given, bool) else None
            case "choice":
                return text if text in self.choices else None
            case "name":
                return text if len(text) <= 200 and _NAME.fullmatch(text) else None
            case "size":
                return parse_size(text if text[-1:].isalpha() else f"{text}B") or None
            case "whole":
                number = _decimal(text)
                whole = number is not None and number.denominator == 1
                in_range = number is not None and self.low <= number <= self.high
                return int(number) if number is not None and whole and in_range else None
            case "share":
                number = _decimal(text)
                return number if number is not None and 0 < number <= 1 else None
            case "gib":
                number = _decimal(text)
                return int(number * 2**30) if number is not None and number <= 2**20 else None

    def _takes(self) -> str:
        match self.type:
            case "switch":
                return "without a value (in Python: True or False)"
            case "choice":
                return f"one of: {', '.join(self.choices)}"
            case "name":
                return "a name of letters, digits, dots, dashes and underscores"
            case "size":
                return "a number of bytes, or a size such as 8GiB"
            case "whole":
                return f"a whole number from {self.low:,} to {self.high:,}"
            case "share":
                return "a decimal fraction above 0 and up to 1, such as 0.92"
            case "gib":
                return "a number of GiB, such as 8 or 1.5"


_NAME = re.compile(r"\w[\w.-]*(?:/\w[\w.-]*)*", re.ASCII)


def _decimal(text: str) -> Fraction | None:
    digits = text.replace("_", "")
    if len(digits) > 20 or not digits.isascii() or not digits.replace(".", "", 1).isdecimal():
        return None
    return Fraction(digits)


class Flags(Struct, frozen=True):
    """The flags that were given, by name; what was not given is the engine's default."""

    given: tuple[tuple[str, Value], ...] = ()
    """Sorted by name, so that equal flags are equal values."""

    def __bool__(self) -> bool:
        return bool(self.given)

    def whole(self, name: str) -> int | None:
        """A whole number or an amount of bytes; None where it was not given."""
        value = dict(self.given).get(name)
        return value if isinstance(value, int) and not isinstance(value, bool) else None

    def share(self, name: str) -> Fraction | None:
        """A fraction; None where it was not given."""
        value = dict(self.given).get(name)
        return value if isinstance(value, Fraction) else None

    def switch(self, name: str) -> bool:
        """Whether a switch was given."""
        return dict(self.given).get(name) is True

    def choice(self, name: str) -> str | None:
        """A name; None where it was not given."""
        value = dict(self.given).get(name)
        return value if isinstance(value, str) else None

    def but(self, **changes: Value | None) -> Flags:
        """The same flags with some of them changed, or taken out with None."""
        merged = {**dict(self.given), **changes}
        return Flags(tuple(sorted((k, v) for k, v in merged.items() if v is not None)))


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
        choices=("auto", "none", "all", "align"),
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

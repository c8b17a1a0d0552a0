"""The tensors of a quantized checkpoint, told from its settings where no file does.

What a packer writes follows from its format and from which layers it packs; the formats are those
of ``hfmem.checkpoint.packed_formats``, read the other way round. A setting that could change what
is stored and is not understood leaves the weights unknown.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from math import prod

from msgspec import Struct

from hfmem.checkpoint.quantization import declared_settings
from hfmem.checkpoint.tensor import TensorRun
from hfmem.dtypes import BITS, FLOATS, from_name
from hfmem.model.components import split
from hfmem.model.config import MAX_LAYERS, Config, text_section
from hfmem.model.declared import logical_tensors
from hfmem.model.quantized_layers import Layers, layers_of, packed_runs

Stored = tuple[tuple[str, str, tuple[int, ...]], ...]
"""Suffix, type and shape of what a weight [N, K] becomes."""
Pack = Callable[[int, int], Stored | None]
"""None for a weight that the format leaves as it is."""


class _Format(Struct, frozen=True, kw_only=True):
    """How a checkpoint is stored."""

    linear: Pack
    expert: Pack
    """Of a routed expert."""
    layers: Layers
    in_fp32: re.Pattern[str] | None = None
    """Names of what is kept in float32."""


def quantized_tensors(
    config: Config, documents: Mapping[str, Mapping[str, object]]
) -> tuple[TensorRun, ...] | None:
    """What the files of a quantized model hold, from config.json and the documents beside it.

    DeepSeek-V4-Pro: 1,598,839,674,782 parameters as the Hub counts them, type by type. None for a
    model without such settings, for an unknown class, and for settings that leave open what is
    stored. Raises InvalidValueError.
    """
    settings = declared_settings(config.values, documents)
    tensors = logical_tensors(config)
    dtype = _dtype(config)
    if not settings or tensors is None or dtype is None:
        return None
    found = _format(settings, dtype, experts=config.text("expert_dtype"))
    if found is None:
        return None
    runs: list[TensorRun] = []
    layers = text_section(config).integer_or_none("num_hidden_layers", high=MAX_LAYERS)
    for item in split(tensors, decoder_layers=layers):
        if len(item.run.shape) == 3 and item.component == "experts":
            return None
        if item.component == "draft" and not found.layers.drafts:
            continue
        for run, packed in packed_runs(item, found.layers):
            pack = found.expert if ".experts." in run.name else found.linear
            stored = pack(run.shape[0], run.shape[1]) if packed else None
            if stored is None:
                kept = found.in_fp32 is not None and found.in_fp32.search(run.name)
                runs.append(_as(run, "F32") if kept else run)
                continue
            base = run.name.removesuffix(".weight")
            runs.extend(
                _run(base + suffix, kind, shape, run.count) for suffix, kind, shape in stored
            )
    return tuple(runs)


def _dtype(config: Config) -> str | None:
    for section in (config, text_section(config)):
        name = section.text("dtype")
        if name is not None:
            return from_name(name)
    return None


def _as(run: TensorRun, dtype: str) -> TensorRun:
    if run.dtype not in FLOATS or run.dtype == dtype:
        return run
    return _run(run.name, dtype, run.shape, run.count)


def _run(name: str, dtype: str, shape: tuple[int, ...], count: int) -> TensorRun:
    size = prod(shape) * BITS[dtype] // 8
    return TensorRun(name=name, dtype=dtype, shape=shape, bytes=size, count=count)


def _format(settings: Mapping[str, object], dtype: str, *, experts: str | None) -> _Format | None:
    method = settings.get("quant_method")
    if method is None and "quant_algo" in settings:
        method = "modelopt"
    if method is None and isinstance(settings.get("bits"), int) and "group_size" in settings:
        # AutoGPTQ's and AutoAWQ's own files name no method; MLX's stand in config.json.
        method = "awq" if "zero_point" in settings else "gptq" if "desc_act" in settings else "mlx"
    if method is None and "w_bit" in settings:
        method = "awq"
    if not isinstance(method, str):
        return None
    if experts is not None:
        return _deepseek_v4(settings) if (method, experts) == ("fp8", "fp4") else None
    pack = _pack(method, settings, dtype)
    which = layers_of(method, settings)
    if pack is None or which is None:
        return None
    return _Format(linear=pack, expert=pack, layers=which)


_V4_LEFT = (
    *("*.compressor.kv_proj", "*.compressor.gate_proj", "*.indexer.kv_proj"),
    *("*.indexer.gate_proj", "*.weights_proj"),
)
_V4_FP32 = re.compile(r"_hc\.|hc_head|position_bias|e_score_correction_bias|sinks")


def _deepseek_v4(settings: Mapping[str, object]) -> _Format | None:
    """DeepSeek-V4: experts of two FP4 values a byte with an exponent for 32, the other linear
    layers in FP8 with one for a block, and what compresses and indexes the cache left alone.

    V4-Pro stores 786,381,668,352 bytes of the former, 23,169,335,296 of the latter,
    49,150,268,416 exponents and 87,776,414 numbers in float32 (huggingface.js,
    parse-safetensors-metadata.spec.ts).
    """
    if settings.get("weight_block_size") != [128, 128] or settings.get("scale_fmt") != "ue8m0":
        return None

    def linear(out: int, into: int) -> Stored | None:
        scales = (-(-out // 128), -(-into // 128))
        return ((".weight", "F8_E4M3", (out, into)), (".scale", "F8_E8M0", scales))

    def expert(out: int, into: int) -> Stored | None:
        return ((".weight", "I8", (out, into // 2)), (".scale", "F8_E8M0", (out, into // 32)))

    return _Format(linear=linear, expert=expert, layers=Layers(left_out=_V4_LEFT), in_fp32=_V4_FP32)


def _pack(method: str, settings: Mapping[str, object], dtype: str) -> Pack | None:
    bits = _whole(settings, "bits", "w_bit")
    group = _whole(settings, "group_size", "q_group_size")
    match method:
        case "gptq" if bits in (2, 3, 4, 8) and settings.get("group_size") is not None:
            return _gptq(bits, group)
        case "awq" if bits == 4 and group:
            return _awq(group)
        case "mlx" if bits in (2, 3, 4, 5, 6, 8) and group in (32, 64, 128):
            exceptions = [one for one in settings.values() if isinstance(one, Mapping)]
            return None if exceptions or "mode" in settings else _mlx(bits, group, dtype)
        case "fp8":
            return _fp8(settings)
        case "modelopt":
            return _modelopt(settings)
        case "compressed-tensors":
            return _compressed(settings, dtype)
        case "bitsandbytes" if settings.get("load_in_4bit") or settings.get("_load_in_4bit"):
            return _nf4(double=settings.get("bnb_4bit_use_double_quant") is True)
        case "bitsandbytes":
            return lambda out, into: (
                (".weight", "I8", (out, into)),
                (".SCB", "F32", (out,)),
                (".weight_format", "U8", ()),
            )
    return None


def _whole(settings: Mapping[str, object], *names: str) -> int:
    """A positive setting; 0 for none, and for -1, which is a group for the whole row."""
    for name in names:
        value = settings.get(name)
        if type(value) is int and 0 < value <= 2**16:
            return value
    return 0


def _gptq(bits: int, group: int) -> Pack:
    def pack(out: int, into: int) -> Stored | None:
        groups = -(-into // group) if group else 1
        return (
            (".qweight", "I32", (into * bits // 32, out)),
            (".qzeros", "I32", (groups, out * bits // 32)),
            (".scales", "F16", (groups, out)),
            (".g_idx", "I32", (into,)),
        )

    return pack


def _awq(group: int) -> Pack:
    def pack(out: int, into: int) -> Stored | None:
        if into % group or out % 8:
            return None
        return (
            (".qweight", "I32", (into, out // 8)),
            (".qzeros", "I32", (into // group, out // 8)),
            (".scales", "F16", (into // group, out)),
        )

    return pack


def _mlx(bits: int, group: int, dtype: str) -> Pack:
    def pack(out: int, into: int) -> Stored | None:
        if into % group:
            return None
        return (
            (".weight", "U32", (out, into * bits // 32)),
            (".scales", dtype, (out, into // group)),
            (".biases", dtype, (out, into // group)),
        )

    return pack


def _fp8(settings: Mapping[str, object]) -> Pack | None:
    block = settings.get("weight_block_size")
    if settings.get("scale_fmt") not in (None, "float", "ue8m0"):
        return None
    if block is not None and block != [128, 128]:
        return None
    static: Stored = ()
    if settings.get("activation_scheme") == "static":
        static = ((".activation_scale", "F32", ()),)

    def pack(out: int, into: int) -> Stored | None:
        scales = (-(-out // 128), -(-into // 128)) if block else ()
        return (
            (".weight", "F8_E4M3", (out, into)),
            (".weight_scale_inv", "F32", scales),
            *static,
        )

    return pack


def _modelopt(settings: Mapping[str, object]) -> Pack | None:
    match settings.get("quant_algo"):
        case "FP8":
            return lambda out, into: (
                (".weight", "F8_E4M3", (out, into)),
                (".weight_scale", "F32", ()),
                (".input_scale", "F32", ()),
            )
        case "FP8_PB_WO":
            return lambda out, into: (
                (".weight", "F8_E4M3", (out, into)),
                (".weight_scale", "F32", (-(-out // 128), -(-into // 128))),
            )
        case "NVFP4":
            return _nvfp4(".weight", ".weight_scale_2", ".input_scale")
    return None


def _nvfp4(weight: str, *scalars: str) -> Pack:
    def pack(out: int, into: int) -> Stored | None:
        if into % 16:
            return None
        return (
            (weight, "U8", (out, into // 2)),
            (".weight_scale", "F8_E4M3", (out, into // 16)),
            *((name, "F32", ()) for name in scalars),
        )

    return pack


def _compressed(settings: Mapping[str, object], dtype: str) -> Pack | None:
    groups = settings.get("config_groups")
    if not isinstance(groups, Mapping) or len(groups) != 1:
        return None
    (group,) = groups.values()
    if not isinstance(group, Mapping) or group.get("targets") != ["Linear"]:
        return None
    weights = group.get("weights")
    if not isinstance(weights, Mapping):
        return None
    form = group.get("format") or settings.get("format")
    match form, weights.get("strategy"), _whole(weights, "num_bits"):
        case "pack-quantized", "group" | "channel", bits if bits in (4, 8):
            return _words(weights, bits, dtype)
        case "float-quantized", "channel" | "tensor", 8:
            return _bytes("F8_E4M3", channel=weights.get("strategy") == "channel", dtype=dtype)
        case "int-quantized", "channel" | "tensor", 8:
            return _bytes("I8", channel=weights.get("strategy") == "channel", dtype=dtype)
        case "nvfp4-pack-quantized", "tensor_group", 4:
            return _nvfp4(".weight_packed", ".weight_global_scale", ".input_global_scale")
        case "mxfp4-pack-quantized", "group", 4:
            return lambda out, into: (
                (".weight_packed", "U8", (out, into // 2)),
                (".weight_scale", "U8", (out, into // 32)),
            )
    return None


def _bytes(kind: str, *, channel: bool, dtype: str) -> Pack:
    return lambda out, into: (
        (".weight", kind, (out, into)),
        (".weight_scale", dtype, (out, 1) if channel else (1,)),
    )


def _words(weights: Mapping[str, object], bits: int, dtype: str) -> Pack | None:
    size = _whole(weights, "group_size")
    if weights.get("strategy") == "group" and not size:
        return None

    def pack(out: int, into: int) -> Stored | None:
        groups = into // size if size else 1
        parts: Sequence[tuple[str, str, tuple[int, ...]]] = (
            (".weight_packed", "I32", (out, -(-into * bits // 32))),
            (".weight_scale", dtype, (out, groups)),
            (".weight_shape", "I64", (2,)),
        )
        if weights.get("symmetric") is False:
            parts = (*parts, (".weight_zero_point", "I32", (-(-out * bits // 32), groups)))
        if weights.get("actorder") == "group":
            parts = (*parts, (".weight_g_idx", "I32", (into,)))
        return tuple(parts)

    return pack


def _nf4(*, double: bool) -> Pack:
    def pack(out: int, into: int) -> Stored | None:
        blocks = -(-out * into // 64)
        parts: Stored = (
            (".weight", "U8", (-(-out * into // 2), 1)),
            (".weight.absmax", "U8" if double else "F32", (blocks,)),
            (".weight.quant_map", "F32", (16,)),
        )
        if not double:
            return parts
        return (
            *parts,
            (".weight.nested_absmax", "F32", (-(-blocks // 256),)),
            (".weight.nested_quant_map", "F32", (256,)),
        )

    return pack

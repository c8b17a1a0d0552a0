"""A model's parameters as training sees them: shapes, layers, what is trained, what is frozen."""

from __future__ import annotations

from math import prod

from msgspec import Struct

from hfmem.dtypes import FLOATS, width
from hfmem.errors import UsageError
from hfmem.memory.quantize.matrices import matrices
from hfmem.memory.quantize.schemes import Scheme, scheme
from hfmem.memory.training_run import TrainingRun
from hfmem.model.components import Component
from hfmem.model.lora import Adapter, Adapters
from hfmem.model.model import Model
from hfmem.model.weights import WeightRun


class Parameter(Struct, frozen=True, kw_only=True):
    """Equal tensors of one kind."""

    name: str
    component: Component
    shape: tuple[int, ...]
    layers: range | tuple[int, ...]
    """The decoder layers that have it; empty outside of them."""
    copies: int
    """Tensors in each of those layers; all of them outside of layers."""
    bytes: int
    """Of one tensor, as it lies on the device."""
    width: int
    """Bytes of its element; of a packed weight, of what it computes in."""
    trained: bool
    adapter: bool = False
    linear: bool = False
    """A matrix that tokens are multiplied with."""
    packed: bool = False

    @property
    def count(self) -> int:
        """How many tensors."""
        return self.copies * max(1, len(self.layers))

    @property
    def elements(self) -> int:
        """Of one tensor."""
        return prod(self.shape)

    @property
    def total_elements(self) -> int:
        """Of all of them."""
        return self.elements * self.count


_LAYERED: frozenset[Component] = frozenset({"language", "experts"})
_NO_PRODUCT = ("norm", "embed", "conv", "wte", "wpe", "router", ".gate.")


def parameters(
    model: Model, run: TrainingRun, lora: Adapters | None
) -> tuple[Parameter, ...] | None:
    """Everything that lies on the device as a parameter; None where the weights are not known.

    Full fine-tuning in mixed precision under autocast holds fp32, every other case the model's
    16-bit type. Llama-3.1-8B with rank-16 adapters: 8,030,261,248 frozen elements and 41,943,040
    trained ones in fp32.
    """
    if model.weights is None:
        return None
    found = (
        _quantized(model, run)
        if run.method == "qlora"
        else [_parameter(weight, model, run) for weight in model.weights if weight.loaded]
    )
    if lora is not None:
        adapter_width = 4 if run.adapter_fp32 or run.precision == "fp32" else 2
        for one in lora.linear:
            found.append(_adapter(one, adapter_width))
        found += [_copy(weight, model, run) for weight in lora.saved]
    return tuple(found)


def _parameter(
    weight: WeightRun, model: Model, run: TrainingRun, *, element: int | None = None
) -> Parameter:
    """A run as it lies on the device; ``element`` casts what is not packed."""
    tensor = weight.run
    packed = weight.packed or tensor.dtype not in FLOATS
    width_now = element or _width(model, run)
    layers, copies = _layers(weight)
    return Parameter(
        name=tensor.name,
        component=weight.component,
        shape=tensor.shape,
        layers=layers,
        copies=copies,
        bytes=tensor.bytes if packed else tensor.elements * width_now,
        width=width_now,
        trained=not run.adapted and not packed,
        linear=_is_linear(weight),
        packed=packed,
    )


def _quantized(model: Model, run: TrainingRun) -> list[Parameter]:
    """Frozen weights in the scheme of QLoRA; what it leaves is cast to fp32 where peft prepares.

    Llama-3.1-8B in nf4-dq: 6,979,321,856 linear elements, and 1,050,939,392 others in 4 bytes.
    Weights that bitsandbytes has packed stay as they are. Raises UsageError over those of another
    quantization (transformers 5.23 quantizers/auto.py: merge_quantization_configs).
    """
    left = 4 if run.kbit_fp32 else None
    if model.quantization == "bitsandbytes":
        # The settings of the checkpoint win over those that are given.
        return [
            _parameter(weight, model, run, element=None if weight.packed else left)
            for weight in model.weights or ()
            if weight.loaded
        ]
    if model.quantization is not None:
        raise UsageError(
            f"The weights are quantized already ({model.quantization}), and transformers does not "
            "quantize them anew.",
            hint="Say --method lora, or name the 16-bit model that they were made from.",
        )
    chosen = scheme(run.quantize)
    if chosen.made or chosen.file_type is not None:
        raise UsageError(
            f"{run.quantize} is no scheme that QLoRA trains over.",
            hint="Choose one of: nf4, nf4-dq, int8.",
        )
    found = matrices(model)
    if found is None:
        raise UsageError(
            "The weights are packed already, and their 16-bit shapes are not known.",
            hint="Name the 16-bit model that it was made from, or say --method lora.",
        )
    return [
        _packed(weight, model, run, chosen)
        if matrix.kind in chosen.kinds
        and len(weight.run.shape) == 2
        and chosen.applies(matrix.out_features, matrix.in_features)
        else _parameter(weight, model, run, element=left)
        for weight, matrix in found
    ]


def _packed(weight: WeightRun, model: Model, run: TrainingRun, chosen: Scheme) -> Parameter:
    rows, columns = weight.run.shape
    layers, copies = _layers(weight)
    return Parameter(
        name=weight.run.name,
        component=weight.component,
        shape=weight.run.shape,
        layers=layers,
        copies=copies,
        bytes=chosen.bytes(rows, columns),
        width=_width(model, run),
        trained=False,
        linear=True,
        packed=True,
    )


def _width(model: Model, run: TrainingRun) -> int:
    """Bytes of an element of the model's own weights."""
    if run.precision == "fp32" or (run.adapted and run.frozen_fp32):
        return 4
    if run.mixed and not run.adapted and run.master in ("autocast", "sharded"):
        return 4
    return min(2, width(model.dtype)) if model.dtype in FLOATS else 2


def _is_linear(weight: WeightRun) -> bool:
    name = weight.run.name
    if weight.component in ("embedding", "draft") or not name.endswith(("weight", "_proj")):
        return False
    if weight.component == "head":
        return len(weight.run.shape) == 2
    return len(weight.run.shape) in (2, 3) and not any(part in name for part in _NO_PRODUCT)


def _layers(weight: WeightRun) -> tuple[range, int]:
    """The decoder layers of a run, and how many of its tensors each of them has."""
    run = weight.run
    indices = run.indices()
    if indices is None or weight.component not in _LAYERED:
        return range(0), run.count
    return indices, run.count // len(indices)


def _adapter(one: Adapter, element: int) -> Parameter:
    inside = one.component in _LAYERED and -1 not in one.layers
    layers = tuple(dict.fromkeys(one.layers)) if inside else ()
    return Parameter(
        name=f"{one.name}.lora",
        component=one.component,
        shape=(one.each,),
        layers=layers,
        copies=len(one.layers) // max(1, len(layers)),
        bytes=one.each * element,
        width=element,
        trained=True,
        adapter=True,
    )


def _copy(weight: WeightRun, model: Model, run: TrainingRun) -> Parameter:
    element = 4 if run.kbit_fp32 and run.method == "qlora" else _width(model, run)
    return Parameter(
        name=f"{weight.run.name}.modules_to_save",
        component=weight.component,
        shape=weight.run.shape,
        layers=(),
        copies=weight.run.count,
        bytes=weight.run.elements * element,
        width=element,
        trained=True,
        linear=_is_linear(weight),
    )

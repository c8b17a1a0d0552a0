"""Which tensors a low-rank adapter attaches to, and what it adds: read from the real shapes."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping

from msgspec import Struct

from hfmem.checkpoint.tensor import TensorRun, template
from hfmem.errors import InvalidValueError, UsageError
from hfmem.model.components import Component
from hfmem.model.weights import WeightRun

ALL_LINEAR = "all-linear"

# No nn.Linear in transformers 5: routers and fused experts are bare parameters of their own
# classes, an embedding and a convolution are other modules, and the output head is left out of
# all-linear (peft 0.21 tuners/tuners_utils.py: _maybe_include_all_linear_layers).
_NOT_LINEAR = re.compile(r"(?:router|(?:^|\.)gate|norm\w*|embed\w*|conv\w*|wte|wpe|shared)$")
_EXPANDED_LIMIT = 200_000


class LoraSpec(Struct, frozen=True, kw_only=True):
    """What peft's ``LoraConfig`` says, as far as memory depends on it."""

    rank: int = 16
    targets: str | tuple[str, ...] = ALL_LINEAR
    """``all-linear``, the ends of module names, or one regular expression over whole names."""
    exclude: str | tuple[str, ...] = ()
    modules_to_save: tuple[str, ...] = ()
    """Modules that are copied and trained in full; the originals stay."""
    dora: bool = False
    rank_pattern: tuple[tuple[str, int], ...] = ()
    layers: frozenset[int] | None = None
    """``layers_to_transform``; None is all."""
    lora_bias: bool = False
    dropout: bool = False


class Adapter(Struct, frozen=True, kw_only=True):
    """Low-rank matrices on linear weights of one shape."""

    name: str
    """Module name with its numbers taken out."""
    component: Component
    in_features: int
    out_features: int
    rank: int
    layers: tuple[int, ...]
    """Index of the layer of each copy; -1 for one outside of the layers."""
    each: int
    """Trainable parameters of one copy."""

    @property
    def parameters(self) -> int:
        """Of all copies."""
        return self.each * len(self.layers)


class Adapters(Struct, frozen=True, kw_only=True):
    """Everything that a LoRA run trains."""

    linear: tuple[Adapter, ...]
    saved: tuple[WeightRun, ...]
    """Copies of whole modules."""
    skipped_experts: bool
    """``all-linear`` was asked and there are routed experts, which it does not reach."""

    @property
    def trainable(self) -> int:
        """Trainable parameters."""
        return sum(one.parameters for one in self.linear) + sum(
            weight.run.elements * weight.run.count for weight in self.saved
        )


def adapter_parameters(
    *, rank: int, in_features: int, out_features: int, dora: bool = False, bias: bool = False
) -> int:
    """Parameters of one adapted linear layer: A is [rank, in], B is [out, rank].

    DoRA adds a magnitude for every output feature, ``lora_bias`` a bias on B (peft 0.21
    tuners/lora/layer.py, dora.py). ``adapter_parameters(rank=16, in_features=4096,
    out_features=1024) == 81_920``.
    """
    return rank * (in_features + out_features) + out_features * (int(dora) + int(bias))


def adapters(weights: Iterable[WeightRun], spec: LoraSpec) -> Adapters:
    """The adapters that ``spec`` makes on a model's tensors in their unpacked shapes.

    Llama-3.1-8B, rank 16, all-linear: 41,943,040 parameters. Raises UsageError where no module
    matches.
    """
    runs = tuple(weight for weight in weights if weight.loaded)
    linear = [
        adapter
        for weight in runs
        if len(weight.run.shape) == 2 and weight.run.name.endswith(".weight")
        for adapter in _on(weight.run, weight.component, spec)
    ]
    if not linear:
        raise UsageError(
            f"No linear layer of this model is named by {_said(spec.targets)}.",
            hint=f"Its layers end in: {', '.join(_ends(runs)) or 'nothing that is known'}; "
            "or say all-linear.",
        )
    saved = tuple(
        weight
        for weight in runs
        if not weight.packed and _matches(_module(template(weight.run.name)), spec.modules_to_save)
    )
    experts = any(weight.component == "experts" for weight in runs)
    return Adapters(
        linear=tuple(linear),
        saved=saved,
        skipped_experts=spec.targets == ALL_LINEAR and experts,
    )


def _on(run: TensorRun, component: Component, spec: LoraSpec) -> Iterator[Adapter]:
    """The adapters on one run; several where ranks differ by name."""
    groups: dict[int, list[int]] = {}
    for module, layer, copies in _modules(run, spec):
        if spec.layers is not None and layer not in spec.layers:
            continue
        if _targeted(module, component, spec):
            groups.setdefault(_rank(module, spec), []).extend([layer] * copies)
    out_features, in_features = run.shape
    for rank, layers in groups.items():
        yield Adapter(
            name=_module(template(run.name)),
            component=component,
            in_features=in_features,
            out_features=out_features,
            rank=rank,
            layers=tuple(layers),
            each=adapter_parameters(
                rank=rank,
                in_features=in_features,
                out_features=out_features,
                dora=spec.dora,
                bias=spec.lora_bias,
            ),
        )


def _modules(run: TensorRun, spec: LoraSpec) -> Iterator[tuple[str, int, int]]:
    """Module names with their layer and how many copies they stand for."""
    indices = run.indices()
    if _by_number(spec):
        if run.count > _EXPANDED_LIMIT:
            raise UsageError(
                f"{run.count:,} modules are too many to match one by one.",
                hint="Name the ends of module names without numbers.",
            )
        for name in run.names():
            number = _LAYER.search(name)
            yield _module(name), int(number[1]) if number else -1, 1
        return
    module = _module(template(run.name))
    if indices is None:
        yield module, -1, run.count
        return
    copies = run.count // len(indices)
    yield from ((module, index, copies) for index in indices)


_LAYER = re.compile(r"\.(\d{1,9})\.", re.ASCII)


def _by_number(spec: LoraSpec) -> bool:
    """Whether names must be matched with their numbers in them."""
    named = (spec.targets,) if isinstance(spec.targets, str) else spec.targets
    regular = isinstance(spec.targets, str) and spec.targets != ALL_LINEAR
    return regular or bool(spec.rank_pattern) or any(re.search(r"\d+\.", name) for name in named)


def _module(name: str) -> str:
    return name.removesuffix(".weight")


def _targeted(module: str, component: Component, spec: LoraSpec) -> bool:
    if spec.exclude and _matches(module, spec.exclude):
        return False
    if spec.targets != ALL_LINEAR:
        return _matches(module, spec.targets)
    return component not in ("experts", "embedding", "head") and not _NOT_LINEAR.search(module)


def _matches(module: str, targets: str | tuple[str, ...]) -> bool:
    """As peft does: a regular expression over the whole name, or its end after a dot."""
    if isinstance(targets, str):
        return _compiled(targets).fullmatch(module) is not None
    return any(module == target or module.endswith(f".{target}") for target in targets)


def _compiled(pattern: str) -> re.Pattern[str]:
    # A hostile adapter_config.json could hold an expression that never ends; those that people
    # write repeat single characters, so a repeated group is refused.
    if len(pattern) > 1000 or re.search(r"\)[+*{]", pattern):
        raise InvalidValueError(
            f"The target expression {pattern!r:.80} is too long or repeats a group.",
            hint="Name the ends of module names instead: q_proj,v_proj.",
        )
    try:
        return re.compile(pattern)
    except re.error as error:
        raise InvalidValueError(
            f"{pattern!r:.80} is no regular expression: {error}.",
            hint="Name the ends of module names instead: q_proj,v_proj.",
        ) from None


def _rank(module: str, spec: LoraSpec) -> int:
    """peft 0.21 utils/other.py: get_pattern_key; the first pattern that ends the name."""
    for key, rank in spec.rank_pattern:
        if module == key or module.endswith(f".{key}"):
            return rank
    return spec.rank


def _said(targets: str | tuple[str, ...]) -> str:
    named = targets if isinstance(targets, str) else ", ".join(targets)
    return f"{named!r:.120}"


def _ends(runs: tuple[WeightRun, ...]) -> tuple[str, ...]:
    found = {
        _module(template(weight.run.name)).rsplit(".", 1)[-1]
        for weight in runs
        if len(weight.run.shape) == 2 and weight.component in ("language", "vision", "encoder")
    }
    return tuple(sorted(name for name in found if not _NOT_LINEAR.search(name)))[:12]


def spec_of(config: Mapping[str, object]) -> LoraSpec:
    """The spec that an ``adapter_config.json`` holds.

    Raises InvalidValueError for another method than LoRA, and for values that make no sense.
    """
    kind = config.get("peft_type", "LORA")
    if kind != "LORA":
        raise InvalidValueError(
            f"adapter_config.json describes {kind!r:.40}, not LORA.",
            hint="Only LoRA and its variants (rsLoRA, DoRA) are estimated.",
        )
    layers = config.get("layers_to_transform")
    return LoraSpec(
        rank=_whole(config.get("r", 8), "r"),
        targets=_names(config.get("target_modules")) or ALL_LINEAR,
        exclude=_names(config.get("exclude_modules")) or (),
        modules_to_save=_tuple(config.get("modules_to_save")),
        dora=config.get("use_dora") is True,
        rank_pattern=_pattern(config.get("rank_pattern")),
        layers=None if layers is None else frozenset(_indices(layers)),
        lora_bias=config.get("lora_bias") is True,
        dropout=config.get("lora_dropout") not in (None, 0, 0.0),
    )


_MOST_RANK = 2**16


def _whole(value: object, name: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= _MOST_RANK:
        raise InvalidValueError(
            f"{name} in adapter_config.json is {value!r:.40}.",
            hint=f"It is a whole number from 1 to {_MOST_RANK:,}.",
        )
    return value


def _indices(value: object) -> Iterator[int]:
    for item in value if isinstance(value, list) else [value]:
        if isinstance(item, bool) or not isinstance(item, int) or item < 0:
            raise InvalidValueError(
                f"layers_to_transform in adapter_config.json holds {item!r:.40}.",
                hint="It is a list of layer numbers.",
            )
        yield item


def _names(value: object) -> str | tuple[str, ...] | None:
    if isinstance(value, str):
        return value.lower() if value.lower() == ALL_LINEAR else value
    return _tuple(value) or None


def _tuple(value: object) -> tuple[str, ...]:
    return tuple(sorted(str(item) for item in value)) if isinstance(value, list) else ()


def _pattern(value: object) -> tuple[tuple[str, int], ...]:
    if not isinstance(value, Mapping):
        return ()
    return tuple((str(key), _whole(rank, "rank_pattern")) for key, rank in value.items())

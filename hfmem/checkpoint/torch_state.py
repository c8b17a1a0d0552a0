"""A checkpoint's tensors by name, out of what a trainer saved."""

from __future__ import annotations

from typing import Final

from hfmem.checkpoint.torch_values import PickleRefusedError, Table, View

_ENTRIES_CAP: Final = 1_000_000
_DEPTH_CAP: Final = 6
# What trainers save around the weights, and beside them.
_WRAPPERS: Final = ("state_dict", "model_state_dict", "model", "module", "params")
_BESIDE: Final = ("optim", "lr_sched", "scheduler", "scaler", "ema", "loss", "hparams", "callbacks")


def named_views(root: object) -> tuple[tuple[str, View], ...]:
    """The tensors of a checkpoint by name, without what a trainer keeps beside the model.

    ``{"model": {"a.weight": …}, "optimizer": {…}}`` gives ``a.weight``. Raises
    PickleRefusedError for what is no dict of tensors, for one too deep or too large, and for a name
    that comes twice.
    """
    found: dict[str, View] = {}
    visited = 0
    pending: list[tuple[Table, str, int]] = [(_unwrapped(root), "", 0)]
    while pending:
        table, prefix, depth = pending.pop()
        if depth > _DEPTH_CAP:
            raise PickleRefusedError("its dicts are nested too deeply")
        for key, value in table.items:
            visited += 1
            if visited > _ENTRIES_CAP:
                raise PickleRefusedError(f"it holds more than {_ENTRIES_CAP:,} entries")
            if not isinstance(key, str) or (depth == 0 and _is_beside(key, value)):
                continue
            if isinstance(value, Table):
                pending.append((value, f"{prefix}{key}.", depth + 1))
            elif isinstance(value, View) and found.setdefault(prefix + key, value) is not value:
                raise PickleRefusedError(f"it holds {prefix + key!r:.80} twice")
    if not found:
        raise PickleRefusedError("it holds no tensors by name")
    return tuple(found.items())


def _is_beside(key: str, value: object) -> bool:
    return isinstance(value, Table) and key.startswith(_BESIDE)


def _unwrapped(root: object) -> Table:
    for _ in range(_DEPTH_CAP):
        if not isinstance(root, Table):
            raise PickleRefusedError("it holds no dict of tensors")
        inner = {key: value for key, value in root.items if isinstance(key, str)}
        wrapped = next((inner[key] for key in _WRAPPERS if isinstance(inner.get(key), Table)), None)
        if wrapped is None or any(isinstance(value, View) for value in inner.values()):
            return root
        root = wrapped
    raise PickleRefusedError("its dicts are nested too deeply")

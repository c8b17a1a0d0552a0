"""The engines' own flags: names, types and limits. A leaf beside ``flag.py``.

``--help`` reads this table and nothing of the arithmetic. A flag bears the engine's name for it;
what it does is the engine's business (``hfmem.runtimes``).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from hfmem.errors import UsageError
from hfmem.flag import Flag, Flags, Value
from hfmem.local_flags import LLAMA_CPP, MLX, TRANSFORMERS
from hfmem.server_flags import DISTRIBUTED, SGLANG, VLLM

FLAGS: tuple[Flag, ...] = (*TRANSFORMERS, *DISTRIBUTED, *VLLM, *LLAMA_CPP, *SGLANG, *MLX)
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

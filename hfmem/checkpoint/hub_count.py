"""The Hub's own count as a witness: what it read in the same files, against what was read here.

The count stands in the answer that lists the files (``safetensors.total`` of
``/api/models/{model}/revision/{revision}``), so it costs no request.
"""

from __future__ import annotations

from collections.abc import Iterable

from hfmem.checkpoint.snapshot import Note
from hfmem.checkpoint.tensor import TensorRun
from hfmem.dtypes import FLOATS

_NEAR = 100
"""One part in so many: the Hub leaves buffers and late uploads out of a count now and then."""


def disagreement(tensors: Iterable[TensorRun], told: int | None) -> Note | None:
    """A note where the Hub counted another number of parameters in the files.

    Llama-3.1-8B: 8,030,261,248 on both sides. Packed weights are left alone: how their bytes are
    counted changed from year to year (a 4-bit byte as one parameter, or as two).
    """
    runs = tuple(tensors)
    if not told or not runs or any(run.dtype not in FLOATS for run in runs):
        return None
    read = sum(run.elements * run.count for run in runs)
    if _NEAR * abs(read - told) <= read:
        return None
    return Note(
        code="hub_count_differs",
        message=f"The Hub counts {told:,} parameters, the headers of the chosen files hold "
        f"{read:,}; the estimate follows the headers.",
    )

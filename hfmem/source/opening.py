"""What most models have, asked for before the Hub has told what this one has.

A model in one file is then known after two round trips instead of three. An answer is used where
the listing, when it comes, says that it is of the same commit and size; otherwise it is asked for
again.
"""

from __future__ import annotations

from concurrent.futures import Future
from functools import partial
from typing import Final
from urllib.parse import quote

from msgspec import Struct

from hfmem.errors import OfflineError
from hfmem.source.crew import Crew
from hfmem.source.patience import Deadline
from hfmem.source.retry import FaultError
from hfmem.source.transport import Answer, Question, exchange
from hfmem.source.wire import Wire

CONFIG: Final = "config.json"
WEIGHTS: Final = "model.safetensors"
DOCUMENT_CAP: Final = 5_000_000
"""Bytes of a document; the largest configurations, with 21,000 labels, have about 2 MB."""
ALONE: Final = 128 * 1024
"""Of a file on its own. Of all headers, 97 % are shorter than 100 kB (huggingface_hub 2.4.0,
hf_api.py: parse_safetensors_file_metadata)."""


class Opening(Struct, frozen=True, kw_only=True):
    """Answers that are on their way, None for those that came to nothing."""

    config: Future[Answer | None]
    weights: Future[Answer | None]


def ask(wire: Wire, model: str, revision: str | None, *, crew: Crew, deadline: Deadline) -> Opening:
    """Ask for config.json and the start of model.safetensors."""
    at = f"{wire.endpoint}/{quote(model)}/resolve/{quote(revision or 'main', safe='')}"
    config = Question(url=f"{at}/{CONFIG}", cap=DOCUMENT_CAP)
    weights = Question(url=f"{at}/{WEIGHTS}", cap=ALONE, span=range(ALONE))
    return Opening(
        config=crew.submit(partial(_try, wire, config, deadline)),
        weights=crew.submit(partial(_try, wire, weights, deadline)),
    )


def answer(asked: Future[Answer | None], *, commit: str, wait: float) -> Answer | None:
    """An answer that is of ``commit``; None where there is none."""
    found = asked.result(wait)
    return found if found is not None and found.commit == commit else None


def _try(wire: Wire, question: Question, deadline: Deadline) -> Answer | None:
    try:
        return exchange(wire, question, deadline=deadline)
    except (FaultError, OfflineError):
        return None

"""Switches that people expect to save memory, and what is true of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from msgspec.structs import replace

from hfmem.answer import Estimate, Failure
from hfmem.checkpoint.snapshot import Note
from hfmem.model.sparse import sparse_attention


def told(
    answers: Iterable[Estimate | Failure], *, gradient_checkpointing: bool, sparse: bool
) -> Iterator[Estimate | Failure]:
    """The answers, with a note for every switch that was set; no number changes."""
    for answer in answers:
        if isinstance(answer, Failure) or not (gradient_checkpointing or sparse):
            yield answer
            continue
        notes = list(answer.model.notes)
        if gradient_checkpointing:
            notes.append(
                Note(
                    code="checkpointing_saves_nothing",
                    message="Gradient checkpointing saves nothing in inference: nothing is kept "
                    "for a backward pass. In hfmem train it does.",
                )
            )
        if sparse:
            notes.append(Note(code="sparse_attention", message=sparse_attention(answer.model)))
        yield replace(answer, model=replace(answer.model, notes=tuple(notes)))

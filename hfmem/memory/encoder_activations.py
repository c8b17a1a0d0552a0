"""What the encoders of pictures and sound hold, when they hold most; the decoder has not begun.

Instants of a pass: an MLP, a rotation in fp32, the projector. The largest counts. LLaVA-Video-72B,
64 frames of 729 patches, bf16: 46,656 × 2 bytes × (28 × 1,152 + 2 × 4,304), the 26
kept states among the 28, and 56,623,104 bytes of pixels: 3,869,724,672.
"""

from __future__ import annotations

from collections.abc import Iterable

from hfmem.memory.term import Term, total
from hfmem.model.media import EncoderPass


def encoder_activations(
    passes: Iterable[EncoderPass], *, batch: int, dtype_bytes: int
) -> Term | None:
    """The largest pass over the pictures or the sound of ``batch`` sequences; None without one."""
    terms = [_one(each, batch=batch, dtype_bytes=dtype_bytes) for each in passes]
    return max(terms, key=lambda term: term.bytes, default=None)


def _one(run: EncoderPass, *, batch: int, dtype_bytes: int) -> Term:
    rows = run.positions * batch
    # The embeddings and the layer input are kept states already where all states are kept.
    wide = run.residents + max(0, run.kept_states - 2)
    mlp = rows * dtype_bytes * (wide * run.hidden + run.inner)
    rotary = rows * (dtype_bytes * run.rotary_residents * run.hidden + 4 * run.rotary_elements)
    kept = run.kept_states + 1 if run.projected_beside_states else 1
    projector = rows * dtype_bytes * (kept * run.hidden + 2 * run.projected)
    scores, each = batch * run.scores, run.score_copies * dtype_bytes + run.score_bytes
    attending = run.attention_residents + (run.attention_copies if batch > 1 else 0)
    attention = rows * dtype_bytes * attending * run.hidden + scores * each
    convolved = batch * run.convolved_positions
    instants = [
        (
            convolved * run.convolved * dtype_bytes,
            f"{convolved:,} positions of the first convolution × {run.convolved:,} × "
            f"{dtype_bytes} bytes",
        ),
        (
            mlp,
            f"{rows:,} positions × {dtype_bytes} bytes × ({wide} × {run.hidden:,} + {run.inner:,})",
        ),
        (
            rotary if run.rotary_elements else 0,
            f"{rows:,} positions × ({run.rotary_residents} × {run.hidden:,} × {dtype_bytes} bytes "
            f"+ {run.rotary_elements:,} × 4 bytes)",
        ),
        (
            attention,
            f"{rows:,} positions × {dtype_bytes} bytes × {attending} × "
            f"{run.hidden:,}" + (f" + {scores:,} scores × {each} bytes" if scores else ""),
        ),
        (
            projector if run.projected else 0,
            f"{rows:,} positions × {dtype_bytes} bytes × ({kept} × {run.hidden:,} + "
            f"2 × {run.projected:,})",
        ),
    ]
    size, formula = max(instants)
    pairs = batch * run.mask_pairs + run.shared_mask_pairs
    because = f"{formula} ({run.source})"
    parts = [
        Term(name="encoder layer", bytes=size, basis="derived", because=because),
        Term(
            name="pixel or sound values",
            bytes=batch * run.values * dtype_bytes,
            basis="derived",
            because=f"{batch} × {run.values:,} values × {dtype_bytes} bytes ({run.source})",
        ),
        Term(
            name="attention mask",
            bytes=pairs * dtype_bytes + batch * run.bool_mask_pairs,
            basis="derived",
            because=f"{pairs or batch * run.bool_mask_pairs:,} pairs × "
            f"{dtype_bytes if pairs else 1} bytes ({run.source})",
        ),
    ]
    return total(
        "activations",
        [part for part in parts if part.bytes],
        because=f"the {run.name} encoder's largest instant ({run.source})",
    )

"""The accuracy of the activation model: ``python tests/benchmarks/accuracy_activations.py``.

Needs the reference data beside the repository. Rows whose recurrent layers or indexer ran without
fused kernels, and rows that the CPU's math kernel decides, stand apart.
"""

from __future__ import annotations

import json
import sys
from functools import cache
from pathlib import Path
from statistics import median

from msgspec import Struct

from hfmem.memory.activations import Peak, decode_activations, prefill_activations
from hfmem.model.architectures import layers
from hfmem.model.config import read
from hfmem.model.forward import ForwardPass, forward_pass
from hfmem.model.forward_shapes import Attention, GatedDelta, Mamba2


class Row(Struct, frozen=True, kw_only=True):
    """One prompt through one published configuration."""

    model: str
    tokens: int
    described: bool
    unfused: bool
    """Recurrent layers or an indexer on PyTorch's own path."""
    math: bool
    """Attention on the CPU's math kernel; on CUDA the same shapes are fused, MQA Falcon's not."""
    peak: Peak
    fused_bytes: int
    """Activations with the kernels of fla or mamba-ssm, which the reference run went without."""
    activation_error: float
    total_error: float
    decode_error: float


def math_kernel(forward: ForwardPass) -> bool:
    """Whether a CPU takes sdpa's math kernel for a layer of this model."""
    mixers = [kind.shape.mixer for kind in forward.kinds]
    return any(
        isinstance(mixer, Attention) and (mixer.broadcast_kv or mixer.head_dim != mixer.v_head_dim)
        for mixer in mixers
    )


def unfused_path(forward: ForwardPass) -> bool:
    """Whether a layer has a fused kernel that the reference run went without."""
    for kind in forward.kinds:
        match kind.shape.mixer:
            case GatedDelta() | Mamba2():
                return True
            case Attention(latent=latent) if latent is not None and latent.selected:
                return True
            case _:
                pass
    return False


@cache
def corpus_rows(shared: Path) -> tuple[Row, ...]:
    """Every row of the corpus of peaks."""
    rows = []
    for text in (shared / "oracle" / "peak_corpus.jsonl").read_text("utf-8").splitlines():
        truth = json.loads(text)
        name = truth["model"].replace("/", "--") + ".json"
        config = read(json.loads((shared / "corpus" / "configs" / name).read_text("utf-8")))
        decoder = layers(config)
        forward = forward_pass(decoder.text, decoder.layers)
        if forward is None:
            raise ValueError(f"{truth['model']}: no forward pass for {decoder.model_type}")
        rows.append(_row(truth, forward))
    return tuple(rows)


def _row(truth: dict[str, int], forward: ForwardPass) -> Row:
    tokens, weights = truth["seq"], truth["weights"]
    peak = prefill_activations(forward, tokens=tokens, device="cpu")
    fused = prefill_activations(forward, tokens=tokens, device="cpu", fused_recurrence=True)
    decode = decode_activations(forward, context=tokens + 1, device="cpu")
    # What stays after the prompt: the cache of the last instant, the logits.
    stays = _steady_cache(forward, tokens)
    measured = truth["prefill_peak"] - weights - stays
    return Row(
        model=str(truth["model"]),
        tokens=tokens,
        described=True,
        unfused=unfused_path(forward),
        math=math_kernel(forward),
        peak=peak,
        fused_bytes=fused.activation_bytes,
        activation_error=(peak.total_bytes - stays) / measured - 1,
        total_error=(peak.total_bytes + weights) / truth["prefill_peak"] - 1,
        decode_error=(decode.total_bytes + weights) / truth["decode_peak"] - 1,
    )


def _steady_cache(forward: ForwardPass, tokens: int) -> int:
    return decode_activations(forward, context=tokens, device="cpu").cache_bytes


def _report(title: str, rows: list[Row]) -> None:
    if not rows:
        return
    print(f"\n{title}: {len(rows)} rows")
    for row in rows:
        print(
            f"  {row.model[:46]:46} {row.tokens:6} {row.peak.instant:18} "
            f"activations {row.activation_error:+8.3%}  total {row.total_error:+8.4%}  "
            f"decode {row.decode_error:+8.4%}"
            + (f"  fused kernels {row.fused_bytes:,}" if row.unfused else "")
        )
    errors = sorted(abs(row.activation_error) for row in rows)
    print(
        f"  activations: median {median(errors):.3%}, nine of ten within "
        f"{errors[int(0.9 * (len(errors) - 1))]:.3%}, worst {errors[-1]:.3%}; "
        f"total: median {median(abs(row.total_error) for row in rows):.4%}"
    )


def main() -> None:
    """Print the table."""
    rows = corpus_rows(Path(__file__).resolve().parents[2].parent / "shared")
    fused = [row for row in rows if not row.unfused and not row.math]
    _report("fused kernels", fused)
    _report("math kernel on the CPU", [row for row in rows if row.math and not row.unfused])
    _report("without fused recurrence or indexer", [row for row in rows if row.unfused])


if __name__ == "__main__":
    sys.exit(main())

"""Words and figures that the formats share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from hfmem.answer import Estimate
from hfmem.checkpoint.snapshot import SourceName
from hfmem.hardware.fit import Fit
from hfmem.memory.estimate import PARTS, Phase
from hfmem.memory.precision import Rung
from hfmem.memory.term import Term
from hfmem.memory.workload import Workload
from hfmem.model.packed_parameters import bits_per_weight, packed_parts
from hfmem.text import clean
from hfmem.units import GIB, KIB, MIB, count, gib

if TYPE_CHECKING:
    from hfmem.hardware.offered import Offer
    from hfmem.hardware.training_fit import TrainingFit

PART_LABELS = {
    "weights": "weights",
    "kv_cache": "KV cache",
    "activations": "activations",
    "overhead": "overhead",
}

SOURCES: dict[SourceName, str] = {
    "hub": "Hub",
    "cache": "Hub cache",
    "bundled": "bundled facts",
    "recorded": "recorded facts",
    "local": "local files",
}


def size(amount: int) -> str:
    """Bytes in the unit that suits them: ``size(57_344) == "56.0 KiB"``."""
    if abs(amount) < KIB:
        return f"{amount} B"
    if abs(amount) < MIB:
        return f"{amount / KIB:,.1f} KiB"
    return gib(amount)


def size_or_unknown(amount: int | None) -> str:
    """Bytes, or the word for not known."""
    return "unknown" if amount is None else size(amount)


def smallest_words(rung: Rung | Offer) -> str:
    """The smallest hardware of a rung or a quantization: ``h100-sxm``, ``3 × mi350x``, ``none``."""
    if rung.smallest_gpu is None:
        return "none"
    times = f"{rung.smallest_count} × " if (rung.smallest_count or 1) > 1 else ""
    return times + clean(rung.smallest_gpu)


def host_words(host: Term) -> str:
    """What the host's memory holds, and how much more it may: ``0.98 GiB, up to 8.98 GiB``."""
    most = host.range_bytes[1]
    words = size(host.bytes) + (f", up to {size(most)}" if most > host.bytes else "")
    parts = [part for part in host.parts if part.range_bytes[1]]
    parts.sort(key=lambda part: -part.range_bytes[1])
    named = [
        f"{clean(part.name)} {size(part.bytes)}" if part.bytes else f"{clean(part.name)}"
        for part in parts[:5]
    ]
    return f"{words} ({' · '.join(named)})" if named else words


def span(low: int, high: int) -> str:
    """A range in one unit: ``span(2**34, 2**35) == "16.00 to 32.00 GiB"``."""
    if max(abs(low), abs(high)) < GIB // 10:
        return f"{size(low)} to {size(high)}"
    return f"{low / GIB:,.2f} to {high / GIB:,.2f} GiB"


def share(amount: int, whole: int) -> str:
    """A part in percent: ``share(1, 3) == "33%"``; what rounds to nothing is ``<1%``."""
    if whole <= 0 or amount <= 0:
        return "0%"
    percent = 100 * amount / whole
    return "<1%" if percent < 0.5 else f"{percent:.0f}%"


def plural(number: int, noun: str) -> str:
    """``plural(2, "sequence") == "2 sequences"``."""
    return f"{number:,} {noun}" + ("" if number == 1 else "s")


def sum_words(estimates: Sequence[Estimate]) -> list[str]:
    """Several models in words: how many, all their peaks, and how many of them fit each GPU.

    ``["2 models", "32.00 GiB together", "1 of 2 fit rtx-4090"]``.
    """
    words = [plural(len(estimates), "model")]
    if not estimates:
        return words
    total = sum(estimate.memory.peak.memory.bytes for estimate in estimates)
    unknown = any(estimate.memory.unknown for estimate in estimates)
    words.append(f"{'at least ' if unknown else ''}{size(total)} together")
    for index, fit in enumerate(estimates[0].fit):
        fitting = sum(estimate.fit[index].fits for estimate in estimates)
        words.append(f"{fitting} of {len(estimates)} fit {group_id(fit)}")
    return words


def known_total(estimate: Estimate) -> int | None:
    """The peak in bytes; None while a part of it is not known."""
    return None if estimate.memory.unknown else estimate.memory.peak.memory.bytes


def total_words(estimate: Estimate) -> str:
    """The peak, or what it is more than: ``> 2.00 GiB`` while a part is not known."""
    total = known_total(estimate)
    return f"> {size(estimate.memory.peak.memory.bytes)}" if total is None else size(total)


def known_part(estimate: Estimate, name: str, *, phase: Phase | None = None) -> int | None:
    """Bytes of one of the four parts at an instant, by default the peak; None where not known."""
    if name in estimate.memory.unknown:
        return None
    return (phase or estimate.memory.peak).part(name).bytes


def known_parts(estimate: Estimate) -> dict[str, int | None]:
    """Bytes of the four parts at the peak, by name."""
    return {name: known_part(estimate, name) for name in PARTS}


def known_bytes_per_token(estimate: Estimate) -> int | None:
    """What one more token adds to the cache of a sequence; None where the cache is not known."""
    return None if "kv_cache" in estimate.memory.unknown else estimate.memory.bytes_per_token


def bytes_per_sequence(estimate: Estimate) -> int:
    """State that one more sequence of this context keeps between two tokens."""
    steady = estimate.memory.phases[-1].part("kv_cache").bytes
    return steady // estimate.workload.batch


def gpu_label(fit: Fit) -> str:
    """A group as people name it: ``2 × H100 SXM``."""
    name = clean(fit.group.gpu.name, limit=40)
    return f"{fit.group.count} × {name}" if fit.group.count > 1 else name


def group_id(fit: Fit | TrainingFit) -> str:
    """A group as ``--gpu`` takes it: ``h100-sxm:2``."""
    name = clean(fit.group.gpu.id, limit=60)
    return f"{name}:{fit.group.count}" if fit.group.count > 1 else name


def note_messages(estimate: Estimate) -> list[str]:
    """What the reader must know: of the model, of the estimate, of how a GPU's name was read."""
    messages = [note.message for note in estimate.notes]
    messages += [fit.group.note for fit in estimate.fit if fit.group.note]
    return list(dict.fromkeys(clean(message, limit=2000) for message in messages))


def revision(estimate: Estimate) -> str | None:
    """The commit in short, a branch or tag as it is."""
    name = estimate.model.revision
    if name is None:
        return None
    return name[:8] if len(name) == 40 and name.isalnum() else clean(name, limit=60)


def parameter_words(estimate: Estimate) -> list[str]:
    """``["30.53 B parameters", "3.35 B active"]``; nothing where they are not known."""
    parameters = estimate.model.parameters
    if parameters is None or parameters.total is None:
        return []
    words = [f"{count(parameters.total)} parameters{packed_words(estimate)}"]
    if parameters.active is not None and parameters.active != parameters.total:
        words.append(f"{count(parameters.active)} active")
    return words


def packed_words(estimate: Estimate) -> str:
    """`` at 4.25 bits a weight``, or ``, 19.11 B of them at 4.25 bits a weight``; empty where
    nothing is packed."""
    model = estimate.model
    parts = packed_parts(model.weights or ())
    bits = bits_per_weight(parts)
    if bits is None or model.parameters is None:
        return ""
    held = sum(part.parameters or 0 for part in parts)
    told = f"at {bits:.2f} bits a weight"
    total = model.parameters.total or held
    return f" {told}" if held * 100 >= total * 99 else f", {count(held)} of them {told}"


def stored_dtypes(estimate: Estimate) -> str:
    """Types of the stored parameters, most first: ``F8_E4M3 + BF16``."""
    parameters = estimate.model.parameters
    counts = parameters.by_dtype if parameters else {}
    names = sorted(counts, key=lambda name: -counts[name]) or [estimate.model.dtype]
    shown = " + ".join(clean(name, limit=20) for name in names[:3])
    return shown + (" + …" if len(names) > 3 else "")


def question(workload: Workload, *, ctx: int | None) -> str:
    """The workload in words: ``8,192 tokens · 1 sequence · transformers``."""
    words = [
        f"{ctx:,} tokens" if ctx is not None else "each model's own context, at most 8,192 tokens",
        plural(workload.batch, "sequence"),
        clean(workload.runtime + (f" {workload.version}" if workload.version else "")),
    ]
    if workload.dtype is not None:
        words.append(f"loaded as {clean(workload.dtype)}")
    if workload.quantize is not None:
        words.append(f"quantized to {clean(workload.quantize)}")
    if workload.kv_dtype != "auto":
        words.append(f"KV cache in {clean(workload.kv_dtype)}")
    if workload.attention is not None:
        words.append(f"{workload.attention} attention")
    if workload.device != "cuda":
        words.append(workload.device)
    if workload.encoder_ctx is not None:
        words.append(f"encoder {workload.encoder_ctx:,} tokens")
    return " · ".join(words)

"""From the flags about adapters, or an adapter that exists, to what a run trains."""

from __future__ import annotations

from pathlib import Path

from msgspec.structs import replace

from hfmem.checkpoint.strict_json import loads
from hfmem.errors import UsageError
from hfmem.memory.training_run import Method
from hfmem.model.lora import ALL_LINEAR, LoraSpec, spec_of

_MOST_RANK = 2**16


def lora_of(
    method: Method,
    base: LoraSpec,
    *,
    rank: int | None,
    targets: str | None,
    adapter: Path | None,
) -> LoraSpec:
    """The adapters of a run: a recipe's, or those of an existing adapter, with what was said.

    Raises UsageError for what means nothing in full fine-tuning, and for a file that is none.
    """
    if method == "full":
        for name, said in (
            ("--lora-rank", rank),
            ("--lora-targets", targets),
            ("--adapter", adapter),
        ):
            if said is not None:
                raise UsageError(
                    f"{name} means nothing in full fine-tuning.", hint="Say --method lora or qlora."
                )
    spec = base if adapter is None else spec_of(_adapter_config(adapter))
    if rank is not None:
        if not 1 <= rank <= _MOST_RANK:
            raise UsageError(
                f"A rank of {rank:,} makes no sense.",
                hint=f"It is a whole number from 1 to {_MOST_RANK:,}.",
            )
        spec = replace(spec, rank=rank)
    if targets is not None:
        spec = replace(spec, targets=_targets(targets))
    return replace(spec, dora=spec.dora or method == "dora")


def _targets(text: str) -> str | tuple[str, ...]:
    """``all-linear``, or names between commas."""
    if text.strip().lower() == ALL_LINEAR:
        return ALL_LINEAR
    names = tuple(name.strip() for name in text.split(",") if name.strip())
    if not names:
        raise UsageError(
            "--lora-targets names no module.", hint="Say all-linear, or q_proj,v_proj."
        )
    return names


_MOST_BYTES = 2**20


def _adapter_config(path: Path) -> dict[str, object]:
    file = path / "adapter_config.json" if path.is_dir() else path
    try:
        if file.stat().st_size > _MOST_BYTES:
            raise UsageError(f"{file} is no adapter_config.json: it is too large.")
        raw = file.read_bytes()
    except OSError as error:
        raise UsageError(
            f"{file} cannot be read: {error.strerror}.",
            hint="Name the file or the folder that peft wrote.",
        ) from None
    found = loads(raw, what=str(file), error=UsageError)
    if not isinstance(found, dict):
        raise UsageError(f"{file} holds no JSON object.", hint="It is what peft wrote.")
    return found

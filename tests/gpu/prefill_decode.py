"""Real prompts and decoding steps of random weights on an NVIDIA GPU, beside the estimate.

``python -m tests.gpu.prefill_decode`` runs several architectures under transformers; ``--dry``
prints the plan and the estimates and needs no GPU. What is compared is what PyTorch allocated at
most (``torch.cuda.max_memory_allocated``) with weights, cache and activations of the estimate.

Needs torch and transformers.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from typing import Any

from msgspec import Struct

from hfmem.gpu import Gpu, GpuGroup
from hfmem.memory.estimate import Phase
from hfmem.memory.workload import workload
from hfmem.runtimes import RUNTIMES
from tests.gpu.comparing import Compared, has_cuda, in_a_process_of_its_own, report, table
from tests.gpu.shapes import SHAPES
from tests.memory.training_models import model_of

LIMIT = 0.03
_DEVICE = "cuda"
_PARTS = ("weights", "kv_cache", "activations")
_STEPS = 4


class Case(Struct, frozen=True, kw_only=True):
    """A shape and its input."""

    shape: str
    prompt: int
    batch: int

    @property
    def name(self) -> str:
        """As ``--measure`` takes it."""
        return f"{self.shape}:{self.prompt}:{self.batch}"


def parsed(name: str) -> Case:
    """The case of a name."""
    shape, prompt, batch = name.split(":")
    return Case(shape=shape, prompt=int(prompt), batch=int(batch))


def ours(case: Case) -> list[Compared]:
    """Tensors of the prompt's pass, of the last step, and the larger of both."""
    first = _phase(case, "prefill", ctx=case.prompt)
    last = _phase(case, "decode", ctx=case.prompt + _STEPS)
    amounts = {"prefill": first, "decode": last, "total": max(first, last)}
    return [Compared(case=case.name, amount=name, ours=size) for name, size in amounts.items()]


def _phase(case: Case, name: str, *, ctx: int) -> int:
    model = model_of(SHAPES[case.shape], name=case.shape)
    card = Gpu(id="measured", name="measured", usable_bytes=2**40, usable_basis="given")
    found = RUNTIMES["transformers"].estimate(
        model, workload(ctx=ctx, batch=case.batch), GpuGroup(gpu=card)
    )
    phase: Phase = next(phase for phase in found.phases if phase.name == name)
    return sum(phase.part(part).bytes for part in _PARTS)


def measure(case: Case) -> dict[str, int]:
    """Read a prompt, decode a few tokens, and return what was held at most in each."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    settings = dict(SHAPES[case.shape])
    config = AutoConfig.for_model(str(settings.pop("model_type")), **settings)
    with torch.device(_DEVICE):
        model = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16).eval()
    ids = torch.randint(0, 1000, (case.batch, case.prompt), device=_DEVICE)
    found: dict[str, int] = {}
    with torch.no_grad():
        torch.cuda.reset_peak_memory_stats()
        out = model(input_ids=ids, use_cache=True, logits_to_keep=1)
        found["prefill"] = _peak(torch)
        cache = getattr(out, "past_key_values", None)
        cache = cache if cache is not None else out.cache_params
        named = "past_key_values" if hasattr(out, "past_key_values") else "cache_params"
        logits = out.logits
        del out
        for _ in range(_STEPS):
            token = logits[:, -1:].argmax(-1)
            torch.cuda.reset_peak_memory_stats()
            step = {"input_ids": token, "use_cache": True, "logits_to_keep": 1, named: cache}
            logits = model(**step).logits
            found["decode"] = _peak(torch)
    found["total"] = max(found["prefill"], found["decode"])
    return found


def _peak(torch: Any) -> int:
    torch.cuda.synchronize()
    return int(torch.cuda.max_memory_allocated())


def compared(chosen: Sequence[Case], *, dry: bool) -> Iterator[Compared]:
    """Every case."""
    reason = "dry run" if dry else has_cuda()
    for case in chosen:
        rows = ours(case)
        if reason:
            yield from (
                Compared(case=one.case, amount=one.amount, ours=one.ours, why_not=reason)
                for one in rows
            )
        else:
            yield from in_a_process_of_its_own("tests.gpu.prefill_decode", case.name, rows)


def main(arguments: Sequence[str]) -> int:
    """Print the table; 1 where a case is further off than 3 %."""
    parser = argparse.ArgumentParser(prog="python -m tests.gpu.prefill_decode")
    parser.add_argument("--dry", action="store_true", help="print the plan and the estimates")
    parser.add_argument("--shapes", nargs="+", choices=sorted(SHAPES), default=sorted(SHAPES))
    parser.add_argument("--prompts", nargs="+", type=int, default=[2048, 8192])
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--measure", metavar="CASE", help=argparse.SUPPRESS)
    chosen = parser.parse_args(arguments)
    if chosen.measure:
        return report(lambda: measure(parsed(chosen.measure)))
    planned = [
        Case(shape=shape, prompt=prompt, batch=chosen.batch)
        for shape in chosen.shapes
        for prompt in chosen.prompts
    ]
    return table(compared(planned, dry=chosen.dry), limit=LIMIT)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

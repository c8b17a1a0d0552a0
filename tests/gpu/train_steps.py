"""Real training steps of random weights on an NVIDIA GPU, beside the estimate.

``python -m tests.gpu.train_steps`` runs every case that the card holds: full, LoRA and QLoRA, with
checkpointing and without. ``--dry`` prints the plan and the estimates and needs no GPU. What is
compared is what PyTorch allocated at most in each phase of the second step
(``torch.cuda.max_memory_allocated``) with the tensors of the estimate, and everything that the card
lost with the whole.

Needs torch, transformers, peft, bitsandbytes for QLoRA, and nvidia-ml-py for the whole process.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Iterator, Sequence
from typing import Any

from msgspec import Struct

from hfmem.memory.training import training_estimate
from hfmem.memory.training_estimate import TrainingEstimate
from hfmem.memory.training_run import Method, TrainingRun
from hfmem.model.lora import LoraSpec
from tests.gpu.comparing import Compared, has_cuda, in_a_process_of_its_own, report, table
from tests.gpu.shapes import SHAPES
from tests.memory.training_models import model_of

LIMIT = 0.05
_DEVICE = "cuda"
_PHASES = ("forward", "backward", "step")
_SIZES = ("llama-1b", "llama-3b", "qwen3-4b", "llama-8b")
_METHODS: tuple[Method, ...] = ("full", "lora", "qlora")


class Case(Struct, frozen=True, kw_only=True):
    """A shape and how it trains."""

    shape: str
    method: Method
    checkpointed: bool
    tokens: int
    batch: int

    @property
    def name(self) -> str:
        """As ``--measure`` takes it."""
        saved = "checkpointed" if self.checkpointed else "kept"
        return f"{self.shape}:{self.method}:{saved}:{self.tokens}:{self.batch}"

    @property
    def run(self) -> TrainingRun:
        """The same step as ``measure`` makes."""
        return TrainingRun(
            method=self.method,
            seq_len=self.tokens,
            micro_batch=self.batch,
            precision="bf16",
            optimizer="adamw",
            checkpointing="full" if self.checkpointed else "none",
            attention="sdpa",
            quantize="nf4-dq",
            lora=LoraSpec(rank=16),
        )


def parsed(name: str) -> Case:
    """The case of a name."""
    shape, method, saved, tokens, batch = name.split(":")
    found = next(one for one in _METHODS if one == method)
    return Case(
        shape=shape,
        method=found,
        checkpointed=saved == "checkpointed",
        tokens=int(tokens),
        batch=int(batch),
    )


def cases(shapes: Sequence[str], *, tokens: int, batch: int) -> Iterator[Case]:
    """Every method with checkpointing and without, the smallest shape first."""
    for shape in shapes:
        for method in _METHODS:
            for checkpointed in (True, False):
                yield Case(
                    shape=shape,
                    method=method,
                    checkpointed=checkpointed,
                    tokens=tokens,
                    batch=batch,
                )


def estimated(case: Case) -> TrainingEstimate:
    """What hfmem says of a case."""
    return training_estimate(model_of(SHAPES[case.shape], name=case.shape), case.run, "datacenter")


def ours(case: Case) -> list[Compared]:
    """Tensors of every phase, and the whole process."""
    found = estimated(case)
    rows = [
        Compared(case=case.name, amount=phase.name, ours=phase.tensor_bytes)
        for phase in found.phases
    ]
    return [*rows, Compared(case=case.name, amount="process", ours=found.need_bytes)]


def measure(case: Case) -> dict[str, int]:
    """Make two steps and return what was held at most in each phase of the second."""
    import torch

    before = _used()
    model = _model(case)
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=1e-4, fused=True)
    ids = torch.randint(0, 1000, (case.batch, case.tokens), device=_DEVICE)
    found: dict[str, int] = {}
    for _ in range(2):
        torch.cuda.reset_peak_memory_stats()
        loss = model(input_ids=ids, labels=ids, use_cache=False).loss
        found["forward"] = _peak(torch)
        loss.backward()
        del loss
        found["backward"] = _peak(torch)
        optimizer.step()
        found["step"] = _peak(torch)
        optimizer.zero_grad(set_to_none=True)
    after = _used()
    if before is not None and after is not None:
        # The allocator gives nothing back, so this is what the process held at most.
        found["process"] = after - before
    return found


def _peak(torch: Any) -> int:
    torch.cuda.synchronize()
    peak = int(torch.cuda.max_memory_allocated())
    torch.cuda.reset_peak_memory_stats()
    return peak


def _used() -> int | None:
    """What the driver says is used on the first card; None where its library is not installed."""
    try:
        import pynvml
    except ImportError:
        return None
    pynvml.nvmlInit()
    return int(pynvml.nvmlDeviceGetMemoryInfo(pynvml.nvmlDeviceGetHandleByIndex(0)).used)


def _model(case: Case) -> Any:
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    settings = dict(SHAPES[case.shape])
    config = AutoConfig.for_model(str(settings.pop("model_type")), **settings)
    with torch.device(_DEVICE):
        model = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)
    if case.method == "qlora":
        model = _quantized(model)
    if case.method != "full":
        from peft import LoraConfig, get_peft_model

        adapters = LoraConfig(r=16, target_modules="all-linear", task_type="CAUSAL_LM")
        model = get_peft_model(model, adapters)
    if case.checkpointed:
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
        if case.method != "full":
            model.enable_input_require_grads()
    return model.train()


def _quantized(model: Any) -> Any:
    """The same weights in NF4 with double quantization, prepared as peft's documentation says."""
    import torch
    from peft import prepare_model_for_kbit_training
    from transformers import AutoModelForCausalLM, BitsAndBytesConfig

    scheme = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.bfloat16,
    )
    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder)
        del model
        torch.cuda.empty_cache()
        loaded = AutoModelForCausalLM.from_pretrained(
            folder, quantization_config=scheme, device_map={"": 0}, dtype=torch.bfloat16
        )
    return prepare_model_for_kbit_training(loaded, use_gradient_checkpointing=False)


def compared(chosen: Sequence[Case], *, dry: bool) -> Iterator[Compared]:
    """Every case; what the card cannot hold is planned and not run."""
    reason = "dry run" if dry else has_cuda()
    room = 0 if reason else _room()
    for case in chosen:
        rows = ours(case)
        why = reason or ("more than the card holds" if rows[-1].ours > room else "")
        if why:
            yield from (
                Compared(case=one.case, amount=one.amount, ours=one.ours, why_not=why)
                for one in rows
            )
        else:
            yield from in_a_process_of_its_own("tests.gpu.train_steps", case.name, rows)


def _room() -> int:
    import torch

    free, _ = torch.cuda.mem_get_info()
    return int(free)


def main(arguments: Sequence[str]) -> int:
    """Print the table; 1 where a case is further off than 5 %."""
    parser = argparse.ArgumentParser(prog="python -m tests.gpu.train_steps")
    parser.add_argument("--dry", action="store_true", help="print the plan and the estimates")
    parser.add_argument("--shapes", nargs="+", choices=sorted(SHAPES), default=list(_SIZES))
    parser.add_argument("--seq-len", type=int, default=2048)
    parser.add_argument("--micro-batch", type=int, default=1)
    parser.add_argument("--measure", metavar="CASE", help=argparse.SUPPRESS)
    chosen = parser.parse_args(arguments)
    if chosen.measure:
        return report(lambda: measure(parsed(chosen.measure)))
    planned = list(cases(chosen.shapes, tokens=chosen.seq_len, batch=chosen.micro_batch))
    return table(compared(planned, dry=chosen.dry), limit=LIMIT)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

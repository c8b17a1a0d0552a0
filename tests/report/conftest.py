"""Answers built by hand: no network, no arithmetic of hfmem."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import pytest

from hfmem.answer import Estimate, Failure
from hfmem.checkpoint.snapshot import Note
from hfmem.download import Download
from hfmem.gpu import Gpu, GpuGroup
from hfmem.hardware.fit import Fit, Verdict
from hfmem.memory.estimate import MemoryEstimate, Phase, PhaseName
from hfmem.memory.precision import Rung
from hfmem.memory.rules import Rule
from hfmem.memory.term import Term, total
from hfmem.memory.workload import Workload
from hfmem.model.architectures import Decoder
from hfmem.model.layers import FullAttention, Layer, SlidingWindow
from hfmem.model.model import Model
from hfmem.model.parameters import Parameters
from hfmem.units import GIB, MIB

FULL = FullAttention(kv_heads=4, head_dim=128, v_head_dim=128)
WINDOW = SlidingWindow(kv_heads=4, head_dim=128, v_head_dim=128, window=1024)
LAYERS: tuple[Layer, ...] = tuple((FULL if n % 6 == 5 else WINDOW,) for n in range(28))


def phase(
    name: PhaseName, *, weights: int, kv_cache: int, activations: int, overhead: int
) -> Phase:
    """An instant whose four parts have one level below them at most."""
    kv_because = "2 × 28 layers × 4 heads × 128 × 2 bytes × 8,192 tokens; modeling_qwen2.py"
    return Phase(
        name=name,
        memory=total(
            "memory",
            (
                Term(
                    name="weights",
                    bytes=weights,
                    basis="exact",
                    because="from the safetensors headers",
                    parts=(
                        Term(
                            name="language",
                            bytes=weights - GIB,
                            basis="exact",
                            because="339 tensors",
                        ),
                        Term(name="vision", bytes=GIB, basis="exact", because="390 tensors"),
                    )
                    if weights > GIB
                    else (),
                ),
                Term(name="kv_cache", bytes=kv_cache, basis="exact", because=kv_because),
                Term(
                    name="activations",
                    bytes=activations,
                    basis="derived",
                    because="two buffers of the MLP at 8,192 tokens",
                    low=activations * 9 // 10,
                    high=activations * 6 // 5,
                ),
                Term(
                    name="overhead",
                    bytes=overhead,
                    basis="measured",
                    because="CUDA context and library workspaces",
                    low=overhead // 2,
                    high=overhead * 2,
                ),
            ),
            because="weights + kv_cache + activations + overhead",
        ),
    )


def model(name: str = "Qwen/Qwen2.5-7B-Instruct", **changes: object) -> Model:
    """A model of 28 layers, every sixth with full attention."""
    facts: dict[str, object] = {
        "name": name,
        "revision": "a09a35458c702b33eeacc393d103063234e8bc28",
        "source": "hub",
        "model_type": "qwen2",
        "class_name": "Qwen2ForCausalLM",
        "dtype": "BF16",
        "decoder": Decoder(
            layers=LAYERS,
            hidden_size=3584,
            attention_heads=28,
            kv_heads=4,
            head_dim=128,
            max_context=32768,
            vocab_size=152064,
            text={},
            model_type="qwen2",
            resolved_by="entry",
            source="",
        ),
        "cache_known": True,
        "forward": None,
        "weights": None,
        "parameters": Parameters(
            total=7_615_616_512,
            active=7_615_616_512,
            by_dtype={"BF16": 7_615_616_512},
            by_component={"language": 7_070_619_136, "vision": 544_997_376},
        ),
        "checkpoint_bytes": 15_231_233_024,
        "loaded_files": (),
        "notes": (),
    }
    return Model(**(facts | changes))


def gpu(name: str = "GeForce RTX 4090", *, gpu_id: str = "rtx-4090", usable: int = 24 * GIB) -> Gpu:
    """A card with the fields that an answer shows."""
    return Gpu(id=gpu_id, name=name, usable_bytes=usable, usable_basis="given")


def fit(
    verdict: Verdict | None = "fits",
    *,
    card: Gpu | None = None,
    count: int = 1,
    headroom: int | None = 7 * GIB,
) -> Fit:
    """A judgement on a group."""
    group = GpuGroup(gpu=card or gpu(), count=count)
    return Fit(
        group=group,
        verdict=verdict,
        decided_by=None if verdict is None else "weights",
        usable_bytes=group.gpu.usable_bytes * count,
        headroom_bytes=headroom,
        per_gpu_bytes=None if verdict is None else 17 * GIB // count,
        max_ctx=None if verdict is None else 32768,
        max_batch=None if verdict is None else 14,
    )


RUNGS = (
    Rung(
        scheme="as published",
        weights_bytes=15_231_233_024,
        total_bytes=17_179_869_184,
        bits_per_weight=16.0,
        smallest_gpu="rtx-4090",
        smallest_count=1,
        note="",
    ),
    Rung(
        scheme="nf4",
        weights_bytes=5_440_000_000,
        total_bytes=7_400_000_000,
        bits_per_weight=5.71,
        smallest_gpu="rtx-3060-12gb",
        smallest_count=1,
        note="bitsandbytes leaves the embeddings and the head alone",
    ),
)
RULES = (
    Rule(
        id="C2",
        name="weights",
        formula="m = p·t/8 = 7.62e9 × 16 / 8",
        bytes=15_231_233_024,
        exact_bytes=15_231_233_024,
        comment="right where every tensor has the same type",
    ),
    Rule(id="D5", name="speed", formula="20+ tok/s", bytes=None, exact_bytes=None, comment=""),
)
HOSTILE = "evil\x1b[31m\u202e|`<b>[red]=cmd()\n## x"


def estimate(
    name: str = "Qwen/Qwen2.5-7B-Instruct",
    *,
    unknown: tuple[str, ...] = (),
    fit: tuple[Fit, ...] = (),
    cards: tuple[Fit, ...] = (),
    precision: tuple[Rung, ...] = (),
    rules: tuple[Rule, ...] = (),
    notes: tuple[Note, ...] = (),
    workload: Workload | None = None,
    columns: Mapping[str, str] | None = None,
    **changes: object,
) -> Estimate:
    """16 GiB: 14 of weights, 448 MiB of cache, 1 GiB of activations, 576 MiB of overhead."""
    amounts = {"weights": 14 * GIB, "overhead": 576 * MIB}
    amounts = {part: 0 if part in unknown else amount for part, amount in amounts.items()}
    return Estimate(
        model=model(name, **changes),
        workload=workload or Workload(),
        memory=MemoryEstimate(
            phases=(
                phase("loading", kv_cache=0, activations=0, **amounts),
                phase("prefill", kv_cache=448 * MIB, activations=GIB, **amounts),
                phase("decode", kv_cache=448 * MIB, activations=32 * MIB, **amounts),
            ),
            ctx=8192,
            kv_dtype="bfloat16",
            bytes_per_token=57_344,
            unknown=unknown,
            notes=notes,
        ),
        fit=fit,
        cards=cards,
        precision=precision,
        rules=rules,
        download=Download(
            files_bytes=15_242_700_000,
            repository_bytes=15_251_000_000,
            cached_bytes=0,
            disk_free_bytes=812 * 10**9,
        ),
        input=columns or {},
    )


def failure(name: str = "meta-llama/Llama-3.1-8B", **changes: object) -> Failure:
    """A gated model."""
    facts: dict[str, object] = {
        "model": name,
        "code": "gated_model",
        "message": f"{name} is gated.",
        "hint": f"Accept its licence at https://huggingface.co/{name}, then: hf auth login",
    }
    return Failure(**(facts | changes))


@pytest.fixture(scope="session")
def make_estimate() -> Callable[..., Estimate]:
    """An estimate by hand."""
    return estimate


@pytest.fixture(scope="session")
def make_model() -> Callable[..., Model]:
    """A model by hand."""
    return model


@pytest.fixture(scope="session")
def make_failure() -> Callable[..., Failure]:
    """A failure by hand."""
    return failure


@pytest.fixture(scope="session")
def make_fit() -> Callable[..., Fit]:
    """A judgement by hand."""
    return fit


@pytest.fixture(scope="session")
def make_gpu() -> Callable[..., Gpu]:
    """A card by hand."""
    return gpu


@pytest.fixture(scope="session")
def full_estimate() -> Estimate:
    """An estimate with everything that one can have."""
    return estimate(
        fit=(fit(), fit("no", card=gpu("H100 SXM", gpu_id="h100-sxm"), count=2, headroom=-GIB)),
        cards=(fit(None, headroom=None),),
        precision=RUNGS,
        rules=RULES,
        notes=(Note(code="default_context", message="The context is 8,192 tokens by default."),),
        columns={"team": "search"},
    )

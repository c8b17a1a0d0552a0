"""The runtimes side by side: no figure and no card is cut at any width."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from msgspec.structs import replace

from hfmem.answer import Estimate
from hfmem.comparison import Compared
from hfmem.gpu import Gpu
from hfmem.hardware.fit import Fit
from hfmem.report.runtimes import runtimes_table
from hfmem.report.screen import Screen, draw


@pytest.fixture
def estimate(
    make_estimate: Callable[..., Estimate],
    make_fit: Callable[..., Fit],
    make_gpu: Callable[..., Gpu],
) -> Estimate:
    card = make_gpu("H100 SXM5 80GB", gpu_id="h100-sxm")
    fits = (make_fit("offload", card=card, count=2), make_fit("no"))
    made = make_estimate(fit=fits)
    unknown = make_estimate(unknown=("overhead",)).memory
    runtimes = (
        Compared(runtime="transformers", memory=made.memory, fit=fits, refusal=""),
        Compared(runtime="mlx", memory=unknown, fit=(make_fit(None), make_fit(None)), refusal=""),
        Compared(runtime="vllm", memory=None, fit=(), refusal="vLLM does not run it at all."),
    )
    return replace(made, runtimes=runtimes)


@pytest.mark.parametrize("width", [40, 60, 80, 100, 160, None])
def test_nothing_is_cut(estimate: Estimate, width: int | None) -> None:
    screen = Screen(width=width)
    text = draw(runtimes_table(estimate, screen), screen)
    assert "…" not in text
    assert width is None or max(map(len, text.splitlines())) <= width
    words = text.split()
    for word in ("transformers", "mlx", "vllm", "16.00", "offload", "no", "unknown"):
        assert word in words
    flat = "".join(words)
    assert "h100-sxm:2" in flat or "2×H100SXM580GB" in flat
    assert "rtx-4090" in flat or "GeForceRTX4090" in flat


@pytest.mark.parametrize(
    ("width", "headings"),
    [
        (40, ["runtime", "total", "gpu"]),
        (80, ["runtime", "total", "weights", "KV", "cache", "h100-sxm:2", "rtx-4090"]),
        (
            None,
            [
                *("runtime", "total", "weights", "KV", "cache", "activations", "overhead"),
                *("2", "×", "H100", "SXM5", "80GB", "GeForce", "RTX", "4090"),
            ],
        ),
    ],
)
def test_a_narrow_screen_leaves_out_the_small_parts(
    estimate: Estimate, width: int | None, headings: list[str]
) -> None:
    screen = Screen(width=width)
    assert draw(runtimes_table(estimate, screen), screen).splitlines()[0].split() == headings


def test_a_refusal_is_below_the_figures(estimate: Estimate) -> None:
    text = draw(runtimes_table(estimate, Screen(width=80)), Screen(width=80))
    assert text.endswith("  vllm  vLLM does not run it at all.\n")
    assert text.count("vllm") == 1


def test_without_cards(estimate: Estimate) -> None:
    screen = Screen(width=40)
    compared = tuple(replace(one, fit=()) for one in estimate.runtimes)
    text = draw(runtimes_table(replace(estimate, fit=(), runtimes=compared), screen), screen)
    assert "gpu" not in text.split()
    assert "…" not in text

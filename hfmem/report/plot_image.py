"""The picture of ``--plot FILE``: stacked areas by matplotlib, SVG or PNG."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from hfmem.answer import Estimate
from hfmem.errors import UsageError
from hfmem.memory.estimate import PARTS
from hfmem.report.phrases import PART_LABELS, parameter_words, question, size
from hfmem.report.plot import Curve, Limit, curve
from hfmem.text import clean
from hfmem.units import GIB, KIB

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SUFFIXES = (".svg", ".png")

# Okabe and Ito's palette, which colour-blind readers tell apart.
_COLOURS = {
    "weights": "#0072B2",
    "kv_cache": "#E69F00",
    "activations": "#009E73",
    "overhead": "#BBBBBB",
}
_INK, _PAPER, _RULE, _LINE = "#222222", "#FFFFFF", "#DDDDDD", "#B02418"


def require() -> None:
    """Raise UsageError where matplotlib is not installed."""
    try:
        import matplotlib as mpl  # noqa: F401
    except ImportError:
        raise UsageError(
            "A plot needs matplotlib, which is not installed.",
            hint='Install it: pip install "hfmem-cli[plot]"; or draw in the terminal: --plot -',
        ) from None


def write(path: Path, estimate: Estimate, *, suffix: str) -> None:
    """Draw an estimate into a file; ``suffix`` is one of ``SUFFIXES``. Raises UsageError."""
    import matplotlib as mpl

    with mpl.rc_context(
        {
            "font.family": "sans-serif",
            "font.sans-serif": ["DejaVu Sans"],
            "text.usetex": False,
            "text.parse_math": False,
            "svg.fonttype": "path",
            "svg.hashsalt": "hfmem",
        }
    ):
        figure = draw(estimate, curve(estimate))
        metadata = {"Date": None} if suffix == ".svg" else {}
        figure.savefig(path, format=suffix[1:], metadata=metadata, facecolor=_PAPER)


def draw(estimate: Estimate, found: Curve) -> Figure:
    """The figure: areas by term, limits as lines, the asked context marked.

    Built without pyplot, so that no window system and no state is touched.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 5.4), dpi=150, facecolor=_PAPER, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    contexts = [point.ctx for point in found.points]
    heights = [[point.parts[name] / GIB for point in found.points] for name in PARTS]
    axes.stackplot(
        contexts,
        heights,
        colors=[_COLOURS[name] for name in PARTS],
        labels=[PART_LABELS[name] for name in PARTS],
        edgecolor=_PAPER,
        linewidth=0.4,
    )
    axes.set_xlim(contexts[0], contexts[-1])
    top = _top(found)
    axes.set_ylim(0, top)
    _limits(axes, [limit for limit in found.limits if limit.bytes / GIB <= top], top)
    _mark(axes, found, top)
    _frame(axes, estimate, found)
    return figure


def _top(found: Curve) -> float:
    """Room for the curve, and for the lines that are near it."""
    highest = max(point.total for point in found.points)
    near = [limit.bytes for limit in found.limits if limit.bytes <= 2 * highest]
    return max([highest, *near]) * 1.12 / GIB


def _limits(axes: Axes, limits: Sequence[Limit], top: float) -> None:
    """Dashed lines, named in the margin at the right, the names apart from each other."""
    lowest = 0.0
    for limit in limits:
        height = limit.bytes / GIB
        # Pale below the dashes: they are seen on paper and on every area.
        axes.axhline(height, color=_PAPER, linewidth=2.2, alpha=0.85, zorder=4)
        axes.axhline(height, color=_LINE, linewidth=1.2, linestyle=(0, (6, 3)), zorder=4)
        lowest = max(height, lowest)
        moved = lowest > height
        axes.annotate(
            f"{clean(limit.label, limit=28)}\n{size(limit.bytes)}",
            (1, height),
            xytext=(1.015, lowest),
            xycoords=axes.get_yaxis_transform(),
            textcoords=axes.get_yaxis_transform(),
            fontsize=8.5,
            color=_LINE,
            va="center",
            annotation_clip=False,
            arrowprops={"arrowstyle": "-", "color": _LINE, "linewidth": 0.6, "relpos": (0, 0.5)}
            if moved
            else None,
        )
        lowest += 0.085 * top


def _mark(axes: Axes, found: Curve, top: float) -> None:
    """A line up to the asked context, and its total where the curve leaves room."""
    asked = found.asked
    height = asked.total / GIB
    axes.plot([asked.ctx, asked.ctx], [0, height], color=_INK, linewidth=1.1, zorder=5)
    axes.plot([asked.ctx], [height], marker="o", color=_INK, markersize=5, zorder=5)
    first, last = axes.get_xlim()
    left = asked.ctx > first + 0.36 * (last - first)
    reach = asked.ctx + 0.36 * (last - first)
    above = max(point.total for point in found.points if point.ctx <= max(reach, asked.ctx)) / GIB
    bottom = (height if left else above) + 0.025 * top
    for line in (limit.bytes / GIB for limit in found.limits):
        if bottom - 0.02 * top < line < bottom + 0.06 * top:
            bottom = line + 0.02 * top
    axes.annotate(
        f"{asked.ctx:,} tokens: {size(asked.total)}",
        (asked.ctx, height),
        xytext=(asked.ctx, min(bottom, 0.95 * top)),
        textcoords="data",
        ha="right" if left else "left",
        va="bottom",
        fontsize=10,
        fontweight="bold",
        color=_INK,
        zorder=7,
        arrowprops={
            "arrowstyle": "-",
            "color": _INK,
            "linewidth": 1.1,
            "shrinkA": 0,
            "shrinkB": 0,
            "relpos": (int(left), 0),
        },
        bbox={"facecolor": _PAPER, "edgecolor": "none", "alpha": 0.8, "pad": 1.5},
    )


def _frame(axes: Axes, estimate: Estimate, found: Curve) -> None:
    from matplotlib.ticker import FuncFormatter, MultipleLocator

    words = " · ".join(
        [*parameter_words(estimate), question(estimate.workload, ctx=found.asked.ctx)]
    )
    axes.set_title(
        clean(estimate.model.name, limit=80), loc="left", fontsize=13, color=_INK, pad=22
    )
    axes.text(0, 1.025, words, transform=axes.transAxes, fontsize=8.5, color="#555555")
    axes.set_xlabel("context, tokens per sequence", color=_INK)
    axes.set_ylabel("memory, GiB", color=_INK)
    last = found.points[-1].ctx
    axes.xaxis.set_major_locator(MultipleLocator(2 ** max(0, (last // 5).bit_length() - 1)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: tokens(int(value))))
    axes.tick_params(colors=_INK, labelsize=9)
    axes.grid(axis="y", color=_RULE, linewidth=0.6, zorder=0)
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    handles, labels = axes.get_legend_handles_labels()
    axes.legend(
        handles,
        labels,
        loc="upper left",
        bbox_to_anchor=(-0.01, -0.1),
        ncols=len(PARTS),
        frameon=False,
        fontsize=9.5,
        labelcolor=_INK,
    )


def tokens(count: int) -> str:
    """``tokens(8192) == "8k"``, ``tokens(1000) == "1,000"``."""
    return f"{count // KIB:,}k" if count and count % KIB == 0 else f"{count:,}"

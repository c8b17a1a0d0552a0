"""Rules of thumb beside the exact figures, for a person."""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.text import Text

from hfmem.memory.rules import Rule
from hfmem.report.grids import INDENT, NARROW, grid
from hfmem.report.phrases import size
from hfmem.report.screen import Screen
from hfmem.text import clean

_ASIDE = 110
"""Columns from which the comments stand beside the figures."""


def rules_table(rules: tuple[Rule, ...], screen: Screen) -> RenderableType:
    """What each rule says, what is exact, and by how much it is off."""
    if screen.columns < NARROW:
        return _stacked(rules)
    aside = screen.columns >= _ASIDE
    table = grid(header=True)
    table.add_column("rule of thumb", overflow="fold")
    table.add_column("it says", justify="right", no_wrap=True)
    table.add_column("exact", justify="right", no_wrap=True)
    table.add_column("off by", justify="right", no_wrap=True)
    if aside:
        table.add_column("", style="dim", overflow="fold")
    for rule in rules:
        comment = clean(rule.comment)
        label = _label(rule, below=[clean(rule.formula), *([] if aside else [comment])])
        table.add_row(label, *_figures(rule), *([comment] if aside else []))
    return Padding(table, INDENT)


def _stacked(rules: tuple[Rule, ...]) -> RenderableType:
    """The figures below the names, where there is no room beside them."""
    words = ("it says {}", "exact {}", "off by {}")
    lines = []
    for rule in rules:
        known = zip(words, _figures(rule), strict=True)
        figures = " · ".join(word.format(figure) for word, figure in known if figure)
        lines.append(_label(rule, below=[figures, clean(rule.formula), clean(rule.comment)]))
    return Padding(Group(Text("rules of thumb", style="dim"), *lines), INDENT)


def _label(rule: Rule, *, below: list[str]) -> Text:
    label = Text(f"{rule.id} {rule.name}")
    for line in filter(None, below):
        label.append(f"\n{line}", style="dim")
    return label


def _figures(rule: Rule) -> tuple[str, str, str]:
    return (
        "" if rule.bytes is None else size(rule.bytes),
        "" if rule.exact_bytes is None else size(rule.exact_bytes),
        "" if rule.ratio is None else f"{rule.ratio:.2f} ×",
    )

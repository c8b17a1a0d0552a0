"""The HTML report: one file that asks no network, for a person with many models.

The rows travel as JSON inside the page, and its script sets every text as text. The page's own
policy allows this one script and nothing from outside; what is written here is escaped.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from html import escape
from importlib.resources import files

from hfmem._version import __version__
from hfmem.memory.estimate import PARTS
from hfmem.memory.workload import Workload
from hfmem.report.changes import Change
from hfmem.report.html.compact import Collected, collect
from hfmem.report.phrases import PART_LABELS, plural, question, size
from hfmem.report.stored import Stored
from hfmem.text import clean

_SCRIPT = ("words.js", "chart.js", "script.js")


def pieces(
    rows: Callable[[], Iterable[Stored]],
    workload: Workload,
    *,
    changes: Sequence[Change] | None,
    now: datetime | None = None,
) -> Iterator[str]:
    """The page in pieces. ``rows`` may be read once."""
    found = collect(rows())
    style, script = _asset("style.css"), "".join(map(_asset, _SCRIPT))
    yield _head(found, style, script)
    yield _top(found, workload, now or datetime.now(UTC))
    yield "<main>"
    if changes is not None:
        yield from _changes(changes)
    if found.models:
        yield _models(found)
        if found.gpus:
            yield _matrix()
    if found.failures:
        yield from _failures(found.failures)
    yield f"</main><footer><p class=faint>hfmem {escape(__version__)}</p></footer>"
    yield '<script id="data" type="application/json">'
    yield from _data(found)
    yield f"</script><script>{script}</script></body></html>\n"


def _asset(name: str) -> str:
    return files(__name__).joinpath(name).read_text(encoding="utf-8")


def _head(found: Collected, style: str, script: str) -> str:
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{digest}'"
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta name="referrer" content="no-referrer">'
        f"<title>Memory of {plural(found.count, 'model')}</title>"
        f"<style>{style}</style></head><body>"
    )


def _top(found: Collected, workload: Workload, now: datetime) -> str:
    total = sum(model["low"] for model in found.models)
    least = ", at least" if any(model["total"] is None for model in found.models) else ""
    sums = [(f"{len(found.models):,}", "estimated")]
    if found.failures:
        sums.append((f"{len(found.failures):,}", "failed"))
    if found.models:
        sums.append((size(total), f"together{least}"))
    for number, gpu in enumerate(found.gpus if found.named else ()):
        fitting = sum(
            model["fit"][number]["verdict"] in ("fits", "tight") for model in found.models
        )
        sums.append((f"{fitting:,}", f"fit {gpu['name']}"))
    items = "".join(f"<li><b>{escape(n)}</b><span>{escape(what)}</span></li>" for n, what in sums)
    asked = escape(question(workload, ctx=workload.ctx))
    return (
        f"<header><div><h1>Memory of {plural(found.count, 'model')}</h1>"
        f'<p class="soft">{asked}</p><p class="faint">{now:%Y-%m-%d %H:%M} UTC</p>'
        '</div><button class="plain" id="theme" hidden>Light or dark</button>'
        f'<ul class="sum">{items}</ul></header>'
        "<noscript><main><p>The tables of this report need JavaScript; nothing is loaded from "
        "outside.</p></main></noscript>"
    )


def _models(found: Collected) -> str:
    legend = "".join(f'<span><i class="{part}"></i>{PART_LABELS[part]}</span>' for part in PARTS)
    gpus = "".join(
        f'<option value="{number}">{escape(gpu["name"])}</option>'
        for number, gpu in enumerate(found.gpus)
    )
    choose = (
        '<select id="gpu" aria-label="GPU"><option value="-1">any GPU</option>'
        f'{gpus}</select><select id="verdict" aria-label="Verdict"><option value="">every verdict'
        '</option><option value="any">fits or tight</option><option>fits</option><option>tight'
        "</option><option>offload</option><option>no</option><option>unknown</option></select>"
        if found.gpus
        else ""
    )
    return (
        '<section aria-labelledby="models"><div class="head"><h2 id="models">Models</h2>'
        '<span class="faint" id="shown" role="status"></span>'
        f'<div class="legend">{legend}</div></div>'
        '<div class="tools"><input type="search" id="text" placeholder="Filter models" '
        f'aria-label="Filter models">{choose}'
        '<select id="sort" aria-label="Order"></select>'
        '<select id="scale" aria-label="Scale of the bars"><option value="common">bars on one scale'
        '</option><option value="own">bars by share</option></select></div>'
        '<div class="scroll"><table class="models"><thead><tr id="heads"></tr></thead>'
        '<tbody id="rows"></tbody></table><p class="empty" id="none" hidden>No model matches.</p>'
        '</div><p class="center" id="rest" hidden><button class="plain"></button></p></section>'
    )


def _matrix() -> str:
    return (
        '<section aria-labelledby="fits"><div class="head"><h2 id="fits">Where they fit</h2>'
        '<span class="faint" id="fitted"></span></div><div class="scroll">'
        '<table class="matrix"><thead><tr id="fitheads"></tr></thead><tbody id="matrix"></tbody>'
        '</table><p class="empty" id="unfit" hidden>No model matches.</p></div></section>'
    )


def _failures(failures: Sequence[Mapping[str, str]]) -> Iterator[str]:
    yield (
        '<section aria-labelledby="failed"><div class="head"><h2 id="failed">Not estimated</h2>'
        f'<span class="faint">{plural(len(failures), "model")}</span></div><div class="scroll">'
        '<table class="stack"><thead><tr><th scope="col"><span>model</span></th>'
        '<th scope="col"><span>why</span>'
        '</th><th scope="col"><span>what helps</span></th></tr></thead><tbody>'
    )
    for row in failures:
        yield (
            f'<tr><th scope="row">{_text(row["model"])}</th><td>{_words(row["message"])} '
            f'<code class="faint">{_text(row["code"])}</code></td>'
            f'<td class="soft">{_words(row["hint"])}</td></tr>'
        )
    yield "</tbody></table></div></section>"


def _changes(changes: Sequence[Change]) -> Iterator[str]:
    yield (
        '<section aria-labelledby="changes"><div class="head"><h2 id="changes">Since the baseline'
        f'</h2><span class="faint">{plural(len(changes), "change")}</span></div>'
    )
    if changes:
        yield (
            '<div class="scroll"><table><thead><tr><th scope="col"><span>model</span></th>'
            '<th scope="col"><span>what</span></th><th scope="col"><span>then</span></th>'
            '<th scope="col"><span>now</span></th></tr></thead><tbody>'
        )
        for change in changes:
            yield (
                f'<tr><th scope="row">{_text(change.model)}</th><td>{_text(change.what)}</td>'
                f"<td>{_text(change.then)}</td><td>{_text(change.now)}</td></tr>"
            )
        yield "</tbody></table></div>"
    yield "</section>"


def _text(text: str) -> str:
    return escape(clean(text, limit=2000))


def _words(text: str) -> str:
    """A sentence; what stands between backticks is to be typed."""
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", _text(text))


def _data(found: Collected) -> Iterator[str]:
    """The rows as JSON in which nothing can end the element that they lie in."""
    yield f'{{"named": {json.dumps(found.named)}, "gpus": {_safe(found.gpus)}, "models": ['
    for number, model in enumerate(found.models):
        yield ("," if number else "") + _safe(model)
    yield f'], "notes": {_safe(list(found.notes))}}}'


def _safe(value: object) -> str:
    text = json.dumps(value, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")

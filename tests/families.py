"""README's table of families, written from the registry: ``python -m tests.families``.

One row an entry of ``hfmem/model/architectures``, with where its cache was read and which of its
model types also have their tensors declared in ``hfmem/model/declared``.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from hfmem.model.architectures.resolve import ARCHITECTURES
from hfmem.model.declared.families import families

BEGIN, END = "<!-- families -->", "<!-- /families -->"
README = Path(__file__).parents[1] / "README.md"


def declared() -> frozenset[str]:
    """Model types whose tensors follow from a configuration."""
    return frozenset(name for family in families() for name in family.model_types)


def table() -> str:
    """The rows in markdown, in the order of the registry, then the wrappers of its decoders."""
    known, cached = declared(), {name for entry in ARCHITECTURES for name in entry.model_types}
    lines = [
        "| Model types | Cache and state read in | Parameters from config.json alone |",
        "|---|---|---|",
    ]
    for entry in ARCHITECTURES:
        names = entry.model_types
        lines.append(f"| {_code(names)} | {_source(entry.source)} | {_share(names, known)} |")
    others = sorted(known - cached)
    lines.append(f"| {_code(others)} | the decoder's own row, or none: an encoder | all |")
    return "\n".join(lines)


def section() -> str:
    """What stands between the markers of the README."""
    types = {name for entry in ARCHITECTURES for name in entry.model_types}
    count = len(types | declared())
    return (
        f"{BEGIN}\n<details><summary>{count} model types, written by "
        f"<code>python -m tests.families</code></summary>\n\n{table()}\n\n</details>\n{END}"
    )


def _code(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def _source(source: str) -> str:
    path, _, symbol = source.partition(": ")
    shown = path.replace("transformers/models/", "")
    return f"`{shown}`{f', {symbol}' if symbol else ''}".replace("|", "\\|")


def _share(names: tuple[str, ...], known: frozenset[str]) -> str:
    missing = [name for name in names if name not in known]
    if not missing:
        return "all"
    return "none" if len(missing) == len(names) else f"not {_code(missing)}"


def main() -> None:
    """Prints the block; ``python -m tests.families`` shows what README must hold."""
    print(section())


if __name__ == "__main__":
    main()

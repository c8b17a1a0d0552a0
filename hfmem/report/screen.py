"""What the reader's terminal can show, and rich drawing for it into a string."""

from __future__ import annotations

import io
import re
from typing import TYPE_CHECKING

from msgspec import Struct

if TYPE_CHECKING:
    from rich.console import RenderableType

# One character for one where there is one, so that columns stay aligned.
_ASCII = str.maketrans(
    {"·": "*", "×": "x", "–": "-", "…": ".", "━": "=", "╸": "-", "−": "-"}
    | {"≥": ">=", "≤": "<=", "→": "->", "µ": "u"}
)
# The blanks that fill a row's last column, among the codes that end its styles.
_TRAILING = re.compile(r"(?: |\x1b\[[\d;]*m)+$", re.MULTILINE)
PIPE_WIDTH = 10_000
"""Of an output that is no terminal: nothing is wrapped or cut."""


class Screen(Struct, frozen=True, kw_only=True):
    """How an answer may look."""

    width: int | None = None
    """Columns; None is no terminal: as wide as the content."""
    colour: bool = False
    unicode: bool = True
    """False where the encoding has no lines and dots."""

    @property
    def columns(self) -> int:
        """Columns to lay out for: of a pipe, those of a usual terminal."""
        return self.width or 100


def draw(renderable: RenderableType, screen: Screen) -> str:
    """Text of a renderable, with escape sequences where the screen takes them."""
    from rich.console import Console

    console = Console(
        file=io.StringIO(),
        width=screen.width or PIPE_WIDTH,
        height=100,
        force_terminal=screen.colour,
        color_system="standard" if screen.colour else None,
        legacy_windows=False,
        emoji=False,
        highlight=False,
        markup=False,
    )
    with console.capture() as capture:
        console.print(renderable)
    text = _TRAILING.sub(lambda match: match[0].replace(" ", ""), capture.get())
    return text if screen.unicode else in_ascii(text)


def in_ascii(text: str) -> str:
    """Our own signs as ASCII has them: ``in_ascii("2 × 8 · 1") == "2 x 8 - 1"``."""
    # Between blanks the dot separates, elsewhere it multiplies.
    return text.replace(" · ", " - ").translate(_ASCII)

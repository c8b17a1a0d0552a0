"""Text from strangers, made safe to print: names, server messages, anything that ends in a terminal
or a log."""

from __future__ import annotations

import re

# C0, DEL and C1 move the cursor and colour the screen; the bidirectional marks reorder the text;
# U+2028 and U+2029 end a line; half a surrogate pair cannot be encoded at all.
_UNSAFE = re.compile(
    "[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069\ufeff\ud800-\udfff]"
)
_BLANKS = re.compile(r"[ \t\r\n\v\f]+")


def clean(text: str, *, limit: int = 300) -> str:
    r"""One line without control characters, bidirectional marks and lone surrogates.

    Runs of blanks and line ends become one space, every other unsafe character its escape, and
    the whole is cut at ``limit`` characters: ``clean("a\x1b[31m\nb") == r"a\x1b[31m b"``.
    """
    # What Python calls printable holds none of the unsafe ones, and no blank but the space.
    if len(text) <= limit and text.isprintable() and "  " not in text and text == text.strip():
        return text
    # Ten characters is the longest escape; the rest cannot reach the result.
    head = _BLANKS.sub(" ", text[: 10 * limit]).strip()
    safe = _UNSAFE.sub(_escape, head)
    return safe if len(safe) <= limit else safe[: limit - 1] + "…"


def _escape(match: re.Match[str]) -> str:
    number = ord(match[0])
    return f"\\x{number:02x}" if number < 0x100 else f"\\u{number:04x}"

"""Opening files that a stranger may have put in a folder."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import BinaryIO

from hfmem.errors import ModelNotFoundError


def open_regular(path: Path) -> BinaryIO:
    """Open a regular file to read, through symbolic links; never blocks on a FIFO or a device.

    Links are followed because a snapshot folder of the Hub cache is made of them. Raises
    ModelNotFoundError where there is no such file, it may not be read, or it is not a regular file.
    """
    try:
        handle = os.open(
            path,
            os.O_RDONLY
            | getattr(os, "O_NONBLOCK", 0)
            | getattr(os, "O_BINARY", 0)
            | getattr(os, "O_CLOEXEC", 0),
        )
    except (OSError, ValueError) as cause:
        reason = cause.strerror if isinstance(cause, OSError) else "the name holds a NUL"
        raise ModelNotFoundError(
            f"{str(path)!r} cannot be read: {reason}.",
            hint="Check the path and its permissions.",
        ) from None
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise ModelNotFoundError(
            f"{str(path)!r} is not a regular file.",
            hint="hfmem reads folders, config.json, .safetensors, .gguf and .bin files.",
        )
    return os.fdopen(handle, "rb")

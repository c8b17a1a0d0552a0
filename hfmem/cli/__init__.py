"""The command line: parse, call, render, exit code.

Only this package prints. Standard output carries the answer; errors and progress go to
standard error.
"""

from __future__ import annotations

import errno
import io
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from hfmem import collector
from hfmem.cli.errors import complain, complain_of
from hfmem.cli.routing import completed_verb, route
from hfmem.errors import HfmemError

if TYPE_CHECKING:
    import typer

_USAGE, _INTERRUPTED = 2, 130
_UNWRITTEN = (errno.ENOSPC, errno.EDQUOT, errno.EIO)


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command line (by default the process's own) and return its exit code.

    With ``HF_DEBUG=1`` in the environment a bug is raised, otherwise it is one line.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    _replace_unencodable()
    try:
        with collector.paused():
            return _run(words)
    except HfmemError as error:
        complain_of(error)
        return _USAGE
    except KeyboardInterrupt:
        return _INTERRUPTED
    except Exception as error:
        # The one place where a bug is caught: a user cannot read a traceback, who reports it can.
        if os.environ.get("HF_DEBUG", "").upper() in {"1", "ON", "YES", "TRUE"}:
            raise
        complain(
            f"This is a bug in hfmem: {type(error).__name__}: {error}",
            hint="Please report it with the traceback that HF_DEBUG=1 shows.",
        )
        return _USAGE


def run() -> NoReturn:
    """The process's own command line, and the end of the process.

    What is written is written; to free every object first, as an interpreter does when it ends,
    takes a tenth of a run, and waits for threads that wait on the network.
    """
    code = main()
    try:
        for stream in (sys.stdout, sys.stderr):
            if stream is not None:
                stream.flush()
    except (OSError, ValueError):
        # A stream that does not take it: Python's own way of ending knows what to do.
        sys.exit(code)
    os._exit(code)


def _replace_unencodable() -> None:
    """Let standard streams without Unicode show a question mark, where they would raise."""
    for stream in (sys.stdout, sys.stderr):
        if (
            isinstance(stream, io.TextIOWrapper)
            and not stream.encoding.lower().startswith("utf")
            # A C locale's output takes "surrogateescape", which raises as well.
            and stream.errors in {"strict", "surrogateescape"}
        ):
            stream.reconfigure(errors="replace")


def _run(words: list[str]) -> int:
    program = _program()
    complete_var = f"_{program.replace('-', '_').upper()}_COMPLETE"
    if words[:1] == ["--version"]:
        from hfmem._version import __version__
        from hfmem.cli.output import to_stdout

        to_stdout(f"hfmem {__version__}\n")
        return 0
    if complete_var in os.environ:
        verb, rest = completed_verb(os.environ), []
    else:
        verb, *rest = route(words)
        if verb == "estimate":
            from hfmem.cli.early import begin_early

            begin_early(rest)
    name = program if verb == "estimate" else f"{program} {verb}"
    return _invoke(_app(verb), rest, name=name, complete_var=complete_var)


def _program() -> str:
    """The installed name that this is run by; completion scripts are made for it."""
    called = Path(sys.argv[0]).name.removesuffix(".exe")
    return called if called == "hfmem-cli" else "hfmem"


def _app(verb: str) -> typer.Typer:
    match verb:
        case "estimate":
            from hfmem.cli.estimate import app
        case "audit":
            collector.seldom()
            from hfmem.cli.audit import app
        case "train":
            from hfmem.cli.train import app
        case "gpus":
            from hfmem.cli.gpus import app
        case "record":
            from hfmem.cli.record import app
        case "mcp":
            collector.seldom()
            from hfmem.cli.mcp import app
        case _:
            raise AssertionError(verb)
    return app


def _invoke(app: typer.Typer, words: list[str], *, name: str, complete_var: str) -> int:
    import typer

    try:
        code: int | None = app(
            args=words, prog_name=name, complete_var=complete_var, standalone_mode=False
        )
    except typer.TyperException as error:
        from hfmem.cli.usage import complaint

        complain(*complaint(error, name=name, words=words))
        return _USAGE
    except typer.Abort:
        return _INTERRUPTED
    except OSError as error:
        # typer writes help and completion scripts itself; every other text goes by to_stdout.
        if error.filename is not None or error.errno not in _UNWRITTEN:
            raise
        from hfmem.cli.output import unwritable

        complain_of(unwritable(error))
        return _USAGE
    return code or 0

"""Text for people on standard output, with errors that they can read."""

from __future__ import annotations

import contextlib
import errno
import io
import os
import sys
from typing import TYPE_CHECKING

from rich.console import Console

from ..errors import SinkError

if TYPE_CHECKING:
    from rich.console import RenderableType

PIPE_COLUMNS = 200
"""Width of tables where standard output is not a terminal."""


def put(text: str) -> None:
    """Write ``text`` and flush; what the terminal has no characters for is escaped.

    :raises SinkError: if nobody can read it any more.
    """
    try:
        encoding = sys.stdout.encoding
        sys.stdout.write(text.encode(encoding, "backslashreplace").decode(encoding))
        sys.stdout.flush()
    except OSError as error:
        abandon_stdout()
        gone = error.errno == errno.EPIPE
        why = "its reader has gone" if gone else (error.strerror or str(error))
        raise SinkError(f"cannot write to standard output: {why}") from error


def put_line(text: str = "") -> None:
    """Write one line; see :func:`put`."""
    put(f"{text}\n")


def put_rich(content: RenderableType) -> None:
    """Write a rich table or text as plain characters; see :func:`put`."""
    # rich draws its lines from the characters that the encoding has.
    page = io.TextIOWrapper(io.BytesIO(), sys.stdout.encoding, "backslashreplace", newline="\n")
    # rich ends the process by itself when a pipe breaks, so it does not get to see the pipe.
    width = None if sys.stdout.isatty() else PIPE_COLUMNS
    console = Console(file=page, width=width, color_system=None, markup=False, emoji=False)
    console.print(content)
    page.seek(0)
    put("".join(f"{line.rstrip()}\n" for line in page))


def abandon_stdout() -> None:
    """Let what is still buffered vanish: the interpreter would complain about it at its end."""
    with contextlib.suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)

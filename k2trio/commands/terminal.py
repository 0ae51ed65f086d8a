"""Text for people on standard output, with errors that they can read."""

from __future__ import annotations

import contextlib
import errno
import io
import os
import shutil
import sys
import textwrap
from typing import TYPE_CHECKING

from rich.console import Console

from ..errors import SinkError

if TYPE_CHECKING:
    from rich.console import RenderableType

PIPE_COLUMNS = 10_000
"""Width of tables where standard output is not a terminal: for programs, each row is one line."""
TEXT_COLUMNS = 80
"""Width of text there."""
MAX_TEXT_COLUMNS = 120
"""Longer lines are hard to read."""


def put(text: str) -> None:
    """Write ``text`` and flush; what the terminal has no characters for is escaped.

    :raises SinkError: if nobody can read it any more.
    """
    _refuse_closed()
    try:
        encoding = sys.stdout.encoding
        sys.stdout.write(text.encode(encoding, "backslashreplace").decode(encoding))
        sys.stdout.flush()
    except OSError as error:
        abandon_stdout()
        gone = error.errno == errno.EPIPE
        why = "its reader has gone" if gone else (error.strerror or str(error))
        raise SinkError(f"cannot write to standard output: {why}") from error


def _refuse_closed() -> None:
    if sys.stdout is None:  # the caller closed it, e.g. with >&-
        raise SinkError("standard output is closed; send it to a file, or to /dev/null")


def put_line(text: str = "") -> None:
    """Write one line; see :func:`put`."""
    put(f"{text}\n")


def columns() -> int:
    """How wide text for people may be: as the terminal, or as one would be."""
    return min(shutil.get_terminal_size(fallback=(TEXT_COLUMNS, 24)).columns, MAX_TEXT_COLUMNS)


def put_wrapped(text: str, first: str = "") -> None:
    """Write text, wrapped at words; further lines begin below the text, after ``first``."""
    for line in wrapped(text, columns(), first):
        put_line(line)


def wrapped(text: str, width: int, first: str = "") -> list[str]:
    """Lines of that width at most, but for words that are longer."""
    return textwrap.wrap(
        text,
        width,
        initial_indent=first,
        subsequent_indent=" " * len(first),
        break_long_words=False,
        break_on_hyphens=False,
    )


def put_rich(content: RenderableType, width: int | None = None) -> None:
    """Write a rich table or text as plain characters; see :func:`put`.

    :param width: by default that of the terminal, or :data:`PIPE_COLUMNS`.
    """
    _refuse_closed()
    # rich draws its lines from the characters that the encoding has.
    page = io.TextIOWrapper(io.BytesIO(), sys.stdout.encoding, "backslashreplace", newline="\n")
    # rich ends the process by itself when a pipe breaks, so it does not get to see the pipe.
    if width is None and not sys.stdout.isatty():
        width = PIPE_COLUMNS
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

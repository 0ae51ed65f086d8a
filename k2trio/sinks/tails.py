"""The ends of files that were written: read back as far as they hold what a state file lacks.

A kill leaves the state file behind the outputs, by a second or so. How many bytes that is nobody
knows, so blocks are read from the end, until enough of them hold nothing that is new to the state.
"""

from __future__ import annotations

import abc
import os
from contextlib import ExitStack
from typing import TYPE_CHECKING, NamedTuple, Self

import trio

from .. import files
from ..continuity.reached import Reached
from ..errors import ConfigError, SinkError, Unreadable
from .frames import MAX_CHECKED_BYTES, last_frames
from .parsing import decode_lines, item_of

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
    from pathlib import Path
    from types import TracebackType

    from ..continuity.items import Item
    from ..continuity.positions import Key, Position
    from ..market.units import TimeUnit

BLOCK_BYTES = 1 << 20
"""Text that is read at once; a line may be longer."""
SETTLED_BYTES = 4 << 20
"""Text in which nothing is new, before which nothing new is looked for: streams that go on at
different places, as after a restart, leave what is new between what is not."""
TAIL_BYTES = 128 << 20
"""Text that is read back at most, which takes some seconds: more than comes in an interval of the
state, be it of a second with half a million messages, or of an hour with a hundred a second."""
MAX_FRAMES = 4096
"""Frames that are looked at, at most. One of ours holds some seconds at most, or 4 MiB of lines."""


class Span(NamedTuple):
    """A block: where it begins and ends in its file (bytes)."""

    begin: int
    end: int


class Tail(abc.ABC):
    """Something written that is read from its end; a context manager, which closes it."""

    def __enter__(self) -> Self:
        return self

    @abc.abstractmethod
    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close it."""

    @abc.abstractmethod
    def spans(self) -> Iterator[Span]:
        """Where its blocks begin and end, from the last one to the first.

        :raises Unreadable: if it is not made of such.
        """

    @abc.abstractmethod
    def read(self, span: Span, wanted: Collection[Key]) -> tuple[int, Iterable[Item]]:
        """How many bytes of text a block has, and its items of some streams, in their order.

        :raises Unreadable: if it is not what it should be; also by the iteration.
        """

    @abc.abstractmethod
    def sync(self) -> None:
        """Return when it is on the disk, by its name.

        :raises OSError: if the disk refuses.
        """


class FileTail(Tail):
    """The end of a file of whole lines.

    :raises OSError: if it cannot be opened.
    """

    def __init__(self, path: Path) -> None:
        self.path: Path = path
        self._fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        self._size: int = os.fstat(self._fd).st_size

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """See :class:`Tail`."""
        os.close(self._fd)

    @abc.abstractmethod
    def text(self, span: Span) -> bytes:
        """The lines of a block.

        :raises Unreadable: if it is not what it should be.
        """

    def read(self, span: Span, wanted: Collection[Key]) -> tuple[int, Iterable[Item]]:
        """See :class:`Tail`."""
        text = self.text(span)
        lines = (line for line in decode_lines(text) if (line.venue, line.stream) in wanted)
        return len(text), (item for line in lines if (item := item_of(line)) is not None)

    def sync(self) -> None:
        """See :class:`Tail`."""
        files.sync(self._fd)
        files.sync_directory(self.path)

    def _read(self, begin: int, end: int) -> bytes:
        return os.pread(self._fd, end - begin, begin)


class LinesTail(FileTail):
    """The end of a file of lines; of the last line, if somebody is writing it, nothing."""

    def spans(self) -> Iterator[Span]:
        """See :class:`Tail`."""
        end, length, torn = self._size, BLOCK_BYTES, True
        while end > 0:
            start = max(0, end - length)
            data = self._read(start, end)
            if torn:
                whole = data.rfind(b"\n") + 1
                torn = whole == 0
                end, data = start + whole, data[:whole]
            begin = 0 if start == 0 else data.find(b"\n") + 1
            if start > 0 and begin in (0, len(data)):
                length *= 2  # a line that is longer than that
                continue
            if end > start + begin:
                yield Span(start + begin, end)
            end, length = start + begin, BLOCK_BYTES

    def text(self, span: Span) -> bytes:
        """See :class:`FileTail`."""
        return self._read(*span)


class FramesTail(FileTail):
    """The end of a file of frames."""

    def spans(self) -> Iterator[Span]:
        """See :class:`Tail`."""
        for begin, end in reversed(last_frames(self._fd, self._size, MAX_FRAMES)):
            yield Span(begin, end)

    def text(self, span: Span) -> bytes:
        """See :class:`FileTail`."""
        import zstandard

        size = span.end - span.begin
        if size > MAX_CHECKED_BYTES:
            raise Unreadable(f"{self.path} has a frame of {size} bytes, which is not ours")
        parts, left = list[bytes](), TAIL_BYTES
        try:
            for part in zstandard.ZstdDecompressor().read_to_iter(self._read(*span)):
                parts.append(part)
                left -= len(part)
                if left < 0:
                    raise Unreadable(f"{self.path} has a frame that is not ours")
        except zstandard.ZstdError as error:
            raise Unreadable(f"{self.path}: its compression is broken ({error})") from error
        return b"".join(parts)


def found_beyond(
    tails: Iterable[Tail], begin: Mapping[Key, Position], unit: TimeUnit
) -> Mapping[Key, Position]:
    """How far streams are in what lies in files, as far as it follows what is known; and that is
    durable then. Blocks for as long as the disks take.

    :param tails: those in which it may lie, from the newest to the oldest; each is opened when it
        is looked into, and closed in the end.
    :param begin: where the streams are known to have been.
    :param unit: of the times in messages.
    :raises Unreadable: if what lies in them is not what it should be.
    :raises OSError: if they cannot be read, or made durable.
    """
    reached = Reached(begin, unit)
    with ExitStack() as stack:
        windows: list[tuple[Tail, list[Span]]] = []
        left, new = TAIL_BYTES, False
        for tail in tails:
            stack.enter_context(tail)
            spans: list[Span] = []
            known, settled = False, 0
            for span in tail.spans():
                size, items = tail.read(span, begin)
                told = {reached.is_beyond(item) for item in items}
                new, known = new or True in told, known or False in told
                settled = 0 if True in told else settled + size
                left -= size
                spans.append(span)
                if settled >= SETTLED_BYTES or left <= 0:
                    break
            windows.append((tail, spans))
            if known or left <= 0:
                break
        if not new:
            return begin
        for tail, spans in reversed(windows):
            for span in reversed(spans):
                reached.take(tail.read(span, begin)[1])
        found = reached.positions()
        if found != begin:
            for tail, _ in windows:
                tail.sync()
    return found


async def look_beyond(
    tails: Iterable[Tail],
    begin: Mapping[Key, Position],
    unit: TimeUnit,
    tell: Callable[..., object],
) -> Mapping[Key, Position]:
    """The same in a thread; where files are not what they should be, nothing is found in them.

    :param tell: is told of that, as an event with its context.
    :raises SinkError: if they cannot be read, or made durable.
    """
    try:
        return await trio.to_thread.run_sync(
            found_beyond, tails, begin, unit, abandon_on_cancel=True
        )
    except (Unreadable, ConfigError) as error:
        tell("output_not_read_back", detail=f"{error}; what the state lacks is written again")
        return begin
    except OSError as error:
        raise SinkError(f"cannot read back what was written: {files.why(error)}") from error

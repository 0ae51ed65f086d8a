"""Who waits for a socket: Trio, or the loop that Trio is a guest of."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import trio

if TYPE_CHECKING:
    from collections.abc import Callable


class Ready(Protocol):
    """A stream that says when it is worth reading, and is then read without waiting.

    :ivar hosted: whether a host may wait for it; not, where waiting is more than that.
    """

    @property
    def hosted(self) -> bool: ...

    def fileno(self) -> int:
        """Of the socket; -1 when it is closed."""
        ...

    async def readable(self) -> None:
        """Return when :meth:`read_now` is worth a try, after a checkpoint."""
        ...

    def read_now(self) -> bytes | None:
        """What has arrived; empty at the end of the stream, None if nothing has."""
        ...


class Host(Protocol):
    """The event loop around Trio: it calls back whenever a socket is readable."""

    def add_reader(self, fd: int, callback: Callable[[], None], /) -> object: ...
    def remove_reader(self, fd: int, /) -> object: ...


HOST: trio.lowlevel.RunVar[Host | None] = trio.lowlevel.RunVar("host", None)
"""The host of this run of Trio, if it has one that waits for sockets."""

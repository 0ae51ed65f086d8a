"""Streams that bring many symbols, one a message: each symbol has an order of its own.

Two of them may have the same key, and the stream need not bring them in the order of their keys. So
what is old or double is told by the last message of the same symbol.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .track import Track

if TYPE_CHECKING:
    from ..market.payloads import Event
    from ..market.streams import Stream
    from .held import Source
    from .items import Item
    from .numbering import Shared

MAX_SYMBOLS = 10_000
"""Symbols that a stream is followed by; more than the exchange has."""
MAX_AHEAD = 1000
"""Messages that are remembered whose times were not believed; their copies come soon."""


class MedleyTrack(Track):
    """Keys that only grow, of each symbol; see the module."""

    __slots__ = ("_ahead", "_last")

    next: int | None
    duplicates: int
    grows: bool

    def __init__(self, venue: str, stream: Stream, shared: Shared) -> None:
        super().__init__(venue, stream, shared)
        self.grows = False
        """All messages are to be offered: the key of the one before tells nothing of the next."""
        self._set_flow()
        self._last: dict[str, tuple[int, int | None]] = {}
        """Symbol → key and time of its last message."""
        self._ahead: dict[tuple[str, int, int], None] = {}
        """Symbols, keys and times of those ahead of this machine's clock. They may be absurd, so by
        them nothing is old; or the clock is behind, and then by nothing else copies are told."""

    def follow(self, payloads: list[Any], received: float, now: float) -> bool:
        """See :meth:`Numbering.follow`; each message wants to be looked at."""
        return False

    def offer(
        self, event: Event[Any], now: float, out: list[Item], source: Source | None = None
    ) -> None:
        """Take a message; append to ``out`` what may be delivered because of it."""
        symbol, key, time = event.data.symbol, self.last_of(event.data), self.time_of(event.data)
        before = self._last.get(symbol)
        old = before is not None and key <= before[0] and not _is_later(time, before[1])
        if old or (symbol, key, time) in self._ahead:
            self.duplicates += 1
            self._note_dropped(now)
            return
        if time is None or not self.clock.is_ahead(time, event.received):
            self._last[symbol] = key, time
            if len(self._last) > MAX_SYMBOLS:
                del self._last[next(iter(self._last))]
        else:
            self._ahead[symbol, key, time] = None
            if len(self._ahead) > MAX_AHEAD:
                del self._ahead[next(iter(self._ahead))]
        highest = self.next
        self._deliver(event, key, key, out)
        if highest is not None:
            self.next = max(highest, key + 1)


def _is_later(time: int | None, before: int | None) -> bool:
    """Whether a message with an old key is new all the same, as ids have begun anew."""
    return time is not None and before is not None and time > before

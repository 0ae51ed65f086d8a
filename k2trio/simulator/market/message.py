"""One message of one stream, as everything behind the market sees it."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable


class Message(NamedTuple):
    """One message of one stream, rendered when somebody wants it.

    :ivar stream: exact stream name.
    :ivar first: first order key that it covers, see ``k2trio.market.streams.TABLE``; times in ms.
    :ivar last: last order key.
    :ivar time_us: when the venue emitted it; microseconds.
    :ivar render: payload bytes for a time unit in microseconds, see :mod:`.payloads`.
    :ivar closed_bar_ms: open time of the bar that this kline message closes, else None.
    :ivar retold: it says what the one before it said, by another key.
    """

    stream: str
    first: int
    last: int
    time_us: int
    render: Callable[[int], bytes]
    closed_bar_ms: int | None = None
    retold: bool = False

"""Questions to a venue over REST: what a gap lacks, a book, and what is newest.

Source: Binance spot API docs, "Market Data endpoints".
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from ..market.payloads import DepthSnapshot, Event, frame_of
from ..market.streams import Kind, Repair, Stream
from .hosts import BackfillError, Hosts, Query
from .rows import AggRow, KlineRow, TradeRow, agg_of, kline_of, trade_of

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Sequence

    import httpx2

    from ..settings import Settings

_T = TypeVar("_T")

PAGE_ROWS = 1000
ZONE_SUFFIX = "@+08:00"
ZONE = "8"
"""How kline streams of the one other time zone end, and what REST calls it."""


class Newest(NamedTuple):
    """The newest trade or book update of a symbol.

    :ivar id: its id.
    :ivar time_ms: when it happened, where the venue tells.
    """

    id: int
    time_ms: int | None


class Backfill:
    """Fetches what streams lack.

    :param venues: the venues in use.
    :param verify: TLS context of the program.
    :param transport: stands in for the network in tests.
    :param wall_clock: Unix time, for the ``received`` stamps.
    """

    def __init__(
        self,
        venues: Sequence[str],
        settings: Settings,
        *,
        verify: ssl.SSLContext | bool = True,
        transport: httpx2.AsyncBaseTransport | None = None,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self._wall_clock = wall_clock
        self._hosts = Hosts(venues, settings, verify, transport)

    async def aclose(self) -> None:
        """Close idle connections."""
        await self._hosts.aclose()

    def serves(self, venue: str) -> bool:
        """Whether a REST host of the venue is known."""
        return self._hosts.serve(venue)

    async def page(self, venue: str, stream: Stream, first: int, last: int) -> list[Event]:
        """One page of what lies between two keys, both inclusive, sorted by key.

        The page may hold one row beyond ``last``: it proves that nothing is left in between.

        :param first: an id; for klines the open time of a bar in ms.
        :raises BackfillError: if no host of the venue gave an answer.
        """
        rows = min(PAGE_ROWS, last - first + 2)
        symbol = stream.symbol or ""
        query: Query = {"symbol": symbol, "limit": rows}
        match stream.order.repair:
            case Repair.HISTORICAL_TRADES:
                query["fromId"] = first
                found = await self._get(
                    venue, "/api/v3/historicalTrades", query, 25, list[TradeRow]
                )
                payloads: list[tuple[Any, bytes]]
                payloads = [trade_of(symbol, row) for row in sorted(found, key=lambda row: row.id)]
            case Repair.AGG_TRADES:
                query["fromId"] = first
                aggregates = await self._get(venue, "/api/v3/aggTrades", query, 4, list[AggRow])
                payloads = [
                    agg_of(symbol, row) for row in sorted(aggregates, key=lambda row: row.a)
                ]
            case Repair.KLINES:
                interval = stream.interval or ""
                # No endTime: the bar after the gap is the proof that nothing is left in between.
                query |= {"interval": interval, "startTime": first, "limit": PAGE_ROWS}
                if stream.name.endswith(ZONE_SUFFIX):
                    query["timeZone"] = ZONE
                bars = await self._get(venue, "/api/v3/klines", query, 2, list[KlineRow])
                payloads = [
                    kline_of(symbol, interval, row)
                    for row in sorted(bars, key=lambda row: row.open_time)
                ]
            case _:
                raise BackfillError(f"{stream.name} has no history")
        received = self._wall_clock()
        return [
            Event(data, stream.name, venue, received, frame_of(stream.name, raw), "backfill")
            for data, raw in payloads
        ]

    async def snapshot(self, venue: str, stream: Stream) -> Event:
        """A depth snapshot, 5000 levels a side.

        :raises BackfillError: if no host of the venue gave an answer.
        """
        query: Query = {"symbol": stream.symbol or "", "limit": 5000}
        book, raw = await self._hosts.get(venue, "/api/v3/depth", query, 250, DepthSnapshot)
        frame = frame_of(stream.name, raw)
        return Event(book, stream.name, venue, self._wall_clock(), frame, "snapshot")

    async def newest(self, venue: str, stream: Stream) -> Newest | None:
        """The newest that the venue has of what the stream tells; one cheap request.

        :returns: None if there is nothing at all.
        :raises BackfillError: if no host of the venue gave an answer, or the kind cannot be asked
            about.
        """
        query: Query = {"symbol": stream.symbol or "", "limit": 1}
        match stream.kind:
            case Kind.AGG_TRADE:
                rows = await self._get(venue, "/api/v3/aggTrades", query, 4, list[AggRow])
                found = [Newest(row.a, row.T) for row in rows]
            case Kind.DEPTH | Kind.BOOK_TICKER | Kind.PARTIAL_DEPTH:
                book = await self._get(venue, "/api/v3/depth", query, 5, DepthSnapshot)
                found = [Newest(book.last_update_id, None)]
            case Kind.TRADE | Kind.KLINE | Kind.MINI_TICKER | Kind.TICKER | Kind.WINDOW_TICKER:
                trades = await self._get(venue, "/api/v3/trades", query, 25, list[TradeRow])
                found = [Newest(row.id, row.time) for row in trades]
            case _:
                raise BackfillError(f"{stream.name} cannot be asked for its newest message")
        return max(found, default=None)

    async def _get(self, venue: str, path: str, query: Query, weight: int, shape: type[_T]) -> _T:
        return (await self._hosts.get(venue, path, query, weight, shape))[0]

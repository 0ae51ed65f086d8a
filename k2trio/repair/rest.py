"""Questions to a venue over REST: what a gap lacks, a book, and what is newest.

Source: Binance spot API docs, "Market Data endpoints".
"""

from __future__ import annotations

import operator
import time
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import msgspec

from ..market.payloads import DepthSnapshot, Event, frame_of
from ..market.products import DIALECTS
from ..market.quotes import Quote, quote_of
from ..market.streams import Kind, Repair, Silence, Stream
from ..market.units import MS, convert
from ..market.venues import dialect_of
from .asking import Hosts, Query
from .hosts import BackfillError, NotServedError, Turn
from .listing import statuses_of
from .rows import (
    AggRow,
    BlockTradeRow,
    KlineRow,
    TradeRow,
    agg_of,
    block_trade_of,
    kline_of,
    trade_of,
)

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Sequence
    from contextlib import AbstractAsyncContextManager

    import httpx2

    from ..market.dialect import Request
    from ..policy.budget import Budget
    from ..settings import Settings
    from ..sharing.sharing import Sharing

_T = TypeVar("_T")

PAGE_ROWS = 1000
ZONE_SUFFIX = "@+08:00"
ZONE = "8"
"""How kline streams of the one other time zone end, and what REST calls it."""


class Newest(NamedTuple):
    """The newest trade or book update of a symbol.

    :ivar id: its id.
    :ivar time: when it happened, where the venue tells, in the feed's unit.
    :ivar quote: the best levels, of a stream that tells of nothing else.
    """

    id: int
    time: int | None
    quote: Quote | None = None


class Page(NamedTuple):
    """What REST has from a key on.

    :ivar begins: the key from which on it is whole; what lies before is out of reach.
    :ivar events: sorted by key.
    """

    begins: int
    events: list[Event]


_id_of = operator.attrgetter("id")


def _history_of(stream: Stream) -> Request:
    """The question for what a stream lacks.

    :raises BackfillError: if the kind has no history.
    """
    found = DIALECTS[stream.product].rest.history.get(stream.order.repair)
    if found is None:
        raise BackfillError(f"{stream.name} has no history")
    return found


class Backfill:
    """Fetches what streams lack.

    :param venues: the venues in use.
    :param verify: TLS context of the program.
    :param transport: stands in for the network in tests.
    :param wall_clock: Unix time, for the ``received`` stamps.
    :param sharing: joins the budgets to those of other processes.
    """

    def __init__(
        self,
        venues: Sequence[str],
        settings: Settings,
        *,
        verify: ssl.SSLContext | bool = True,
        transport: httpx2.AsyncBaseTransport | None = None,
        wall_clock: Callable[[], float] = time.time,
        sharing: Sharing | None = None,
    ) -> None:
        self._wall_clock = wall_clock
        self._unit = settings.unit
        self._hosts = Hosts(venues, settings, verify, transport, sharing)

    async def aclose(self) -> None:
        """Close idle connections."""
        await self._hosts.aclose()

    def serves(self, venue: str) -> bool:
        """Whether a REST host of the venue is known."""
        return self._hosts.serve(venue)

    @property
    def waiting(self) -> int:
        """Requests that wait for weight."""
        return self._hosts.waiting

    def budget(self, venue: str) -> Budget:
        """The budget of a venue that is served; to look at."""
        return self._hosts.budget(venue)

    def answers(self, venue: str) -> bool:
        """Whether the last request to a venue that is served was answered."""
        return self._hosts.answers(venue)

    def turn(
        self, venue: str, weight: int, leaves: float = 0.0
    ) -> AbstractAsyncContextManager[Turn]:
        """Wait for a turn to ask a venue that is served.

        :param leaves: share of the budget that is left to others.
        """
        return self._hosts.turn(venue, weight, leaves)

    def weight(self, stream: Stream) -> int:
        """What a page of a stream weighs.

        :raises BackfillError: if the kind has no history.
        """
        return _history_of(stream).weight

    async def page(
        self, venue: str, stream: Stream, first: int, last: int, turn: Turn | None = None
    ) -> Page:
        """One page of what lies between two keys, both inclusive.

        The page may hold one row beyond ``last``: it proves that nothing is left in between.

        :param first: an id; for klines the open time of a bar, in the feed's unit.
        :param turn: has been waited for already.
        :raises BackfillError: if no host of the venue gave an answer.
        """
        path, weight, _ = _history_of(stream)
        rows = min(PAGE_ROWS, last - first + 2)
        symbol = stream.symbol or ""
        query: Query = {"symbol": symbol, "limit": rows}
        begins = first
        match stream.order.repair:
            case Repair.HISTORICAL_TRADES:
                query["fromId"] = first
                try:
                    found = await self._get(venue, path, query, weight, list[TradeRow], turn)
                except NotServedError:
                    found = await self._newest_trades(venue, symbol, turn)
                    begins = max(first, min((row.id for row in found), default=first))
                payloads: list[tuple[Any, bytes]]
                payloads = [trade_of(symbol, row, self._unit) for row in sorted(found, key=_id_of)]
            case Repair.HISTORICAL_BLOCK_TRADES:
                blocks = await self._blocks(venue, stream, first, rows, turn)
                payloads = [
                    block_trade_of(symbol, row, self._unit) for row in sorted(blocks, key=_id_of)
                ]
            case Repair.AGG_TRADES:
                query["fromId"] = first
                aggregates = await self._get(venue, path, query, weight, list[AggRow], turn)
                payloads = [
                    agg_of(stream, row, self._unit)
                    for row in sorted(aggregates, key=lambda row: row.a)
                ]
            case _:
                interval = stream.interval or ""
                # No endTime: the bar after the gap is the proof that nothing is left in between.
                start_ms = convert(first, self._unit, MS)
                query |= {"interval": interval, "startTime": start_ms, "limit": PAGE_ROWS}
                if stream.name.endswith(ZONE_SUFFIX):
                    query["timeZone"] = ZONE
                bars = await self._get(venue, path, query, weight, list[KlineRow], turn)
                payloads = [
                    kline_of(symbol, interval, row, self._unit)
                    for row in sorted(bars, key=lambda row: row.open_time)
                ]
        received = self._wall_clock()
        return Page(
            begins,
            [
                Event(data, stream.name, venue, received, frame_of(stream.name, raw), "backfill")
                for data, raw in payloads
            ],
        )

    async def _newest_trades(self, venue: str, symbol: str, turn: Turn | None) -> list[TradeRow]:
        """The last trades of a symbol, which a venue tells without a key."""
        query: Query = {"symbol": symbol, "limit": PAGE_ROWS}
        path, weight, _ = dialect_of(venue).rest.trades
        return await self._get(venue, path, query, weight, list[TradeRow], turn)

    async def _blocks(
        self, venue: str, stream: Stream, first: int, rows: int, turn: Turn | None
    ) -> list[BlockTradeRow]:
        """Block trades from an id on; without one the exchange lists none."""
        query: Query = {"symbol": stream.symbol or "", "fromId": first, "limit": rows}
        path, weight, _ = _history_of(stream)
        return await self._get(venue, path, query, weight, list[BlockTradeRow], turn)

    async def snapshot(
        self,
        venue: str,
        stream: Stream,
        levels: int,
        weight: int,
        turn: Turn | None = None,
    ) -> Event[DepthSnapshot]:
        """A depth snapshot with so many levels a side.

        :param turn: has been waited for already.
        :raises BackfillError: if no host of the venue gave an answer.
        """
        rest = dialect_of(venue).rest
        levels = rest.levels(levels)
        query: Query = {"symbol": stream.symbol or "", "limit": levels}
        book, raw = await self._hosts.get(venue, rest.depth, query, weight, DepthSnapshot, turn)
        frame = frame_of(stream.name, raw)
        book = msgspec.structs.replace(book, asked=levels)
        return Event(book, stream.name, venue, self._wall_clock(), frame, "snapshot")

    async def listed(self, venue: str) -> dict[str, str]:
        """Every symbol that the venue lists → its status.

        :raises BackfillError: if no host of the venue gave an answer.
        """
        return await statuses_of(self._hosts, venue, ())

    async def newest(
        self, venue: str, stream: Stream, known: int | None = None, turn: Turn | None = None
    ) -> Newest | None:
        """The newest that the venue has of what the stream tells; one cheap request.

        :param known: an id that the stream has told. Without one nobody can be asked about block
            trades; and with one it is the newest of a page that begins there.
        :param turn: has been waited for already.
        :returns: None if there is nothing at all.
        :raises BackfillError: if no host of the venue gave an answer, or the kind cannot be asked
            about.
        """
        query: Query = {"symbol": stream.symbol or "", "limit": 1}
        rest = dialect_of(venue).rest
        match stream.kind:
            case Kind.AGG_TRADE:
                path, weight, _ = _history_of(stream)
                rows = await self._get(venue, path, query, weight, list[AggRow], turn)
                found = [Newest(row.a, self._unit.of(row.T)) for row in rows]
            case Kind.DEPTH | Kind.BOOK_TICKER | Kind.PARTIAL_DEPTH:
                query["limit"], weight = rest.look(stream.levels or 1)
                book = await self._get(venue, rest.depth, query, weight, DepthSnapshot, turn)
                by_quote = stream.order.silence is Silence.BY_QUOTE
                quote = quote_of(stream, book) if by_quote else None
                found = [Newest(book.last_update_id, None, quote)]
            case Kind.TRADE | Kind.KLINE | Kind.MINI_TICKER | Kind.TICKER | Kind.WINDOW_TICKER:
                path, weight, _ = rest.trades
                trades = await self._get(venue, path, query, weight, list[TradeRow], turn)
                found = [Newest(row.id, self._unit.of(row.time)) for row in trades]
            case Kind.BLOCK_TRADE if known is not None:
                blocks = await self._blocks(venue, stream, known, PAGE_ROWS, turn)
                found = [Newest(row.id, self._unit.of(row.time)) for row in blocks]
            case _:
                raise BackfillError(f"{stream.name} cannot be asked for its newest message")
        return max(found, default=None)

    async def _get(
        self,
        venue: str,
        path: str,
        query: Query,
        weight: int,
        shape: type[_T],
        turn: Turn | None,
    ) -> _T:
        return (await self._hosts.get(venue, path, query, weight, shape, turn))[0]

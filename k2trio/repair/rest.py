"""Repair over REST: what a gap lacks, from the venue that the gap is in, within its weight budget.

Each venue has one or more REST hosts, each with a circuit breaker of its own. Requests are counted
against the venue's weight before they are sent, corrected by what the venue says it has counted,
and stopped for as long as ``Retry-After`` asks. Nothing is ever fetched from another venue.

Source: Binance spot API docs, "General API Information", limits, and "Market Data endpoints".
"""

from __future__ import annotations

import time
from collections import deque
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar
from urllib.parse import urlsplit

import httpx2
import msgspec
import trio

from ..errors import CircuitOpen, K2Error
from ..market.payloads import AggTrade, Bar, DepthSnapshot, Event, Kline, Trade, frame_of
from ..market.streams import Kind, Repair, Stream
from ..policy.breaker import CircuitBreaker
from ..policy.failover import venue_of

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Sequence

    from ..settings import Settings

_T = TypeVar("_T")

PAGE_ROWS = 1000
REQUEST_TIMEOUT_S = 5.0
"""For a whole request: a host that drips its answer is as bad as a silent one."""
MAX_BODY_BYTES = 16 << 20
WEIGHT_WINDOW_S = 60.0
VENUE_WEIGHT_PER_MINUTE = 6000
"""What the exchange admits per address and minute."""
DEFAULT_FREEZE_S = 60.0
"""How long to stop after a 429 or 418 that names no time."""
MAX_FREEZE_S = 3 * 86_400.0
"""The longest ban that the exchange documents."""
ZONE_SUFFIX = "@+08:00"
ZONE = "8"
"""How kline streams of the one other time zone end, and what REST calls it."""
LONGEST_NUMBER = 18
"""Digits of a header that are read."""

_OK = 200
_BAD_REQUEST = 400
_ANSWERS = frozenset({_OK, _BAD_REQUEST, 404})
"""Statuses of a host in good health: 404 where it has no such data, as market-data-only hosts."""
_TOO_MANY = frozenset({429, 418})

REST_HOSTS: dict[str, tuple[str, ...]] = {
    "binance.com": (
        "https://api.binance.com",
        "https://api-gcp.binance.com",
        "https://api1.binance.com",
        "https://api2.binance.com",
        "https://api3.binance.com",
        "https://api4.binance.com",
    ),
    "binance.us": ("https://api.binance.us",),
    "binance.com-testnet": ("https://testnet.binance.vision",),
}
_VENUE_OF_HOST = {
    urlsplit(url).hostname: venue for venue, urls in REST_HOSTS.items() for url in urls
} | {"data-api.binance.vision": "binance.com"}


class BackfillError(K2Error):
    """A request for repair did not succeed; it may be tried again."""


def rest_venue_of(url: str) -> str:
    """The venue that a REST URL belongs to; as for WebSocket hosts, an unknown one is its own."""
    host = urlsplit(url).hostname or ""
    return _VENUE_OF_HOST.get(host) or venue_of(host)


class Newest(NamedTuple):
    """The newest trade or book update of a symbol.

    :ivar id: its id.
    :ivar time_ms: when it happened, where the venue tells.
    """

    id: int
    time_ms: int | None


class _TradeRow(msgspec.Struct):
    id: int
    price: str
    qty: str
    time: int
    isBuyerMaker: bool  # noqa: N815 - wire name


class _AggRow(msgspec.Struct):
    a: int
    p: str
    q: str
    f: int
    l: int  # noqa: E741 - wire name
    T: int
    m: bool


class _KlineRow(msgspec.Struct, array_like=True):
    open_time: int
    open: str
    high: str
    low: str
    close: str
    volume: str
    close_time: int
    quote_volume: str
    trades: int


class _Venue:
    """REST hosts of one venue, and what it has counted against us."""

    def __init__(self, urls: Sequence[str], limit: int) -> None:
        self.hosts = [(url, CircuitBreaker(urlsplit(url).netloc)) for url in urls]
        self.limit = limit
        self.frozen_until = float("-inf")
        self._spent: deque[tuple[float, int]] = deque()
        self._spent_sum = 0

    async def spend(self, weight: int) -> None:
        """Take weight from the budget; waits until there is some."""
        while True:
            now = trio.current_time()
            while self._spent and self._spent[0][0] <= now - WEIGHT_WINDOW_S:
                self._spent_sum -= self._spent.popleft()[1]
            if now < self.frozen_until:
                await trio.sleep_until(self.frozen_until)
            elif self._spent and self._spent_sum + weight > self.limit:
                await trio.sleep_until(self._spent[0][0] + WEIGHT_WINDOW_S)
            else:
                break
        self._spent.append((now, weight))
        self._spent_sum += weight

    def counted(self, used: int) -> None:
        """The venue's own count: others on this address may have used some of it."""
        if used > VENUE_WEIGHT_PER_MINUTE - (VENUE_WEIGHT_PER_MINUTE - self.limit) // 2:
            self.freeze(WEIGHT_WINDOW_S)

    def freeze(self, seconds: float) -> None:
        until = trio.current_time() + min(seconds, MAX_FREEZE_S)
        self.frozen_until = max(self.frozen_until, until)


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
        self._client = httpx2.AsyncClient(
            transport=transport,
            timeout=REQUEST_TIMEOUT_S,
            follow_redirects=False,
            trust_env=False,
            verify=verify,
        )
        urls: dict[str, list[str]] = {}
        for url in settings.rest_urls:
            urls.setdefault(rest_venue_of(url), []).append(url)
        self._venues: dict[str, _Venue] = {}
        for venue in dict.fromkeys(venues):
            hosts = urls.get(venue) or REST_HOSTS.get(venue, ())
            if hosts:
                self._venues[venue] = _Venue(hosts, settings.rest_weight_limit)

    async def aclose(self) -> None:
        """Close idle connections."""
        await self._client.aclose()

    def serves(self, venue: str) -> bool:
        """Whether a REST host of the venue is known."""
        return venue in self._venues

    async def page(self, venue: str, stream: Stream, first: int, last: int) -> list[Event]:
        """One page of what lies between two keys, both inclusive, sorted by key.

        The page may hold one row beyond ``last``: it proves that nothing is left in between.

        :param first: an id; for klines the open time of a bar in ms.
        :raises BackfillError: if no host of the venue gave an answer.
        """
        rows = min(PAGE_ROWS, last - first + 2)
        symbol = stream.symbol or ""
        query: dict[str, str | int] = {"symbol": symbol, "limit": rows}
        match stream.order.repair:
            case Repair.HISTORICAL_TRADES:
                query["fromId"] = first
                found = await self._get(
                    venue, "/api/v3/historicalTrades", query, 25, list[_TradeRow]
                )
                payloads: list[tuple[Any, bytes]]
                payloads = [_trade(symbol, row) for row in sorted(found, key=lambda row: row.id)]
            case Repair.AGG_TRADES:
                query["fromId"] = first
                aggregates = await self._get(venue, "/api/v3/aggTrades", query, 4, list[_AggRow])
                payloads = [_agg(symbol, row) for row in sorted(aggregates, key=lambda row: row.a)]
            case Repair.KLINES:
                interval = stream.interval or ""
                # No endTime: the bar after the gap is the proof that nothing is left in between.
                query |= {"interval": interval, "startTime": first, "limit": PAGE_ROWS}
                if stream.name.endswith(ZONE_SUFFIX):
                    query["timeZone"] = ZONE
                bars = await self._get(venue, "/api/v3/klines", query, 2, list[_KlineRow])
                payloads = [
                    _kline(symbol, interval, row)
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
        query: dict[str, str | int] = {"symbol": stream.symbol or "", "limit": 5000}
        book, raw = await self._get_raw(venue, "/api/v3/depth", query, 250, DepthSnapshot)
        frame = frame_of(stream.name, raw)
        return Event(book, stream.name, venue, self._wall_clock(), frame, "snapshot")

    async def newest(self, venue: str, stream: Stream) -> Newest | None:
        """The newest that the venue has of what the stream tells; one cheap request.

        :returns: None if there is nothing at all.
        :raises BackfillError: if no host of the venue gave an answer, or the kind cannot be asked
            about.
        """
        query: dict[str, str | int] = {"symbol": stream.symbol or "", "limit": 1}
        match stream.kind:
            case Kind.AGG_TRADE:
                rows = await self._get(venue, "/api/v3/aggTrades", query, 4, list[_AggRow])
                found = [Newest(row.a, row.T) for row in rows]
            case Kind.DEPTH | Kind.BOOK_TICKER | Kind.PARTIAL_DEPTH:
                book = await self._get(venue, "/api/v3/depth", query, 5, DepthSnapshot)
                found = [Newest(book.last_update_id, None)]
            case Kind.TRADE | Kind.KLINE | Kind.MINI_TICKER | Kind.TICKER | Kind.WINDOW_TICKER:
                trades = await self._get(venue, "/api/v3/trades", query, 25, list[_TradeRow])
                found = [Newest(row.id, row.time) for row in trades]
            case _:
                raise BackfillError(f"{stream.name} cannot be asked for its newest message")
        return max(found, default=None)

    async def _get(
        self, venue: str, path: str, query: dict[str, str | int], weight: int, shape: type[_T]
    ) -> _T:
        """Ask the venue's hosts in turn until one gives an answer of the given shape."""
        return (await self._get_raw(venue, path, query, weight, shape))[0]

    async def _get_raw(
        self, venue: str, path: str, query: dict[str, str | int], weight: int, shape: type[_T]
    ) -> tuple[_T, bytes]:
        place = self._venues.get(venue)
        if place is None:
            raise BackfillError(f"no REST host of {venue} is known")
        why: Exception | None = None
        for url, breaker in place.hosts:
            try:
                async with breaker.attempt():
                    await place.spend(weight)
                    status, body = await self._ask(place, url + path, query)
                    answer = _rows(body, shape) if status == _OK else None
            except (BackfillError, CircuitOpen) as error:
                why = error
                continue
            if answer is not None:
                return answer, body
            why = BackfillError(f"{url}{path} answered HTTP {status}")
            if status == _BAD_REQUEST:
                break  # it is the question that is wrong, and no other host will like it better
        raise BackfillError(f"no REST host of {venue} answered: {why}") from why

    async def _ask(self, place: _Venue, url: str, query: dict[str, str | int]) -> tuple[int, bytes]:
        """Status and body of an answer that says something about the question, not the host."""
        with trio.move_on_after(REQUEST_TIMEOUT_S):
            try:
                async with self._client.stream("GET", url, params=query) as response:
                    self._heed(place, response)
                    if response.status_code not in _ANSWERS:
                        raise BackfillError(f"{url} answered HTTP {response.status_code}")
                    body = bytearray()
                    async with aclosing(response.aiter_bytes()) as chunks:
                        async for chunk in chunks:
                            body += chunk
                            if len(body) > MAX_BODY_BYTES:
                                raise BackfillError(f"{url} sent more than {MAX_BODY_BYTES} bytes")
                    return response.status_code, bytes(body)
            except httpx2.HTTPError as error:
                raise BackfillError(f"{url}: {error or type(error).__name__}") from error
        raise BackfillError(f"{url} did not answer within {REQUEST_TIMEOUT_S:g} s")

    def _heed(self, place: _Venue, response: httpx2.Response) -> None:
        """Take note of how much the venue has counted, and of how long it wants no more."""
        used = _number(response.headers.get("X-MBX-USED-WEIGHT-1M"))
        if used is not None:
            place.counted(used)
        if response.status_code in _TOO_MANY:
            after = _number(response.headers.get("Retry-After"))
            place.freeze(DEFAULT_FREEZE_S if after is None else after)


def _number(text: str | None) -> int | None:
    """A header's number, if it is one."""
    if text and len(text) <= LONGEST_NUMBER and text.isascii() and text.isdecimal():
        return int(text)
    return None


def _rows(body: bytes, shape: type[_T]) -> _T:
    try:
        return msgspec.json.decode(body, type=shape)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise BackfillError(f"the answer is not what was asked for: {error}") from error


def _encoded(payload: Any, **more: Any) -> tuple[Any, bytes]:
    """A payload and its JSON in the stream's own shape; REST has no event time of its own."""
    return payload, msgspec.json.encode(msgspec.to_builtins(payload) | more)


def _trade(symbol: str, row: _TradeRow) -> tuple[Trade, bytes]:
    trade = Trade(row.time, symbol, row.id, row.price, row.qty, row.time, row.isBuyerMaker)
    return _encoded(trade, M=True)


def _agg(symbol: str, row: _AggRow) -> tuple[AggTrade, bytes]:
    agg = AggTrade(row.T, symbol, row.a, row.p, row.q, row.f, row.l, row.T, row.m)
    return _encoded(agg, M=True)


def _kline(symbol: str, interval: str, row: _KlineRow) -> tuple[Kline, bytes]:
    bar = Bar(
        open_time=row.open_time,
        close_time=row.close_time,
        symbol=symbol,
        interval=interval,
        open=row.open,
        close=row.close,
        high=row.high,
        low=row.low,
        volume=row.volume,
        trades=row.trades,
        closed=True,
        quote_volume=row.quote_volume,
    )
    return _encoded(Kline(row.close_time + 1, symbol, bar))

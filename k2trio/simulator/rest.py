"""The REST side of one venue: repair, snapshots, and the simulator's own switches.

An ASGI application. All handlers are coroutines and none blocks, so in virtual time a request
takes no time and no thread.

Source: Binance spot API docs, "REST API": market data endpoints, limits, error codes.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec
import trio
from starlette.applications import Starlette
from starlette.responses import Response
from starlette.routing import Route

from k2trio.market.streams import KLINE_INTERVALS_MS

from . import payloads
from .bars import bar_end_ms, bar_open_ms
from .faults import Fault, parse_faults
from .kinds import REST_KINDS, REST_ROW_KINDS, FaultKind

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from starlette.requests import Request
    from starlette.types import ASGIApp

    from .bars import Bar
    from .exchange import Exchange
    from .records import AggTrade, Trade
    from .trading import SymbolMarket

MAX_ROWS = 1000
MAX_LEVELS = 5000
DEFAULT_ROWS = 500
DEFAULT_LEVELS = 100
DEPTH_WEIGHTS = ((100, 5), (500, 25), (1000, 50), (5000, 250))
DEFAULT_KEPT_ROWS = 10
HOLE_EVERY = 7
MAX_CLIENTS = 10_000
MAX_REQUESTS = 500_000


@dataclass(frozen=True, slots=True)
class RestLimits:
    """What the exchange enforces over REST.

    :ivar weight_per_minute: request weight of one client in a minute of the clock.
    :ivar strikes: requests in spite of 429 before the client is banned.
    :ivar ban_s: how long a ban lasts; seconds.
    """

    weight_per_minute: int = 6000
    strikes: int = 10
    ban_s: float = 120.0


class ApiError(Exception):
    """An error as the exchange words it: HTTP status, code and message."""

    def __init__(
        self, code: int, message: str, status: int = 400, retry_after: float | None = None
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.status = status
        self.retry_after = retry_after


@dataclass(slots=True)
class _Account:
    """The weight that one client used."""

    minute: int = -1
    used: int = 0
    strikes: int = 0
    banned_until: float = float("-inf")


class RestServer:
    """The REST side of a venue.

    :param name: what faults call it by (besides the venue).
    :ivar app: the ASGI application.
    :ivar requests: (time, client, path with query, HTTP status) of each market-data request.
    """

    def __init__(
        self, exchange: Exchange, name: str = "rest", limits: RestLimits | None = None
    ) -> None:
        self.exchange = exchange
        self.names = (name, exchange.venue)
        self.limits = RestLimits() if limits is None else limits
        self.requests: deque[tuple[float, str, str, int]] = deque(maxlen=MAX_REQUESTS)
        self._accounts: dict[str, _Account] = {}
        paths: dict[str, tuple[Callable[[Request], object], int]] = {
            "aggTrades": (self._agg_trades, 4),
            "historicalTrades": (self._historical_trades, 25),
            "trades": (self._trades, 25),
            "klines": (self._klines, 2),
            "depth": (self._depth, 0),
            "exchangeInfo": (self._exchange_info, 20),
            "time": (self._time, 1),
            "ping": (self._ping, 1),
        }
        routes = [
            Route(f"/api/v3/{path}", self._endpoint(answer, weight), methods=["GET"])
            for path, (answer, weight) in paths.items()
        ]
        routes += [
            Route("/simulator/faults", self._get_faults, methods=["GET"]),
            Route("/simulator/faults", self._post_faults, methods=["POST"]),
            Route("/simulator/truth", self._get_truth, methods=["GET"]),
        ]
        self.app: ASGIApp = Starlette(routes=routes)

    # One request

    def _endpoint(
        self, answer: Callable[[Request], object], weight: int
    ) -> Callable[[Request], Awaitable[Response]]:
        async def respond(request: Request) -> Response:
            client = request.client.host if request.client else "unknown"
            account = self._account(client)
            try:
                await self._meet_faults()
                self._charge(account, weight or _depth_weight(_limit(request, MAX_LEVELS)))
                self.exchange.catch_up()
                response = _json(answer(request))
            except ApiError as error:
                response = _json({"code": error.code, "msg": error.message}, error.status)
                if error.retry_after is not None:
                    response.headers["Retry-After"] = str(max(1, round(error.retry_after)))
            response.headers["X-MBX-USED-WEIGHT-1M"] = str(account.used)
            response.headers["X-MBX-USED-WEIGHT"] = str(account.used)
            target = f"{request.url.path}?{request.url.query}"
            self.requests.append((trio.current_time(), client, target, response.status_code))
            return response

        return respond

    async def _meet_faults(self) -> None:
        fault = self.exchange.faults.take(self.names, REST_KINDS)
        if fault is None:
            return
        if fault.kind is FaultKind.REST_HANG:
            await trio.sleep_forever()
        status = 503 if fault.kind is FaultKind.REST_REFUSED else fault.status
        raise ApiError(-1003, f"simulated {status}", status, fault.retry_after)

    def _account(self, client: str) -> _Account:
        if client not in self._accounts and len(self._accounts) >= MAX_CLIENTS:
            del self._accounts[next(iter(self._accounts))]
        account = self._accounts.setdefault(client, _Account())
        minute = self.exchange.now_us() // 60_000_000
        if account.minute != minute:
            account.minute, account.used = minute, 0
        return account

    def _charge(self, account: _Account, weight: int) -> None:
        now = trio.current_time()
        if now < account.banned_until:
            raise ApiError(
                -1003,
                "Way too much request weight used; IP banned.",
                418,
                account.banned_until - now,
            )
        if account.used + weight > self.limits.weight_per_minute:
            account.strikes += 1
            if account.strikes > self.limits.strikes:
                account.banned_until = now + self.limits.ban_s
                account.strikes = 0
                raise ApiError(
                    -1003, "Way too much request weight used; IP banned.", 418, self.limits.ban_s
                )
            left_s = 60 - self.exchange.now_us() % 60_000_000 / 1e6
            raise ApiError(-1003, "Too much request weight used.", 429, left_s)
        account.strikes = 0
        account.used += weight

    def _spoil(self, rows: list[dict[str, object]]) -> list[dict[str, object]]:
        fault = self.exchange.faults.take(self.names, REST_ROW_KINDS)
        match fault:
            case None:
                return rows
            case Fault(kind=FaultKind.REST_HOLES):
                return [row for number, row in enumerate(rows) if number % HOLE_EVERY != 3]
            case Fault(kind=FaultKind.REST_SHORT):
                return rows[: fault.size or DEFAULT_KEPT_ROWS]
            case Fault(kind=FaultKind.REST_UNORDERED):
                return rows[::-1]
            case _:
                return rows

    # Market data

    def _symbol(self, request: Request) -> SymbolMarket:
        name = request.query_params.get("symbol")
        if name is None:
            raise ApiError(
                -1102,
                "Mandatory parameter 'symbol' was not sent, was empty/null, or malformed.",
            )
        symbol = self.exchange.market.symbols.get(name)
        if symbol is None:
            raise ApiError(-1121, "Invalid symbol.")
        return symbol

    def _oldest(self) -> int | None:
        """How many of the newest rows REST still has, when its history is cut short."""
        fault = self.exchange.faults.take(self.names, (FaultKind.REST_TRUNCATED,))
        return None if fault is None else fault.size or DEFAULT_KEPT_ROWS

    def _agg_trades(self, request: Request) -> object:
        symbol, limit, unit = self._symbol(request), _limit(request, MAX_ROWS), _unit(request)
        history, kept = symbol.agg_trades, self._oldest()
        from_id = _integer(request, "fromId")
        start, end = _integer(request, "startTime"), _integer(request, "endTime")
        if from_id is not None:
            records = history.since(from_id, limit)
        elif start is not None or end is not None:
            until = self.exchange.now_us() if end is None else end * 1000 + 999
            records = history.between((start or 0) * 1000, until, limit)
        else:
            records = history.newest(limit)
        if kept is not None:
            floor = history.newest(kept)
            records = [record for record in records if floor and record.id >= floor[0].id]
        return self._spoil([_agg_row(record, unit) for record in records])

    def _historical_trades(self, request: Request) -> object:
        symbol, limit, unit = self._symbol(request), _limit(request, MAX_ROWS), _unit(request)
        history, kept = symbol.trades, self._oldest()
        from_id = _integer(request, "fromId")
        records = history.newest(limit) if from_id is None else history.since(from_id, limit)
        if kept is not None:
            floor = history.newest(kept)
            records = [record for record in records if floor and record.id >= floor[0].id]
        return self._spoil([_trade_row(record, unit) for record in records])

    def _trades(self, request: Request) -> object:
        symbol, limit, unit = self._symbol(request), _limit(request, MAX_ROWS), _unit(request)
        return self._spoil([_trade_row(record, unit) for record in symbol.trades.newest(limit)])

    def _klines(self, request: Request) -> object:
        symbol, limit, unit = self._symbol(request), _limit(request, MAX_ROWS), _unit(request)
        interval = request.query_params.get("interval", "")
        if interval not in KLINE_INTERVALS_MS:
            raise ApiError(-1120, "Invalid interval.")
        now_ms = self.exchange.now_us() // 1000
        start, end = _integer(request, "startTime"), _integer(request, "endTime")
        until_ms = now_ms if end is None else min(end, now_ms)
        from_ms = start
        if from_ms is None:
            from_ms = bar_open_ms(interval, until_ms)
            for _ in range(limit - 1):
                from_ms = bar_open_ms(interval, from_ms - 1)
        rows: list[list[object]] = []
        for bar in symbol.bars.between(interval, from_ms, until_ms):
            if len(rows) == limit:
                break
            rows.append(_kline_row(bar, interval, unit))
        return rows

    def _depth(self, request: Request) -> object:
        symbol = self._symbol(request)
        levels = _limit(request, MAX_LEVELS, DEFAULT_LEVELS)
        book = symbol.book
        return {
            "lastUpdateId": symbol.update_id,
            "bids": payloads.levels(book.bids.top(levels)),
            "asks": payloads.levels(book.asks.top(levels)),
        }

    def _exchange_info(self, request: Request) -> object:
        wanted = request.query_params.get("symbol")
        if wanted is not None:
            self._symbol(request)
        return {
            "timezone": "UTC",
            "serverTime": self.exchange.now_us() // 1000,
            "rateLimits": [
                {
                    "rateLimitType": "REQUEST_WEIGHT",
                    "interval": "MINUTE",
                    "intervalNum": 1,
                    "limit": self.limits.weight_per_minute,
                }
            ],
            "exchangeFilters": [],
            "symbols": [
                _symbol_info(symbol)
                for name, symbol in self.exchange.market.symbols.items()
                if wanted in {None, name}
            ],
        }

    def _time(self, request: Request) -> object:
        return {"serverTime": self.exchange.now_us() // _unit(request)}

    def _ping(self, request: Request) -> object:
        del request
        return {}

    # The simulator's own

    async def _get_faults(self, request: Request) -> Response:
        del request
        board = self.exchange.faults
        return _json({"active": board.active(), "pending": board.pending()})

    async def _post_faults(self, request: Request) -> Response:
        try:
            faults = parse_faults(await request.body())
            self.exchange.faults.add(faults)
        except (msgspec.DecodeError, ValueError) as error:
            return _json({"error": str(error)}, 400)
        return _json({"added": len(faults)})

    async def _get_truth(self, request: Request) -> Response:
        del request
        return _json({"venue": self.exchange.venue} | self.exchange.truth.summary())


def _json(value: object, status: int = 200) -> Response:
    return Response(msgspec.json.encode(value), status, media_type="application/json")


def _integer(request: Request, name: str) -> int | None:
    text = request.query_params.get(name)
    if text is None:
        return None
    if not (text.isascii() and text.isdigit() and len(text) < 20):
        raise ApiError(-1100, f"Illegal characters found in parameter '{name}'.")
    return int(text)


def _limit(request: Request, most: int, default: int = DEFAULT_ROWS) -> int:
    limit = _integer(request, "limit")
    if limit is None:
        return default
    if limit < 1:
        raise ApiError(-1130, "Data sent for parameter 'limit' is not valid.")
    return min(limit, most)


def _unit(request: Request) -> int:
    wanted = request.headers.get("X-MBX-TIME-UNIT", "").upper()
    return 1 if wanted == "MICROSECOND" else payloads.MILLISECOND


def _depth_weight(limit: int) -> int:
    return next(weight for most, weight in DEPTH_WEIGHTS if limit <= most)


def _agg_row(record: AggTrade, unit: int) -> dict[str, object]:
    return {
        "a": record.id,
        "p": payloads.decimal(record.price),
        "q": payloads.decimal(record.quantity),
        "f": record.first,
        "l": record.last,
        "T": record.time_us // unit,
        "m": record.buyer_is_maker,
        "M": True,
    }


def _trade_row(record: Trade, unit: int) -> dict[str, object]:
    return {
        "id": record.id,
        "price": payloads.decimal(record.price),
        "qty": payloads.decimal(record.quantity),
        "quoteQty": payloads.decimal(record.price * record.quantity // 10**8),
        "time": record.time_us // unit,
        "isBuyerMaker": record.buyer_is_maker,
        "isBestMatch": True,
    }


def _kline_row(bar: Bar, interval: str, unit: int) -> list[object]:
    return [
        bar.open_ms * 1000 // unit,
        payloads.decimal(bar.open),
        payloads.decimal(bar.high),
        payloads.decimal(bar.low),
        payloads.decimal(bar.close),
        payloads.decimal(bar.volume),
        bar_end_ms(interval, bar.open_ms) * 1000 // unit - 1,
        payloads.decimal(bar.quote),
        bar.count,
        payloads.decimal(bar.taker_volume),
        payloads.decimal(bar.taker_quote),
        "0",
    ]


def _symbol_info(symbol: SymbolMarket) -> dict[str, object]:
    spec = symbol.spec
    base, quote = spec.symbol, ""
    for ending in ("USDT", "USDC", "USD", "BTC", "ETH", "EUR"):
        if spec.symbol.endswith(ending) and spec.symbol != ending:
            base, quote = spec.symbol.removesuffix(ending), ending
            break
    return {
        "symbol": spec.symbol,
        "status": "TRADING",
        "baseAsset": base,
        "baseAssetPrecision": 8,
        "quoteAsset": quote,
        "quotePrecision": 8,
        "quoteAssetPrecision": 8,
        "orderTypes": ["LIMIT", "MARKET"],
        "isSpotTradingAllowed": True,
        "isMarginTradingAllowed": False,
        "permissions": [],
        "permissionSets": [["SPOT"]],
        "filters": [
            {
                "filterType": "PRICE_FILTER",
                "minPrice": payloads.decimal(spec.tick),
                "maxPrice": payloads.decimal(10**15),
                "tickSize": payloads.decimal(spec.tick),
            },
            {
                "filterType": "LOT_SIZE",
                "minQty": payloads.decimal(spec.step),
                "maxQty": payloads.decimal(10**15),
                "stepSize": payloads.decimal(spec.step),
            },
        ],
    }

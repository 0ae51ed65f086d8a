"""The answers to REST requests for market data.

Source: Binance spot API docs, "REST API": market data endpoints, error codes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from k2trio.market.streams import KLINE_INTERVALS_MS

from ..faults.fault import Fault
from ..faults.kinds import REST_ROW_KINDS, FaultKind
from ..market import payloads
from ..market.bars import bar_open_ms
from ..refusals import ApiError
from . import rows
from .past import Lag
from .queries import (
    DEFAULT_LEVELS,
    MAX_LEVELS,
    integer,
    mandatory,
    row_limit,
    symbol_names,
    time_ms,
    time_unit,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from starlette.requests import Request

    from ..exchange import Exchange
    from ..market.contract import VenueSymbol
    from ..market.records import History, RecordT

DEFAULT_KEPT_ROWS = 10
FUTURES_LEVELS = frozenset({5, 10, 20, 50, 100, 500, 1000})
"""How many levels a side a book of futures may be asked for."""
HOLE_EVERY = 7


class Answers:
    """What a venue answers, by the last part of the path.

    :param names: what faults call the REST side by.
    :param weight_per_minute: the limit that ``exchangeInfo`` names.
    :param knows_time_unit: whether ``X-MBX-TIME-UNIT`` is heeded.
    :ivar by_path: the answer to a request; raises ApiError.
    """

    def __init__(
        self,
        exchange: Exchange,
        names: Sequence[str],
        weight_per_minute: int,
        *,
        knows_time_unit: bool,
    ) -> None:
        self._exchange = exchange
        self._names = names
        self._weight_per_minute = weight_per_minute
        self._futures = exchange.market.product != "spot"
        self._knows_time_unit = knows_time_unit and not self._futures
        self._lag = Lag(exchange.market, exchange.faults, names)
        self.by_path: dict[str, Callable[[Request], object]] = {
            "aggTrades": self._agg_trades,
            "historicalTrades": self._historical_trades,
            "historicalBlockTrades": self._historical_block_trades,
            "trades": self._trades,
            "klines": self._klines,
            "depth": self._depth,
            "exchangeInfo": self._exchange_info,
            "time": self._time,
            "ping": self._ping,
        }

    def _unit(self, request: Request) -> int:
        return time_unit(request) if self._knows_time_unit else payloads.MILLISECOND

    def _symbol(self, request: Request) -> VenueSymbol:
        name = mandatory(request.query_params.get("symbol"), "symbol")
        symbol = self._exchange.market.symbol(name)
        if symbol is None:
            raise ApiError(-1121, "Invalid symbol.")
        return symbol

    def _known(
        self, history: History[RecordT], records: list[RecordT], lag_us: int
    ) -> list[RecordT]:
        """Those that REST has, when its history is cut short, or lags."""
        fault = self._exchange.faults.take(self._names, (FaultKind.REST_TRUNCATED,))
        if fault is not None:
            floor = history.newest(fault.size or DEFAULT_KEPT_ROWS)
            records = [record for record in records if floor and record.id >= floor[0].id]
        if lag_us:
            until_us = self._exchange.now_us() - lag_us
            records = [record for record in records if record.time_us <= until_us]
        return records

    def _agg_trades(self, request: Request) -> object:
        symbol, limit, unit = self._symbol(request), row_limit(request), self._unit(request)
        history, lag_us = symbol.agg_trades, self._lag.take_us()
        from_id = integer(request, "fromId")
        start, end = time_ms(request, "startTime"), time_ms(request, "endTime")
        if from_id is not None:
            records = history.since(from_id, limit)
        elif start is not None or end is not None:
            until = self._exchange.now_us() if end is None else end * 1000 + 999
            records = history.between((start or 0) * 1000, until, limit)
        else:
            records = self._newest(history, limit, lag_us)
        records = self._known(history, records, lag_us)
        return self._spoil(self._written([rows.agg_trade(record, unit) for record in records]))

    def _historical_trades(self, request: Request) -> object:
        symbol, limit, unit = self._symbol(request), row_limit(request), self._unit(request)
        history, lag_us = symbol.trades, self._lag.take_us()
        from_id = integer(request, "fromId")
        if from_id is None:
            records = self._newest(history, limit, lag_us)
        else:
            records = history.since(from_id, limit)
        records = self._known(history, records, lag_us)
        return self._spoil([rows.trade(record, unit) for record in records])

    def _historical_block_trades(self, request: Request) -> object:
        symbol, limit, unit = self._symbol(request), row_limit(request), self._unit(request)
        from_id = mandatory(integer(request, "fromId"), "fromId")
        history = symbol.block_trades
        records = self._known(history, history.since(from_id, limit), self._lag.take_us())
        return self._spoil([rows.block_trade(record, unit) for record in records])

    def _newest(self, history: History[RecordT], limit: int, lag_us: int) -> list[RecordT]:
        if not lag_us:
            return history.newest(limit)
        return history.between(0, self._exchange.now_us() - lag_us, len(history.records))[-limit:]

    def _trades(self, request: Request) -> object:
        symbol, limit, unit = self._symbol(request), row_limit(request), self._unit(request)
        records = self._newest(symbol.trades, limit, self._lag.take_us())
        return self._spoil(self._written([rows.trade(record, unit) for record in records]))

    def _written(self, found: list[dict[str, object]]) -> list[dict[str, object]]:
        """Rows as the venue writes them: of futures without the marks of spot."""
        if self._futures:
            for row in found:
                row.pop("M", None)
                row.pop("isBestMatch", None)
        return found

    def _klines(self, request: Request) -> object:
        symbol, limit, unit = self._symbol(request), row_limit(request), self._unit(request)
        interval = request.query_params.get("interval", "")
        if interval not in KLINE_INTERVALS_MS:
            raise ApiError(-1120, "Invalid interval.")
        now_ms = (self._exchange.now_us() - self._lag.take_us()) // 1000
        start, end = time_ms(request, "startTime"), time_ms(request, "endTime")
        until_ms = now_ms if end is None else min(end, now_ms)
        from_ms = start
        if from_ms is None:
            from_ms = bar_open_ms(interval, until_ms)
            for _ in range(limit - 1):
                from_ms = bar_open_ms(interval, from_ms - 1)
        bars: list[list[object]] = []
        for bar in symbol.bars.between(interval, from_ms, until_ms):
            if len(bars) == limit:
                break
            bars.append(rows.kline(bar, interval, unit))
        return bars

    def _depth(self, request: Request) -> object:
        symbol = self._symbol(request)
        levels = row_limit(request, MAX_LEVELS, DEFAULT_LEVELS)
        if self._futures and levels not in FUTURES_LEVELS:
            raise ApiError(-4021, f"{levels} is not valid depth limit.")
        if not symbol.has_book:
            raise ApiError(-1000, "The recording has no book of this symbol yet.", 503)
        book = self._lag.book(symbol, self._exchange.now_us() - self._lag.take_us())
        now_ms = self._exchange.now_us() // 1000
        times = {"E": now_ms, "T": now_ms} if self._futures else {}
        return {
            "lastUpdateId": book.update_id,
            **times,
            "bids": payloads.levels(book.bids[:levels]),
            "asks": payloads.levels(book.asks[:levels]),
        }

    def _exchange_info(self, request: Request) -> object:
        wanted = symbol_names(request)
        market = self._exchange.market
        symbols = [market.symbol(name) for name in (market.symbols if wanted is None else wanted)]
        if None in symbols:
            raise ApiError(-1121, "Invalid symbol.")
        return {
            "timezone": "UTC",
            "serverTime": self._exchange.now_us() // 1000,
            "rateLimits": [
                {
                    "rateLimitType": "REQUEST_WEIGHT",
                    "interval": "MINUTE",
                    "intervalNum": 1,
                    "limit": self._weight_per_minute,
                }
            ],
            "exchangeFilters": [],
            "symbols": [
                rows.symbol_info(symbol.name, symbol.spec, self._status(symbol))
                for symbol in symbols
                if symbol is not None
            ],
        }

    def _status(self, symbol: VenueSymbol) -> str:
        return "HALT" if self._exchange.now_us() < symbol.halted_until_us else "TRADING"

    def _time(self, request: Request) -> object:
        return {"serverTime": self._exchange.now_us() // self._unit(request)}

    def _ping(self, request: Request) -> object:
        del request
        return {}

    def _spoil(self, found: list[dict[str, object]]) -> list[dict[str, object]]:
        fault = self._exchange.faults.take(self._names, REST_ROW_KINDS)
        match fault:
            case None:
                return found
            case Fault(kind=FaultKind.REST_HOLES):
                return [row for number, row in enumerate(found) if number % HOLE_EVERY != 3]
            case Fault(kind=FaultKind.REST_SHORT):
                return found[: fault.size or DEFAULT_KEPT_ROWS]
            case Fault(kind=FaultKind.REST_UNORDERED):
                return found[::-1]
            case _:
                return found

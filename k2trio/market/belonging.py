"""Whether a payload is of the stream that brought it: it names the symbol and the interval."""

from __future__ import annotations

import operator
from typing import TYPE_CHECKING, Any

from .payloads import PartialDepth, type_of
from .streams import Kind, Stream

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_symbol_of = operator.attrgetter("symbol")


class Belonging:
    """The check of a decoder, for whole batches: most of what arrives passes here.

    :param streams: the streams that are known, by name.
    """

    def __init__(self, streams: Mapping[str, Stream]) -> None:
        self._symbols = {
            name: symbol
            for name, stream in streams.items()
            if (symbol := _told_symbol(stream)) is not None
        }
        self._checks = {
            name: check
            for name, stream in streams.items()
            if (check := _closer_check(stream)) is not None
        }
        self._all_name_symbols = len(self._symbols) == len(streams)

    def of_all(self, streams: list[str], data: list[Any]) -> bool:
        """Whether each payload is of the stream in the same place."""
        symbols, checks = self._symbols, self._checks
        if not self._all_name_symbols:
            if any(
                name in symbols and payload.symbol != symbols[name]
                for name, payload in zip(streams, data, strict=True)
            ):
                return False
        elif len(symbols) == 1:
            symbol = symbols[streams[0]]
            for payload in data:  # of one type, and then faster than a function from C
                if payload.symbol != symbol:
                    return False
        elif list(map(_symbol_of, data)) != [symbols[name] for name in streams]:
            return False
        if not checks or checks.keys().isdisjoint(streams):
            return True
        closer = map(checks.get, streams)
        return all(check(payload) for check, payload in zip(closer, data, strict=True) if check)


def belongs(stream: Stream, payload: Any) -> bool:
    """Whether a payload is of a stream; its symbol may be written in other letters."""
    symbol = _told_symbol(stream)
    if symbol is not None and payload.symbol.lower() != symbol.lower():
        return False
    check = _closer_check(stream)
    return check is None or check(payload)


def _told_symbol(stream: Stream) -> str | None:
    """The symbol that payloads of a stream name; None where they name none, or many."""
    return None if type_of(stream) is PartialDepth else stream.symbol


def _closer_check(stream: Stream) -> Callable[[Any], bool] | None:
    """For kinds whose payloads name an interval as well, or their symbol twice, the check of it."""
    interval, event = stream.interval, f"{stream.interval}Ticker"
    match stream.kind:
        case Kind.KLINE:
            return lambda kline: kline.bar.interval == interval and kline.bar.symbol == kline.symbol
        case Kind.CONTINUOUS_KLINE:
            return lambda kline: bool(kline.bar.interval == interval)
        case Kind.WINDOW_TICKER:
            return lambda ticker: bool(ticker.event == event)
        case Kind.ALL_WINDOW_TICKERS:
            return lambda rows: all(row.event == event for row in rows)
        case _:
            return None

"""What a name was meant to be: told where it can be told, and never where it cannot."""

from __future__ import annotations

import pytest

from k2trio.market.spelling import MAX_SYMBOL, MAX_TEXT, near_streams, near_symbols

SUFFIXES = ["trade", "aggTrade", "bookTicker", "depth", "depth@100ms", "kline_1m"]
WHOLE = ["!miniTicker@arr", "!bookTicker"]
LONG = "A" * MAX_SYMBOL


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("btcusdt", "BTCUSDT"),
        ("BTC-USDT", "BTCUSDT"),
        ("BTC/USDT", "BTCUSDT"),
        ("btc_usdt eth.usdt;bnb:usdt|xrpusdt", "BTCUSDT,ETHUSDT,BNBUSDT,XRPUSDT"),
        ("  BTCUSDT + ETHUSDT ", "BTCUSDT,ETHUSDT"),
        ("BT", "BT"),
        (LONG, LONG),
        ("B", None),
        (LONG + "A", None),
        ("btcusdt, ethusdt", None),
        ("btc$usdt", None),
        ("", None),
        ("   ", None),
        (("BTCUSDT " * 100)[:MAX_TEXT], ",".join(["BTCUSDT"] * 62 + ["BTCU"])),
        (("BTCUSDT " * 100)[: MAX_TEXT + 1], None),
    ],
)
def test_symbols(text: str, meant: str | None) -> None:
    assert near_symbols(text) == meant


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("BTCUSDT@trade", "btcusdt@trade"),
        ("btc-usdt@trade", "btcusdt@trade"),
        ("btcusdt@TRADE", "btcusdt@trade"),
        ("btcusdt@aggtrade", "btcusdt@aggTrade"),
        ("btcusdt@trades", "btcusdt@trade"),
        ("btcusdt@depth@100", "btcusdt@depth@100ms"),
        ("btcusdt@kline1m", "btcusdt@kline_1m"),
        ("btcusdt@trade/ethusdt@trade", "btcusdt@trade,ethusdt@trade"),
        ("btcusdt@trade ethusdt@depth", "btcusdt@trade,ethusdt@depth"),
        ("btcusdt@xyz", None),
        ("b@trade", None),
        ("btcusdt@trade xyz@abc", None),
        ("aggtrade", "btcusdt@aggTrade"),
        ("btcusdt", "btcusdt@trade"),
        ("BTC-USDT", "btcusdt@trade"),
        ("tradez", "tradez@trade"),
        ("!miniticker@ARR", "!miniTicker@arr"),
        ("!bookTickers", "!bookTicker"),
        ("!bookTicker", "!bookTicker"),
        ("!xyz", None),
        ("", None),
    ],
)
def test_streams(text: str, meant: str | None) -> None:
    assert near_streams(text, SUFFIXES, WHOLE) == meant

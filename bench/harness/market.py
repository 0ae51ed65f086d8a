"""A market written down in advance: frames in the exact layout of the exchange, ids coherent.

Made before anything is measured, so that sending costs the server no more than a copy. Ids of every
stream are contiguous where the exchange's are (trades, aggregate trades, diff depth), because a
client that checks continuity would otherwise report gaps, rightly.
"""

from __future__ import annotations

import itertools
import random
from array import array
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

SYMBOLS = ("btcusdt", "ethusdt", "bnbusdt", "solusdt")
FIRST_ID = 3_500_000_000
FIRST_TIME_MS = 1_790_000_040_000
"""The start of a minute, so that a run stays inside one kline."""
VARIANTS = 512
"""Different prices and levels per stream; they repeat, the ids and times do not."""
_DATA = b'"data":'

MODES = {
    "trade": ("btcusdt@trade",),
    "mixed": tuple(
        f"{symbol}@{suffix}"
        for symbol in SYMBOLS
        for suffix in ("trade", "aggTrade", "bookTicker", "depth@100ms", "kline_1m")
    ),
    "depth": ("btcusdt@depth@100ms",),
    "aggTrade": ("btcusdt@aggTrade",),
    "usdm depth": ("btcusdt@depth@100ms",),
}
"""Streams per mode."""


def product_of(mode: str) -> str:
    """What a mode is the market of: spot, or usdm (USD-M futures)."""
    return "usdm" if mode.startswith("usdm ") else "spot"


SHARES = {"bookTicker": 45, "trade": 25, "aggTrade": 15, "depth@100ms": 12, "kline_1m": 3}
"""Of 100 messages of the mixed mode; a busy spot market is mostly best bid and ask."""


def text_frame(payload: bytes) -> bytes:
    """A whole text frame from a server (RFC 6455, 5.2)."""
    size = len(payload)
    if size < 126:
        return bytes((0x81, size)) + payload
    if size < 65536:
        return b"\x81\x7e" + size.to_bytes(2, "big") + payload
    return b"\x81\x7f" + size.to_bytes(8, "big") + payload


@dataclass(frozen=True)
class Pool:
    """Frames end to end.

    :ivar data: all of them.
    :ivar ends: where each one ends.
    """

    data: bytes
    ends: array[int]

    def after(self, count: int) -> Pool:
        """The frames after the first so many."""
        skipped = self.ends[count - 1]
        ends = array("Q", (end - skipped for end in self.ends[count:]))
        return Pool(self.data[skipped:], ends)

    def size(self, count: int) -> int:
        """Bytes of the first so many frames."""
        return self.ends[count - 1]


def make_pool(mode: str, count: int, *, combined: bool = True) -> Pool:
    """The first ``count`` frames of a mode; the same ones every time.

    :param combined: in the envelope of ``/stream``; else bare, as ``/ws`` sends them.
    """
    payloads = itertools.islice(messages(mode), count)
    if not combined:
        payloads = (payload[payload.index(_DATA) + len(_DATA) : -1] for payload in payloads)
    return _join(payloads)


def interleaved_pool(streams: Sequence[str], count: int) -> Pool:
    """``count`` trades, one of each stream in turn."""
    writers = [_trades(name.partition("@")[0], random.Random(4), variants=1) for name in streams]
    return _join(next(writers[number % len(writers)]) for number in range(count))


def _join(payloads: Iterable[bytes]) -> Pool:
    frames = list(map(text_frame, payloads))
    return Pool(b"".join(frames), array("Q", itertools.accumulate(map(len, frames))))


def messages(mode: str) -> Iterator[bytes]:
    """The payloads of a mode without end."""
    rng = random.Random(4)
    if mode == "mixed":
        return _mixed(rng)
    symbol, _, kind = MODES[mode][0].partition("@")
    if product_of(mode) == "usdm":
        return _chained_depths(symbol, rng)
    return _WRITERS[kind](symbol, rng)


def _mixed(rng: random.Random) -> Iterator[bytes]:
    writers = [[_WRITERS[kind](symbol, rng) for symbol in SYMBOLS] for kind in SHARES]
    kinds = rng.choices(range(len(writers)), list(SHARES.values()), k=10_007)
    for number, kind in enumerate(itertools.cycle(kinds)):
        yield next(writers[kind][number % len(SYMBOLS)])


class TradeTemplate:
    """Trades whose trade time is filled in as they are sent, for latency.

    The time is in nanoseconds and always written with the same number of digits, so that the
    frame's length is constant.
    """

    def __init__(self, symbol: str = SYMBOLS[0], first_id: int = FIRST_ID) -> None:
        self._next_id = first_id
        payload = (
            b'{"stream":"%b@trade","data":{"e":"trade","E":%d,"s":"%b","t":%%d,'
            b'"p":"64250.12000000","q":"0.01250000","T":%%d,"m":true,"M":true}}'
            % (symbol.encode(), FIRST_TIME_MS, symbol.upper().encode())
        )
        self._payload = payload

    def frame(self, time_ns: int) -> bytes:
        """The next trade, dated so."""
        payload = self._payload % (self._next_id, time_ns)
        self._next_id += 1
        return text_frame(payload)


def _trades(symbol: str, rng: random.Random, variants: int = VARIANTS) -> Iterator[bytes]:
    tails = [
        '"p":"{}","q":"{}","T":%d,"m":{},"M":true}}}}'.format(
            _price(rng), _quantity(rng), rng.choice(("true", "false"))
        )
        for _ in range(variants)
    ]
    head = f'{{"stream":"{symbol}@trade","data":{{"e":"trade","E":%d,"s":"{symbol.upper()}","t":%d,'
    whole = [(head + tail).encode() for tail in tails]
    for number in itertools.count():
        time = FIRST_TIME_MS + number // 100
        yield whole[number % variants] % (time, FIRST_ID + number, time)


def _agg_trades(symbol: str, rng: random.Random) -> Iterator[bytes]:
    whole = (
        f'{{"stream":"{symbol}@aggTrade","data":{{"e":"aggTrade","E":%d,"s":"{symbol.upper()}",'
        f'"a":%d,"p":"{_price(rng)}","q":"{_quantity(rng)}","f":%d,"l":%d,"T":%d,"m":true,"M":true}}}}'
    ).encode()
    for number in itertools.count():
        time, first = FIRST_TIME_MS + number // 100, FIRST_ID + 2 * number
        yield whole % (time, FIRST_ID // 2 + number, first, first + 1, time)


def _book_tickers(symbol: str, rng: random.Random) -> Iterator[bytes]:
    tails = [
        f'"b":"{_price(rng)}","B":"{_quantity(rng)}","a":"{_price(rng)}","A":"{_quantity(rng)}"}}}}'
        for _ in range(VARIANTS)
    ]
    head = f'{{"stream":"{symbol}@bookTicker","data":{{"u":%d,"s":"{symbol.upper()}",'
    whole = [(head + tail).encode() for tail in tails]
    for number in itertools.count():
        yield whole[number % VARIANTS] % (9 * FIRST_ID + number)


def _side(rng: random.Random) -> str:
    return ",".join(f'["{_price(rng)}","{_quantity(rng)}"]' for _ in range(rng.randint(2, 18)))


def _depths(symbol: str, rng: random.Random) -> Iterator[bytes]:
    head = (
        f'{{"stream":"{symbol}@depth@100ms","data":{{"e":"depthUpdate","E":%d,'
        f'"s":"{symbol.upper()}","U":%d,"u":%d,'
    )
    whole = [
        (head + f'"b":[{_side(rng)}],"a":[{_side(rng)}]}}}}').encode() for _ in range(VARIANTS)
    ]
    first = 9 * FIRST_ID
    for number in itertools.count():
        last = first + number % 7
        yield whole[number % VARIANTS] % (FIRST_TIME_MS + number, first, last)
        first = last + 1


def _chained_depths(symbol: str, rng: random.Random) -> Iterator[bytes]:
    """Of futures: each update names the one before, and ids of other symbols lie in between."""
    head = (
        f'{{"stream":"{symbol}@depth@100ms","data":{{"e":"depthUpdate","E":%d,"T":%d,'
        f'"s":"{symbol.upper()}","U":%d,"u":%d,"pu":%d,'
    )
    whole = [
        (head + f'"b":[{_side(rng)}],"a":[{_side(rng)}]}}}}').encode() for _ in range(VARIANTS)
    ]
    before = 1000 * FIRST_ID
    for number in itertools.count():
        first, time = before + 1 + number % 1500, FIRST_TIME_MS + number
        last = first + number % 2500
        yield whole[number % VARIANTS] % (time, time - 3, first, last, before)
        before = last


def _klines(symbol: str, rng: random.Random) -> Iterator[bytes]:
    price, quantity = _price(rng), _quantity(rng)
    whole = (
        f'{{"stream":"{symbol}@kline_1m","data":{{"e":"kline","E":%d,"s":"{symbol.upper()}",'
        f'"k":{{"t":{FIRST_TIME_MS},"T":{FIRST_TIME_MS + 59_999},"s":"{symbol.upper()}","i":"1m",'
        f'"f":{FIRST_ID},"L":%d,"o":"{price}","c":"{price}","h":"{price}","l":"{price}",'
        f'"v":"{quantity}","n":%d,"x":false,"q":"{quantity}","V":"{quantity}","Q":"{quantity}",'
        '"B":"0"}}}'
    ).encode()
    for number in itertools.count():
        yield whole % (FIRST_TIME_MS + number, FIRST_ID + number, number + 1)


def _price(rng: random.Random) -> str:
    return f"{rng.randint(60_000, 69_999)}.{rng.randint(0, 99):02d}000000"


def _quantity(rng: random.Random) -> str:
    return f"0.{rng.randint(1, 99_999):05d}000"


_WRITERS: dict[str, Callable[[str, random.Random], Iterator[bytes]]] = {
    "trade": _trades,
    "aggTrade": _agg_trades,
    "bookTicker": _book_tickers,
    "depth@100ms": _depths,
    "kline_1m": _klines,
}


def many_streams(count: int) -> Sequence[str]:
    """So many trade streams, of made-up symbols."""
    return [f"s{number:05d}usdt@trade" for number in range(count)]

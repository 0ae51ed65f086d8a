"""Candles to Parquet: trades become candles, and candles a file.

What the feed names as missing is not passed over: a candle that lacks trades, or may lack some,
has complete = false. So has the first one of a symbol, which began before the feed did. One in
which nothing was traded is not there. Sums are exact decimals.

    python examples/candles_to_parquet.py --seconds 20 --width 2 --output candles.parquet

Needs the extra parquet: python -m pip install 'k2trio[parquet]'
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from decimal import Decimal

import pyarrow as pa
import pyarrow.parquet as pq
import trio
from exchange import add_faults, exchange, options

import k2trio
from k2trio import streams

NUMBER = pa.decimal128(38, 8)
SCHEMA = pa.schema({
    "symbol": pa.string(), "begin": pa.timestamp("ms", "UTC"), "open": NUMBER, "high": NUMBER,
    "low": NUMBER, "close": NUMBER, "volume": NUMBER, "first_trade_id": pa.int64(),
    "last_trade_id": pa.int64(), "complete": pa.bool_(),
})  # fmt: skip


@dataclass
class Candle:
    symbol: str
    begin: int  # Unix time in ms
    open: Decimal
    high: Decimal
    low: Decimal
    close: Decimal
    volume: Decimal
    first_trade_id: int
    last_trade_id: int
    complete: bool


class Candles:
    def __init__(self, width_ms: int) -> None:
        self.width_ms = width_ms
        self.closed: list[Candle] = []
        self.current: dict[str, Candle] = {}
        self.interrupted: set[str] = set()  # streams that lack something since their last trade

    def take(self, item: k2trio.Item[k2trio.Trade]) -> None:
        if isinstance(item, k2trio.Event):
            self.add(item.stream, item.data)
            return
        if isinstance(item, k2trio.Gap):
            print(f"{item.stream}: {item.first} to {item.last} are missing, {item.reason}")
        else:  # a VenueChanged: what follows was traded on another market
            print(f"{item.stream}: {type(item).__name__}")
        self.interrupted.add(item.stream)
        if item.stream in self.current:
            self.current[item.stream].complete = False

    def add(self, stream: str, trade: k2trio.Trade) -> None:
        price, quantity = Decimal(trade.price), Decimal(trade.quantity)
        begin = trade.trade_time // self.width_ms * self.width_ms
        candle = self.current.get(stream)
        if candle is None or begin > candle.begin:
            complete = candle is not None and stream not in self.interrupted
            if candle is not None:
                self.closed.append(candle)
                print(f"{candle.symbol} {candle.close:>12} {candle.volume:>14} {candle.complete}")
            candle = self.current[stream] = Candle(
                trade.symbol, begin, price, price, price, price, Decimal(0),
                trade.trade_id, trade.trade_id, complete,
            )  # fmt: skip
        candle.high, candle.low = max(candle.high, price), min(candle.low, price)
        candle.close, candle.last_trade_id = price, trade.trade_id
        candle.volume += quantity
        self.interrupted.discard(stream)


async def main(seconds: float, width: int, output: str) -> None:
    candles = Candles(width * 1000)
    try:
        with trio.move_on_after(seconds):
            wanted = [streams.trade("btcusdt"), streams.trade("ethusdt")]
            async with k2trio.open_feed(wanted) as feed:
                async for item in feed:
                    candles.take(item)
    finally:  # also when the feed gives up; without the candles that are still open
        rows = [asdict(candle) for candle in candles.closed]
        pq.write_table(pa.Table.from_pylist(rows, SCHEMA), output)
    whole = sum(candle.complete for candle in candles.closed)
    print(f"{output}: {len(rows)} candles, {whole} of them complete")


if __name__ == "__main__":
    parser = options(__doc__, seconds=20)
    parser.add_argument("--width", type=int, default=2, help="of a candle (s)")
    parser.add_argument("--output", default="candles.parquet")
    add_faults(parser)
    given = parser.parse_args()
    with exchange(given.faults):
        trio.run(main, given.seconds, given.width, given.output)

"""Replay backtest: a rule traded on recorded messages, as they came, as fast as they can be read.

The rule buys what has fallen below its own average, sells it when it is back, and pays fees. It
acts at the price of the next trade, never at one that it has already seen. At a hole it begins
anew: what it holds is sold at the first price behind, and nothing is averaged over what is missing.

    python examples/replay_backtest.py --seconds 20
    python examples/replay_backtest.py --recording market.jsonl --symbol BTCUSDT --fee 10

Needs nothing but k2trio. Without a recording it makes one: `python -m k2trio --output FILE`.
"""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from decimal import Decimal
from pathlib import Path
from tempfile import TemporaryDirectory

import trio
from exchange import add_faults, exchange, options

import k2trio

TRADES = 30
"""The average is that of so many, by and large, and is none before there were so many."""
CHEAP = 0.9998
"""So much of the average is cheap."""


class Rule:
    def __init__(self, quantity: Decimal, fee: Decimal) -> None:
        self.quantity, self.fee = quantity, fee
        self.cash = self.fees = self.holds = Decimal(0)
        self.fills = self.seen = self.seen_since_hole = 0
        self.average = 0.0  # a signal may be a float; money is exact
        self.target = Decimal(0)  # what it wants to hold from the next trade on
        self.last: k2trio.Trade | None = None

    def take(self, item: k2trio.Item) -> None:
        match item:
            case k2trio.Event(data=k2trio.Trade() as trade):
                self.fill(trade, self.target - self.holds)
                self.decide(float(trade.price))
                self.last = trade
                self.seen += 1
            case k2trio.Event():
                pass
            case _:  # a Gap, or another venue
                print(f"{type(item).__name__}: sell what is held, and begin anew")
                self.seen_since_hole, self.target = 0, Decimal(0)

    def fill(self, trade: k2trio.Trade, quantity: Decimal) -> None:
        if not quantity:
            return
        price = Decimal(trade.price)
        fee = abs(quantity) * price * self.fee
        self.cash -= quantity * price + fee
        self.fees += fee
        self.holds += quantity
        self.fills += 1
        print(f"{'buy' if quantity > 0 else 'sell':4} {trade.symbol} at {price:.2f}", end="")
        print(f", trade {trade.trade_id}")

    def decide(self, price: float) -> None:
        if not self.seen_since_hole:
            self.average = price
        self.seen_since_hole += 1
        self.average += (price - self.average) / TRADES
        if self.seen_since_hole >= TRADES:
            if price < self.average * CHEAP:
                self.target = self.quantity
            elif price > self.average:
                self.target = Decimal(0)


def record(path: Path, symbol: str, seconds: float) -> None:
    command = [sys.executable, "-m", "k2trio", "--streams", f"{symbol.lower()}@trade"]
    command += ["--output", str(path), "--metrics-port", "0", "--log-level", "error"]
    with subprocess.Popen(command) as process:
        time.sleep(seconds)
        process.send_signal(signal.SIGTERM)
    if process.returncode:
        sys.exit(process.returncode)  # it has said why


async def backtest(path: Path, symbol: str, rule: Rule) -> None:
    async with k2trio.open_recording(path, streams=[f"{symbol.lower()}@trade"]) as recording:
        async for item in recording:
            rule.take(item)
    if rule.last is None:
        sys.exit(f"{path} has no trades of {symbol}")
    rule.fill(rule.last, -rule.holds)  # what is left is worth what it would bring
    print(f"{rule.seen} trades up to {rule.last.trade_id}, {rule.fills} fills, ", end="")
    print(f"fees {rule.fees:.8f}, profit {rule.cash:.8f}")


if __name__ == "__main__":
    parser = options(__doc__, seconds=20)
    parser.add_argument("--recording", type=Path, help="JSON lines, or a dataset's folder")
    parser.add_argument("--symbol", default="LTCUSDT")
    parser.add_argument("--quantity", type=Decimal, default=Decimal(1))
    parser.add_argument("--fee", type=Decimal, default=Decimal("0.5"), help="basis points")
    add_faults(parser)
    given = parser.parse_args()
    rule = Rule(given.quantity, given.fee / 10_000)
    with TemporaryDirectory() as folder:
        recording = given.recording or Path(folder) / "market.jsonl"
        if given.recording is None:
            with exchange(given.faults):
                record(recording, given.symbol, given.seconds)
        trio.run(backtest, recording, given.symbol, rule)

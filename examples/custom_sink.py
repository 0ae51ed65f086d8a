"""Custom sink: trades into SQLite, each once, also over a restart.

A sink is any object with the five members of k2trio.Sink. This one runs twice with a pause, in
which the exchange goes on: the state file remembers what is durable, so the second run fetches
what came meanwhile. Should a crash take the state file's last word, trades are delivered again,
and the primary key keeps them single. Gaps are rows as well: a table that hides them would lie.

    python examples/custom_sink.py --seconds 20 --database trades.db

Needs nothing but k2trio. Without --database it goes to a temporary one.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import trio
from exchange import add_faults, exchange, options

import k2trio
from k2trio import streams

if TYPE_CHECKING:
    from collections.abc import Sequence

TABLES = """
CREATE TABLE IF NOT EXISTS trades (venue, stream, id INTEGER, time INTEGER, price TEXT,
    quantity TEXT, origin, PRIMARY KEY (venue, stream, id));
CREATE TABLE IF NOT EXISTS gaps (venue, stream, first INTEGER, last INTEGER, reason,
    PRIMARY KEY (venue, stream, first));
"""
ACCOUNT = """
SELECT stream, count(*), sum(origin = 'backfill'), min(id), max(id) FROM trades GROUP BY stream
"""


class Trades:
    def __init__(self, path: Path) -> None:
        self.whole = 0
        self.failed: str | None = None
        self.database = sqlite3.connect(path, check_same_thread=False)
        self.database.executescript("PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL;" + TABLES)

    async def write(self, items: Sequence[k2trio.Item]) -> None:
        self.whole = 0
        self.check()
        trades: list[tuple[object, ...]] = []
        gaps: list[tuple[object, ...]] = []
        for item in items:
            match item:
                case k2trio.Event(data=k2trio.Trade() as trade):
                    key = (item.venue, item.stream, trade.trade_id)
                    trades.append((
                        *key, trade.trade_time, trade.price, trade.quantity, item.origin
                    ))  # fmt: skip
                case k2trio.Gap():
                    gaps.append((item.venue, item.stream, item.first, item.last, item.reason))
                case _:
                    pass  # a VenueChanged: the column venue says the same
        await trio.to_thread.run_sync(self.insert, trades, gaps)
        self.whole = len(items)

    def insert(self, trades: list[tuple[object, ...]], gaps: list[tuple[object, ...]]) -> None:
        try:
            with self.database as one:  # one transaction: all of the batch, or nothing
                one.executemany("INSERT OR IGNORE INTO trades VALUES (?, ?, ?, ?, ?, ?, ?)", trades)
                one.executemany("INSERT OR IGNORE INTO gaps VALUES (?, ?, ?, ?, ?)", gaps)
        except sqlite3.Error as error:
            self.failed = f"cannot write trades: {error}"
            raise k2trio.SinkError(self.failed) from error

    def check(self) -> None:
        if self.failed is not None:
            raise k2trio.SinkError(self.failed)

    def sync(self) -> None:
        """What was committed is durable already."""

    async def flush(self) -> None:
        """Nor is anything left to do at the end."""


async def collect(database: Path, seconds: float) -> None:
    settings = k2trio.load_settings(state=database.with_suffix(".state.json"))
    sink, wanted = Trades(database), [streams.trade("btcusdt"), streams.trade("ethusdt")]
    with trio.move_on_after(seconds):
        async with k2trio.open_feed(wanted, settings, sync=sink.sync) as feed:
            await k2trio.deliver(feed, sink)
    for stream, trades, fetched, first, last in sink.database.execute(ACCOUNT):
        print(f"{stream}: {trades} trades from {first} to {last}, {fetched} of them by REST")
    sink.database.close()


async def main(database: Path, seconds: float) -> None:
    await collect(database, seconds * 0.4)
    print(f"away for {seconds * 0.2:g} s", flush=True)
    await trio.sleep(seconds * 0.2)
    await collect(database, seconds * 0.4)


if __name__ == "__main__":
    parser = options(__doc__, seconds=20)
    parser.add_argument("--database", type=Path)
    add_faults(parser)
    given = parser.parse_args()
    with exchange(given.faults), TemporaryDirectory() as folder:
        trio.run(main, given.database or Path(folder) / "trades.db", given.seconds)

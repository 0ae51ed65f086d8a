"""A program that reads a feed in the world that is asked for, until it is told to stop.

``python consume.py asyncio folder``: it says by a file in the folder that it reads, ends when there
is one of the name ``stop`` and every stream has gone on since, and leaves there what it got. Its
settings are in the environment.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import trio

import k2trio

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

STREAMS = ["btcusdt@trade", "btcusdt@aggTrade"]


class Got:
    """What a program got: ids by stream, and whatever else there was."""

    def __init__(self, reads: Path, stop: Path) -> None:
        self.ids: dict[str, list[int]] = {name: [] for name in STREAMS}
        self.others: list[str] = []
        self.repaired = 0
        self._reads, self._stop = reads, stop
        self._stopped_at: float | None = None
        self._received = dict.fromkeys(STREAMS, 0.0)
        """When the newest live message of each stream came in: one that is held shows none."""

    def enough(self, items: Iterable[k2trio.Item]) -> bool:
        """Take items; whether it is time to stop."""
        self._reads.touch()
        for item in items:
            match item:
                case k2trio.Event(data=k2trio.Trade(trade_id=number)):
                    self.ids[item.stream].append(number)
                case k2trio.Event(data=k2trio.AggTrade(agg_id=number)):
                    self.ids[item.stream].append(number)
                case other:
                    self.others.append(repr(other))
            if isinstance(item, k2trio.Event):
                self.repaired += item.origin == "backfill"
                if item.origin == "live":  # what is repaired comes in just now, however old it is
                    self._received[item.stream] = item.received
        if self._stopped_at is None and self._stop.exists():
            self._stopped_at = time.time()
        return self._stopped_at is not None and min(self._received.values()) > self._stopped_at

    def said(self) -> str:
        return json.dumps({"ids": self.ids, "others": self.others, "repaired": self.repaired})


async def read(open_feed: Callable[..., Any], got: Got) -> None:
    """The same lines in Trio and in asyncio."""
    async with open_feed(STREAMS, log=False) as feed:
        async for event in feed:
            if got.enough([event]):
                break
        got.enough(feed.drain())


def read_in_a_thread(got: Got) -> None:
    with k2trio.sync.open_feed(STREAMS, log=False) as feed:
        for event in feed:
            if got.enough([event]):
                break
        got.enough(feed.drain())


def main(world: str, folder: Path) -> None:
    got = Got(folder / f"{world}.reads", folder / "stop")
    match world:
        case "trio":
            trio.run(read, k2trio.open_feed, got)
        case "asyncio":
            asyncio.run(read(k2trio.aio.open_feed, got), debug=False)  # it logs what is slow
        case "uvloop":
            import uvloop

            uvloop.run(read(k2trio.aio.open_feed, got), debug=False)
        case _:
            read_in_a_thread(got)
    (folder / f"{world}.json").write_text(got.said())


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))

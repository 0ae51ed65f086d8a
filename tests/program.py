"""The program, feed and sink, against a simulated venue: on a disk in memory, in virtual time."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

import msgspec
import trio
import zstandard
from disk import FOLDER, Disk
from world import START_MS, make_settings

from k2trio.client.books import FeedBooks
from k2trio.client.opening import open_feed
from k2trio.commands.outputs import remembered
from k2trio.commands.run import deliver_and_account
from k2trio.commands.sampling import Sampler
from k2trio.continuity.state import State
from k2trio.simulator import Exchange, Fault, FaultBoard, Market, MemoryNetwork, RestServer
from k2trio.sinks.fan_out import FanOut
from k2trio.sinks.jsonl import JsonLines
from k2trio.sinks.zst import ZstdLines

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    import pytest

    from k2trio.sinks.line_sink import LineSink

TRADES, AGGREGATES, BOOK = "btcusdt@trade", "btcusdt@aggTrade", "btcusdt@depth@100ms"
KEYS = {TRADES: ("t", "t"), AGGREGATES: ("a", "a"), BOOK: ("U", "u")}
"""Stream → where a payload has its first and its last id."""
STATE, OUTPUT, COVERAGE = "state.json", "output.jsonl", "coverage.json"
PACKED = "packed.jsonl.zst"


class Place:
    """One venue that outlives the programs that read it.

    :param monkeypatch: puts the disk in, and takes threads out: virtual time does not wait for
        them.
    :ivar clock_ahead_s: by how much the wall clock is wrong.
    :ivar packs: whether the program has a second output, of compressed lines.
    :ivar told: what was told of the samples of books.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch, faults: Sequence[Fault] = ()) -> None:
        board = FaultBoard(faults)
        self.network = MemoryNetwork(board)
        self.exchange = exchange = Exchange(
            "venue", Market(["BTCUSDT"], seed=1, rate=20), faults=board
        )
        self.network.add("venue.test", 1, exchange, "a")
        self.network.add_rest("venue.test", RestServer(exchange, "venue.rest"))
        self._monkeypatch = monkeypatch
        self.clock_ahead_s = 0.0
        self.packs = False
        self.told: list[tuple[str, dict[str, Any]]] = []

        async def run_sync(function: Any, *args: Any, **_: Any) -> Any:
            await trio.lowlevel.checkpoint()
            return function(*args)

        monkeypatch.setattr("trio.to_thread.run_sync", run_sync)

    def wall_clock(self) -> float:
        """Unix time, as the machine believes it to be."""
        return START_MS / 1000 + trio.current_time() + self.clock_ahead_s

    def tell(self, event: str, **context: Any) -> None:
        """The program's log."""
        self.told.append((event, context))

    async def run(self, disk: Disk, seconds: float, **values: Any) -> None:
        """The program, for so long; by default with a state file."""
        disk.install(self._monkeypatch)

        async def dial(endpoint: Any) -> trio.abc.Stream:
            return await self.network.dial(endpoint.host, endpoint.port)

        chosen = {"streams": [TRADES, AGGREGATES], "state": FOLDER / STATE, **values}
        settings = make_settings(
            ["wss://venue.test:1/stream"], rest_urls=["https://venue.test"], **chosen
        )
        sink: LineSink = JsonLines(FOLDER / OUTPUT, settings.rotation)
        if self.packs:
            sink = FanOut([sink, ZstdLines(FOLDER / PACKED, settings.rotation)])
        with sink:
            positions = await remembered(sink, settings, self.tell)
            async with open_feed(
                settings=settings,
                dial=dial,
                rng=random.Random(1),
                wall_clock=self.wall_clock,
                backfill_transport=self.network.rest_transport(),
                suspended=lambda: 0.0,
                sync=sink.sync,
                positions=positions,
            ) as feed:
                sampler = None
                if settings.book_levels:
                    sampler = Sampler(
                        sink,
                        FeedBooks(feed, self.wall_clock),
                        settings.book_levels,
                        settings.book_interval,
                        self.tell,
                        self.wall_clock,
                    )
                with trio.move_on_after(seconds):
                    await deliver_and_account(feed, sink, FOLDER / COVERAGE, sampler)


def rows(files: Mapping[str, bytes]) -> list[dict[str, Any]]:
    """The whole lines of the output and its numbered parts, in any order of these."""
    return [
        msgspec.json.decode(line)
        for name, content in files.items()
        if name.startswith(OUTPUT)
        for line in content[: content.rfind(b"\n") + 1].splitlines()
    ]


def unpacked(files: Mapping[str, bytes]) -> dict[str, bytes]:
    """The whole frames of the compressed output, and of its numbered parts, as plain ones."""
    plain: dict[str, bytes] = {}
    for name, data in files.items():
        if name.startswith(PACKED.partition(".")[0]):
            text = b""
            while data:
                reader = zstandard.ZstdDecompressor().decompressobj()
                part = reader.decompress(data)
                text, data = text + (part if reader.eof else b""), reader.unused_data
            plain[f"{OUTPUT}.{name}"] = text
    return plain


def ids(files: Mapping[str, bytes]) -> dict[str, list[int]]:
    """Stream → ids of its messages in the output, without those that gaps declare."""
    found: dict[str, list[int]] = {}
    for row in rows(files):
        if "data" in row and "U" not in row["data"]:
            found.setdefault(row["stream"], []).append(row["data"][KEYS[row["stream"]][0]])
    return found


def gaps(files: Mapping[str, bytes], stream: str = TRADES) -> list[tuple[int, int, str]]:
    """The gaps that the output declares."""
    return [
        (row["gap"]["first"], row["gap"]["last"], row["gap"]["reason"])
        for row in rows(files)
        if "gap" in row and row["stream"] == stream
    ]


def positions(files: Mapping[str, bytes]) -> dict[str, int]:
    """What the state file remembers, if there is one."""
    if STATE not in files:
        return {}
    state = msgspec.json.decode(files[STATE], type=State)
    return {row.stream: row.position for row in state.positions}


def missing(files: Mapping[str, bytes], stream: str = TRADES) -> list[tuple[int, int, str]]:
    """The ranges that the ledger lists as missing."""
    for entry in msgspec.json.decode(files[COVERAGE]):
        if entry["stream"] == stream:
            return [tuple(entry) for entry in entry["missing_ranges"]]
    return []


def lacking(found: Iterable[int], first: int, last: int) -> set[int]:
    """Of the ids from ``first`` to ``last``, those that are not there."""
    return set(range(first, last + 1)) - set(found)

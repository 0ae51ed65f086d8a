"""The power is cut: what the state remembers is on the disk, and a restart finds every message."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
import trio
from disk import FOLDER, Disk
from world import START_MS, make_settings

from k2trio.client.opening import open_feed
from k2trio.commands.run import deliver
from k2trio.continuity.state import State
from k2trio.simulator import Exchange, FaultBoard, Market, MemoryNetwork, RestServer
from k2trio.sinks.jsonl import JsonLines

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterable, Mapping

STREAMS = {"btcusdt@trade": "t", "btcusdt@aggTrade": "a"}
STATE, OUTPUT = "state.json", "output.jsonl"


class Place:
    """A simulated venue, and a program that writes what it brings to a disk in memory."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        board = FaultBoard(())
        self.network = MemoryNetwork(board)
        exchange = Exchange("venue", Market(["BTCUSDT"], seed=1, rate=20), faults=board)
        self.network.add("venue.test", 1, exchange, "a")
        self.network.add_rest("venue.test", RestServer(exchange))
        self._monkeypatch = monkeypatch

    async def run(self, disk: Disk, seconds: float, **values: Any) -> None:
        """The program, for so long."""
        disk.install(self._monkeypatch)

        async def dial(endpoint: Any) -> trio.abc.Stream:
            return await self.network.dial(endpoint.host, endpoint.port)

        settings = make_settings(
            ["wss://venue.test:1/stream"],
            streams=list(STREAMS),
            rest_urls=["https://venue.test"],
            state=FOLDER / STATE,
            **values,
        )
        with JsonLines(FOLDER / OUTPUT, settings.output_rotate_bytes) as sink:
            async with open_feed(
                settings=settings,
                dial=dial,
                rng=random.Random(1),
                wall_clock=lambda: START_MS / 1000 + trio.current_time(),
                backfill_transport=self.network.rest_transport(),
                suspended=lambda: 0.0,
                sync=sink.sync,
            ) as feed:
                with trio.move_on_after(seconds):
                    await deliver(feed, sink)


@pytest.fixture
async def place(monkeypatch: pytest.MonkeyPatch, autojump_clock: Any) -> AsyncGenerator[Place]:
    async def run_sync(function: Any, *args: Any, **_: Any) -> Any:
        await trio.lowlevel.checkpoint()  # virtual time does not wait for threads
        return function(*args)

    monkeypatch.setattr("trio.to_thread.run_sync", run_sync)
    made = Place(monkeypatch)
    async with trio.open_nursery() as nursery:
        await nursery.start(made.network.run)
        yield made
        nursery.cancel_scope.cancel()


def ids(files: Mapping[str, bytes]) -> dict[str, set[int]]:
    """Stream → ids in the whole lines of the output and its numbered parts."""
    found: dict[str, set[int]] = {stream: set() for stream in STREAMS}
    for name, content in files.items():
        if name.startswith(OUTPUT):
            for line in content[: content.rfind(b"\n") + 1].splitlines():
                row = msgspec.json.decode(line)
                found[row["stream"]].add(row["data"][STREAMS[row["stream"]]])
    return found


def positions(files: Mapping[str, bytes]) -> dict[str, int]:
    if STATE not in files:
        return {}
    state = msgspec.json.decode(files[STATE], type=State)
    return {row.stream: row.position for row in state.positions}


def live(disk: Disk) -> dict[str, bytes]:
    return {name: disk.read(name) for name in disk.names()}


def lacking(found: Iterable[int], first: int, last: int) -> set[int]:
    return set(range(first, last + 1)) - set(found)


@pytest.mark.parametrize("rotate_bytes", [0, 3000])
async def test_wherever_the_power_is_cut_the_state_speaks_only_of_what_is_on_the_disk(
    autojump_clock: Any, place: Place, rotate_bytes: int
) -> None:
    """Between any two writes, with whatever a disk may then have kept of what was not synced."""
    disk = Disk()
    rng = random.Random(1)
    seen: list[int] = []
    begins: dict[str, int] = {}

    def look() -> None:
        left = disk.cut(rng)
        if len(begins) < len(STREAMS):
            begins.update({stream: min(got) for stream, got in ids(live(disk)).items() if got})
        found = ids(left)
        for stream, position in positions(left).items():
            assert lacking(found[stream], begins[stream], position) == set(), disk.calls[-8:]
            seen.append(position)

    disk.changed = look
    await place.run(disk, 6.5, output_rotate_bytes=rotate_bytes)
    assert len(set(seen)) > 10
    parts = [name for name in disk.names() if name.startswith(OUTPUT)]
    assert (len(parts) > 5) == bool(rotate_bytes)


async def test_after_a_cut_of_power_a_restart_brings_what_it_took(
    autojump_clock: Any, place: Place
) -> None:
    rng = random.Random(2)
    for _ in range(20):
        disk = Disk()
        cuts: list[dict[str, bytes]] = []
        disk.changed = lambda disk=disk, cuts=cuts: cuts.append(disk.cut(rng))  # type: ignore[misc]
        await place.run(disk, rng.uniform(1, 6), output_rotate_bytes=20_000)
        left = cuts[rng.randrange(len(cuts) // 2, len(cuts))]
        stored = positions(left)
        again = Disk(left)
        await place.run(again, 5, output_rotate_bytes=20_000)
        found = ids(live(again))
        for stream in STREAMS:
            # Where nothing was stored yet, the second run begins with what is new then.
            new = found[stream] - ids(left)[stream]
            first = min(ids(live(disk))[stream]) if stream in stored else min(new)
            assert lacking(found[stream], first, max(found[stream])) == set()


async def test_the_order_is_output_then_state_then_its_name(
    autojump_clock: Any, place: Place
) -> None:
    disk = Disk()
    await place.run(disk, 5.5)
    calls = [(what, "aside" if name.endswith(".new") else name) for what, name in disk.calls]
    renames = [at for at, call in enumerate(calls) if call == ("rename", STATE)]
    assert len(renames) == 6
    # Before the first one the directory learns on the disk that there is an output.
    assert ("fsync", str(FOLDER)) in calls[: renames[0]]
    for at in renames:
        written = max(n for n in range(at) if calls[n] == ("write", OUTPUT))
        rest = [call for call in calls[written : at + 2] if call != ("fsync", str(FOLDER))]
        assert rest[1:] == [
            ("fsync", OUTPUT),
            ("create", "aside"),
            ("write", "aside"),
            ("fsync", "aside"),
            ("rename", STATE),
        ]
        assert calls[at + 1] == ("fsync", str(FOLDER))

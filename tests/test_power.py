"""The power is cut: what the state remembers is on the disk, and a restart finds every message."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

import pytest
import trio
from disk import FOLDER, Disk
from program import COVERAGE, OUTPUT, STATE, Place, gaps, ids, lacking, positions, unpacked

from k2trio.simulator import draw_schedule

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator


def named(files: dict[str, bytes], stream: str) -> list[int]:
    """The ids that gaps of the output declare."""
    return [at for first, last, _ in gaps(files, stream) for at in range(first, last + 1)]


@pytest.fixture
async def place(monkeypatch: pytest.MonkeyPatch, autojump_clock: Any) -> AsyncGenerator[Place]:
    made = Place(monkeypatch)
    async with trio.open_nursery() as nursery:
        await nursery.start(made.network.run)
        yield made
        nursery.cancel_scope.cancel()


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
        if len(begins) < 2:
            begins.update({stream: min(got) for stream, got in ids(disk.files()).items()})
        found = ids(left)
        for stream, position in positions(left).items():
            there = found.get(stream, [])
            assert lacking(there, begins[stream], position) == set(), disk.calls[-8:]
            seen.append(position)

    disk.changed = look
    await place.run(disk, 6.5, output_rotate_bytes=rotate_bytes)
    assert len(set(seen)) > 10
    parts = [name for name in disk.names() if name.startswith(OUTPUT)]
    assert (len(parts) > 5) == bool(rotate_bytes)


@pytest.mark.slow
@pytest.mark.parametrize("rotate_bytes", [0, 3000])
async def test_of_two_outputs_the_state_runs_ahead_of_neither(
    autojump_clock: Any, place: Place, rotate_bytes: int
) -> None:
    """One of lines, one of frames, and after each cut a restart that finds what it took."""
    rng = random.Random(3)
    place.packs = True
    began: dict[str, int] = {}
    files: dict[str, bytes] = {}
    for _ in range(12):
        disk = Disk(files)
        cuts: list[dict[str, bytes]] = []
        disk.changed = lambda disk=disk, cuts=cuts: cuts.append(disk.cut(rng))  # type: ignore[misc]
        await place.run(disk, rng.uniform(2, 5), output_rotate_bytes=rotate_bytes)
        files = rng.choice(cuts)
        for left in (files, *cuts[:: len(cuts) // 20]):
            for found in (ids(left), ids(unpacked(left))):
                for stream, position in positions(left).items():
                    first = began.setdefault(stream, min(found[stream], default=position + 1))
                    assert lacking(found.get(stream, []), first, position) == set()
    assert len(began) == 2


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
        found = ids(again.files())
        for stream in found:
            # Where nothing was stored yet, the second run begins with what is new then.
            new = set(found[stream]) - set(ids(left).get(stream, ()))
            first = min(ids(disk.files())[stream]) if stream in stored else min(new)
            assert lacking(found[stream], first, max(found[stream])) == set()


@pytest.mark.parametrize("rotate_bytes", [0, 3000])
@pytest.mark.parametrize(("packs", "often"), [(False, 7), (True, 1)])
async def test_kills_lose_and_double_nothing(
    autojump_clock: Any, place: Place, packs: bool, often: int, rotate_bytes: int
) -> None:
    """After a kill between any two writes the files are there as they were written, to the end."""
    rng = random.Random(4)
    place.packs = packs
    files: dict[str, bytes] = {}
    for _ in range(12):
        disk = Disk(files)
        left: list[dict[str, bytes]] = []
        disk.changed = lambda disk=disk, left=left: left.append(disk.files())  # type: ignore[misc]
        await place.run(disk, rng.uniform(2, 5), output_rotate_bytes=rotate_bytes)
        files = rng.choice(left[len(left) // 2 :])
        for found in (ids(files), ids(unpacked(files))):
            assert len(found) == 2 or (found == {} and not packs)
            for stream, numbers in found.items():
                assert len(numbers) == len(set(numbers)), stream
                assert lacking(numbers, min(numbers), max(numbers)) == set()
    # What a frame was to hold is in no file: then the lines alone are ahead of the state.
    assert [event for event, _ in place.told].count("resumed_behind_state") >= often


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(6))
async def test_cuts_of_power_amid_the_exchanges_own_faults_lose_nothing_unnamed(
    autojump_clock: Any, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    """Every run ends with a cut, at any write; the next one has what the disk then kept.

    A stream's own gaps name what it lost; what nobody declares must be in one file or the other.
    """
    rng = random.Random(seed)
    faults = draw_schedule(
        rng, ["a"], 400, mean_interval_s=5, max_duration_s=5, rest=["venue.rest"]
    )
    place = Place(monkeypatch, faults)
    files: dict[str, bytes] = {}
    began: dict[str, int] = {}
    async with trio.open_nursery() as nursery:
        await nursery.start(place.network.run)
        for _ in range(12):
            disk = Disk(files)
            cuts: list[dict[str, bytes]] = []
            disk.changed = lambda disk=disk, cuts=cuts: cuts.append(disk.cut(rng))  # type: ignore[misc]
            await place.run(disk, rng.uniform(2, 20), max_reconnect_attempts=0)
            files = rng.choice(cuts)
            found = ids(files)
            for stream, position in positions(files).items():
                first = began.setdefault(stream, min(found[stream], default=position + 1))
                there = [*found[stream], *named(files, stream)]
                assert lacking(there, first, position) == set(), faults
        nursery.cancel_scope.cancel()
    assert len(began) == 2


async def test_the_order_is_output_then_state_then_its_name(
    autojump_clock: Any, place: Place
) -> None:
    disk = Disk()
    await place.run(disk, 5.5)
    calls = [
        (what, "aside" if name.endswith(".new") else name)
        for what, name in disk.calls
        if COVERAGE not in name
    ]
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

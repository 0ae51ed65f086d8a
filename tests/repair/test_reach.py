"""Whether a venue's clock is this machine's, as far as answers over a network can tell."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import trio
from rest import HOSTS, VENUE, Rest, status

from k2trio.repair.hosts import BackfillError
from k2trio.repair.reach import ClockOffset, clock_offset
from k2trio.settings import Settings

if TYPE_CHECKING:
    import httpx2

NOW_S = 1_800_000_000.0


def settings(**values: Any) -> Settings:
    return Settings(websocket_url="wss://v.test:9/stream", rest_urls=HOSTS[:1], **values)


class Venue:
    """Answers with its time, half-way through a round trip of its own length each time."""

    def __init__(self, ahead_s: float, *round_trips_s: float, finest: bool = True) -> None:
        self.ahead_s = ahead_s
        self.round_trips_s = iter(round_trips_s)
        self.finest = finest
        self.asked_for: set[str] = set()

    async def __call__(self, request: httpx2.Request) -> Any:
        half_s = next(self.round_trips_s) / 2
        await trio.sleep(half_s)
        self.asked_for.add(request.headers.get("X-MBX-TIME-UNIT", ""))
        exact = NOW_S + trio.current_time() - self.ahead_s
        await trio.sleep(half_s)
        return {"serverTime": int(exact * (1_000_000 if self.finest else 1_000))}


async def offset(venue: Any, **values: Any) -> ClockOffset:
    return await clock_offset(
        VENUE,
        settings(**values),
        transport=Rest(venue),
        wall_clock=lambda: NOW_S + trio.current_time(),
    )


@pytest.mark.parametrize("ahead_s", [0.0, 0.25, -3.0])
@pytest.mark.parametrize("unit", ["ms", "us"])
async def test_the_quickest_answer_tells_how_far_the_clocks_are_apart(
    autojump_clock: Any, ahead_s: float, unit: str
) -> None:
    venue = Venue(ahead_s, 0.5, 0.1, 0.02, 0.1, 0.3)
    found = await offset(venue, time_unit=unit)
    assert found.ahead_s == pytest.approx(ahead_s, abs=1e-5)
    assert found.within_s == pytest.approx(0.01)
    assert venue.asked_for == {"MICROSECOND"}


async def test_a_venue_that_tells_milliseconds_is_understood(autojump_clock: Any) -> None:
    found = await offset(Venue(0.25, *[0.02] * 5, finest=False))
    assert found.ahead_s == pytest.approx(0.25, abs=0.0011)


async def test_without_an_answer_nothing_is_known(autojump_clock: Any) -> None:
    with pytest.raises(BackfillError):
        await offset(lambda _: status(503))

"""Two lines that do not say the same: the younger one's connection is dropped, loudly."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import trio
from world import SUBJECT, World, fault, name, open_world

from k2trio.client.tolerance import DISPUTED_LIMIT
from k2trio.continuity.items import Gap
from k2trio.market.payloads import Event
from k2trio.observe import transitions as on
from k2trio.simulator import Market, SymbolSpec
from k2trio.simulator.market.spec import SCALE

if TYPE_CHECKING:
    from collections.abc import Callable

SECONDS = 60.0
LATER = [fault(0, "upgrade_silent", "b", duration=1)]
"""Line 0a is the older one."""


def other_numbering(rate: float) -> Market:
    return Market(["BTCUSDT", "ETHUSDT"], seed=99, rate=rate)


def other_trades(rate: float) -> Market:
    """The same ids at the same times, at half the price."""
    specs = [SymbolSpec(symbol, 30_000 * SCALE) for symbol in ("BTCUSDT", "ETHUSDT")]
    return Market(specs, seed=1, rate=rate)


def bought(world: World) -> list[int]:
    return [item.data.trade_id for _, item in world.items if isinstance(item, Event)]


def prices(world: World) -> list[float]:
    return [float(item.data.price) for _, item in world.items if isinstance(item, Event)]


@pytest.mark.parametrize(
    ("make", "error_type"),
    [(other_numbering, "stray"), (other_trades, "contradiction")],
)
async def test_a_line_that_disagrees_is_dropped_before_its_word_counts(
    autojump_clock: Any, make: Callable[[float], Market], error_type: str
) -> None:
    settings = {"redundancy": 2, "rest_urls": ()}
    strangers = {"b": make(5.0)}
    async with open_world(LATER, strangers=strangers, rate=5.0, settings=settings) as world:
        await trio.sleep(SECONDS)
        status = world.feed.status()
    odd = [what for _, what in world.of(on.MalformedMessage)]
    assert {(what.endpoint, what.error_type) for what in odd} == {(name("b"), error_type)}
    assert len(odd) >= DISPUTED_LIMIT
    lost = [what for _, what in world.of(on.ConnectionLost)]
    assert lost
    assert {(what.endpoint, what.error_type) for what in lost} == {
        (name("b"), "protocol_violation")
    }
    assert [item for _, item in world.items if isinstance(item, Gap)] == []
    ((first, last),) = world.exchange.truth.ranges(SUBJECT)
    got = bought(world)
    assert got == list(range(got[0], last + 1))
    assert first <= got[0]
    # Which of two trades is the true one shows when the second one comes, and not before.
    wrong = [price for price in prices(world) if price < 45_000]
    assert len(wrong) <= (DISPUTED_LIMIT * len(lost) if error_type == "contradiction" else 0)
    assert len(wrong) < len(got) / 10
    assert status.connected

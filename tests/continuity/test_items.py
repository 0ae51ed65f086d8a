"""What stands for missing messages says what it promises, whatever the wall clock did."""

from __future__ import annotations

from k2trio.continuity.arbiter import Arbiter
from k2trio.continuity.items import Outage
from k2trio.market.payloads import BookTicker, Event

TICKER = "btcusdt@bookTicker"


def quote(number: int, received: float) -> Event:
    data = BookTicker(number, "BTCUSDT", "1", "1", "2", "1")
    return Event(data, TICKER, "v", received, b"{}")


def test_an_outage_in_which_the_wall_clock_was_set_back_does_not_end_before_it_began() -> None:
    arbiter = Arbiter(10)
    arbiter.offer("v", [quote(1, 1000.0)], 0.0)
    arbiter.interrupt("v", [TICKER])
    outage, _ = arbiter.offer("v", [quote(2, 400.0)], 5.0).items
    assert outage == Outage("v", TICKER, 1000.0, 1000.0)

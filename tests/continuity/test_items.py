"""What stands for missing messages says what it promises, whatever the wall clock did."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from k2trio.continuity.arbiter import Arbiter
from k2trio.continuity.items import Gap, Outage
from k2trio.market.payloads import BookTicker, Event, Trade

if TYPE_CHECKING:
    from k2trio.continuity.items import Item

TICKER, TRADES = "btcusdt@bookTicker", "btcusdt@trade"


def quote(number: int, received: float) -> Event:
    data = BookTicker(number, "BTCUSDT", "1", "1", "2", "1")
    return Event(data, TICKER, "v", received, b"{}")


def test_an_outage_in_which_the_wall_clock_was_set_back_does_not_end_before_it_began() -> None:
    arbiter = Arbiter(10)
    arbiter.offer("v", [quote(1, 1000.0)], 0.0)
    arbiter.interrupt("v", [TICKER])
    outage, _ = arbiter.offer("v", [quote(2, 400.0)], 5.0).items
    assert outage == Outage("v", TICKER, 1000.0, 1000.0)


def trade(number: int, received: float, origin: Any = "live") -> Event:
    data = Trade(number, "BTCUSDT", number, "1", "1", number, False)
    return Event(data, TRADES, "v", received, b"{}", origin)


def test_a_gap_within_what_a_repair_brought_has_the_times_of_the_messages_around_both() -> None:
    arbiter = Arbiter(10)
    arbiter.offer("v", [trade(1, 100.0)], 0.0)
    arbiter.offer("v", [trade(9, 101.0)], 1.0)
    out: list[Item] = []
    track = arbiter.track("v", TRADES)
    track.repair(trade(3, 109.0, "backfill"), out)
    track.repair(trade(4, 109.0, "backfill"), out)
    track.abandon("not_repaired", out)
    assert [item for item in out if isinstance(item, Gap)] == [
        Gap("v", TRADES, 2, 2, "venue_missing", 100.0, 101.0),
        Gap("v", TRADES, 5, 8, "not_repaired", 100.0, 101.0),
    ]


def test_a_gap_right_after_a_restart_has_no_message_before() -> None:
    arbiter = Arbiter(10)
    arbiter.track("v", TRADES).resume(1, 3)
    gap, *_ = arbiter.offer("v", [trade(9, 101.0)], 1.0).items
    assert gap == Gap("v", TRADES, 2, 5, "resume_limit", None, 101.0)


def test_a_gap_in_which_the_wall_clock_was_set_back_does_not_end_before_it_began() -> None:
    assert Gap("v", TRADES, 1, 2, "jump", 1000.0, 400.0).until == 1000.0

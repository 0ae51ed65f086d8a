"""Streams that bring many symbols: each symbol's last message tells what is old or double."""

from __future__ import annotations

from typing import TYPE_CHECKING

from numbered import NOW_MS, NOW_S

from k2trio.continuity import medley
from k2trio.continuity.arbiter import Arbiter
from k2trio.continuity.items import Outage
from k2trio.market.futures_payloads import FuturesBookTicker
from k2trio.market.payloads import Event

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pytest

VENUE, STREAM = "v-usdm", "!bookTicker"


def quote(symbol: str, number: int, at: float, ahead_s: float = 0.0) -> Event:
    """Received so many seconds after the beginning, by a clock that lies behind by ``ahead_s``."""
    time = NOW_MS + round((at + ahead_s) * 1000)
    data = FuturesBookTicker(number, symbol, "1", "1", "2", "1", time, time)
    return Event(data, STREAM, VENUE, NOW_S + at, b"")


class Bench:
    """An arbiter that is offered one message at a time."""

    def __init__(self) -> None:
        self.arbiter = Arbiter(100)

    def passed(self, *events: Event) -> Sequence[Event]:
        """Those that are delivered."""
        return [event for event in events if event in self.arbiter.offer(VENUE, [event], 0.0).items]

    @property
    def duplicates(self) -> int:
        return self.arbiter.track(VENUE, STREAM).duplicates


def test_each_symbol_has_an_order_of_its_own() -> None:
    bench = Bench()
    events = [quote("BTC", 50, 1), quote("ETH", 7, 1), quote("BTC", 51, 2), quote("ETH", 8, 2)]
    assert bench.passed(*events) == events
    assert bench.passed(*events) == []
    assert bench.duplicates == 4


def test_an_interruption_is_told_of_the_stream_and_its_venue() -> None:
    bench = Bench()
    before, after = quote("BTC", 50, 1), quote("ETH", 7, 9)
    bench.passed(before)
    bench.arbiter.interrupt(VENUE, [STREAM])
    items = bench.arbiter.offer(VENUE, [after], 0.0).items
    assert items == [Outage(VENUE, STREAM, before.received, after.received), after]


def test_an_older_message_of_a_symbol_is_a_late_copy() -> None:
    bench = Bench()
    first, second = quote("BTC", 50, 1), quote("BTC", 51, 2)
    assert bench.passed(first, second, first) == [first, second]


def test_messages_of_one_millisecond_are_told_apart_by_their_ids() -> None:
    events = [quote("BTC", 50, 1), quote("BTC", 51, 1)]
    assert Bench().passed(*events) == events


def test_ids_of_a_symbol_that_began_anew_are_told_by_their_time() -> None:
    bench = Bench()
    events = [quote("BTC", 50, 1), quote("BTC", 3, 2), quote("BTC", 4, 3)]
    assert bench.passed(*events) == events
    assert bench.passed(quote("BTC", 4, 3)) == []


def test_where_the_stream_is_the_highest_id_of_all_symbols_tells() -> None:
    bench = Bench()
    bench.passed(quote("BTC", 50, 1), quote("ETH", 7, 1))
    track = bench.arbiter.track(VENUE, STREAM)
    assert (track.coverage().first, track.position) == (50, 50)
    bench.passed(quote("ETH", 60, 2))
    assert track.position == 60


def test_by_a_time_that_is_not_believed_nothing_is_old() -> None:
    bench = Bench()
    absurd, usual = quote("BTC", 9000, 1, ahead_s=3600), quote("BTC", 50, 1)
    assert bench.passed(absurd, usual, absurd) == [absurd, usual]


def test_symbols_are_followed_up_to_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(medley, "MAX_SYMBOLS", 2)
    bench = Bench()
    events = [quote(symbol, 1, 1) for symbol in ("BTC", "ETH", "XRP")]
    assert bench.passed(*events[:2], *events[:2], events[2]) == events
    assert bench.passed(*events[1:]) == []
    assert bench.passed(events[0]) == [events[0]], "the one that was new first is forgotten"


def test_messages_ahead_of_the_clock_are_remembered_up_to_a_bound(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(medley, "MAX_AHEAD", 2)
    bench = Bench()
    events = [quote("BTC", number, 1, ahead_s=3600) for number in (1, 2, 3)]
    assert bench.passed(*events[:2], *events[:2], events[2]) == events
    assert bench.passed(*events[1:]) == []
    assert bench.passed(events[0]) == [events[0]]

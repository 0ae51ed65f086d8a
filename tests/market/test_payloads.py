"""What payloads promise beside their fields."""

from __future__ import annotations

from k2trio.market.keys import key_getters, time_getter
from k2trio.market.payloads import DepthSnapshot, Level
from k2trio.market.streams import Kind


def test_snapshots_are_the_same_whatever_was_asked_for() -> None:
    bids = [Level("1", "2")]
    asked, unknown = DepthSnapshot(7, bids, [], asked=5), DepthSnapshot(7, bids, [])
    assert asked == unknown
    assert {asked, unknown} == {asked}
    assert hash(asked) != hash(DepthSnapshot(8, bids, []))


def test_an_empty_array_is_older_than_anything() -> None:
    for get in (*key_getters(Kind.ALL_MINI_TICKERS), time_getter(Kind.ALL_MINI_TICKERS)):
        key = get([])
        assert key is not None
        assert key < 0

"""The order of what was delivered, and whose it is."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

from k2trio.continuity.items import Gap, Outage
from k2trio.continuity.klines import KlineTrack
from k2trio.market.keys import key_getters
from k2trio.market.payloads import Event
from k2trio.market.streams import parse_stream

from ..violation import demand

if TYPE_CHECKING:
    from k2trio.simulator import Exchange

    from ..run import Run

SAMPLED = 0.02
"""Share of the messages whose payload is compared, too."""


def every_id_once(run: Run) -> None:
    """1: delivered, in order = emitted - declared; no duplicates."""
    assert run.feed is not None
    expected: dict[tuple[str, str], int] = {}
    for item in run.items:
        if isinstance(item, Outage):
            continue
        track = run.feed._arbiter.track(item.venue, item.stream)
        key = item.venue, item.stream
        if isinstance(track, KlineTrack):
            _check_kline(item, track, expected, key)
            continue
        if isinstance(item, Gap):
            first, last = item.first, item.last
        elif item.origin == "snapshot":
            continue
        else:
            first, last = track.first_of(item.data), track.last_of(item.data)
        if not track.contiguous:
            demand(last >= expected.get(key, last), 1, f"{key} went back to {last}")
            expected[key] = last + 1
            continue
        due = expected.get(key, first)
        # A diff that joins a snapshot may begin before it; nothing else may.
        joins = track.stream.kind == "depth" and first <= due <= last
        demand(first == due or joins, 1, f"{key}: expected {due}, got {item}")
        expected[key] = last + 1


def _check_kline(
    item: Event | Gap, track: KlineTrack, expected: dict[tuple[str, str], int], key: tuple[str, str]
) -> None:
    if isinstance(item, Gap):
        due = expected.get(key, item.first)
        demand(item.first == due, 1, f"{key}: expected the bar of {due}, got {item}")
        expected[key] = track._after(item.last)
        return
    bar = item.data.bar
    due = expected.get(key, bar.open_time)
    demand(bar.open_time == due, 1, f"{key}: expected the bar of {due}, got {bar}")
    expected[key] = track._after(bar.open_time) if bar.closed else bar.open_time


def venues_are_kept_apart(run: Run) -> None:
    """2: no message of one venue is judged by another's ids."""
    sampled = random.Random(run.plan.seed)
    ranges = {
        (f"{venue}.test", stream): exchange.truth.ranges(stream)
        for venue, exchange in run.exchanges.items()
        for stream in run.plan.streams
        if stream.endswith(("@trade", "@aggTrade"))
    }
    for item in run.items:
        key = item.venue, item.stream
        if not isinstance(item, Event) or key not in ranges:
            continue
        first_of, last_of = key_getters(parse_stream(item.stream).kind)
        first, last = first_of(item.data), last_of(item.data)
        known = any(low <= first and last <= high for low, high in ranges[key])
        demand(known, 2, f"{key}: {first} was never emitted there")
        if sampled.random() < SAMPLED:
            _check_payload(run.exchanges[item.venue.removesuffix(".test")], item, last)


def _check_payload(exchange: Exchange, event: Event, last: int) -> None:
    true = exchange.truth.payload(event.stream, last)
    if true is None:
        return
    if event.origin == "live":
        demand(event.raw == true, 2, f"payload of {event.stream} {last} differs: {event.raw!r}")
    else:
        price = f'"p":"{event.data.price}"'.encode()
        demand(price in true, 2, f"repaired {event.stream} {last} has another price")

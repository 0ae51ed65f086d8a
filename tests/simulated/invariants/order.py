"""The order of what was delivered, and whose it is."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import TYPE_CHECKING

from k2trio.continuity.items import Gap, Outage, VenueChanged
from k2trio.market.keys import key_getters
from k2trio.market.payloads import Event
from k2trio.market.streams import Kind, Stream, any_stream, stream_of

from ..violation import demand

if TYPE_CHECKING:
    from k2trio.continuity.items import Item

    from ..run import Run

SAMPLED = 0.02
"""Share of the messages whose payload is compared, too."""


@dataclass
class _Place:
    """Where the sequence of one stream of one venue is.

    :ivar due: the key that comes next; None at the beginning, and where numbers begin anew.
    :ivar shared: the id of which the last gap said that two have it.
    """

    stream: Stream
    due: int | None = None
    before: Event | None = None
    shared: int | None = None

    def __post_init__(self) -> None:
        self.first_of, self.last_of = key_getters(self.stream.kind, self.stream.product)


def every_id_once(run: Run) -> None:
    """1: delivered, in order = emitted - declared; no duplicates."""
    places: dict[tuple[str, str], _Place] = {}
    for item in run.items:
        key = item.venue, item.stream
        place = places.get(key)
        if place is None:
            place = places[key] = _Place(stream_of(item.venue, item.stream))
        if place.stream.kind is Kind.KLINE:
            continue  # see `bars.py`: the exchange has its own list of them
        if isinstance(item, Event) and item.origin == "snapshot":
            continue
        if place.stream.order.rule.proves:
            _check_next(run, place, item)
        elif isinstance(item, Event):
            last = place.last_of(item.data)
            demand(place.due is None or last >= place.due, 1, f"{key} went back to {last}")
            place.due = last + 1
        elif isinstance(item, Outage):
            place.due = None  # what an outage hides may have been a new numbering


def _check_next(run: Run, place: _Place, item: Item) -> None:
    if isinstance(item, Outage | VenueChanged):
        return
    if isinstance(item, Gap):
        first, last = item.first, item.last
    else:
        first, last = place.first_of(item.data), place.last_of(item.data)
    due = first if place.due is None else place.due
    # A diff that joins a snapshot may begin before it; nothing else may.
    joins = place.stream.kind is Kind.DEPTH and first <= due <= last
    # An id that the exchange gave to two trades comes twice, or once and as a gap.
    again = first == due - 1
    shared = again and first in run.truth(item.venue).shared_ids(item.stream)
    # One message may have been given the next one's id, by a fault; who could know?
    shared |= again and run.is_absurd(item.venue, item.stream, first)
    shared |= first == place.shared  # what has its id in common with it was named just before
    fits = first == due or joins or shared
    demand(fits, 1, f"{item.venue} {item.stream}: expected {due}, got {item}")
    if isinstance(item, Event):
        twice = place.before is not None and item.data == place.before.data
        demand(not twice, 1, f"twice: {item}")
        place.before = item
    if isinstance(item, Gap):
        place.shared = last if item.reason == "shared_id" else None
    renumbered = isinstance(item, Gap) and item.reason == "reset"
    place.due = None if renumbered else last + 1


def venues_are_kept_apart(run: Run) -> None:
    """2: no message of one venue is judged by another's ids."""
    sampled = random.Random(run.plan.seed)
    ranges = {
        (run.name_of(venue), stream): exchange.truth.ranges(stream)
        for venue, exchange in run.exchanges.items()
        for stream in run.plan.known_streams
        if any_stream(stream).kind in (Kind.TRADE, Kind.AGG_TRADE)
    }
    at: dict[str, str] = {}
    """Stream → the venue that it is at."""
    for item in run.items:
        key = item.venue, item.stream
        if isinstance(item, VenueChanged):
            demand(at[item.stream] == item.previous != item.venue, 2, f"there was none: {item}")
            at[item.stream] = item.venue
        if not isinstance(item, Event):
            continue
        told = at.setdefault(item.stream, item.venue)
        demand(told == item.venue, 2, f"{item.stream}: from {told} to {item.venue}, and not told")
        if key not in ranges:
            continue
        stream = stream_of(item.venue, item.stream)
        first_of, last_of = key_getters(stream.kind, stream.product)
        first, last = first_of(item.data), last_of(item.data)
        known = any(low <= first and last <= high for low, high in ranges[key])
        absurd = run.is_absurd(item.venue, item.stream, last)
        demand(known or absurd, 2, f"{key}: {first} was never emitted there")
        if sampled.random() < SAMPLED and known and not run.plan.may_repeat_ids:
            _check_payload(run, item, last)


def _check_payload(run: Run, event: Event, last: int) -> None:
    unit = 1000 // run.settings.unit.per_ms
    true = run.truth(event.venue).payload(event.stream, last, unit)
    if true is None:
        return
    if event.origin == "live" and run.fine(event.venue):
        demand(event.raw == true, 2, f"payload of {event.stream} {last} differs: {event.raw!r}")
    else:
        price = f'"p":"{event.data.price}"'.encode()
        demand(price in true, 2, f"repaired {event.stream} {last} has another price")

"""What was sent, as the exchange knows it, is delivered or named."""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections import defaultdict
from itertools import pairwise, zip_longest
from typing import TYPE_CHECKING, Any, TypeGuard

from k2trio.continuity.items import Gap, Outage, VenueChanged
from k2trio.continuity.numbering import COPY_LAG_S
from k2trio.market.keys import is_timeless, key_getters
from k2trio.market.payloads import Event
from k2trio.market.streams import Kind, Silence, Stream, parse_stream, stream_of
from k2trio.repair.staleness import RARE_MESSAGES, RHYTHM_FACTOR

from ..run import arrival
from ..violation import demand
from .bars import check_bars

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from k2trio.continuity.items import Item
    from k2trio.simulator.market.message import Message

    from ..plan import Plan
    from ..run import Run

Span = tuple[int, int]
"""First and last of ids in a row."""

NOTICED_S = 120.0
"""A silence of one stream of this length (times ``Plan.pace``) is noticed, and named."""
_LEAPS = frozenset({"reset", "jump"})
"""Gaps that name a time rather than ids: ids may have gone up and down in it more than once."""
MOMENT_S = 1.0
"""A message may have been under way for so long."""


History = tuple[list[float], list[int]]
"""When ids of a stream were sent, as far as the exchange remembers; both grow."""


def what_was_sent_is_delivered_or_named(run: Run) -> None:
    """16: what was sent is delivered or named, judged at the exchange, for every kind."""
    of_stream: dict[tuple[str, str], list[tuple[Item, float]]] = defaultdict(list)
    for item, at in zip(run.items, run.times, strict=True):
        of_stream[item.venue, item.stream].append((item, at))
    for (venue, stream), timed in of_stream.items():
        items = [item for item, _ in timed]
        parsed = stream_of(venue, stream)
        if parsed.kind is Kind.KLINE:
            check_bars(run, venue, stream, items)
        elif parsed.order.rule.proves:
            _check_ids(run, venue, stream, timed)
            for shared in run.truth(venue).shared_ids(stream):
                _check_shared(stream, shared, items)
        elif not run.plan.slow_consumer:
            # What a connection has unread when it is rotated away is not named yet.
            _check_times(run, venue, stream, timed)


# -- kinds with ids


def _check_ids(run: Run, venue: str, stream: str, timed: Sequence[tuple[Item, float]]) -> None:
    history, truth = _history(run, venue, stream), run.truth(venue)
    spans = _spans(timed, stream_of(venue, stream), history, truth.renumbered)
    # Whether the feed keeps up is another invariant.
    sent = _begun_by(timed[-1][1], truth.ranges(stream), truth.renumbered, history)
    # Nor are numberings that had ended before the first message came.
    earlier = sum(when < timed[0][1] for when in truth.renumbered)
    while earlier > 0 and len(sent) > 1:
        earlier -= sent[1][0] <= sent[0][1]
        del sent[0]
    lost = _lost(sent, spans)
    if any(_names_a_time(item) for item, _ in timed):
        # At the edges of a numbering ids name nothing; times do, if the feed was away just then.
        away = _sent_in_outages(run, history, timed)
        lost = [one for one in lost if not _at_edge(one, sent) and not away.issuperset(_ids(one))]
        if _renumbered_in_outage(run, truth.renumbered, timed):
            # Of what it sent before it began anew, the exchange has forgotten when that was, and of
            # what it sent long ago, too.
            ends, begins = {last for _, last in sent[:-1]}, {first for first, _ in sent[1:]}
            lost = [one for one in lost if one[1] not in ends and one[0] not in begins]
    demand(not lost, 16, f"{venue} {stream}: sent, and neither delivered nor named: {lost[:3]}")


def _begun_by(
    at: float, sent: Sequence[Span], renumbered: Iterable[float], history: History
) -> list[Span]:
    """The ranges that began until then. Each new numbering began lower than the one before ended;
    what was sent before one, the exchange has forgotten, but when they began it knows.
    """
    remembers = history[0][:1] <= [at]
    left, place = list[Span](), 0
    for first, last in sent:
        # Its first id may be one of several of an update, of which the last one is remembered.
        found = next(
            (n for n in range(place, len(history[1])) if first <= history[1][n] <= last), -1
        )
        if left and remembers and found >= 0 and history[0][found] > at:
            break
        left.append((first, last))
        place = max(place, found)
    later = sum(when > at for when in renumbered)
    later -= sum(first <= before for (_, before), (first, _) in pairwise(sent[len(left) - 1 :]))
    while later > 0 and len(left) > 1:
        later -= left[-1][0] <= left[-2][1]
        left.pop()
    return left


def _names_a_time(item: Item) -> TypeGuard[Gap | Outage]:
    """Whether it stands for all that was sent in a time, with whatever ids."""
    return isinstance(item, Outage) or (isinstance(item, Gap) and item.reason in _LEAPS)


def _ids(span: Span) -> range:
    return range(span[0], span[1] + 1)


def _sent_in_outages(run: Run, history: History, timed: Sequence[tuple[Item, float]]) -> set[int]:
    """Ids of messages that were sent within the outages that the feed told of."""
    times, ids = history
    away: set[int] = set()
    for outage, told_at in timed:
        if isinstance(outage, Outage):
            since, until = (arrival(run.plan, at, told_at) for at in (outage.since, outage.until))
            places = slice(bisect_right(times, since - MOMENT_S), bisect_right(times, until))
            away.update(ids[places])
    return away


def _renumbered_in_outage(
    run: Run, renumbered: Iterable[float], timed: Sequence[tuple[Item, float]]
) -> bool:
    """Whether ids began anew in a time that the feed told of."""
    spans = [
        (arrival(run.plan, item.since, told_at), arrival(run.plan, item.until, told_at))
        for item, told_at in timed
        if _names_a_time(item)
        if item.since is not None and item.until is not None
    ]
    return any(since <= at <= until for at in renumbered for since, until in spans)


def _history(run: Run, venue: str, stream: str) -> History:
    start_us = run.exchange(venue).market.start_us
    sent = run.truth(venue).sent_ids(stream)
    return [(time_us - start_us) / 1e6 for time_us, _ in sent], [last for _, last in sent]


def _spans(
    timed: Sequence[tuple[Item, float]],
    stream: Stream,
    history: History,
    renumbered: Iterable[float],
) -> list[Span]:
    """Ids that were delivered or named, as runs in the order of delivery.

    What a gap names before it is sent, by an id that was absurd, is not named by it. And where ids
    begin anew a gap's id is a place only, unless what was held behind that gap follows it.
    """
    numberings = _Numberings(history, renumbered)
    first_of, last_of = key_getters(stream.kind, stream.product)
    spans: list[Span] = []
    followers = [item for item, _ in timed[1:]]
    for (item, at), follower in zip_longest(timed, followers):
        if isinstance(item, Outage | VenueChanged):
            continue
        if isinstance(item, Event) and item.origin == "snapshot":
            continue
        if isinstance(item, Gap):
            if item.reason == "reset" and not _is_followed(item, follower, first_of):
                continue
            first, last = item.first, item.last
            # A book as REST has it is ahead of its stream, and of the newest numbering.
            if item.reason != "snapshot":
                last = min(last, numberings.reach(first, at))
            if last < first:
                continue
        else:
            first, last = first_of(item.data), last_of(item.data)
        if spans and spans[-1][0] <= first <= spans[-1][1] + 1:
            spans[-1] = spans[-1][0], max(last, spans[-1][1])
        else:
            spans.append((first, last))
    return spans


class _Numberings:
    """The numberings of a stream, as far as the exchange remembers what it sent.

    :param renumbered: when ids began anew.
    """

    def __init__(self, history: History, renumbered: Iterable[float]) -> None:
        self._times, self._ids = history
        falls = (n for n, (one, other) in enumerate(pairwise(self._ids), 1) if other < one)
        self._starts = [0, *falls]
        self._forgets = any(when < (self._times or [0.0])[0] for when in renumbered)

    def reach(self, first: int, at: float) -> float:
        """The highest id sent until then in the numbering of a gap that begins with ``first``.

        A consumer that is slow reads a gap long after it was declared, when ids have begun anew, so
        it need not be the numbering of that time. Infinite, if the exchange has forgotten it.
        """
        place = bisect_right(self._times, at)
        if not 0 < place < len(self._ids):
            return math.inf
        end = place
        for start in reversed(self._starts[: bisect_left(self._starts, place)]):
            if self._ids[start] <= first <= self._ids[end - 1] + 1:
                return self._ids[end - 1]
            end = start
        return math.inf if self._forgets else self._ids[place - 1]


def _is_followed(gap: Gap, item: Item | None, first_of: Callable[[Any], int]) -> bool:
    """Whether the message after a gap goes on where that ends."""
    live = isinstance(item, Event) and item.origin != "snapshot"
    return live and first_of(item.data) == gap.last + 1


def _lost(sent: Sequence[Span], spans: Sequence[Span]) -> list[Span]:
    """What no span has, but for what was sent before the first message and after the last."""
    lost: list[Span] = []
    begun = False
    for first, last in sent:
        inside = [span for span in spans if span[0] <= last and span[1] >= first]
        if not begun and not inside:
            continue
        missing = _without((first, last), spans)
        if not begun:
            missing = [one for one in missing if one[0] >= inside[0][0]]
            begun = True
        lost += missing
    # Whether the feed keeps up is another invariant. Among what was sent after the last message
    # there may be ids that an earlier numbering had, too.
    first, last = sent[-1]
    while lost and lost[-1][0] > spans[-1][1] and first <= lost[-1][0] <= lost[-1][1] <= last:
        lost.pop()
    return lost


def _without(wanted: Span, spans: Sequence[Span]) -> list[Span]:
    left: list[Span] = []
    low, high = wanted
    for first, last in sorted(spans):
        if last < low or first > high:
            continue
        if first > low:
            left.append((low, first - 1))
        low = max(low, last + 1)
    if low <= high:
        left.append((low, high))
    return left


def _at_edge(lost: Span, sent: Sequence[Span]) -> bool:
    """Whether it is a single id that ends or begins a numbering: on its way at the change."""
    low, high = lost
    return low == high and any(low in pair for pair in sent)


def _check_shared(stream: str, shared: int, items: Sequence[Item]) -> None:
    """Both trades that share an id are accounted for."""
    first_of, last_of = key_getters(parse_stream(stream).kind)
    seen = [last_of(item.data) for item in items if isinstance(item, Event)]
    gaps = [
        item.reason for item in items if isinstance(item, Gap) and item.first <= shared <= item.last
    ]
    if not seen or not min(seen) < shared < max(seen) or set(gaps) - {"shared_id"}:
        return
    # What is told of the aggregate that follows may be of the second of the two, and where others
    # are missing behind it, it lies in their place: no id tells how many trades that were.
    gaps += [item.reason for item in items if isinstance(item, Gap) and item.first == shared + 1]
    if any(isinstance(item, Gap) and item.last == shared - 1 for item in items):
        return  # where the ids leapt to it just then, the first of the two is told as a stray
    events = sum(isinstance(item, Event) and first_of(item.data) == shared for item in items)
    demand(events + len(gaps) >= 2, 16, f"{stream}: of two trades with id {shared} one vanished")


# -- kinds without ids


def _check_times(run: Run, venue: str, stream: str, timed: Sequence[tuple[Item, float]]) -> None:
    """What was sent between two messages is there, or an outage lies between them."""
    truth, start_us = run.truth(venue), run.exchange(venue).market.start_us
    sent = list(truth.watch(stream).messages)
    forgets = len(sent) == truth.watch(stream).messages.maxlen
    parsed = stream_of(venue, stream)
    _, last_of = key_getters(parsed.kind, parsed.product)
    kept = [loss for loss in truth.losses if loss.stream == stream]
    never = {loss.last for loss in kept if loss.deed in ("dropped", "reordered")}
    stalled = {loss.last for loss in kept if loss.deed == "stalled"}
    # The market may come to an absurd key itself, and the two cannot be told apart then.
    absurd = {message.last for message in truth.absurd if message.stream == stream}
    never |= absurd
    if is_timeless(parsed.kind, parsed.product):
        never |= _like_copies(sent, [start_us + at * 1e6 for at in truth.renumbered])
    at: int | None = None
    heard: list[int] = []
    outage = False
    for item, told_at in timed:
        if isinstance(item, VenueChanged):
            continue
        if not isinstance(item, Event):
            outage = True
            continue
        key = run.market_key(stream, last_of(item.data))
        if key in absurd:
            continue
        start = 0 if at is None else at + 1
        found = next((n for n in range(start, len(sent)) if sent[n].last == key), None)
        # Where the log changed hands, ids may have begun anew since, and come to this one again.
        if found is not None and outage and run.group is not None:
            came = arrival(run.plan, item.received, told_at) + MOMENT_S
            latest = start_us + came * 1e6
            again = (n for n in range(found, len(sent)) if sent[n].last == key)
            found = max((n for n in again if sent[n].time_us <= latest), default=found)
        if found is None:
            excused = forgets or outage or at is None
            demand(excused, 2, f"{venue} {stream}: {key} was never emitted there")
            continue
        if at is not None and not outage:
            silent_s = (sent[found].time_us - sent[at].time_us) / 1e6
            unnoticed = silent_s < _noticed_s(run.plan, parsed, heard)
            excuse = never | stalled if unnoticed else never
            lost = [
                message.last
                for message in sent[start:found]
                if message.last not in excuse and not message.retold
            ]
            demand(not lost, 16, f"{venue} {stream}: sent, neither delivered nor named: {lost[:3]}")
        at, outage = found, False
        heard.append(sent[found].time_us)


def _like_copies(sent: Sequence[Message], begun_us: Iterable[float]) -> set[int]:
    """Where ids began anew, and within some seconds passed what they had reached before, nothing
    tells those until then from copies: such lag by so much, and one that comes alone after that is
    refuted by the next.
    """
    alike: set[int] = set()
    for at in begun_us:
        reached = next((one.last for one in reversed(sent) if one.time_us < at), -1)
        since = [one.last for one in sent if 0 <= one.time_us - at < 2 * COPY_LAG_S * 1e6]
        if max(since, default=-1) > reached:
            alike.update(last for last in since if last <= reached)
    return alike


def _noticed_s(plan: Plan, stream: Stream, heard: Sequence[int]) -> float:
    """After how long a silence of one stream among others is noticed.

    Of a rare kind that nobody can be asked about its rhythm alone tells, once it is known.

    :param heard: when what was delivered so far had been sent; microseconds.
    """
    known_s = NOTICED_S * plan.pace
    if stream.order.silence is not Silence.RARE:
        return known_s
    if len(heard) < RARE_MESSAGES:
        return math.inf
    return known_s + RHYTHM_FACTOR * (heard[-1] - heard[0]) / 1e6 / len(heard)

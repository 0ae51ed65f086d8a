"""Of a log that changes hands: it goes on where it was, and what was kept in memory is in it."""

from __future__ import annotations

import math
from collections import defaultdict
from itertools import islice, takewhile
from typing import TYPE_CHECKING

from k2trio.continuity.items import Gap
from k2trio.continuity.positions import key_of
from k2trio.engine.warm import Hole
from k2trio.market.keys import key_getters
from k2trio.market.payloads import Event
from k2trio.market.streams import stream_of

from ..violation import demand

if TYPE_CHECKING:
    from k2trio.continuity.items import Item
    from k2trio.continuity.positions import Key

    from ..members import Taken
    from ..run import Run


def no_update_twice(run: Run) -> None:
    """23: of kinds that prove no gap, no message is in the log twice."""
    seen: set[tuple[object, ...]] = set()
    for item in run.items:
        if not isinstance(item, Event) or item.origin != "live":
            continue
        if not stream_of(item.venue, item.stream).order.timed:
            continue  # these ids may begin anew; see `order.py`
        key = item.venue, item.stream, repr(item.data)
        demand(key not in seen, 23, f"twice in the log: {item}")
        seen.add(key)


def a_covered_takeover_is_seamless(run: Run) -> None:
    """24: what a hot standby kept behind what was committed is next, and nothing else is."""
    assert run.group is not None
    last: dict[Key, Event | Gap] = {}
    at = 0
    for taken in run.group.taken:
        for item in islice(run.items, at, taken.committed):
            if isinstance(item, Event | Gap):
                last[key_of(item)] = item
        at = max(at, taken.committed)
        _check_tail(run, taken, last)


def _check_tail(run: Run, taken: Taken, last: dict[Key, Event | Gap]) -> None:
    kept: dict[Key, list[Item | Hole]] = defaultdict(list)
    for came, item in taken.kept:
        if came >= taken.at - run.settings.hot_buffer:
            kept[item.venue, item.stream].append(item)
    handed: dict[Key, list[Item]] = defaultdict(list)
    for item in taken.tail.items:
        handed[key_of(item)].append(item)
    for key in taken.positions:
        committed = last.get(key)
        if not isinstance(committed, Event):
            continue
        places = [place for place, item in enumerate(kept[key]) if _same(item, committed)]
        if places:
            rest = kept[key][places[-1] + 1 :]
            due = list(takewhile(lambda item: not isinstance(item, Hole), rest))
            where = f"{key} at {taken.at:.3f}"
            demand(handed[key] == due, 24, f"{where}: kept {len(due)}, handed {len(handed[key])}")
            fetched = any((one.venue, one.stream) == key for one in taken.tail.uncovered)
            lacking = len(due) < len(rest)
            demand(fetched == lacking, 24, f"{where}: lacking {lacking}, fetched {fetched}")


def _same(item: Item | Hole, committed: Event) -> bool:
    return isinstance(item, Event) and item.data == committed.data


def a_log_converges(run: Run) -> None:
    """25: once faults and takeovers have stopped, the log has all but what is on its way."""
    assert run.plan.takeovers is not None
    venue = run.last_venue
    ends: dict[Key, int] = {}
    for item in run.items:
        if not stream_of(item.venue, item.stream).order.rule.proves:
            continue
        if isinstance(item, Gap):
            ends[key_of(item)] = item.last
        elif isinstance(item, Event):
            stream = stream_of(item.venue, item.stream)
            ends[key_of(item)] = key_getters(stream.kind, stream.product)[1](item.data)
    for stream in run.plan.known_streams:
        if not stream.endswith(("@trade", "@aggTrade")):
            continue
        true = run.exchanges[venue].truth.ranges(stream)
        end = ends.get((run.name_of(venue), stream))
        if not true or end is None:
            demand(not true or true[-1][1] - true[0][0] < 3, 25, f"{stream}: nothing in the log")
            continue
        on_its_way = 5 + run.plan.takeovers.commit_interval_s
        behind = true[-1][1] - end
        most = math.ceil(run.plan.rate * on_its_way) + 12
        demand(behind <= most, 25, f"{stream}: the log is {behind} ids behind")

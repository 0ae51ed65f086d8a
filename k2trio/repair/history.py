"""Fills gaps from what REST has of the past: trades, aggregate trades, closed bars.

One page serves all gaps of the stream that lie in it: it begins at the first and reaches to the
last. Ids that a page skips are believed to be missing at the venue only when a second page skips
them too; the last bar of an answer may still be open, so only a later one proves that it is not.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import trio

from ..market.streams import Repair
from .attendance import LONGEST_RETRY_PAUSE_S, RETRY_PAUSE_S
from .hosts import BackfillError
from .rest import PAGE_ROWS

LAST_LOOK_S = 1.0
"""So long before a gap is declared, REST is asked once more."""

if TYPE_CHECKING:
    from ..continuity.items import Item
    from .attendance import Attendance


async def fill(case: Attendance) -> None:
    """Ask for pages until nothing is missing."""
    track, ask_at = case.track, case.office.ask_at
    pause_s = RETRY_PAUSE_S
    while track.wanting:
        ready_at = max(case.ask_from, ask_at.get(track, -math.inf))
        if trio.current_time() < ready_at:
            await trio.sleep_until(ready_at)
            continue
        asked_to = await _ask(case)
        out: list[Item] = []
        take(case, out)
        if out:
            await case.release(out)
            case.hold.progress(trio.current_time())
            pause_s = RETRY_PAUSE_S
        now = trio.current_time()
        collecting_s = case.office.backfill.budget(track.venue).collecting_s(now)
        if track.gap is None or track.gap[0] > asked_to:
            ask_at[track] = now + collecting_s  # what is missing now was not asked for yet
        elif out and case.pages.first is None:
            ask_at[track] = now  # the page was too short for all of it
        else:
            # Nothing came, or what came lies behind a hole that the venue may fill in a moment.
            pause = max(pause_s, collecting_s)
            last_look_at = case.deadline - LAST_LOOK_S
            ask_at[track] = min(now + pause, last_look_at) if now < last_look_at else now + pause
            pause_s = min(2 * pause_s, LONGEST_RETRY_PAUSE_S)
    case.news.set()


async def _ask(case: Attendance) -> int:
    """Add a page of what is missing, if the venue answers.

    :returns: the last key that was asked for.
    """
    track, backfill = case.track, case.office.backfill
    async with case.turn(backfill.weight(track.stream)) as turn:
        if (gap := track.gap) is None:
            return -1
        first = gap[0]
        last = track.missing_until(first + PAGE_ROWS)
        try:
            page = await backfill.page(track.venue, track.stream, first, last, turn)
        except BackfillError:
            return last
    rows = {key: row for row in page.events if (key := track.repair_key(row)) >= first}
    if rows:
        newest = max(rows)
        if track.repair_kind is Repair.KLINES:
            del rows[newest]  # it may still be open
        case.pages.add(page.begins, newest, rows)
    return last


def take(case: Attendance, out: list[Item]) -> None:
    """Use the known rows up to the first hole that is not proven to be one.

    Rows behind a hole are kept: the next page begins at the hole, and may have holes elsewhere.
    """
    track, pages = case.track, case.pages
    case.tally()  # another connection may have closed some meanwhile
    while (gap := track.gap) is not None:
        first, last = gap
        pages.forget(first)
        key = pages.first
        if key is None or key > last:
            if not pages.skipped(first, last + 1):
                return
            track.declare(last, "venue_missing", out)
        elif key > first and not pages.skipped(first, key):
            return
        else:
            before = track.ledger.repaired
            track.repair(pages.take(), out)
            if track.ledger.repaired != before:
                case.office.metrics.repaired()
        case.tally()


def declare(case: Attendance, out: list[Item]) -> None:
    """Give up what could not be had of the open gap, up to what is known of it or behind it."""
    track = case.track
    if (gap := track.gap) is None:
        return
    case.pages.forget(gap[0])
    known = case.pages.first
    if known is not None and gap[0] < known <= gap[1]:
        track.declare(known - 1, "not_repaired", out)
    else:
        track.abandon("not_repaired", out)
    take(case, out)

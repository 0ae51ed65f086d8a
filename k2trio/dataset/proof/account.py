"""The account of one stream of one venue: what is there, and what is wrong with it."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

import numpy as np

from ...errors import UnknownStreamError
from ...market.streams import Kind, Order, stream_of
from ..schema import GAP, OTHER, OUTAGE, VENUE_CHANGED
from .bars import LAST_US, Bars
from .clocks import Clocks
from .growing import Growing
from .holes import CURABLE, TOP
from .numbering import SHARED, Numbering, Sum, tally
from .rows import Rows, integers, rows_of

if TYPE_CHECKING:
    import pyarrow as pa

    from ..columns import Piece
    from .holes import Hole
    from .runs import Flags, Integers

MAX_LISTED = 1000
"""Doubles and outages of a stream that are listed; further ones are counted."""
RESET = "reset"
"""Why ids are another numbering's from there on."""


class Account:
    """Of one stream.

    :param archive: whether the exchange itself published it.
    :ivar kind: None if no such stream is documented; then its messages are counted only.
    :ivar count: messages.
    :ivar snapshots: of a book, among them.
    :ivar odd: messages that are not what the stream carries, and gaps that name no ids.
    :ivar doubles: messages, among them, that are there once more.
    :ivar double_ranges: the first of them, as ranges of keys.
    :ivar disorder: how often a lower id was delivered after a higher one; where much came
        late, once for each chunk of it.
    :ivar outages: the first of them, as times in microseconds.
    :ivar outage_us: how long all outages lasted; microseconds.
    :ivar numberings: at least one.
    :ivar began: the earliest time of a message; microseconds, None if there is none.
    :ivar ended: the latest one.
    """

    def __init__(self, venue: str, stream: str, *, archive: bool = False) -> None:
        self.venue: str = venue
        self.stream: str = stream
        self.archive: bool = archive
        try:
            parsed = stream_of(venue, stream)
            self.kind: Kind | None = parsed.kind
            self.order: Order | None = parsed.order
            self.symbol: str | None = parsed.symbol
            self.bars: Bars | None = Bars.of(stream)
        except UnknownStreamError:
            self.kind = self.order = self.symbol = self.bars = None
        self.count: int = 0
        self.snapshots: int = 0
        self.odd: int = 0
        self.doubles: int = 0
        self.double_ranges: list[tuple[int, int]] = []
        self.disorder: int = 0
        self.outages: list[tuple[int, int]] = []
        self.outage_count: int = 0
        self.outage_us: int = 0
        self.began: int | None = None
        self.ended: int | None = None
        self.clocks: Clocks = Clocks()
        self.shared_at: list[tuple[int, int]] = []
        """Between which times a message is missing that shares its id with one that is there."""
        self.numberings: list[Numbering] = [Numbering(self.measure)]
        self._lowest_key: int | None = None
        self._highest_key: int | None = None
        self._growing: list[Growing] = [Growing()]
        """Of keys that prove nothing: one from each outage of the batch to the next."""
        self._outages_at: list[int] = []
        """Where in the batch those outages are told."""
        self._batch: object = None
        self._base = 0
        self._resets: list[int] = []
        """Where in the batch numberings begin."""
        self._highest: dict[Numbering | Growing, tuple[int, int]] = {}
        """Key and place of the message of the batch that has the highest key so far."""

    @property
    def market(self) -> tuple[str, str | None]:
        """Venue and symbol."""
        return self.venue, self.symbol

    @property
    def provable(self) -> bool:
        """Whether ids, or bars, tell what is missing; else only what was declared is known."""
        return self.bars is not None or (self.order is not None and self.order.rule.proves)

    @property
    def consecutive(self) -> bool:
        """Whether what lies between two ids must have been; block trades leave ids out."""
        return self.provable and self.kind is not Kind.BLOCK_TRADE

    @property
    def has_history(self) -> bool:
        """Whether the venue may be asked for what is missing, however old it is."""
        return self.order is not None and self.order.repair.has_history

    def is_curable(self, reason: str | None) -> bool:
        """Whether what is missing for a reason can be had, or nobody has named it."""
        return reason is None or (self.has_history and reason in CURABLE)

    def measure(self, hole: Hole) -> int:
        """How many ids, or bars, a hole has; none where it is not known that there were any."""
        if self.bars is not None:
            return self.bars.count(hole.first, hole.last, declared=hole.reason is not None)
        if hole.reason is None and not self.consecutive:
            return 0
        return hole.last - hole.first + 1

    @property
    def ends(self) -> tuple[int | None, int | None]:
        """The lowest and the highest key of the last numbering; of bars when they open."""
        if not self.provable:
            return self._lowest_key, self._highest_key
        runs = self.numberings[-1].runs.ranges
        if not len(runs):
            return None, None
        return int(runs.first[0]), int(runs.last[-1] if self.bars is None else runs.ended[-1])

    @property
    def missing(self) -> dict[str | None, Sum]:
        """Reason → what is missing; None where nobody declared it."""
        sums: dict[str | None, Sum] = {}
        for numbering in self.numberings:
            for reason, folded in numbering.folded.items():
                before = sums.get(reason, Sum(0, 0))
                sums[reason] = Sum(before.holes + folded.holes, before.ids + folded.ids)
            tally(numbering.holes, self.measure, sums)
        return sums

    def take(self, piece: Piece, batch: object, *, healed: bool) -> Rows | None:
        """Take what is recorded, the remarks of a part of a batch before its messages.

        :param batch: what has a sequence of its own; each comes wholly before the next.
        :param healed: whether it was added later, and so says nothing of the order of delivery.
        :returns: of trades and bars those that are no doubles.
        """
        if batch != self._batch:
            self._batch, self._base = batch, len(self.numberings) - 1
            self._resets.clear()
            self._growing = self._growing[-1:]
            self._outages_at.clear()
            self._highest.clear()
        if piece.table is GAP:
            self._take_gaps(piece, healed=healed)
        elif piece.table is OUTAGE:
            self._take_outages(piece, healed=healed)
        elif piece.table is OTHER:
            self.count += piece.batch.num_rows
            self.odd += piece.batch.num_rows if self.kind is not None else 0
        elif piece.table is not VENUE_CHANGED:
            self.count += piece.batch.num_rows
            return self._take_rows(rows_of(piece), healed=healed)
        return None

    def _take_outages(self, piece: Piece, *, healed: bool) -> None:
        since, until = (integers(piece.batch.column(name)) for name in ("since", "until"))
        self.outage_count += len(since)
        self.outage_us += int((until - since).sum())
        room = MAX_LISTED - len(self.outages)
        self.outages += zip(since[:room].tolist(), until[:room].tolist(), strict=True)
        if not healed:
            # A venue may have begun its keys anew behind each of them.
            self._outages_at += integers(piece.batch.column("sequence")).tolist()
            self._growing += (Growing() for _ in since)

    def _take_gaps(self, piece: Piece, *, healed: bool) -> None:
        batch = piece.batch
        first, last, place, time = (
            integers(batch.column(name)).tolist() for name in ("first", "last", "sequence", "time")
        )
        reasons = batch.column("reason").to_pylist()
        for number, reason in enumerate(reasons):
            if reason == RESET:
                self._resets.append(place[number])
                self.numberings.append(Numbering(self.measure, time[number]))
                continue
            end = last[number] if self.bars is None else self.bars.last_of(last[number])
            if not 0 <= first[number] <= end <= TOP:
                self.odd += 1
                continue
            if reason == SHARED and len(self.shared_at) < MAX_LISTED:
                self.shared_at.append(_between(batch, number, time[number]))
            at = self._healed_at(time[number]) if healed else -1
            self.numberings[at].declare(first[number], end, reason)

    def _healed_at(self, time: int) -> int:
        """The numbering that what was fetched, or lost, at a time is of."""
        if time <= 0:
            return -1
        return max(0, sum(numbering.since <= time for numbering in self.numberings) - 1)

    def _take_rows(self, rows: Rows, *, healed: bool) -> Rows:
        if not len(self.numberings) - 1:
            return self._take_part(rows, self.numberings[0], healed=healed)
        if healed:
            begins = [numbering.since for numbering in self.numberings[1:]]
            which = np.searchsorted(begins, rows.received, "right")
        elif not self._resets:
            return self._take_part(rows, self.numberings[-1], healed=healed)
        else:
            which = self._base + np.searchsorted(self._resets, rows.sequence)
        parts = [
            self._take_part(rows.where(which == at), self.numberings[at], healed=healed)
            for at in np.unique(which).tolist()
        ]
        return functools.reduce(Rows.followed_by, parts)

    def _take_part(self, rows: Rows, numbering: Numbering, *, healed: bool) -> Rows:
        if self.kind is Kind.DEPTH:
            snapshots = rows.first < 0
            self.snapshots += int(snapshots.sum())
            rows = rows.where(~snapshots)
        if not len(rows):
            return rows
        began, ended = int(rows.time.min()), int(rows.time.max())
        self.began = began if self.began is None else min(began, self.began)
        self.ended = ended if self.ended is None else max(ended, self.ended)
        if not self.provable:
            return self._take_growing(rows, healed=healed)
        if self.bars is not None:
            return self._take_bars(rows, numbering, healed=healed)
        if rows.has("last_trade_id") and self.order is not None and self.order.inner:
            trades = rows.column("first_trade_id"), rows.column("last_trade_id")
            twice = numbering.add_aggregates(rows.first, rows.time, *trades)
        else:
            twice = numbering.add(rows.first, rows.last, rows.time)
        rows = self._without(twice, rows, rows.first, rows.last, None if healed else numbering)
        if not healed:
            self._look_at_clocks(rows)
        return rows

    def _take_growing(self, rows: Rows, *, healed: bool) -> Rows:
        low, high = int(rows.first.min()), int(rows.first.max())
        self._lowest_key = low if self._lowest_key is None else min(low, self._lowest_key)
        self._highest_key = high if self._highest_key is None else max(high, self._highest_key)
        which = np.searchsorted(self._outages_at, rows.sequence)
        parts: list[Rows] = []
        for at in np.unique(which).tolist():
            part, growing = rows.where(which == at), self._growing[at]
            twice = growing.add(part.first, np.zeros_like(part.first))
            parts.append(
                self._without(twice, part, part.first, part.last, None if healed else growing)
            )
        rows = functools.reduce(Rows.followed_by, parts)
        if not healed:
            self._look_at_clocks(rows)
        return rows

    def _take_bars(self, rows: Rows, numbering: Numbering, *, healed: bool) -> Rows:
        assert self.bars is not None  # noqa: S101 - asked before
        opens = rows.column("open_time")
        sane = (opens >= 0) & (opens <= LAST_US)
        if not sane.all():
            self.odd += int((~sane).sum())
            rows = rows.where(sane)
        if not healed:
            self._look_at_clocks(rows)
        closed = rows.column("closed")
        updates = rows.where(~closed & rows.live)
        twice = self._growing[0].add(updates.first, updates.column("open_time"))
        self._without(twice, updates, updates.first, updates.first, None)
        bars = rows.where(closed)
        opens = bars.column("open_time")
        last = self.bars.last(opens, bars.column("close_time"))
        twice = numbering.add(opens, last, opens)
        return self._without(twice, bars, opens, last, None if healed else numbering)

    def _without(
        self,
        twice: Flags,
        rows: Rows,
        first: Integers,
        last: Integers,
        ordered_in: Numbering | Growing | None,
    ) -> Rows:
        """Count doubles, and how often the order of the others breaks; returns those."""
        if twice.any():
            self.doubles += int(twice.sum())
            self._list_doubles(first[twice], last[twice])
            rows, first = rows.where(~twice), first[~twice]
        if ordered_in is not None and len(first):
            self._look_at_order(first, rows.sequence, ordered_in)
        return rows

    def _list_doubles(self, first: Integers, last: Integers) -> None:
        ranges = self.double_ranges
        for begin, end in zip(first.tolist(), last.tolist(), strict=True):
            if ranges and ranges[-1][1] + 1 == begin:
                ranges[-1] = ranges[-1][0], end
            elif len(ranges) < MAX_LISTED:
                ranges.append((begin, end))
            else:
                return

    def _look_at_order(
        self, first: Integers, place: Integers, numbering: Numbering | Growing
    ) -> None:
        """Along the keys the places of delivery grow, but where the order breaks."""
        if (first[1:] < first[:-1]).any():
            order = np.argsort(first, kind="stable")
            first, place = first[order], place[order]
        self.disorder += int((place[1:] < place[:-1]).sum())
        if numbering in self._highest:
            highest, at = self._highest[numbering]
            self.disorder += bool((first[0] < highest) == (place[0] > at))
            if first[-1] < highest:
                return
        self._highest[numbering] = int(first[-1]), int(place[-1])

    def _look_at_clocks(self, rows: Rows) -> None:
        """Along the keys, as what comes late is not what sets a clock."""
        if not rows.live.all():
            rows = rows.where(rows.live)
        time, received = rows.time, rows.received
        if (rows.first[1:] < rows.first[:-1]).any():
            order = np.argsort(rows.first, kind="stable")
            time, received = time[order], received[order]
        self.clocks.look(time, received)


def _between(batch: pa.RecordBatch, row: int, told_at: int) -> tuple[int, int]:
    """The times of a gap, as far as it tells them; else that at which it was told."""
    told = [batch.column(name)[row].value for name in ("since", "until")]
    known = [time for time in told if time is not None] or [told_at]
    return known[0], known[-1]

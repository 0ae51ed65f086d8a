"""What was found, as values that become JSON: for scripts, for tables, and for manifests.

Times are Unix microseconds. Ids of bars are the times at which they open.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from .account import Account
    from .holes import Hole
    from .proof import Comparison

MAX_HOLES = 1000
"""Holes of a stream that a report lists; the sums have all."""
MAX_MISMATCHES = 1000
"""Minutes that a report lists of one comparison."""


class MissingIds(msgspec.Struct, frozen=True):
    """What is missing for one reason.

    :ivar reason: as the feed declared it; None where nobody did.
    :ivar ids: how many; of bars how many bars.
    """

    reason: str | None
    holes: int
    ids: int


class HoleRow(msgspec.Struct, frozen=True):
    """A range that is missing.

    :ivar last: inclusive.
    :ivar before: when the exchange made the message before; None if there is none.
    :ivar after: the same of the message after.
    """

    first: int
    last: int
    ids: int
    reason: str | None
    before: int | None
    after: int | None


class Jump(msgspec.Struct, frozen=True):
    """A clock that was set.

    :ivar clock: ``exchange`` or ``receipt``.
    :ivar at: when the first message after it was received.
    :ivar seconds: by how much.
    """

    clock: str
    at: int
    seconds: float


class StreamReport(msgspec.Struct, frozen=True):
    """What there is of a stream.

    :ivar archive: whether the exchange published it.
    :ivar messages: all of them.
    :ivar snapshots: of a book, among them.
    :ivar odd: messages that are not what the stream carries, and gaps that name no ids.
    :ivar keyed_by_time: whether keys are times, and not ids.
    :ivar first: the lowest key, of the last numbering; None if there is none.
    :ivar last: the highest.
    :ivar began: the earliest time of a message.
    :ivar ended: the latest.
    :ivar renumbered: how often the venue began its ids anew.
    :ivar missing: by reason.
    :ivar holes: the first of them.
    :ivar doubles: messages that are there once more.
    :ivar double_ranges: the first of them.
    :ivar disorder: how often a lower id was delivered after a higher one.
    :ivar outages: times in which messages may be missing, though no id tells.
    :ivar outage_s: how long they lasted together.
    :ivar outage_ranges: the first of them.
    :ivar clock_jumps: how often a clock was set.
    :ivar jumps: the first of them.
    :ivar complete: whether every message is there once and in order, or is named as missing and
        cannot be had any more.
    """

    venue: str
    stream: str
    archive: bool
    messages: int
    snapshots: int
    odd: int
    keyed_by_time: bool
    first: int | None
    last: int | None
    began: int | None
    ended: int | None
    renumbered: int
    missing: list[MissingIds]
    holes: list[HoleRow]
    doubles: int
    double_ranges: list[tuple[int, int]]
    disorder: int
    outages: int
    outage_s: float
    outage_ranges: list[tuple[int, int]]
    clock_jumps: int
    jumps: list[Jump]
    complete: bool


class MinuteRow(msgspec.Struct, frozen=True):
    """A minute in which trades and bar differ.

    :ivar volume: of the base asset, exact.
    :ivar ids: the first and the last trade; None where that is not told.
    """

    minute: int
    trades: int
    bar_trades: int
    volume: str
    bar_volume: str
    ids: tuple[int, int] | None
    bar_ids: tuple[int, int] | None


class ComparisonReport(msgspec.Struct, frozen=True):
    """Trades against bars.

    :ivar minutes: how many could be compared.
    :ivar different: how many differ.
    :ivar rows: the first of them.
    """

    venue: str
    trades: str
    bars: str
    minutes: int
    different: int
    rows: list[MinuteRow]


class Report(msgspec.Struct, frozen=True):
    """All that was found.

    :ivar files: that were read.
    :ivar partitions: of Kafka topics, that were read.
    :ivar bytes: of all files, and of the values of all records.
    :ivar torn: file → bytes of half a line at its end, as a crash leaves them.
    :ivar unreadable: a line for each file that is missing or could not be read.
    :ivar changed: a line for each file that is not as it was sealed, published, or in the manifest.
    :ivar scattered: a line for each stream that several partitions of a topic hold, so that its
        order cannot be told.
    :ivar complete: whether all streams are, and nothing else is wrong.
    :ivar exit: the exit code.
    """

    files: int
    partitions: int
    bytes: int
    streams: list[StreamReport]
    comparisons: list[ComparisonReport]
    torn: dict[str, int]
    unreadable: list[str]
    changed: list[str]
    scattered: list[str]
    complete: bool
    exit: int


def stream_report(account: Account) -> StreamReport:
    """Of one stream."""
    missing = [MissingIds(reason, *sums) for reason, sums in account.missing.items()]
    first, last = account.ends
    lost = any(account.is_curable(row.reason) for row in missing)
    return StreamReport(
        venue=account.venue,
        stream=account.stream,
        archive=account.archive,
        messages=account.count,
        snapshots=account.snapshots,
        odd=account.odd,
        keyed_by_time=account.order is not None and account.order.timed,
        first=first,
        last=last,
        began=account.began,
        ended=account.ended,
        renumbered=len(account.numberings) - 1,
        missing=missing,
        holes=_holes(account),
        doubles=account.doubles,
        double_ranges=sorted(account.double_ranges),
        disorder=account.disorder,
        outages=account.outage_count,
        outage_s=account.outage_us / 1e6,
        outage_ranges=sorted(account.outages),
        clock_jumps=account.clocks.count,
        jumps=[Jump(*jump) for jump in account.clocks.jumps],
        complete=not (lost or account.doubles or account.disorder),
    )


def _holes(account: Account) -> list[HoleRow]:
    rows: list[HoleRow] = []
    for numbering in account.numberings:
        rows += [_row(account, hole) for hole in numbering.holes[: MAX_HOLES - len(rows)]]
    return rows


def _row(account: Account, hole: Hole) -> HoleRow:
    last, bars = hole.last, account.bars
    if bars is not None:
        last = bars.last_open(hole.first, hole.last)
    ids = account.measure(hole)
    return HoleRow(hole.first, last, ids, hole.reason, hole.before, hole.after)


def comparison_report(found: Comparison) -> ComparisonReport:
    """Of one comparison."""
    return ComparisonReport(
        venue=found.trades.venue,
        trades=found.trades.stream,
        bars=found.bars.stream,
        minutes=found.minutes,
        different=len(found.mismatches),
        rows=[
            MinuteRow(
                row.minute,
                row.trades,
                row.bar_trades,
                exact(row.volume),
                exact(row.bar_volume),
                row.ids,
                row.bar_ids,
            )
            for row in found.mismatches[:MAX_MISMATCHES]
        ],
    )


def exact(volume: int) -> str:
    """An integer of 10⁻⁸ as the decimal that it is."""
    sign = "-" if volume < 0 else ""
    whole, rest = divmod(abs(volume), 10**8)
    return f"{sign}{whole}.{rest:08}"

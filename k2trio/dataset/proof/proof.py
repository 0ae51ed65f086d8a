"""Reads recorded files and proves, stream by stream, what they hold and what they lack."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

import msgspec
import numpy as np

from ...errors import UnknownStreamError, Unreadable
from ...market.streams import Kind, stream_of
from ...market.venues import dialect_of
from ...sinks.parsing import Line
from ..archives import COINM
from ..columns import pieces
from ..schema import OTHER
from ..sources import SealedFile
from .account import Account
from .minutes import MINUTE_US, Mismatch, Sums, amounts_of
from .rows import COLUMNS, SUMMED
from .runs import NONE
from .timeline import batches

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from ..columns import Piece
    from ..linesfile import Source
    from .rows import Rows
    from .runs import Ranges
    from .timeline import Batch

MINUTE_BARS = "kline_1m"


class Comparison(NamedTuple):
    """Trades of a symbol against its bars.

    :ivar trades: the account of the trades, or of the aggregates.
    :ivar bars: that of the bars of one minute.
    :ivar minutes: how many could be compared.
    :ivar mismatches: those that differ.
    """

    trades: Account
    bars: Account
    minutes: int
    mismatches: list[Mismatch]


@dataclass
class Proof:
    """What was found.

    :ivar accounts: by venue and stream.
    :ivar comparisons: of trades and bars.
    :ivar unreadable: a line for each file that could not be read, or not wholly; what was read of
        it counts.
    :ivar torn: file → bytes of half a line at its end, as a crash leaves them.
    """

    accounts: list[Account] = field(default_factory=list[Account])
    comparisons: list[Comparison] = field(default_factory=list[Comparison])
    unreadable: list[str] = field(default_factory=list[str])
    torn: dict[str, int] = field(default_factory=dict[str, int])


def prove(sources: Sequence[Source], tell: Callable[[int], object] = lambda _: None) -> Proof:
    """Read everything once.

    :param tell: is told how many bytes more have been read.
    """
    reading = _Reading(sources, tell)
    for batch in batches(sources):
        for source in batch.sources:
            reading.read(source, batch)
    return reading.proof()


class _Reading:
    """Accounts and sums while files are read.

    :ivar found: what is wrong with files, so far.
    """

    def __init__(self, sources: Sequence[Source], tell: Callable[[int], object]) -> None:
        self.found = Proof()
        self._tell = tell
        self._accounts: dict[tuple[str, str, bool], Account] = {}
        self._sums: dict[Account, Sums] = {}
        sealed = [source.place for source in sources if isinstance(source, SealedFile)]
        self._all_sealed = len(sealed) == len(sources)
        self._barred = {(p.venue, p.symbol) for p in sealed if p.label == MINUTE_BARS}
        """Venues and symbols of which there are sealed bars of a minute."""

    def read(self, source: Source, batch: Batch) -> None:
        """Read a file, as far as that can be done."""
        columns = [*COLUMNS, *SUMMED] if self._is_summed(source) else COLUMNS
        told = 0
        try:
            for piece in source.pieces(columns):
                for part in _typed(piece, columns):
                    self._take(part, source, batch)
                self._tell(source.done - told)
                told = source.done
        except Unreadable as error:
            self.found.unreadable.append(str(error))
        self._tell(source.size - told)
        if source.torn_bytes:
            self.found.torn[source.name] = source.torn_bytes

    def _is_summed(self, source: Source) -> bool:
        """Whether volumes are wanted: without bars nobody asks for them."""
        if not self._all_sealed or not isinstance(source, SealedFile):
            return True
        return (source.place.venue, source.place.symbol) in self._barred

    def _take(self, piece: Piece, source: Source, batch: Batch) -> None:
        key = piece.venue, piece.stream, source.archive
        account = self._accounts.get(key)
        if account is None:
            account = Account(piece.venue, piece.stream, archive=source.archive)
            self._accounts[key] = account
        rows = account.take(piece, batch.name, healed=source.healed)
        if rows is None or not len(rows) or not _is_compared(account):
            return
        if self._is_summed(source):
            self._add_up(account, rows)

    def _add_up(self, account: Account, rows: Rows) -> None:
        sums, amounts = self._sums.setdefault(account, Sums()), amounts_of(rows)
        time = rows.column("open_time") if account.bars is not None else rows.time
        if amounts is None:
            sums.spoil(time)
        else:
            sums.add(time, amounts)

    def proof(self) -> Proof:
        """What was found."""
        self.found.accounts = sorted(
            self._accounts.values(), key=lambda one: (one.venue, one.stream, one.archive)
        )
        summed = list(self._sums.items())
        for bars, bar_sums in summed:
            if bars.bars is None:
                continue
            for trades, sums in summed:
                if trades.bars is None and trades.market == bars.market:
                    for since, until in trades.shared_at:
                        sums.spoil(np.arange(since, until, MINUTE_US))
                        sums.spoil(np.array([until]))
                    minutes, wrong = sums.compared(bar_sums, _runs(trades))
                    self.found.comparisons.append(Comparison(trades, bars, minutes, wrong))
        return self.found


def _typed(piece: Piece, columns: Sequence[str]) -> Iterator[Piece]:
    """A piece; messages that their table cannot hold are given the columns that are asked for."""
    if piece.table is not OTHER or not _is_known(piece.venue, piece.stream):
        yield piece
        return
    batch = piece.batch
    names = ("payload", "received_ns", "origin", "sequence")
    for payload, received_ns, origin, sequence in zip(
        *(batch.column(name).to_pylist() for name in names), strict=True
    ):
        data = msgspec.Raw(payload.encode())
        line = Line(piece.venue, piece.stream, received_ns / 1e9, origin, data)
        # Their quantities may be what does not fit.
        yield from pieces([line], sequence, [name for name in columns if name not in SUMMED])


def _is_known(venue: str, stream: str) -> bool:
    try:
        stream_of(venue, stream)
    except UnknownStreamError:
        return False
    return True


def _is_compared(account: Account) -> bool:
    """Whether its messages are summed up by the minute.

    Aggregates of futures are not: they span up to 100 ms, so one may lie in two minutes.
    """
    match account.kind:
        case Kind.KLINE:
            return account.stream.endswith(f"@{MINUTE_BARS}")
        case Kind.AGG_TRADE:
            return account.venue != COINM and dialect_of(account.venue).family == "spot"
        case _:
            # Of raw trades of futures some do not come, but those of archives are all.
            return account.kind is Kind.TRADE and (account.provable or account.archive)


def _runs(account: Account) -> Ranges:
    """All runs of all numberings, in the order of their times."""
    ranges = NONE
    for numbering in account.numberings:
        ranges = ranges.followed_by(numbering.runs.ranges)
    order = np.argsort(ranges.began, kind="stable")
    return type(ranges)(*(column[order] for column in ranges))

"""What a recording has told of a symbol so far, for REST. Pure."""

from __future__ import annotations

import bisect
from typing import TYPE_CHECKING

from ..market.bars import MAX_BARS, Bar
from ..market.book import Book
from ..market.records import AggTrade, History, Ids, RecordT, Trade
from .entry import Levels

if TYPE_CHECKING:
    from collections.abc import Iterator

    from k2trio.market.streams import Stream

    from ..market.contract import BookListener
    from .entry import Record


class RecordedBars:
    """The candlesticks that were told, each as it was told last (:class:`.contract.VenueBars`)."""

    def __init__(self) -> None:
        self._bars: dict[str, dict[int, Bar]] = {}
        self._opens: dict[str, list[int]] = {}

    def put(self, interval: str, bar: Bar) -> None:
        """Know a bar as it is now; of each interval the newest ``MAX_BARS`` are kept."""
        bars = self._bars.setdefault(interval, {})
        opens = self._opens.setdefault(interval, [])
        if bar.open_ms not in bars:
            bisect.insort(opens, bar.open_ms)
            if len(opens) > MAX_BARS:
                del bars[opens.pop(0)]
        bars[bar.open_ms] = bar

    def between(self, interval: str, from_ms: int, until_ms: int) -> Iterator[Bar]:
        """Those that open in ``from_ms … until_ms``, oldest first."""
        opens = self._opens.get(interval, [])
        start, end = bisect.bisect_left(opens, from_ms), bisect.bisect_right(opens, until_ms)
        for open_ms in opens[start:end]:
            yield self._bars[interval][open_ms]


class RecordedSymbol:
    """One symbol, see :class:`.contract.VenueSymbol`.

    :param history: trades, aggregate trades and block trades kept for REST, so many of each.
    """

    def __init__(self, name: str, history: int) -> None:
        self.name = name
        self.spec: None = None
        self.trades: History[Trade] = History(history)
        self.agg_trades: History[AggTrade] = History(history)
        self.block_trades: History[Trade] = History(history)
        self.trade_ids: Ids = Ids(0)
        self.agg_ids: Ids = Ids(0)
        self.block_ids: Ids = Ids(0)
        self.shared_ids: list[int] = []
        self.bars: RecordedBars = RecordedBars()
        self.book: Book = Book()
        self.has_book: bool = False
        self.update_id: int = 0
        self.halted_until_us: int = 0
        self._listeners: list[BookListener] = []

    def watch_book(self, listener: BookListener) -> None:
        """Tell a listener of changes of the book."""
        self._listeners.append(listener)

    def leave_book(self, listener: BookListener) -> None:
        """Tell it no more."""
        self._listeners.remove(listener)

    def learn(self, stream: Stream, record: Record) -> None:
        """Know what a stream has just told."""
        match record:
            case Trade() if stream.kind == "blockTrade":
                _keep(self.block_trades, self.block_ids, record)
            case Trade():
                _keep(self.trades, self.trade_ids, record)
            case AggTrade():
                if _keep(self.agg_trades, self.agg_ids, record):
                    self.shared_ids.append(record.id)
            case Bar():
                self.bars.put(stream.interval or "", record)
            case Levels():
                self._learn_book(record)

    def _learn_book(self, levels: Levels) -> None:
        if levels.first is None:
            begins_anew = levels.last < self.update_id
            self.book, self.has_book = Book(), True
        elif not self.has_book or levels.last <= self.update_id:
            return  # a stream with another pace has told it, perhaps
        elif levels.first > self.update_id + 1:
            self.has_book = False  # until the next snapshot: what is between is not known
            return
        else:
            begins_anew = False
        self.update_id = levels.last
        for side, rows in ((self.book.bids, levels.bids), (self.book.asks, levels.asks)):
            for price, quantity in rows:
                side.set(price, quantity)
                for listener in self._listeners:
                    listener.on_level(self, side, price)
        if begins_anew:
            for listener in self._listeners:
                listener.on_renumbered(self)


def _keep(history: History[RecordT], ids: Ids, record: RecordT) -> bool:
    """Keep a trade, and its id as issued; if ids began anew, what was before is gone.

    :returns: whether it shares its id with the one before.
    """
    if ids.ranges and record.id <= ids.last:
        if history.get(record.id) == record:
            return False  # it was recorded twice
        if record.id == ids.last:
            history.append(record)
            return True
        history.clear()
    ids.jump(record.id - 1 - ids.last)
    ids.take()
    history.append(record)
    return False

"""A recorded market: what was told on it is told again, in its order and at its times. Pure.

A part of the recording lies ready, and whoever reads it is told when there is room for more.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from k2trio.errors import UnknownStreamError
from k2trio.market.streams import parse_stream, parse_symbol

from ..market.market import HISTORY
from ..market.trading import NEVER_US
from .entry import Levels
from .symbol import RecordedSymbol

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from k2trio.market.streams import Stream

    from ..market.message import Message
    from .entry import Entry

AHEAD = 5000
"""Entries that lie ready."""
MAX_SYMBOLS = 10_000
"""Symbols that are known; that there are some is believed of any name, since the recording may
have it later."""


class RecordedMarket:
    """See :class:`.contract.VenueMarket`.

    :param start_us: when the first entry is due; microseconds.
    :param history: trades, aggregate trades and block trades kept per symbol for REST.
    :param product: what is traded.
    :param on_room: called when there is room for more entries.
    :ivar told: messages that were told.
    """

    product: str

    def __init__(
        self,
        start_us: int,
        *,
        seed: int = 0,
        history: int = HISTORY,
        product: str = "spot",
        on_room: Callable[[], object] = lambda: None,
    ) -> None:
        self.seed = seed
        self.product = product
        self.start_us = start_us
        self.now_us: int = start_us
        self.symbols: dict[str, RecordedSymbol] = {}
        self.told: int = 0
        self._history = history
        self._on_room = on_room
        self._ready: deque[Entry] = deque()
        self._ended = False

    @property
    def has_room(self) -> bool:
        """Whether more entries may be added."""
        return len(self._ready) < AHEAD

    @property
    def is_over(self) -> bool:
        """Whether everything was told."""
        return self._ended and not self._ready

    def add(self, entries: Iterable[Entry]) -> None:
        """Know what happens next. A book is known from the first that is told of it."""
        for entry in entries:
            stream = parse_stream(entry.stream, self.product)
            symbol = self.symbol(stream.symbol) if stream.symbol else None
            match entry.record:
                case Levels(first=None) if symbol is not None and not symbol.update_id:
                    symbol.learn(stream, entry.record)
                case _:
                    pass
            self._ready.append(entry)

    def end(self) -> None:
        """Nothing happens after what is known."""
        self._ended = True

    def symbol(self, name: str) -> RecordedSymbol | None:
        """The symbol of a name; None if the exchange could have none that is called so."""
        found = self.symbols.get(name)
        if found is None and len(self.symbols) < MAX_SYMBOLS:
            try:
                known = parse_symbol(name, self.product) == name
            except UnknownStreamError:
                return None
            if known:
                found = self.symbols[name] = RecordedSymbol(name, self._history)
        return found

    def watch(self, name: str) -> Stream:
        """Nothing is to be done: every stream is told that was recorded.

        :raises UnknownStreamError: if there can be no such stream.
        """
        return parse_stream(name, self.product)

    def next_us(self) -> int:
        """When the next thing happens; microseconds, ``NEVER_US`` if nothing is known to."""
        return self._ready[0].due_us if self._ready else NEVER_US

    def advance(self, until_us: int, most: int | None = None) -> list[Message]:
        """Let everything happen that is due; see :class:`.contract.VenueMarket`."""
        out: list[Message] = []
        left = -1 if most is None else most
        had_room = self.has_room
        while self._ready and self._ready[0].due_us <= until_us and left:
            left -= 1
            entry = self._ready.popleft()
            self.now_us = entry.due_us
            self._happen(entry, out)
        if self._ready[0].due_us > until_us if self._ready else self._ended:
            self.now_us = max(self.now_us, until_us)
        if self.has_room and (not had_room or not self._ready):
            self._on_room()
        self.told += len(out)
        return out

    def _happen(self, entry: Entry, out: list[Message]) -> None:
        stream = parse_stream(entry.stream, self.product)
        symbol = None if stream.symbol is None else self.symbols.get(stream.symbol)
        if entry.record is not None and symbol is not None:
            symbol.learn(stream, entry.record)
        if entry.message is not None:
            out.append(entry.message)

"""A coherent, seeded market: symbols that trade, and the streams that tell of it. Pure.

No I/O and no clock: time comes in as microseconds. The same seed gives the same events, whatever
is watched and in whatever steps time advances.
"""

from __future__ import annotations

import heapq
import itertools
from typing import TYPE_CHECKING

from k2trio.errors import UnknownStreamError
from k2trio.market.streams import parse_stream

from .repertoire import voice_of
from .spec import SymbolSpec, default_spec
from .trading import NEVER_US, SymbolMarket

if TYPE_CHECKING:
    from collections.abc import Iterable

    from k2trio.market.streams import Stream

    from .message import Message
    from .voice import Voice

EPOCH_MS = 1_767_225_600_000
"""Default start of simulated time: 2026-01-01T00:00:00Z; milliseconds."""

HISTORY = 100_000
"""Default number of trades of each kind that REST can still give per symbol."""

_VOICE_FIRST, _SYMBOL_SECOND = 0, 1


class Market:
    """Symbols that trade, and the streams that are watched.

    :param symbols: names or specs; names get :func:`.spec.default_spec`.
    :param seed: decides everything that happens.
    :param start_ms: simulated time at the start; milliseconds since 1970.
    :param rate: taker orders per second and symbol; about as many ``aggTrade`` messages, and
        1.3 times as many ``trade`` messages. 0: nothing happens by itself.
    :param quotes: book changes per taker order.
    :param history: trades, aggregate trades and block trades kept per symbol for REST.
    :param product: what is traded.
    :param retells: whether partial books are told anew when only levels below them changed.
    """

    def __init__(
        self,
        symbols: Iterable[str | SymbolSpec] = ("BTCUSDT", "ETHUSDT"),
        *,
        seed: int = 0,
        start_ms: int = EPOCH_MS,
        rate: float = 1.0,
        quotes: float = 1.0,
        history: int = HISTORY,
        product: str = "spot",
        retells: bool = True,
    ) -> None:
        self.seed = seed
        self.product = product
        self.retells = retells
        self.start_us: int = start_ms * 1000
        self.now_us: int = self.start_us
        self.symbols: dict[str, SymbolMarket] = {}
        self._voices: dict[str, Voice] = {}
        self._out: list[Message] = []
        self._serial = itertools.count()
        # Due things by (time, streams before symbols, age): a bar closes before the trade that
        # happens at its end.
        self._due: list[tuple[int, int, int, Voice | SymbolMarket]] = []
        for item in symbols:
            spec = default_spec(item, seed) if isinstance(item, str) else item
            symbol = SymbolMarket(
                spec,
                seed=seed,
                start_us=self.now_us,
                rate=rate,
                quotes=quotes,
                history=history,
                futures=product != "spot",
            )
            self.symbols[spec.symbol] = symbol
            self._schedule_symbol(symbol)

    def schedule(self, voice: Voice) -> None:
        """Call ``voice.step()`` at its ``due_us``."""
        heapq.heappush(self._due, (voice.due_us, _VOICE_FIRST, next(self._serial), voice))

    def _schedule_symbol(self, symbol: SymbolMarket) -> None:
        if symbol.due_us < NEVER_US:
            heapq.heappush(self._due, (symbol.due_us, _SYMBOL_SECOND, next(self._serial), symbol))

    def emit(self, message: Message) -> None:
        """Add a message to what :meth:`advance` or the running call returns."""
        self._out.append(message)

    def of(self, stream: Stream) -> SymbolMarket:
        """The symbol that a stream tells about."""
        return self.symbols[stream.symbol or ""]

    def all(self, stream: Stream) -> list[SymbolMarket]:
        """The symbols that a stream tells about: one, or all."""
        return [self.of(stream)] if stream.symbol else list(self.symbols.values())

    def symbol(self, name: str) -> SymbolMarket | None:
        """The symbol of a name; None if it is not traded here."""
        return self.symbols.get(name)

    def watch(self, name: str) -> Stream:
        """Emit the messages of a stream from now on; again is harmless.

        :raises UnknownStreamError: if the stream or its symbol does not exist.
        """
        stream = parse_stream(name, self.product)
        if stream.symbol is not None and stream.symbol not in self.symbols:
            raise UnknownStreamError(f"unknown symbol {stream.symbol[:40]!r}")
        if stream.name not in self._voices:
            voice = self._voices[stream.name] = voice_of(self, stream)
            for symbol in self.all(stream):
                symbol.attach(voice, stream.kind)
        return stream

    def watched(self) -> list[str]:
        """Names of the watched streams, in the order of :meth:`watch`."""
        return list(self._voices)

    def next_us(self) -> int:
        """When the next thing happens; microseconds, ``NEVER_US`` if nothing will."""
        while self._due and self._due[0][0] != self._due[0][3].due_us:
            heapq.heappop(self._due)  # rescheduled since
        return self._due[0][0] if self._due else NEVER_US

    def advance(self, until_us: int, most: int | None = None) -> list[Message]:
        """Let everything happen that is due until ``until_us`` (inclusive), in order of time.

        :param most: stop after so many events; then ``now_us`` is the time of the last one.
        """
        left = -1 if most is None else most
        while (now_us := self.next_us()) <= until_us:
            if not left:
                return self._take_out()
            left -= 1
            source = heapq.heappop(self._due)[3]
            self.now_us = now_us
            source.step()
            if isinstance(source, SymbolMarket):
                self._schedule_symbol(source)
        self.now_us = max(self.now_us, until_us)
        return self._take_out()

    def _take_out(self) -> list[Message]:
        out, self._out = self._out, []
        return out

    def burst(self, count: int, symbol: str | None = None) -> list[Message]:
        """``count`` taker orders at once, of one symbol or of each."""
        for market in self._chosen(symbol):
            for _ in range(count):
                market.take(self.now_us)
        return self._take_out()

    def jump_ids(self, by: int, symbol: str | None = None) -> None:
        """Let the ids of one symbol, or of all, skip ``by``."""
        for market in self._chosen(symbol):
            market.jump_ids(by)

    def reset_ids(self, by: int, symbol: str | None = None) -> None:
        """Let the ids of one symbol, or of all, begin anew, ``by`` lower; history is lost."""
        for market in self._chosen(symbol):
            market.reset_ids(by)

    def share_next_id(self, symbol: str | None = None) -> None:
        """Let the next aggregate trade of one symbol, or of each, have the id of the last one."""
        for market in self._chosen(symbol):
            market.share_next_id()

    def halt(self, for_us: int, symbol: str | None = None) -> None:
        """Let one symbol, or all, not trade for so many microseconds."""
        for market in self._chosen(symbol):
            market.halt(self.now_us, self.now_us + for_us)
            self._schedule_symbol(market)

    def set_rate(self, rate: float, symbol: str | None = None) -> None:
        """Change the taker orders per second of one symbol, or of each; 0 makes it quiet."""
        for market in self._chosen(symbol):
            market.set_rate(rate, self.now_us)
            self._schedule_symbol(market)

    def _chosen(self, symbol: str | None) -> list[SymbolMarket]:
        return list(self.symbols.values()) if symbol is None else [self.symbols[symbol]]

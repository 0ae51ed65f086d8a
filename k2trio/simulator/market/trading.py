"""One symbol's trading: a seeded process of taker orders and quotes against a book.

Everything that the exchange publishes about a symbol follows from the same few facts, so the
streams agree with each other: a taker order makes trades; the trades at one price make one
aggregate trade; each level it changes takes one update id; the bars add up the trades.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

from k2trio.market.streams import Kind

from .bars import Bars
from .book import MAX_LEVELS, MIN_LEVELS, Book
from .records import AggTrade, History, Ids, Liquidation, Trade

if TYPE_CHECKING:
    from .book import Side
    from .contract import BookListener, VenueSymbol
    from .spec import SymbolSpec

NEVER_US = 1 << 62
"""A time that does not come; microseconds."""

START_LEVELS = 100
BLOCK_TRADE_SHARE = 0.002
LIQUIDATION_SHARE = 0.02
"""Of taker orders, where futures are traded."""
OTHERS_IDS = 40
"""Ids of updates that others of the exchange take between two of a symbol, at most."""


class Listener:
    """Told of changes of one symbol; see :mod:`k2trio.simulator.market.voice`."""

    def on_level(self, symbol: VenueSymbol, side: Side, price: int) -> None:
        """A book level changed; ``symbol.update_id`` is the change's id."""

    def on_trade(self, symbol: SymbolMarket, trade: Trade) -> None:
        """A trade happened."""

    def on_agg_trade(self, symbol: SymbolMarket, trade: AggTrade) -> None:
        """An aggregate trade is complete."""

    def on_block_trade(self, symbol: SymbolMarket, trade: Trade) -> None:
        """A block trade happened, outside the book."""

    def on_liquidation(self, symbol: SymbolMarket, record: Liquidation) -> None:
        """A position was closed by force."""

    def on_renumbered(self, symbol: VenueSymbol) -> None:
        """Ids began anew; ``symbol.update_id`` is the first of the new ones."""

    def on_top(self, symbol: SymbolMarket, time_us: int) -> None:
        """The best bid or ask changed, as of ``symbol.update_id``."""


class SymbolMarket:
    """The trading of one symbol.

    :param rate: taker orders per second.
    :param quotes: book changes per taker order.
    :param history: trades, aggregate trades and block trades kept for REST, so many of each.
    :param futures: ids of updates are shared with other symbols, and there are liquidations, whose
        trades are told by no stream.
    :ivar name: of the symbol.
    :ivar has_book: whether its book is known, which it always is.
    :ivar halted_until_us: nothing happens before; microseconds.
    :ivar shared_ids: aggregate ids that two trades have.
    """

    def __init__(
        self,
        spec: SymbolSpec,
        *,
        seed: int,
        start_us: int,
        rate: float,
        quotes: float,
        history: int,
        futures: bool = False,
    ) -> None:
        # What only futures have is drawn apart, so that spot is what it was.
        self._others = random.Random(f"{seed}/{spec.symbol}/others") if futures else None
        # A string seed is hashed by SHA-512 and not by hash(): the same in every process.
        self._random = random.Random(f"{seed}/{spec.symbol}")
        self.spec = spec
        self.name: str = spec.symbol
        self.has_book: bool = True
        self.rate: float = rate
        self.quotes = quotes
        draw = self._random.randrange
        self.trade_ids: Ids = Ids(draw(10**8, 10**9))
        self.agg_ids: Ids = Ids(draw(10**7, 10**8))
        self.block_ids: Ids = Ids(draw(10**5, 10**6))
        self.update_id: int = draw(10**9, 10**10)
        self.trades: History[Trade] = History(history)
        self.agg_trades: History[AggTrade] = History(history)
        self.block_trades: History[Trade] = History(history)
        self.bars: Bars = Bars(start_us // 1000, spec.price)
        self.book: Book = Book()
        self.last_trade_us: int = start_us
        for depth in range(START_LEVELS):
            self.book.bids.set(spec.price - depth * spec.tick, self._level_quantity())
            self.book.asks.set(spec.price + (depth + 1) * spec.tick, self._level_quantity())
        # Each list holds only those who want that event: most events interest nobody.
        self.level_listeners: list[BookListener] = []
        self.trade_listeners: list[Listener] = []
        self.agg_listeners: list[Listener] = []
        self.block_listeners: list[Listener] = []
        self.top_listeners: list[Listener] = []
        self.liquidation_listeners: list[Listener] = []
        self._top = self.book.top()
        self.last_quantity: int = 0
        self.halted_until_us: int = start_us
        self.shared_ids: list[int] = []
        self._shares_id = False
        self.due_us: int = NEVER_US
        self._draw_due(start_us)

    def attach(self, listener: Listener, kind: Kind) -> None:
        """Tell ``listener`` what a stream of ``kind`` needs to know."""
        match kind:
            case Kind.TRADE | Kind.KLINE:
                self.trade_listeners.append(listener)
            case Kind.AGG_TRADE:
                self.agg_listeners.append(listener)
            case Kind.BLOCK_TRADE:
                self.block_listeners.append(listener)
            case Kind.DEPTH | Kind.PARTIAL_DEPTH:
                self.level_listeners.append(listener)
            case Kind.FORCED_ORDER | Kind.ALL_FORCED_ORDERS:
                self.liquidation_listeners.append(listener)
            case Kind.BOOK_TICKER | Kind.ALL_BOOK_TICKERS:
                self._top = self.book.top()
                self.top_listeners.append(listener)
            case Kind.AVG_PRICE | Kind.REFERENCE_PRICE | Kind.MARK_PRICE | Kind.ALL_MARK_PRICES:
                pass  # these speak by the clock alone
            case _:
                self.trade_listeners.append(listener)

    def watch_book(self, listener: BookListener) -> None:
        """Tell a listener of changes of the book."""
        self.level_listeners.append(listener)

    def leave_book(self, listener: BookListener) -> None:
        """Tell it no more."""
        self.level_listeners.remove(listener)

    def _draw_due(self, now_us: int) -> None:
        rate = self.rate * (1 + self.quotes)
        wait_us = NEVER_US if rate <= 0 else max(1, int(self._random.expovariate(rate) * 1e6))
        self.due_us = min(NEVER_US, now_us + wait_us)

    def _level_quantity(self) -> int:
        return self.spec.step * (1 + int(self._random.expovariate(0.01)))

    def set_rate(self, rate: float, now_us: int) -> None:
        """Change the taker orders per second from now on."""
        self.rate = rate
        self._draw_due(max(now_us, self.halted_until_us))

    def step(self) -> None:
        """Do what is due at ``due_us``, and draw when the next thing is."""
        now_us = self.due_us
        if self._random.random() * (1 + self.quotes) < 1:
            self.take(now_us)
        else:
            self._quote()
            self._tell_top(now_us)
        self._draw_due(now_us)

    def jump_ids(self, by: int) -> None:
        """Let the ids of trades of all kinds, and of updates, skip ``by``, as after a restart."""
        self.trade_ids.jump(by)
        self.agg_ids.jump(by)
        self.block_ids.jump(by)
        self.update_id += by

    def reset_ids(self, by: int) -> None:
        """Let the ids of trades of all kinds, and of updates, begin anew, ``by`` lower.

        History is lost.
        """
        for ids in (self.trade_ids, self.agg_ids, self.block_ids):
            ids.go_back(by)
        for history in (self.trades, self.agg_trades, self.block_trades):
            history.clear()
        self.update_id = max(0, self.update_id - by) + 1
        for listener in self.level_listeners:
            listener.on_renumbered(self)

    def share_next_id(self) -> None:
        """Let the next aggregate trade have the id of the last one."""
        self._shares_id = bool(self.agg_trades.records)

    def halt(self, now_us: int, until_us: int) -> None:
        """Let nothing happen until then."""
        self.halted_until_us = max(self.halted_until_us, until_us)
        self.bars.halt(now_us // 1000, self.halted_until_us // 1000)
        self._draw_due(self.halted_until_us)

    def take(self, now_us: int) -> None:
        """One taker order: trades from the best price on; none while the symbol is halted."""
        if now_us < self.halted_until_us:
            return
        draw = self._random
        drift = (self.bars.price - self.spec.price) / self.spec.price
        sells = draw.random() < 0.5 + max(-0.4, min(0.4, 10 * drift))
        side = self.book.bids if sells else self.book.asks
        open_quantity = self.spec.step * (1 + int(draw.expovariate(0.05)))
        while open_quantity:
            price = side.best
            level = side.quantities[price]
            quantity = min(level, open_quantity)
            self._match(now_us, price, quantity, sells)
            self._change(side, price, level - quantity)
            open_quantity -= quantity
            if len(side) < MIN_LEVELS:
                self._change(side, side.worst - side.sign * self.spec.tick, self._level_quantity())
        if self._others is not None:
            if self._others.random() < LIQUIDATION_SHARE:
                self._liquidate(now_us, side.best, sells)
        elif draw.random() < BLOCK_TRADE_SHARE:
            block = Trade(self.block_ids.take(), side.best, 1000 * self.spec.step, now_us, sells)
            self.block_trades.append(block)
            for listener in self.block_listeners:
                listener.on_block_trade(self, block)
        self._tell_top(now_us)

    def _liquidate(self, now_us: int, price: int, sells: bool) -> None:
        """Close a position by force: its trades take ids, and nobody is told of them."""
        assert self._others is not None  # noqa: S101 - only where there are such
        self.trade_ids.jump(self._others.randrange(1, 4))
        quantity = self.spec.step * self._others.randrange(1, 1000)
        for listener in self.liquidation_listeners:
            listener.on_liquidation(self, Liquidation(price, quantity, now_us, sells))

    def _match(self, now_us: int, price: int, quantity: int, sells: bool) -> None:
        step = self.spec.step
        parts = [quantity]
        if quantity > step and self._random.random() < 0.3:
            first = step * self._random.randrange(1, quantity // step)
            parts = [first, quantity - first]
        for part in parts:
            trade = Trade(self.trade_ids.take(), price, part, now_us, sells)
            self.trades.append(trade)
            self.bars.trade(now_us // 1000, trade.id, price, part, buyer_is_maker=sells)
            for listener in self.trade_listeners:
                listener.on_trade(self, trade)
        last = self.trade_ids.last
        first_id = last - len(parts) + 1
        agg = AggTrade(self._next_agg_id(), price, quantity, first_id, last, now_us, sells)
        self.agg_trades.append(agg)
        self.last_trade_us = now_us
        self.last_quantity = parts[-1]
        for listener in self.agg_listeners:
            listener.on_agg_trade(self, agg)

    def _next_agg_id(self) -> int:
        shares, self._shares_id = self._shares_id, False
        if not shares or not self.agg_ids.issued_last:  # ids leapt, or began anew, just before
            return self.agg_ids.take()
        self.shared_ids.append(self.agg_ids.last)
        return self.agg_ids.last

    def _quote(self) -> None:
        draw = self._random
        side = self.book.bids if draw.random() < 0.5 else self.book.asks
        deed = draw.random()
        if deed < 0.4:
            # A wide spread draws quotes into it; a tight one leaves room only behind the best.
            spread = (self.book.asks.best - self.book.bids.best) // self.spec.tick
            ticks = draw.randrange(spread) if spread > 1 else -int(draw.expovariate(0.3))
            self._change(
                side, side.best + side.sign * ticks * self.spec.tick, self._level_quantity()
            )
            if len(side) > MAX_LEVELS:
                self._change(side, side.worst, 0)
            return
        price = side.at(min(int(draw.expovariate(0.5)), len(side) - 1))
        removes = 0.4 <= deed < 0.5 and len(side) > MIN_LEVELS
        self._change(side, price, 0 if removes else self._level_quantity())

    def _change(self, side: Side, price: int, quantity: int) -> None:
        side.set(price, quantity)
        self.update_id += 1 if self._others is None else self._others.randrange(1, OTHERS_IDS)
        for listener in self.level_listeners:
            listener.on_level(self, side, price)

    def _tell_top(self, now_us: int) -> None:
        if self.top_listeners:
            top = self.book.top()
            if top != self._top:
                self._top = top
                for listener in self.top_listeners:
                    listener.on_top(self, now_us)

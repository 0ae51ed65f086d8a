"""The pace of a market: its time follows trio's clock, and what is due happens."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import trio

from ..market.trading import NEVER_US

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..market.contract import VenueMarket
    from ..market.message import Message

MAX_EVENTS_PER_STEP = 200
"""Trades and quotes between two turns of the connections, about 5 ms of work."""

MAX_LAG_S = 0.1
"""How far a market that is too fast for this machine may lag before its clock is put back."""


class Tempo(NamedTuple):
    """How a market's time goes.

    :ivar speed: its seconds a second of ours.
    :ivar lead_s: how long after the first subscription it begins; None: at once, without any.
    """

    speed: float = 1.0
    lead_s: float | None = None


AT_ONCE = Tempo()


class Pace:
    """Lets a market live in trio's time.

    :param publish: told what the market emits.
    :param tick_s: messages of a busy market are sent together this often; a quiet market's go
        out at the exact time of their event.
    """

    def __init__(
        self,
        market: VenueMarket,
        publish: Callable[[list[Message]], None],
        tick_s: float,
        tempo: Tempo = AT_ONCE,
    ) -> None:
        self._market = market
        self._publish = publish
        self._tick_s = tick_s
        self._us_per_s = tempo.speed * 1e6
        self._lead_s = tempo.lead_s
        self._started_at: float | None = None
        self._begun = trio.Event()
        self._changed = trio.Event()

    def now_us(self) -> int:
        """Simulated time: microseconds since 1970. It starts when first asked for, or begun."""
        now = trio.current_time()
        if self._started_at is None:
            if self._lead_s is not None:
                return self._market.start_us - round(self._lead_s * self._us_per_s)
            self._start(now)
            return self._market.start_us
        return self._market.start_us + round((now - self._started_at) * self._us_per_s)

    def begin(self) -> None:
        """Somebody listens: let time begin that waits for that."""
        if self._started_at is None and self._lead_s is not None:
            self._start(trio.current_time() + self._lead_s)
            self.look_again()

    def _start(self, at: float) -> None:
        self._started_at = at
        self._begun.set()

    async def started(self) -> None:
        """Wait until the market's time has begun."""
        await self._begun.wait()
        if self._started_at is not None:
            await trio.sleep_until(self._started_at)

    async def run(self) -> None:
        """Let the market live, for ever."""
        last_tick = -math.inf
        while True:
            while self._step():
                await trio.lowlevel.checkpoint()  # connections get their turn in between
            self._changed = trio.Event()
            due_us = self._market.next_us()
            until = math.inf
            if due_us < NEVER_US and self._started_at is not None:
                until = self._started_at + (due_us - self._market.start_us) / self._us_per_s
            with trio.move_on_at(max(until, last_tick + self._tick_s)):
                await self._changed.wait()
            last_tick = trio.current_time()

    def _step(self) -> bool:
        """Do some of what is due; whether there is more.

        A market that is faster than this machine slows down: its clock is put back, so that it
        does not pile up more and more to do.
        """
        market = self._market
        now_us = self.now_us()
        self._publish(market.advance(now_us, MAX_EVENTS_PER_STEP))
        lag_s = (now_us - market.now_us) / self._us_per_s
        if lag_s > MAX_LAG_S and self._started_at is not None and market.next_us() <= now_us:
            self._started_at += lag_s
        return market.next_us() <= self.now_us()

    def catch_up(self) -> None:
        """Bring the market to now and send what happened."""
        self._publish(self._market.advance(self.now_us()))

    def look_again(self) -> None:
        """Something may be due sooner than was known: a stream is watched that was not before."""
        self._changed.set()

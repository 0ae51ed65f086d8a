"""Alert bot: tells a webhook of prices that move, and of a feed that lacks something.

A message to the webhook must never hold up the feed: alerts wait in a bounded queue, and what does
not fit is counted and told later. An alert of one kind is not repeated for a while.

    python examples/alert_bot.py --seconds 30 --symbol LTCUSDT --move 5 --window 5
    python examples/alert_bot.py --webhook https://hooks.example.com/services/T000/B000

Needs nothing but k2trio. Without a webhook it prints. The body is {"text": "..."}, as Slack,
Mattermost and others take it.
"""

from __future__ import annotations

import math
from collections import deque
from decimal import Decimal

import httpx2
import trio
from exchange import add_faults, exchange, options

import k2trio
from k2trio import streams, transitions

WAITING = 100
"""Alerts that wait for a slow webhook."""
PATIENCE_S = 5.0
"""How long a webhook may take."""
QUIET_S = 3.0
"""An alert of one kind is not repeated for so long."""


class Bot:
    def __init__(self, move: Decimal, window_s: float) -> None:
        self.move, self.window_ms = move, window_s * 1000
        self.trades: deque[tuple[int, int, Decimal]] = deque()  # time in ms, id, price
        self.told_at: dict[str, float] = {}
        self.dropped = 0
        self.put, self.get = trio.open_memory_channel[str](WAITING)

    def alert(self, kind: str, text: str) -> None:
        now = trio.current_time()
        if now < self.told_at.get(kind, -math.inf) + QUIET_S:
            return
        self.told_at[kind] = now
        try:
            self.put.send_nowait(text)
        except trio.WouldBlock:
            self.dropped += 1

    def observe(self, what: k2trio.Transition) -> None:
        """Told of what happens to the feed, where it happens: it must not wait."""
        match what:
            case transitions.ConnectionLost(endpoint=endpoint, reason=reason):
                self.alert("lost", f"connection to {endpoint} lost: {reason}")
            case transitions.Flowing(endpoint=endpoint, outage_s=float(outage_s)):
                self.alert("flowing", f"data again, from {endpoint}, after {outage_s:.3f} s")
            case _:
                pass

    def take(self, item: k2trio.Item[k2trio.Trade]) -> None:
        match item:
            case k2trio.Event():
                self.trade(item.data)
            case k2trio.Gap(first=first, last=last, reason=reason):
                self.trades.clear()  # over a hole, a move is a guess
                self.alert("missing", f"{item.stream}: {first} to {last} are missing, {reason}")
            case _:
                self.trades.clear()
                self.alert("missing", f"{item.stream}: {type(item).__name__}")

    def trade(self, trade: k2trio.Trade) -> None:
        price = Decimal(trade.price)
        self.trades.append((trade.trade_time, trade.trade_id, price))
        while self.trades[0][0] < trade.trade_time - self.window_ms:
            self.trades.popleft()
        _, first_id, first = self.trades[0]
        moved = (price - first) / first * 10_000
        if abs(moved) >= self.move:
            way = f"{first:.2f} -> {price:.2f}, trades {first_id} to {trade.trade_id}"
            self.alert("move", f"{trade.symbol} {moved:+.1f} bp: {way}")


async def post(bot: Bot, webhook: str | None) -> None:
    async with httpx2.AsyncClient(timeout=PATIENCE_S) as client:
        async for text in bot.get:
            if bot.dropped:
                text, bot.dropped = f"{text} (and {bot.dropped} alerts that did not fit)", 0
            print(text, flush=True)
            if webhook is not None:
                try:
                    (await client.post(webhook, json={"text": text})).raise_for_status()
                except httpx2.HTTPError as error:  # whose text has the URL, which is a secret
                    print(f"  not delivered: {type(error).__name__}", flush=True)


async def watch(bot: Bot, symbol: str) -> None:
    wanted = [streams.trade(symbol)]
    with bot.put:  # what waits is told, and then post ends
        try:
            async with k2trio.open_feed(wanted, observers=[bot.observe]) as feed:
                async for item in feed:
                    bot.take(item)
        except k2trio.GaveUp as error:
            bot.alert("over", f"the feed has given up: {error}")


async def main(seconds: float, symbol: str, bot: Bot, webhook: str | None) -> None:
    with trio.move_on_after(seconds):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(post, bot, webhook)
            nursery.start_soon(watch, bot, symbol)


if __name__ == "__main__":
    parser = options(__doc__, seconds=30)
    parser.add_argument("--symbol", default="LTCUSDT")
    parser.add_argument("--move", type=Decimal, default=Decimal(5), help="basis points")
    parser.add_argument("--window", type=float, default=5, help="in which it moves (s)")
    parser.add_argument("--webhook", help="where to post alerts")
    add_faults(parser)
    given = parser.parse_args()
    with exchange(given.faults):
        trio.run(main, given.seconds, given.symbol, Bot(given.move, given.window), given.webhook)

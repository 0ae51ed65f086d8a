"""Repairs without a feed: an arbiter, the repairs behind it, and REST hosts that answer as told."""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import trio
from rest import HOSTS, VENUE, Rest, agg_rows, asked, make_backfill

from k2trio.continuity.arbiter import Arbiter
from k2trio.continuity.items import Gap, Item
from k2trio.market.payloads import AggTrade, Bar, Depth, Event, Kline
from k2trio.observe.metrics import Metrics
from k2trio.repair.gaps import Repairs
from k2trio.settings import Settings

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable

    import httpx2

AGGS, OTHER, DEPTH = "btcusdt@aggTrade", "ethusdt@aggTrade", "btcusdt@depth"
MINUTES = "btcusdt@kline_1m"
MINUTE = 60_000


def agg(number: int, stream: str = AGGS, venue: str = VENUE) -> Event:
    data = AggTrade(number, "BTCUSDT", number, "1", "1", number, number, number, False)
    return Event(data, stream, venue, float(number), b"{}")


def diff(first: int, last: int, stream: str = DEPTH) -> Event:
    return Event(Depth(last, "BTCUSDT", first, last, [], []), stream, VENUE, 0.0, b"{}")


def minute(number: int, *, closed: bool = False) -> Event:
    start = number * MINUTE
    at = start + (MINUTE if closed else 2000)
    bar = Bar(start, start + MINUTE - 1, "BTCUSDT", "1m", *"11111", 1, closed, "1")
    return Event(Kline(at, "BTCUSDT", bar), MINUTES, VENUE, at / 1000, b"{}")


@dataclass
class Bench:
    """An arbiter and the repairs behind it; ``told`` is what a consumer got, and when."""

    arbiter: Arbiter
    metrics: Metrics
    repairs: Repairs
    told: list[tuple[float, Item]] = field(default_factory=list)
    pause_s: float = 0.0

    def offer(self, *events: Event) -> None:
        now = trio.current_time()
        for event in events:
            items = self.arbiter.offer(event.venue, [event], now).items
            self.told += [(now, item) for item in items]
        if self.arbiter.gap_opened:
            self.arbiter.gap_opened = False
            self.repairs.notice()

    async def publish(self, items: list[Item]) -> None:
        now = round(trio.current_time(), 6)
        self.told += [(now, item) for item in items]
        await trio.sleep(self.pause_s)

    def lines(self, stream: str | None = None) -> list[Any]:
        """What was told: ids (repaired ones negative) and gaps, with times where they changed."""
        out: list[Any] = []
        for _, item in self.told:
            if stream not in (None, item.stream):
                continue
            if isinstance(item, Gap):
                out.append((item.first, item.last, item.reason))
            elif isinstance(item, Event):
                out.append(number_of(item) * (-1 if item.origin == "backfill" else 1))
        return out

    def gaps(self) -> list[tuple[float, Gap]]:
        return [(at, item) for at, item in self.told if isinstance(item, Gap)]

    def ended(self) -> dict[str, float]:
        found = {
            outcome: self.metrics.registry.get_sample_value(
                "k2_binance_gaps_total", {"outcome": outcome}
            )
            for outcome in ("joined", "repaired", "declared")
        }
        return {outcome: count for outcome, count in found.items() if count}


def number_of(event: Event) -> int:
    data = event.data
    if isinstance(data, AggTrade):
        return data.agg_id
    return int(data.bar.open_time // MINUTE if isinstance(data, Kline) else data.last_update_id)


@asynccontextmanager
async def open_bench(
    answer: Callable[[httpx2.Request], Any], **values: Any
) -> AsyncGenerator[tuple[Bench, Rest]]:
    rest = Rest(answer)
    hosts = values.pop("hosts", HOSTS[:1])
    redundant = values.pop("redundant", True)
    snapshots = values.pop("snapshots", False)
    chosen = Settings(websocket_url="wss://v.test:9/stream", rest_urls=hosts, **values)
    arbiter = Arbiter(1000, snapshots=snapshots)
    metrics = Metrics(["BTCUSDT"])

    async def publish(items: list[Item]) -> None:
        await bench.publish(items)

    backfill = make_backfill(rest, hosts, **values)
    repairs = Repairs(arbiter, backfill, chosen, publish, metrics, lambda _: redundant)
    bench = Bench(arbiter, metrics, repairs)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(repairs.run)
        yield bench, rest
        nursery.cancel_scope.cancel()


def having(missing: set[int] | None = None, until: int = 10**9) -> Callable[[httpx2.Request], Any]:
    """A venue that has every id up to ``until``, save the missing ones."""

    def answer(request: httpx2.Request) -> Any:
        first, limit = asked(request)
        found: list[int] = []
        number = first
        while len(found) < limit and number <= until:
            if number not in (missing or ()):
                found.append(number)
            number += 1
        return agg_rows(found)

    return answer

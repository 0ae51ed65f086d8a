"""The five questions of docs/howto/dataset.md, asked of a set that was made on a bad day."""

from __future__ import annotations

import re
from collections import defaultdict
from datetime import UTC, datetime
from decimal import Decimal
from statistics import median
from typing import TYPE_CHECKING, Any

import duckdb
import pytest
import trio
from pages import DOCS
from world import fault, open_world

from k2trio.continuity.items import Gap
from k2trio.dataset.rotated import JOURNAL
from k2trio.dataset.sealing import seal_all
from k2trio.market.payloads import BookTicker, Event, Trade
from k2trio.sinks.lines import encode_lines

if TYPE_CHECKING:
    from pathlib import Path

    from k2trio.continuity.items import Item

DOCUMENT = (DOCS / "howto" / "dataset.md").read_text()
QUESTIONS = DOCUMENT.partition("## Five questions")[2]
STREAMS = ["btcusdt@trade", "ethusdt@trade", "btcusdt@bookTicker"]
SQL = dict(re.findall(r"### (.+?)\n.+?```sql\n(.+?)```", QUESTIONS, re.DOTALL))
PYTHON = dict(re.findall(r"### (.+?)\n.+?```python\n(.+?)```", QUESTIONS, re.DOTALL))
RESULTS = {
    "Candles": "candles",
    "Spread": "spread",
    "Gaps": "missing",
    "Latency": "latency",
    "Volume profile": "profile",
}
DAY_S = 150


async def bad_day() -> list[Item]:
    """What a feed brought while messages were dropped and REST was down: some gaps stay."""
    faults = [
        fault(20, "rst"),
        fault(40, "dropped", share=0.3, duration=2.0),
        fault(60, "rest_refused", "venue.rest", duration=60.0),
        fault(62, "dropped", share=0.5, duration=2.0),
    ]
    settings = {"streams": STREAMS, "repair_hold": 5, "shared_budget": "off"}
    async with open_world(faults, rate=20, settings=settings) as world:
        await trio.sleep(DAY_S)
    return [item for _, item in world.items]


@pytest.fixture(scope="module")
def items() -> list[Item]:
    return trio.run(bad_day, clock=trio.testing.MockClock(autojump_threshold=0))


@pytest.fixture(scope="module")
def market(items: list[Item], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder in which there is a sealed set called ``market``."""
    folder = tmp_path_factory.mktemp("questions")
    journals = folder / "market" / JOURNAL
    journals.mkdir(parents=True)
    (journals / "20260101T00-1.jsonl").write_bytes(encode_lines(items))
    (outcome,) = seal_all(folder / "market", journals, "a test")
    assert outcome.seal is not None
    return folder


def expected(question: str, items: list[Item]) -> list[tuple[Any, ...]]:
    """The answer, by plain Python."""
    trades = [item for item in items if isinstance(item, Event) and type(item.data) is Trade]
    match question:
        case "Candles":
            return candles(trades)
        case "Spread":
            return spreads(items)
        case "Gaps":
            gaps = [item for item in items if isinstance(item, Gap)]
            assert gaps, "the day was not bad enough"
            missing: dict[tuple[str, str], int] = defaultdict(int)
            for gap in gaps:
                missing[gap.stream, gap.reason] += gap.last - gap.first + 1
            return [(*key, count, 0) for key, count in sorted(missing.items())]
        case "Latency":
            found: dict[str, list[float]] = defaultdict(list)
            for trade in trades:
                if trade.origin == "live":
                    found[trade.stream].append(trade.received_ns / 1e6 - trade.data.event_time)
            return [(stream, median(late), p99(late)) for stream, late in sorted(found.items())]
        case _:
            steps: dict[tuple[str, int], list[Decimal]] = defaultdict(lambda: [Decimal(0)] * 2)
            for trade in (trade.data for trade in trades):
                key = trade.symbol, int(Decimal(trade.price) // 10 * 10)
                quantity = Decimal(trade.quantity)
                bought = Decimal(0) if trade.buyer_is_maker else quantity
                volume, so_far = steps[key]
                steps[key] = [volume + quantity, so_far + bought]
            return [(*key, *volumes) for key, volumes in sorted(steps.items())]


def candles(trades: list[Event[Trade]]) -> list[tuple[Any, ...]]:
    minutes: dict[tuple[str, datetime], list[Trade]] = defaultdict(list)
    for trade in sorted((trade.data for trade in trades), key=lambda trade: trade.trade_id):
        minutes[trade.symbol, minute(trade.trade_time)].append(trade)
    found: list[tuple[Any, ...]] = []
    for key, rows in sorted(minutes.items()):
        prices = [Decimal(row.price) for row in rows]
        volume = sum(Decimal(row.quantity) for row in rows)
        ends = prices[0], max(prices), min(prices), prices[-1]
        found.append((*key, *ends, volume, len(rows)))
    return found


def spreads(items: list[Item]) -> list[tuple[Any, ...]]:
    minutes: dict[tuple[str, datetime], list[float]] = defaultdict(list)
    for item in items:
        if isinstance(item, Event) and isinstance(item.data, BookTicker):
            bid, ask = float(item.data.bid), float(item.data.ask)
            when = minute(int(item.received * 1000))
            minutes[item.data.symbol, when].append(20000 * (ask - bid) / (ask + bid))
    return [(*key, median(found), max(found)) for key, found in sorted(minutes.items())]


def minute(time_ms: int) -> datetime:
    return datetime.fromtimestamp(time_ms // 60_000 * 60, UTC)


def p99(values: list[float]) -> float:
    """Between the two nearest."""
    ordered = sorted(values)
    place = 0.99 * (len(ordered) - 1)
    low = ordered[int(place)]
    return low + (place % 1) * (ordered[min(int(place) + 1, len(ordered) - 1)] - low)


def same(one: Any, other: Any) -> bool:
    """Exactly, but for what is reckoned in floats."""
    if isinstance(one, float) or isinstance(other, float):
        return float(one) == pytest.approx(float(other), rel=1e-6, abs=1e-3)
    if isinstance(one, datetime) and isinstance(other, datetime):
        return one.replace(tzinfo=UTC) == other.replace(tzinfo=UTC)
    return bool(one == other)


def check(answer: list[tuple[Any, ...]], question: str, items: list[Item]) -> None:
    right = expected(question, items)
    assert len(answer) == len(right) > 0
    for row, wanted in zip(answer, right, strict=True):
        assert all(map(same, row, wanted)), (row, wanted)


def test_there_are_five() -> None:
    assert list(SQL) == list(PYTHON) == list(RESULTS)


@pytest.mark.parametrize("question", RESULTS)
def test_duckdb_answers(
    question: str, items: list[Item], market: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(market)
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        check(connection.execute(SQL[question]).fetchall(), question, items)


@pytest.mark.parametrize("question", RESULTS)
def test_polars_answers(
    question: str, items: list[Item], market: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(market)
    names: dict[str, Any] = {}
    exec(compile(PYTHON[question], question, "exec"), names)  # noqa: S102 - our own text
    check(names[RESULTS[question]].rows(), question, items)

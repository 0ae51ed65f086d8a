"""Spot and futures in one program: two feeds, of which neither takes what is the other's."""

from __future__ import annotations

import contextlib
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import trio
from processes import simulator
from prometheus_client import CollectorRegistry
from world import fault, open_world

import k2trio
from k2trio.book.order_book import BookState
from k2trio.errors import leaves
from k2trio.market.payloads import Event
from k2trio.observe import transitions as on

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from world import World


PAGE = Path(__file__).parents[2] / "docs" / "howto" / "two-products.md"
AGGS, DEPTH = "btcusdt@aggTrade", "btcusdt@depth@100ms"
PRODUCTS = ("spot", "usdm")


@contextlib.asynccontextmanager
async def both(
    faults: dict[str, Any] | None = None, **settings: Any
) -> AsyncGenerator[tuple[World, World]]:
    """A feed of each, with the same streams, by the same name of a host."""
    given = {"streams": [AGGS, DEPTH], **settings}
    spot, usdm = (
        open_world(
            (faults or {}).get(product, ()),
            endpoints=["a"],
            rate=10,
            seed=number,
            settings=given,
            product=product,
        )
        for number, product in enumerate(PRODUCTS)
    )
    async with spot as one, usdm as other:
        yield one, other


def aggregates(world: World) -> list[Event[Any]]:
    return [item for _, item in world.items if isinstance(item, Event) and item.stream == AGGS]


async def test_each_brings_all_of_its_own_and_breaks_by_itself(autojump_clock: Any) -> None:
    faults = {"spot": [fault(30, "rst")], "usdm": [fault(50, "outage", duration=10)]}
    async with both(faults) as worlds:
        await trio.sleep(120)
        for world, venue in zip(worlds, ("venue.test", "venue.test-usdm"), strict=True):
            told = aggregates(world)
            ids = [event.data.agg_id for event in told]
            (sent,) = world.exchange.truth.ranges(AGGS)
            assert ids == list(range(ids[0], ids[-1] + 1))
            assert sent[0] <= ids[0] < ids[-1] <= sent[1]
            assert {event.venue for event in told} == {venue}
            assert {row.venue for row in world.feed.coverage()} == {venue}
            assert all(row.missing == 0 for row in world.feed.coverage() if row.stream == AGGS)
            assert {what.venue for _, what in world.of(on.ConnectionLost)} == {venue}
    spot, usdm = worlds
    assert [at for at, _ in spot.of(on.ConnectionLost)] == [pytest.approx(30, abs=0.1)]
    # Two routes are two connections.
    assert [at for at, _ in usdm.of(on.ConnectionLost)] == [pytest.approx(50, abs=0.1)] * 2
    for world in worlds:
        received = world.metric("k2_binance_messages_received_total", symbol="BTCUSDT")
        live = sum(isinstance(item, Event) and item.origin == "live" for _, item in world.items)
        assert received == live + world.feed.status().duplicates


async def test_the_books_of_a_symbol_are_two(autojump_clock: Any) -> None:
    async with both() as worlds:
        await trio.sleep(20.05)  # between two updates, so that none is on its way
    tops: list[Any] = []
    for world in worlds:
        books = k2trio.Books([DEPTH])
        for _, item in world.items:
            books.apply(item)
        book = books["BTCUSDT"]
        assert (book.state, book.faults) == (BookState.LIVE, 0)
        assert book.last_update_id == world.exchange.truth.sent_ids(DEPTH)[-1][1]
        tops.append((book.venue, book.last_update_id))
    assert tops[0] != tops[1]


async def test_one_registry_for_both_is_refused(autojump_clock: Any) -> None:
    registry = CollectorRegistry()
    k2trio.Metrics(["BTCUSDT"], registry=registry)
    with pytest.raises(k2trio.ConfigError, match="give each feed a registry of its own"):
        k2trio.Metrics(["BTCUSDT"], registry=registry)


async def test_one_state_file_for_both_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    with pytest.raises(ExceptionGroup) as refused:
        async with both(state=path):
            pass
    (error,) = leaves(refused.value)
    assert isinstance(error, k2trio.ConfigError)
    assert f"the state file {path} is in use by another" in str(error)


async def test_budgets_in_one_file_are_of_one_venue_each(tmp_path: Path) -> None:
    path = tmp_path / "budget"
    async with both(shared_budget=path):
        await trio.sleep(1)
    kept = path.read_bytes()
    for account in ("dials", "weight"):
        assert f'"venue.test {account}"'.encode() in kept
        assert f'"venue.test-usdm {account}"'.encode() in kept


@pytest.mark.slow
async def test_the_example_runs_on_real_sockets(capsys: pytest.CaptureFixture[str]) -> None:
    (example,) = re.findall(r"```python\n(.+?)```", PAGE.read_text(), re.DOTALL)
    names: dict[str, Any] = {}
    exec(compile(example.removesuffix("trio.run(main)\n"), str(PAGE), "exec"), names)  # noqa: S102
    with simulator("--rate", "50") as spot, simulator("--product", "usdm", "--rate", "50") as usdm:
        chosen = [
            k2trio.load_settings(
                product=product,
                websocket_url=exchange.urls["a"],
                failover_urls=(),
                rest_urls=(exchange.urls["rest"],),
                shared_budget="off",
            )
            for product, exchange in (("spot", spot), ("usdm", usdm))
        ]
        out = ""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(names["main"], *chosen)
            with trio.fail_after(60):
                while "\n127.0.0.1-usdm - 127.0.0.1 = " not in out:
                    await trio.sleep(0.1)
                    out += capsys.readouterr().out
            nursery.cancel_scope.cancel()
    assert "missing" not in out

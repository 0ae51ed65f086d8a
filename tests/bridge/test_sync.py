"""The feed in a plain thread: what comes out, who waits for how long, and how it ends."""

from __future__ import annotations

import asyncio
import itertools
import signal
import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest
from bridge.exchange import (
    END_BOUND_S,
    NOWHERE,
    OTHER,
    STREAM,
    BrokenObserver,
    Exchange,
    assert_whole,
    ids,
)
from processes import simulator
from prometheus_client import generate_latest

import k2trio
from k2trio.errors import ConfigError, FeedClosed, GaveUp, SubscriptionRejected, UsageError

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path

    from k2trio.continuity.items import Item

pytestmark = pytest.mark.slow

open_feed = k2trio.sync.open_feed


@pytest.fixture(scope="module")
def exchange() -> Generator[Exchange]:
    with simulator("--rate", "200") as running:
        yield Exchange(running)


@pytest.fixture(autouse=True)
def _no_thread_is_left() -> Generator[None]:
    yield
    assert [thread for thread in threading.enumerate() if thread.name == "k2trio feed"] == []


# -- what comes out ---------------------------------------------------------------------------


def test_events_batches_and_the_rest_come_as_from_any_feed(exchange: Exchange) -> None:
    with open_feed([STREAM], exchange.settings()) as feed:
        items: list[Item] = list(itertools.islice(feed, 10))
        items += feed.get_batch()
        for batch in feed.batches():
            items += batch
            if len(items) > 100:
                break
        items.append(feed.get())
        items += itertools.islice(feed, 5)
        time.sleep(0.2)
        items += feed.drain()
        assert_whole(items, 120)
        status = feed.status()
        assert (status.connected, status.problems) == (True, ())
        assert [row.stream for row in feed.coverage()] == [STREAM]
    assert feed.status().connected is False
    assert feed.coverage()[0].live >= len(items)
    with pytest.raises(FeedClosed, match="open another one"):
        feed.get()


def test_its_metrics_can_be_scraped_from_any_thread(exchange: Exchange) -> None:
    with open_feed([STREAM], exchange.settings()) as feed:
        feed.get()
        text = generate_latest(feed.registry).decode()
    assert 'k2_binance_messages_received_total{symbol="BTCUSDT"}' in text
    assert "k2_binance_connect_budget_left{" in text, "one that wants to know the time"


def test_streams_are_added_and_removed_while_it_runs(exchange: Exchange) -> None:
    with open_feed(settings=exchange.settings()) as feed:
        feed.subscribe(OTHER)
        assert any(event.stream == OTHER for event in feed)
        feed.unsubscribe(STREAM, OTHER)
        feed.drain()
        with pytest.raises(TimeoutError):
            feed.get(timeout=0.5)
        with pytest.raises(SubscriptionRejected, match="nosuchusdt@trade"):
            feed.subscribe("nosuchusdt@trade")
        with pytest.raises(ConfigError, match="nonsense"):
            feed.subscribe("nonsense")


def test_a_wait_ends_at_its_timeout_and_loses_nothing(exchange: Exchange) -> None:
    """Most of these end by their timeout, some in the same moment as a message comes."""
    items: list[Item] = []
    expired = 0
    with open_feed(settings=exchange.settings()) as feed:
        while len(items) < 300 or expired < 20:
            try:
                items.append(feed.get(timeout=0.002))
            except TimeoutError:
                expired += 1
        items += feed.drain()
    assert_whole(items)


def test_a_timeout_of_nothing_takes_what_is_there(exchange: Exchange) -> None:
    with open_feed(settings=exchange.settings()) as feed:
        items = [feed.get()]
        time.sleep(0.5)
        items += [feed.get(timeout=0) for _ in range(20)]
        assert_whole(items)
        feed.unsubscribe(STREAM)
        feed.drain()
        with pytest.raises(TimeoutError, match="no message within 0 s"):
            feed.get(timeout=0)


def test_a_consumer_that_rests_stops_the_reading_at_the_bound(exchange: Exchange) -> None:
    with open_feed(settings=exchange.settings(max_buffered_messages=50)) as feed:
        items = [feed.get()]
        time.sleep(1)
        assert 50 <= feed.status().buffered < 100
        assert_whole([*items, *itertools.islice(feed, 300)])


@pytest.mark.parametrize("asked_again", [False, True])
def test_asking_for_more_acknowledges_what_came_before(
    exchange: Exchange, tmp_path: Path, asked_again: bool
) -> None:
    """The next program begins after the last message that was dealt with."""

    def live() -> list[Item]:
        with open_feed(settings=exchange.settings(state=tmp_path / "state.json")) as feed:
            batch = feed.get_batch()
            if asked_again:
                feed.get_batch()
            return batch

    first, second = live(), live()
    assert (ids(second)[0] == ids(first)[-1] + 1) == asked_again


def test_what_a_handler_has_returned_from_is_acknowledged_and_what_it_refused_is_not(
    exchange: Exchange, tmp_path: Path
) -> None:
    def live() -> list[Item]:
        batches: list[list[Item]] = []

        def take_two(batch: list[Item]) -> None:
            if len(batches) == 2:
                raise ZeroDivisionError
            batches.append(batch)

        state = tmp_path / "state.json"
        with (
            open_feed(settings=exchange.settings(state=state)) as feed,
            pytest.raises(ZeroDivisionError),
        ):
            feed.for_each_batch(take_two)
        return [item for batch in batches for item in batch]

    first, second = live(), live()
    assert_whole([*first, *second])


def test_a_handler_is_called_in_the_feeds_thread_and_its_failure_comes_out(
    exchange: Exchange,
) -> None:
    items: list[Item] = []
    threads: set[str] = set()

    def take(item: Item) -> None:
        items.append(item)
        threads.add(threading.current_thread().name)
        if len(items) == 50:
            raise ZeroDivisionError

    with open_feed(settings=exchange.settings()) as feed:
        items.append(next(iter(feed)))
        items += feed._items
        threads.clear()
        with pytest.raises(ZeroDivisionError):
            feed.for_each(take)
        items.append(feed.get())
    assert_whole(items)
    assert threads == {"k2trio feed"}


def test_a_handler_is_called_no_more_when_the_wait_was_interrupted(exchange: Exchange) -> None:
    items: list[Item] = []

    def interrupt(_batch: list[Item]) -> None:
        items.extend(_batch)
        if len(items) > 50:
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)

    with open_feed(settings=exchange.settings()) as feed:
        with pytest.raises(KeyboardInterrupt):
            feed.for_each_batch(interrupt)
        before = len(items)
        time.sleep(0.2)
        assert len(items) == before
        items += feed.get_batch()
    assert_whole(items)


def test_a_second_thread_that_reads_is_refused(exchange: Exchange) -> None:
    items: list[Item] = []

    def read_all() -> None:
        with suppress(FeedClosed):
            for item in feed:
                items.append(item)  # noqa: PERF402 - what came until it raises

    with open_feed(settings=exchange.settings()) as feed:
        feed.get_batch()
        feed.unsubscribe(STREAM)
        feed.drain()
        first = threading.Thread(target=read_all)
        first.start()
        time.sleep(0.2)
        for ask in (feed.get, feed.get_batch, lambda: list(feed), lambda: list(feed.batches())):
            with pytest.raises(UsageError, match="reads this feed already"):
                ask()
        feed.subscribe(STREAM)
        time.sleep(0.5)
    first.join()
    assert_whole(items, 20)


# -- the end ----------------------------------------------------------------------------------


def test_leaving_the_block_closes_what_was_open(exchange: Exchange) -> None:
    before = exchange.endings()
    with open_feed(settings=exchange.settings()) as feed:
        feed.get()
        at = time.monotonic()
    assert time.monotonic() - at < END_BOUND_S
    exchange.assert_all_closed(before)


def test_an_exception_of_the_block_leaves_as_it_went_in(exchange: Exchange) -> None:
    before = exchange.endings()
    error = LookupError("mine")

    def block() -> None:
        with open_feed(settings=exchange.settings()) as feed:
            feed.get()
            raise error

    with pytest.raises(LookupError) as caught:
        block()
    assert caught.value is error
    exchange.assert_all_closed(before)


@pytest.mark.parametrize("waits", [True, False], ids=["where it is read", "at the end"])
def test_what_goes_wrong_in_the_feed_comes_out_whole(exchange: Exchange, waits: bool) -> None:
    observer = BrokenObserver()

    def block() -> None:
        with open_feed(settings=exchange.settings(), observers=[observer]) as feed:
            if waits:
                with pytest.raises(BaseExceptionGroup) as caught:
                    feed.get()
                assert k2trio.errors.leaves(caught.value) == [observer.error]
                raise caught.value
            time.sleep(1)

    with pytest.raises(BaseExceptionGroup) as caught:
        block()
    assert k2trio.errors.leaves(caught.value) == [observer.error]


def test_if_both_fail_neither_error_is_lost(exchange: Exchange) -> None:
    observer = BrokenObserver()
    own = LookupError("mine")

    def block() -> None:
        with open_feed(settings=exchange.settings(), observers=[observer]):
            time.sleep(1)
            raise own

    with pytest.raises(BaseExceptionGroup) as caught:
        block()
    assert k2trio.errors.leaves(caught.value) == [own, observer.error]


def test_a_feed_that_cannot_be_opened_says_why(exchange: Exchange) -> None:
    with pytest.raises(ConfigError, match="no streams to open"), open_feed([], exchange.settings()):
        pass


def test_a_feed_that_gives_up_says_so_where_it_is_read() -> None:
    with open_feed(settings=NOWHERE) as feed:
        for _ in range(2):
            with pytest.raises(GaveUp, match="gave up after 1"):
                feed.get()


def test_it_may_be_used_where_an_event_loop_runs(exchange: Exchange) -> None:
    """As in a cell of a notebook: it holds up the loop, as any such call does."""

    async def main() -> None:
        with open_feed(settings=exchange.settings()) as feed:
            assert_whole(list(itertools.islice(feed, 10)))

    asyncio.run(main())

"""The feed in asyncio: real loops and sockets, since neither knows of virtual time."""

from __future__ import annotations

import asyncio
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest
import trio
from bridge.exchange import (
    END_BOUND_S,
    NOWHERE,
    OTHER,
    STREAM,
    BrokenObserver,
    Exchange,
    assert_trio_is_gone,
    assert_whole,
    ids,
)
from processes import simulator

import k2trio
from k2trio.errors import ConfigError, FeedClosed, GaveUp, SubscriptionRejected, UsageError

if TYPE_CHECKING:
    from collections.abc import Coroutine, Generator
    from pathlib import Path

    from k2trio.client.feed import Feed
    from k2trio.continuity.items import Item

pytestmark = pytest.mark.slow

open_feed = k2trio.aio.open_feed
ENDLESS = 10**9
"""Messages that never come."""


@pytest.fixture(scope="module")
def exchange() -> Generator[Exchange]:
    with simulator("--rate", "200") as running:
        yield Exchange(running)


def run(main: Coroutine[Any, Any, Any], **options: Any) -> Any:
    """``asyncio.run``, after which nothing of Trio may be left."""
    with asyncio.Runner(**options) as runner:
        result = runner.run(main)
    assert_trio_is_gone()
    return result


async def take(feed: Feed, count: int) -> list[Item]:
    items: list[Item] = []
    async for item in feed:
        items.append(item)
        if len(items) == count:
            break
    return items


async def consume(exchange: Exchange, reads: asyncio.Event) -> None:
    async with open_feed(settings=exchange.settings()) as feed:
        async for _ in feed:
            reads.set()


# -- what comes out ---------------------------------------------------------------------------


def test_a_loop_of_uvloop_is_one_as_any_other(exchange: Exchange) -> None:
    uvloop = pytest.importorskip("uvloop")

    async def main() -> None:
        async with open_feed(settings=exchange.settings()) as feed:
            assert_whole(await take(feed, 200))

    run(main(), loop_factory=uvloop.new_event_loop)


def test_a_loop_in_debug_mode_has_nothing_to_complain_of(
    exchange: Exchange, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        asyncio.get_running_loop().slow_callback_duration = 5
        async with open_feed(settings=exchange.settings()) as feed:
            assert_whole(await take(feed, 100))
            await feed.subscribe(OTHER)

    run(main(), debug=True)
    assert [record for record in caplog.records if record.levelname == "WARNING"] == []


def test_events_batches_and_the_rest_come_as_from_any_feed(exchange: Exchange) -> None:
    async def main() -> None:
        async with open_feed([STREAM], exchange.settings()) as feed:
            items = await take(feed, 10)
            items += await feed.next_batch()
            async for batch in feed.batches():
                items += batch
                if len(items) > 100:
                    break
            items.append(await anext(feed))
            await asyncio.sleep(0.2)
            items += feed.drain()
            assert_whole(items, 120)
            status = feed.status()
            assert (status.connected, status.problems) == (True, ())
            assert [row.stream for row in feed.coverage()] == [STREAM]
            received = "k2_binance_messages_received_total"
            value = feed.metrics.registry.get_sample_value(received, {"symbol": "BTCUSDT"})
            assert value is not None
            assert value >= len(items)
        assert feed.status().connected is False

    run(main())


def test_streams_are_added_and_removed_while_it_runs(exchange: Exchange) -> None:
    async def main() -> None:
        async with open_feed(settings=exchange.settings()) as feed:
            await feed.subscribe(OTHER)
            async for event in feed:
                if event.stream == OTHER:
                    break
            await feed.unsubscribe(STREAM, OTHER)
            feed.drain()
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(feed.next_batch(), 0.5)
            with pytest.raises(SubscriptionRejected, match="nosuchusdt@trade"):
                await feed.subscribe("nosuchusdt@trade")
            with pytest.raises(ConfigError, match="nonsense"):
                await feed.subscribe("nonsense")

    run(main())


def test_books_are_kept_and_audited_as_behind_any_feed(exchange: Exchange) -> None:
    async def main() -> None:
        settings = exchange.settings(book_audit_interval=1)
        async with open_feed(["btcusdt@depth@100ms"], settings) as feed, asyncio.timeout(20):
            async for book, _ in k2trio.books(feed):
                audits = feed.metrics.registry.get_sample_value(
                    "k2_binance_book_audits_total", {"witness": "snapshot"}
                )
                if audits and book is not None:
                    assert book.state is k2trio.BookState.LIVE
                    break

    run(main())


def test_what_one_waits_for_no_longer_is_not_lost(exchange: Exchange) -> None:
    """Most of these end by their timeout, some in the same moment as a message comes."""

    async def main() -> None:
        items: list[Item] = []
        expired = 0
        async with open_feed(settings=exchange.settings()) as feed:
            while len(items) < 300 or expired < 20:
                try:
                    items += await asyncio.wait_for(feed.next_batch(), 0.004)
                except TimeoutError:
                    expired += 1
        assert_whole(items)

    run(main())


def test_others_get_their_turns_while_a_backlog_is_read(exchange: Exchange) -> None:
    async def main() -> None:
        turns = 0

        async def other() -> None:
            nonlocal turns
            while True:
                turns += 1
                await asyncio.sleep(0)

        async with open_feed(settings=exchange.settings()) as feed:
            await take(feed, 1)
            async with asyncio.timeout(10):
                while feed.status().buffered < 200:  # noqa: ASYNC110 - nobody else knows
                    await asyncio.sleep(0.01)
            task = asyncio.create_task(other())
            await asyncio.sleep(0)
            before = turns
            assert_whole(await take(feed, feed.status().buffered))
            assert turns > before
            task.cancel()

    run(main())


def test_a_consumer_that_rests_stops_the_reading_at_the_bound(exchange: Exchange) -> None:
    async def main() -> None:
        settings = exchange.settings(max_buffered_messages=50)
        async with open_feed(settings=settings) as feed:
            items = await take(feed, 1)
            await asyncio.sleep(1)
            assert 50 <= feed.status().buffered < 100
            assert_whole([*items, *await take(feed, 300)])

    run(main())


@pytest.mark.parametrize("asked_again", [False, True])
def test_asking_for_more_acknowledges_what_came_before(
    exchange: Exchange, tmp_path: Path, asked_again: bool
) -> None:
    """The next program begins after the last message that was dealt with."""

    async def main() -> list[Item]:
        async with open_feed(settings=exchange.settings(state=tmp_path / "state.json")) as feed:
            batch = await feed.next_batch()
            if asked_again:
                with pytest.raises(TimeoutError):
                    async with asyncio.timeout(0.0):
                        await feed.next_batch()
            return batch

    first, second = run(main()), run(main())
    assert ids(second)[0] == (ids(first)[-1] + 1 if asked_again else ids(second)[0])
    assert (ids(second)[0] == ids(first)[-1] + 1) == asked_again


def test_what_a_handler_has_returned_from_is_acknowledged_and_what_it_refused_is_not(
    exchange: Exchange, tmp_path: Path
) -> None:
    async def live() -> list[Item]:
        batches: list[list[Item]] = []

        def take_two(batch: list[Item]) -> None:
            if len(batches) == 2:
                raise ZeroDivisionError
            batches.append(batch)

        async with open_feed(settings=exchange.settings(state=tmp_path / "state.json")) as feed:
            with pytest.raises(ZeroDivisionError):
                await feed.for_each_batch(take_two)
        return [item for batch in batches for item in batch]

    first, second = run(live()), run(live())
    assert_whole([*first, *second])


def test_a_handler_is_called_in_the_loop_and_its_failure_comes_out(exchange: Exchange) -> None:
    items: list[Item] = []

    async def main() -> None:
        loop = asyncio.get_running_loop()

        def take_item(item: Item) -> None:
            assert asyncio.get_running_loop() is loop
            items.append(item)
            if len(items) == 50:
                raise ZeroDivisionError

        async with open_feed(settings=exchange.settings()) as feed:
            with pytest.raises(ZeroDivisionError):
                await feed.for_each(take_item)
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.3):
                    await feed.for_each_batch(items.extend)

    run(main())
    assert_whole(items)
    assert len(items) > 50


# -- the end ----------------------------------------------------------------------------------


def test_cancelling_the_task_ends_the_feed_and_then_goes_on(exchange: Exchange) -> None:
    before = exchange.endings()

    async def main() -> None:
        reads = asyncio.Event()
        task = asyncio.create_task(consume(exchange, reads))
        await reads.wait()
        at = time.monotonic()
        task.cancel("enough")
        with pytest.raises(asyncio.CancelledError, match="enough"):
            await task
        assert time.monotonic() - at < END_BOUND_S
        assert_trio_is_gone()

    run(main())
    exchange.assert_all_closed(before)


def test_cancelled_again_and_again_it_still_ends_in_order(exchange: Exchange) -> None:
    before = exchange.endings()

    async def main() -> None:
        reads = asyncio.Event()
        task = asyncio.create_task(consume(exchange, reads))
        await reads.wait()
        while not task.done():
            task.cancel()
            await asyncio.sleep(0)
        assert task.cancelled()
        assert_trio_is_gone()

    run(main())
    exchange.assert_all_closed(before)


def test_a_cancellation_while_the_block_is_left_goes_on_when_all_is_gone(
    exchange: Exchange,
) -> None:
    async def main() -> None:
        async def consume() -> None:
            async with open_feed(settings=exchange.settings()) as feed:
                await take(feed, 1)
                leaves.set()

        leaves = asyncio.Event()
        task = asyncio.create_task(consume())
        await leaves.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert_trio_is_gone()

    run(main())


def test_a_timeout_around_the_block_is_a_timeout(exchange: Exchange) -> None:
    async def block() -> None:
        async with asyncio.timeout(1), open_feed(settings=exchange.settings()) as feed:
            await take(feed, ENDLESS)

    async def main() -> None:
        with pytest.raises(TimeoutError):
            await block()
        assert_trio_is_gone()

    run(main())


def test_an_exception_of_the_block_leaves_as_it_went_in(exchange: Exchange) -> None:
    before = exchange.endings()
    error = LookupError("mine")

    async def block() -> None:
        async with open_feed(settings=exchange.settings()) as feed:
            await take(feed, 1)
            raise error

    async def main() -> None:
        with pytest.raises(LookupError) as caught:
            await block()
        assert caught.value is error
        assert error.__cause__ is None

    run(main())
    exchange.assert_all_closed(before)


@pytest.mark.parametrize("iterates", [False, True])
def test_what_goes_wrong_in_trio_comes_out_of_the_block_whole(
    exchange: Exchange, iterates: bool
) -> None:
    """Whatever the task waits for there, and it is not cancelled afterwards."""
    observer = BrokenObserver()

    async def block() -> None:
        async with open_feed(settings=exchange.settings(), observers=[observer]) as feed:
            await (take(feed, ENDLESS) if iterates else asyncio.Event().wait())

    async def main() -> None:
        with pytest.raises(BaseExceptionGroup) as caught:
            await block()
        assert k2trio.errors.leaves(caught.value) == [observer.error]
        task = asyncio.current_task()
        assert task is not None
        assert task.cancelling() == 0
        await asyncio.sleep(0)

    run(main())


def test_the_group_is_the_one_that_trio_gives(exchange: Exchange) -> None:
    async def in_trio() -> BaseException:
        with pytest.raises(BaseExceptionGroup) as caught:
            async with k2trio.open_feed(settings=exchange.settings(), observers=[BrokenObserver()]):
                await trio.sleep_forever()
        return caught.value

    async def in_asyncio() -> BaseException:
        with pytest.raises(BaseExceptionGroup) as caught:
            async with open_feed(settings=exchange.settings(), observers=[BrokenObserver()]):
                await asyncio.Event().wait()
        return caught.value

    def shape(error: BaseException) -> object:
        if isinstance(error, BaseExceptionGroup):
            return error.message, [shape(one) for one in error.exceptions]
        return type(error)

    assert shape(run(in_asyncio())) == shape(trio.run(in_trio))


def test_if_both_worlds_fail_neither_error_is_lost(exchange: Exchange) -> None:
    observer = BrokenObserver()
    own = LookupError("mine")

    async def block() -> None:
        async with open_feed(settings=exchange.settings(), observers=[observer]):
            try:
                await asyncio.Event().wait()
            finally:
                raise own

    async def main() -> None:
        with pytest.raises(BaseExceptionGroup) as caught:
            await block()
        assert k2trio.errors.leaves(caught.value) == [own, observer.error]

    run(main())


def test_a_feed_that_cannot_be_opened_says_why_and_leaves_nothing(exchange: Exchange) -> None:
    async def main() -> None:
        with pytest.raises(ConfigError, match="no streams to open"):
            async with open_feed([], exchange.settings()):
                pass
        assert_trio_is_gone()
        async with open_feed(settings=exchange.settings()) as feed:
            assert_whole(await take(feed, 10))

    run(main())


def test_a_feed_that_gives_up_says_so_where_it_is_read() -> None:
    async def main() -> None:
        async with open_feed(settings=NOWHERE) as feed:
            with pytest.raises(GaveUp, match="gave up after 1"):
                await take(feed, 1)
            with pytest.raises(GaveUp):
                await feed.next_batch()

    run(main())


# -- tasks ------------------------------------------------------------------------------------


def test_another_task_may_read_and_is_told_when_the_feed_was_left(exchange: Exchange) -> None:
    """As in a web server: its lifespan opens the feed, and a task of its own reads it."""

    async def main() -> None:
        async with open_feed(settings=exchange.settings()) as feed:
            reader = asyncio.create_task(take(feed, ENDLESS))
            await asyncio.sleep(0.5)
        with pytest.raises(FeedClosed, match="open another one"):
            await reader

    run(main())


def test_a_second_task_that_reads_is_refused(exchange: Exchange) -> None:
    async def main() -> None:
        async with open_feed(settings=exchange.settings()) as feed:
            first = asyncio.create_task(take(feed, 300))
            await asyncio.sleep(0.1)
            with pytest.raises(UsageError, match="another task reads this feed already"):
                await take(feed, 1)
            with pytest.raises(UsageError, match="another task reads this feed already"):
                await anext(aiter(feed.batches()))
            assert_whole(await first, 300)
            assert_whole(await take(feed, 10), 10)

    run(main())


# -- loops ------------------------------------------------------------------------------------


async def token_of(feed: Feed) -> trio.lowlevel.TrioToken:
    """Which run of Trio a feed is part of."""
    await take(feed, 1)
    return trio.lowlevel.current_trio_token()


def test_feeds_of_one_loop_share_one_run_until_the_last_one_is_left(exchange: Exchange) -> None:
    async def main() -> None:
        async with open_feed(settings=exchange.settings()) as kept:
            run_of_kept = await token_of(kept)
            async with open_feed([OTHER], exchange.settings()) as left:
                assert await token_of(left) is run_of_kept
            assert_whole(await take(kept, 100))
        assert_trio_is_gone()
        async with open_feed(settings=exchange.settings()) as later:
            assert await token_of(later) is not run_of_kept

    run(main())


def test_one_feed_that_fails_leaves_the_others_alone(exchange: Exchange) -> None:
    async def main() -> None:
        async with open_feed(settings=exchange.settings()) as feed:
            with pytest.raises(BaseExceptionGroup):
                async with open_feed(settings=exchange.settings(), observers=[BrokenObserver()]):
                    await asyncio.Event().wait()
            assert_whole(await take(feed, 100))

    run(main())


def test_feeds_opened_and_left_at_the_same_time_do_not_get_in_each_others_way(
    exchange: Exchange,
) -> None:
    """Some come while the run of the last one is just ending."""

    async def come_and_go(number: int) -> int:
        for _ in range(3):
            async with open_feed(settings=exchange.settings()) as feed:
                assert_whole(await take(feed, number))
            await asyncio.sleep(0)
        return number

    async def main() -> None:
        assert await asyncio.gather(*map(come_and_go, (1, 1, 5, 9))) == [1, 1, 5, 9]

    run(main())


def test_threads_with_loops_of_their_own_have_feeds_of_their_own(exchange: Exchange) -> None:
    got: dict[int, list[Item]] = {}

    async def main(number: int) -> None:
        async with open_feed(settings=exchange.settings()) as feed:
            got[number] = await take(feed, 200)

    threads = [
        threading.Thread(target=lambda number=number: run(main(number))) for number in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(got) == 3
    for items in got.values():
        assert_whole(items)


def test_a_feed_that_nobody_leaves_ends_with_its_loop(exchange: Exchange) -> None:
    before = exchange.endings()
    opening = open_feed(settings=exchange.settings())

    async def main() -> None:
        feed = await opening.__aenter__()
        await take(feed, 1)

    run(main())
    exchange.assert_all_closed(before)


def test_a_loop_that_was_closed_under_a_feed_does_not_spoil_its_thread(
    exchange: Exchange,
) -> None:
    before = exchange.endings()
    opening = open_feed(settings=exchange.settings())
    loop = asyncio.new_event_loop()
    feed = loop.run_until_complete(opening.__aenter__())
    loop.run_until_complete(take(feed, 1))
    loop.close()

    async def main() -> None:
        async with open_feed(settings=exchange.settings()) as other:
            assert_whole(await take(other, 10))

    run(main())
    exchange.assert_all_closed(before)
    asyncio.run(opening.__aexit__(None, None, None))


def test_a_second_loop_of_a_thread_is_told_of_the_first_one(exchange: Exchange) -> None:
    first, second = asyncio.new_event_loop(), asyncio.new_event_loop()
    opening = open_feed(settings=exchange.settings())
    first.run_until_complete(opening.__aenter__())
    with pytest.raises(UsageError, match="another asyncio loop of this thread"):
        second.run_until_complete(open_feed(settings=exchange.settings()).__aenter__())
    first.run_until_complete(opening.__aexit__(None, None, None))
    assert_trio_is_gone()
    first.close()
    second.close()


def test_a_guest_of_somebody_else_is_not_disturbed(exchange: Exchange) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        over = asyncio.Event()
        end = trio.Event()
        trio.lowlevel.start_guest_run(
            end.wait,
            run_sync_soon_threadsafe=loop.call_soon_threadsafe,
            done_callback=lambda _: over.set(),
            host_uses_signal_set_wakeup_fd=True,
        )
        with pytest.raises(UsageError, match=r"by k2trio\.open_feed"):
            async with open_feed(settings=exchange.settings()):
                pass
        end.set()
        await over.wait()

    run(main())


async def test_opened_under_trio_it_names_the_entry_for_trio() -> None:
    with pytest.raises(UsageError, match=r"use k2trio\.open_feed"):
        async with open_feed(settings=NOWHERE):
            pass


def test_opened_under_no_loop_it_names_all_entries() -> None:
    opening = open_feed(settings=NOWHERE).__aenter__()
    with pytest.raises(UsageError, match=r"trio\.run.*asyncio\.run.*k2trio\.sync\.open_feed"):
        opening.send(None)  # type: ignore[attr-defined]

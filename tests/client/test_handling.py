"""A feed that calls a handler: what comes, how it ends, and what counts as dealt with."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import trio
from world import open_world

from k2trio.errors import FeedClosed, UsageError
from k2trio.market.payloads import Event

if TYPE_CHECKING:
    from k2trio.continuity.items import Item

by = pytest.mark.parametrize("by_batch", [False, True], ids=["events", "batches"])


class BrokenError(Exception):
    """Of a handler."""


def ids(items: list[Item]) -> list[int]:
    return [item.data.trade_id for item in items if isinstance(item, Event)]  # type: ignore[union-attr]


def assert_whole(items: list[Item]) -> None:
    found = ids(items)
    assert found == list(range(found[0], found[0] + len(items)))


async def handle(feed: Any, take: Any, *, by_batch: bool) -> None:
    """Have ``take`` called with every event."""
    if by_batch:

        def take_all(batch: list[Item]) -> None:
            for item in batch:
                take(item)

        await feed.for_each_batch(take_all)
    else:
        await feed.for_each(take)


@by
async def test_it_is_called_with_all_that_waited_and_all_that_comes(
    by_batch: bool, autojump_clock: Any
) -> None:
    items: list[Item] = []
    async with open_world(rate=20, consume=False) as world:
        feed = world.feed
        await trio.sleep(2)
        items.append(await anext(feed))
        assert not feed.caught_up
        with trio.move_on_after(10):
            await handle(feed, items.append, by_batch=by_batch)
        before = len(items)
        await trio.sleep(2)
        assert len(items) == before, "nobody listens"
        with trio.move_on_after(10):
            await handle(feed, items.append, by_batch=by_batch)
    assert_whole(items)
    assert len(items) > 24 * 20 * 0.9


@by
async def test_it_is_called_where_the_message_was_read(by_batch: bool, autojump_clock: Any) -> None:
    tasks: set[object] = set()
    waiting = 0
    async with open_world(rate=20, consume=False) as world:
        feed = world.feed

        def take(_item: Item) -> None:
            nonlocal waiting
            waiting += world.feed.status().buffered
            tasks.add(trio.lowlevel.current_task())

        with trio.move_on_after(5):
            await feed.for_each(lambda _: None)  # what came before was waiting
        with trio.move_on_after(5):
            await handle(feed, take, by_batch=by_batch)
        assert len(tasks) == 1
        assert trio.lowlevel.current_task() not in tasks
        assert waiting == 0


@by
async def test_what_it_raises_comes_out_and_the_rest_is_kept(
    by_batch: bool, autojump_clock: Any
) -> None:
    items: list[Item] = []

    def take(item: Item) -> None:
        if len(items) == 50:
            raise BrokenError
        items.append(item)

    async with open_world(rate=20, consume=False) as world:
        with trio.fail_after(10), pytest.raises(BrokenError):
            await handle(world.feed, take, by_batch=by_batch)
        await trio.sleep(2)
        assert len(items) == 50, "it is called no more"
        rest = await world.feed.next_batch()
    if by_batch:
        assert ids(rest)[0] >= ids(items)[-1] + 1
    else:
        assert ids(rest)[0] == ids(items)[-1] + 2, "all but the one that was refused"


async def test_a_failure_is_not_lost_to_a_cancellation_at_the_same_time(
    autojump_clock: Any,
) -> None:
    async with open_world(rate=20, consume=False) as world:
        with trio.CancelScope() as scope:

            def take(_item: Item) -> None:
                scope.cancel()
                raise BrokenError

            with pytest.raises(BrokenError):
                await world.feed.for_each(take)


@by
async def test_when_the_feed_ends_it_says_so_after_the_last_event(
    by_batch: bool, autojump_clock: Any
) -> None:
    items: list[Item] = []
    async with open_world(rate=20, consume=False) as world, trio.open_nursery() as nursery:

        async def end() -> None:
            await trio.sleep(5)
            world.feed.close()

        nursery.start_soon(end)
        with trio.fail_after(10), pytest.raises(FeedClosed):
            await handle(world.feed, items.append, by_batch=by_batch)
        received = world.feed.received
        assert len(items) == received
    assert_whole(items)


async def test_an_async_handler_is_refused(autojump_clock: Any) -> None:
    async def handler(_item: object) -> None:
        raise AssertionError

    async with open_world(consume=False) as world:
        for start in (world.feed.for_each, world.feed.for_each_batch):
            with pytest.raises(UsageError, match="cannot be an async function"):
                await start(handler)


@by
async def test_nobody_else_reads_while_it_is_called(by_batch: bool, autojump_clock: Any) -> None:
    items: list[Item] = []
    async with open_world(rate=20, consume=False) as world, trio.open_nursery() as nursery:

        async def run() -> None:
            await handle(world.feed, items.append, by_batch=by_batch)

        nursery.start_soon(run)
        await trio.sleep(2)
        with pytest.raises(UsageError, match="another task reads"):
            await world.feed.next_batch()
        with pytest.raises(UsageError, match="another task reads"):
            aiter(world.feed)
        await trio.sleep(2)
        nursery.cancel_scope.cancel()
    assert_whole(items)

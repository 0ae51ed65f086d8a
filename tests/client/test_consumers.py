"""One feed, one consumer: a second one is told so, instead of getting half of the messages."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
import trio
from world import make_settings, open_world

from k2trio.client.opening import open_feed
from k2trio.errors import FeedClosed, UsageError
from k2trio.market.payloads import Event

if TYPE_CHECKING:
    from collections.abc import AsyncIterable

    from k2trio.continuity.items import Item

SECOND = "another task reads this feed already"


async def read(items: AsyncIterable[Item], into: list[Item], *, pause_s: float = 0.0) -> None:
    async for item in items:
        into.append(item)
        if pause_s:
            await trio.sleep(pause_s)


def ids(items: list[Item]) -> list[int]:
    return [item.data.trade_id for item in items if isinstance(item, Event)]  # type: ignore[union-attr]


def assert_whole(items: list[Item], at_least: int) -> None:
    found = ids(items)
    assert found == list(range(found[0], found[0] + len(items)))
    assert len(found) >= at_least


@pytest.mark.parametrize(
    "pause_s", [0.0, 5.0], ids=["waits for more", "is in the midst of a batch"]
)
@pytest.mark.parametrize("by_batch", [False, True], ids=["events", "batches"])
async def test_a_loop_beside_another_is_refused_and_the_first_one_goes_on(
    autojump_clock: Any, pause_s: float, by_batch: bool
) -> None:
    """Without a word each would get what the other had not taken."""
    first: list[Item] = []
    async with open_world(rate=20, consume=False) as world, trio.open_nursery() as nursery:
        feed = world.feed
        await trio.sleep(1)  # the first batch has several messages then
        nursery.start_soon(lambda: read(feed, first, pause_s=pause_s))
        await trio.sleep(2.01)
        with pytest.raises(UsageError, match=SECOND), trio.fail_after(60):
            await read(_flat(feed) if by_batch else feed, [])
        await trio.sleep(100)
        nursery.cancel_scope.cancel()
    assert_whole(first, 20)


async def _flat(feed: Any) -> Any:
    async for batch in feed.batches():
        for item in batch:
            yield item


async def test_who_asks_for_a_batch_while_another_waits_for_it_is_refused(
    autojump_clock: Any,
) -> None:
    taken: list[Item] = []
    got = trio.Event()
    async with open_world(rate=1, consume=False) as world, trio.open_nursery() as nursery:

        async def take() -> None:
            taken.extend(await world.feed.next_batch())
            got.set()

        nursery.start_soon(take)
        await trio.testing.wait_all_tasks_blocked()
        with pytest.raises(UsageError, match=SECOND), trio.fail_after(60):
            await world.feed.next_batch()
        with trio.fail_after(60):
            await got.wait()
    assert taken


async def test_when_a_loop_was_left_another_task_goes_on_where_it_ended(
    autojump_clock: Any,
) -> None:
    """In the midst of a batch, while the first task goes on with something else."""
    before: list[Item] = []
    after: list[Item] = []
    async with open_world(rate=20, consume=False) as world, trio.open_nursery() as nursery:
        left = trio.Event()

        async def read_some() -> None:
            async for item in world.feed:
                before.append(item)
                if len(before) == 7:
                    break
            left.set()
            await trio.sleep_forever()

        await trio.sleep(5)
        nursery.start_soon(read_some)
        await left.wait()
        with trio.move_on_after(30):
            await read(world.feed, after)
        nursery.cancel_scope.cancel()
    assert_whole(before + after, 100)


async def test_one_task_may_take_events_loops_and_batches_in_turn(autojump_clock: Any) -> None:
    got: list[Item] = []
    async with open_world(rate=20, consume=False) as world:
        feed = world.feed
        await trio.sleep(5)
        while len(got) < 100:
            got.append(await anext(feed))
            async for item in feed:
                got.append(item)
                break
            async for batch in feed.batches():
                got.extend(batch)
                break
            async for item in feed:
                got.append(item)
                got.append(await anext(feed))
                break
            got += await feed.next_batch()
        got += feed.drain()
    assert_whole(got, 100)


async def test_a_feed_that_was_left_says_so_instead_of_waiting_for_ever(
    autojump_clock: Any,
) -> None:
    async with open_world(consume=False) as world:
        await trio.sleep(5)
    with trio.fail_after(1), pytest.raises(FeedClosed, match="open another one"):
        await read(world.feed, [])
    assert world.feed.status().connected is False
    assert world.feed.coverage()


def test_opened_under_asyncio_it_names_the_entry_for_asyncio() -> None:
    async def main() -> None:
        async with open_feed(settings=make_settings(["wss://venue.test/stream"])):
            pass

    with pytest.raises(UsageError, match=r"use k2trio\.aio\.open_feed"):
        asyncio.run(main())


def test_opened_under_no_loop_it_names_all_entries() -> None:
    opening = open_feed(settings=make_settings(["wss://venue.test/stream"])).__aenter__()
    with pytest.raises(UsageError, match=r"trio\.run.*asyncio\.run.*k2trio\.sync\.open_feed"):
        opening.send(None)

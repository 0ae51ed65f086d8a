"""The queue between the feed and its consumer: bounds, waiting producers, declared losses."""

from __future__ import annotations

import tracemalloc
from typing import Any

import pytest
import trio

from k2trio.client.outbox import Outbox
from k2trio.continuity.arbiter import Arbiter
from k2trio.continuity.items import Gap, Item, Outage
from k2trio.errors import K2Error
from k2trio.market.cost import cost_of
from k2trio.market.decoder import Decoder
from k2trio.market.payloads import Bar, Event, Kline, Trade
from k2trio.market.streams import parse_stream

PLENTY = 1 << 30
TRADES, MINUTES = "btcusdt@trade", "btcusdt@kline_1m"


def trades(*numbers: int) -> list[Item]:
    return [
        Event(Trade(n, "BTCUSDT", n, "1", "1", n, False), TRADES, "v", float(n), b"{}")
        for n in numbers
    ]


def bar(number: int, *, closed: bool) -> Event:
    start = number * 60_000
    inner = Bar(start, start + 59_999, "BTCUSDT", "1m", *"11111", 1, closed, "1")
    return Event(Kline(start + 60_000 * closed, "BTCUSDT", inner), MINUTES, "v", float(start), b"")


def ids(items: list[Item]) -> list[int]:
    return [item.data.trade_id for item in items if isinstance(item, Event)]


def dropping(limit: int) -> Outbox:
    arbiter = Arbiter(10)
    return Outbox(limit, PLENTY, lambda event: arbiter.track(event.venue, event.stream).lose(event))


async def test_batches_come_out_as_they_went_in() -> None:
    outbox = Outbox(10, PLENTY)
    outbox.put(trades(1, 2))
    outbox.put(trades(3))
    assert outbox.size == 3
    assert ids(await outbox.get()) == [1, 2]
    assert ids(await outbox.get()) == [3]
    assert outbox.size == 0


async def test_the_consumer_waits_for_the_next_batch(autojump_clock: Any) -> None:
    outbox = Outbox(10, PLENTY)
    async with trio.open_nursery() as nursery:

        async def produce() -> None:
            await trio.sleep(5)
            outbox.put(trades(1))

        nursery.start_soon(produce)
        assert ids(await outbox.get()) == [1]
        assert trio.current_time() == 5


async def test_every_producer_that_waits_is_woken(autojump_clock: Any) -> None:
    """Two lines and a repair wait for one slow consumer; none of them is forgotten."""
    outbox = Outbox(2, PLENTY)
    outbox.put(trades(1, 2))
    woken: list[str] = []

    async def produce(name: str) -> None:
        await outbox.room()
        woken.append(name)

    async with trio.open_nursery() as nursery:
        for name in ("a", "b", "repair"):
            nursery.start_soon(produce, name)
        await trio.sleep(1)
        assert woken == []
        await outbox.get()
        await trio.sleep(1)
        nursery.cancel_scope.cancel()
    assert sorted(woken) == ["a", "b", "repair"]


async def test_producers_wait_until_it_is_below_the_bound_again(autojump_clock: Any) -> None:
    outbox = Outbox(2, PLENTY)
    outbox.put(trades(1))
    outbox.put(trades(2))
    outbox.put(trades(3))
    async with trio.open_nursery() as nursery:
        done = trio.Event()

        async def produce() -> None:
            await outbox.room()
            done.set()

        nursery.start_soon(produce)
        await trio.sleep(1)
        await outbox.get()
        await trio.sleep(1)
        assert not done.is_set(), "two are waiting, which is the bound"
        await outbox.get()
        await done.wait()


async def test_draining_takes_everything_and_frees_the_producers(autojump_clock: Any) -> None:
    outbox = Outbox(1, PLENTY)
    outbox.put(trades(1, 2))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(outbox.room)
        await trio.sleep(1)
        assert ids(outbox.drain()) == [1, 2]
    assert outbox.size == 0
    assert outbox.drain() == []


async def test_the_error_comes_after_the_last_batch() -> None:
    outbox = Outbox(10, PLENTY)
    outbox.put(trades(1))
    outbox.close(K2Error("over"))
    assert ids(await outbox.get()) == [1]
    for _ in range(2):
        with pytest.raises(K2Error, match="over"):
            await outbox.get()


async def test_a_cancelled_consumer_loses_nothing() -> None:
    outbox = Outbox(10, PLENTY)
    outbox.put(trades(1))
    with trio.CancelScope() as scope:
        scope.cancel()
        await outbox.get()
    assert ids(await outbox.get()) == [1]


async def test_what_has_no_room_is_declared_in_its_place() -> None:
    outbox = dropping(3)
    outbox.put(trades(1, 2))
    outbox.put(trades(3, 4))
    outbox.put(trades(5, 6))
    assert outbox.size == 2
    assert not outbox.full
    assert ids(await outbox.get()) == [1, 2]
    outbox.put(trades(7))
    lost, event = await outbox.get()
    assert lost == Gap("v", TRADES, 3, 6, "overflow", 3, 6)
    assert ids([event]) == [7]


async def test_losses_are_told_though_nothing_follows_them() -> None:
    outbox = dropping(1)
    outbox.put(trades(1))
    outbox.put(trades(2))
    await outbox.get()
    assert await outbox.get() == [Gap("v", TRADES, 2, 2, "overflow", 2, 2)]
    outbox.put(trades(3))
    outbox.put(trades(4))
    assert outbox.drain()[1:] == [Gap("v", TRADES, 4, 4, "overflow", 4, 4)]


async def test_a_batch_larger_than_the_bound_gets_into_an_empty_outbox() -> None:
    """Else a page of repaired rows could never be delivered, however fast the consumer is."""
    outbox = dropping(2)
    outbox.put(trades(1, 2, 3, 4))
    assert ids(await outbox.get()) == [1, 2, 3, 4]


async def test_a_declared_gap_is_not_lost_with_its_batch() -> None:
    outbox = dropping(1)
    outbox.put(trades(1))
    gap = Gap("v", TRADES, 2, 5, "not_repaired")
    outbox.put([gap, *trades(6)])
    outbox.put(trades(7))
    assert outbox.drain()[1:] == [gap, Gap("v", TRADES, 6, 7, "overflow", 6, 7)]


async def test_declared_losses_are_bounded_by_the_streams() -> None:
    """A day without a consumer: updates of bars and their closes make two entries."""
    outbox = dropping(1)
    outbox.put(trades(1))
    for number in range(1440):
        outbox.put([bar(number, closed=False), bar(number, closed=True)])
    outage, gap = outbox.drain()[1:]
    assert isinstance(outage, Outage)
    assert (outage.since, outage.until) == (0.0, 1439 * 60_000)
    assert gap == Gap("v", MINUTES, 0, 1439 * 60_000, "overflow", 0, 1439 * 60_000)
    assert parse_stream(MINUTES).interval == "1m"


async def test_a_clock_that_was_set_back_turns_no_loss_round() -> None:
    outbox = dropping(1)
    outbox.put(trades(1))
    outbox.put([bar(9, closed=False)])
    outbox.put([bar(2, closed=False)])
    (outage,) = outbox.drain()[1:]
    assert isinstance(outage, Outage)
    assert outage.since == outage.until == 9 * 60_000


# -- memory -------------------------------------------------------------------------------------


def heavy(number: int, size: int) -> Event:
    data = Trade(number, "BTCUSDT", number, "1", "1", number, False)
    return Event(data, TRADES, "v", float(number), bytes(size))


async def test_large_messages_fill_it_long_before_their_number_does(autojump_clock: Any) -> None:
    outbox = Outbox(1_000_000, limit_bytes=100_000)
    outbox.put([heavy(0, 1000)])
    put = 1
    while not outbox.full:
        outbox.put([heavy(put, 1000)])
        put += 1
    assert outbox.bytes == pytest.approx(100_000, abs=cost_of(heavy(0, 1000)))
    with trio.move_on_after(1) as patience:
        await outbox.room()
    assert patience.cancelled_caught
    taken = [item for _ in range(put) for item in await outbox.get()]
    assert ids(taken) == list(range(put))
    assert outbox.bytes == 0
    await outbox.room()


async def test_with_the_policy_to_drop_large_messages_are_declared() -> None:
    arbiter = Arbiter(10)
    outbox = Outbox(
        1000, 50_000, lambda event: arbiter.track(event.venue, event.stream).lose(event)
    )
    for number in range(40):
        outbox.put([heavy(number, 1000)])
    items = outbox.drain()
    (gap,) = [item for item in items if isinstance(item, Gap)]
    assert [*ids(items), *range(gap.first, gap.last + 1)] == list(range(40))
    assert len(ids(items)) < 20


LEVELS = ",".join(f'["{60000 + n}.25000000","0.{n:08}"]' for n in range(500))
FRAMES = {
    "trade": b'{"stream":"btcusdt@trade","data":{"e":"trade","E":1767225600123,"s":"BTCUSDT",'
    b'"t":4711,"p":"60000.25000000","q":"0.00100000","T":1767225600123,"m":true,"M":true}}',
    "book": b'{"stream":"btcusdt@depth","data":{"e":"depthUpdate","E":1767225600123,"s":"BTCUSDT",'
    b'"U":1,"u":2,"b":[%s],"a":[%s]}}' % (LEVELS.encode(), LEVELS.encode()),
    "bar": b'{"stream":"btcusdt@kline_1m","data":{"e":"kline","E":1767225600123,"s":"BTCUSDT","k":'
    b'{"t":1767225600000,"T":1767225659999,"s":"BTCUSDT","i":"1m","f":100,"L":200,'
    b'"o":"60000.25000000","c":"60000.25000000","h":"60000.25000000","l":"60000.25000000",'
    b'"v":"1000.25000000","n":100,"x":false,"q":"1.00000000","V":"500","Q":"0.500","B":"0"}}}',
}


@pytest.mark.parametrize("pure", [False, True])
@pytest.mark.parametrize("what", FRAMES)
def test_a_message_takes_no_more_memory_than_is_counted(what: str, pure: bool) -> None:
    decoder = Decoder("v", pure=pure)
    decoder.expect(["btcusdt@trade", "btcusdt@depth", "btcusdt@kline_1m"])
    copies = 200
    decoder.decode([FRAMES[what]], 0.0)
    tracemalloc.start()
    try:
        frames = [bytes(bytearray(FRAMES[what])) for _ in range(copies)]
        events, _ = decoder.decode(frames, 0.0)
        taken, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    counted = sum(map(cost_of, events))
    assert len(events) == copies
    assert taken <= counted <= 2.5 * taken

"""What a session does on its own; the rest is tested through the feed."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
import trio
import trio.testing
from world import START_MS, SUBJECT, World, fault, make_settings, open_world

from k2trio.client.session import UNWIND_AFTER_S, Session
from k2trio.continuity.items import Outage
from k2trio.errors import ConnectionFailed
from k2trio.market.decoder import Decoder
from k2trio.market.payloads import Event
from k2trio.observe import transitions as on
from k2trio.policy.breaker import CircuitBreaker
from k2trio.policy.failover import Endpoint
from k2trio.simulator import FaultKind, MemoryNetwork
from k2trio.wire import connection as connection_module
from k2trio.wire.tap import Batch

if TYPE_CHECKING:
    from collections.abc import Sequence
    from contextlib import AbstractAsyncContextManager

    from k2trio.continuity.items import Item

URL = "wss://a.test:9/stream"


def unheard(_transition: object) -> None:
    """An observer for tests of something else."""


def trades(*numbers: int) -> Batch:
    head = b'{"stream":"btcusdt@trade","data":{"e":"trade","E":1,"s":"BTCUSDT",'
    tail = b',"p":"1","q":"1","T":1,"m":true}}'
    return Batch([head + b'"t":%d' % number + tail for number in numbers], 0.0, 0.0)


async def test_a_batch_in_hand_is_not_overtaken_when_the_consumer_makes_room(
    autojump_clock: Any,
) -> None:
    """There is room, but the task that waited for it has not run yet when the next read comes."""
    delivered: list[int] = []
    room = trio.Event()
    full = True

    def deliver(_line: str, _venue: str, events: Sequence[Event], *_times: float) -> None:
        delivered.extend(event.data.trade_id for event in events)

    runtime: Any = SimpleNamespace(
        settings=make_settings([URL]),
        deliver=deliver,
        full=lambda: full,
        room=lambda: room.wait(),
        emit=unheard,
    )
    endpoint = Endpoint.from_url(URL, 0, lambda name: CircuitBreaker(name))
    session = Session("0", endpoint, [SUBJECT], runtime)
    send, receive = trio.open_memory_channel[Batch](2)
    tap = SimpleNamespace(hand_over=None)
    connection: Any = SimpleNamespace(tap=tap, next_batch=receive.receive)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(session._receive, connection)
        await trio.testing.wait_all_tasks_blocked()
        hand_over: Any = tap.hand_over
        assert not hand_over(trades(1))
        await send.send(trades(1))
        await trio.testing.wait_all_tasks_blocked()
        full = False
        assert not hand_over(trades(2))
        await send.send(trades(2))
        room.set()
        await trio.testing.wait_all_tasks_blocked()
        assert delivered == [1, 2]
        assert hand_over(trades(3))
        assert delivered == [1, 2, 3]
        nursery.cancel_scope.cancel()


async def test_while_there_is_room_a_batch_is_not_in_hand_across_a_pause(
    autojump_clock: Any,
) -> None:
    """A read that comes in the pause would have to wait, and so would each one after it."""
    delivered: list[int] = []
    pauses = 0

    def deliver(_line: str, _venue: str, events: Sequence[Event], *_times: float) -> None:
        delivered.extend(event.data.trade_id for event in events)

    async def room() -> None:
        nonlocal pauses
        pauses += 1
        await trio.lowlevel.checkpoint()

    runtime: Any = SimpleNamespace(
        settings=make_settings([URL]),
        deliver=deliver,
        full=lambda: False,
        room=room,
        emit=unheard,
    )
    endpoint = Endpoint.from_url(URL, 0, lambda name: CircuitBreaker(name))
    session = Session("0", endpoint, [SUBJECT], runtime)
    send, receive = trio.open_memory_channel[Batch](1)
    tap = SimpleNamespace(hand_over=None)
    connection: Any = SimpleNamespace(tap=tap, next_batch=receive.receive)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(session._receive, connection)
        await send.send(trades(1))
        await trio.testing.wait_all_tasks_blocked()
        assert delivered == [1]
        assert pauses == 0
        hand_over: Any = tap.hand_over
        assert hand_over(trades(2))
        assert delivered == [1, 2]
        nursery.cancel_scope.cancel()


async def test_a_session_knows_its_streams_before_their_first_message(
    autojump_clock: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    delivered: list[str] = []

    def deliver(_line: str, _venue: str, events: Sequence[Event], *_times: float) -> None:
        delivered.extend(event.stream for event in events)

    runtime: Any = SimpleNamespace(
        settings=make_settings([URL]), deliver=deliver, full=lambda: False, emit=unheard
    )
    endpoint = Endpoint.from_url(URL, 0, lambda name: CircuitBreaker(name))
    session = Session("0", endpoint, [SUBJECT], runtime)
    monkeypatch.setattr(Decoder, "_decode_singly", None)
    session._take(trades(1), 0.0)
    session.streams = [SUBJECT, "ethusdt@trade"]
    (frame,) = trades(1).payloads
    other = frame.replace(b"btcusdt", b"ethusdt").replace(b"BTCUSDT", b"ETHUSDT")
    session._take(Batch([other], 0.0, 0.0), 0.0)
    assert delivered == [SUBJECT, "ethusdt@trade"]


@pytest.mark.parametrize(
    ("kind", "unwinds_after"), [(FaultKind.RST, UNWIND_AFTER_S), (FaultKind.HALF_OPEN, 0)]
)
async def test_a_connection_that_is_dead_unwinds_after_the_next_dial_has_begun(
    kind: FaultKind, unwinds_after: float, autojump_clock: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that is only believed to be dead is left at once: it might speak again."""
    left_at: list[float] = []
    goodbye = connection_module._goodbye

    async def note_and_leave(*arguments: Any) -> None:
        left_at.append(trio.current_time())
        await goodbye(*arguments)

    monkeypatch.setattr(connection_module, "_goodbye", note_and_leave)
    async with open_world([fault(60, kind)], endpoints=["a"]) as world:
        await trio.sleep(110)
        (lost_at,) = world.times(on.ConnectionLost)
        assert world.times(on.Dialing) == [0, lost_at]
        assert left_at == [pytest.approx(lost_at + unwinds_after)]


async def test_a_connection_that_has_failed_proves_no_health(autojump_clock: Any) -> None:
    """Its health check is due before its tasks have unwound."""
    faults = [fault(30 - UNWIND_AFTER_S / 2, FaultKind.RST), fault(31, FaultKind.RST)]
    async with open_world(
        faults, endpoints=["a"], settings={"failure_threshold": 2, "health_check_interval": 30}
    ) as world:
        await trio.sleep(32)
        assert [(at, change.new) for at, change in world.of(on.BreakerChanged)] == [(31, "open")]


BOOK = "btcusdt@bookTicker"


def undeclared(items: Sequence[Item], longest_s: float) -> list[tuple[float, float]]:
    """Times (s after the start) without a message that no outage declares."""
    found: list[tuple[float, float]] = []
    before: float | None = None
    for item in items:
        if isinstance(item, Outage):
            assert before == item.since
            before = item.until
        elif isinstance(item, Event):
            if before is not None and item.received - before > longest_s:
                found.append((before - START_MS / 1000, item.received - START_MS / 1000))
            before = item.received
    return found


async def read_for(world: World, seconds: float) -> list[Item]:
    items: list[Item] = []
    with trio.move_on_after(seconds):
        async for batch in world.feed.batches():
            items += batch
    return items


def cut_off_while_the_consumer_rests() -> AbstractAsyncContextManager[World]:
    """At 20 s; the bound of what may wait has been reached long before."""
    return open_world(
        [fault(20, FaultKind.RST)],
        endpoints=["a"],
        rate=5,
        consume=False,
        settings={"streams": [BOOK], "max_buffered_messages": 10},
    )


async def test_what_waits_on_a_dead_connection_comes_before_its_outage_begins(
    autojump_clock: Any,
) -> None:
    """The consumer rests, the transport breaks, and the session fails with messages in hand."""
    async with cut_off_while_the_consumer_rests() as world:
        await trio.sleep(80)
        items = await read_for(world, 10)
        assert [type(item) for item in items].count(Outage) == 1
        assert undeclared(items, longest_s=3) == []


class StuckSends(trio.abc.Stream):
    """Sends hang from a time on, while reading goes on."""

    def __init__(self, inner: trio.abc.Stream, from_s: float) -> None:
        self._inner = inner
        self._from_s = from_s

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        if trio.current_time() >= self._from_s:
            await trio.sleep_forever()
        await self._inner.send_all(data)

    async def wait_send_all_might_not_block(self) -> None:
        await self._inner.wait_send_all_might_not_block()

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        return await self._inner.receive_some(max_bytes)

    async def aclose(self) -> None:
        await self._inner.aclose()


async def test_nothing_is_read_of_a_connection_whose_send_has_failed(
    autojump_clock: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is left at once: what came later would hide the outage that its end begins."""
    real = MemoryNetwork.dial

    async def dial(network: MemoryNetwork, host: str, port: int) -> trio.abc.Stream:
        await trio.sleep(0.3)
        first = trio.current_time() < 9
        return StuckSends(await real(network, host, port), 25 if first else math.inf)

    monkeypatch.setattr(MemoryNetwork, "dial", dial)
    async with open_world(
        endpoints=["a"],
        rate=200,
        consume=False,
        settings={"streams": [BOOK], "list_subscriptions_interval": 26},
    ) as world:
        items = await read_for(world, 50)
        (lost,) = world.of(on.ConnectionLost)
        assert "took no bytes" in lost[1].detail
        (outage,) = (item for item in items if isinstance(item, Outage))
        assert outage.until - START_MS / 1000 > lost[0] + 0.3
        assert undeclared(items, longest_s=0.2) == []


async def test_who_waits_for_a_reply_hears_of_the_end_of_the_connection(
    autojump_clock: Any,
) -> None:
    """Even while messages wait for the consumer, among which the reply may be."""
    async with cut_off_while_the_consumer_rests() as world:
        await trio.sleep(19)
        with trio.fail_after(100), pytest.raises(ConnectionFailed):
            await world.feed.subscribe("ethusdt@trade")
        told_at = trio.current_time()
        await trio.sleep(1)
        assert world.times(on.ConnectionLost) == [pytest.approx(told_at)]


async def test_who_waits_for_a_reply_goes_on_when_the_connection_is_replaced(
    autojump_clock: Any,
) -> None:
    async with open_world(
        [
            fault(19, FaultKind.ZERO_WINDOW, duration=60),  # it reads one more message
            fault(21, FaultKind.SERVER_SHUTDOWN, duration=60),
        ],
        endpoints=["a"],
        rate=5,
    ) as world:
        await trio.sleep(19.5)
        await world.feed.subscribe("ethusdt@trade")
        with trio.fail_after(5):
            await world.feed.subscribe("ethusdt@aggTrade")  # what replaces it carries the stream
        await trio.sleep(20)
    assert any(item.stream == "ethusdt@aggTrade" for _, item in world.items)

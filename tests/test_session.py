"""What a session does on its own; the rest is tested through the feed."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
import trio
import trio.testing
from world import SUBJECT, fault, make_settings, open_world

from k2trio import connection as connection_module
from k2trio import transitions as on
from k2trio.breaker import CircuitBreaker
from k2trio.failover import Endpoint
from k2trio.frames import Batch
from k2trio.messages import Decoder
from k2trio.session import UNWIND_AFTER_S, Session
from k2trio.simulator import FaultKind

if TYPE_CHECKING:
    from collections.abc import Sequence

    from k2trio.messages import Event

URL = "wss://a.test:9/stream"


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

    def deliver(_line: str, _venue: str, events: Sequence[Event]) -> None:
        delivered.extend(event.data.trade_id for event in events)

    runtime: Any = SimpleNamespace(
        settings=make_settings([URL]), deliver=deliver, full=lambda: full, room=lambda: room.wait()
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

    def deliver(_line: str, _venue: str, events: Sequence[Event]) -> None:
        delivered.extend(event.data.trade_id for event in events)

    async def room() -> None:
        nonlocal pauses
        pauses += 1
        await trio.lowlevel.checkpoint()

    runtime: Any = SimpleNamespace(
        settings=make_settings([URL]), deliver=deliver, full=lambda: False, room=room
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

    def deliver(_line: str, _venue: str, events: Sequence[Event]) -> None:
        delivered.extend(event.stream for event in events)

    runtime: Any = SimpleNamespace(
        settings=make_settings([URL]), deliver=deliver, full=lambda: False
    )
    endpoint = Endpoint.from_url(URL, 0, lambda name: CircuitBreaker(name))
    session = Session("0", endpoint, [SUBJECT], runtime)
    monkeypatch.setattr(Decoder, "_decode_singly", None)
    session._take(trades(1))
    session.streams = [SUBJECT, "ethusdt@trade"]
    (frame,) = trades(1).payloads
    session._take(Batch([frame.replace(b"btcusdt", b"ethusdt")], 0.0, 0.0))
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

"""What a session does on its own; the rest is tested through the feed."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import trio
import trio.testing
from world import SUBJECT, make_settings

from k2trio.breaker import CircuitBreaker
from k2trio.failover import Endpoint
from k2trio.frames import Batch
from k2trio.messages import Decoder
from k2trio.session import Session

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pytest

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

"""One connection in virtual time: every bound is exact, and every end has its own error."""

# ruff: noqa: PT012 - a connection's failure comes out of its block, so the block is what raises

from __future__ import annotations

import errno
import json
import math
import socket
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any

import pytest
import trio
import trio.testing
from peer import CLOSE, PING, PONG, TEXT, Peer, close, endpoint, frame, text
from world import make_settings

from k2trio.errors import (
    ConnectionFailed,
    DialError,
    Dropped,
    HandshakeRefused,
    HandshakeTimeout,
    LocalResourceError,
    NameResolutionError,
    ProtocolViolation,
    Reset,
)
from k2trio.simulator import memory_pair
from k2trio.wire.connection import Connection, open_connection
from k2trio.wire.tap import SEND_TIMEOUT_S

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable

    from k2trio.policy.failover import Endpoint
    from k2trio.simulator.serving.memory import MemoryStream

    Script = Callable[[Peer], Awaitable[None]]

STREAMS = ["btcusdt@trade"]


class Rig:
    """An endpoint in memory: what the client dials, and the peer that follows a script."""

    def __init__(self, nursery: trio.Nursery, script: Script, window_bytes: int) -> None:
        self._nursery = nursery
        self._script = script
        self._window_bytes = window_bytes
        self.peer: Peer | None = None
        self.stream: MemoryStream | None = None
        self.dial_s = 0.0

    async def dial(self, endpoint: Endpoint) -> trio.abc.Stream:
        await trio.sleep(self.dial_s)
        self.stream, theirs = memory_pair(window_bytes=self._window_bytes)
        self.peer = Peer(theirs)
        self._nursery.start_soon(self._follow, self.peer)
        return self.stream

    async def _follow(self, peer: Peer) -> None:
        with suppress(trio.BrokenResourceError, trio.ClosedResourceError, trio.EndOfChannel):
            await self._script(peer)

    def open(self, **settings: Any) -> Any:
        chosen = make_settings(["ws://localhost:1/stream"], **settings)
        return open_connection(endpoint(), STREAMS, chosen, self.dial)


@asynccontextmanager
async def rig(script: Script, *, window_bytes: int = 262_144) -> AsyncGenerator[Rig]:
    """See :class:`Rig`; checks that the client closed what it dialled."""
    async with trio.open_nursery() as nursery:
        made = Rig(nursery, script, window_bytes)
        yield made
        if made.stream is not None:
            with pytest.raises(trio.ClosedResourceError):
                await made.stream.send_all(b"x")
        nursery.cancel_scope.cancel()


async def accept(peer: Peer) -> None:
    """A peer that accepts and then says nothing."""
    await peer.accept()
    await trio.sleep_forever()


async def accept_and_answer(peer: Peer) -> None:
    """A peer that accepts, and answers a close frame."""
    await peer.accept()
    await peer.frames(until=[CLOSE])
    await peer.send(close())
    await peer.frames()


async def silent(peer: Peer) -> None:
    """A peer that never answers the upgrade."""
    await peer.request()
    await trio.sleep_forever()


# -- dial and upgrade -------------------------------------------------------------------------


async def test_messages_come_in_batches_and_leaving_closes_both_ways(
    autojump_clock: object,
) -> None:
    async def script(peer: Peer) -> None:
        await peer.accept(more=text("early"))
        await trio.sleep(1)
        await peer.send(text("a") + text("b"))
        await accept_and_answer_rest(peer)

    async def accept_and_answer_rest(peer: Peer) -> None:
        await peer.frames(until=[CLOSE])
        await peer.send(close())
        await peer.frames()

    start = trio.current_time()
    async with rig(script) as made:
        async with made.open() as connection:
            assert (await connection.next_batch()).payloads == [b"early"]
            assert (await connection.next_batch()).payloads == [b"a", b"b"]
        assert trio.current_time() == start + 1, "the peer answered: nothing was waited for"
        assert made.peer is not None
        assert [seen.payload for seen in made.peer.seen] == [b"\x03\xe8"]


async def test_the_request_names_host_and_streams(autojump_clock: object) -> None:
    requests: list[bytes] = []

    async def script(peer: Peer) -> None:
        requests.append(await peer.request())

    async with rig(script) as made:
        with pytest.raises(HandshakeTimeout):
            async with made.open():
                pass
    head = requests[0].decode()
    assert head.startswith("GET /stream?streams=btcusdt@trade HTTP/1.1\r\n")
    assert "Host: localhost:1\r\n" in head
    assert "extensions" not in head.lower(), "no compression is offered"


@pytest.mark.parametrize("dial_s", [0.0, 4.0, 9.75])
async def test_the_handshake_timeout_covers_dial_and_upgrade_together(
    dial_s: float, autojump_clock: object
) -> None:
    async with rig(silent) as made:
        made.dial_s = dial_s
        start = trio.current_time()
        with pytest.raises(HandshakeTimeout):
            async with made.open(handshake_timeout=10):
                raise AssertionError
        assert trio.current_time() == start + 10, "no goodbye to a peer that never said hello"


async def test_a_dial_that_hangs_ends_at_the_handshake_timeout(autojump_clock: object) -> None:
    async with rig(silent) as made:
        made.dial_s = math.inf
        start = trio.current_time()
        with pytest.raises(HandshakeTimeout):
            async with made.open(handshake_timeout=7):
                raise AssertionError
        assert trio.current_time() == start + 7


async def test_a_drip_fed_upgrade_ends_at_the_handshake_timeout(autojump_clock: object) -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        for byte in b"HTTP/1.1 101 Switching Protocols\r\n" * 10:
            await peer.send(bytes((byte,)))
            await trio.sleep(0.3)

    async with rig(script) as made:
        start = trio.current_time()
        with pytest.raises(HandshakeTimeout):
            async with made.open(handshake_timeout=10):
                raise AssertionError
        assert trio.current_time() == start + 10


async def fin(peer: Peer) -> None:
    await peer.request()
    await peer.stream.aclose()


async def rst(peer: Peer) -> None:
    await peer.request()
    peer.stream.reset()  # type: ignore[attr-defined]


def answer(data: bytes) -> Script:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(data)
        await trio.sleep_forever()

    return script


def accept_with(*headers: str) -> Script:
    async def script(peer: Peer) -> None:
        await peer.accept(*headers)
        await trio.sleep_forever()

    return script


BAD_KEY = (
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Accept: bm90IHRoZSByaWdodCBrZXk=\r\n\r\n"
)


@pytest.mark.parametrize(
    ("script", "kind"),
    [
        (fin, Reset),
        (rst, Reset),
        (answer(b"HTTP/1.1 429 Too Many\r\nRetry-After: 3\r\n\r\n"), HandshakeRefused),
        (answer(b"HTTP/1.1 302 Found\r\nLocation: ws://localhost:2/\r\n\r\n"), HandshakeRefused),
        (answer(b"\x16\x03\x01"), ProtocolViolation),
        (answer(BAD_KEY), ProtocolViolation),
        (answer(b"HTTP/1.1 101 Switching Protocols\r\n\r\n"), ProtocolViolation),
        (answer(b"HTTP/1.1 101 S\r\nno colon here\r\n\r\n"), ProtocolViolation),
        (answer(b"HTTP/1.1 101 Switching\r\n" + b"x: y\r\n" * 20_000), ProtocolViolation),
        (accept_with("Sec-WebSocket-Extensions: permessage-deflate"), ProtocolViolation),
        (accept_with("Sec-WebSocket-Protocol: chat"), ProtocolViolation),
    ],
    ids=[
        "fin",
        "rst",
        "429",
        "redirect",
        "not-http",
        "bad-key",
        "no-upgrade",
        "not-a-header",
        "huge",
        "extension",
        "protocol",
    ],
)
async def test_a_failed_upgrade_is_known_at_once_by_its_own_error(
    script: Script, kind: type[Exception], autojump_clock: object
) -> None:
    async with rig(script) as made:
        start = trio.current_time()
        with pytest.raises(ConnectionFailed) as caught:
            async with made.open():
                raise AssertionError
        assert type(caught.value) is kind
        assert trio.current_time() == start


async def test_a_wrong_accept_key_is_called_by_its_name(autojump_clock: object) -> None:
    async with rig(answer(BAD_KEY)) as made:
        with pytest.raises(ProtocolViolation, match="accept token"):
            async with made.open():
                raise AssertionError


async def test_messages_that_came_with_the_upgrade_are_not_lost_when_the_peer_leaves_at_once(
    autojump_clock: object,
) -> None:
    async def script(peer: Peer) -> None:
        await peer.accept(more=text("only") + close(1001))
        await peer.stream.aclose()

    async with rig(script) as made:
        with pytest.raises(Dropped) as caught:
            async with made.open() as connection:
                assert (await connection.next_batch()).payloads == [b"only"]
                await connection.next_batch()
        assert caught.value.code == 1001


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (ConnectionRefusedError(errno.ECONNREFUSED, "refused"), DialError),
        (OSError(errno.EMFILE, "too many open files"), LocalResourceError),
        (OSError(errno.EADDRNOTAVAIL, "no port left"), LocalResourceError),
        (socket.gaierror(socket.EAI_AGAIN, "try again"), NameResolutionError),
        (NameResolutionError("as it is"), NameResolutionError),
    ],
)
async def test_a_failed_dial_has_its_own_error(
    error: Exception, kind: type[Exception], autojump_clock: object
) -> None:
    async def dial(where: Endpoint) -> trio.abc.Stream:
        raise error

    with pytest.raises(ConnectionFailed) as caught:
        async with open_connection(
            endpoint(), STREAMS, make_settings(["ws://localhost:1/stream"]), dial
        ):
            raise AssertionError
    assert type(caught.value) is kind


async def test_a_bug_in_the_dialer_stays_loud(autojump_clock: object) -> None:
    async def dial(where: Endpoint) -> trio.abc.Stream:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        async with open_connection(
            endpoint(), STREAMS, make_settings(["ws://localhost:1/stream"]), dial
        ):
            raise AssertionError


# -- close ------------------------------------------------------------------------------------


async def test_close_waits_for_a_silent_peer_no_longer_than_close_timeout(
    autojump_clock: object,
) -> None:
    async with rig(accept) as made:
        async with made.open(close_timeout=3):
            start = trio.current_time()
        assert trio.current_time() == start + 3


async def test_close_is_bounded_when_the_peer_takes_no_bytes(autojump_clock: object) -> None:
    async with rig(accept, window_bytes=512) as made:
        async with made.open(close_timeout=3) as connection:
            start = trio.current_time()
            with trio.move_on_after(1):
                await connection.send("SUBSCRIBE", ["x" * 1000], 1)
        assert trio.current_time() == start + 1, "after half a frame nothing is left to say"


async def test_close_is_bounded_while_the_peer_goes_on_talking(autojump_clock: object) -> None:
    async def script(peer: Peer) -> None:
        await peer.accept()
        while True:
            await peer.send(text("more") + frame(PING, b"p"))
            await trio.sleep(0.1)

    async with rig(script) as made:
        async with made.open(close_timeout=2) as connection:
            await connection.next_batch()
            await trio.sleep(0.55)  # not in the moment of a pong
            start = trio.current_time()
        assert trio.current_time() == start + 2


async def test_close_is_bounded_when_the_close_frame_comes_but_tcp_is_held(
    autojump_clock: object,
) -> None:
    async def script(peer: Peer) -> None:
        await peer.accept(more=close(1001))
        await trio.sleep_forever()

    async with rig(script) as made:
        start = trio.current_time()
        with pytest.raises(Dropped):
            async with made.open() as connection:
                await connection.next_batch()
        assert trio.current_time() == start


async def test_the_peers_close_frame_is_answered_once(autojump_clock: object) -> None:
    async def script(peer: Peer) -> None:
        await peer.accept()
        await peer.send(text("last") + close(1001, "bye"))
        await peer.frames()

    async with rig(script) as made:
        with pytest.raises(Dropped) as caught:
            async with made.open() as connection:
                assert (await connection.next_batch()).payloads == [b"last"]
                await connection.next_batch()
        await trio.testing.wait_all_tasks_blocked()
        assert made.peer is not None
        assert [seen.opcode for seen in made.peer.seen] == [CLOSE]
    assert caught.value.code == 1001


async def test_a_violation_is_answered_by_1002(autojump_clock: object) -> None:
    async def script(peer: Peer) -> None:
        await peer.accept(more=frame(0x3))
        await peer.frames()

    async with rig(script) as made:
        start = trio.current_time()
        with pytest.raises(ProtocolViolation):
            async with made.open() as connection:
                await connection.next_batch()
        assert trio.current_time() == start
        await trio.testing.wait_all_tasks_blocked()
        assert made.peer is not None
        assert [(seen.opcode, seen.payload) for seen in made.peer.seen] == [(CLOSE, b"\x03\xea")]


@pytest.mark.parametrize("gap_s", [0.0, 0.5])
async def test_a_ping_between_our_close_frame_and_theirs_is_harmless(
    gap_s: float, autojump_clock: object
) -> None:
    async def script(peer: Peer) -> None:
        await peer.accept()
        await peer.frames(until=[CLOSE])
        await peer.send(frame(PING, b"late"))
        await trio.sleep(gap_s)
        await peer.send(frame(PING, b"later") + close())
        await peer.frames()

    reached = False
    async with rig(script) as made, trio.open_nursery() as enclosing:
        async with made.open(close_timeout=2):
            start = trio.current_time()
        assert trio.current_time() == start + gap_s
        await trio.sleep(1)
        reached = not enclosing.cancel_scope.cancel_called
    assert reached, "the enclosing nursery was not disturbed"


@pytest.mark.parametrize(
    "nonsense",
    [b"\x83\x00", frame(CLOSE, b"\x03"), frame(CLOSE, b"\x03\xe8\xff"), close(999), b"\x81\x7f"],
)
async def test_nonsense_instead_of_a_close_frame_ends_the_wait(
    nonsense: bytes, autojump_clock: object
) -> None:
    async def script(peer: Peer) -> None:
        await peer.accept()
        await peer.frames(until=[CLOSE])
        await peer.send(nonsense)
        await peer.frames()

    async with rig(script) as made:
        async with made.open(close_timeout=2):
            start = trio.current_time()
        assert trio.current_time() <= start + 2


@pytest.mark.parametrize(
    "nonsense", [frame(CLOSE, b"\x03"), frame(CLOSE, b"\x03\xe8\xff"), close(999)]
)
@pytest.mark.parametrize("gone", [False, True])
async def test_a_broken_close_frame_is_a_drop_even_if_the_answer_cannot_be_sent(
    nonsense: bytes, gone: bool, autojump_clock: object
) -> None:
    async def script(peer: Peer) -> None:
        await peer.accept()
        await peer.send(nonsense)
        if gone:
            peer.stream.reset()  # type: ignore[attr-defined]
        await peer.frames()

    async with rig(script) as made:
        with pytest.raises(Dropped):
            async with made.open() as connection:
                await connection.next_batch()


# -- cancellation and exceptions --------------------------------------------------------------


async def test_cancelling_the_body_still_sends_a_close_frame(autojump_clock: object) -> None:
    async with rig(accept_and_answer) as made:
        start = trio.current_time()
        with trio.move_on_after(5) as scope:
            async with made.open():
                await trio.sleep_forever()
        assert scope.cancelled_caught
        assert trio.current_time() == start + 5
        await trio.testing.wait_all_tasks_blocked()
        assert made.peer is not None
        assert [seen.opcode for seen in made.peer.seen] == [CLOSE]


async def test_cancelling_against_a_silent_peer_takes_close_timeout(autojump_clock: object) -> None:
    async with rig(accept) as made:
        start = trio.current_time()
        with trio.move_on_after(5):
            async with made.open(close_timeout=2):
                await trio.sleep_forever()
        assert trio.current_time() == start + 7


async def test_cancelling_the_upgrade_waits_for_nothing(autojump_clock: object) -> None:
    async with rig(silent) as made:
        start = trio.current_time()
        with trio.move_on_after(1):
            async with made.open():
                raise AssertionError
        assert trio.current_time() == start + 1


@pytest.mark.parametrize(
    "error",
    [ValueError("mine"), Dropped("mine"), KeyboardInterrupt(), ExceptionGroup("m", [ValueError()])],
)
async def test_an_exception_of_the_body_comes_out_as_it_went_in(
    error: BaseException, autojump_clock: object
) -> None:
    async with rig(accept_and_answer) as made:
        with pytest.raises(type(error)) as caught:
            async with made.open():
                raise error
        assert caught.value is error


async def test_an_unexpected_error_inside_stays_loud(
    monkeypatch: pytest.MonkeyPatch, autojump_clock: object
) -> None:
    async def bug(*_: object) -> bytes:
        raise ZeroDivisionError

    async with rig(accept_and_answer) as made:
        with pytest.raises(ExceptionGroup) as caught:
            async with made.open() as connection:
                connection.tap.receive_some = bug
                assert made.peer is not None
                await made.peer.send(frame(PONG))
                await trio.sleep_forever()
        assert caught.group_contains(ZeroDivisionError)


async def test_a_failure_inside_a_nursery_of_the_body_comes_out_alone(
    autojump_clock: object,
) -> None:
    async def script(peer: Peer) -> None:
        await peer.accept()
        await trio.sleep(1)
        peer.stream.reset()  # type: ignore[attr-defined]

    async with rig(script) as made:
        with pytest.raises(Reset):
            async with made.open() as connection, trio.open_nursery() as nursery:
                nursery.start_soon(connection.next_batch)
                nursery.start_soon(trio.sleep_forever)


# -- send and ping ----------------------------------------------------------------------------


async def test_a_control_message_is_one_text_frame_of_json(autojump_clock: object) -> None:
    async def script(peer: Peer) -> None:
        await peer.accept()
        await accept_rest(peer)

    async def accept_rest(peer: Peer) -> None:
        await peer.frames(until=[CLOSE])
        await peer.send(close())

    async with rig(script) as made:
        async with made.open() as connection:
            await connection.send("SUBSCRIBE", ["币安@trade"], 7)
        assert made.peer is not None
        sent = made.peer.seen[0]
        assert sent.opcode == TEXT
        assert json.loads(sent.payload) == {
            "method": "SUBSCRIBE",
            "params": ["币安@trade"],
            "id": 7,
        }


async def test_a_send_to_a_peer_with_a_closed_window_is_bounded(autojump_clock: object) -> None:
    async with rig(accept, window_bytes=512) as made:
        with pytest.raises(Reset):
            async with made.open() as connection:
                start = trio.current_time()
                await connection.send("SUBSCRIBE", ["x" * 1000], 1)
        assert trio.current_time() == start + SEND_TIMEOUT_S


async def test_a_cancelled_send_ends_the_connection(autojump_clock: object) -> None:
    async with rig(accept, window_bytes=512) as made:
        async with made.open() as connection:
            with trio.move_on_after(1):
                await connection.send("SUBSCRIBE", ["x" * 1000], 1)
            with pytest.raises(Reset):
                await connection.next_batch()
            with pytest.raises(ConnectionFailed):
                await connection.send("SUBSCRIBE", ["x"], 2)
            assert await connection.ping(5) is None
        assert made.peer is not None
        assert made.peer._cut() is None


async def test_a_ping_measures_the_round_trip(autojump_clock: object) -> None:
    async def script(peer: Peer) -> None:
        await peer.accept()
        (ping,) = await peer.frames(until=[PING])
        await trio.sleep(0.3)
        await peer.send(frame(PONG, ping.payload))
        await peer.frames()

    async with rig(script) as made, made.open() as connection:
        assert await connection.ping(5) == pytest.approx(0.3)


async def test_a_ping_without_an_answer_is_bounded(autojump_clock: object) -> None:
    async with rig(accept) as made, made.open() as connection:
        start = trio.current_time()
        assert await connection.ping(4) is None
        assert trio.current_time() == start + 4


async def test_a_ping_pending_when_the_connection_resets_is_bounded(autojump_clock: object) -> None:
    async def script(peer: Peer) -> None:
        await peer.accept()
        await trio.sleep(1)
        peer.stream.reset()  # type: ignore[attr-defined]

    async with rig(script) as made, made.open() as connection:
        start = trio.current_time()
        assert await connection.ping(30) is None
        assert trio.current_time() == start + 30
        assert connection.tap.down.is_set()


async def test_pongs_go_on_while_the_consumer_takes_nothing(autojump_clock: object) -> None:
    async def script(peer: Peer) -> None:
        await peer.accept()
        for number in range(5):
            await peer.send(text("x" * 100) * 50 + frame(PING, b"%d" % number))
            pong = await peer.next_frame()
            assert (pong.opcode, pong.payload) == (PONG, b"%d" % number)
            await trio.sleep(20)
        await peer.send(text("end"))
        await accept_rest(peer)

    async def accept_rest(peer: Peer) -> None:
        await peer.frames(until=[CLOSE])
        await peer.send(close())

    async with rig(script) as made, made.open() as connection:
        await trio.sleep(120)
        batches = [await connection.next_batch() for _ in range(6)]
        assert sum(len(batch.payloads) for batch in batches) == 251


async def test_a_ping_flood_gets_at_most_two_pongs_a_second(autojump_clock: object) -> None:
    pongs: list[float] = []

    async def script(peer: Peer) -> None:
        await peer.accept()

        async def listen() -> None:
            pongs.extend(seen.time for seen in await peer.frames())

        async with trio.open_nursery() as nursery:
            nursery.start_soon(listen)
            for _ in range(500):
                await peer.send(frame(PING, b"flood"))
                await trio.sleep(0.01)

    async with rig(script) as made, made.open():
        await trio.sleep(8)
    assert 10 <= len(pongs) <= 13
    assert all(later - first >= 1 - 1e-9 for first, later in zip(pongs, pongs[2:], strict=False))


def test_a_connection_says_where_it_stands() -> None:
    async def main() -> None:
        async with rig(accept_and_answer) as made, made.open() as connection:
            assert isinstance(connection, Connection)
            assert repr(connection) == "<Connection localhost:1 open>"
            connection.tap.fail(Dropped("gone"))
            assert repr(connection) == "<Connection localhost:1 gone>"

    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))

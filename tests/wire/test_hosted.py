"""The loop around Trio waits for the socket: what comes, and that it is let go of in time."""

from __future__ import annotations

import select
import socket
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest
import trio
from peer import PING, frame, text

from k2trio.errors import Dropped, Reset
from k2trio.wire.pings import PINGS_PER_S
from k2trio.wire.ready import HOST
from k2trio.wire.tap import FrameTap
from k2trio.wire.tcp import TcpStream

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable

    from k2trio.wire.tap import Batch

BOUND_S = 5.0
SWITCHING = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n"


class Host:
    """Waits for sockets as a loop around Trio does; a task of the test turns it."""

    def __init__(self) -> None:
        self.readers: dict[int, Callable[[], None]] = {}
        self.calls = 0

    def add_reader(self, fd: int, callback: Callable[[], None]) -> None:
        assert fd not in self.readers
        self.readers[fd] = callback

    def remove_reader(self, fd: int) -> None:
        del self.readers[fd]

    def turn(self) -> None:
        """Call back for what is readable."""
        if self.readers:
            poll = select.poll()
            for fd in self.readers:
                poll.register(fd, select.POLLIN)
            for fd, _ in poll.poll(0):
                self.calls += 1
                self.readers[fd]()


class Line:
    """A tap on a real socket, upgraded, and what its peer has."""

    def __init__(self, host: Host, tap: FrameTap, peer: socket.socket) -> None:
        self.host = host
        self.tap = tap
        self.peer = peer
        self.ended = trio.Event()

    async def read(self) -> None:
        await self.tap.read()
        self.ended.set()

    async def until(self, true: Callable[[], object]) -> None:
        """Turn the host until something is so, within a bound."""
        with trio.fail_after(BOUND_S):
            while not true():
                self.host.turn()
                await trio.sleep(0.001)


@asynccontextmanager
async def hosted(max_buffered_bytes: int = 1 << 20) -> AsyncGenerator[tuple[Line, trio.Nursery]]:
    host = Host()
    HOST.set(host)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        ours = socket.create_connection(listener.getsockname())
        peer, _ = listener.accept()
    with ours, peer:
        tap = FrameTap(
            TcpStream(ours), max_message_bytes=70_000, max_buffered_bytes=max_buffered_bytes
        )
        peer.sendall(SWITCHING)
        assert await tap.receive_some() == SWITCHING
        line = Line(host, tap, peer)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(line.read)
            await line.until(lambda: host.readers)
            yield line, nursery
            nursery.cancel_scope.cancel()
    assert host.readers == {}


async def test_messages_are_handed_over_in_the_callback() -> None:
    async with hosted() as (line, _):
        taken: list[bytes] = []

        def take(batch: Batch) -> bool:
            taken.extend(batch.payloads)
            return True

        line.tap.hand_over = take
        for number in range(10):
            line.peer.sendall(text(b"%d" % number))
            await line.until(lambda number=number: len(taken) > number)  # type: ignore[misc]
        assert taken == [b"%d" % number for number in range(10)]
        assert line.host.calls == 10


@pytest.mark.parametrize("reset", [False, True])
async def test_the_end_of_the_connection_lets_go_of_the_socket(*, reset: bool) -> None:
    async with hosted() as (line, _):
        line.peer.sendall(text("last"))
        await line.until(lambda: line.tap.buffered_bytes)
        if reset:
            linger = b"\x01\0\0\0\0\0\0\0"
            line.peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        line.peer.close()
        await line.until(line.ended.is_set)
        assert line.host.readers == {}
        assert (await line.tap.next_batch()).payloads == [b"last"]
        assert type(line.tap.failure) is (Reset if reset else Dropped)


async def test_whoever_closes_the_socket_lets_go_of_it_first() -> None:
    async with hosted() as (line, _):
        await line.tap.aclose()
        assert line.host.readers == {}
        await line.until(line.ended.is_set)


async def test_a_cancellation_lets_go_of_the_socket_and_takes_nothing() -> None:
    async with hosted() as (line, nursery):
        nursery.cancel_scope.cancel()
    assert line.tap.failure is None


async def test_an_unexpected_error_comes_out_of_the_task_that_reads() -> None:
    def bug(_batch: Batch) -> bool:
        raise ZeroDivisionError

    async def run() -> None:
        async with hosted() as (line, _):
            line.tap.hand_over = bug
            line.peer.sendall(text("a"))
            await line.until(lambda: False)

    with pytest.raises(ExceptionGroup) as caught:
        await run()
    assert caught.group_contains(ZeroDivisionError)


async def test_reading_stops_at_the_bound_and_goes_on_when_there_is_room() -> None:
    async with hosted(max_buffered_bytes=100) as (line, _):
        line.peer.sendall(text("a" * 100))
        await line.until(lambda: line.tap.blocked)
        assert line.host.readers == {}
        line.peer.sendall(text("b" * 100))
        await line.tap.next_batch()
        await line.until(lambda: line.tap.buffered_bytes)
        assert (await line.tap.next_batch()).payloads == [b"b" * 100]


async def test_pings_are_passed_on_and_the_last_of_a_flood_without_further_bytes() -> None:
    control = b""

    async with hosted() as (line, nursery):

        async def answer() -> None:
            nonlocal control
            while data := await line.tap.receive_some():
                control += data

        nursery.start_soon(answer)
        for number in range(PINGS_PER_S + 3):
            before = line.host.calls
            line.peer.sendall(frame(PING, b"%d" % number))
            if number <= PINGS_PER_S:
                await line.until(lambda before=before: line.host.calls > before)  # type: ignore[misc]
        last = frame(PING, b"%d" % (PINGS_PER_S + 2))
        await line.until(lambda: control.endswith(last))
        await line.until(lambda: line.host.readers)
        assert control == b"".join(frame(PING, b"%d" % n) for n in range(PINGS_PER_S)) + last

"""TcpStream on real sockets: what arrives, how it ends, and that nothing is lost on the way."""

from __future__ import annotations

import socket
import struct
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING

import pytest
import trio
import trio.testing
from world import SleepTimes

from k2trio.wire.tcp import RECEIVE_BYTES, TcpStream

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterator

BOUND_S = 5.0
both_ways = pytest.mark.parametrize("busy_poll", [0.0, 1.0])


def sockets() -> tuple[socket.socket, socket.socket]:
    """Both ends of a connection."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        near = socket.create_connection(listener.getsockname())
        far, _ = listener.accept()
    return near, far


@contextmanager
def connected(busy_poll: float = 0.0) -> Iterator[tuple[TcpStream, socket.socket]]:
    """Our stream and the peer's plain socket."""
    ours, peer = sockets()
    with ours, peer:
        yield TcpStream(ours, busy_poll=busy_poll), peer


@asynccontextmanager
async def in_state(state: str) -> AsyncGenerator[tuple[TcpStream, socket.socket]]:
    """The same, bounded, with a stream of which nothing was read yet (``waits``), or which has read
    something, so that it will not wait before it reads.
    """
    with (
        connected(1.0 if state == "polls" else 0.0) as (stream, peer),
        trio.fail_after(BOUND_S),
    ):
        if state != "waits":
            peer.sendall(b"x")
            assert await stream.receive_some(1 if state == "filled" else None) == b"x"
        yield stream, peer


in_every_state = pytest.mark.parametrize("state", ["waits", "filled", "polls"])


@both_ways
async def test_it_is_a_stream_as_trio_wants_one(busy_poll: float) -> None:
    async def make() -> tuple[TcpStream, TcpStream]:
        near, far = sockets()
        return TcpStream(near, busy_poll=busy_poll), TcpStream(far, busy_poll=busy_poll)

    with trio.fail_after(BOUND_S):
        await trio.testing.check_two_way_stream(make, None)


@both_ways
async def test_bytes_come_as_they_were_sent_and_then_the_end(busy_poll: float) -> None:
    with connected(busy_poll) as (stream, peer), trio.fail_after(BOUND_S):
        peer.sendall(b"hello")
        assert await stream.receive_some() == b"hello"
        peer.shutdown(socket.SHUT_WR)
        assert await stream.receive_some() == b""
        assert await stream.receive_some() == b""
        await stream.send_all(b"bye")
        assert peer.recv(10) == b"bye"


@both_ways
@pytest.mark.parametrize("limit", [None, 1, 4096])
async def test_reads_that_are_filled_go_on_without_loss(
    limit: int | None, busy_poll: float
) -> None:
    sent = bytes(range(256)) * (16 if limit == 1 else 1024)
    with connected(busy_poll) as (stream, peer), trio.fail_after(BOUND_S):
        peer.sendall(sent)
        received = b""
        while len(received) < len(sent):
            piece = await stream.receive_some(limit)
            assert 0 < len(piece) <= (limit or RECEIVE_BYTES)
            received += piece
        assert received == sent
        # The last read may have been filled by the last bytes; nothing more is there all the same.
        with trio.move_on_after(0.05) as scope:
            await stream.receive_some(limit)
        assert scope.cancelled_caught


@in_every_state
async def test_a_cancelled_read_takes_nothing(state: str) -> None:
    async with in_state(state) as (stream, peer):
        peer.sendall(b"abcd")
        with trio.CancelScope() as scope:
            scope.cancel()
            await stream.receive_some()
        assert scope.cancelled_caught
        assert await stream.receive_some() == b"abcd"


@in_every_state
async def test_a_reset_breaks_the_stream_with_its_cause(state: str) -> None:
    async with in_state(state) as (stream, peer):
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        peer.close()
        with pytest.raises(trio.BrokenResourceError) as raised:
            await stream.receive_some()
        assert isinstance(raised.value.__cause__, ConnectionResetError)


@in_every_state
async def test_a_closed_stream_says_so(state: str) -> None:
    async with in_state(state) as (stream, peer):
        await stream.aclose()
        with pytest.raises(trio.ClosedResourceError):
            await stream.receive_some()
        assert peer.recv(1) == b""


@pytest.mark.parametrize("state", ["waits", "polls"])
async def test_closing_wakes_the_reader(state: str) -> None:
    async with in_state(state) as (stream, _):

        async def read() -> None:
            with pytest.raises(trio.ClosedResourceError):
                await stream.receive_some()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(read)
            await trio.sleep(0.01)
            await stream.aclose()


async def test_other_tasks_run_between_filled_reads() -> None:
    with connected() as (stream, peer), trio.fail_after(BOUND_S):
        peer.sendall(b"x" * 100)
        turns = 0

        async def count() -> None:
            nonlocal turns
            while True:
                await trio.lowlevel.checkpoint()
                turns += 1

        async with trio.open_nursery() as nursery:
            nursery.start_soon(count)
            seen = []
            for _ in range(100):
                await stream.receive_some(1)
                seen.append(turns)
            nursery.cancel_scope.cancel()
        # Trio runs the two in either order each time, so a turn comes at every other read at least.
        assert all(before < after for before, after in zip(seen[1:], seen[3:], strict=False))


async def test_where_nothing_follows_a_filled_read_the_loop_sleeps() -> None:
    async with in_state("filled") as (stream, _):
        with SleepTimes() as times, trio.move_on_after(0.1) as scope:
            await stream.receive_some()
        assert scope.cancelled_caught
        assert max(timeout for _, timeout in times.seen) > 0.05


async def test_a_busy_poll_asks_without_sleeping_for_its_time_and_then_sleeps() -> None:
    busy_poll = 0.1
    with connected(busy_poll) as (stream, peer), trio.fail_after(BOUND_S):
        began = trio.current_time()
        peer.sendall(b"first")
        assert await stream.receive_some() == b"first"

        async def send_later() -> None:
            await trio.sleep_until(began + 4 * busy_poll)
            peer.sendall(b"second")

        with SleepTimes() as times:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(send_later)
                assert await stream.receive_some() == b"second"
        polling = [timeout for at, timeout in times.seen if at < began + busy_poll]
        assert len(polling) > 1
        assert not any(polling)
        assert max(timeout for _, timeout in times.seen) > busy_poll

"""Connections in memory: order, backpressure, latency, FIN and RST."""

from __future__ import annotations

import pytest
import trio
import trio.testing

from k2trio.simulator import memory_pair


async def test_bytes_arrive_in_order_and_fin_ends_them(autojump_clock: object) -> None:
    one, other = memory_pair()
    await one.send_all(b"abc")
    await one.send_all(b"def")
    await one.send_eof()
    assert await other.receive_some(4) == b"abcd"
    assert await other.receive_some() == b"ef"
    assert await other.receive_some() == b""
    await other.send_all(b"still open this way")
    assert await one.receive_some() == b"still open this way"
    with pytest.raises(trio.ClosedResourceError):
        await one.send_all(b"after eof")


async def test_a_sender_waits_while_the_window_is_full(autojump_clock: object) -> None:
    one, other = memory_pair(window_bytes=10)
    sent_at: list[float] = []

    async def send() -> None:
        await one.send_all(b"x" * 25)
        sent_at.append(trio.current_time())

    start = trio.current_time()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(send)
        for _ in range(2):
            await trio.sleep(5)
            assert len(await other.receive_some()) == 10
    assert sent_at == [start + 10]


async def test_latency_delays_bytes_and_the_end_alike(autojump_clock: object) -> None:
    one, other = memory_pair(latency_s=0.25)
    start = trio.current_time()
    await one.send_all(b"a")
    await trio.sleep(0.1)
    await one.send_eof()
    assert await other.receive_some() == b"a"
    assert trio.current_time() == start + 0.25
    assert await other.receive_some() == b""
    assert trio.current_time() == start + 0.35


async def test_a_reset_breaks_both_sides_but_what_arrived_can_be_read(
    autojump_clock: object,
) -> None:
    one, other = memory_pair()
    await one.send_all(b"a")
    one.reset()
    assert await other.receive_some() == b"a"
    with pytest.raises(trio.BrokenResourceError):
        await other.receive_some()
    with pytest.raises(trio.BrokenResourceError):
        await other.send_all(b"b")
    with pytest.raises(trio.ClosedResourceError):
        await one.receive_some()


async def test_closing_wakes_our_own_reader(autojump_clock: object) -> None:
    one, _other = memory_pair()

    async def read() -> None:
        with pytest.raises(trio.ClosedResourceError):
            await one.receive_some()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(read)
        await trio.testing.wait_all_tasks_blocked()
        await one.aclose()


async def test_closing_wakes_the_peers_blocked_writer(autojump_clock: object) -> None:
    one, other = memory_pair(window_bytes=1)

    async def write() -> None:
        with pytest.raises(trio.BrokenResourceError):
            await other.send_all(b"xx")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(write)
        await trio.testing.wait_all_tasks_blocked()
        await one.aclose()


async def test_two_tasks_cannot_use_one_direction(autojump_clock: object) -> None:
    one, _other = memory_pair()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(one.receive_some)
        await trio.testing.wait_all_tasks_blocked()
        with pytest.raises(trio.BusyResourceError):
            await one.receive_some()
        nursery.cancel_scope.cancel()


async def test_cancelling_a_receive_loses_nothing(autojump_clock: object) -> None:
    one, other = memory_pair()
    with trio.move_on_after(1):
        await other.receive_some()
    await one.send_all(b"kept")
    assert await other.receive_some() == b"kept"


async def test_the_pipes_pass_trios_own_stream_checks() -> None:
    async def make() -> tuple[trio.abc.HalfCloseableStream, trio.abc.HalfCloseableStream]:
        return memory_pair()

    async def make_clogged() -> tuple[trio.abc.HalfCloseableStream, trio.abc.HalfCloseableStream]:
        one, other = memory_pair(window_bytes=100)
        await one.send_all(b"x" * 100)
        await other.send_all(b"x" * 100)
        return one, other

    await trio.testing.check_half_closeable_stream(make, make_clogged)

"""TlsStream against trio's own server side, in memory."""

from __future__ import annotations

import random
import socket
import ssl
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
import trio
import trio.testing
import trustme
from hypothesis import given, settings
from hypothesis import strategies as st

from k2trio.wire.tcp import TcpStream
from k2trio.wire.tls import TlsStream

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

AUTHORITY = trustme.CA()
HOST = "exchange.test"


def server_context(*versions: ssl.TLSVersion) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    AUTHORITY.issue_cert(HOST).configure_cert(context)
    if versions:
        context.minimum_version = context.maximum_version = versions[0]
    return context


def client_context(*, trusting: bool = True) -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.options |= ssl.OP_NO_RENEGOTIATION
    if trusting:
        AUTHORITY.configure_trust(context)
    return context


SERVER, CLIENT = server_context(), client_context()


@asynccontextmanager
async def connected(
    server: ssl.SSLContext = SERVER, client: ssl.SSLContext = CLIENT, **options: Any
) -> AsyncGenerator[tuple[TlsStream, Any, trio.StapledStream[Any, Any]]]:
    """Our stream, trio's at the other end, and what is below the latter."""
    near, far = trio.testing.memory_stream_pair()
    ours = TlsStream(near, client, HOST, **options)
    theirs = trio.SSLStream(far, server, server_side=True)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(theirs.do_handshake)
        await ours.do_handshake()
    yield ours, theirs, far


async def read(stream: Any, size: int) -> bytes:
    data = b""
    while len(data) < size:
        part = await stream.receive_some()
        assert part, "the stream ended early"
        data += part
    return data


async def test_the_records_of_one_read_come_at_once() -> None:
    async with connected() as (ours, theirs, _):
        for number in range(100):
            await theirs.send_all(b"%03d" % number)
        assert await ours.receive_some() == b"".join(b"%03d" % number for number in range(100))


async def test_at_most_so_many_bytes_come_as_were_asked_for() -> None:
    async with connected() as (ours, theirs, _):
        await theirs.send_all(b"x" * 1000)
        assert [len(await ours.receive_some(400)) for _ in range(3)] == [400, 400, 200]


@asynccontextmanager
async def on_sockets() -> AsyncGenerator[tuple[TlsStream, Any]]:
    """Our stream on a socket, and trio's at the other end."""
    near, far = socket.socketpair()
    ours = TlsStream(TcpStream(near), CLIENT, HOST)
    theirs: Any = trio.SSLStream(
        trio.SocketStream(trio.socket.from_stdlib_socket(far)), SERVER, server_side=True
    )
    with near, far, trio.fail_after(5):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(theirs.do_handshake)
            await ours.do_handshake()
        yield ours, theirs


async def read_when_ready(stream: TlsStream, size: int) -> bytes:
    data = b""
    while len(data) < size:
        await stream.readable()
        part = stream.read_now()
        assert part != b"", "the stream ended early"
        data += part or b""
    return data


async def test_what_is_read_when_it_is_ready_is_whole_and_then_comes_the_end() -> None:
    sent = random.Random(1).randbytes(300_000)
    async with on_sockets() as (ours, theirs), trio.open_nursery() as nursery:
        assert ours.ready is ours

        async def send() -> None:
            for at in range(0, len(sent), 30_000):
                await theirs.send_all(sent[at : at + 30_000])
            await theirs.transport_stream.send_eof()

        nursery.start_soon(send)
        assert await read_when_ready(ours, len(sent)) == sent
        await ours.readable()
        assert ours.read_now() == b""


async def test_what_a_bounded_read_left_is_not_waited_for() -> None:
    async with on_sockets() as (ours, theirs):
        await theirs.send_all(b"x" * 1000)
        assert await ours.receive_some(400) == b"x" * 400
        assert not ours.hosted, "its socket has nothing more to say"
        assert await read_when_ready(ours, 600) == b"x" * 600
        assert ours.hosted


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 2**32), st.sampled_from([ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3]))
def test_both_ways_everything_arrives_in_order(seed: int, version: ssl.TLSVersion) -> None:
    rng = random.Random(seed)
    there, back = rng.randbytes(rng.randrange(1, 100_000)), rng.randbytes(rng.randrange(1, 100_000))

    async def send(stream: Any, data: bytes) -> None:
        while data:
            size = rng.randrange(1, 20_000)
            await stream.send_all(data[:size])
            data = data[size:]

    async def main() -> None:
        async with connected(server_context(version)) as (ours, theirs, _):
            got: dict[str, bytes] = {}

            async def take(name: str, stream: Any, size: int) -> None:
                got[name] = await read(stream, size)

            async with trio.open_nursery() as nursery:
                nursery.start_soon(send, ours, there)
                nursery.start_soon(send, theirs, back)
                nursery.start_soon(take, "there", theirs, len(there))
                nursery.start_soon(take, "back", ours, len(back))
            assert got == {"there": there, "back": back}

    trio.run(main)


@pytest.mark.parametrize("politely", [True, False])
async def test_the_end_of_the_transport_is_the_end_of_the_stream(politely: bool) -> None:
    async with connected() as (ours, theirs, below):
        await theirs.send_all(b"last words")
        close = theirs.aclose if politely else below.aclose
        async with trio.open_nursery() as nursery:
            nursery.start_soon(partial(trio.aclose_forcefully, theirs) if not politely else close)
            assert await ours.receive_some() == b"last words"
            assert await ours.receive_some() == b""
            assert await ours.receive_some() == b""
            await ours.aclose()


async def test_a_spoilt_record_breaks_the_stream() -> None:
    async with connected() as (ours, _, below):
        await below.send_all(b"\x17\x03\x03\x00\x20" + b"x" * 32)
        with pytest.raises(trio.BrokenResourceError) as caught:
            await ours.receive_some()
    assert isinstance(caught.value.__cause__, ssl.SSLError)


async def test_a_server_that_nobody_vouches_for_is_refused_and_told() -> None:
    near, far = trio.testing.memory_stream_pair()
    ours = TlsStream(near, client_context(trusting=False), HOST)
    theirs = trio.SSLStream(far, SERVER, server_side=True)
    causes: list[BaseException | None] = []

    async def serve() -> None:
        try:
            await theirs.do_handshake()
            await theirs.receive_some()
        except trio.BrokenResourceError as error:
            causes.append(error.__cause__)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(serve)
        with pytest.raises(trio.BrokenResourceError) as caught:
            await ours.do_handshake()
    assert isinstance(caught.value.__cause__, ssl.SSLCertVerificationError)
    assert "unknown ca" in str(causes[0])


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_a_session_is_resumed_by_the_next_connection(version: ssl.TLSVersion) -> None:
    server, sessions = server_context(version), []
    async with connected(server, remember=sessions.append) as (ours, theirs, _):
        await theirs.send_all(b"x")
        await ours.receive_some()
        assert not ours.resumed
    (session,) = sessions
    async with connected(server, session=session) as (ours, theirs, _):
        assert ours.resumed
        await theirs.send_all(b"y")
        assert await ours.receive_some() == b"y"


async def test_a_session_that_the_server_does_not_know_costs_a_full_handshake() -> None:
    sessions: list[ssl.SSLSession] = []
    async with connected(server_context(), remember=sessions.append) as (ours, theirs, _):
        await theirs.send_all(b"x")
        await ours.receive_some()
    async with connected(server_context(), session=sessions[0]) as (ours, theirs, _):
        assert not ours.resumed
        await theirs.send_all(b"y")
        assert await ours.receive_some() == b"y"

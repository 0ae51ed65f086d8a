"""Real sockets on this machine, real time: what virtual time cannot prove.

Every test ends within a bound, and asserts upper bounds only, since real time has no others. Where
the simulated exchange has the fault it is used; else a few lines play the server.
"""

from __future__ import annotations

import resource
import socket
import ssl
import threading
from contextlib import asynccontextmanager, contextmanager, nullcontext, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest
import trio
import trio.lowlevel
import trustme
from peer import (
    CLOSE,
    CONTINUATION,
    PING,
    PONG,
    TEXT,
    Peer,
    close,
    endpoint,
    frame,
    switching,
    text,
)
from world import SleepTimes, make_settings

from k2trio.client.opening import open_feed
from k2trio.errors import (
    ConnectionFailed,
    DialError,
    Dropped,
    HandshakeRefused,
    HandshakeTimeout,
    LocalResourceError,
    MessageTooBig,
    NameResolutionError,
    ProtocolViolation,
    Reset,
    TLSError,
)
from k2trio.market.payloads import Event
from k2trio.observe import transitions as on
from k2trio.simulator import (
    EndpointConfig,
    Fault,
    FaultKind,
    Limits,
    RestConfig,
    Running,
    ServeConfig,
    serve,
)
from k2trio.simulator.connection.transport import abort
from k2trio.wire import resolver as resolver_module
from k2trio.wire import tap as tap_module
from k2trio.wire.connection import Connection, open_connection
from k2trio.wire.dialer import TcpDialer
from k2trio.wire.eyeballs import CONNECT_STAGGER_S
from k2trio.wire.resolver import MAX_RESOLVER_THREADS
from k2trio.wire.tls import make_ssl_context

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
    from pathlib import Path

    from k2trio.client.feed import Feed
    from k2trio.settings import Settings

    Script = Callable[[Peer], Awaitable[None]]

STREAMS = ["btcusdt@trade"]
TEST_BOUND_S = 15.0
"""No test may take longer, whatever it finds."""
SLACK_S = 1.0
"""How much later than its bound something may happen on a busy machine.

What a test tells apart lies further away: see :func:`plain_settings`.
"""


class Stopwatch:
    """Asserts that something took no longer than it may, and no shorter than it must."""

    def __init__(self) -> None:
        self._started = trio.current_time()

    @property
    def elapsed_s(self) -> float:
        return trio.current_time() - self._started

    def at_once(self) -> None:
        assert self.elapsed_s < SLACK_S

    def after(self, bound_s: float) -> None:
        assert bound_s <= self.elapsed_s + 0.001
        assert self.elapsed_s < bound_s + SLACK_S


@dataclass
class Server:
    """A server that follows a script on each connection."""

    port: int
    authority: trustme.CA | None
    peers: list[Peer] = field(default_factory=list)

    def url(self, scheme: str | None = None, host: str = "127.0.0.1") -> str:
        scheme = scheme or ("wss" if self.authority else "ws")
        return f"{scheme}://{host}:{self.port}/stream"


def server_context(authority: trustme.CA, *names: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(*(names or ("localhost", "127.0.0.1"))).configure_cert(context)
    return context


@asynccontextmanager
async def served(
    script: Script, *, tls: ssl.SSLContext | None = None, authority: trustme.CA | None = None
) -> AsyncGenerator[Server]:
    """Listen on a free port; the whole test is bounded.

    :param authority: serve TLS with a certificate of its, or with ``tls`` if given.
    """
    if authority is not None and tls is None:
        tls = server_context(authority)

    async def handle(stream: trio.SocketStream) -> None:
        with suppress(trio.BrokenResourceError, trio.ClosedResourceError, trio.EndOfChannel):
            if tls is None:
                peer = Peer(stream)
            else:
                secure = trio.SSLStream(stream, tls, server_side=True, https_compatible=True)
                peer = Peer(secure)
                await secure.do_handshake()
            server.peers.append(peer)
            await script(peer)

    with trio.fail_after(TEST_BOUND_S):
        async with trio.open_nursery() as nursery:
            serve_tcp = trio.serve_tcp
            listeners: Any = await nursery.start(
                lambda **kw: serve_tcp(handle, 0, host="127.0.0.1", **kw)
            )
            server = Server(listeners[0].socket.getsockname()[1], authority)
            yield server
            nursery.cancel_scope.cancel()


def plain_settings(**values: Any) -> Settings:
    given = {"handshake_timeout": 2.5, "close_timeout": 1.5, **values}
    return make_settings(["ws://127.0.0.1:1/stream"], **given)


@asynccontextmanager
async def connected(
    url: str, dialer: TcpDialer | None = None, **values: Any
) -> AsyncGenerator[Connection]:
    settings = plain_settings(**values)
    dialer = TcpDialer(make_ssl_context(settings)) if dialer is None else dialer
    async with open_connection(endpoint(url), STREAMS, settings, dialer) as connection:
        yield connection


async def failure_of(url: str, dialer: TcpDialer | None = None, **values: Any) -> ConnectionFailed:
    """How a connection that should not come about fails."""
    with pytest.raises(ConnectionFailed) as caught:
        async with connected(url, dialer, **values):
            raise AssertionError
    return caught.value


async def end_of(connection: Connection) -> tuple[list[bytes], ConnectionFailed]:
    """Everything until the connection fails, and how."""
    found: list[bytes] = []
    try:
        while True:
            found += (await connection.next_batch()).payloads
    except ConnectionFailed as failure:
        return found, failure


async def life_of(url: str, **values: Any) -> tuple[list[bytes], ConnectionFailed]:
    """:func:`end_of` a connection of its own, closed again within its bound."""
    async with connected(url, **values) as connection:
        return await end_of(connection)


async def keep(peer: Peer) -> None:
    """Read and answer nothing until the client is gone."""
    with suppress(trio.BrokenResourceError):
        while await peer.stream.receive_some(65536):
            pass


async def accept_and_answer(peer: Peer) -> None:
    await peer.accept()
    await peer.frames(until=[CLOSE])
    await peer.send(close())
    await keep(peer)


def accept_and(*sent: bytes, then: str = "keep") -> Script:
    async def script(peer: Peer) -> None:
        await peer.accept()
        for data in sent:
            await peer.send(data)
        match then:
            case "fin":
                await peer.stream.aclose()
            case "rst":
                # What was sent must arrive first: RST discards what is still under way.
                await peer.next_frame()
                abort(peer.stream)
            case _:
                await keep(peer)

    return script


def answer(data: bytes) -> Script:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(data)
        await keep(peer)

    return script


# -- dial -------------------------------------------------------------------------------------


@contextmanager
def black_hole(host: str = "127.0.0.1", port: int = 0) -> Iterator[int]:
    """A port whose accept queue is full: the kernel drops every further SYN."""
    with socket.socket() as listening:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((host, port))
        listening.listen(0)
        where = listening.getsockname()
        fillers = [socket.socket() for _ in range(4)]
        for filler in fillers:
            filler.setblocking(False)
            filler.connect_ex(where)
        try:
            yield where[1]
        finally:
            for filler in fillers:
                filler.close()


async def test_a_black_hole_ends_at_the_handshake_timeout() -> None:
    with trio.fail_after(TEST_BOUND_S), black_hole() as port:
        watch = Stopwatch()
        failure = await failure_of(f"ws://127.0.0.1:{port}/", handshake_timeout=0.4)
        watch.after(0.4)
    assert isinstance(failure, HandshakeTimeout)


async def test_a_closed_port_refuses_at_once() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    with trio.fail_after(TEST_BOUND_S):
        watch = Stopwatch()
        failure = await failure_of(f"ws://127.0.0.1:{port}/")
        watch.at_once()
    assert isinstance(failure, DialError)
    assert "refused" in str(failure)


async def test_a_lack_of_descriptors_is_our_own_failure() -> None:
    async with served(accept_and_answer) as server:
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        dialer = TcpDialer(ssl.create_default_context())
        async with connected(server.url(), dialer):
            pass  # everything that is opened once has been
        with socket.socket() as lowest:
            resource.setrlimit(resource.RLIMIT_NOFILE, (lowest.fileno() + 1, hard))
            try:
                failure = await failure_of(server.url(), dialer)
            finally:
                resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert isinstance(failure, LocalResourceError)


def answer_with(
    monkeypatch: pytest.MonkeyPatch, ask: Callable[[], list[str]]
) -> Callable[..., object]:
    """Let look-ups of ``exchange.test`` be answered by ``ask``, in the resolver's thread."""
    real = socket.getaddrinfo

    def getaddrinfo(host: Any, port: Any, *args: Any, **kwargs: Any) -> Any:
        if host != "exchange.test":
            return real(host, port, *args, **kwargs)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (name, port)) for name in ask()]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    return getaddrinfo


@pytest.mark.parametrize("dead", ["black hole", "refused"])
async def test_a_dead_first_address_costs_no_more_than_the_stagger(
    dead: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer_with(monkeypatch, lambda: ["127.0.0.2", "127.0.0.1"])
    async with served(accept_and_answer) as server:
        holes = black_hole("127.0.0.2", server.port) if dead == "black hole" else nullcontext()
        with holes:
            watch = Stopwatch()
            async with connected(server.url(host="exchange.test")):
                watch.after(CONNECT_STAGGER_S if dead == "black hole" else 0)
    assert len(server.peers) == 1


@asynccontextmanager
async def mute(host: str, port: int) -> AsyncGenerator[list[float]]:
    """A node that takes every connection and never says a word; when it was connected to."""
    taken: list[float] = []

    async def take(stream: trio.SocketStream) -> None:
        taken.append(trio.current_time())
        await keep(Peer(stream))

    async with trio.open_nursery() as nursery:
        serve_tcp = trio.serve_tcp
        await nursery.start(lambda **kw: serve_tcp(take, port, host=host, **kw))
        yield taken
        nursery.cancel_scope.cancel()


async def test_a_node_that_accepts_and_never_answers_the_upgrade_is_not_dialled_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    answer_with(monkeypatch, lambda: ["127.0.0.2", "127.0.0.1"])
    dialer = TcpDialer(ssl.create_default_context())
    async with served(accept_and_answer) as server, mute("127.0.0.2", server.port) as taken:
        url = server.url(host="exchange.test")
        failure = await failure_of(url, dialer, handshake_timeout=0.3)
        assert isinstance(failure, HandshakeTimeout)
        for _ in range(2):
            async with connected(url, dialer):
                pass
        assert len(taken) == 1
    assert len(server.peers) == 2


async def test_a_node_that_accepts_and_never_speaks_tls_leaves_time_for_the_others(
    authority: trustme.CA, ca_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer_with(monkeypatch, lambda: ["127.0.0.2", "127.0.0.1"])
    tls = server_context(authority, "exchange.test")
    dialer = TcpDialer(make_ssl_context(plain_settings(ca_file=ca_file)))
    async with (
        served(accept_and_answer, tls=tls, authority=authority) as server,
        mute("127.0.0.2", server.port) as taken,
    ):
        url = server.url(host="exchange.test")
        for _ in range(2):
            async with connected(url, dialer, handshake_timeout=1.0, ca_file=ca_file):
                pass
        assert len(taken) == 1
    assert len(server.peers) == 2


async def test_hung_look_ups_use_the_last_good_addresses_and_threads_of_their_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    hang = threading.Event()
    started = 0

    def ask() -> list[str]:
        nonlocal started
        started += 1
        if started > 1:
            hang.wait(TEST_BOUND_S)
        return ["127.0.0.1"]

    answer_with(monkeypatch, ask)
    timeout_s = 1.0
    monkeypatch.setattr(resolver_module, "RESOLVE_TIMEOUT_S", timeout_s)
    dialer = TcpDialer(ssl.create_default_context())
    try:
        async with served(accept_and_answer) as server:
            url = server.url(host="exchange.test")
            async with connected(url, dialer):
                pass

            async def again() -> None:
                async with connected(url, dialer, handshake_timeout=TEST_BOUND_S):
                    watch.after(timeout_s)  # one wait and not three, one behind the other

            watch = Stopwatch()
            async with trio.open_nursery() as nursery:
                for _ in range(3 * MAX_RESOLVER_THREADS):
                    nursery.start_soon(again)
            assert started == 1 + MAX_RESOLVER_THREADS
            assert trio.to_thread.current_default_thread_limiter().borrowed_tokens == 0
            unknown = TcpDialer(ssl.create_default_context())
            assert isinstance(await failure_of(url, unknown), NameResolutionError)
    finally:
        hang.set()


# -- TLS --------------------------------------------------------------------------------------


async def test_tls_works_and_closes_in_order(authority: trustme.CA, ca_file: Path) -> None:
    async def script(peer: Peer) -> None:
        await peer.accept(more=text("early"))
        await accept_rest(peer)

    async with served(script, authority=authority) as server:
        async with connected(server.url(), ca_file=ca_file) as connection:
            assert (await connection.next_batch()).payloads == [b"early"]
            watch = Stopwatch()
        watch.at_once()
    assert [seen.opcode for seen in server.peers[0].seen] == [CLOSE]


async def test_a_reconnect_resumes_the_tls_session(authority: trustme.CA, ca_file: Path) -> None:
    async def script(peer: Peer) -> None:
        await peer.accept(more=text("hello"))
        await accept_rest(peer)

    tls = server_context(authority)
    dialer = TcpDialer(make_ssl_context(plain_settings(ca_file=ca_file)))
    async with served(script, tls=tls, authority=authority) as server:
        for resumed in range(3):
            async with connected(server.url(), dialer) as connection:
                assert (await connection.next_batch()).payloads == [b"hello"]
            assert tls.session_stats()["hits"] == resumed


async def accept_rest(peer: Peer) -> None:
    await peer.frames(until=[CLOSE])
    await peer.send(close())
    await keep(peer)


async def test_tls_1_2_is_the_least_and_verification_is_on(
    authority: trustme.CA, ca_file: Path
) -> None:
    context = make_ssl_context(plain_settings())
    assert context.minimum_version is ssl.TLSVersion.TLSv1_2
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.check_hostname
    old = server_context(authority)
    old.maximum_version = ssl.TLSVersion.TLSv1_2
    async with (
        served(accept_and_answer, tls=old, authority=authority) as server,
        connected(server.url(), ca_file=ca_file),
    ):
        pass


async def test_a_tls_hello_without_an_answer_ends_at_the_handshake_timeout() -> None:
    async with served(keep) as server:
        watch = Stopwatch()
        failure = await failure_of(server.url("wss"), handshake_timeout=0.4)
        watch.after(0.4)
    assert isinstance(failure, HandshakeTimeout)


@pytest.mark.parametrize(
    ("known", "names", "says"),
    [
        (False, ("127.0.0.1",), "self-signed|unable to get local issuer"),
        (True, ("exchange.example",), "not valid for '127.0.0.1'|IP address mismatch"),
    ],
    ids=["unknown authority", "another host's certificate"],
)
async def test_a_bad_certificate_is_named_and_never_answered_with_plaintext(
    known: bool, names: tuple[str, ...], says: str, authority: trustme.CA, ca_file: Path
) -> None:
    tls = server_context(authority if known else trustme.CA(), *names)
    async with served(keep, authority=authority, tls=tls) as server:
        watch = Stopwatch()
        failure = await failure_of(server.url(), ca_file=ca_file)
        watch.at_once()
        assert isinstance(failure, TLSError)
        with pytest.raises(TLSError, match=says):
            raise failure
        await trio.sleep(0.1)
    assert server.peers == [], "nobody got through a handshake"


@pytest.mark.parametrize("end", ["fin", "rst", "plaintext"])
async def test_a_broken_tls_handshake_is_noticed_at_once_and_stays_tls(end: str) -> None:
    received: list[bytes] = []

    async def script(peer: Peer) -> None:
        received.append(bytes(await peer.stream.receive_some(65536)))
        match end:
            case "fin":
                await peer.stream.aclose()
            case "rst":
                abort(peer.stream)
            case _:
                await peer.send(b"HTTP/1.1 400 Bad Request\r\n\r\n")
                await keep(peer)

    async with served(script) as server:
        watch = Stopwatch()
        failure = await failure_of(server.url("wss"))
        watch.at_once()
        await trio.sleep(0.1)
    assert isinstance(failure, TLSError)
    assert [data[:1] for data in received] == [b"\x16"], "one attempt, and it was a TLS hello"


@pytest.mark.parametrize(("end", "kind"), [("fin", Dropped), ("rst", Reset)])
async def test_tls_that_ends_without_a_goodbye_is_a_failure(
    end: str, kind: type[Exception], authority: trustme.CA, ca_file: Path
) -> None:
    async def script(peer: Peer) -> None:
        await peer.accept(more=text("last"))
        await peer.next_frame()
        if end == "fin":
            await peer.stream.transport_stream.aclose()  # type: ignore[attr-defined]
        else:
            abort(peer.stream)

    async with (
        served(script, authority=authority) as server,
        connected(server.url(), ca_file=ca_file) as connection,
    ):
        assert (await connection.next_batch()).payloads == [b"last"]
        await connection.send("LIST_SUBSCRIPTIONS", [], 1)
        _, failure = await end_of(connection)
    assert type(failure) is kind


# -- the upgrade ------------------------------------------------------------------------------


async def drip(peer: Peer) -> None:
    await peer.request()
    for byte in b"HTTP/1.1 101 Switching Protocols\r\n" * 100:
        await peer.send(bytes((byte,)))
        await trio.sleep(0.02)


@pytest.mark.parametrize("script", [keep, drip], ids=["silent", "drip-fed"])
async def test_an_upgrade_that_never_ends_is_given_up_at_the_handshake_timeout(
    script: Script,
) -> None:
    async with served(script) as server:
        watch = Stopwatch()
        failure = await failure_of(server.url(), handshake_timeout=0.4)
        watch.after(0.4)
    assert isinstance(failure, HandshakeTimeout)


async def fin(peer: Peer) -> None:
    await peer.request()
    await peer.stream.aclose()


async def rst(peer: Peer) -> None:
    await peer.request()
    abort(peer.stream)


@pytest.mark.parametrize("script", [fin, rst])
async def test_the_end_of_tcp_during_the_upgrade_is_noticed_at_once(script: Script) -> None:
    async with served(script) as server:
        watch = Stopwatch()
        failure = await failure_of(server.url())
        watch.at_once()
    assert isinstance(failure, Reset)


@pytest.mark.parametrize(("status", "trips"), [(429, False), (418, False), (451, True)])
async def test_a_refusal_without_a_length_is_read_at_once_with_its_retry_after(
    status: int, trips: bool
) -> None:
    head = f"HTTP/1.1 {status} No\r\nRetry-After: 17\r\nContent-Type: text/html\r\n\r\nNo".encode()
    async with served(answer(head)) as server:
        watch = Stopwatch()
        failure = await failure_of(server.url())
        watch.at_once()
    assert isinstance(failure, HandshakeRefused)
    assert (failure.status, failure.retry_after, failure.trips) == (status, 17, trips)


async def test_a_huge_refusal_body_is_not_read() -> None:
    sent = 0

    async def script(peer: Peer) -> None:
        nonlocal sent
        await peer.request()
        await peer.send(b"HTTP/1.1 503 No\r\n\r\n")
        while True:
            await peer.send(b"x" * 65536)
            sent += 65536

    async with served(script) as server:
        watch = Stopwatch()
        failure = await failure_of(server.url())
        watch.at_once()
    assert isinstance(failure, HandshakeRefused)
    assert sent < 64 << 20


async def endless_headers(peer: Peer) -> None:
    await peer.request()
    await peer.send(b"HTTP/1.1 101 Switching Protocols\r\n")
    while True:
        await peer.send(b"X-Filler: " + b"x" * 1000 + b"\r\n")


WRONG_KEY = (
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Accept: bm90IHRoZSByaWdodCBrZXk=\r\n\r\n"
)


async def unasked_extension(peer: Peer) -> None:
    await peer.accept("Sec-WebSocket-Extensions: permessage-deflate")
    await keep(peer)


def no_ascii(header: str) -> Script:
    """Accept, with one byte that is no ASCII in a header."""

    async def script(peer: Peer) -> None:
        more = "Sec-WebSocket-Extensions: x", "Sec-WebSocket-Protocol: x"
        head = switching(await peer.request(), *more)
        name = header.encode()
        before, _, after = head.partition(name + b": ")
        await peer.send(before + name + b": \x80" + after)
        await keep(peer)

    return script


NO_ASCII = ["Upgrade", "Connection", "Sec-WebSocket-Accept", "Sec-WebSocket-Extensions",
            "Sec-WebSocket-Protocol"]  # fmt: skip


@pytest.mark.parametrize(
    "script",
    [
        endless_headers,
        answer(WRONG_KEY),
        answer(b"220 mail.example ESMTP\r\n"),
        unasked_extension,
        *map(no_ascii, NO_ASCII),
    ],
    ids=["endless headers", "wrong accept key", "not HTTP", "unsolicited extension", *NO_ASCII],
)
async def test_a_broken_upgrade_is_a_violation_at_once(script: Script) -> None:
    async with served(script) as server:
        watch = Stopwatch()
        failure = await failure_of(server.url())
        watch.at_once()
    assert type(failure) is ProtocolViolation


async def test_a_redirect_is_not_followed() -> None:
    async with served(accept_and_answer) as target:
        location = f"HTTP/1.1 302 Found\r\nLocation: {target.url()}\r\nContent-Length: 0\r\n\r\n"
        async with served(answer(location.encode())) as server:
            failure = await failure_of(server.url())
            await trio.sleep(0.1)
    assert isinstance(failure, HandshakeRefused)
    assert failure.status == 302
    assert target.peers == []


# -- the end of a connection ------------------------------------------------------------------


async def test_a_plain_close_is_a_handshake_both_ways() -> None:
    async with served(accept_and_answer) as server:
        async with connected(server.url()):
            watch = Stopwatch()
        watch.at_once()
        await trio.sleep(0.05)
    assert [(seen.opcode, seen.payload) for seen in server.peers[0].seen] == [(CLOSE, b"\x03\xe8")]


@pytest.mark.parametrize("code", [1000, 1001, 1008, 1012])
async def test_the_peers_close_frame_is_a_drop_with_its_code_and_is_answered(code: int) -> None:
    answered: list[int] = []

    async def script(peer: Peer) -> None:
        await peer.accept()
        await peer.send(text("last") + close(code, "why"))
        answered.extend(seen.opcode for seen in await peer.frames(until=[CLOSE]))

    async with served(script) as server:
        watch = Stopwatch()
        found, failure = await life_of(server.url())
        watch.at_once()
        await trio.sleep(0.05)
    assert found == [b"last"]
    assert isinstance(failure, Dropped)
    assert failure.code == code
    assert answered == [CLOSE]


async def test_a_close_frame_with_tcp_held_open_is_left_at_once() -> None:
    async with served(accept_and(close(1001))) as server:
        watch = Stopwatch()
        _, failure = await life_of(server.url())
        watch.at_once()
    assert isinstance(failure, Dropped)


async def test_fin_without_a_close_frame_is_a_drop_without_a_code() -> None:
    async with served(accept_and(text("last"), then="fin")) as server:
        watch = Stopwatch()
        found, failure = await life_of(server.url())
        watch.at_once()
    assert found == [b"last"]
    assert type(failure) is Dropped
    assert failure.code is None


async def test_rst_is_a_reset_after_what_came_before() -> None:
    async with (
        served(accept_and(text("last"), then="rst")) as server,
        connected(server.url()) as connection,
    ):
        assert (await connection.next_batch()).payloads == [b"last"]
        await connection.send("LIST_SUBSCRIPTIONS", [], 1)
        watch = Stopwatch()
        _, failure = await end_of(connection)
        watch.at_once()
    assert type(failure) is Reset


async def test_leaving_a_silent_peer_takes_close_timeout() -> None:
    async with served(accept_and()) as server:
        async with connected(server.url(), close_timeout=0.3):
            watch = Stopwatch()
        watch.after(0.3)


async def test_a_ping_while_we_close_is_harmless() -> None:
    async def script(peer: Peer) -> None:
        await peer.accept()
        await peer.frames(until=[CLOSE])
        await peer.send(frame(PING, b"late"))
        await trio.sleep(0.05)
        await peer.send(frame(PING, b"later") + close())
        await keep(peer)

    survived = False
    async with served(script) as server, trio.open_nursery() as enclosing:
        async with connected(server.url()):
            watch = Stopwatch()
        watch.after(0.05)
        await trio.sleep(0.05)
        survived = not enclosing.cancel_scope.cancel_called
    assert survived


async def test_a_ping_pending_at_a_reset_is_bounded() -> None:
    async def script(peer: Peer) -> None:
        await peer.accept()
        await peer.frames(until=[PING])
        abort(peer.stream)

    async with served(script) as server, connected(server.url()) as connection:
        watch = Stopwatch()
        assert await connection.ping(0.3) is None
        watch.after(0.3)


async def test_a_ping_measures_a_real_round_trip() -> None:
    async def script(peer: Peer) -> None:
        await peer.accept()
        (ping,) = await peer.frames(until=[PING])
        await trio.sleep(0.05)
        await peer.send(frame(PONG, ping.payload))
        await accept_rest(peer)

    async with served(script) as server, connected(server.url()) as connection:
        round_trip = await connection.ping(2)
    assert round_trip is not None
    assert 0.05 <= round_trip < 0.05 + SLACK_S


# -- odd bytes --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sent", "kind"),
    [
        (b"\x8f\x7fgarbage", ProtocolViolation),
        (text(b"\xc3\x28"), ProtocolViolation),
        (b"\x82\x01a", ProtocolViolation),
        (b"\x81\x81\x00\x00\x00\x00a", ProtocolViolation),
        (text(b"x" * 2000), MessageTooBig),
        (b"\x81\x7f\x00\x00\x00\x01\x00\x00\x00\x00", MessageTooBig),
        (frame(TEXT, fin=False) + frame(CONTINUATION, fin=False) * 100_000, ProtocolViolation),
    ],
    ids="garbage utf8 binary masked oversize claimed-oversize empty-fragments".split(),  # noqa: SIM905 - short words
)
async def test_odd_bytes_are_violations_after_what_came_before(
    sent: bytes, kind: type[Exception]
) -> None:
    async with served(accept_and(text("last") + sent)) as server:
        watch = Stopwatch()
        found, failure = await life_of(server.url(), max_message_bytes=1024)
        watch.at_once()
    assert found == [b"last"]
    assert type(failure) is kind


async def test_every_byte_in_a_packet_of_its_own_gives_the_same_messages() -> None:
    sent = text("a") + frame(TEXT, b"b", fin=False) + frame(PING, b"p") + frame(CONTINUATION, b"c")
    sent += text("é" * 100) + close(1001)

    async def script(peer: Peer) -> None:
        await peer.accept()
        for byte in sent:
            await peer.send(bytes((byte,)))
            await trio.lowlevel.checkpoint()
        await keep(peer)

    async with served(script) as server:
        found, failure = await life_of(server.url())
    assert found == [b"a", b"bc", "é".encode() * 100]
    assert isinstance(failure, Dropped)


# -- slow ends --------------------------------------------------------------------------------


async def test_pongs_go_on_while_the_consumer_reads_nothing() -> None:
    answered: list[bytes] = []

    async def script(peer: Peer) -> None:
        await peer.accept()
        for number in range(3):
            await peer.send(text("x" * 1000) * 500 + frame(PING, b"%d" % number))
            answered.append((await peer.next_frame()).payload)
            await trio.sleep(0.5)
        await peer.send(text("end"))
        await accept_rest(peer)

    async with served(script) as server, connected(server.url()) as connection:
        with trio.fail_after(5):
            while len(answered) < 3:  # noqa: ASYNC110 - the peer notes them in a list
                await trio.sleep(0.05)
        assert connection.tap.buffered_bytes > 1_500_000
    assert answered == [b"0", b"1", b"2"]


async def test_a_slow_consumer_makes_tcp_push_back_and_loses_nothing() -> None:
    sent = 0
    total = 400

    async def script(peer: Peer) -> None:
        nonlocal sent
        await peer.accept()
        for number in range(total):
            await peer.send(text(f"{number}".ljust(100_000)))
            sent += 1
        await peer.send(close())
        await keep(peer)

    async with (
        served(script) as server,
        connected(server.url(), max_buffered_bytes=1 << 20) as connection,
    ):
        await trio.sleep(0.5)
        assert connection.tap.blocked
        assert connection.tap.buffered_bytes < 3 << 20
        assert sent < total / 2, "the kernel's buffers are full, the peer waits"
        found, failure = await end_of(connection)
    assert [int(message) for message in found] == list(range(total))
    assert isinstance(failure, Dropped)


async def deaf(peer: Peer) -> None:
    await peer.accept()
    await trio.sleep_forever()


TOO_MUCH = "x" * (32 << 20)
"""More than the kernel's buffers hold."""


async def test_a_peer_that_takes_no_bytes_fails_the_send(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tap_module, "SEND_TIMEOUT_S", 0.3)
    async with served(deaf) as server:
        with pytest.raises(Reset, match="took no bytes"):
            async with connected(server.url()) as connection:
                await connection.send("SUBSCRIBE", [TOO_MUCH], 1)


async def test_a_cancelled_send_ends_the_connection_without_a_goodbye() -> None:
    async with served(deaf) as server:
        async with connected(server.url(), close_timeout=5) as connection:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(connection.send, "SUBSCRIBE", [TOO_MUCH], 1)
                while not connection.tap._half_sent:  # noqa: ASYNC110 - before it, no harm is done
                    await trio.sleep(0.05)
                nursery.cancel_scope.cancel()
            with pytest.raises(Reset):
                await connection.next_batch()
            with pytest.raises(ConnectionFailed):
                await connection.send("SUBSCRIBE", ["x"], 2)
            watch = Stopwatch()
        watch.at_once()


# -- the whole feed ---------------------------------------------------------------------------


@dataclass
class Watched:
    """A feed on two endpoints, ``a`` and ``b``, and what happened to it."""

    feed: Feed
    running: Running
    events: list[Event] = field(default_factory=list)
    others: list[object] = field(default_factory=list)
    diary: list[on.Transition] = field(default_factory=list)

    async def until(self, seen: Callable[[], bool]) -> None:
        """Wait until something is so."""
        while not seen():  # noqa: ASYNC110 - what is waited for has no event
            await trio.sleep(0.005)

    def flowing_on(self) -> list[int]:
        """The endpoints that data came from, in order."""
        return [what.url_index for what in self.diary if isinstance(what, on.Flowing)]

    def failures(self) -> list[str]:
        """The error types of what went wrong."""
        return [
            what.error_type
            for what in self.diary
            if isinstance(what, on.ConnectionLost | on.DialFailed)
        ]

    async def until_flowing(self, index: int) -> None:
        """Wait for the first message from the endpoint, and for ten more messages."""
        await self.until(lambda: index in self.flowing_on())
        enough = len(self.events) + 10
        await self.until(lambda: len(self.events) >= enough)

    def strike(self, kind: FaultKind, **parameters: Any) -> None:
        """Let a fault happen now on endpoint ``a``."""
        self.running.faults.add([Fault(at=0, endpoint="a", kind=kind, **parameters)])

    def assert_nothing_lost(self) -> None:
        ids = [event.data.trade_id for event in self.events]
        assert self.others == []
        assert ids == list(range(ids[0], ids[0] + len(ids)))


@asynccontextmanager
async def watched(
    *, tls: bool = False, ca_file: Path | None = None, other_venue: bool = False, **values: Any
) -> AsyncGenerator[Watched]:
    """Open a feed with short settings; the whole test is bounded."""
    with trio.fail_after(TEST_BOUND_S):
        async with trio.open_nursery() as nursery:
            config = ServeConfig(
                endpoints=(
                    EndpointConfig("a", tls=tls),
                    EndpointConfig("b", venue="other" if other_venue else "binance.com", tls=tls),
                ),
                rest=(RestConfig(),),
                rate=200,
                history=2000,
                limits=Limits(close_grace_s=0.2),
                ca_path=ca_file,
            )
            running: Running = await nursery.start(serve, config)
            urls = [f"{url}/stream" for url in running.websocket_urls.values()]
            if other_venue:  # a host name of its own makes a venue of its own
                urls[1] = urls[1].replace("127.0.0.1", "localhost")
            settings = make_settings(
                urls,
                **{
                    "rest_urls": [
                        f"http://127.0.0.1:{urlsplit(url).port}"
                        for url in running.rest_urls.values()
                    ],
                    "handshake_timeout": 1.0,
                    "close_timeout": 0.4,
                    "stable_after": 0.1,
                    "reconnect_delay": 0.02,
                    "recovery_timeout": 600,
                    "health_check_interval": 0.3,
                    "health_check_timeout": 0.6,
                    "transport_timeout": 0.6,
                    "ca_file": ca_file,
                    **values,
                },
            )
            diary: list[on.Transition] = []
            async with open_feed(settings=settings, observers=[diary.append]) as feed:
                world = Watched(feed, running, diary=diary)

                async def read() -> None:
                    async for item in feed:
                        if isinstance(item, Event):
                            world.events.append(item)
                        else:
                            world.others.append(item)

                nursery.start_soon(read)
                await world.until_flowing(0)
                await world.until(lambda: any(isinstance(what, on.BecameStable) for what in diary))
                yield world
                nursery.cancel_scope.cancel()


@pytest.mark.parametrize(
    ("kind", "parameters", "error_type"),
    [
        (FaultKind.RST, {}, "reset"),
        (FaultKind.FIN, {}, "dropped"),
        (FaultKind.CLOSE, {"code": 1001}, "dropped"),
        (FaultKind.CLOSE_HELD, {"code": 1000}, "dropped"),
        (FaultKind.GARBAGE, {}, "protocol_violation"),
        (FaultKind.OVERSIZE, {"size": 1 << 30}, "message_too_big"),
        (FaultKind.EMPTY_FRAGMENTS, {}, "protocol_violation"),
        (FaultKind.HALF_OPEN, {}, "stale_transport"),
        (FaultKind.STALL, {}, "stale_data"),
    ],
)
async def test_the_feed_goes_on_at_the_next_endpoint_and_loses_nothing(
    kind: FaultKind, parameters: dict[str, Any], error_type: str
) -> None:
    values: dict[str, Any] = {}
    match kind:
        case FaultKind.STALL:  # pongs to our pings keep the transport alive
            values = {"transport_timeout": 5}
        case FaultKind.EMPTY_FRAGMENTS:  # they come slowly, and are no data
            values = {"health_check_timeout": 5}
        case _:
            pass
    async with watched(**values) as world:
        world.strike(kind, **parameters)
        await world.until_flowing(1)
        assert world.failures() == [error_type]
        world.assert_nothing_lost()


async def test_the_feed_goes_on_over_tls(tmp_path: Path) -> None:
    async with watched(tls=True, ca_file=await made_file(tmp_path)) as world:
        world.strike(FaultKind.RST)
        await world.until_flowing(1)
        assert world.failures() == ["reset"]
        world.assert_nothing_lost()


@pytest.mark.parametrize("tls", [False, True])
async def test_busy_polling_keeps_the_loop_awake_and_every_promise(
    tls: bool, tmp_path: Path
) -> None:
    ca_file = await made_file(tmp_path) if tls else None
    async with watched(tls=tls, ca_file=ca_file, busy_poll=0.5) as world:
        enough = len(world.events) + 20
        with SleepTimes() as times:
            await world.until(lambda: len(world.events) >= enough)
        assert len(times.seen) > 20
        assert not any(timeout for _, timeout in times.seen)
        world.strike(FaultKind.HALF_OPEN)
        await world.until_flowing(1)
        assert world.failures() == ["stale_transport"]
        world.assert_nothing_lost()


async def made_file(tmp_path: Path) -> Path:
    path = tmp_path / "ca.pem"
    await trio.Path(path).write_text("")
    return path


@pytest.mark.parametrize(
    ("kind", "parameters", "error_type"),
    [
        (FaultKind.REFUSED, {"duration": 600}, "refused"),
        (FaultKind.BLACK_HOLE, {"duration": 600}, "handshake_timeout"),
        (FaultKind.HTTP_STATUS, {"duration": 600, "status": 503, "held": True}, "http_503"),
        (FaultKind.UPGRADE_RST, {"duration": 600}, "reset"),
    ],
)
async def test_the_feed_walks_past_endpoints_that_do_not_let_it_in(
    kind: FaultKind, parameters: dict[str, Any], error_type: str
) -> None:
    """From b, which fails, the list goes on at a, which refuses, and round to b."""
    async with watched() as world:
        world.strike(FaultKind.RST)
        await world.until_flowing(1)
        world.strike(kind, **parameters)
        world.running.faults.add([Fault(at=0.2, endpoint="b", kind=FaultKind.RST)])
        await world.until(lambda: world.flowing_on() == [0, 1, 1])
        await world.until_flowing(1)
        assert world.failures() == ["reset", "reset", error_type]
        world.assert_nothing_lost()


async def test_retry_after_keeps_the_feed_off_the_venue_but_not_off_another() -> None:
    async with watched(other_venue=True) as world:
        world.strike(FaultKind.HTTP_STATUS, duration=600, status=429, retry_after=600, held=True)
        world.strike(FaultKind.RST)
        await world.until_flowing(1)
        for round_ in (1, 2):
            world.running.faults.add([Fault(at=0, endpoint="b", kind=FaultKind.RST)])
            await world.until(lambda done=1 + round_: world.flowing_on().count(1) == done)
        dials = [what.url_index for what in world.diary if isinstance(what, on.Dialing)]
    assert dials == [0, 1, 0, 1, 1], "after its 429, the first venue is left alone"


async def test_a_server_shutdown_is_followed_without_an_outage() -> None:
    async with watched() as world:
        world.strike(FaultKind.SERVER_SHUTDOWN, duration=2)
        await world.until(lambda: any(isinstance(what, on.Rotated) for what in world.diary))
        await world.until_flowing(0)
        assert world.failures() == []
        world.assert_nothing_lost()


@pytest.mark.parametrize("kind", [FaultKind.HALF_OPEN, FaultKind.STALL])
async def test_shutdown_with_a_silent_peer_takes_close_timeout(kind: FaultKind) -> None:
    async with watched(transport_timeout=60, health_check_timeout=60) as world:
        world.strike(kind)
        await trio.sleep(0.1)
        watch = Stopwatch()
    assert watch.elapsed_s < 0.4 + SLACK_S


async def test_shutdown_while_dialling_a_black_hole_is_immediate() -> None:
    with trio.fail_after(TEST_BOUND_S), black_hole() as port:
        settings = plain_settings(websocket_url=f"ws://127.0.0.1:{port}/stream")
        async with open_feed(settings=settings):
            await trio.sleep(0.2)
            watch = Stopwatch()
        watch.at_once()

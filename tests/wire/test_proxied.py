"""Dials through proxies: in virtual time, and through real ones."""

from __future__ import annotations

import socket
import ssl
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
import trio
import trio.lowlevel
from peer import Peer, endpoint, text
from proxying import (
    BOTH,
    LED,
    OUTSIDE,
    SECRET,
    TEST_BOUND_S,
    USER,
    MemoryProxy,
    free_port,
    lead,
    listening,
    needs,
    real_proxy,
    server_tls,
)
from world import make_settings, open_world

from k2trio.client.opening import open_feed
from k2trio.continuity.items import Gap
from k2trio.errors import ConnectionFailed, ProxyFailed, ProxyTrouble, TLSError
from k2trio.market.payloads import Event
from k2trio.observe import transitions as on
from k2trio.proxies import Proxies
from k2trio.simulator import (
    EndpointConfig,
    Fault,
    FaultKind,
    RestConfig,
    ServeConfig,
    memory_pair,
    serve,
)
from k2trio.wire import dialer as dialer_module
from k2trio.wire import eyeballs as eyeballs_module
from k2trio.wire.connection import open_connection
from k2trio.wire.dialer import TcpDialer
from k2trio.wire.tcp import TcpStream
from k2trio.wire.tls import TlsStream, make_ssl_context

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable
    from pathlib import Path

    import trustme

    from k2trio.simulator import MemoryNetwork
    from k2trio.wire.dialer import Dialer


# -- virtual time -----------------------------------------------------------------------------


def reach(monkeypatch: pytest.MonkeyPatch, connect: Callable[[str], Awaitable[Any]]) -> None:
    """Let TCP to an address be what the function gives."""

    class Stream:
        """Stands in for :class:`TcpStream`: the same on a stream in memory."""

        def __init__(self, stream: Any, **_: object) -> None:
            self.proven: Callable[[], None] = lambda: None
            self._stream = stream

        def __getattr__(self, name: str) -> Any:
            return getattr(self._stream, name)

    async def to(address: Any) -> Any:
        return await connect(address[1][0])

    monkeypatch.setattr(eyeballs_module, "_connect", to)
    monkeypatch.setattr(dialer_module, "TcpStream", Stream)


class Nodes:
    """Two nodes of a proxy, each of which says something, or nothing."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, **answers: bytes | None) -> None:
        self.answers = answers
        self.asked: list[str] = []
        self._ends: list[trio.abc.Stream] = []
        reach(monkeypatch, self._connect)
        rows = [(socket.AF_INET, 1, 6, "", (name, 3128)) for name in answers]

        async def look_up(*_: object, **__: object) -> Any:
            await trio.lowlevel.checkpoint()
            return rows

        monkeypatch.setattr(trio.to_thread, "run_sync", look_up)

    async def _connect(self, name: str) -> trio.abc.Stream:
        self.asked.append(name)
        ours, theirs = memory_pair()
        self._ends.append(theirs)
        if answer := self.answers[name]:
            await theirs.send_all(answer)
        return ours


def proxied(url: str = "http://proxy.test:3128") -> TcpDialer:
    return TcpDialer(ssl.create_default_context(), proxies=Proxies(url))


@pytest.mark.parametrize("bad", [None, b"nonsense\r\n\r\n", b"HTTP/1.1 502 No\r\n\r\n"])
async def test_a_node_that_leads_nowhere_gives_way_to_the_next_and_is_asked_last_then(
    bad: bytes | None, monkeypatch: pytest.MonkeyPatch, autojump_clock: object
) -> None:
    nodes = Nodes(monkeypatch, one=bad, two=LED)
    dialer = proxied()
    for _ in range(2):
        with trio.fail_after(10):
            await dialer(endpoint("ws://exchange.test/stream"))
    assert nodes.asked == ["one", "two", "two"]


async def test_a_firm_answer_counts_for_all_nodes(
    monkeypatch: pytest.MonkeyPatch, autojump_clock: object
) -> None:
    """A wrong password that is tried at each gets the account locked."""
    nodes = Nodes(monkeypatch, one=b"HTTP/1.1 407 No\r\n\r\n", two=LED)
    with pytest.raises(ProxyFailed, match="wants a user and a password"), trio.fail_after(10):
        await proxied()(endpoint("ws://exchange.test/stream"))
    assert nodes.asked == ["one"]


@asynccontextmanager
async def world_behind_a_proxy(
    monkeypatch: pytest.MonkeyPatch, **settings: Any
) -> AsyncGenerator[Any]:
    async with trio.open_nursery() as nursery:
        proxies: list[MemoryProxy] = []

        def through(network: MemoryNetwork) -> Dialer:
            proxy = MemoryProxy(network, nursery)
            proxies.append(proxy)
            proxy.start()
            reach(monkeypatch, lambda _: proxy.connect())
            return TcpDialer(
                ssl.create_default_context(), proxies=Proxies(f"http://{USER}:{SECRET}@10.0.0.1:1")
            )

        plain = {
            "websocket_url": "ws://venue.test:1097/stream",
            "failover_urls": ["ws://venue.test:1098/stream"],
            "allow_insecure": True,
        }
        async with open_world(dial=through, settings={**plain, **settings}) as world:
            yield world, proxies[0]
        nursery.cancel_scope.cancel()


async def test_a_proxy_that_dies_is_named_and_costs_no_message(
    monkeypatch: pytest.MonkeyPatch, autojump_clock: object
) -> None:
    async with world_behind_a_proxy(monkeypatch, resume_limit=0) as (world, proxy):
        await trio.sleep(30)
        proxy.die()
        await trio.sleep(20)
        proxy.start()
        await trio.sleep(120)
    failures = [failed for _, failed in world.of(on.DialFailed)]
    assert {failed.error_type for failed in failures} == {"proxy_unreachable"}
    assert {failed.detail for failed in failures} == {
        "the proxy http://10.0.0.1:1 (PROXY) cannot be reached: Connection refused; "
        "is it running, and is PROXY right?"
    }
    trades = [item.data.trade_id for _, item in world.items if isinstance(item, Event)]
    assert trades == list(range(trades[0], trades[0] + len(trades)))
    assert world.items[-1][0] > 165
    assert not [item for _, item in world.items if isinstance(item, Gap)]
    assert SECRET not in repr(world.diary)
    assert set(proxy.led) <= {"venue.test:1097", "venue.test:1098"}


# -- real sockets -----------------------------------------------------------------------------


async def greet(stream: trio.abc.Stream) -> None:
    peer = Peer(stream)
    await peer.accept(more=text("hello"))
    await trio.sleep_forever()


async def hello_from(url: str, dialer: TcpDialer) -> bytes:
    """The first message of a server, by a whole connection."""
    settings = make_settings(["wss://unused.test/stream"], close_timeout=0.1)
    async with open_connection(endpoint(url), ["btcusdt@trade"], settings, dialer) as connection:
        return (await connection.next_batch()).payloads[0]


async def failure_of(url: str, dialer: TcpDialer, **values: Any) -> ConnectionFailed:
    settings = make_settings(["wss://unused.test/stream"], **values)
    with pytest.raises(ConnectionFailed) as caught:
        async with open_connection(endpoint(url), ["btcusdt@trade"], settings, dialer):
            pass
    return caught.value


def dialer_by(proxy: str, ca_file: Path | None = None) -> TcpDialer:
    settings = make_settings(["wss://unused.test/stream"], ca_file=ca_file)
    return TcpDialer(make_ssl_context(settings), proxies=Proxies(proxy))


async def test_what_the_server_says_before_anything_else_comes_through() -> None:
    async def say(stream: trio.abc.Stream) -> None:
        await stream.send_all(b"hello")
        await trio.sleep_forever()

    async with listening(say) as port, listening(lead) as proxy:
        dialer = dialer_by(f"http://127.0.0.1:{proxy}")
        stream = await dialer(endpoint(f"ws://127.0.0.1:{port}/stream"))
        assert await stream.receive_some() == b"hello"
        await stream.aclose()


async def test_the_stream_behind_a_proxy_is_that_of_a_direct_dial(
    authority: trustme.CA, ca_file: Path
) -> None:
    tls = server_tls(authority, "localhost")
    async with listening(greet) as plain, listening(greet, tls) as secure, listening(lead) as port:
        dialer = dialer_by(f"http://127.0.0.1:{port}", ca_file)
        stream = await dialer(endpoint(f"ws://127.0.0.1:{plain}/stream"))
        assert type(stream) is TcpStream
        await stream.aclose()
        stream, times = await dialer.dial_timed(endpoint(f"wss://localhost:{secure}/stream"))
        assert type(stream) is TlsStream
        assert type(stream._transport) is TcpStream
        assert times.proxy_s
        assert times.tls_s
        await stream.aclose()
        assert await hello_from(f"wss://localhost:{secure}/stream", dialer) == b"hello"


async def test_the_certificate_is_the_endpoints_and_not_the_proxys(
    authority: trustme.CA, ca_file: Path
) -> None:
    tls = server_tls(authority, "other.test")
    async with listening(greet, tls) as port, listening(lead) as proxy:
        dialer = dialer_by(f"http://127.0.0.1:{proxy}", ca_file)
        failure = await failure_of(f"wss://localhost:{port}/stream", dialer)
    assert isinstance(failure, TLSError)
    assert f"localhost:{port} through http://127.0.0.1:{proxy} failed: " in str(failure)
    assert "certificate" in str(failure)


async def test_a_proxy_may_be_spoken_to_over_tls(authority: trustme.CA, ca_file: Path) -> None:
    tls = server_tls(authority, "localhost")
    async with listening(greet, tls) as port, listening(lead, tls) as proxy:
        dialer = dialer_by(f"https://localhost:{proxy}", ca_file)
        assert await hello_from(f"wss://localhost:{port}/stream", dialer) == b"hello"
        failure = await failure_of(
            f"wss://localhost:{port}/stream", dialer_by(f"https://127.0.0.1:{proxy}", ca_file)
        )
    assert isinstance(failure, ProxyFailed)
    assert failure.trouble is ProxyTrouble.PROTOCOL
    assert "certificate" in str(failure)


@pytest.mark.parametrize("scheme", ["http", "https", "socks5"])
async def test_a_dead_proxy_and_one_that_hangs_are_told_as_the_proxys(scheme: str) -> None:
    async def hang(_: trio.abc.Stream) -> None:
        await trio.sleep_forever()

    url = "wss://exchange.invalid/stream"
    dead = free_port()
    failure = await failure_of(url, dialer_by(f"{scheme}://127.0.0.1:{dead}"))
    assert failure.error_type == "proxy_unreachable"
    assert f"{scheme}://127.0.0.1:{dead} (PROXY) cannot be reached: " in str(failure)
    async with listening(hang) as port:
        proxy = dialer_by(f"{scheme}://127.0.0.1:{port}")
        began_at = trio.current_time()
        failure = await failure_of(url, proxy, handshake_timeout=0.5)
        assert trio.current_time() - began_at < 2
    assert failure.error_type == "proxy_timeout"
    failure = await failure_of(url, dialer_by(f"{scheme}://proxy.invalid:1"))
    assert failure.error_type == "proxy_unreachable"
    assert "DNS gives no address of proxy.invalid" in str(failure)


@pytest.mark.parametrize("scheme", BOTH)
async def test_a_real_proxy_takes_right_credentials_and_no_others(
    scheme: str, tmp_path: Path
) -> None:
    async with listening(greet) as port:
        url = f"ws://127.0.0.1:{port}/stream"
        with real_proxy(scheme, tmp_path) as proxy:
            assert await hello_from(url, dialer_by(proxy.url())) == b"hello"
            for password in ("wrong", None):
                failure = await failure_of(url, dialer_by(proxy.url(password)))
                assert failure.error_type == "proxy_credentials"
                assert failure.trips


@pytest.mark.parametrize("scheme", BOTH)
async def test_a_real_proxy_that_cannot_reach_the_endpoint_says_so(
    scheme: str, tmp_path: Path
) -> None:
    with trio.fail_after(TEST_BOUND_S), real_proxy(scheme, tmp_path) as proxy:
        failure = await failure_of(f"ws://127.0.0.1:{free_port()}/stream", dialer_by(proxy.url()))
    assert failure.error_type == "proxy_gateway"


@needs("http")
async def test_a_real_proxy_that_refuses_says_so(tmp_path: Path) -> None:
    with trio.fail_after(TEST_BOUND_S), real_proxy("http", tmp_path, "ConnectPort 443") as proxy:
        failure = await failure_of("ws://127.0.0.1:9443/stream", dialer_by(proxy.url()))
    assert failure.error_type == "proxy_refused"
    assert "refuses to lead to 127.0.0.1:9443 (HTTP 403)" in str(failure)


@pytest.mark.parametrize("scheme", BOTH)
async def test_the_name_of_an_endpoint_is_the_proxys_to_resolve(
    scheme: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = socket.getaddrinfo

    def getaddrinfo(host: Any, *args: Any, **kwargs: Any) -> Any:
        if host == "localhost":
            raise AssertionError("asked here")
        return real(host, *args, **kwargs)

    async with listening(greet) as port:
        with real_proxy(scheme, tmp_path) as proxy:
            monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
            assert await hello_from(f"ws://localhost:{port}/stream", dialer_by(proxy.url())) == (
                b"hello"
            )


@pytest.mark.parametrize("scheme", BOTH)
async def test_a_feed_lives_wholly_behind_a_proxy(scheme: str, tmp_path: Path) -> None:
    """TLS, a reconnect and repairs by REST; whoever came, came from the proxy."""
    ca = tmp_path / "ca.pem"
    config = ServeConfig(
        endpoints=(EndpointConfig("a", tls=True),), rest=(RestConfig(),), rate=200, ca_path=ca
    )
    with trio.fail_after(TEST_BOUND_S), real_proxy(scheme, tmp_path) as proxy:
        async with trio.open_nursery() as nursery:
            running = await nursery.start(serve, config)
            running.faults.add(
                [
                    Fault(at=0.5, endpoint="a", kind=FaultKind.DROPPED, duration=30, share=0.2),
                    Fault(at=1.5, endpoint="a", kind=FaultKind.RST),
                ]
            )
            settings = make_settings(
                [f"{running.websocket_urls['a']}/stream"],
                rest_urls=list(running.rest_urls.values()),
                ca_file=ca,
                reconnect_delay=0.1,
                proxy=proxy.url(),
            )
            items: list[Any] = []
            async with open_feed(settings=settings) as feed:
                async for item in feed:
                    items.append(item)
                    repaired = sum(getattr(one, "origin", "") == "backfill" for one in items[-50:])
                    if repaired and len(running.exchanges["binance.com"].truth.attempts) > 1:
                        break
            nursery.cancel_scope.cancel()
    trades = [item.data.trade_id for item in items if isinstance(item, Event)]
    assert trades == list(range(trades[0], trades[0] + len(trades)))
    attempts = running.exchanges["binance.com"].truth.attempts
    assert {attempt.client for attempt in attempts} == {OUTSIDE}
    (rest,) = running.rest_servers.values()
    assert {client for _, client, *_ in rest.requests} == {OUTSIDE}

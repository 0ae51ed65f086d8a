"""REST through proxies: the same rule and the same errors as for dials."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import pytest
import trio
from peer import Peer
from proxying import (
    BOTH,
    OUTSIDE,
    SECRET,
    USER,
    free_port,
    lead,
    listening,
    real_proxy,
    server_tls,
    target_of,
)
from world import make_settings

from k2trio.errors import ConfigError, ProxyFailed, ProxyTrouble
from k2trio.repair.asking import Hosts
from k2trio.repair.hosts import BackfillError, rest_venue_of
from k2trio.repair.routes import CREDENTIALS_MEMORY_S
from k2trio.wire.tls import make_ssl_context
from k2trio.wire.way import MAX_SHARE

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

VENUE = "127.0.0.1"
BODY = b'{"serverTime":1}'


class Clock(msgspec.Struct):
    serverTime: int  # noqa: N815 - the wire's name


def hosts_of(*urls: str, **values: Any) -> Hosts:
    settings = make_settings(["wss://unused.test/stream"], rest_urls=urls, **values)
    venues = [rest_venue_of(url) for url in urls]
    return Hosts(venues, settings, make_ssl_context(settings), None)


async def ask(hosts: Hosts, venue: str = VENUE) -> Clock:
    return (await hosts.get(venue, "/api/v3/time", {}, 1, Clock))[0]


async def refusal_of(hosts: Hosts, venue: str = VENUE) -> ProxyFailed:
    """What the proxy did that is the reason of the last host's failure."""
    with pytest.raises(BackfillError) as caught:
        await ask(hosts, venue)
    cause = caught.value.__cause__
    assert cause is not None
    assert isinstance(cause.__cause__, ProxyFailed)
    assert str(cause.__cause__) in str(caught.value)
    return cause.__cause__


async def answer(stream: trio.abc.Stream) -> None:
    """A REST host, for as many requests as come."""
    peer = Peer(stream)
    while True:
        await peer.request()
        await peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(BODY) + BODY)


class Counting:
    """A proxy that counts who is led where."""

    def __init__(self, script: Callable[[trio.abc.Stream], Awaitable[None]] = lead) -> None:
        self.count = 0
        self._script = script

    async def __call__(self, stream: trio.abc.Stream) -> None:
        self.count += 1
        await self._script(stream)


def saying(data: bytes) -> Counting:
    async def script(stream: trio.abc.Stream) -> None:
        await target_of(stream)
        await stream.send_all(data)
        await stream.receive_some(1)

    return Counting(script)


@pytest.mark.parametrize("tls", [False, True])
async def test_requests_go_by_connect_and_share_a_connection(
    tls: bool, authority: Any, ca_file: Path
) -> None:
    proxy = Counting()
    context = server_tls(authority, "127.0.0.1") if tls else None
    async with listening(answer, context) as port, listening(proxy) as proxy_port:
        url = f"{'https' if tls else 'http'}://127.0.0.1:{port}"
        hosts = hosts_of(url, ca_file=ca_file, proxy=f"http://127.0.0.1:{proxy_port}")
        for _ in range(3):
            assert (await ask(hosts)).serverTime == 1
        await hosts.aclose()
    assert proxy.count == 1


async def test_a_proxy_may_be_spoken_to_over_tls_and_its_certificate_counts(
    authority: Any, ca_file: Path
) -> None:
    context = server_tls(authority, "localhost")
    async with listening(answer, context) as port, listening(lead, context) as proxy_port:
        url = f"https://localhost:{port}"
        hosts = hosts_of(url, ca_file=ca_file, proxy=f"https://localhost:{proxy_port}")
        assert (await ask(hosts, "localhost")).serverTime == 1
        await hosts.aclose()
        wrong = hosts_of(url, ca_file=ca_file, proxy=f"https://127.0.0.1:{proxy_port}")
        failure = await refusal_of(wrong, "localhost")
        assert failure.trouble is ProxyTrouble.PROTOCOL
        assert "certificate" in str(failure)
        await wrong.aclose()


async def test_a_certificate_of_another_host_is_not_taken(authority: Any, ca_file: Path) -> None:
    context = server_tls(authority, "other.test")
    async with listening(answer, context) as port, listening(lead) as proxy_port:
        url, proxy = f"https://127.0.0.1:{port}", f"http://127.0.0.1:{proxy_port}"
        hosts = hosts_of(url, ca_file=ca_file, proxy=proxy)
        with pytest.raises(BackfillError, match="certificate"):
            await ask(hosts)
        await hosts.aclose()


@pytest.mark.parametrize(
    ("data", "trouble"),
    [
        (b"HTTP/1.1 407 No\r\n\r\n", ProxyTrouble.CREDENTIALS),
        (b"HTTP/1.1 403 No\r\n\r\n", ProxyTrouble.REFUSED),
        (b"HTTP/1.1 502 No\r\n\r\n", ProxyTrouble.GATEWAY),
        (b"nonsense\r\n\r\n", ProxyTrouble.PROTOCOL),
    ],
)
async def test_what_a_proxy_says_is_no_answer_of_the_host(
    data: bytes, trouble: ProxyTrouble
) -> None:
    async with listening(saying(data)) as port:
        hosts = hosts_of("http://127.0.0.1:9", proxy=f"http://127.0.0.1:{port}")
        failure = await refusal_of(hosts)
        await hosts.aclose()
    assert failure.trouble is trouble


async def test_a_dead_proxy_is_named_as_the_system_says_it() -> None:
    dead = free_port()
    hosts = hosts_of("http://127.0.0.1:9", proxy=f"http://127.0.0.1:{dead}")
    failure = await refusal_of(hosts)
    await hosts.aclose()
    assert failure.trouble is ProxyTrouble.UNREACHABLE
    assert "Connection refused" in str(failure)


async def test_a_proxy_that_hangs_leaves_time_to_say_so() -> None:
    async def hang(_: trio.abc.Stream) -> None:
        await trio.sleep_forever()

    async with listening(hang) as port:
        hosts = hosts_of("http://127.0.0.1:9", proxy=f"http://127.0.0.1:{port}")
        began_at = trio.current_time()
        with trio.fail_after(0.5):
            failure = await refusal_of(hosts)
        assert trio.current_time() - began_at >= MAX_SHARE * 0.5
        await hosts.aclose()
    assert failure.trouble is ProxyTrouble.TIMEOUT


async def test_wrong_credentials_are_sent_once_and_not_for_every_host() -> None:
    proxy = saying(b"HTTP/1.1 407 No\r\n\r\n")
    async with listening(proxy) as port:
        urls = [f"http://127.0.0.1:{n}" for n in range(1, 7)]
        hosts = hosts_of(*urls, proxy=f"http://{USER}:{SECRET}@127.0.0.1:{port}")
        for _ in range(2):
            failure = await refusal_of(hosts)
            assert failure.trouble is ProxyTrouble.CREDENTIALS
        await hosts.aclose()
    assert proxy.count == 1
    assert CREDENTIALS_MEMORY_S >= 30


async def test_the_environment_leads_as_it_does_for_dials(monkeypatch: pytest.MonkeyPatch) -> None:
    proxy = saying(b"HTTP/1.1 403 No\r\n\r\n")
    async with listening(proxy) as port:
        monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{port}")
        led = hosts_of("https://192.0.2.1")
        assert (await refusal_of(led, "192.0.2.1")).trouble is ProxyTrouble.REFUSED
        await led.aclose()
        here = hosts_of("https://127.0.0.1:9")
        with pytest.raises(BackfillError, match=r"127\.0\.0\.1:9 failed"):
            await ask(here)
        await here.aclose()
    assert proxy.count == 1


def test_a_variable_that_names_no_proxy_is_refused_before_anything_is_asked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", f"ftp://{USER}:{SECRET}@proxy.test")
    with pytest.raises(ConfigError, match=r"^HTTPS_PROXY must begin with http://") as caught:
        hosts_of("https://192.0.2.1")
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize("scheme", BOTH)
async def test_a_real_proxy_leads_to_a_host_with_tls(
    scheme: str, authority: Any, ca_file: Path, tmp_path: Path
) -> None:
    seen: list[str] = []

    async def noting(stream: trio.abc.Stream) -> None:
        assert isinstance(stream, trio.SSLStream)
        seen.append(stream.transport_stream.socket.getpeername()[0])
        await answer(stream)

    context = server_tls(authority, "127.0.0.1")
    async with listening(noting, context) as port:
        with real_proxy(scheme, tmp_path) as proxy:
            url = f"https://127.0.0.1:{port}"
            hosts = hosts_of(url, ca_file=ca_file, proxy=proxy.url())
            assert (await ask(hosts)).serverTime == 1
            await hosts.aclose()
            wrong = hosts_of(url, ca_file=ca_file, proxy=proxy.url("wrong"))
            assert (await refusal_of(wrong)).trouble is ProxyTrouble.CREDENTIALS
            await wrong.aclose()
    assert seen == [OUTSIDE]

"""What a proxy may answer, byte by byte, over streams in memory and in virtual time."""

from __future__ import annotations

import base64
import sys
from dataclasses import dataclass, field
from typing import Any

import pytest
import trio
from proxying import SECRET

from k2trio.errors import ConfigError, ProxyFailed, ProxyTrouble
from k2trio.proxies import Proxy, parse_proxy
from k2trio.settings import Settings
from k2trio.simulator import memory_pair
from k2trio.wire.http_connect import MAX_ANSWER_BYTES
from k2trio.wire.tunnel import open_tunnel, usable_proxies
from k2trio.wire.way import MAX_SHARE, on_the_way_to

HOST, PORT = "stream.binance.com", 9443
HTTP, HTTP_WITH = parse_proxy("http://p.test:1"), parse_proxy(f"http://user:{SECRET}@p.test:1")
SOCKS = parse_proxy("socks5://p.test:1")
SOCKS_WITH = parse_proxy(f"socks5://user:{SECRET}@p.test:1")
TOKEN = base64.b64encode(f"user:{SECRET}".encode())
TAKEN = b"\x05\x00"
LED = b"\x05\x00\x00\x01\x7f\x00\x00\x01\x00\x50"
HELLO = b"what the server says at once"


@dataclass
class Led:
    """How a proxy answered.

    :ivar heard: what it was told before each of its parts.
    :ivar rest: what stood on the stream afterwards.
    """

    heard: list[bytes] = field(default_factory=list)
    failure: ProxyFailed | None = None
    rest: bytes = b""

    @property
    def trouble(self) -> ProxyTrouble | None:
        return self.failure.trouble if self.failure else None


async def led_by(proxy: Proxy, *parts: bytes, drip: bool = False, host: str = HOST) -> Led:
    """Ask a proxy that says each part when it has heard something, and closes after the last."""
    ours, theirs = memory_pair()
    led = Led()

    async def play() -> None:
        for part in parts:
            led.heard.append(bytes(await theirs.receive_some(65536)))
            for piece in [part[n : n + 1] for n in range(len(part))] if drip else [part]:
                await theirs.send_all(piece)
        await theirs.send_eof()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(play)
        try:
            await open_tunnel(ours, proxy, host, PORT)
        except ProxyFailed as failure:
            led.failure = failure
        else:
            while data := await ours.receive_some(65536):
                led.rest += data
        nursery.cancel_scope.cancel()
    return led


@pytest.mark.parametrize("drip", [False, True])
@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 Connection established\r\n\r\n",
        b"HTTP/1.0 200 OK\r\nProxy-agent: tinyproxy/1.11.1\r\n\r\n",
        b"HTTP/1.1 204 No Content\r\n\r\n",
        # A body that RFC 9110, 9.3.6 forbids to be one:
        b"HTTP/1.1 200 OK\r\nContent-Length: 28\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"HTTP/1.1 103 Early Hints\r\nX: y\r\n\r\nHTTP/1.1 200 OK\r\n\r\n",
    ],
)
async def test_what_the_server_says_right_behind_connect_is_not_lost(
    answer: bytes, drip: bool, autojump_clock: object
) -> None:
    led = await led_by(HTTP, answer + HELLO, drip=drip)
    assert (led.failure, led.rest) == (None, HELLO)
    assert led.heard == [f"CONNECT {HOST}:{PORT} HTTP/1.1\r\nHost: {HOST}:{PORT}\r\n\r\n".encode()]


@pytest.mark.parametrize("drip", [False, True])
@pytest.mark.parametrize(
    "bound",
    [
        LED[3:],
        b"\x04" + bytes(18),
        b"\x03\x09proxy.lan\x00\x50",
    ],
)
async def test_what_the_server_says_right_behind_socks_is_not_lost(
    bound: bytes, drip: bool, autojump_clock: object
) -> None:
    led = await led_by(SOCKS, TAKEN, LED[:3] + bound + HELLO, drip=drip)
    assert (led.failure, led.rest) == (None, HELLO)
    name = bytes((len(HOST),)) + HOST.encode()
    assert led.heard == [b"\x05\x01\x00", b"\x05\x01\x00\x03" + name + PORT.to_bytes(2, "big")]


async def test_credentials_go_to_the_proxy_as_it_wants_them(autojump_clock: object) -> None:
    led = await led_by(HTTP_WITH, b"HTTP/1.1 200 OK\r\n\r\n")
    assert b"\r\nProxy-Authorization: Basic " + TOKEN + b"\r\n" in led.heard[0]
    wanting = await led_by(SOCKS_WITH, b"\x05\x02", b"\x01\x00", LED + HELLO)
    assert wanting.heard[:2] == [b"\x05\x02\x00\x02", b"\x01\x04user\x06" + SECRET.encode()]
    assert (wanting.failure, wanting.rest) == (None, HELLO)
    not_wanting = await led_by(SOCKS_WITH, TAKEN, LED + HELLO)
    assert (not_wanting.failure, not_wanting.rest) == (None, HELLO)
    assert SECRET.encode() not in b"".join(not_wanting.heard)


@pytest.mark.parametrize(
    ("host", "target"),
    [("2001:db8::7", "[2001:db8::7]:9443"), ("bücher.test", "xn--bcher-kva.test:9443")],
)
async def test_a_host_is_written_as_http_wants_it(
    host: str, target: str, autojump_clock: object
) -> None:
    led = await led_by(HTTP, b"HTTP/1.1 200 OK\r\n\r\n", host=host)
    assert led.heard[0].startswith(f"CONNECT {target} HTTP/1.1\r\n".encode())


REPLIES: dict[str, tuple[Proxy, list[bytes], ProxyTrouble]] = {
    "wants credentials": (HTTP, [b"HTTP/1.1 407 No\r\n\r\n"], ProxyTrouble.CREDENTIALS),
    "wrong credentials": (HTTP_WITH, [b"HTTP/1.1 407 No\r\n\r\n"], ProxyTrouble.CREDENTIALS),
    "wrong, says tinyproxy": (HTTP_WITH, [b"HTTP/1.0 401 No\r\n\r\n"], ProxyTrouble.CREDENTIALS),
    "wants something else": (
        HTTP_WITH,
        [
            b"HTTP/1.1 407 No\r\nProxy-Authenticate: Negotiate\r\nproxy-authenticate: NTLM\r\n\r\n"
        ],
        ProxyTrouble.CREDENTIALS,
    ),
    "refuses": (HTTP, [b"HTTP/1.1 403 No\r\n\r\n"], ProxyTrouble.REFUSED),
    "redirects": (HTTP, [b"HTTP/1.1 302 Go\r\nLocation: /login\r\n\r\n"], ProxyTrouble.REFUSED),
    "bad gateway": (HTTP, [b"HTTP/1.1 502 No\r\n\r\n"], ProxyTrouble.GATEWAY),
    "no such host": (HTTP, [b"HTTP/1.1 503 No\r\n\r\nwhy"], ProxyTrouble.GATEWAY),
    "closes": (HTTP, [b""], ProxyTrouble.PROTOCOL),
    "half an answer": (HTTP, [b"HTTP/1.1 200 OK\r\nX: "], ProxyTrouble.PROTOCOL),
    "an echo": (HTTP_WITH, [b"CONNECT: " + TOKEN + b"\r\n\r\n"], ProxyTrouble.PROTOCOL),
    "an echo in a header": (
        HTTP_WITH,
        [b"HTTP/1.1 200 OK\r\nBasic " + TOKEN + b"\r\n\r\n"],
        ProxyTrouble.PROTOCOL,
    ),
    "ssh": (HTTP, [b"SSH-2.0-OpenSSH_9.2\r\n\r\n"], ProxyTrouble.PROTOCOL),
    "a tls alert": (HTTP, [b"\x15\x03\x01\x00\x02\x02\x46"], ProxyTrouble.PROTOCOL),
    "socks": (HTTP, [b"\x05\xff"], ProxyTrouble.PROTOCOL),
    "no end": (HTTP, [b"HTTP/1.1 200 OK\r\nX: " + b"x" * 2 * MAX_ANSWER_BYTES],
               ProxyTrouble.PROTOCOL),
    "interim for ever": (HTTP, [b"HTTP/1.1 100 Go on\r\n\r\n" * MAX_ANSWER_BYTES],
                         ProxyTrouble.PROTOCOL),
    "socks wants credentials": (SOCKS, [b"\x05\xff"], ProxyTrouble.CREDENTIALS),
    "socks demands credentials": (SOCKS, [b"\x05\x02"], ProxyTrouble.CREDENTIALS),
    "socks, wrong ones": (SOCKS_WITH, [b"\x05\x02", b"\x01\x01"], ProxyTrouble.CREDENTIALS),
    "socks, not by its rules": (SOCKS, [TAKEN, b"\x05\x02\x00" + LED[3:]], ProxyTrouble.REFUSED),
    "socks, unreachable": (SOCKS, [TAKEN, b"\x05\x04\x00" + LED[3:]], ProxyTrouble.GATEWAY),
    "socks, a number of its own": (SOCKS, [TAKEN, b"\x05\x63\x00" + LED[3:]],
                                   ProxyTrouble.PROTOCOL),
    "socks, no kind of address": (SOCKS, [TAKEN, b"\x05\x00\x00\x07"], ProxyTrouble.PROTOCOL),
    "socks, no text as a name": (SOCKS, [TAKEN, b"\x05\x00\x00\x03\x02\xff\xff\x00\x50"],
                                 ProxyTrouble.PROTOCOL),
    "socks closes": (SOCKS, [b""], ProxyTrouble.PROTOCOL),
    "socks closes later": (SOCKS, [TAKEN, LED[:7]], ProxyTrouble.PROTOCOL),
    "socks 4": (SOCKS, [b"\x00\x5b"], ProxyTrouble.PROTOCOL),
    "http": (SOCKS, [b"HTTP/1.1 400 Bad Request\r\n\r\n"], ProxyTrouble.PROTOCOL),
}  # fmt: skip


@pytest.mark.parametrize("name", REPLIES)
async def test_what_a_proxy_does_wrong_is_one_line_with_its_name_and_no_secret(
    name: str, autojump_clock: object
) -> None:
    proxy, parts, trouble = REPLIES[name]
    led = await led_by(proxy, *parts)
    assert led.trouble is trouble
    assert led.failure is not None
    line = str(led.failure)
    assert line.startswith(f"the proxy {proxy.scheme}://p.test:1 (PROXY) ")
    assert line.isprintable()
    assert SECRET not in line
    assert TOKEN.decode() not in line
    assert led.failure.error_type == trouble.value
    assert led.failure.trips == (trouble in {ProxyTrouble.CREDENTIALS, ProxyTrouble.REFUSED})


@pytest.mark.parametrize(
    ("name", "cure"),
    [
        ("wants credentials", "write PROXY=http://user:password@host:port"),
        ("socks wants credentials", "write PROXY=socks5://user:password@host:port"),
        ("wrong credentials", "does not take the user and the password of PROXY (HTTP 407)"),
        ("wants something else", "wants Negotiate, NTLM, which k2trio does not speak"),
        ("refuses", f"refuses to lead to {HOST}:{PORT} (HTTP 403): let it allow"),
        ("bad gateway", f"cannot reach {HOST}:{PORT} itself (HTTP 502)"),
        ("socks, unreachable", f"cannot reach {HOST}:{PORT} itself (Host unreachable)"),
        ("closes", "(it closed the connection); are scheme, host and port of PROXY right?"),
        ("ssh", "(illegal status line); are scheme, host and port of PROXY right?"),
    ],
)
async def test_the_line_says_what_to_do(name: str, cure: str, autojump_clock: object) -> None:
    proxy, parts, _ = REPLIES[name]
    assert cure in str((await led_by(proxy, *parts)).failure)


@pytest.mark.parametrize("proxy", [HTTP, SOCKS])
async def test_a_reset_is_the_proxys(proxy: Proxy, autojump_clock: object) -> None:
    ours, theirs = memory_pair()
    await theirs.aclose()
    with pytest.raises(ProxyFailed, match="does not answer as a proxy") as caught:
        await open_tunnel(ours, proxy, HOST, PORT)
    assert caught.value.trouble is ProxyTrouble.PROTOCOL


@pytest.mark.parametrize("proxy", [HTTP, SOCKS])
async def test_a_proxy_that_hangs_leaves_time_to_say_so(
    proxy: Proxy, autojump_clock: object
) -> None:
    ours, _theirs = memory_pair()
    began_at = trio.current_time()
    with (
        pytest.raises(ProxyFailed, match="opened no way in time") as caught,
        trio.fail_after(10),
        on_the_way_to(proxy),
    ):
        await open_tunnel(ours, proxy, HOST, PORT)
    assert caught.value.trouble is ProxyTrouble.TIMEOUT
    assert trio.current_time() - began_at == pytest.approx(10 * MAX_SHARE)


def settings(proxy: str | None) -> Settings:
    values: dict[str, Any] = {"proxy": proxy}
    return Settings(**values)


def test_socks_without_its_extra_is_one_line_that_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    url = settings(None).websocket_url
    monkeypatch.setitem(sys.modules, "python_socks", None)
    install = r"needs the package python-socks: python -m pip install 'k2trio\[socks\]'$"
    with pytest.raises(ConfigError, match=rf"^the proxy socks5://p:1 \(PROXY\) {install}"):
        usable_proxies(settings(f"socks5://user:{SECRET}@p:1"), [url])
    monkeypatch.setenv("ALL_PROXY", f"socks5://user:{SECRET}@p:1")
    with pytest.raises(ConfigError, match=rf"^the proxy socks5://p:1 \(ALL_PROXY\) {install}"):
        usable_proxies(settings(None), [url])
    assert usable_proxies(settings("direct"), [url]).of(url) is None
    monkeypatch.setenv("HTTPS_PROXY", "http://p:2")
    assert str(usable_proxies(settings(None), [url]).of(url)) == "http://p:2"

"""The way to a proxy: what is needed of it, and how its failures are told."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

import trio

from ..errors import NameResolutionError, ProxyFailed, ProxyTrouble, TLSError

if TYPE_CHECKING:
    from collections.abc import Generator

    from ..proxies import Proxy

MAX_SHARE = 0.9
"""Of the time that is left for a dial, how much the proxy may take: the rest is for saying so."""
MAX_DETAIL = 100
"""Characters of what is repeated of a proxy's answer."""


class Way(Protocol):
    """What is needed of the byte stream to the proxy; a :class:`trio.abc.Stream` has it."""

    async def send_all(self, data: bytes) -> None:
        """Send all of it."""

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        """What has come, so many bytes at most; empty at the end."""
        ...


def named(proxy: Proxy) -> str:
    """The proxy, and what names it."""
    return f"the proxy {proxy} ({proxy.source})"


def explained(
    proxy: Proxy, trouble: ProxyTrouble, detail: str = "", host: str = "", port: int = 0
) -> ProxyFailed:
    """An error that names the cause and the cure, and no secret."""
    detail = detail if len(detail) <= MAX_DETAIL else f"{detail[:MAX_DETAIL]}…"
    form = f"{proxy.scheme}://user:password@host:port"
    match trouble:
        case ProxyTrouble.UNREACHABLE:
            text = f"cannot be reached: {detail}; is it running, and is {proxy.source} right?"
        case ProxyTrouble.TIMEOUT:
            text = (
                f"opened no way in time: it hangs, or what is behind it does, or "
                f"{proxy.scheme}:// is not what it speaks"
            )
        case ProxyTrouble.CREDENTIALS if proxy.credentials is None:
            text = f"wants a user and a password ({detail}): write {proxy.source}={form}"
        case ProxyTrouble.CREDENTIALS:
            text = f"does not take the user and the password of {proxy.source} ({detail})"
        case ProxyTrouble.REFUSED:
            text = f"refuses to lead to {host}:{port} ({detail}): let it allow that host and port"
        case ProxyTrouble.GATEWAY:
            text = f"cannot reach {host}:{port} itself ({detail})"
        case ProxyTrouble.PROTOCOL:
            text = (
                f"does not answer as a proxy of {proxy.scheme}:// does ({detail}); "
                f"are scheme, host and port of {proxy.source} right?"
            )
    return ProxyFailed(trouble, f"{named(proxy)} {text}")


@contextmanager
def on_the_way_to(proxy: Proxy) -> Generator[None]:
    """Whatever goes wrong in the block is the proxy's, and is told so; it is bounded, too.

    :raises ProxyFailed: for what it did, or if it took :data:`MAX_SHARE` of the time left.
    """
    left_s = trio.current_effective_deadline() - trio.current_time()
    try:
        with trio.fail_after(MAX_SHARE * left_s):
            yield
    except trio.TooSlowError:
        raise explained(proxy, ProxyTrouble.TIMEOUT) from None
    except NameResolutionError as error:
        raise explained(proxy, ProxyTrouble.UNREACHABLE, str(error)) from error
    except TLSError as error:
        raise explained(proxy, ProxyTrouble.PROTOCOL, str(error)) from error

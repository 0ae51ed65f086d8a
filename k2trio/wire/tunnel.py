"""Opens a way through a proxy to a server, on a byte stream that leads to the proxy.

By CONNECT, also for plain ``ws`` (RFC 6455, section 4.1), or by SOCKS5. What follows on the stream
is the server's, from the first byte on.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import trio
from pydantic import SecretStr

from ..errors import ProxyTrouble
from ..extras import require
from ..proxies import Proxies
from . import http_connect
from .way import explained, named

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ..proxies import Proxy
    from ..settings import Settings
    from .way import Way


def usable_proxies(settings: Settings, urls: Iterable[str]) -> Proxies:
    """Which proxy leads where, by the settings and by this process's environment.

    :param urls: what is going to be dialled.
    :raises ConfigError: if a proxy of theirs is named wrongly, or a package is missing for it.
    """
    given = settings.proxy
    setting = given.get_secret_value() if isinstance(given, SecretStr) else given
    proxies = Proxies(setting, os.environ)
    for proxy in proxies.of_all(urls):
        if proxy.scheme == "socks5":
            require("python_socks", "socks", named(proxy))
    return proxies


async def open_tunnel(way: Way, proxy: Proxy, host: str, port: int) -> None:
    """Have the proxy connect the way to a server.

    :raises ProxyFailed: if it does not.
    """
    try:
        if proxy.scheme == "socks5":
            from . import socks  # its library is an extra

            await socks.ask(way, proxy, host, port)
        else:
            await http_connect.ask(way, proxy, host, port)
    except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
        cause = str(error.__cause__ or error) or type(error).__name__
        raise explained(proxy, ProxyTrouble.PROTOCOL, cause, host, port) from error

"""Asks a SOCKS5 proxy for a way to a server (RFC 1928, RFC 1929), by python-socks.

That library comes with the extra ``socks``, so this module is imported only where it is needed.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from python_socks import ProxyError, ProxyType
from python_socks.async_.trio.v2 import Proxy as Client

from ..errors import ProxyTrouble
from .way import explained

if TYPE_CHECKING:
    from ..proxies import Proxy
    from .way import Way

_NOT_ALLOWED = 2
"""The reply of a ruleset (RFC 1928, section 6); the other numbers tell why it failed."""


class _Reached(Client):
    """Hands python-socks the connection to the proxy, which is there already.

    It takes what a proxy before the proxy has opened; that is how it is told.
    """

    def __init__(self, way: Way) -> None:
        super().__init__(ProxyType.SOCKS5, "", 0)
        self._way = way

    async def connect(self, *_: Any, **__: Any) -> Any:
        return self

    async def write(self, data: bytes) -> None:
        await self._way.send_all(data)

    async def read_exactly(self, size: int) -> bytes:
        data = b""
        while len(data) < size:
            more = await self._way.receive_some(size - len(data))
            if not more:
                raise ProxyError("it closed the connection")
            data += more
        return data

    async def close(self) -> None:
        """Whoever opened the way closes it."""


async def ask(way: Way, proxy: Proxy, host: str, port: int) -> None:
    """Have the proxy connect to the server; the name is the proxy's to resolve.

    :raises ProxyFailed: if it does not.
    :raises trio.BrokenResourceError: as the way does.
    """
    user, password = proxy.credentials or (None, None)
    client = Client(ProxyType.SOCKS5, proxy.host, proxy.port, user, password, True, None,
                    _Reached(way))  # fmt: skip
    try:
        await client.connect(host, port, timeout=math.inf)
    except ProxyError as error:
        raise explained(proxy, _trouble(error), str(error), host, port) from None
    except ValueError as error:  # a bound address that is none
        raise explained(proxy, ProxyTrouble.PROTOCOL, str(error), host, port) from None


def _trouble(error: ProxyError) -> ProxyTrouble:
    if error.error_code is not None:
        refused = error.error_code == _NOT_ALLOWED
        return ProxyTrouble.REFUSED if refused else ProxyTrouble.GATEWAY
    # No number tells those apart, but python-socks's words do.
    wanted = "authentication method" in str(error) or "authentication failure" in str(error)
    return ProxyTrouble.CREDENTIALS if wanted else ProxyTrouble.PROTOCOL

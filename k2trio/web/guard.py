"""What holds for every answer: whom it is for, and what a browser may do with it."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse

from ..settings import is_loopback

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
        "require-trusted-types-for 'script'; trusted-types 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}


class Guard:
    """ASGI middleware: checks the ``Host`` header and sets the security headers.

    A page from elsewhere can have its name resolve to the loopback address, and so make a browser
    on this machine read what is served here (DNS rebinding). It cannot forge the header.

    :param local_only: answer only requests for a loopback name or address.
    """

    def __init__(self, app: ASGIApp, *, local_only: bool) -> None:
        self._app = app
        self._local_only = local_only

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(HEADERS)
            await send(message)

        if scope["type"] != "http" or not self._local_only or _is_for_us(scope):
            await self._app(scope, receive, send_guarded)
        else:
            refusal = PlainTextResponse(
                "this exporter answers to localhost and loopback addresses only; "
                "set K2_BINANCE_METRICS_HOST to serve others\n",
                status_code=421,
            )
            await refusal(scope, receive, send_guarded)


def _is_for_us(scope: Scope) -> bool:
    host = Headers(scope=scope).get("host")
    if host is None:
        return True  # HTTP/1.0; browsers always send it
    try:
        return is_loopback(urlsplit(f"//{host}").hostname or "")
    except ValueError:
        return False

"""What holds for every answer: whom it is for, and what a browser may do with it."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse

from ..loopback import is_loopback

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
    """ASGI middleware: checks ``Host`` and ``Origin``, and sets the security headers.

    A page from elsewhere can have its name resolve to the loopback address, and so make a browser
    on this machine read what is served here (DNS rebinding); or have it post here blindly. It
    cannot forge the headers by which a browser says for whom and on whose behalf it asks.

    :param local_only: answer only requests for, and on behalf of, a loopback name or address.
    :param refusal: what others are told: a sentence of what is served, and how to have it
        elsewhere.
    """

    def __init__(self, app: ASGIApp, *, local_only: bool, refusal: str) -> None:
        self._app = app
        self._local_only = local_only
        self._refusal = refusal

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(HEADERS)
            await send(message)

        if scope["type"] != "http" or not self._local_only or _is_for_us(scope):
            await self._app(scope, receive, send_guarded)
        else:
            refusal = PlainTextResponse(f"{self._refusal}\n", status_code=421)
            await refusal(scope, receive, send_guarded)


def _is_for_us(scope: Scope) -> bool:
    headers = Headers(scope=scope)
    # A client may leave out either; browsers do not where it matters.
    urls = [f"//{host}" for host in headers.getlist("host")] + headers.getlist("origin")
    try:
        return all(is_loopback(urlsplit(url).hostname or "") for url in urls)
    except ValueError:
        return False

"""The routes. Everything is read-only, and answers from memory."""

from __future__ import annotations

from importlib import resources
from typing import TYPE_CHECKING

import msgspec
from prometheus_client import generate_latest
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from .events import EventStreams, Snapshots
from .guard import Guard
from .openapi import make_document

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from prometheus_client import CollectorRegistry
    from starlette.requests import Request

    from ..observe.report import Status, TrendsReport

ASSETS = {
    "/": ("index.html", "text/html"),
    "/page.css": ("page.css", "text/css"),
    "/page.js": ("page.js", "text/javascript"),
    "/icon.svg": ("icon.svg", "image/svg+xml"),
}
"""Path → file of the page, and its type."""

REFUSAL = (
    "this exporter answers to localhost and loopback addresses only; "
    "set K2_BINANCE_METRICS_HOST to serve others"
)


def make_app(
    registry: CollectorRegistry,
    problems: Callable[[], Sequence[str]],
    report: Callable[[], Status],
    trends: Callable[[], TrendsReport],
    *,
    version: str = "",
    local_only: bool = True,
) -> Starlette:
    """The application.

    :param problems: why the process is not ready; an empty sequence when it is.
    :param report: called when somebody wants to know the status, twice a second at most.
    :param trends: the same of the trends.
    :param version: of the program, for the API's description.
    :param local_only: refuse requests that were meant for another host than this machine.
    """
    statuses, histories = Snapshots(report), Snapshots(trends)
    document = msgspec.json.encode(make_document(version))

    async def metrics(request: Request) -> Response:
        names = request.query_params.getlist("name[]")
        source = registry.restricted_registry(names) if names else registry
        return Response(generate_latest(source), media_type=CONTENT_TYPE_PLAIN_0_0_4)  # pyright: ignore[reportArgumentType]

    async def healthz(_: Request) -> Response:
        return PlainTextResponse("ok\n")

    async def readyz(_: Request) -> Response:
        reasons = list(problems())
        status = 503 if reasons else 200
        return JSONResponse({"ready": not reasons, "reasons": reasons}, status_code=status)

    async def status(_: Request) -> Response:
        return Response(statuses.latest(), media_type="application/json")

    async def rates(_: Request) -> Response:
        return Response(histories.latest(), media_type="application/json")

    async def openapi(_: Request) -> Response:
        return Response(document, media_type="application/json")

    app = Starlette(
        routes=[
            *(_asset(path, *file) for path, file in ASSETS.items()),
            Route("/healthz", healthz, methods=["GET"]),
            Route("/readyz", readyz, methods=["GET"]),
            Route("/metrics", metrics, methods=["GET"]),
            Route("/status", status, methods=["GET"]),
            Route("/trends", rates, methods=["GET"]),
            Route("/events", EventStreams(statuses, histories), methods=["GET"]),
            Route("/openapi.json", openapi, methods=["GET"]),
        ],
        middleware=[Middleware(Guard, local_only=local_only, refusal=REFUSAL)],
    )
    # A redirect would repeat the Host header, which is the client's choice.
    app.router.redirect_slashes = False
    return app


def _asset(path: str, name: str, media_type: str) -> Route:
    body = resources.files("k2trio.web").joinpath("page", name).read_bytes()
    return Route(path, _always(body, media_type), methods=["GET"])


def _always(body: bytes, media_type: str) -> Callable[[Request], Awaitable[Response]]:
    async def answer(_: Request) -> Response:
        return Response(body, media_type=media_type)

    return answer

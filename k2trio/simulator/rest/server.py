"""The REST side of one venue: repair, snapshots, and the simulator's own switches.

An ASGI application. All handlers are coroutines and none blocks, so in virtual time a request
takes no time and no thread.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

import msgspec
import trio
from starlette.applications import Starlette
from starlette.responses import Response
from starlette.routing import Route

from ..faults.fault import parse_faults
from ..faults.kinds import REST_KINDS, FaultKind
from ..refusals import ApiError
from .answers import Answers
from .quota import WEIGHTS, Quota, RestLimits, limits_of, request_weight

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from starlette.requests import Request
    from starlette.types import ASGIApp

    from ..exchange import Exchange

KEY_PATH = "historicalTrades"
"""The question that some venues want a key for, and those of futures all do."""
PREFIXES = {"spot": "/api/v3", "usdm": "/fapi/v1"}
"""How the paths of each product begin."""

MAX_REQUESTS = 500_000
"""Requests remembered; older ones are forgotten."""


class RestServer:
    """The REST side of a venue.

    :param name: what faults call it by (besides the venue).
    :param quota: shared with another host of the venue; default: one of its own.
    :param knows_time_unit: heed ``X-MBX-TIME-UNIT``; as for :class:`.exchange.Exchange`.
    :ivar app: the ASGI application.
    :ivar requests: (time, client, path with query, HTTP status) of each market-data request.
    """

    def __init__(
        self,
        exchange: Exchange,
        name: str = "rest",
        limits: RestLimits | None = None,
        quota: Quota | None = None,
        *,
        knows_time_unit: bool = True,
    ) -> None:
        self.exchange = exchange
        self.names: tuple[str, str] = (name, exchange.venue)
        self.limits: RestLimits = limits_of(exchange.market.product) if limits is None else limits
        self.requests: deque[tuple[float, str, str, int]] = deque(maxlen=MAX_REQUESTS)
        self.quota: Quota = Quota(self.limits) if quota is None else quota
        answers = Answers(
            exchange,
            self.names,
            self.limits.weight_per_minute,
            knows_time_unit=knows_time_unit,
        )
        self._product = exchange.market.product
        prefix = PREFIXES[self._product]
        routes = [
            Route(f"{prefix}/{path}", self._endpoint(path, answer), methods=["GET"])
            for path, answer in answers.by_path.items()
            if path == "depth" or path in WEIGHTS[self._product]
        ]
        routes += [
            Route("/simulator/faults", self._get_faults, methods=["GET"]),
            Route("/simulator/faults", self._post_faults, methods=["POST"]),
            Route("/simulator/truth", self._get_truth, methods=["GET"]),
        ]
        self.app: ASGIApp = Starlette(routes=routes)

    # One request

    def _endpoint(
        self, path: str, answer: Callable[[Request], object]
    ) -> Callable[[Request], Awaitable[Response]]:
        async def respond(request: Request) -> Response:
            client = request.client.host if request.client else "unknown"
            account = self.quota.account(client, self.exchange.now_us())
            try:
                await self._meet_faults(path)
                weight = request_weight(path, request, self._product)
                self.quota.charge(account, weight, self.exchange.now_us())
                self.exchange.catch_up()
                response = _json(answer(request))
            except ApiError as error:
                response = _json({"code": error.code, "msg": error.message}, error.status)
                if error.retry_after is not None:
                    response.headers["Retry-After"] = str(max(1, round(error.retry_after)))
            response.headers["X-MBX-USED-WEIGHT-1M"] = str(account.used)
            response.headers["X-MBX-USED-WEIGHT"] = str(account.used)
            target = f"{request.url.path}?{request.url.query}"
            self.requests.append((trio.current_time(), client, target, response.status_code))
            return response

        return respond

    async def _meet_faults(self, path: str) -> None:
        board = self.exchange.faults
        wants_key = path == KEY_PATH and self._product != "spot"
        if path == KEY_PATH and board.take(self.names, (FaultKind.REST_KEY,)) is not None:
            wants_key = True
        if wants_key:
            raise ApiError(-2014, "API-key format invalid.", 401)
        fault = board.take(self.names, REST_KINDS)
        if fault is None:
            return
        if fault.kind is FaultKind.REST_HANG:
            await trio.sleep_forever()
        status = 503 if fault.kind is FaultKind.REST_REFUSED else fault.status
        raise ApiError(-1003, f"simulated {status}", status, fault.retry_after)

    # The simulator's own

    async def _get_faults(self, request: Request) -> Response:
        del request
        board = self.exchange.faults
        return _json({"active": board.active(), "pending": board.pending()})

    async def _post_faults(self, request: Request) -> Response:
        try:
            faults = parse_faults(await request.body())
            self.exchange.faults.add(faults)
        except (msgspec.DecodeError, ValueError) as error:
            return _json({"error": str(error)}, 400)
        return _json({"added": len(faults)})

    async def _get_truth(self, request: Request) -> Response:
        del request
        return _json({"venue": self.exchange.venue} | self.exchange.truth.summary())


def _json(value: object, status: int = 200) -> Response:
    return Response(msgspec.json.encode(value), status, media_type="application/json")

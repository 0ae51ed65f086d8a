"""The quota of request weight that each REST client has, and what exceeding it costs.

Source: Binance spot API docs, "REST API": limits, and the weight of each endpoint.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import trio

from ..refusals import ApiError
from .queries import DEFAULT_LEVELS, row_limit

if TYPE_CHECKING:
    from starlette.requests import Request

_SPOT_WEIGHTS = {
    "aggTrades": 4,
    "historicalTrades": 25,
    "historicalBlockTrades": 25,
    "trades": 25,
    "klines": 2,
    "exchangeInfo": 20,
    "time": 1,
    "ping": 1,
}
_FUTURES_WEIGHTS = {
    "aggTrades": 20,
    "historicalTrades": 20,
    "trades": 5,
    "klines": 5,
    "exchangeInfo": 1,
    "time": 1,
    "ping": 1,
}
WEIGHTS = {"spot": _SPOT_WEIGHTS, "usdm": _FUTURES_WEIGHTS}
"""What each path costs, by product."""
DEPTH_WEIGHTS = {
    "spot": ((100, 5), (500, 25), (1000, 50), (5000, 250)),
    "usdm": ((50, 2), (100, 5), (500, 10), (1000, 20)),
}
WEIGHT_PER_MINUTE = {"spot": 6000, "usdm": 2400}

MAX_CLIENTS = 10_000
"""Client addresses whose weight is counted; the longest known is forgotten first."""


def request_weight(path: str, request: Request, product: str = "spot") -> int:
    """What a request costs its client.

    :param product: of the venue.
    :raises ApiError: if that cannot be told.
    """
    if path != "depth":
        return WEIGHTS[product][path]
    limit = row_limit(request, DEPTH_WEIGHTS[product][-1][0], DEFAULT_LEVELS)
    return next(weight for most, weight in DEPTH_WEIGHTS[product] if limit <= most)


@dataclass(frozen=True, slots=True)
class RestLimits:
    """What the exchange enforces over REST.

    :ivar weight_per_minute: request weight of one client in a minute of the clock.
    :ivar strikes: requests in spite of 429 before the client is banned.
    :ivar ban_s: how long a ban lasts; seconds.
    """

    weight_per_minute: int = 6000
    strikes: int = 10
    ban_s: float = 120.0


def limits_of(product: str) -> RestLimits:
    """What the exchange enforces where a product is traded."""
    return RestLimits(weight_per_minute=WEIGHT_PER_MINUTE[product])


@dataclass(slots=True)
class Account:
    """What one client did.

    :ivar minute: of the clock; ``used`` is the weight used in it.
    :ivar strikes: requests over the limit, one after the other.
    :ivar banned_until: seconds, as in :func:`trio.current_time`.
    """

    minute: int = -1
    used: int = 0
    strikes: int = 0
    banned_until: float = -math.inf


class Quota:
    """Counts the weight of requests, by client and minute of the clock.

    :ivar refused: requests that were too much, or came in spite of a ban.
    """

    def __init__(self, limits: RestLimits) -> None:
        self.refused: int = 0
        self._limits = limits
        self._accounts: dict[str, Account] = {}

    def account(self, client: str, now_us: int) -> Account:
        """The account of a client in this minute.

        :param now_us: the venue's time.
        """
        if client not in self._accounts and len(self._accounts) >= MAX_CLIENTS:
            del self._accounts[next(iter(self._accounts))]
        account = self._accounts.setdefault(client, Account())
        minute = now_us // 60_000_000
        if account.minute != minute:
            account.minute, account.used = minute, 0
        return account

    def charge(self, account: Account, weight: int, now_us: int) -> None:
        """Count a request.

        :raises ApiError: 429, if the client used too much, or 418, if it is banned.
        """
        now = trio.current_time()
        if now < account.banned_until:
            self.refused += 1
            raise ApiError(
                -1003,
                "Way too much request weight used; IP banned.",
                418,
                account.banned_until - now,
            )
        if account.used + weight > self._limits.weight_per_minute:
            account.strikes += 1
            self.refused += 1
            if account.strikes > self._limits.strikes:
                account.banned_until = now + self._limits.ban_s
                account.strikes = 0
                raise ApiError(
                    -1003, "Way too much request weight used; IP banned.", 418, self._limits.ban_s
                )
            left_s = 60 - now_us % 60_000_000 / 1e6
            raise ApiError(-1003, "Too much request weight used.", 429, left_s)
        account.strikes = 0
        account.used += weight

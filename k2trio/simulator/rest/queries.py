"""The parameters of REST requests, read as strictly as the exchange reads them."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

import msgspec

from ..market import payloads
from ..refusals import ApiError

if TYPE_CHECKING:
    from starlette.requests import Request

_T = TypeVar("_T")

MAX_ROWS = 1000
MAX_LEVELS = 5000
DEFAULT_LEVELS = 100
DEFAULT_ROWS = 500
MICROSECONDS_FROM = 10**14
"""Times from here on are in microseconds; in milliseconds they would be of the year 5138."""


def mandatory(value: _T | None, name: str) -> _T:
    """A parameter that may not be left out.

    :raises ApiError: if it was.
    """
    if value is None:
        raise ApiError(
            -1102, f"Mandatory parameter '{name}' was not sent, was empty/null, or malformed."
        )
    return value


def integer(request: Request, name: str) -> int | None:
    """A parameter that is a whole number, if there is one.

    :raises ApiError: if it is none.
    """
    text = request.query_params.get(name)
    if text is None:
        return None
    if not (text.isascii() and text.isdigit() and len(text) < 20):
        raise ApiError(-1100, f"Illegal characters found in parameter '{name}'.")
    return int(text)


def row_limit(request: Request, most: int = MAX_ROWS, default: int = DEFAULT_ROWS) -> int:
    """How many rows are wanted, ``most`` at most.

    :raises ApiError: if it is no positive number.
    """
    limit = integer(request, "limit")
    if limit is None:
        return default
    if limit < 1:
        raise ApiError(-1130, "Data sent for parameter 'limit' is not valid.")
    return min(limit, most)


def symbol_names(request: Request) -> set[str] | None:
    """The symbols that ``symbol`` or ``symbols`` name; None: neither is there, so all.

    :raises ApiError: if both are, or it is no list.
    """
    one, many = request.query_params.get("symbol"), request.query_params.get("symbols")
    if one is not None and many is not None:
        raise ApiError(-1128, "Combination of optional parameters invalid.")
    if many is None:
        return None if one is None else {one}
    try:
        return set(msgspec.json.decode(many, type=list[str]))
    except msgspec.DecodeError as error:
        raise ApiError(-1100, "Illegal characters found in parameter 'symbols'.") from error


def time_ms(request: Request, name: str) -> int | None:
    """A parameter that is a time, in ms or, as the exchange takes it too, in µs.

    :raises ApiError: if it is no whole number.
    """
    time = integer(request, name)
    return time // 1000 if time is not None and time >= MICROSECONDS_FROM else time


def time_unit(request: Request) -> int:
    """The unit of times in the answer; microseconds."""
    wanted = request.headers.get("X-MBX-TIME-UNIT", "").upper()
    return 1 if wanted == "MICROSECOND" else payloads.MILLISECOND

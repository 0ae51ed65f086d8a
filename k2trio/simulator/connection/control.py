"""Control messages of the exchange: what a client may ask, and the exact answers. Pure.

Source: Binance spot API docs, "WebSocket Streams", "Live Subscribing/Unsubscribing to streams"
and its table of error messages.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Protocol, TypeGuard

import msgspec

from k2trio.errors import UnknownStreamError
from k2trio.market.streams import MAX_STREAMS_PER_CONNECTION

if TYPE_CHECKING:
    from collections.abc import Sequence

METHODS = ("SUBSCRIBE", "UNSUBSCRIBE", "LIST_SUBSCRIPTIONS", "SET_PROPERTY", "GET_PROPERTY")
FIELDS = {"method", "params", "id"}
MAX_ID_CHARS = 36

UNKNOWN_PROPERTY = 0
BOOLEAN_EXPECTED = 1
INVALID_REQUEST = 2
INVALID_JSON = 3
TOO_MANY_SUBSCRIPTIONS = 4


class Target(Protocol):
    """What control messages change: one connection."""

    combined: bool

    def subscribe(self, names: Sequence[str]) -> None:
        """Add streams.

        :raises UnknownStreamError: if one does not exist; then none was added.
        :raises TooManyStreams: if the connection would have too many.
        """
        ...

    def unsubscribe(self, names: Sequence[str]) -> None:
        """Remove streams; unknown ones are ignored."""
        ...

    def subscriptions(self) -> list[str]:
        """The streams in the order of subscription."""
        ...

    def set_combined(self, combined: bool) -> None:
        """Switch between bare payloads and ``{"stream", "data"}``."""
        ...


class TooManyStreams(Exception):  # noqa: N818 - as the exchange words it
    """More streams than one connection may have."""


class ControlError(Exception):
    """The answer is an error.

    :ivar code: the exchange's code, 0 to 4.
    """

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


class Answer(msgspec.Struct, frozen=True):
    """Bytes to send back; ``code`` is None for success, ``method`` empty if there was none."""

    data: bytes
    method: str
    code: int | None


def answer(text: str, target: Target, *, wrapped_errors: bool = False) -> Answer:
    """Do what a control message asks and say what to answer.

    :param wrapped_errors: write errors as ``{"error": {…}, "id"}`` in place of the bare shape;
        the exchange has used both.
    """
    request_id: object = None
    method = ""
    try:
        request = _parse(text)
        if _is_id(request.get("id")):
            request_id = request.get("id")
        method = _method(request, text)
        if not _is_id(request.get("id")):
            raise ControlError(
                INVALID_REQUEST, "Invalid request: request ID must be an unsigned integer"
            )
        result = _perform(method, request.get("params"), target)
    except ControlError as error:
        body: dict[str, object] = {"code": error.code, "msg": error.message}
        body = {"error": body, "id": request_id} if wrapped_errors else body | {"id": request_id}
        return Answer(msgspec.json.encode(body), method, error.code)
    return Answer(msgspec.json.encode({"result": result, "id": request_id}), method, None)


def _parse(text: str) -> dict[str, object]:
    try:
        request: object = msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError) as error:
        position = re.search(r"byte (\d+)", str(error))
        column = int(position[1]) + 1 if position else len(text)
        raise ControlError(
            INVALID_JSON, f"Invalid JSON: expected value at line 1 column {column}"
        ) from error
    if not _is_object(request):
        raise ControlError(INVALID_REQUEST, "Invalid request: expected an object")
    for field in request:
        if field not in FIELDS:
            raise ControlError(
                INVALID_REQUEST,
                f"Invalid request: unknown field {field}, expected one of method, params, id",
            )
    return request


def _is_object(value: object) -> TypeGuard[dict[str, object]]:
    return isinstance(value, dict)


def _is_list(value: object) -> TypeGuard[list[object]]:
    return isinstance(value, list)


def _is_id(value: object) -> bool:
    if isinstance(value, bool):
        return False
    if isinstance(value, int):
        return value >= 0
    return value is None or (isinstance(value, str) and len(value) <= MAX_ID_CHARS)


def _method(request: dict[str, object], text: str) -> str:
    method = request.get("method")
    if method is None:
        raise ControlError(
            INVALID_REQUEST,
            f"Invalid request: missing field method at line 1 column {len(text)}",
        )
    if not isinstance(method, str) or method not in METHODS:
        raise ControlError(
            INVALID_REQUEST,
            f"Invalid request: unknown variant {str(method)[:40]}, expected one of "
            f"SUBSCRIBE, UNSUBSCRIBE, LIST_SUBSCRIPTIONS, SET_PROPERTY, GET_PROPERTY "
            f"at line 1 column {max(1, text.find(str(method)) + len(str(method)) + 1)}",
        )
    return method


def _perform(method: str, params: object, target: Target) -> object:
    match method:
        case "SUBSCRIBE":
            _subscribe(_names(params), target)
            return None
        case "UNSUBSCRIBE":
            target.unsubscribe(_names(params))
            return None
        case "LIST_SUBSCRIPTIONS":
            return target.subscriptions()
        case "SET_PROPERTY":
            _set_property(params, target)
            return None
        case _:
            _property(params, 1)
            return target.combined


def _subscribe(names: list[str], target: Target) -> None:
    try:
        target.subscribe(names)
    except UnknownStreamError as error:
        raise ControlError(INVALID_REQUEST, f"Invalid request: {error}") from error
    except TooManyStreams as error:
        raise ControlError(
            TOO_MANY_SUBSCRIPTIONS,
            f"Too many subscriptions: at most {MAX_STREAMS_PER_CONNECTION} a connection",
        ) from error


def _names(params: object) -> list[str]:
    if not _is_list(params) or not params:
        raise ControlError(INVALID_REQUEST, "Invalid request: params must be a list of strings")
    names = [name for name in params if isinstance(name, str)]
    if len(names) != len(params):
        raise ControlError(INVALID_REQUEST, "Invalid request: params must be a list of strings")
    return names


def _property(params: object, size: int) -> list[object]:
    if not _is_list(params) or not params or not isinstance(params[0], str):
        raise ControlError(INVALID_REQUEST, "Invalid request: property name must be a string")
    if params[0] != "combined":
        raise ControlError(UNKNOWN_PROPERTY, "Unknown property")
    if len(params) > size:
        raise ControlError(INVALID_REQUEST, "Invalid request: too many parameters")
    return params


def _set_property(params: object, target: Target) -> None:
    values = _property(params, 2)
    if len(values) < 2 or not isinstance(values[1], bool):
        raise ControlError(BOOLEAN_EXPECTED, "Invalid value type: expected Boolean")
    target.set_combined(values[1])

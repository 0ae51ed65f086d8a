"""What else than events the exchange says on a connection."""

from __future__ import annotations

import msgspec

from .payloads import Integer

EXCERPT_BYTES = 200
"""How much of a malformed payload is kept for the log."""
MAX_TEXT = 4 * EXCERPT_BYTES
"""Characters of a text for the log: each of those bytes may need an escape."""


class ServerShutdown(msgspec.Struct, frozen=True):
    """The exchange announces that it will close this connection soon."""

    event_time: int


class Reply(msgspec.Struct, frozen=True):
    """Answer to a control message.

    :ivar code: error code (-1 where an error came without one), or None for a success.
    :ivar result: what a success carries, as JSON.
    """

    id: int | None
    result: bytes
    code: int | None = None
    message: str = ""


class Malformed(msgspec.Struct, frozen=True):
    """A payload that could not be understood.

    :ivar error_type: ``bad_json``, ``bad_payload``, ``wrong_symbol``, ``unknown_stream`` or
        ``unknown_event``.
    :ivar detail: what is wrong, as printable text.
    :ivar excerpt: its first bytes, as printable text.
    """

    error_type: str
    detail: str
    excerpt: str


class OtherUnit(msgspec.Struct, frozen=True):
    """The connection tells its times in another unit than was asked for; they are converted.

    :ivar told: the unit, as the exchange calls it.
    """

    told: str


Control = ServerShutdown | Reply | Malformed | OtherUnit


class _ReplyError(msgspec.Struct):
    code: int | None = None
    msg: str = ""


class _Loose(msgspec.Struct):
    """Everything that is no combined frame."""

    e: str | None = None
    E: Integer = 0
    id: int | None = None
    result: msgspec.Raw = msgspec.Raw(b"")
    code: int | None = None
    msg: str = ""
    error: _ReplyError | None = None


class _ShutdownPayload(msgspec.Struct, tag_field="e", tag="serverShutdown"):
    E: Integer = 0


_decode_loose = msgspec.json.Decoder(_Loose).decode
_decode_shutdown = msgspec.json.Decoder(_ShutdownPayload).decode
_NO_CODE = -1


def excerpt(payload: bytes) -> str:
    """The first bytes of a payload, safe to log."""
    return printable(payload[:EXCERPT_BYTES].decode(errors="backslashreplace"))


def printable(text: str) -> str:
    """The text within a bound, without what could forge a log line or drive a terminal."""
    text = text[:MAX_TEXT]
    if not text.isprintable():
        text = text.encode("unicode_escape").decode()
    return text[:MAX_TEXT]


def misplaced(stream: str, payload: bytes) -> Malformed:
    """That a payload names another symbol or interval than its stream."""
    detail = f"the payload is not of {stream}"
    return Malformed("wrong_symbol", printable(detail), excerpt(payload))


def error_type(error: Exception) -> str:
    """What is wrong with a frame that could not be decoded."""
    return "bad_payload" if isinstance(error, msgspec.ValidationError) else "bad_json"


def without_stream(payload: bytes) -> Control:
    """What a frame says that is no combined one.

    :raises msgspec.MsgspecError: if it says nothing.
    """
    loose = _decode_loose(payload)
    if loose.e == "serverShutdown":
        return ServerShutdown(loose.E)
    result = bytes(loose.result)
    error = loose.error
    if error is None and (loose.code is not None or (loose.msg and not result)):
        error = _ReplyError(loose.code, loose.msg)
    if error is not None:
        code = _NO_CODE if error.code is None else error.code
        return Reply(loose.id, b"", code, printable(error.msg[:EXCERPT_BYTES]))
    if loose.id is not None and result:
        return Reply(loose.id, result)
    return Malformed("unknown_event", f"event type {str(loose.e)[:40]!r}", excerpt(payload))


def shutdown_of(raw: bytes) -> ServerShutdown:
    """The announcement in a payload.

    :raises msgspec.MsgspecError: if it is none.
    """
    return ServerShutdown(_decode_shutdown(raw).E)

"""Tells which of the errors that end a connection's tasks is the one that counts."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import h11
import trio_websocket
import wsproto.utilities

from ..errors import ConnectionFailed, ProtocolViolation, leaves

if TYPE_CHECKING:
    from .tap import FrameTap

_PROTOCOL_ERRORS = (
    wsproto.utilities.LocalProtocolError,
    wsproto.utilities.RemoteProtocolError,
    h11.ProtocolError,
    trio_websocket.ConnectionClosed,
)
"""What leaks out of trio-websocket's reader when the peer sends nonsense."""


def principal(
    group: BaseExceptionGroup[BaseException],
    body_error: BaseException | None,
    tap: FrameTap,
    *,
    opened: bool,
) -> BaseException | None:
    """What the end of the nursery really was.

    Protocol errors that leak out of trio-websocket's reader are the peer's fault; once the body has
    ended by itself they are late and harmless. Anything unexpected keeps its group and is raised.
    """
    protocol, rest = group.split(_PROTOCOL_ERRORS)
    if rest is None:
        if opened and (body_error is None or isinstance(body_error, ConnectionFailed)):
            return body_error
        violation = ProtocolViolation("; ".join(str(_complaint(error)) for error in leaves(group)))
        violation.__cause__ = protocol
        tap.fail(violation)
        return tap.failure
    errors = leaves(rest)
    if not opened and all(isinstance(error, Exception) for error in errors):
        # Whatever a library makes of the answer to the upgrade, it is the answer that is broken.
        failures = [error for error in errors if isinstance(error, ConnectionFailed)]
        if failures:
            return failures[0]
        violation = ProtocolViolation(f"the answer to the upgrade is broken: {errors[0]!r}")
        violation.__cause__ = rest
        tap.fail(violation)
        return tap.failure
    if len(errors) == 1 and (errors[0] is body_error or isinstance(errors[0], ConnectionFailed)):
        return errors[0]
    if isinstance(body_error, BaseExceptionGroup):
        own = cast("BaseExceptionGroup[BaseException]", body_error)
        if errors == leaves(own):
            return own
    return rest


def _complaint(error: BaseException) -> BaseException:
    """What was wrong. trio-websocket tries to answer a broken upgrade, and fails at that too."""
    inner: BaseException | None = error
    while inner is not None:
        if isinstance(inner, wsproto.utilities.RemoteProtocolError):
            return inner
        inner = inner.__context__
    return error

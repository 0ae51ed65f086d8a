"""Faults that hit a live connection once: what each does to it."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import msgspec
import trio

from .. import wire
from ..faults.kinds import FaultKind
from .outbox import How

if TYPE_CHECKING:
    import random
    from collections.abc import Callable

    from ..faults.fault import Fault
    from .outbox import Outbox
    from .session import Session
    from .subscriptions import Subscriptions

DEFAULT_DEPTH = 10_000
DEFAULT_OVERSIZE = 2 << 20
DEFAULT_FLOOD = 1000
GARBAGE_BYTES = 64
EMPTY_FRAGMENTS_PER_SEND = 64
EMPTY_FRAGMENTS_INTERVAL_S = 0.01


def strike(session: Session, fault: Fault, rng: random.Random, now_us: Callable[[], int]) -> None:
    """Do to ``session`` what ``fault`` says.

    :param rng: makes garbage.
    :param now_us: tells the venue's time.
    """
    kind, outbox = fault.kind, session.outbox
    if outbox.closing and kind not in {FaultKind.FIN, FaultKind.RST}:
        return  # nothing may follow a close frame
    match kind:
        case FaultKind.FIN:
            outbox.end(How.FIN, kind.value)
        case FaultKind.RST:
            outbox.end(How.RST, kind.value)
        case FaultKind.CLOSE | FaultKind.CLOSE_HELD:
            held = kind is FaultKind.CLOSE_HELD
            outbox.begin_close(fault.code, "", kind.value, held=held)
        case FaultKind.LIFETIME:
            outbox.begin_close(1001, "", kind.value)
        case FaultKind.SERVER_SHUTDOWN:
            _shut_down(session, fault, now_us)
        case FaultKind.EMPTY_FRAGMENTS:
            outbox.spawn(_send_empty_fragments, session, fault.duration)
        case FaultKind.PING_FLOOD:
            count = fault.count or DEFAULT_FLOOD
            outbox.push(b"".join(wire.ping(b"flood %d" % number) for number in range(count)))
        case _:
            outbox.push(_odd_frame(session.subscriptions, fault, rng))


def _shut_down(session: Session, fault: Fault, now_us: Callable[[], int]) -> None:
    shape, outbox = session.subscriptions, session.outbox
    event = {"e": "serverShutdown", "E": now_us() // shape.unit}
    message: object = event
    if shape.combined:
        message = {"stream": "!serverShutdown", "data": event}
    outbox.push(wire.text(msgspec.json.encode(message)))
    if fault.duration:
        outbox.spawn(_close_later, outbox, fault.duration, fault.code)


async def _close_later(outbox: Outbox, delay: float, code: int) -> None:
    await trio.sleep(delay)
    outbox.begin_close(code, "", FaultKind.SERVER_SHUTDOWN.value)


async def _send_empty_fragments(session: Session, duration: float) -> None:
    """Begin a text message and never end it; other data is lost meanwhile.

    :param duration: seconds; 0: for ever.
    """
    outbox, ailments = session.outbox, session.ailments
    ailments.muted = True
    outbox.push(wire.header(wire.TEXT, 0))
    with trio.move_on_after(duration or math.inf):
        while not outbox.closing:
            if outbox.idle:  # a client that does not read is not buried
                outbox.push(wire.EMPTY_CONTINUATION * EMPTY_FRAGMENTS_PER_SEND)
            await trio.sleep(EMPTY_FRAGMENTS_INTERVAL_S)
    outbox.push(wire.header(wire.FIN | wire.CONTINUATION, 2) + b"{}")
    ailments.muted = False


def _odd_frame(streams: Subscriptions, fault: Fault, rng: random.Random) -> bytes:
    """The bytes of one odd frame or message."""
    match fault.kind:
        case FaultKind.GARBAGE:
            return b"\x8f\x7f" + rng.randbytes(GARBAGE_BYTES)  # opcode 15 is reserved
        case FaultKind.BINARY:
            return wire.header(wire.FIN | wire.BINARY, 4) + b"\x00\x01\x02\x03"
        case FaultKind.MASKED:
            return wire.masked(b'{"e":"masked"}')
        case FaultKind.RESERVED_BITS:
            return wire.header(wire.FIN | wire.TEXT | 0x40, 2) + b"{}"
        case FaultKind.BAD_UTF8:
            return wire.text(b'{"e":"\xc3\x28\xff"}')
        case FaultKind.OVERSIZE:
            return wire.oversize(fault.size or DEFAULT_OVERSIZE)
        case FaultKind.BAD_JSON:
            return wire.text(b'{"stream":"btcusdt@trade","data":{"e":"trade",')
        case FaultKind.DEEP_JSON:
            depth = fault.size or DEFAULT_DEPTH
            return wire.text(b"[" * depth + b"]" * depth)
        case FaultKind.HUGE_NUMBER:
            return wire.text(_message(streams, b'{"e":"trade","t":' + b"9" * 400 + b"}"))
        case FaultKind.WRONG_TYPES:
            return wire.text(
                _message(streams, b'{"e":"trade","E":"soon","s":7,"t":"one","p":1.5,"q":null}')
            )
        case FaultKind.UNKNOWN_EVENT:
            return wire.text(_message(streams, b'{"e":"somethingNew","E":1,"s":"BTCUSDT"}'))
        case _:
            raise ValueError(f"{fault.kind} is not something sent once")


def _message(streams: Subscriptions, payload: bytes) -> bytes:
    """``payload`` on the connection's first stream, in the connection's shape."""
    if not streams.combined:
        return payload
    name = next(iter(streams.attached()), "btcusdt@trade")
    return b'{"stream":"%b","data":%b}' % (name.encode(), payload)

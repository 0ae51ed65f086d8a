"""Faults that hit a live connection once: what each does to it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from . import wire
from .kinds import FaultKind
from .session import How, Session

if TYPE_CHECKING:
    from .exchange import Exchange
    from .faults import Fault

DEFAULT_DEPTH = 10_000
DEFAULT_OVERSIZE = 2 << 20
DEFAULT_FLOOD = 1000
GARBAGE_BYTES = 64


def strike(exchange: Exchange, session: Session, fault: Fault) -> None:
    """Do to ``session`` what ``fault`` says."""
    kind = fault.kind
    if session.closing and kind not in {FaultKind.FIN, FaultKind.RST}:
        return  # nothing may follow a close frame
    match kind:
        case FaultKind.FIN:
            session.end(How.FIN, kind.value)
        case FaultKind.RST:
            session.end(How.RST, kind.value)
        case FaultKind.CLOSE | FaultKind.CLOSE_HELD:
            held = kind is FaultKind.CLOSE_HELD
            session.begin_close(fault.code, "", kind.value, held=held)
        case FaultKind.LIFETIME:
            session.begin_close(1001, "", kind.value)
        case FaultKind.SERVER_SHUTDOWN:
            _shut_down(exchange, session, fault)
        case FaultKind.EMPTY_FRAGMENTS:
            session.spawn(session.send_empty_fragments, fault.duration)
        case FaultKind.PING_FLOOD:
            count = fault.count or DEFAULT_FLOOD
            session.push(b"".join(wire.ping(b"flood %d" % number) for number in range(count)))
        case _:
            session.push(odd_frame(exchange, session, fault))


def _shut_down(exchange: Exchange, session: Session, fault: Fault) -> None:
    event = {"e": "serverShutdown", "E": exchange.now_us() // session.unit}
    message: object = event
    if session.combined:
        message = {"stream": "!serverShutdown", "data": event}
    session.push(wire.text(msgspec.json.encode(message)))
    if fault.duration:
        session.spawn(session.close_later, fault.duration, fault.code)


def odd_frame(exchange: Exchange, session: Session, fault: Fault) -> bytes:
    """The bytes of one odd frame or message."""
    match fault.kind:
        case FaultKind.GARBAGE:
            return b"\x8f\x7f" + exchange.garbage(GARBAGE_BYTES)  # opcode 15 is reserved
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
            return wire.text(_message(session, b'{"e":"trade","t":' + b"9" * 400 + b"}"))
        case FaultKind.WRONG_TYPES:
            return wire.text(
                _message(session, b'{"e":"trade","E":"soon","s":7,"t":"one","p":1.5,"q":null}')
            )
        case FaultKind.UNKNOWN_EVENT:
            return wire.text(_message(session, b'{"e":"somethingNew","E":1,"s":"BTCUSDT"}'))
        case _:
            raise ValueError(f"{fault.kind} is not something sent once")


def _message(session: Session, payload: bytes) -> bytes:
    """``payload`` on the connection's first stream, in the connection's shape."""
    if not session.combined:
        return payload
    name = next(iter(session.attached()), "btcusdt@trade")
    return b'{"stream":"%b","data":%b}' % (name.encode(), payload)

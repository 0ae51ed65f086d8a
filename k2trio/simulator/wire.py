"""Bytes that a well-behaved server library would not write: frames by hand, and broken HTTP.

Source: RFC 6455, section 5.2 (frame layout).
"""

from __future__ import annotations

import struct
from http import HTTPStatus

TEXT, BINARY, CONTINUATION, CLOSE, PING, PONG = 0x1, 0x2, 0x0, 0x8, 0x9, 0xA
FIN, MASK = 0x80, 0x80
MAX_SENT_BYTES = 16 << 20
"""A frame that claims more than this is sent as its header alone."""

EMPTY_CONTINUATION = b"\x00\x00"
NOT_HTTP = b"\x16\x03\x01 this is not HTTP \xff\xfe\r\n\r\n" * 8


def header(first: int, size: int, *, mask: bool = False) -> bytes:
    """The header of a frame, without masking key."""
    flag = MASK if mask else 0
    if size < 126:
        return bytes((first, flag | size))
    if size < 1 << 16:
        return struct.pack("!BBH", first, flag | 126, size)
    return struct.pack("!BBQ", first, flag | 127, size)


def text(payload: bytes) -> bytes:
    """One text frame as servers send them: final, not masked."""
    return header(FIN | TEXT, len(payload)) + payload


def fragments(payload: bytes, parts: int = 3) -> bytes:
    """A text message in several frames; may cut a UTF-8 sequence in two, as is allowed."""
    size = max(1, -(-len(payload) // parts))
    pieces = [payload[start : start + size] for start in range(0, len(payload), size)] or [b""]
    frames: list[bytes] = []
    for index, piece in enumerate(pieces):
        first = (TEXT if index == 0 else CONTINUATION) | (FIN if index == len(pieces) - 1 else 0)
        frames.append(header(first, len(piece)) + piece)
    return b"".join(frames)


def ping(payload: bytes) -> bytes:
    """A ping frame."""
    return header(FIN | PING, len(payload)) + payload


def pong(payload: bytes) -> bytes:
    """A pong frame."""
    return header(FIN | PONG, len(payload)) + payload


def close(code: int, reason: str = "") -> bytes:
    """A close frame."""
    payload = struct.pack("!H", code) + reason.encode()
    return header(FIN | CLOSE, len(payload)) + payload


def masked(payload: bytes) -> bytes:
    """A masked text frame, which a server must never send (RFC 6455, section 5.1)."""
    key = b"\x01\x02\x03\x04"
    body = bytes(byte ^ key[index % 4] for index, byte in enumerate(payload))
    return header(FIN | TEXT, len(payload), mask=True) + key + body


def oversize(size: int) -> bytes:
    """A text frame of ``size`` bytes; see :data:`MAX_SENT_BYTES`."""
    if size > MAX_SENT_BYTES:
        return header(FIN | TEXT, size)
    return text(b'"' + b"x" * (size - 2) + b'"')


def http_refusal(status: int, retry_after: float | None, *, complete: bool) -> bytes:
    """An HTTP answer to an upgrade; if not ``complete``, without Content-Length."""
    phrase = HTTPStatus(status).phrase
    body = f'{{"code":-1003,"msg":"{phrase}"}}'.encode()
    lines = [f"HTTP/1.1 {status} {phrase}", "Content-Type: application/json"]
    if retry_after is not None:
        lines.append(f"Retry-After: {retry_after:.0f}")
    if complete:
        lines += [f"Content-Length: {len(body)}", "Connection: close"]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def redirect(location: str) -> bytes:
    """A redirect, which a client of this exchange must not follow."""
    head = f"HTTP/1.1 302 Found\r\nLocation: {location}\r\nContent-Length: 0\r\n"
    return head.encode() + b"Connection: close\r\n\r\n"


def switch(accept: str) -> bytes:
    """A 101 answer with any accept key, right or wrong."""
    head = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    return f"{head}Sec-WebSocket-Accept: {accept}\r\n\r\n".encode()

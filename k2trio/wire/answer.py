"""Reads the answer to the upgrade: where its head ends, and why it is a refusal if it is one.

That the head keeps to RFC 6455 is for trio-websocket to check; it is bounded here, and a refusal is
known as soon as its head is there, without its body.
"""

from __future__ import annotations

import email.utils
import re
from datetime import UTC

from ..errors import ConnectionFailed, HandshakeRefused, ProtocolViolation

MAX_HANDSHAKE_BYTES = 64 * 1024
MAX_RETRY_AFTER_S = 3 * 86400.0
"""The longest ban the exchange documents is three days."""


class AnswerHead:
    """Sans-I/O: bytes in, the head of the answer out."""

    def __init__(self) -> None:
        self._received = bytearray()

    def feed(self, data: bytes) -> tuple[bytes, bytes] | None:
        """The head and what came right behind it; None while the head is incomplete.

        :raises ProtocolViolation: when it is no HTTP, or too long.
        """
        head = self._received
        look_from = max(0, len(head) - 3)
        head += data
        if not head.startswith(b"HTTP/1."[: len(head)]):
            raise ProtocolViolation("the answer to the upgrade is not HTTP/1.1")
        end = head.find(b"\r\n\r\n", look_from)
        if (len(head) if end < 0 else end + 4) > MAX_HANDSHAKE_BYTES:
            raise ProtocolViolation(f"handshake of more than {MAX_HANDSHAKE_BYTES} bytes")
        return None if end < 0 else (bytes(head[: end + 4]), bytes(head[end + 4 :]))


_status_line = re.compile(r"HTTP/1\.\d (\d{3})(?: .*)?", re.ASCII).fullmatch


def refusal(head: bytes, wall_time: float) -> ConnectionFailed:
    """What a response other than 101 means: status and ``Retry-After`` (RFC 9110, 10.2.3)."""
    first, *lines = head.decode("latin-1").split("\r\n")
    found = _status_line(first)
    if found is None or int(found[1]) < 200:
        return ProtocolViolation(f"bad status line {first[:80]!r}")
    retry_after = None
    for line in lines:
        name, _, value = line.partition(":")
        if name.strip().lower() == "retry-after":
            retry_after = _retry_after(value.strip(), wall_time)
    return HandshakeRefused(int(found[1]), retry_after)


def _retry_after(value: str, wall_time: float) -> float | None:
    if value.isascii() and value.isdigit():
        return min(float(value[:10]), MAX_RETRY_AFTER_S)
    try:
        date = email.utils.parsedate_to_datetime(value)
        at = (date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp()
    except (ValueError, TypeError, IndexError, OverflowError):  # it is no date (docs: ValueError)
        return None
    return min(max(0.0, at - wall_time), MAX_RETRY_AFTER_S)

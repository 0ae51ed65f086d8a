"""Cuts text messages out of the bytes of a WebSocket, and checks what it cuts.

Nothing behind this looks at the frames again, so it has to find every violation of RFC 6455: a
masked frame, a reserved bit, an unknown opcode, a fragmented or long control frame, a continuation
without a start, a length that is not in its shortest form (section 5.2 to 5.5), or bad UTF-8 (8.1).
Our own bounds: bytes of a message, parts of a message. What came before a violation is delivered
before it, however the bytes were split.
"""

from __future__ import annotations

from struct import Struct
from typing import NamedTuple

from ..compiled import core
from ..errors import MessageTooBig, ProtocolViolation

MAX_PARTS = 4096
"""Fragments of one message."""

_TEXT, _CONTINUATION, _BINARY, _CLOSE, _PING, _PONG = 0x1, 0x0, 0x2, 0x8, 0x9, 0xA
_FIN = 0x80
_FIN_TEXT_16BIT = 0x817E
_FEW_BYTES = 1024
"""A read up to which it is worth looking whether it is just a few frames."""
_two_shorts = Struct(">HH").unpack_from


class Scan(NamedTuple):
    """What one read held.

    :ivar texts: complete text messages.
    :ivar pongs: pong frames, verbatim.
    :ivar ping: the last ping frame, verbatim; only the latest needs an answer (RFC 6455, 5.5.3).
    """

    texts: list[bytes]
    pongs: bytes
    ping: bytes


class FrameScanner:
    """Sans-I/O: bytes in, messages out. After a close frame or a violation it ignores the rest.

    :param pure: whether to do without the compiled core.
    :ivar violation: why the stream cannot be read on, once that is so.
    """

    def __init__(self, max_message_bytes: int, *, pure: bool = False) -> None:
        self._compiled_cut = None if pure or core is None else core.cut
        self._cut_run = self._compiled_cut or _cut_run
        self._max = max_message_bytes
        self._rest = bytearray()
        self._wanted = 0
        self._parts: list[bytes] | None = None
        self._parts_bytes = 0
        self.violation: ProtocolViolation | None = None
        self.close_code: int | None = None
        self.close_reason: str = ""
        self.closed: bool = False

    def few(self, data: bytes) -> list[bytes] | None:
        """The messages of a read that is nothing but a few text frames, by the least work.

        None for everything else, of which nothing was taken then: it is for :meth:`feed`. To be
        asked while there is no violation, and no close frame has come.
        """
        size = len(data)
        if size > _FEW_BYTES or self._rest or self._parts is not None:
            return None
        at, texts, longest = 0, list[bytes](), self._max
        if self._compiled_cut is not None:
            return texts if self._compiled_cut(data, 0, longest, texts) == size else None
        while size - at > 4:
            head, length = _two_shorts(data, at)
            at += 4
            if head != _FIN_TEXT_16BIT or not 126 <= length <= longest:
                return None
            texts.append(data[at : at + length])
            at += length
        if at != size:
            return None
        for text in texts:
            if not text.isascii():
                return None
        return texts

    def feed(self, data: bytes) -> Scan:
        """Scan the next bytes of the stream; look at :attr:`violation` afterwards."""
        if self.closed or self.violation is not None:
            return Scan([], b"", b"")
        if self._rest:
            if len(self._rest) + len(data) < self._wanted:
                self._rest += data
                return Scan([], b"", b"")
            data = b"".join((self._rest, data))
        texts: list[bytes] = []
        try:
            return self._scan(data, texts)
        except ProtocolViolation as violation:
            self.violation = violation
            self._rest.clear()
            self._parts = None
            return Scan(texts, b"", b"")

    def _scan(self, data: bytes, texts: list[bytes]) -> Scan:
        pongs = ping = b""
        at, size, longest = 0, len(data), self._max
        self._wanted = 0
        while True:
            if self._parts is None:
                at = self._cut_run(data, at, longest, texts)
            if size - at < 2:
                break
            head = data[at] << 8 | data[at + 1]
            length = head & 0xFF
            start = at + 2
            if length >= 126:
                self._check_head(head, 0)
                start = at + (4 if length == 126 else 10)
                if size < start:
                    break
                shortest = 126 if length == 126 else 65536
                length = int.from_bytes(data[at + 2 : start])
                if length < shortest:
                    raise ProtocolViolation("frame length is not in its shortest form")
            if length > longest:
                self._check_head(head, 0)
                raise MessageTooBig(f"message of {length} bytes; the bound is {longest}")
            end = start + length
            if size < end:
                self._check_head(head, length)
                self._wanted = end - at
                break
            self._check_head(head, length)
            opcode = head >> 8 & 0x0F
            if opcode == _PING:
                ping = data[at:end]
            elif opcode == _PONG:
                pongs += data[at:end]
            elif opcode == _CLOSE:
                self._closing(data[start:end])
                return Scan(texts, pongs, b"")
            else:
                self._add_part(opcode, data[start:end], texts, final=head >> 15 != 0)
            at = end
        self._rest = bytearray(data[at:])
        return Scan(texts, pongs, ping)

    def _check_head(self, head: int, length: int) -> None:
        """Check the first two bytes of a frame, and its length as far as it is known."""
        first, second = head >> 8, head & 0xFF
        opcode = first & 0x0F
        if second & 0x80:
            raise ProtocolViolation("masked frame from the server")
        if first & 0x70:
            raise ProtocolViolation("reserved bits are set, though no extension was agreed on")
        if opcode in (_CLOSE, _PING, _PONG):
            if not first & _FIN or second & 0x7F > 125:
                raise ProtocolViolation("fragmented or oversized control frame")
        elif opcode == _CONTINUATION:
            if self._parts is None:
                raise ProtocolViolation("continuation frame without a message to continue")
            if self._parts_bytes + length > self._max:
                raise MessageTooBig(f"fragmented message of more than {self._max} bytes")
        elif opcode == _TEXT:
            if self._parts is not None:
                raise ProtocolViolation("new message inside a fragmented one")
        elif opcode == _BINARY:
            raise ProtocolViolation("binary frame; the exchange sends text")
        else:
            raise ProtocolViolation(f"unknown opcode {opcode}")

    def _add_part(self, opcode: int, payload: bytes, texts: list[bytes], *, final: bool) -> None:
        if opcode == _TEXT:
            self._parts, self._parts_bytes = [], 0
        assert self._parts is not None  # noqa: S101 - _check_head refused the other case
        self._parts.append(payload)
        self._parts_bytes += len(payload)
        if len(self._parts) > MAX_PARTS:
            raise ProtocolViolation(f"message of more than {MAX_PARTS} fragments")
        if final:
            message = b"".join(self._parts)
            self._parts = None
            _check_utf8(message)
            texts.append(message)

    def _closing(self, payload: bytes) -> None:
        self.closed = True
        self._rest.clear()
        self._parts = None
        if len(payload) >= 2:
            self.close_code = payload[0] << 8 | payload[1]
            self.close_reason = payload[2:].decode("utf-8", "replace")[:123]


def _cut_run(data: bytes, at: int, longest: int, texts: list[bytes]) -> int:
    """Cut the run of complete, unfragmented text frames with a 16-bit length that begins here.

    That is nearly all of the traffic, so this loop does the least that decides it: what it does not
    take, for whatever reason, is looked at by the caller.

    :returns: where the run ends.
    """
    already = len(texts)
    size, add, heads = len(data), texts.append, _two_shorts
    last = size - 4
    while at <= last:
        head, length = heads(data, at)
        if head != _FIN_TEXT_16BIT or not 126 <= length <= longest:
            break
        start = at + 4
        end = start + length
        if end > size:
            break
        add(data[start:end])
        at = end
    run = texts[already:] if already else texts
    # One look at all of them is cheaper than one at each; few messages are anything but ASCII.
    if not b"".join(run).isascii():
        for index, text in enumerate(run, already):
            try:
                _check_utf8(text)
            except ProtocolViolation:
                del texts[index:]
                raise
    return at


def _check_utf8(payload: bytes) -> None:
    try:
        payload.decode()
    except UnicodeDecodeError as error:
        raise ProtocolViolation(f"text frame is not UTF-8: {error.reason}") from error

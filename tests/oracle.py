"""What a WebSocket's byte stream holds according to wsproto, and the stream cut into pieces."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

from peer import PING, PONG, frame
from wsproto.frame_protocol import FrameProtocol, Opcode, ParseFailed

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


def split(data: bytes, cuts: Sequence[int]) -> Iterator[bytes]:
    """The stream in pieces, as TCP may bring it."""
    places = sorted({cut % (len(data) + 1) for cut in cuts} | {0, len(data)})
    for start, end in itertools.pairwise(places):
        yield data[start:end]


def ask_wsproto(data: bytes) -> tuple[list[bytes], list[bytes], bytes, str | None]:
    """What wsproto makes of the stream: texts, pings, pong and close frames, its complaint."""
    oracle = FrameProtocol(client=True, extensions=[])
    texts: list[bytes] = []
    pings: list[bytes] = []
    pongs = b""
    parts: list[str] = []
    try:
        oracle.receive_bytes(data)
        for found in oracle.received_frames():
            match found.opcode, found.payload:
                case Opcode.TEXT, str(part):
                    parts.append(part)
                    if found.message_finished:
                        texts.append("".join(parts).encode())
                        parts = []
                case Opcode.PING, payload:
                    pings.append(frame(PING, bytes(payload)))
                case Opcode.PONG, payload:
                    pongs += frame(PONG, bytes(payload))
                case Opcode.CLOSE, _:
                    return texts, pings, pongs, None  # nothing follows a close frame
                case _:
                    pass  # binary, which we refuse
    except ParseFailed as complaint:
        return texts, pings, pongs, str(complaint)
    return texts, pings, pongs, None

"""Events for sinks, and the numbers that files of lines hold of them, plain or compressed."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import zstandard

from k2trio.market.payloads import Event, frame_of

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

STREAM = "btcusdt@trade"


def event(number: int, padding: int = 0) -> Event:
    """A message that says a number, and so many bytes beside."""
    payload = b'{"t":%d,"x":"%s"}' % (number, b"x" * padding)
    return Event(None, STREAM, "venue", 1700000000.25 + number, frame_of(STREAM, payload))


def events(numbers: Iterable[int]) -> list[Event]:
    """One for each."""
    return [event(number) for number in numbers]


def content(path: Path) -> bytes:
    """The lines of a file, which must be whole frames if it is compressed."""
    data = path.read_bytes()
    if not path.name.endswith(".zst"):
        return data
    text = b""
    while data:
        reader = zstandard.ZstdDecompressor().decompressobj()
        text += reader.decompress(data)
        assert reader.eof, "half a frame"
        data = reader.unused_data
    return text


def numbers(path: Path) -> list[int]:
    """What the messages of a file say; fails unless every line is whole."""
    text = content(path)
    assert text == b"" or text.endswith(b"\n")
    return [json.loads(line)["data"]["t"] for line in text.splitlines()]

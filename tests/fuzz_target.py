"""What ``fuzz_core.py`` runs on every input, under the sanitizers and coverage-guided.

The first byte of an input says how it is read, the second how large the pieces are in which it
arrives. The rest is the bytes of a WebSocket; or texts between marks, each of which becomes a
frame, so that a changed length does not spoil what follows. The compiled core and the pure path
have to make the same of it: messages, events, remarks, lines, decisions, books.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import atheris
from fuzz_core import MARK
from peer import text
from written import STREAMS

with atheris.instrument_imports(include=["k2trio.market.decoder", "k2trio.wire.scanner"]):
    from k2trio.compiled import core
    from k2trio.continuity.arbiter import Arbiter
    from k2trio.market.decoder import Decoder
    from k2trio.market.payloads import Depth
    from k2trio.sinks.lines import encode_lines, encode_lines_purely
    from k2trio.wire.scanner import FrameScanner

if TYPE_CHECKING:
    from collections.abc import Iterator

    from k2trio.market.payloads import Event

MOST = 1 << 16
"""Bytes of a message."""
RAW, MANY, SOME = 1, 2, 4
"""Bits of the first byte: bytes of a WebSocket; more streams than get a type each; only half of
them are known."""
MANY_STREAMS = [f"coin{number}usdt@trade" for number in range(200)]


def pieces_of(data: bytes) -> Iterator[bytes]:
    """The stream of bytes that an input stands for, in pieces."""
    how, size, rest = data[0], 5 * data[1], data[2:]
    wire = rest if how & RAW else b"".join(map(text, rest.split(MARK)))
    size = size or len(wire) or 1
    for at in range(0, len(wire), size):
        yield wire[at : at + size]


def outcome(data: bytes, *, pure: bool) -> Any:
    """Everything that comes of an input."""
    streams = STREAMS[::2] if data[0] & SOME else STREAMS
    scanner, decoder = FrameScanner(MOST, pure=pure), Decoder("venue", pure=pure)
    decoder.expect([*streams, *MANY_STREAMS] if data[0] & MANY else streams)
    arbiter, lines = Arbiter(100), encode_lines_purely if pure else encode_lines
    found: list[Any] = []
    for now, piece in enumerate(pieces_of(data)):
        scan = scanner.feed(piece)
        found.append((scan, str(scanner.violation), scanner.close_code, scanner.close_reason))
        if not scan.texts:
            continue
        events, remarks = decoder.decode(scan.texts, 1.79e9 + now)
        found += (events, repr(events), remarks)
        found.append(lines(events))
        found.append([levels_of(event) for event in events if isinstance(event.data, Depth)])
        if events:
            decision = arbiter.offer("venue", events, float(now), None, decoder.runs)
            found += (decision, lines(decision.items))
    found.append([track.coverage() for track in arbiter.tracks])
    return found


def levels_of(event: Event[Any]) -> Any:
    """What is looked up in levels."""
    bids, asks = event.data.bids, event.data.asks
    return list(bids), asks[::-1], len(bids), bids == asks, asks[:1] == bids[-1:]


def one_input(data: bytes) -> None:
    """Compare what both paths make of an input."""
    if len(data) < 2:
        return
    compiled, pure = outcome(data, pure=False), outcome(data, pure=True)
    for mine, theirs in zip(compiled, pure, strict=True):
        if mine != theirs:
            raise AssertionError(f"compiled: {mine!r}\n    pure: {theirs!r}")


if __name__ == "__main__":
    assert core is not None
    atheris.Setup(sys.argv, one_input)
    atheris.Fuzz()

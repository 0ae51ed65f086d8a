"""The compiled core gives what the pure path gives: same events, same remarks, same order, however
the bytes are split.
"""

from __future__ import annotations

import itertools
import json
import os
import random
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from oracle import split
from peer import PING, frame, text
from written import FUTURES, FUTURES_VENUE, STREAMS, VENUE, frames, needs_core

from k2trio.market.decoder import Decoder
from k2trio.wire.scanner import FrameScanner

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

pytestmark = needs_core
MOST = 1 << 20
ALPHABET = b'0123456789"{}[],.:eE-+ \\u\x00\xff\xc3\xb6\x80taMsdT\n'


PRODUCTS = [(VENUE, STREAMS), (FUTURES_VENUE, FUTURES)]


def outcome(
    pieces: Iterable[bytes], streams: Sequence[str], venue: str = VENUE, *, pure: bool
) -> Any:
    """Everything that comes of bytes."""
    scanner = FrameScanner(MOST, pure=pure)
    decoder = Decoder(venue, pure=pure)
    decoder.expect(streams)
    events, remarks, others = [], [], b""
    for piece in pieces:
        scan = scanner.feed(piece)
        others += scan.pongs + scan.ping
        if scan.texts:
            found, said = decoder.decode(scan.texts, 1.79e9)
            events += found
            remarks += said
    return [repr(event) for event in events], events, remarks, others, str(scanner.violation)


def mutated(payload: bytes, rng: random.Random) -> bytes:
    """The payload with some bytes changed, lost, doubled, or turned round."""
    data = bytearray(payload)
    for _ in range(rng.choice((1, 1, 1, 2, 5))):
        at, what = rng.randrange(len(data)), rng.random()
        if what < 0.5:
            data[at] = rng.choice(ALPHABET)
        elif what < 0.7:
            del data[at]
        elif what < 0.85:
            data.insert(at, rng.choice(ALPHABET))
        else:
            end = min(len(data), at + rng.randrange(1, 40))
            data[at:end] = data[at:end] * rng.choice((0, 2))
        if not data:
            return b"{}"
    return bytes(data)


@pytest.mark.parametrize(("venue", "streams"), PRODUCTS)
@settings(max_examples=100)
@given(st.integers(0, 2**32), st.lists(st.integers(0, 2**20), max_size=40))
def test_the_same_comes_of_all_bytes_however_they_are_split(
    venue: str, streams: tuple[str, ...], seed: int, cuts: list[int]
) -> None:
    rng = random.Random(seed)
    written = list(itertools.islice(frames(seed, streams), 40))
    for at in rng.sample(range(40), rng.choice((0, 0, 1, 10))):
        written[at] = mutated(written[at], rng)
    wire = b"".join(frame(PING, b"now") if rng.random() < 0.05 else text(one) for one in written)
    pieces = list(split(wire, cuts))
    known = rng.sample(streams, rng.choice((len(streams), 4, 1)))
    ours = outcome(pieces, known, venue, pure=False)
    assert ours == outcome(pieces, known, venue, pure=True)


@pytest.mark.parametrize(("venue", "streams"), PRODUCTS)
@pytest.mark.parametrize("seed", range(10))
def test_the_same_comes_of_every_mutation(seed: int, venue: str, streams: tuple[str, ...]) -> None:
    rng = random.Random(seed)
    for whole in itertools.islice(frames(seed, streams), 200):
        one = mutated(whole, rng)
        decoded = []
        for pure in (False, True):
            decoder = Decoder(venue, pure=pure)
            decoder.expect(streams)
            events, remarks = decoder.decode([one], 1.79e9)
            decoded.append((repr(events), repr(remarks)))
        assert decoded[0] == decoded[1]


@pytest.mark.parametrize(("venue", "streams"), PRODUCTS)
def test_what_the_exchange_writes_is_taken_by_the_core(
    venue: str, streams: tuple[str, ...]
) -> None:
    decoder = Decoder(venue)
    decoder.expect(streams)
    assert decoder._core is not None
    whole = list(itertools.islice(frames(1, streams), 1000))
    assert Decoder(venue, pure=True)._core is None
    left = {json.loads(whole[at])["stream"] for at in decoder._core.decode(whole, 1.79e9)[1]}
    assert left == {streams[-1]}


@pytest.mark.skipif("K2TRIO_RECORDED" not in os.environ, reason="K2TRIO_RECORDED is not set")
def test_what_the_exchange_wrote_is_taken_by_the_core() -> None:
    path = Path(os.environ["K2TRIO_RECORDED"]) / "spot.frames.jsonl"
    recorded = [json.loads(line)["frame"] for line in path.read_text().splitlines()]
    # One object a line, written as JSON libraries do; the exchange writes no spaces.
    whole = [
        json.dumps(one, separators=(",", ":"), ensure_ascii=False).encode() for one in recorded
    ]
    streams = sorted({json.loads(one)["stream"] for one in whole})
    decoded = []
    for pure in (False, True):
        decoder = Decoder("venue", pure=pure)
        decoder.expect(streams)
        if decoder._core is not None:
            assert decoder._core.decode(whole, 1.79e9)[1] == []
        decoded.append(decoder.decode(whole, 1.79e9))
    assert decoded[0] == decoded[1]
    assert len(decoded[0][0]) == len(whole)


@pytest.mark.parametrize(
    "number",
    ["0", "-0", "-1", "00", "01", "-", "", "1.0", "1e3", "1E400", "true", "null", '"1"']
    + [sign + text for sign in ("", "-") for text in ("9" * 18, "1" + "0" * 18, "9" * 19)]
    + [str(edge) for edge in (2**63 - 1, 2**63, -(2**63), -(2**63) - 1, 2**64, 10**40)],
)
def test_the_same_comes_of_every_integer(number: str) -> None:
    whole = next(frames(7, ("btcusdt@trade",)))
    for key in (b"E", b"t", b"T"):
        head, _, tail = whole.partition(b'"' + key + b'":')
        one = b"".join((head, b'"', key, b'":', number.encode(), tail[tail.index(b",") :]))
        assert outcome([text(one)], STREAMS, pure=False) == outcome([text(one)], STREAMS, pure=True)


def test_events_share_what_they_have_in_common() -> None:
    whole = list(itertools.islice(frames(3, ("btcusdt@trade",)), 50))
    decoder = Decoder("venue")
    decoder.expect(["btcusdt@trade"])
    events, _ = decoder.decode(whole, 1.79e9)
    assert len({id(event.stream) for event in events}) == 1
    assert len({id(event.data.symbol) for event in events}) == 1
    assert all(event.frame is one for event, one in zip(events, whole, strict=True))


def test_streams_come_and_go_while_it_runs() -> None:
    both = ("btcusdt@trade", "ethusdt@trade")
    whole = list(itertools.islice(frames(4, both), 20))
    decoder = Decoder("venue", lambda name: name == "btcusdt@trade")
    decoder.expect(["btcusdt@trade"])
    events, remarks = decoder.decode(whole, 1.79e9)
    assert {event.stream for event in events} == {"btcusdt@trade"}
    assert len(events) + len(remarks) == 20
    decoder.expect(["ethusdt@trade"])
    assert len(decoder.decode(whole, 1.79e9)[0]) == 20


@pytest.mark.parametrize(
    "wrong",
    [
        [b"x", "text"],
        [None],
    ],
)
def test_what_is_no_frame_is_refused(wrong: list[Any]) -> None:
    decoder = Decoder("venue")
    assert decoder._core is not None
    with pytest.raises(TypeError, match="bytes"):
        decoder._core.decode(wrong, 1.0)

"""The scanner against wsproto as the oracle."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from oracle import ask_wsproto, split
from peer import BINARY, CLOSE, CONTINUATION, PING, PONG, TEXT, close, frame, text

from k2trio.errors import MessageTooBig, ProtocolViolation
from k2trio.wire.scanner import MAX_PARTS, FrameScanner

if TYPE_CHECKING:
    from collections.abc import Sequence

MAX = 70_000


class Outcome:
    """Everything that a scanner gives for a stream."""

    def __init__(self, pieces: Sequence[bytes], limit: int = MAX) -> None:
        self.scanner = FrameScanner(limit)
        self.texts: list[bytes] = []
        self.pongs = b""
        self.pings: list[bytes] = []
        for piece in pieces:
            # As the tap does: the short way, where it is one.
            over = self.scanner.closed or self.scanner.violation is not None
            few = None if over else self.scanner.few(piece)
            if few is not None:
                self.texts += few
                continue
            scan = self.scanner.feed(piece)
            self.texts += scan.texts
            self.pongs += scan.pongs
            if scan.ping:
                self.pings.append(scan.ping)
            parts = sum(map(len, self.scanner._parts or ()))
            assert parts <= limit
            assert len(self.scanner._rest) <= limit + 10

    @property
    def violation(self) -> ProtocolViolation | None:
        return self.scanner.violation


def one_by_one(data: bytes) -> list[bytes]:
    return [data[at : at + 1] for at in range(len(data))]


SIZES = st.one_of(
    st.integers(0, 40), st.sampled_from([124, 125, 126, 127, 128, 65535, 65536, 65537])
)
CONTROL = st.builds(
    frame, st.sampled_from([PING, PONG]), st.one_of(st.binary(max_size=20), st.just(b"x" * 125))
)


@st.composite
def payloads(draw: Any) -> bytes:
    letter = draw(st.sampled_from(["a", "é", "€", "😀"])).encode()
    size = draw(SIZES)
    return bytes(letter * (size // len(letter)) + b"." * (size % len(letter)))


@st.composite
def fragmented(draw: Any) -> bytes:
    """A message in parts, cut anywhere (inside a character too), with control frames between."""
    payload = draw(payloads())
    pieces = list(split(payload, draw(st.lists(st.integers(0, MAX), max_size=4)))) or [b""]
    pieces += [b""] * draw(st.integers(0, 2))
    out = b""
    for index, piece in enumerate(pieces):
        if index:
            out += b"".join(draw(st.lists(CONTROL, max_size=2)))
        opcode = CONTINUATION if index else TEXT
        out += frame(opcode, piece, fin=index == len(pieces) - 1)
    return out


CLOSES = st.builds(close, st.sampled_from([1000, 1001, 1008, 4999]), st.sampled_from(["", "bye €"]))
STREAMS = st.builds(
    lambda frames, end: b"".join(frames) + end,
    st.lists(st.one_of(payloads().map(text), fragmented(), CONTROL), max_size=8),
    st.one_of(st.just(b""), CLOSES, st.just(frame(CLOSE))),
)
CUTS = st.lists(st.integers(0, 4 * MAX), max_size=12)

VIOLATIONS = {
    "masked": b"\x81\x81\x00\x00\x00\x00a",
    "masked, long": b"\x81\xfe",
    "reserved bit 1": b"\xc1\x01a",
    "reserved bit 2": b"\xa1\x01a",
    "reserved bit 3": b"\x91\x01a",
    "reserved bit, long": b"\x91\x7e",
    "reserved bit of a control frame": b"\xc9\x00",
    "opcode 3": b"\x83\x01a",
    "opcode 7": b"\x87\x00",
    "opcode 11": b"\x8b\x00",
    "opcode 15": b"\x8f\x01a",
    "fragmented ping": b"\x09\x00",
    "fragmented pong": b"\x0a\x00",
    "fragmented close": b"\x08\x00",
    "long ping": b"\x89\x7e\x00\x7e",
    "longer pong": b"\x8a\x7f",
    "long close": b"\x88\x7e\x00\x7e",
    "orphan continuation": b"\x80\x01a",
    "orphan unfinished continuation": b"\x00\x01a",
    "nested message": b"\x01\x01a\x81\x01b",
    "nested fragmented message": b"\x01\x01a\x01\x01b",
    "nested message, 16 bits": b"\x01\x01a\x81\x7e\x00\x80",
    "16 bits where 7 do": frame(TEXT, b"a" * 125, form=16),
    "64 bits where 7 do": frame(TEXT, b"a", form=64),
    "64 bits where 16 do": frame(TEXT, b"a" * 65535, form=64),
    "16 bits where 7 do, continued": b"\x01\x00" + frame(CONTINUATION, b"a", form=16),
    "top bit of 64": b"\x81\x7f\x80\x00\x00\x00\x00\x00\x00\x00",
    "bad UTF-8": text(b"\xff"),
    "overlong UTF-8": text(b"\xc0\x80"),
    "surrogate": text(b"\xed\xa0\x80"),
    "cut UTF-8": text("€".encode()[:2]),
    "bad UTF-8, long": text(b"a" * 200 + b"\x80"),
    "bad UTF-8 across parts": frame(TEXT, b"\xe2", fin=False) + frame(CONTINUATION, b"x"),
}
OUR_OWN = {
    "binary": frame(BINARY, b"a"),
    "binary, unfinished": frame(BINARY, b"a", fin=False),
    "oversize": b"\x81\x7f" + struct.pack("!Q", MAX + 1),
    "oversize part": b"\x01\x7f" + struct.pack("!Q", MAX + 1),
    "oversize in parts": frame(TEXT, b"a" * MAX, fin=False) + b"\x80\x01",
    "endless empty parts": frame(TEXT, fin=False) + frame(CONTINUATION, fin=False) * MAX_PARTS,
}
TOO_BIG = {"oversize", "oversize part", "oversize in parts", "top bit of 64"}


@settings(max_examples=150, deadline=None)
@given(STREAMS, CUTS)
@example(text("a" * 65536) + close(), [])
@example(
    frame(TEXT, b"\xe2\x82", fin=False) + frame(PING, b"p") + frame(CONTINUATION, b"\xac"), [4]
)
def test_messages_and_controls_are_wsprotos_however_the_bytes_are_split(
    stream: bytes, cuts: list[int]
) -> None:
    texts, pings, pongs, complaint = ask_wsproto(stream)
    outcome = Outcome(list(split(stream, cuts)))
    assert complaint is None
    assert outcome.violation is None
    assert outcome.texts == texts
    assert outcome.pongs == pongs
    assert set(outcome.pings) <= set(pings)
    if pings and not outcome.scanner.closed:
        assert outcome.pings[-1] == pings[-1]


@settings(max_examples=50, deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from(["a", "é"]), st.sampled_from([125, 126, 127, 300])), max_size=4
    ),
    st.sampled_from([b"", frame(PING), b"\x81", b"\x81\x7e\x00", b"\x81\x7e\x00\x7d"]),
)
def test_the_short_way_takes_all_of_a_read_or_nothing(
    messages: list[tuple[str, int]], behind: bytes
) -> None:
    read = b"".join(text(letter * size) for letter, size in messages) + behind
    scanner = FrameScanner(MAX)
    few = scanner.few(read)
    simple = not behind and all(letter == "a" and size > 125 for letter, size in messages)
    assert few is not None or not simple or len(read) > 1024
    if few is not None:
        assert few == FrameScanner(MAX).feed(read).texts
    scan = scanner.feed(read)
    assert scan.texts == FrameScanner(MAX).feed(read).texts, "nothing was taken"


def test_the_short_way_is_none_in_the_midst_of_a_message() -> None:
    for begun in (text("a" * 200)[:100], frame(TEXT, b"a", fin=False)):
        scanner = FrameScanner(MAX)
        scanner.feed(begun)
        assert scanner.few(text("b" * 200)) is None


@given(STREAMS.filter(lambda stream: len(stream) < 1500))
def test_one_byte_at_a_time_gives_every_message_and_every_ping(stream: bytes) -> None:
    texts, pings, pongs, _ = ask_wsproto(stream)
    outcome = Outcome(one_by_one(stream))
    assert (outcome.texts, outcome.pings, outcome.pongs) == (texts, pings, pongs)


@pytest.mark.parametrize("name", VIOLATIONS)
def test_wsproto_finds_the_same_violations(name: str) -> None:
    assert ask_wsproto(VIOLATIONS[name] + b"\x00" * 20)[3] is not None


@pytest.mark.parametrize("pieces", ["whole", "bytes", "with what came before"])
@pytest.mark.parametrize("name", [*VIOLATIONS, *OUR_OWN])
def test_a_violation_is_found_in_any_segmentation_and_before_its_payload_is_complete(
    name: str, pieces: str
) -> None:
    bad = (VIOLATIONS | OUR_OWN)[name]
    before = text("first") + frame(PONG, b"p") + text("a" * 300)
    match pieces:
        case "whole":
            outcome = Outcome([before, bad])
        case "bytes":
            outcome = Outcome([before, *one_by_one(bad)])
        case _:
            outcome = Outcome([before + bad])
    assert isinstance(outcome.violation, ProtocolViolation)
    assert isinstance(outcome.violation, MessageTooBig) == (name in TOO_BIG)
    assert outcome.texts == [b"first", b"a" * 300], "what came before is delivered"


@settings(max_examples=100, deadline=None)
@given(
    st.lists(payloads(), max_size=3),
    st.sampled_from(sorted(VIOLATIONS | OUR_OWN)),
    st.binary(max_size=50),
    CUTS,
)
def test_nothing_after_a_violation_is_read(
    before: list[bytes], name: str, after: bytes, cuts: list[int]
) -> None:
    stream = b"".join(map(text, before)) + (VIOLATIONS | OUR_OWN)[name]
    outcome = Outcome([*split(stream, cuts), after, text("late")])
    assert outcome.texts == before
    assert outcome.violation is not None
    assert not outcome.scanner._rest


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=600), CUTS)
def test_random_bytes_raise_nothing_and_stay_within_bounds(noise: bytes, cuts: list[int]) -> None:
    outcome = Outcome(list(split(noise, cuts)), limit=64)
    assert outcome.violation is None or isinstance(outcome.violation, ProtocolViolation)
    assert all(len(message) <= 64 for message in outcome.texts)


@settings(max_examples=200, deadline=None)
@given(STREAMS, st.integers(0, 2000), st.integers(0, 255), CUTS)
def test_a_flipped_byte_gives_wsprotos_messages_up_to_the_first_complaint(
    stream: bytes, place: int, value: int, cuts: list[int]
) -> None:
    if place < len(stream):
        stream = stream[:place] + bytes((value,)) + stream[place + 1 :]
    texts, _, _, complaint = ask_wsproto(stream)
    outcome = Outcome(list(split(stream, cuts)))
    ours = outcome.violation
    if ours is None:
        # The contents of a close frame are left to wsproto.
        assert complaint is None or outcome.scanner.closed or outcome.texts == texts
    elif not isinstance(ours, MessageTooBig) and "binary" not in str(ours):
        assert outcome.texts == texts


@given(st.integers(0, 5), CUTS)
def test_what_follows_a_close_frame_is_ignored(count: int, cuts: list[int]) -> None:
    stream = text("a") * count + close(1001, "going") + text("late") + b"\xff" * 9
    outcome = Outcome(list(split(stream, cuts)))
    assert outcome.texts == [b"a"] * count
    assert outcome.violation is None
    assert (outcome.scanner.close_code, outcome.scanner.close_reason) == (1001, "going")


def test_the_bound_of_a_message_is_inclusive_whole_and_in_parts() -> None:
    whole = text(b"a" * 1024)
    parts = frame(TEXT, b"a" * 1000, fin=False) + frame(PING, b"p") + frame(CONTINUATION, b"a" * 24)
    assert Outcome([whole, parts], limit=1024).texts == [b"a" * 1024] * 2
    assert isinstance(Outcome([text(b"a" * 1025)], limit=1024).violation, MessageTooBig)


def test_a_large_message_in_small_reads_is_not_copied_at_each_of_them() -> None:
    """Else a peer that drips costs the square of the message's size."""
    scanner = FrameScanner(1 << 20)
    stream = text(b"a" * (1 << 20))
    scans = 0
    real = scanner._scan

    def counted(data: bytes, texts: list[bytes]) -> Any:
        nonlocal scans
        scans += 1
        return real(data, texts)

    scanner._scan = counted  # type: ignore[method-assign]
    found = [
        message
        for at in range(0, len(stream), 100)
        for message in scanner.feed(stream[at : at + 100]).texts
    ]
    assert found == [b"a" * (1 << 20)]
    assert scans == 2

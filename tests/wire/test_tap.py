"""The tap's bounds in virtual time."""

from __future__ import annotations

import email.utils
import struct
import time
from contextlib import suppress

import pytest
import trio
import trio.testing
from hypothesis import given, settings
from hypothesis import strategies as st
from oracle import ask_wsproto, split
from peer import CLOSE, PING, PONG, close, frame, text

from k2trio.errors import Dropped, HandshakeRefused, ProtocolViolation, Reset
from k2trio.simulator import memory_pair
from k2trio.wire.answer import MAX_HANDSHAKE_BYTES, MAX_RETRY_AFTER_S
from k2trio.wire.pings import PINGS_PER_S
from k2trio.wire.tap import MESSAGE_OVERHEAD_BYTES, SEND_TIMEOUT_S, Batch, FrameTap

MAX = 70_000
SWITCHING = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n"
CUTS = st.lists(st.integers(0, 4 * MAX), max_size=12)


class Wire(trio.abc.Stream):
    """A transport that brings the given pieces, one a read, and notes what is sent.

    A number among the pieces is a pause in seconds; after the last piece comes silence, or the
    given error, or the end.
    """

    def __init__(self, *pieces: bytes | float | BaseException) -> None:
        self.pieces = list(pieces)
        self.reads = 0
        self.sent: list[bytes] = []
        self.send_delay = 0.0

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        await trio.lowlevel.checkpoint()
        while self.pieces:
            match self.pieces[0]:
                case bytes(piece):
                    self.pieces.pop(0)
                    self.reads += 1
                    return piece
                case BaseException() as error:
                    raise error
                case pause:
                    until = trio.current_time() + pause
                    try:
                        await trio.sleep_until(until)
                    finally:
                        self.pieces[0] = max(0.0, until - trio.current_time())
                    self.pieces.pop(0)
        await trio.sleep_forever()
        raise AssertionError

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        await trio.sleep(self.send_delay)
        self.sent.append(bytes(data))

    async def wait_send_all_might_not_block(self) -> None:
        await trio.lowlevel.checkpoint()

    async def aclose(self) -> None:
        await trio.lowlevel.checkpoint()


NOW = 1_767_225_600.0


def tap_on(*pieces: bytes | float | BaseException, **bounds: int) -> FrameTap:
    bounds = {"max_message_bytes": MAX, "max_buffered_bytes": 1 << 20} | bounds
    return FrameTap(Wire(*pieces), wall_clock=lambda: NOW, **bounds)


async def upgraded(*pieces: bytes | float | BaseException, **bounds: int) -> FrameTap:
    tap = tap_on(SWITCHING, *pieces, **bounds)
    assert await tap.receive_some() == SWITCHING
    return tap


async def pump(tap: FrameTap, into: list[tuple[float, bytes]] | None = None) -> None:
    """Read, and do what trio-websocket's reader does; note what it gets."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(tap.read)
        while data := await tap.receive_some(4096):
            if into is not None:
                into.append((trio.current_time(), data))


async def first_control(tap: FrameTap) -> bytes:
    """What trio-websocket's reader gets first."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(tap.read)
        data = await tap.receive_some()
        nursery.cancel_scope.cancel()
    return data


async def everything(tap: FrameTap) -> tuple[list[bytes], Exception]:
    """All messages until the failure, and the failure."""
    found: list[bytes] = []
    try:
        while True:
            found += (await tap.next_batch()).payloads
    except Exception as failure:  # noqa: BLE001 - the caller looks at it
        return found, failure


@pytest.mark.parametrize(
    ("end", "kind"),
    [
        (b"", Dropped),
        (close(1001), Dropped),
        (b"\x83\x00", ProtocolViolation),
        (text(b"\xff"), ProtocolViolation),
        (trio.BrokenResourceError(), Reset),
    ],
)
async def test_messages_before_a_failure_are_delivered_before_it(
    end: bytes | BaseException, kind: type[Exception], autojump_clock: object
) -> None:
    last = (text("b") + end, b"") if isinstance(end, bytes) else (text("b"), end)
    tap = await upgraded(text("a"), *last)
    await pump(tap)
    found, failure = await everything(tap)
    assert found == [b"a", b"b"]
    assert type(failure) is kind
    assert tap.down.is_set()
    with pytest.raises(kind):
        await tap.next_batch()


async def test_a_waiting_consumer_is_woken_by_a_batch_and_by_the_failure(
    autojump_clock: object,
) -> None:
    tap = await upgraded(2.0, text("a"), 3.0, b"")
    log: list[tuple[float, object]] = []

    async def consume() -> None:
        with suppress(Dropped):
            while True:
                batch = await tap.next_batch()
                log.append((trio.current_time(), batch.payloads))
        log.append((trio.current_time(), "failed"))

    start = trio.current_time()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(consume)
        nursery.start_soon(pump, tap)
    assert log == [(start + 2, [b"a"]), (start + 5, "failed")]


async def test_the_first_failure_is_the_one_that_counts(autojump_clock: object) -> None:
    tap = await upgraded()
    tap.fail(Dropped("first", 1001))
    tap.fail(Reset("second"))
    _, failure = await everything(tap)
    assert str(failure) == "first"


@pytest.mark.parametrize(
    ("sent", "said"),
    [
        (close(1001), "close frame 1001"),
        (close(1008, "bye"), "close frame 1008 'bye'"),
        (frame(CLOSE), "close frame"),
    ],
)
async def test_a_close_frame_is_named_and_ends_the_stream(
    sent: bytes, said: str, autojump_clock: object
) -> None:
    tap = await upgraded(sent)
    assert await first_control(tap) == b""
    assert isinstance(tap.failure, Dropped)
    assert str(tap.failure) == said
    assert tap.failure.code == (struct.unpack_from("!H", sent, 2)[0] if len(sent) > 2 else None)


async def test_a_batch_is_one_read_with_its_times(autojump_clock: object) -> None:
    tap = await upgraded(1.5, text("a") + text("b") + text("c")[:1], 1.0, text("c")[1:])
    start = trio.current_time()
    with trio.move_on_after(10):
        await pump(tap)
    assert await tap.next_batch() == ([b"a", b"b"], NOW, start + 1.5)
    assert await tap.next_batch() == ([b"c"], NOW, start + 2.5)


async def test_what_comes_after_a_batch_that_waits_is_not_handed_over_before_it(
    autojump_clock: object,
) -> None:
    tap = await upgraded(1.0, text("a"), 1.0, text("b"), 1.0, text("c"), 1.0, text("d"))
    handed: list[list[bytes]] = []

    def take_all_but_a(batch: Batch) -> bool:
        if batch.payloads == [b"a"]:
            return False
        handed.append(batch.payloads)
        return True

    tap.hand_over = take_all_but_a
    async with trio.open_nursery() as nursery:
        nursery.start_soon(pump, tap)
        await trio.sleep(2.5)
        assert handed == []
        assert [(await tap.next_batch()).payloads for _ in range(2)] == [[b"a"], [b"b"]]
        await trio.sleep(2)
        nursery.cancel_scope.cancel()
    assert handed == [[b"c"], [b"d"]]
    assert tap.buffered_bytes == 0


async def test_reading_stops_at_the_bound_and_goes_on_when_there_is_room(
    autojump_clock: object,
) -> None:
    message = text(b"a" * 1000)
    size = 1000 + MESSAGE_OVERHEAD_BYTES
    tap = await upgraded(*[message] * 10, max_buffered_bytes=3 * size)
    wire = tap._stream
    assert isinstance(wire, Wire)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(pump, tap)
        await trio.sleep(100)
        assert (wire.reads, tap.buffered_bytes, tap.blocked) == (1 + 3, 3 * size, True)
        await tap.next_batch()
        # The silence was ours, so it is not held against the peer.
        assert tap.last_bytes_at == tap.last_text_at == trio.current_time()
        await trio.sleep(100)
        assert (wire.reads, tap.buffered_bytes, tap.blocked) == (1 + 4, 3 * size, True)
        for _ in range(9):
            await tap.next_batch()
            await trio.sleep(1)
        assert (wire.reads, tap.buffered_bytes, tap.blocked) == (1 + 10, 0, False)
        nursery.cancel_scope.cancel()


async def test_a_message_counts_whole_though_its_last_read_was_short(
    autojump_clock: object,
) -> None:
    stream = text(b"a" * 60_000)
    tap = await upgraded(stream[:-1], stream[-1:], text("next"), max_buffered_bytes=60_000)
    with trio.move_on_after(1):
        await pump(tap)
    assert tap.blocked
    assert tap.buffered_bytes >= 60_000


async def test_empty_messages_fill_the_buffer_too(autojump_clock: object) -> None:
    tap = await upgraded(*[text("") * 1000] * 100, max_buffered_bytes=1 << 16)
    with trio.move_on_after(1):
        await pump(tap)
    assert tap.blocked
    assert sum(len(batch.payloads) for batch in tap._batches) < 3000


async def test_pings_are_answered_while_the_consumer_reads_nothing(autojump_clock: object) -> None:
    pieces: list[bytes | float] = []
    for number in range(5):
        pieces += [20.0, text("a" * 500) + frame(PING, b"%d" % number)]
    tap = await upgraded(*pieces)
    start = trio.current_time()
    handed: list[tuple[float, bytes]] = []
    with trio.move_on_after(200):
        await pump(tap, handed)
    assert handed == [(start + 20 * (n + 1), frame(PING, b"%d" % n)) for n in range(5)]


async def test_a_ping_flood_is_thinned_out_and_its_last_ping_answered_without_further_bytes(
    autojump_clock: object,
) -> None:
    pieces: list[bytes | float] = []
    for number in range(100):
        pieces += [0.01, frame(PING, b"%d" % number)]
    tap = await upgraded(*pieces)
    start = trio.current_time()
    handed: list[tuple[float, bytes]] = []
    with trio.move_on_after(60):
        await pump(tap, handed)
    assert [data for _, data in handed] == [frame(PING, b"%d" % n) for n in (0, 1, 99)] or [
        data for _, data in handed
    ] == [frame(PING, b"%d" % n) for n in (0, 1, 98, 99)]
    times = [at - start for at, _ in handed]
    assert times[:2] == [pytest.approx(0.01), pytest.approx(0.02)]
    assert times[2] == pytest.approx(1.01)
    for index in range(len(times) - PINGS_PER_S):
        assert times[index + PINGS_PER_S] - times[index] >= 1 - 1e-9


async def test_pings_of_one_read_are_answered_by_the_last(autojump_clock: object) -> None:
    tap = await upgraded(b"".join(frame(PING, b"%d" % n) for n in range(50)))
    assert await first_control(tap) == frame(PING, b"49")


async def test_the_reader_of_a_waiting_ping_loses_no_bytes(autojump_clock: object) -> None:
    """Reading has a deadline while a ping waits; what arrives around it must not be lost."""
    flood = b"".join(frame(PING, b"%d" % n) for n in range(2))
    ours, theirs = memory_pair()
    tap = FrameTap(ours, max_message_bytes=MAX, max_buffered_bytes=1 << 20)
    await theirs.send_all(SWITCHING)
    await tap.receive_some()
    sent = 0
    async with trio.open_nursery() as nursery:
        nursery.start_soon(pump, tap)
        for _ in range(400):
            await theirs.send_all(flood + text(f"{sent}"))
            sent += 1
            await trio.sleep(0.025)
        nursery.cancel_scope.cancel()
    found = [message for batch in tap._batches for message in batch.payloads]
    assert found == [b"%d" % n for n in range(sent)]


async def test_pongs_reach_the_library_verbatim_and_in_order(autojump_clock: object) -> None:
    tap = await upgraded(text("a") + frame(PONG, b"1") + text("b") + frame(PONG, b"2"))
    assert await first_control(tap) == frame(PONG, b"1") + frame(PONG, b"2")


# -- the handshake ----------------------------------------------------------------------------


@given(CUTS, st.binary(max_size=40).map(text) | st.just(text("a") + text("b")))
def test_the_head_may_come_in_any_pieces_with_frames_right_behind_it(
    cuts: list[int], behind: bytes
) -> None:
    texts, _, _, complaint = ask_wsproto(behind)
    if complaint is not None:
        return

    async def main() -> None:
        tap = tap_on(*split(SWITCHING + behind, cuts), b"")
        assert await tap.receive_some() == SWITCHING
        await pump(tap)
        found, failure = await everything(tap)
        assert found == texts
        assert isinstance(failure, Dropped)

    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))


async def refusal(*pieces: bytes) -> Exception:
    tap = tap_on(*pieces)
    with pytest.raises(trio.BrokenResourceError):
        await tap.receive_some()
    assert tap.failure is not None
    return tap.failure


def response(status: str, *headers: str) -> bytes:
    return "\r\n".join([status, *headers, "", ""]).encode("latin-1")


@pytest.mark.parametrize(
    ("line", "status"),
    [
        ("HTTP/1.1 429 Too Many Requests", 429),
        ("HTTP/1.1 451", 451),
        ("HTTP/1.1 418 ", 418),
        ("HTTP/1.0 503 Service Unavailable", 503),
        ("HTTP/1.1 302 Found", 302),
        ("HTTP/1.1 200 OK", 200),
    ],
)
async def test_another_status_than_101_refuses(
    line: str, status: int, autojump_clock: object
) -> None:
    failure = await refusal(response(line, "Content-Type: text/html"))
    assert isinstance(failure, HandshakeRefused)
    assert (failure.status, failure.retry_after) == (status, None)


@pytest.mark.parametrize(
    "line",
    [
        "HTTP/1.1 ",
        "HTTP/1.1 42",
        "HTTP/1.1 4290",
        "HTTP/1.1 \xb2\xb2\xb2",
        "HTTP/1.1 100 Continue",
        "HTTP/1.0 101 Switching",
        "HTTP/1.1  429",
        "HTTP/2 200",
        "SSH-2.0-OpenSSH",
        "\x16\x03\x01",
    ],
)
async def test_a_bad_status_line_is_a_violation(line: str, autojump_clock: object) -> None:
    assert isinstance(await refusal(response(line)), ProtocolViolation)


IN_90_S = email.utils.formatdate(NOW + 90, usegmt=True)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("120", 120.0),
        (" 7 ", 7.0),
        ("0", 0.0),
        ("99999999999999999999", MAX_RETRY_AFTER_S),
        (IN_90_S, 90.0),
        (IN_90_S.replace("GMT", "-0000"), 90.0),
        (email.utils.formatdate(NOW - 90, usegmt=True), 0.0),
        ("Fri, 31 Dec 9999 23:59:59 GMT", MAX_RETRY_AFTER_S),
        ("Fri, 31 Dec 99999999999999999999 23:59:59 GMT", None),
        ("", None),
        ("soon", None),
        ("-5", None),
        ("1.5", None),
        ("\xb2", None),
    ],
)
async def test_retry_after_is_read_as_seconds_or_as_a_date(
    value: str, seconds: float | None, autojump_clock: object
) -> None:
    failure = await refusal(response("HTTP/1.1 429 Slow down", f"retry-AFTER:{value}"))
    assert isinstance(failure, HandshakeRefused)
    assert failure.retry_after == seconds


async def test_a_date_without_a_zone_is_utc_wherever_we_run(
    monkeypatch: pytest.MonkeyPatch, autojump_clock: object
) -> None:
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    time.tzset()
    try:
        value = IN_90_S.replace("GMT", "-0000")
        failure = await refusal(response("HTTP/1.1 429 Slow down", f"Retry-After: {value}"))
    finally:
        monkeypatch.undo()
        time.tzset()
    assert isinstance(failure, HandshakeRefused)
    assert failure.retry_after == 90


@settings(max_examples=200, deadline=None)
@given(
    st.one_of(
        st.binary(max_size=200),
        st.binary(max_size=60).map(
            lambda noise: b"HTTP/1.1 429 x\r\nRetry-After: " + noise + b"\r\n\r\n"
        ),
    ),
    CUTS,
)
def test_random_answers_to_the_upgrade_end_in_a_failure_of_ours(
    noise: bytes, cuts: list[int]
) -> None:
    async def main() -> None:
        tap = tap_on(*split(noise, cuts), b"")
        with suppress(trio.BrokenResourceError):
            await tap.receive_some()
        assert isinstance(tap.failure, ProtocolViolation | HandshakeRefused | Reset)

    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))


async def test_a_refusal_is_known_before_its_body(autojump_clock: object) -> None:
    head = response("HTTP/1.1 429 Too Many", "Retry-After: 3")
    failure = await refusal(head[:20], head[20:], 3600.0)  # type: ignore[arg-type]
    assert isinstance(failure, HandshakeRefused)


@pytest.mark.parametrize("piece", [1000, 65536])
async def test_a_handshake_is_bounded(piece: int, autojump_clock: object) -> None:
    head = b"HTTP/1.1 101 Switching\r\nX-Filler: " + b"x" * (MAX_HANDSHAKE_BYTES * 3)
    pieces = [head[at : at + piece] for at in range(0, len(head), piece)]
    tap = tap_on(*pieces)
    with pytest.raises(trio.BrokenResourceError):
        await tap.receive_some()
    assert isinstance(tap.failure, ProtocolViolation)
    wire = tap._stream
    assert isinstance(wire, Wire)
    assert wire.reads <= MAX_HANDSHAKE_BYTES // piece + 2


@pytest.mark.parametrize("excess", [0, 1])
async def test_the_bound_of_the_handshake_is_exact(excess: int, autojump_clock: object) -> None:
    head, end = b"HTTP/1.1 101 Switching\r\nX-Filler: ", b"\r\n\r\n"
    head += b"x" * (MAX_HANDSHAKE_BYTES - len(head) - len(end) + excess) + end
    # An unfinished head of just the bound may still be read on.
    tap = tap_on(head[:MAX_HANDSHAKE_BYTES], head[MAX_HANDSHAKE_BYTES:] or text("a"))
    if excess:
        with pytest.raises(trio.BrokenResourceError):
            await tap.receive_some()
    else:
        assert await tap.receive_some() == head


async def test_the_end_of_tcp_during_the_upgrade_is_noticed(autojump_clock: object) -> None:
    tap = tap_on(SWITCHING[:30], b"")
    assert await tap.receive_some() == b""
    assert isinstance(tap.failure, Reset)


# -- sending ----------------------------------------------------------------------------------


async def test_a_send_that_takes_too_long_ends_the_connection(autojump_clock: object) -> None:
    tap = await upgraded()
    tap._stream.send_delay = SEND_TIMEOUT_S + 1  # type: ignore[attr-defined]
    start = trio.current_time()
    with pytest.raises(trio.BrokenResourceError):
        await tap.send_all(b"frame")
    assert trio.current_time() - start == SEND_TIMEOUT_S
    assert isinstance(tap.failure, Reset)


async def test_after_a_cancelled_send_nothing_more_is_sent(autojump_clock: object) -> None:
    tap = await upgraded()
    wire = tap._stream
    assert isinstance(wire, Wire)
    wire.send_delay = 5
    with trio.move_on_after(1):
        await tap.send_all(b"frame")
    wire.send_delay = 0
    with pytest.raises(trio.BrokenResourceError):
        await tap.send_all(b"next")
    assert wire.sent == []
    assert isinstance(tap.failure, Reset)
    assert tap.farewell is None


async def test_a_send_that_is_cancelled_before_its_first_byte_does_no_harm(
    autojump_clock: object,
) -> None:
    tap = await upgraded()
    with trio.CancelScope() as scope:
        scope.cancel()
        await tap.send_all(b"frame")
    assert scope.cancelled_caught
    assert tap.failure is None
    await tap.send_all(b"next")
    assert tap._stream.sent == [b"next"]  # type: ignore[attr-defined]


async def test_a_library_that_closes_by_itself_has_seen_a_violation(autojump_clock: object) -> None:
    tap = await upgraded()
    await tap.aclose()
    assert isinstance(tap.failure, ProtocolViolation)


async def test_who_gets_a_close_frame(autojump_clock: object) -> None:
    tap = await upgraded(close(1001))
    assert tap.farewell == 1000
    await first_control(tap)
    assert tap.farewell == 1000, "the answer to the peer's"
    tap = await upgraded(b"\x83\x00")
    await pump(tap)
    assert tap.farewell == 1002
    tap = await upgraded(b"")
    await pump(tap)
    assert tap.farewell is None, "the peer is gone"

"""Standard error that nobody reads holds up nobody, and what was dropped is told."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import sys
import time
from typing import TYPE_CHECKING

import pytest
import structlog

from k2trio.observe import logs, stderr
from k2trio.observe.stderr import MAX_WAITING_BYTES, NeverBlocking

if TYPE_CHECKING:
    from collections.abc import Iterator

LINE = "x" * 999 + "\n"
FITS = MAX_WAITING_BYTES // len(LINE)


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    ends = os.pipe()
    yield ends
    for fd in ends:
        with contextlib.suppress(OSError):
            os.close(fd)


def read_until(fd: int, end: bytes) -> bytes:
    got = b""
    while not got.endswith(end):
        part = os.read(fd, 1 << 20)
        assert part
        got += part
    return got


def fill(fd: int) -> int:
    """Make a pipe full; returns how many bytes that took."""
    os.set_blocking(fd, False)
    filled = 0
    with contextlib.suppress(BlockingIOError):
        while True:
            filled += os.write(fd, b"\n" * 4096)
    os.set_blocking(fd, True)
    return filled


def test_lines_come_out_in_order(pipe: tuple[int, int]) -> None:
    out = NeverBlocking(pipe[1])
    for number in range(1000):
        out.write(f"{number}\n")
    out.drain(10)
    lines = read_until(pipe[0], b"999\n").splitlines()
    assert list(map(int, lines)) == list(range(1000))
    assert out.dropped == 0


def test_text_in_pieces_makes_whole_lines(pipe: tuple[int, int]) -> None:
    out = NeverBlocking(pipe[1])
    print("a", "b", file=out, flush=True)
    print(file=out)
    out.write("c\nd\ne")
    out.drain(10)
    assert os.read(pipe[0], 100) == b"a b\n\nc\nd\ne"


def test_what_nobody_reads_is_dropped_counted_and_told_in_its_place(pipe: tuple[int, int]) -> None:
    filling = fill(pipe[1])
    out = NeverBlocking(pipe[1])
    began = time.monotonic()
    for _ in range(1000):
        out.write(LINE)
    out.drain(0.1)
    assert time.monotonic() - began < 1
    assert out.dropped == 1000 - FITS
    got = read_until(pipe[0], b"dropped\n")[filling:].decode()
    assert got == LINE * FITS + f"k2trio: {1000 - FITS} log lines were dropped\n"
    out.write("after\n")
    assert read_until(pipe[0], b"\n") == b"after\n"
    assert out.dropped == 1000 - FITS


def test_a_reader_that_left_is_waited_for_by_nobody(pipe: tuple[int, int]) -> None:
    os.close(pipe[0])
    out = NeverBlocking(pipe[1])
    for _ in range(3):
        out.write(LINE)
        out.drain(10)
    assert out.dropped == 3


def test_a_pipe_that_somebody_made_non_blocking_gets_every_line(pipe: tuple[int, int]) -> None:
    os.set_blocking(pipe[1], False)
    out = NeverBlocking(pipe[1])
    for _ in range(100):
        out.write(LINE)
    out.write("end\n")
    assert read_until(pipe[0], b"end\n") == (LINE * 100 + "end\n").encode()


@pytest.mark.parametrize("form", ["json", "console"])
def test_the_line_that_tells_is_like_the_others(
    pipe: tuple[int, int], form: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    filling = fill(pipe[1])
    out = NeverBlocking(pipe[1])
    monkeypatch.setattr(sys, "stderr", out)
    handlers, level = logging.root.handlers[:], logging.root.level
    try:
        logs.configure("error", form)  # type: ignore[arg-type]
        for _ in range(1000):
            logs.get_logger().error("x" * 1000)
        got = os.read(pipe[0], filling)
        while not (got.endswith(b"\n") and b"log_lines_dropped" in got):
            got += os.read(pipe[0], 1 << 20)
    finally:
        logging.root.handlers[:] = handlers
        logging.root.setLevel(level)
        structlog.reset_defaults()
    last = got.decode().splitlines()[-1]
    assert stderr.dropped_lines() == out.dropped > 0
    if form == "json":
        event = json.loads(last)
        assert (event["event"], event["lines"]) == ("log_lines_dropped", out.dropped)
    else:
        assert f"lines={out.dropped}" in last

"""``k2trio book``: ladders that fit and can be believed, lines for pipes, and how it ends."""

from __future__ import annotations

import io
import os
import pty
import re
import signal
import socket
import struct
import subprocess
import termios
import time
from contextlib import suppress
from datetime import datetime
from fcntl import ioctl
from typing import TYPE_CHECKING, Any

import httpx2
import pytest
from processes import (
    COMMAND,
    PATIENCE_S,
    Simulator,
    environment,
    k2trio,
    lines_of,
    simulator,
    started,
    stop,
)
from rich.console import Console

from k2trio.book.audit import Verdict
from k2trio.book.order_book import BookState
from k2trio.book.standing import Standing
from k2trio.client.health import FeedStatus, LineStatus
from k2trio.commands.book.lines import COLUMNS, heading, line_of
from k2trio.commands.book.numbers import Column, trimmed
from k2trio.commands.book.screen import Screen
from k2trio.commands.book.view import View
from k2trio.market.payloads import Level

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

pytestmark = pytest.mark.slow

DEPTH = "btcusdt@depth@100ms"
LIVE = Standing(BookState.LIVE, None, 0.25, Verdict(DEPTH, "ticker", 7, True), 1.5)
CALM = FeedStatus(
    True, 0.1, (LineStatus("0", "h:1", "binance.com", True, True, 2),), {}, 0, 0, 0, ()
)


def view(**changes: Any) -> View:
    """A book with 20 levels a side."""
    values: dict[str, Any] = {
        "symbol": "BTCUSDT",
        "venue": "binance.com",
        "standing": LIVE,
        "update_id": 57_957_169_738,
        "bids": [Level(f"65000.{9 - n // 10}{9 - n % 10}", f"{n + 1}.50000000") for n in range(20)],
        "asks": [Level(f"65001.{n // 10}{n % 10}", f"0.{n + 1:05}000") for n in range(20)],
        "spread": "0.01",
        "mid": "65000.995",
        "imbalance": 0.25,
        "known": "1000",
        **changes,
    }
    return View(**values)


def picture(
    views: Sequence[View],
    width: int,
    height: int,
    *,
    status: FeedStatus = CALM,
    screen: Screen | None = None,
) -> list[str]:
    """The lines of the screen, as rich draws them."""
    chosen = Screen(20) if screen is None else screen
    console = Console(record=True, file=io.StringIO(), width=width, height=height)
    console.print(chosen.page(views, status, width, height))
    return console.export_text().splitlines()


def unproven(problem: str, verdict: Verdict | None = None) -> Standing:
    return Standing(BookState.UNPROVEN, problem, 12.5, verdict, None if verdict is None else 3.0)


# -- numbers --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("number", "shown"),
    [
        ("65000.10000000", "65000.1"),
        ("65000.00000000", "65000"),
        ("100", "100"),
        ("0.00000001", "0.00000001"),
        ("0.00000000", "0"),
    ],
)
def test_zeros_that_say_nothing_are_left_out(number: str, shown: str) -> None:
    assert trimmed(number) == shown


def test_a_column_is_exact_aligned_at_the_point_and_never_narrower_than_before() -> None:
    column = Column()
    assert column.take(["1.50000000", "12.25000000"]) == ["1.50", "12.25"]
    assert column.take(["3.00000000"]) == ["3.00"]
    assert column.take(["0.00000001", "98765432109"]) == ["0.00000001", "98765432109.00000000"]
    assert Column().take(["7.000", "10"]) == ["7", "10"]
    assert Column().take([]) == []


# -- ladders --------------------------------------------------------------------------------------


@pytest.mark.parametrize("width", [80, 120])
def test_a_ladder_shows_levels_and_what_can_be_said_of_them(width: int) -> None:
    lines = picture([view()], width, 60)
    text = "\n".join(lines)
    assert re.search(r"BTCUSDT · live · binance.com", lines[0])
    numbers = [re.match(r"│ (65\d{3}\.\d\d)  ( *\d+\.\d+)  (█*[▏▎▍▌▋▊▉█])", line) for line in lines]
    rows = [match for match in numbers if match is not None]
    prices = [float(match[1]) for match in rows]
    assert prices == sorted(prices, reverse=True)
    assert (len(prices), prices[19], prices[20]) == (40, 65001.0, 65000.99)
    assert len({match[2].index(".") for match in rows}) == 1
    longest = max(rows, key=lambda match: len(match[3]))
    assert float(longest[2]) == 20.5
    for words in ("spread 0.01  mid 65000.995", "imbalance +0.25", "update 57957169738",
                  "0.2 s ago", "1000 levels known", "audit: as the ticker says, 1.5 s ago",
                  "connected · on h:1"):  # fmt: skip
        assert words in text
    assert max(map(len, lines)) <= width


@pytest.mark.parametrize("height", [10, 17, 24, 60])
@pytest.mark.parametrize("width", [30, 40, 80, 120, 200])
@pytest.mark.parametrize("count", [1, 2, 3, 7])
@pytest.mark.parametrize("problem", [None, "updates 57957169738 to 57967169738 are missing: " * 3])
def test_whatever_the_terminal_the_picture_fits_and_the_best_levels_are_in_it(
    width: int, height: int, count: int, problem: str | None
) -> None:
    standing = LIVE if problem is None else unproven(problem)
    views = [view(symbol=f"COIN{n}USDT", standing=standing) for n in range(count)]
    lines = picture(views, width, height)
    text = "\n".join(lines)
    assert len(lines) <= height
    assert max(map(len, lines)) <= width
    shown = len(set(re.findall(r"COIN\dUSDT", text)))
    assert shown == count or f"and {count - shown} more" in text
    assert "65000.99" in text
    assert "65001.00" in text


def test_a_book_that_is_unproven_says_why_and_a_failed_audit_is_not_overlooked() -> None:
    wrong = Verdict(DEPTH, "ticker", 7, False, Level("1", "1"), Level("1", "2"))
    text = "\n".join(
        picture([view(standing=unproven("updates 8 to 9 are missing", wrong))], 80, 24)
    )
    for words in ("unproven", "updates 8 to 9 are missing", "65000.99",
                  "audit: NOT as the ticker says, 3.0 s ago"):  # fmt: skip
        assert words in text


def test_a_book_that_is_empty_waits_and_a_feed_with_problems_tells_them() -> None:
    standing = Standing(BookState.EMPTY, "nothing has come", None, None, None)
    nothing: dict[str, Any] = dict.fromkeys(("venue", "update_id", "spread", "mid", "imbalance"))
    empty = view(standing=standing, bids=[], asks=[], known="0", **nothing)
    status = FeedStatus(False, 5, (), {}, 0, 0, 0, ("line 0 is not connected",))
    text = "\n".join(picture([empty], 80, 24, status=status))
    for words in ("BTCUSDT · empty", "nothing has come", "no spread", "no update yet", "no audit",
                  "NOT CONNECTED", "line 0 is not connected"):  # fmt: skip
        assert words in text


def test_where_the_terminal_has_only_ascii_so_has_the_picture() -> None:
    screen = Screen(20, ascii_only=True)
    lines = picture([view()], 80, 24, screen=screen)
    inner = [line.strip("│╭╮╰╯─ ") for line in lines]
    assert all(line.isascii() for line in inner)
    assert any(re.search(r"20\.50+  #{10,}", line) for line in picture([view()], 80, 60,
                                                                        screen=screen))  # fmt: skip


def test_what_happened_of_late_is_told_below() -> None:
    screen = Screen(5)
    for n in range(5):
        screen.tell(30, "connection_lost", {"endpoint": "h:1", "detail": f"reset {n}"})
    text = "\n".join(picture([view()], 80, 24, screen=screen))
    assert "connection lost h:1 reset 4" in text
    assert "reset 1" not in text


# -- lines ----------------------------------------------------------------------------------------


def test_a_line_has_one_word_a_column_and_the_problem_last() -> None:
    names = heading().split()
    assert names == list(COLUMNS)
    cells = line_of(view(), 1_767_225_601.5).split()
    assert dict(zip(names, cells, strict=True)) == {
        "time": "2026-01-01T00:00:01.500Z", "symbol": "BTCUSDT", "venue": "binance.com",
        "state": "live", "update_id": "57957169738", "age_s": "0.250", "bid": "65000.99",
        "bid_quantity": "1.5", "ask": "65001", "ask_quantity": "0.00001", "spread": "0.01",
        "mid": "65000.995", "imbalance": "+0.2500", "known": "1000", "audit": "ticker-ok",
        "audited_s": "1.500", "problem": "-",
    }  # fmt: skip
    cells = line_of(view(standing=unproven("two words"), bids=[], asks=[]), 0).split(maxsplit=16)
    assert cells[6:10] == ["-"] * 4
    assert cells[14:] == ["-", "-", "two words"]


# -- the program ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def exchange() -> Iterator[Simulator]:
    with simulator("--rate", "50", "--seed", "1") as running:
        yield running


@pytest.fixture
def own_exchange() -> Iterator[Simulator]:
    """One that the test may break."""
    with simulator("--rate", "50", "--seed", "1") as running:
        yield running


def rows_of(lines: Sequence[str]) -> list[dict[str, str]]:
    names, *rows = (line.strip().split(maxsplit=len(COLUMNS) - 1) for line in lines)
    return [dict(zip(names, row, strict=True)) for row in rows]


def test_plain_writes_a_line_a_book_at_multiples_until_ctrl_c_and_then_sums_up(
    exchange: Simulator, tmp_path: Path
) -> None:
    files = {name: str(tmp_path / name.lower()) for name in ("OUTPUT", "STATE", "COVERAGE")}
    variables = exchange.variables() | files | {"STREAMS": "ethusdt@trade"}
    arguments = ["book", "btcusdt", "--interval", "0.2", "--plain", "ETHUSDT"]
    with started(*arguments, **variables) as process:
        lines = list(lines_of(process, 21))
        end = stop(process, signal.SIGINT)
    assert end.code == 0
    rows = rows_of(lines)
    assert [row["symbol"] for row in rows] == ["BTCUSDT", "ETHUSDT"] * 10
    for row in rows:
        assert round(datetime.fromisoformat(row["time"]).timestamp() * 1000) % 200 == 0
    for row in rows[-6:]:
        assert (row["state"], row["problem"]) == ("live", "-")
        assert row["audit"] in ("ticker-ok", "-")
        assert float(row["bid"]) < float(row["mid"]) < float(row["ask"])
        assert float(row["age_s"]) < 5
    ids = [int(row["update_id"]) for row in rows[-6::2]]
    assert ids == sorted(set(ids))
    assert re.fullmatch(
        r"k2trio: \d+ messages in [\d.]+ s; \d+ comparisons, none differed; "
        r"BTCUSDT live at update \d+: [\d.]+ / [\d.]+; ETHUSDT live at update .+\n",
        end.err,
    )
    assert list(tmp_path.iterdir()) == []


def row_with(process: subprocess.Popen[bytes], **expected: str) -> dict[str, str]:
    """The first row from now on that has these cells."""
    end = time.monotonic() + PATIENCE_S
    while time.monotonic() < end:
        (row,) = rows_of([heading(), *lines_of(process, 1)])
        if row | expected == row:
            return row
    raise AssertionError(f"no row had {expected}")


@pytest.mark.parametrize(
    ("stream", "audit", "known"),
    [("depth", "ticker-ok", None), ("depth20@100ms", "-", "20"), ("bookTicker", "-", "1")],
)
def test_the_stream_of_the_books_can_be_chosen(
    exchange: Simulator, stream: str, audit: str, known: str | None
) -> None:
    arguments = ["book", "BTCUSDT", "--stream", stream, "--interval", "0.1"]
    with started(*arguments, **exchange.variables()) as process:
        list(lines_of(process, 1))
        row = row_with(process, state="live", audit=audit)
        assert stop(process, signal.SIGTERM).code == 0
    assert row["known"] == known or known is None


def test_a_book_whose_stream_is_not_connected_says_so(own_exchange: Simulator) -> None:
    patient = {"LOG_LEVEL": "error", "RECOVERY_TIMEOUT": "0.2", "MAX_RECONNECT_ATTEMPTS": "0"}
    variables = own_exchange.variables() | patient
    with started("book", "BTCUSDT", "--interval", "0.1", **variables) as process:
        assert list(lines_of(process, 1)) == [f"{heading()}\n"]
        row_with(process, state="live", problem="-")
        own_exchange.break_now("outage", duration=2)
        before = row_with(process, state="unproven", problem="its stream is not connected")
        after = row_with(process, state="live", problem="-")
        stop(process, signal.SIGTERM)
    assert int(after["update_id"]) > int(before["update_id"])


def test_a_symbol_that_is_not_listed_is_exit_code_2_with_the_nearest(exchange: Simulator) -> None:
    end = k2trio("book", "BTCUSTD", **exchange.variables())
    assert (end.returncode, end.stdout) == (2, "")
    assert end.stderr.endswith(" is not a symbol of 127.0.0.1; did you mean BTCUSDT?\n")
    assert end.stderr.startswith("k2trio: BTCUSTD is not")


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["btc/usdt"], "SYMBOL: 'btc/usdt' is not a symbol; did you mean BTCUSDT?"),
        (["--levles", "3"], "--levles is not an option; did you mean --levels?"),
        (["--levels", "0"], "--levels: must be at least 1 (got '0')"),
        (["--stream", "trade"], "--stream: must be 'depth@100ms', 'depth', 'depth20@100ms', "
         "'depth20' or 'bookTicker' (got 'trade')"),
        (["--output", "x"], "--output is not an option"),
    ],
)  # fmt: skip
def test_a_wrong_word_is_one_line_and_exit_code_2(arguments: list[str], complaint: str) -> None:
    end = k2trio("book", *arguments)
    assert (end.returncode, end.stdout) == (2, "")
    assert end.stderr.startswith(f"k2trio: {complaint}")
    assert end.stderr.count("\n") == 1


def test_a_feed_that_gives_up_is_one_line_and_exit_code_1(exchange: Simulator) -> None:
    variables = exchange.variables() | {
        "WEBSOCKET_URL": "ws://127.0.0.1:9/stream",
        "FAILOVER_URLS": "",
        "MAX_RECONNECT_ATTEMPTS": "1",
        "LOG_LEVEL": "error",
    }
    end = k2trio("book", "BTCUSDT", "--plain", **variables)
    assert end.returncode == 1
    *_, summary, last = end.stderr.splitlines()
    assert summary.endswith("none differed; BTCUSDT empty")
    assert last.startswith("k2trio: gave up after 1 reconnect attempts")
    assert "Traceback" not in end.stderr


def test_a_reader_that_leaves_ends_it_with_one_line(exchange: Simulator) -> None:
    with started("book", "BTCUSDT", "--interval", "0.1", **exchange.variables()) as process:
        list(lines_of(process, 2))
        assert process.stdout is not None
        process.stdout.close()
        assert process.stderr is not None
        err = process.stderr.read().decode()
        assert process.wait(PATIENCE_S) == 1
    _, last = err.splitlines()
    assert last.startswith("k2trio: cannot write to standard output: its reader has gone")


def test_beside_another_program_the_usual_port_gives_way_and_the_page_shows_the_book(
    exchange: Simulator,
) -> None:
    with socket.socket() as other:
        with suppress(OSError):  # somebody else has it: as good
            other.bind(("127.0.0.1", 9090))
            other.listen()
        variables = {k: v for k, v in exchange.variables().items() if k != "METRICS_PORT"}
        with started("book", "BTCUSDT", **variables) as process:
            list(lines_of(process, 6))
            assert stop(process, signal.SIGTERM).code == 0
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    variables = exchange.variables() | {"METRICS_PORT": str(port)}
    with started("book", "BTCUSDT", **variables) as process:
        list(lines_of(process, 6))
        status = httpx2.get(f"http://127.0.0.1:{port}/status", trust_env=False).json()
        assert stop(process, signal.SIGTERM).code == 0
    (row,) = status["books"]
    assert (row["symbol"], row["stream"], row["state"]) == ("BTCUSDT", DEPTH, "live")
    assert (row["audit"]["witness"], row["audit"]["equal"]) == ("ticker", True)


@pytest.mark.parametrize("colour", [True, False], ids=["colour", "NO_COLOR"])
def test_on_a_terminal_it_is_a_live_ladder(exchange: Simulator, colour: bool) -> None:
    ours, theirs = pty.openpty()
    ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    variables = environment(**exchange.variables()) | {"TERM": "xterm-256color"}
    variables = {k: v for k, v in variables.items() if k not in ("COLUMNS", "LINES", "NO_COLOR")}
    if not colour:
        variables["NO_COLOR"] = "1"
    with subprocess.Popen(  # noqa: S603 - our own command
        [*COMMAND, "book", "BTCUSDT", "--interval", "0.1"],
        env=variables, stdin=theirs, stdout=theirs, stderr=subprocess.PIPE,
    ) as process:  # fmt: skip
        os.close(theirs)
        seen, end = "", time.monotonic() + PATIENCE_S
        while seen.count("as the ticker says") < 3 and time.monotonic() < end:
            seen += os.read(ours, 65536).decode(errors="replace")
        process.send_signal(signal.SIGINT)
        with suppress(OSError):  # it has closed the terminal
            while more := os.read(ours, 65536):
                seen += more.decode(errors="replace")
        assert process.stderr is not None
        err = process.stderr.read().decode()
        assert process.wait(PATIENCE_S) == 0
    os.close(ours)
    assert re.fullmatch(r"k2trio: \d+ messages in .+\n", err)
    picture = re.sub(r"\x1b\[[\d;?]*[A-Za-z]", "", seen.rpartition("BTCUSDT")[2])
    assert re.search(r"spread \d\.\d+  mid \d{5}", picture)
    assert "Ctrl-C ends" in picture
    coloured = re.search(r"\x1b\[(?:\d+;)*3\dm", seen)
    assert (coloured is not None) == colour

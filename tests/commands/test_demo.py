"""The demo: the day is scaled, the score is honest, and the numbers at its end fit."""

from __future__ import annotations

import re
import signal
import socket
import time
from contextlib import suppress

import httpx2
import pytest
import trio
import trio.testing
from processes import SHUTDOWN_S, k2trio, lines_of, started, stop

from k2trio.commands.demo.score import Score
from k2trio.commands.demo.script import DAY_S, GAP, PAUSE_S, REPAIR, ROTATION, STREAMS, bad_day
from k2trio.continuity.items import Gap
from k2trio.market.payloads import Event, Trade, frame_of
from k2trio.observe import transitions as on

pytestmark = pytest.mark.slow

STREAM = STREAMS[0]


class Truth:
    """A venue that emitted ids 1 to ``last``."""

    def __init__(self) -> None:
        self.last = 0

    def ranges(self, _: str) -> list[tuple[int, int]]:
        return [(1, self.last)] if self.last else []

    def payload(self, _: str, last: int) -> bytes:
        return b"%d" % last


def trade(number: int, raw: bytes | None = None, origin: str = "live") -> Event:
    data = Trade(0, "BTCUSDT", number, "1", "1", 0, False)
    payload = b"%d" % number if raw is None else raw
    return Event(data, STREAM, "v", 0.0, frame_of(STREAM, payload), origin)


@pytest.fixture
async def truth() -> Truth:
    return Truth()


@pytest.fixture
async def score(truth: Truth) -> Score:
    truth.last = 5
    return Score(bad_day(DAY_S), [STREAM], truth, {"h:1": "a", "h:2": "b"}, lambda *_: None)


async def test_an_account_adds_up_if_every_id_came_or_was_declared(
    score: Score, truth: Truth
) -> None:
    truth.last = 14
    score.deliver(
        [trade(8), trade(9), Gap("v", STREAM, 10, 11, "jump"), trade(12, b"", "backfill")]
    )
    (account,) = score.accounts()
    assert account.adds_up
    assert (account.emitted, account.before, account.after) == (9, 2, 2)
    assert (account.spanned, account.live, account.repaired, account.missing) == (5, 2, 1, 2)


@pytest.mark.parametrize(
    "items",
    [
        pytest.param([], id="nothing came"),
        pytest.param([trade(8), trade(10)], id="lost in silence"),
        pytest.param([trade(8), trade(8)], id="doubled"),
        pytest.param([trade(9), trade(8)], id="out of order"),
        pytest.param([trade(8), trade(9, b"0")], id="altered"),
        pytest.param([trade(8), trade(9), Gap("v", STREAM, 9, 9, "jump")], id="wrongly declared"),
        pytest.param([trade(13), trade(14), trade(15)], id="invented"),
    ],
)
async def test_an_account_does_not_add_up_otherwise(
    score: Score, truth: Truth, items: list[Event | Gap]
) -> None:
    truth.last = 14
    score.deliver(items)
    (account,) = score.accounts()
    assert not account.adds_up


async def test_a_fault_is_noticed_by_what_it_must_look_like(
    autojump_clock: trio.testing.MockClock, score: Score
) -> None:
    drop = score.outcomes[0]
    score.fault_begins(drop.step.faults[0])
    await trio.sleep(1)
    score.observe(on.DialFailed("0", "h:2", 1, "v", "websocket_error", "refused", "", 0))
    assert drop.noticed_at is None
    await trio.sleep(1)
    score.observe(on.ConnectionLost("0", "h:1", 0, "v", "", "dropped", "", 1, 0, True))
    await trio.sleep(1)
    assert not drop.passed
    score.observe(on.Flowing("0", "h:2", 1, "v", 1.5))
    assert drop.passed
    assert [drop.began_at, drop.noticed_at, drop.flowing_at] == [
        score.started_at + seconds for seconds in (0, 2, 3)
    ]
    assert (drop.outage_s, score.endpoint) == (1.5, "b")


@pytest.mark.parametrize("seconds", [15, 60, 3600])
def test_a_day_of_any_length_is_the_same_day(seconds: float) -> None:
    day = bad_day(seconds)
    starts = [step.at for step in day]
    ends = [*starts[1:], seconds]
    shares = [
        (end - start - (PAUSE_S if "stale_data" in step.noticed_as else 0)) / (seconds - PAUSE_S)
        for step, start, end in zip(day, starts, ends, strict=True)
    ]
    assert shares == pytest.approx(
        [share / DAY_S for share in (7, 7, 7, 7, 10, 5, 3.5, 3.5, 1.5, 4.5)]
    )
    assert [what for step in day for what in step.noticed_as] == [
        "dropped", "reset", "stale_data", "http_429", "refused", "stale_transport", "dropped",
        ROTATION, REPAIR, GAP,
    ]  # fmt: skip


def told(line: str, name: str) -> str:
    assert line.startswith(f"{name}: ")
    return line.removeprefix(f"{name}: ").strip()


SENTENCE = re.compile(
    r"([\d,]+) emitted = ([\d,]+) delivered live \+ ([\d,]+) repaired "
    r"\+ ([\d,]+) declared missing; "
    r"nothing lost in silence\Z"
)


def numbers(text: str) -> list[int]:
    """Those of the sentence at the end, wherever it is wrapped."""
    last = " ".join(text.rstrip().rpartition("\n\n")[2].split())
    match = SENTENCE.match(last)
    assert match is not None, last
    return [int(number.replace(",", "")) for number in match.groups()]


@pytest.mark.parametrize("columns", [80, 120])
def test_the_demo_notices_every_fault_and_its_numbers_add_up(
    columns: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    with started("demo", "--seconds", "20", "--seed", "3", "--plain", "--metrics-port", "0") as it:
        head = list(lines_of(it, 3))
        page, metrics_url = told(head[1], "status page"), told(head[2], "metrics")
        time.sleep(8)
        assert "k2trio" in httpx2.get(page, trust_env=False).text
        metrics = httpx2.get(metrics_url, trust_env=False).text
        assert it.stdout is not None
        text = it.stdout.read().decode()
        assert it.stderr is not None
        err = it.stderr.read().decode()
        it.wait(SHUTDOWN_S)
    assert (it.returncode, err) == (0, ""), text
    assert 'k2_binance_reconnects_total{reason="connection_closed"} ' in metrics
    assert re.search(r"k2_circuit_breaker_state\{name=\"127.0.0.1:\d+\"\} 0.0", metrics)
    begun = re.findall(r"^ *[\d.]+ s  FAULT  (.+)$", text, re.MULTILINE)
    assert begun == [step.name for step in bad_day(20)]
    summary = text.partition("\nat s  fault")[2]
    assert summary
    assert "never " not in summary
    sums = [0, 0, 0, 0]
    for stream in STREAMS:
        (row,) = re.findall(rf"^{stream} +([\d ]+) yes$", summary, re.MULTILINE)
        emitted, before, live, repaired, missing, after = map(int, row.split())
        assert emitted == before + live + repaired + missing + after
        assert live > 300
        assert repaired > 0
        row_sums = (emitted - before - after, live, repaired, missing)
        sums = [one + other for one, other in zip(sums, row_sums, strict=True)]
    assert numbers(text) == sums
    assert max(map(len, [*head, *text.splitlines()])) <= columns
    assert "…" not in text


def test_where_the_usual_port_is_busy_the_demo_takes_a_free_one() -> None:
    with socket.socket() as other:
        with suppress(OSError):  # somebody else has it: as good
            other.bind(("127.0.0.1", 9090))
            other.listen()
        with started("demo", "--plain") as process:
            page = told(list(lines_of(process, 2))[1], "status page")
            assert not page.endswith(":9090/")
            assert httpx2.get(page, trust_env=False).status_code == 200
            assert stop(process, signal.SIGINT).code == 0


def test_a_busy_port_that_was_asked_for_is_one_line() -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        end = k2trio("demo", "--metrics-port", str(port))
    assert (end.returncode, end.stdout) == (2, "")
    assert end.stderr == (
        f"k2trio: port {port} on 127.0.0.1 is in use; stop the other program, or choose another "
        "port with --metrics-port or --metrics-host\n"
    )


def test_a_signal_ends_the_demo_with_the_accounts_so_far() -> None:
    with started("demo", "--metrics-port", "0") as process:
        list(lines_of(process, 8))
        time.sleep(6)
        end = stop(process, signal.SIGINT)
    assert (end.code, end.err) == (0, "")
    assert end.took_s < SHUTDOWN_S
    text = end.out.decode()
    assert re.search(r"^stopped after \d+\.\d of 60 s; until then:$", text, re.MULTILINE)
    assert "connection dropped (FIN)" in text
    assert "every second message left out" not in text
    emitted, live, repaired, missing = numbers(text)
    assert emitted == live + repaired + missing > 200


def test_a_reader_that_leaves_ends_the_demo_with_one_line() -> None:
    with started("demo", "--metrics-port", "0") as process:
        list(lines_of(process, 1))
        assert process.stdout is not None
        process.stdout.close()
        assert process.stderr is not None
        err = process.stderr.read().decode()
        process.wait(SHUTDOWN_S)
    assert process.returncode == 1
    assert err == "k2trio: cannot write to standard output: its reader has gone\n"


@pytest.mark.parametrize("seconds", ["14", "3601", "soon"])
def test_a_length_that_cannot_be_is_refused(seconds: str) -> None:
    end = k2trio("demo", "--seconds", seconds)
    assert end.returncode == 2
    assert end.stderr.startswith("k2trio: --seconds: must be ")

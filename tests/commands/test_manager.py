"""What a service manager is told: by datagrams on a real socket, as systemd would get them."""

from __future__ import annotations

import os
import signal
import socket
import time
from contextlib import asynccontextmanager, contextmanager
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import pytest
import trio
from processes import PATIENCE_S, Simulator, k2trio, simulator, started, stop
from world import fault, open_world

from k2trio.client import session
from k2trio.commands.attending import HUNG_AFTER_S, attend
from k2trio.commands.manager import Manager
from k2trio.observe.history import History
from k2trio.web.status import Reporter

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Generator, Iterator
    from pathlib import Path

    from trio.testing import MockClock
    from world import World

pytestmark = pytest.mark.slow

WATCHDOG_S = 30.0


class Systemd:
    """The manager's end: what it was told, in order."""

    def __init__(self, address: str) -> None:
        self.name = address
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(f"\0{address[1:]}" if address.startswith("@") else address)
        self.socket.settimeout(PATIENCE_S)

    def environment(self, watchdog_s: float = WATCHDOG_S) -> dict[str, str]:
        """What it starts a service with, but for ``WATCHDOG_PID``."""
        return {"NOTIFY_SOCKET": self.name, "WATCHDOG_USEC": str(int(watchdog_s * 1e6))}

    def next(self) -> dict[str, str]:
        """The next that comes."""
        text = self.socket.recv(4096).decode()
        return dict(line.split("=", 1) for line in text.split("\n"))

    def until(self, name: str) -> dict[str, str]:
        """The next that has such a line."""
        while name not in (told := self.next()):
            pass
        return told

    def come(self) -> list[dict[str, str]]:
        """All that have come, without waiting."""
        self.socket.setblocking(False)
        found: list[dict[str, str]] = []
        try:
            while True:
                found.append(self.next())
        except BlockingIOError:
            return found
        finally:
            self.socket.settimeout(PATIENCE_S)


@contextmanager
def listening(abstract: bool = False) -> Generator[Systemd]:
    with TemporaryDirectory() as folder:  # a socket's path is short, and tmp_path is long
        name = f"@k2trio-test-{os.getpid()}-{id(folder)}" if abstract else f"{folder}/notify"
        systemd = Systemd(name)
        with systemd.socket:
            yield systemd


@pytest.fixture
def systemd() -> Iterator[Systemd]:
    with listening() as one:
        yield one


@pytest.fixture(scope="module")
def exchange() -> Iterator[Simulator]:
    with simulator("--rate", "50", "--seed", "1") as running:
        yield running


# -- the protocol ---------------------------------------------------------------------------------


@pytest.mark.parametrize("abstract", [False, True])
def test_a_datagram_has_a_line_for_each_thing_that_is_said(abstract: bool) -> None:
    with listening(abstract) as systemd, Manager(systemd.environment()) as manager:
        assert manager.listens
        assert manager.watchdog_s == WATCHDOG_S
        assert manager.tell(READY=1, STATUS="one\nSTOPPING=1  line")
        assert systemd.next() == {"READY": "1", "STATUS": "one STOPPING=1 line"}


@pytest.mark.parametrize(
    "environ",
    [{}, {"NOTIFY_SOCKET": ""}, {"NOTIFY_SOCKET": "vsock:2:1234"}, {"WATCHDOG_USEC": "1000000"}],
)
def test_without_one_nothing_happens(environ: dict[str, str]) -> None:
    with Manager(environ) as manager:
        assert not manager.listens
        assert manager.watchdog_s is None
        assert not manager.tell(READY=1)


def test_the_watchdog_of_another_process_is_none_of_ours(systemd: Systemd) -> None:
    for pid, usec, wanted in (
        (os.getpid(), "5000000", 5),
        (1, "5000000", None),
        (os.getpid(), "soon", None),
    ):
        environ = systemd.environment() | {"WATCHDOG_PID": str(pid), "WATCHDOG_USEC": usec}
        with Manager(environ) as manager:
            assert manager.watchdog_s == wanted


def test_one_that_is_gone_or_takes_nothing_does_not_hold_us_up(systemd: Systemd) -> None:
    with Manager(systemd.environment()) as manager:
        began = time.monotonic()
        while manager.tell(WATCHDOG=1):
            assert time.monotonic() - began < PATIENCE_S
        systemd.come()
        assert manager.tell(WATCHDOG=1), "there is room again"
        systemd.socket.close()
        assert not manager.tell(WATCHDOG=1)


# -- signs of life, in virtual time ---------------------------------------------------------------


@asynccontextmanager
async def attended(world: World, systemd: Systemd) -> AsyncGenerator[list[dict[str, str]]]:
    """The feed of a world, looked after; yields what the manager was told so far."""
    told: list[dict[str, str]] = []

    async def read() -> None:
        while True:  # the kernel keeps only some for it
            await trio.sleep(1)
            told.extend(systemd.come())

    reporter = Reporter(world.feed, History(), version="1")
    with Manager(systemd.environment()) as manager:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(attend, manager, world.feed, reporter)
            nursery.start_soon(read)
            yield told
            nursery.cancel_scope.cancel()
    told.extend(systemd.come())


def beats(told: list[dict[str, str]]) -> int:
    """How many signs of life there are."""
    return sum("WATCHDOG" in one for one in told)


async def test_it_is_ready_at_once_and_tells_how_it_goes(
    systemd: Systemd, autojump_clock: object
) -> None:
    async with open_world(rate=20) as world:
        async with attended(world, systemd) as told:
            await trio.sleep(61.5)
            first, *rest = told
            assert first == {"READY": "1", "STATUS": "connecting"}
            assert not any("READY" in one for one in rest)
            assert beats(rest) == 13  # every 5 s, which is oftener than a third of 30 s
            assert rest[-1]["STATUS"].startswith("data flows; ")
            assert rest[-1]["STATUS"].endswith(" messages/s, 0 missing")
            assert 10 < int(rest[-1]["STATUS"].split()[2]) < 40
        assert told[-1] == {"STOPPING": "1", "STATUS": "stopping"}


async def test_an_exchange_that_is_away_is_told_and_no_reason_to_be_killed(
    systemd: Systemd, autojump_clock: object
) -> None:
    async with (
        open_world(
            [fault(0, "refused", "*", duration=900)], settings={"max_reconnect_attempts": 0}
        ) as world,
        attended(world, systemd) as told,
    ):
        await trio.sleep(601.5)
        assert beats(told) == 121
        assert "is not connected (and 1 more); 0 messages/s, 0 missing" in told[-1]["STATUS"]


async def test_silence_that_the_feed_ends_itself_is_no_reason_either(
    systemd: Systemd, autojump_clock: object
) -> None:
    async with (
        open_world(
            [fault(10, "half_open", "*", duration=300)], settings={"max_reconnect_attempts": 0}
        ) as world,
        attended(world, systemd) as told,
    ):
        await trio.sleep(301.5)
        assert beats(told) == 61


async def forever(*_: object) -> None:
    await trio.sleep_forever()


async def test_a_dead_connection_that_nobody_gives_up_is_a_hung_feed(
    systemd: Systemd, autojump_clock: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session.Session, "_watch_transport", forever)
    async with (
        open_world(
            [fault(10, "half_open", "*")], rate=20, settings={"health_check_timeout": 0}
        ) as world,
        attended(world, systemd) as told,
    ):
        limit_s = world.settings.transport_timeout + HUNG_AFTER_S
        await trio.sleep(10 + limit_s - 1)
        alive = beats(told)
        assert alive == 17
        assert told[-1]["STATUS"] == "quiet; 0 messages/s, 0 missing"
        await trio.sleep(62)
        assert beats(told) in (alive, alive + 1)
        assert told[-1]["STATUS"].startswith("hung: line 0 waits for venue.test:1097 since ")
        assert told[-1]["STATUS"].endswith("and should have given it up after 45 s")


async def test_an_attempt_that_nobody_gives_up_is_a_hung_feed(
    systemd: Systemd, autojump_clock: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    @asynccontextmanager
    async def never(*_: object, **__: object) -> AsyncGenerator[None]:
        await trio.sleep_forever()
        yield

    async with (
        open_world([fault(10, "fin")], rate=20) as world,
        attended(world, systemd) as told,
    ):
        await trio.sleep(9)
        monkeypatch.setattr(session, "open_connection", never)
        await trio.sleep(world.settings.handshake_timeout + HUNG_AFTER_S)
        alive = beats(told)
        assert alive == 10
        await trio.sleep(60)
        assert beats(told) in (alive + 1, alive + 2)  # it began between two looks
        assert "should have given it up after 10 s" in told[-1]["STATUS"]


async def test_what_a_program_finds_that_was_stopped_is_not_hung(
    systemd: Systemd, autojump_clock: MockClock
) -> None:
    """By a signal, with a virtual machine, or by a disk that did not answer."""
    async with (
        open_world(rate=20, settings={"max_reconnect_attempts": 0}) as world,
        attended(world, systemd) as told,
    ):
        await trio.sleep(20.5)
        before = len(told)
        for _ in range(10):  # each time it is drawn which task goes on first
            autojump_clock.jump(1000)
            await trio.sleep(30)
        after = told[before:]
        assert beats(after) >= 60
        assert not any(one.get("STATUS", "").startswith("hung") for one in after)
        assert told[-1]["STATUS"].startswith("data flows; ")


async def test_a_feed_that_is_well_again_is_told_and_so_is_its_next_hang(
    systemd: Systemd, autojump_clock: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    go_on = trio.Event()
    real = session.open_connection

    @asynccontextmanager
    async def late(*arguments: Any, **more: Any) -> AsyncGenerator[Any]:
        await go_on.wait()
        async with real(*arguments, **more) as connection:
            yield connection

    async with (
        open_world([fault(10, "fin"), fault(120, "fin")], rate=20) as world,
        attended(world, systemd) as told,
    ):
        limit_s = world.settings.handshake_timeout + HUNG_AFTER_S
        await trio.sleep(5)
        monkeypatch.setattr(session, "open_connection", late)
        for _ in range(2):
            await trio.sleep(5 + limit_s + 15)
            assert told[-1]["STATUS"].startswith("hung: line 0 ")
            go_on.set()
            await trio.sleep(15)
            assert told[-1]["STATUS"].startswith("data flows; ")
            go_on = trio.Event()
            await trio.sleep(120 - trio.current_time() % 120)


async def test_a_loop_that_does_not_turn_gives_no_sign_of_life(systemd: Systemd) -> None:
    async with open_world() as world:
        environ = systemd.environment(watchdog_s=0.3)
        with Manager(environ) as manager:
            async with trio.open_nursery() as nursery:
                reporter = Reporter(world.feed, History(), version="1")
                nursery.start_soon(attend, manager, world.feed, reporter)
                for _ in range(2):
                    with trio.fail_after(PATIENCE_S):
                        while not beats(systemd.come()):  # noqa: ASYNC110 - a socket of its own
                            await trio.sleep(0.05)
                    time.sleep(2)  # noqa: ASYNC251 - that is what is tested
                    assert systemd.come() == []
                nursery.cancel_scope.cancel()


# -- the program ----------------------------------------------------------------------------------


@pytest.fixture
def managed(systemd: Systemd, monkeypatch: pytest.MonkeyPatch) -> Systemd:
    """The manager, as the environment of the processes of this test names it."""
    for name, value in systemd.environment(watchdog_s=1).items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("WATCHDOG_PID", raising=False)
    return systemd


def test_a_run_says_that_it_is_ready_alive_reloading_and_stopping(
    exchange: Simulator, managed: Systemd, tmp_path: Path
) -> None:
    output = tmp_path / "out.jsonl"
    with started("run", "--output", str(output), **exchange.variables()) as process:
        assert managed.until("READY") == {"READY": "1", "STATUS": "connecting"}
        for _ in range(4):
            managed.until("WATCHDOG")
        assert managed.until("STATUS")["STATUS"].startswith("data flows; ")
        output.rename(tmp_path / "moved.jsonl")
        process.send_signal(signal.SIGHUP)
        told = managed.until("RELOADING")
        assert 0 <= time.monotonic_ns() // 1000 - int(told["MONOTONIC_USEC"]) < 30e6
        assert managed.until("READY") == {"READY": "1"}
        assert output.exists()
        managed.until("WATCHDOG")
        end = stop(process, signal.SIGTERM)
    assert (end.code, end.err) == (0, "")
    assert "STOPPING" in managed.come()[-1]


def test_a_feed_that_gives_up_says_that_it_stops(managed: Systemd) -> None:
    end = k2trio(
        "run", "--max-reconnect-attempts=1", "--reconnect-delay=0.01", "--metrics-port=0",
        WEBSOCKET_URL="ws://127.0.0.1:9/stream", FAILOVER_URLS="", REST_URLS="http://127.0.0.1:9",
    )  # fmt: skip
    assert end.returncode == 1
    told = managed.come()
    assert "READY" in told[0]
    assert "STOPPING" in told[-1]


def test_what_cannot_start_is_never_ready(managed: Systemd) -> None:
    assert k2trio("run", "--metrics-port=0", "--output=/nowhere/out.jsonl").returncode == 2
    assert managed.come() == []


def test_the_stacks_are_told_when_the_watchdog_ends_what_hangs(
    exchange: Simulator, managed: Systemd
) -> None:
    with started("run", "--output=/dev/null", **exchange.variables()) as process:
        managed.until("READY")
        end = stop(process, signal.SIGABRT)
    assert end.code == -signal.SIGABRT
    assert "Fatal Python error: Aborted" in end.err
    assert "trio" in end.err

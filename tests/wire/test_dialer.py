"""DNS and happy eyeballs in virtual time."""

from __future__ import annotations

import errno
import math
import socket
import ssl
from typing import Any

import pytest
import trio
import trio.lowlevel
from peer import endpoint

from k2trio.errors import NameResolutionError
from k2trio.wire import dialer as dialer_module
from k2trio.wire import eyeballs as eyeballs_module
from k2trio.wire.dialer import TcpDialer
from k2trio.wire.eyeballs import CONNECT_STAGGER_S
from k2trio.wire.resolver import RESOLVE_TIMEOUT_S


class Resolver:
    """Stands in for the thread that asks the system."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.answer: Any = ["192.0.2.1"]
        monkeypatch.setattr(trio.to_thread, "run_sync", self._run_sync)

    async def _run_sync(self, work: object, **_: object) -> list[Any]:
        await trio.lowlevel.checkpoint()
        if isinstance(self.answer, BaseException):
            raise self.answer
        if self.answer is None:
            await trio.sleep_forever()
        return [(socket.AF_INET, 1, 6, "", (address, 80)) for address in self.answer]


@pytest.fixture
def connects(monkeypatch: pytest.MonkeyPatch) -> dict[str, float | OSError]:
    """How long a connect to an address takes, or how it fails."""
    plan: dict[str, float | OSError] = {}

    async def connect(address: Any) -> Any:
        outcome = plan[address[1][0]]
        if isinstance(outcome, OSError):
            await trio.lowlevel.checkpoint()
            raise outcome
        await trio.sleep(outcome)
        return FakeSocket(address)

    monkeypatch.setattr(eyeballs_module, "_connect", connect)
    monkeypatch.setattr(dialer_module, "TcpStream", lambda connected, **_: connected)
    return plan


class FakeSocket:
    def __init__(self, where: Any) -> None:
        self.where = where
        self.address = where[1][0]
        self.closed = False

    def close(self) -> None:
        self.closed = True


async def dial(dialer: TcpDialer) -> Any:
    return await dialer(endpoint("ws://exchange.test:80/stream"))


def dialer() -> TcpDialer:
    return TcpDialer(ssl.create_default_context())


async def test_the_second_address_joins_after_the_stagger_and_the_first_to_connect_wins(
    monkeypatch: pytest.MonkeyPatch, connects: dict[str, float | OSError], autojump_clock: object
) -> None:
    Resolver(monkeypatch).answer = ["192.0.2.1", "192.0.2.2", "192.0.2.3"]
    connects |= {"192.0.2.1": math.inf, "192.0.2.2": 0.1, "192.0.2.3": 0.0}
    start = trio.current_time()
    assert (await dial(dialer())).address == "192.0.2.2"
    assert trio.current_time() == pytest.approx(start + CONNECT_STAGGER_S + 0.1)


async def test_a_refused_address_gives_way_at_once(
    monkeypatch: pytest.MonkeyPatch, connects: dict[str, float | OSError], autojump_clock: object
) -> None:
    Resolver(monkeypatch).answer = ["192.0.2.1", "192.0.2.2"]
    connects |= {"192.0.2.1": ConnectionRefusedError(), "192.0.2.2": 0.0}
    start = trio.current_time()
    assert (await dial(dialer())).address == "192.0.2.2"
    assert trio.current_time() == start


async def test_the_error_number_of_a_failed_connect_survives(
    monkeypatch: pytest.MonkeyPatch, connects: dict[str, float | OSError], autojump_clock: object
) -> None:
    Resolver(monkeypatch).answer = ["192.0.2.1", "192.0.2.2"]
    connects["192.0.2.1"] = OSError(errno.EMFILE, "too many")
    connects["192.0.2.2"] = ConnectionRefusedError(errno.ECONNREFUSED, "refused")
    with pytest.raises(OSError, match="too many") as caught:
        await dial(dialer())
    assert caught.value.errno == errno.EMFILE


async def test_a_hanging_look_up_is_answered_with_the_last_good_addresses(
    monkeypatch: pytest.MonkeyPatch, connects: dict[str, float | OSError], autojump_clock: object
) -> None:
    resolver = Resolver(monkeypatch)
    connects["192.0.2.1"] = 0.0
    one = dialer()
    await dial(one)
    resolver.answer = None
    start = trio.current_time()
    assert (await dial(one)).address == "192.0.2.1"
    assert trio.current_time() == start + RESOLVE_TIMEOUT_S
    with trio.move_on_after(2):
        assert (await dial(one)).address == "192.0.2.1"
    assert trio.current_time() == start + RESOLVE_TIMEOUT_S + 1, "half of the time that was left"
    resolver.answer = socket.gaierror(socket.EAI_AGAIN, "try again")
    assert (await dial(one)).address == "192.0.2.1"


@pytest.mark.parametrize(
    ("host", "where"),
    [
        ("192.0.2.7", (socket.AF_INET, ("192.0.2.7", 80))),
        ("[2001:db8::7]", (socket.AF_INET6, ("2001:db8::7", 80, 0, 0))),
    ],
)
async def test_an_address_needs_no_look_up(
    host: str,
    where: Any,
    monkeypatch: pytest.MonkeyPatch,
    connects: dict[str, float | OSError],
    autojump_clock: object,
) -> None:
    Resolver(monkeypatch).answer = AssertionError("somebody was asked")
    connects[where[1][0]] = 0.0
    stream: Any = await dialer()(endpoint(f"ws://{host}/stream"))
    assert stream.where == where


async def test_an_address_with_a_scope_is_for_the_system_to_read(
    monkeypatch: pytest.MonkeyPatch, connects: dict[str, float | OSError], autojump_clock: object
) -> None:
    Resolver(monkeypatch).answer = ["fe80::7"]
    connects["fe80::7"] = 0.0
    assert (await dialer()(endpoint("ws://[fe80::7%25lo]/stream"))).address == "fe80::7"


@pytest.mark.parametrize(
    "answer", [None, [], socket.gaierror(socket.EAI_NONAME, "unknown"), UnicodeError("label")]
)
async def test_a_name_that_never_resolved_is_an_error(
    answer: object, monkeypatch: pytest.MonkeyPatch, autojump_clock: object
) -> None:
    Resolver(monkeypatch).answer = answer
    start = trio.current_time()
    with pytest.raises(NameResolutionError, match="DNS gives no address of exchange"):
        await dial(dialer())
    assert trio.current_time() == start + (RESOLVE_TIMEOUT_S if answer is None else 0)


async def test_a_connect_that_succeeds_as_it_is_cancelled_leaks_no_socket(
    monkeypatch: pytest.MonkeyPatch, autojump_clock: object
) -> None:
    Resolver(monkeypatch).answer = ["192.0.2.1", "192.0.2.2"]
    opened: list[FakeSocket] = []

    async def connect(address: Any) -> Any:
        await trio.sleep(1 if address[1][0] == "192.0.2.1" else math.inf)
        opened.append(FakeSocket(address))
        scope.cancel()
        return opened[0]

    monkeypatch.setattr(eyeballs_module, "_connect", connect)
    with trio.CancelScope() as scope:
        await dial(dialer())
    assert scope.cancelled_caught
    assert opened[0].closed


async def test_an_address_that_took_a_connection_and_led_nowhere_is_tried_last(
    monkeypatch: pytest.MonkeyPatch, connects: dict[str, float | OSError], autojump_clock: object
) -> None:
    Resolver(monkeypatch).answer = ["192.0.2.1", "192.0.2.2", "192.0.2.3"]
    connects |= {"192.0.2.1": 0.0, "192.0.2.2": 0.0, "192.0.2.3": 0.0}
    one = dialer()
    seen: list[str] = []
    for _ in range(5):
        seen.append((await dial(one)).address)
        await trio.sleep(1)
    assert [address[-1] for address in seen] == ["1", "2", "3", "1", "2"]


async def test_an_address_that_led_to_a_websocket_is_tried_in_its_usual_place(
    monkeypatch: pytest.MonkeyPatch, connects: dict[str, float | OSError], autojump_clock: object
) -> None:
    Resolver(monkeypatch).answer = ["192.0.2.1", "192.0.2.2"]
    connects |= {"192.0.2.1": 0.0, "192.0.2.2": 0.0}
    one = dialer()
    first = await dial(one)
    first.proven()
    await trio.sleep(1)
    second = await dial(one)
    assert (first.address, second.address) == ("192.0.2.1", "192.0.2.1")
    await trio.sleep(1)
    third = await dial(one)
    assert third.address == "192.0.2.2", "the second one led nowhere"

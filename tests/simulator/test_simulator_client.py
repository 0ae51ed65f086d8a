"""A raw WebSocket client for the simulator's tests, and the in-memory pipes under it."""

from __future__ import annotations

import contextlib
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
import trio
import trio.testing
import wsproto
import wsproto.events as ws
import wsproto.utilities
from wsproto.connection import ConnectionState as State

from k2trio.simulator import (
    Exchange,
    Fault,
    FaultBoard,
    FaultKind,
    Limits,
    Market,
    MemoryNetwork,
    RestLimits,
    RestServer,
    memory_pair,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

HOST, PORT = "exchange.test", 9443


class Entry(NamedTuple):
    """One thing that a client saw."""

    time: float
    kind: str
    value: Any


@dataclass
class Client:
    """Logs everything that arrives, with its time."""

    stream: trio.abc.Stream
    pongs: bool = True
    log: list[Entry] = field(default_factory=list)
    received: bytes = b""
    status: int | None = None
    headers: dict[str, str] = field(default_factory=dict)
    upgraded: trio.Event = field(default_factory=trio.Event)
    done: trio.Event = field(default_factory=trio.Event)
    chunks: int = 0
    _text: str = ""

    def note(self, kind: str, value: Any = None) -> None:
        self.log.append(Entry(trio.current_time(), kind, value))

    def of(self, kind: str) -> list[Any]:
        return [entry.value for entry in self.log if entry.kind == kind]

    def times(self, kind: str) -> list[float]:
        return [round(entry.time, 6) for entry in self.log if entry.kind == kind]

    def json(self) -> list[Any]:
        return [json.loads(text) for text in self.of("text")]

    async def run(self, target: str) -> None:
        """Upgrade and read until the end."""
        try:
            self.connection = wsproto.WSConnection(wsproto.ConnectionType.CLIENT)
            await self.stream.send_all(self.connection.send(ws.Request(HOST, target)))
            while data := await self.stream.receive_some(65536):
                self.received += data
                self.chunks += 1
                self.connection.receive_data(bytes(data))
                for event in self.connection.events():
                    await self._on(event)
            self.note("eof")
        except trio.BrokenResourceError:
            self.note("reset")
        except trio.ClosedResourceError:
            self.note("closed by the test")
        except wsproto.utilities.RemoteProtocolError as error:
            self.note("violation", str(error))
        finally:
            await trio.aclose_forcefully(self.stream)
            self.upgraded.set()
            self.done.set()

    async def _on(self, event: ws.Event) -> None:
        match event:
            case ws.AcceptConnection():
                self.status = 101
                self.upgraded.set()
            case ws.RejectConnection(status_code=status, headers=headers):
                self.status = status
                self.headers = {name.decode(): value.decode() for name, value in headers}
            case ws.TextMessage(data=data, message_finished=finished):
                self._text += data
                if finished:
                    self.note("text", self._text)
                    self._text = ""
            case ws.BytesMessage(data=data):
                self.note("binary", bytes(data))
            case ws.Ping(payload=payload):
                self.note("ping", bytes(payload))
                if self.pongs:
                    await self.send(event.response())
            case ws.Pong(payload=payload):
                self.note("pong", bytes(payload))
            case ws.CloseConnection(code=code, reason=reason):
                if self.connection.state is State.OPEN:  # how wsproto reports a broken frame
                    raise wsproto.utilities.RemoteProtocolError(str(reason))
                self.note("close", (int(code), reason))
                if self.connection.state is State.REMOTE_CLOSING:
                    await self.send(event.response())
            case _:
                pass

    def last(self) -> tuple[str, Any]:
        """The last thing seen."""
        return self.log[-1].kind, self.log[-1].value

    async def send(self, event: ws.Event) -> None:
        await self.stream.send_all(self.connection.send(event))

    async def ask(self, **request: Any) -> None:
        await self.send(ws.Message(json.dumps(request)))


@dataclass
class World:
    """A venue in memory."""

    exchange: Exchange
    board: FaultBoard
    network: MemoryNetwork
    rest: RestServer
    nursery: trio.Nursery

    async def connect(
        self, target: str = "/stream?streams=btcusdt@trade", *, pongs: bool = True
    ) -> Client:
        """Connect and wait until the upgrade is answered, or the connection ended."""
        client = await self.begin(target, pongs=pongs)
        await client.upgraded.wait()
        return client

    async def begin(self, target: str, *, pongs: bool = True) -> Client:
        client = Client(await self.network.dial(HOST, PORT), pongs)
        self.nursery.start_soon(client.run, target)
        return client

    async def fault(self, kind: FaultKind, at: float = 0.0, **details: Any) -> None:
        """Add a fault and, if it is due, let it happen."""
        self.board.add([Fault(at=at, endpoint="a", kind=kind, **details)])
        await trio.testing.wait_all_tasks_blocked()


@contextlib.asynccontextmanager
async def world(
    *,
    rate: float = 1.0,
    seed: int = 0,
    limits: Limits | None = None,
    rest_limits: RestLimits | None = None,
    schedule: tuple[Fault, ...] = (),
    history: int = 100_000,
    latency_s: float = 0.0,
    **options: Any,
) -> AsyncIterator[World]:
    board = FaultBoard(schedule)
    market = Market(seed=seed, rate=rate, history=history)
    exchange = Exchange("venue", market, faults=board, limits=limits, **options)
    network = MemoryNetwork(board, latency_s=latency_s)
    network.add(HOST, PORT, exchange, "a")
    rest = RestServer(exchange, limits=rest_limits)
    network.add_rest(HOST, rest)
    async with trio.open_nursery() as nursery:
        await nursery.start(network.run)
        yield World(exchange, board, network, rest, nursery)
        nursery.cancel_scope.cancel()
    assert exchange.sessions == {}


# The pipes


async def test_bytes_arrive_in_order_and_fin_ends_them(autojump_clock: object) -> None:
    one, other = memory_pair()
    await one.send_all(b"abc")
    await one.send_all(b"def")
    await one.send_eof()
    assert await other.receive_some(4) == b"abcd"
    assert await other.receive_some() == b"ef"
    assert await other.receive_some() == b""
    await other.send_all(b"still open this way")
    assert await one.receive_some() == b"still open this way"
    with pytest.raises(trio.ClosedResourceError):
        await one.send_all(b"after eof")


async def test_a_sender_waits_while_the_window_is_full(autojump_clock: object) -> None:
    one, other = memory_pair(window_bytes=10)
    sent_at: list[float] = []

    async def send() -> None:
        await one.send_all(b"x" * 25)
        sent_at.append(trio.current_time())

    start = trio.current_time()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(send)
        for _ in range(2):
            await trio.sleep(5)
            assert len(await other.receive_some()) == 10
    assert sent_at == [start + 10]


async def test_latency_delays_bytes_and_the_end_alike(autojump_clock: object) -> None:
    one, other = memory_pair(latency_s=0.25)
    start = trio.current_time()
    await one.send_all(b"a")
    await trio.sleep(0.1)
    await one.send_eof()
    assert await other.receive_some() == b"a"
    assert trio.current_time() == start + 0.25
    assert await other.receive_some() == b""
    assert trio.current_time() == start + 0.35


async def test_a_reset_breaks_both_sides_but_what_arrived_can_be_read(
    autojump_clock: object,
) -> None:
    one, other = memory_pair()
    await one.send_all(b"a")
    one.reset()
    assert await other.receive_some() == b"a"
    with pytest.raises(trio.BrokenResourceError):
        await other.receive_some()
    with pytest.raises(trio.BrokenResourceError):
        await other.send_all(b"b")
    with pytest.raises(trio.ClosedResourceError):
        await one.receive_some()


async def test_closing_wakes_our_own_reader(autojump_clock: object) -> None:
    one, _other = memory_pair()

    async def read() -> None:
        with pytest.raises(trio.ClosedResourceError):
            await one.receive_some()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(read)
        await trio.testing.wait_all_tasks_blocked()
        await one.aclose()


async def test_closing_wakes_the_peers_blocked_writer(autojump_clock: object) -> None:
    one, other = memory_pair(window_bytes=1)

    async def write() -> None:
        with pytest.raises(trio.BrokenResourceError):
            await other.send_all(b"xx")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(write)
        await trio.testing.wait_all_tasks_blocked()
        await one.aclose()


async def test_two_tasks_cannot_use_one_direction(autojump_clock: object) -> None:
    one, _other = memory_pair()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(one.receive_some)
        await trio.testing.wait_all_tasks_blocked()
        with pytest.raises(trio.BusyResourceError):
            await one.receive_some()
        nursery.cancel_scope.cancel()


async def test_cancelling_a_receive_loses_nothing(autojump_clock: object) -> None:
    one, other = memory_pair()
    with trio.move_on_after(1):
        await other.receive_some()
    await one.send_all(b"kept")
    assert await other.receive_some() == b"kept"


async def test_the_pipes_pass_trios_own_stream_checks() -> None:
    async def make() -> tuple[trio.abc.HalfCloseableStream, trio.abc.HalfCloseableStream]:
        return memory_pair()

    async def make_clogged() -> tuple[trio.abc.HalfCloseableStream, trio.abc.HalfCloseableStream]:
        one, other = memory_pair(window_bytes=100)
        await one.send_all(b"x" * 100)
        await other.send_all(b"x" * 100)
        return one, other

    await trio.testing.check_half_closeable_stream(make, make_clogged)

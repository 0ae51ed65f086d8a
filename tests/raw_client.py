"""A raw WebSocket client of the simulated exchange, and the world around both."""

from __future__ import annotations

import contextlib
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

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

"""What a venue really did: the answer that a client's results are checked against."""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import trio

from k2trio.market.streams import Kind, parse_stream

from ..market import payloads
from ..market.contract import symbol_of
from ..market.lookup import payload_of

if TYPE_CHECKING:
    from ..market.contract import VenueMarket
    from ..market.message import Message

MAX_ENTRIES = 500_000
"""Attempts, client messages and losses remembered, each; older ones are forgotten."""

MAX_CONNECTIONS = 10_000
"""Connections of which is remembered what they were told; the oldest are forgotten."""

IN_HISTORY = frozenset({Kind.TRADE, Kind.AGG_TRADE, Kind.BLOCK_TRADE})
"""Kinds whose messages the market itself remembers, by id."""

MAX_MESSAGES = 20_000
"""Messages remembered per watched stream (trades by id are in the market's history as well)."""


class Attempt(NamedTuple):
    """One attempt to connect.

    :ivar time: seconds, as in :func:`trio.current_time`; when the outcome was known.
    :ivar outcome: ``"accepted"``, ``"http_<status>"``, or the value of the fault that it met.
    """

    time: float
    endpoint: str
    client: str
    outcome: str


class ClientMessage(NamedTuple):
    """One message of a client: ``"text"``, ``"binary"``, ``"ping"``, ``"pong"`` or ``"close"``.

    :ivar detail: the method of a control message, the code of a close frame, else empty.
    """

    time: float
    connection: int
    type: str
    detail: str


class Loss(NamedTuple):
    """A message that the venue did not give to one connection as it should have.

    :ivar deed: ``"dropped"``, ``"stalled"``, ``"duplicated"`` or ``"reordered"``.
    """

    time: float
    connection: int
    stream: str
    first: int
    last: int
    deed: str


class Ending(NamedTuple):
    """The end of one connection, and why."""

    time: float
    connection: int
    endpoint: str
    cause: str


@dataclass(slots=True)
class Told:
    """What one connection was told.

    :ivar route: on which it came, where the venue has such.
    :ivar since: when it was opened; seconds.
    :ivar times: when the venue emitted the newest messages that it was told; microseconds. Not
        those that a fault kept from it, nor those that were lost on the way as they were sent.
    """

    endpoint: str
    route: str
    since: float
    times: deque[int]


@dataclass(slots=True)
class Emitted:
    """What was emitted on one watched stream.

    :ivar count: messages.
    :ivar ranges: ``[first, last]`` of covered ids, for kinds whose ids prove; one range
        unless the ids jumped.
    :ivar messages: the newest messages, oldest first; ``.render(1000)`` gives the payload bytes.
    :ivar closed_bars: open times in ms of the bars that a kline stream closed.
    :ivar contiguous: whether ``ranges`` are kept.
    :ivar in_history: trades of all kinds: the market remembers them, ``messages`` is empty.
    """

    count: int
    ranges: list[list[int]]
    messages: deque[Message]
    closed_bars: deque[int]
    contiguous: bool
    in_history: bool


class Truth:
    """What one venue emitted, and what its clients did.

    Trades of all kinds and symbols are known from the start of the run, watched or
    not (:meth:`ranges`, :meth:`payload`). Every other stream is known from the moment it was
    first subscribed to, or watched by the exchange's ``record``; from then on also what was
    emitted while nobody was connected.

    :ivar emitted: per watched stream name, in the order of first use.
    :ivar attempts: every connection attempt.
    :ivar client_messages: every message that a client sent.
    :ivar losses: every message that a fault kept from a connection, doubled or moved.
    :ivar endings: every connection's end.
    :ivar told: what the newest connections were told, by their number.
    :ivar absurd: messages that were told and never emitted, see ``FaultKind.ABSURD_KEY``.
    :ivar renumbered: when ids began anew; seconds.
    :ivar open_connections: connections that are open now, the upgrade done.
    :ivar refused_controls: errors answered to control messages, by code.
    """

    def __init__(self, market: VenueMarket) -> None:
        self._market = market
        self.emitted: dict[str, Emitted] = {}
        self.attempts: deque[Attempt] = deque(maxlen=MAX_ENTRIES)
        self.client_messages: deque[ClientMessage] = deque(maxlen=MAX_ENTRIES)
        self.losses: deque[Loss] = deque(maxlen=MAX_ENTRIES)
        self.endings: deque[Ending] = deque(maxlen=MAX_ENTRIES)
        self.told: dict[int, Told] = {}
        self.absurd: deque[Message] = deque(maxlen=MAX_ENTRIES)
        self.renumbered: deque[float] = deque(maxlen=MAX_ENTRIES)
        self.refused_controls: Counter[int] = Counter()
        self.open_connections = 0

    def watch(self, stream: str) -> Emitted:
        """Remember a stream from now on."""
        if stream not in self.emitted:
            parsed = parse_stream(stream, self._market.product)
            self.emitted[stream] = Emitted(
                count=0,
                ranges=[],
                messages=deque(maxlen=MAX_MESSAGES),
                closed_bars=deque(maxlen=MAX_MESSAGES),
                contiguous=parsed.order.rule.proves,
                in_history=parsed.kind in IN_HISTORY,
            )
        return self.emitted[stream]

    def note(self, message: Message) -> None:
        """Remember a message of a watched stream."""
        entry = self.emitted[message.stream]
        entry.count += 1
        if not entry.in_history:
            entry.messages.append(message)
        if message.closed_bar_ms is not None:
            entry.closed_bars.append(message.closed_bar_ms)
        if entry.contiguous:
            if entry.ranges and message.first == entry.ranges[-1][1] + 1:
                entry.ranges[-1][1] = message.last
            else:
                entry.ranges.append([message.first, message.last])

    def ranges(self, stream: str) -> list[tuple[int, int]]:
        """The id ranges emitted on a contiguous stream; one unless the ids jumped.

        For trades of all kinds: from the start of the run.
        """
        parsed = parse_stream(stream, self._market.product)
        match parsed.kind:
            case Kind.TRADE:
                found = symbol_of(self._market, parsed).trade_ids.ranges
            case Kind.AGG_TRADE:
                found = symbol_of(self._market, parsed).agg_ids.ranges
            case Kind.BLOCK_TRADE:
                found = symbol_of(self._market, parsed).block_ids.ranges
            case _:
                found = self.watch(parsed.name).ranges
        return [(first, last) for first, last in found]

    def payload(self, stream: str, last: int, unit: int = payloads.MILLISECOND) -> bytes | None:
        """Payload bytes of the message whose order key ends at ``last``; None if forgotten.

        :param unit: the wire's time unit in microseconds.
        """
        parsed = parse_stream(stream, self._market.product)
        if parsed.kind in IN_HISTORY:
            return payload_of(self._market, parsed.name, last, unit)
        for message in reversed(self.watch(parsed.name).messages):
            if message.last == last:
                return message.render(unit)
        return None

    def shared_ids(self, stream: str) -> list[int]:
        """Ids of an aggregate trade stream that two messages have, oldest first."""
        parsed = parse_stream(stream, self._market.product)
        return symbol_of(self._market, parsed).shared_ids if parsed.kind is Kind.AGG_TRADE else []

    def sent_ids(self, stream: str) -> list[tuple[int, int]]:
        """When messages of a stream were emitted (microseconds), and their last order keys.

        As far as that is remembered, oldest first.
        """
        parsed = parse_stream(stream, self._market.product)
        match parsed.kind:
            case Kind.TRADE:
                records = symbol_of(self._market, parsed).trades.records
                return [(trade.time_us, trade.id) for trade in records]
            case Kind.AGG_TRADE:
                aggregates = symbol_of(self._market, parsed).agg_trades.records
                return [(trade.time_us, trade.id) for trade in aggregates]
            case Kind.BLOCK_TRADE:
                blocks = symbol_of(self._market, parsed).block_trades.records
                return [(trade.time_us, trade.id) for trade in blocks]
            case _:
                messages = self.watch(parsed.name).messages
                return [(message.time_us, message.last) for message in messages]

    def begin(self, number: int, endpoint: str, route: str) -> None:
        """Remember a connection from now on."""
        if len(self.told) >= MAX_CONNECTIONS:
            del self.told[next(iter(self.told))]
        times: deque[int] = deque(maxlen=MAX_MESSAGES)
        self.told[number] = Told(endpoint, route, trio.current_time(), times)

    def note_attempt(self, endpoint: str, client: str, outcome: str) -> None:
        """Remember a connection attempt, see :class:`Attempt`."""
        self.attempts.append(Attempt(trio.current_time(), endpoint, client, outcome))

    def outcomes(self) -> dict[str, int]:
        """Connection attempts by outcome."""
        return dict(Counter(attempt.outcome for attempt in self.attempts))

    def summary(self) -> dict[str, object]:
        """Counts, as ``GET /simulator/truth`` shows them."""
        streams = {
            name: {"count": entry.count, "ranges": entry.ranges[-10:]}
            for name, entry in self.emitted.items()
        }
        symbols = {
            name: {
                "trades": symbol.trade_ids.ranges[-10:],
                "aggTrades": symbol.agg_ids.ranges[-10:],
                "blockTrades": symbol.block_ids.ranges[-10:],
                "updateId": symbol.update_id,
            }
            for name, symbol in self._market.symbols.items()
        }
        return {
            "openConnections": self.open_connections,
            "attempts": self.outcomes(),
            "clientMessages": dict(Counter(item.type for item in self.client_messages)),
            "endings": dict(Counter(item.cause for item in self.endings)),
            "losses": dict(Counter(item.deed for item in self.losses)),
            "streams": streams,
            "symbols": symbols,
        }

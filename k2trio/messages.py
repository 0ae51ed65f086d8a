"""Typed payloads of the exchange, and the decoder that turns frames into events.

Prices and quantities stay the decimal strings that the exchange sent, so they are exact; wrap them
in :class:`decimal.Decimal` where arithmetic is needed. Times are Unix milliseconds (microseconds
where the feed was opened with that unit).

Source: Binance spot API docs, "WebSocket Streams".
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Generic, Literal, TypeAlias, TypeVar

import msgspec
from msgspec import field

from .errors import UnknownStreamError
from .streams import Kind, Stream, parse_stream

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

EXCERPT_BYTES = 200
"""How much of a malformed payload is kept for the log."""

Level = tuple[str, str]
"""Price and quantity of one book level; quantity zero removes it (in a diff)."""


class Trade(msgspec.Struct, frozen=True, gc=False, tag_field="e", tag="trade"):
    """One trade (stream ``<symbol>@trade``)."""

    event_time: int = field(name="E")
    symbol: str = field(name="s")
    trade_id: int = field(name="t")
    price: str = field(name="p")
    quantity: str = field(name="q")
    trade_time: int = field(name="T")
    buyer_is_maker: bool = field(name="m")


class AggTrade(msgspec.Struct, frozen=True, gc=False, tag_field="e", tag="aggTrade"):
    """Trades of one taker order at one price (stream ``<symbol>@aggTrade``)."""

    event_time: int = field(name="E")
    symbol: str = field(name="s")
    agg_id: int = field(name="a")
    price: str = field(name="p")
    quantity: str = field(name="q")
    first_trade_id: int = field(name="f")
    last_trade_id: int = field(name="l")
    trade_time: int = field(name="T")
    buyer_is_maker: bool = field(name="m")


class BlockTrade(msgspec.Struct, frozen=True, gc=False, tag_field="e", tag="blockTrade"):
    """One block trade (stream ``<symbol>@blockTrade``)."""

    event_time: int = field(name="E")
    symbol: str = field(name="s")
    trade_id: int = field(name="t")
    price: str = field(name="p")
    quantity: str = field(name="q")
    trade_time: int = field(name="T")


class Depth(msgspec.Struct, frozen=True, tag_field="e", tag="depthUpdate"):
    """Changes of the book (stream ``<symbol>@depth[@100ms]``)."""

    event_time: int = field(name="E")
    symbol: str = field(name="s")
    first_update_id: int = field(name="U")
    last_update_id: int = field(name="u")
    bids: list[Level] = field(name="b")
    asks: list[Level] = field(name="a")


class PartialDepth(msgspec.Struct, frozen=True):
    """The best levels of the book (stream ``<symbol>@depth<levels>``); carries no symbol."""

    last_update_id: int = field(name="lastUpdateId")
    bids: list[Level]
    asks: list[Level]


class BookTicker(msgspec.Struct, frozen=True, gc=False):
    """Best bid and ask (stream ``<symbol>@bookTicker``)."""

    update_id: int = field(name="u")
    symbol: str = field(name="s")
    bid: str = field(name="b")
    bid_quantity: str = field(name="B")
    ask: str = field(name="a")
    ask_quantity: str = field(name="A")


class Bar(msgspec.Struct, frozen=True, gc=False):
    """The candlestick inside a kline message."""

    open_time: int = field(name="t")
    close_time: int = field(name="T")
    symbol: str = field(name="s")
    interval: str = field(name="i")
    open: str = field(name="o")
    close: str = field(name="c")
    high: str = field(name="h")
    low: str = field(name="l")
    volume: str = field(name="v")
    trades: int = field(name="n")
    closed: bool = field(name="x")
    quote_volume: str = field(name="q")


class Kline(msgspec.Struct, frozen=True, tag_field="e", tag="kline"):
    """The current bar (stream ``<symbol>@kline_<interval>``)."""

    event_time: int = field(name="E")
    symbol: str = field(name="s")
    bar: Bar = field(name="k")


class MiniTicker(msgspec.Struct, frozen=True, gc=False, tag_field="e", tag="24hrMiniTicker"):
    """Rolling 24 h summary (stream ``<symbol>@miniTicker``)."""

    event_time: int = field(name="E")
    symbol: str = field(name="s")
    close: str = field(name="c")
    open: str = field(name="o")
    high: str = field(name="h")
    low: str = field(name="l")
    volume: str = field(name="v")
    quote_volume: str = field(name="q")


class Ticker(msgspec.Struct, frozen=True, gc=False, tag_field="e", tag="24hrTicker"):
    """Rolling 24 h statistics (stream ``<symbol>@ticker``)."""

    event_time: int = field(name="E")
    symbol: str = field(name="s")
    change: str = field(name="p")
    change_percent: str = field(name="P")
    average: str = field(name="w")
    last: str = field(name="c")
    bid: str = field(name="b")
    bid_quantity: str = field(name="B")
    ask: str = field(name="a")
    ask_quantity: str = field(name="A")
    open: str = field(name="o")
    high: str = field(name="h")
    low: str = field(name="l")
    volume: str = field(name="v")
    quote_volume: str = field(name="q")
    trades: int = field(name="n")


class WindowTicker(msgspec.Struct, frozen=True, gc=False):
    """Rolling statistics of 1 h, 4 h or 1 d (stream ``<symbol>@ticker_<window>``)."""

    event: Literal["1hTicker", "4hTicker", "1dTicker"] = field(name="e")
    event_time: int = field(name="E")
    symbol: str = field(name="s")
    change: str = field(name="p")
    change_percent: str = field(name="P")
    average: str = field(name="w")
    last: str = field(name="c")
    open: str = field(name="o")
    high: str = field(name="h")
    low: str = field(name="l")
    volume: str = field(name="v")
    quote_volume: str = field(name="q")
    trades: int = field(name="n")


class AvgPrice(msgspec.Struct, frozen=True, gc=False, tag_field="e", tag="avgPrice"):
    """Average price over an interval (stream ``<symbol>@avgPrice``)."""

    event_time: int = field(name="E")
    symbol: str = field(name="s")
    interval: str = field(name="i")
    price: str = field(name="w")
    last_trade_time: int = field(name="T")


class ReferencePrice(msgspec.Struct, frozen=True, gc=False, tag_field="e", tag="referencePrice"):
    """Reference price, None where the exchange has none (stream ``<symbol>@referencePrice``)."""

    symbol: str = field(name="s")
    price: str | None = field(name="r")
    time: int = field(name="t")


Payload: TypeAlias = (
    Trade
    | AggTrade
    | BlockTrade
    | Depth
    | PartialDepth
    | BookTicker
    | Kline
    | MiniTicker
    | Ticker
    | WindowTicker
    | AvgPrice
    | ReferencePrice
    | list[MiniTicker]
    | list[WindowTicker]
)

PAYLOADS: dict[Kind, Any] = {
    Kind.TRADE: Trade,
    Kind.AGG_TRADE: AggTrade,
    Kind.BLOCK_TRADE: BlockTrade,
    Kind.DEPTH: Depth,
    Kind.PARTIAL_DEPTH: PartialDepth,
    Kind.BOOK_TICKER: BookTicker,
    Kind.KLINE: Kline,
    Kind.MINI_TICKER: MiniTicker,
    Kind.ALL_MINI_TICKERS: list[MiniTicker],
    Kind.TICKER: Ticker,
    Kind.WINDOW_TICKER: WindowTicker,
    Kind.ALL_WINDOW_TICKERS: list[WindowTicker],
    Kind.AVG_PRICE: AvgPrice,
    Kind.REFERENCE_PRICE: ReferencePrice,
}
"""The type of ``Event.data`` per stream kind."""

Origin = Literal["live", "backfill", "snapshot"]


class Event(msgspec.Struct, frozen=True):
    """One message of the venue.

    :ivar data: the typed payload; its type follows from the stream's kind (``PAYLOADS``).
    :ivar stream: stream name.
    :ivar venue: the exchange whose ids these are.
    :ivar received: Unix time in seconds at which the bytes were read.
    :ivar raw: the payload exactly as the exchange sent it (UTF-8 JSON).
    :ivar origin: ``"live"``, or where else it came from.
    """

    data: Any
    stream: str
    venue: str
    received: float
    raw: bytes
    origin: Origin = "live"


class ServerShutdown(msgspec.Struct, frozen=True):
    """The exchange announces that it will close this connection soon."""

    event_time: int


class Reply(msgspec.Struct, frozen=True):
    """Answer to a control message.

    :ivar code: error code, or None for a success.
    :ivar result: what a success carries, as JSON.
    """

    id: int | None
    result: bytes
    code: int | None = None
    message: str = ""


class Malformed(msgspec.Struct, frozen=True):
    """A payload that could not be understood.

    :ivar error_type: ``bad_json``, ``bad_payload``, ``unknown_stream`` or ``unknown_event``.
    :ivar excerpt: its first bytes, as printable text.
    """

    error_type: str
    detail: str
    excerpt: str


Control = ServerShutdown | Reply | Malformed


_T = TypeVar("_T")


class _Combined(msgspec.Struct, Generic[_T], frozen=True, gc=False):
    data: _T


class _ReplyError(msgspec.Struct):
    code: int | None = None
    msg: str = ""


class _Loose(msgspec.Struct):
    """Everything that is not a well-formed combined frame in its usual byte layout."""

    stream: str | None = None
    data: msgspec.Raw = msgspec.Raw(b"")
    e: str | None = None
    E: int = 0
    id: int | None = None
    result: msgspec.Raw = msgspec.Raw(b"")
    code: int | None = None
    msg: str = ""
    error: _ReplyError | None = None


class _ShutdownPayload(msgspec.Struct, tag_field="e", tag="serverShutdown"):
    E: int = 0


_decode_loose = msgspec.json.Decoder(_Loose).decode
_decode_shutdown = msgspec.json.Decoder(_ShutdownPayload).decode
_combined: Any = _Combined  # subscripted at run time, once per payload type
_DECODERS: dict[Kind, Callable[[bytes], Any]] = {
    kind: msgspec.json.Decoder(_combined[payload]).decode for kind, payload in PAYLOADS.items()
}
_DATA_DECODERS = {kind: msgspec.json.Decoder(payload).decode for kind, payload in PAYLOADS.items()}
# msgspec reports nesting beyond the interpreter's limit as RecursionError.
_DECODE_ERRORS = (msgspec.MsgspecError, RecursionError, UnicodeDecodeError)

_PREFIX = b'{"stream":"'
_SEPARATOR = b'","data":'
_SHUTDOWN_STREAM = "!serverShutdown"


def excerpt(payload: bytes) -> str:
    """The first bytes of a payload, safe to log."""
    text = payload[:EXCERPT_BYTES].decode("utf-8", "backslashreplace")
    return text if text.isprintable() else text.encode("unicode_escape").decode("ascii")


def decode_payload(kind: Kind, raw: bytes) -> Payload:
    """Decode one bare payload (what stands in ``data`` of a combined frame).

    :raises msgspec.MsgspecError: if it is not of that kind.
    """
    payload: Payload = _DATA_DECODERS[kind](raw)  # the table ties kind to type
    return payload


class Decoder:
    """Turns the text frames of one combined-stream connection into events.

    The exchange writes every combined frame as ``{"stream":"<name>","data":<payload>}`` without
    white space, so the name is cut out by position and the frame is parsed once, straight into its
    type. Anything else takes the slow path: control replies, announcements, unusual layouts.
    One bad payload never spoils its batch.
    """

    def __init__(self, venue: str) -> None:
        self.venue = venue
        self._routes: dict[bytes, tuple[str, Callable[[bytes], Any]]] = {}

    def decode(
        self, payloads: Sequence[bytes], received: float
    ) -> tuple[list[Event], list[Control]]:
        """Decode a batch.

        :param payloads: text frames in order of arrival.
        :param received: Unix time in seconds at which they were read.
        :returns: the events in order, and what was not an event in order.
        """
        events: list[Event] = []
        control: list[Control] = []
        routes, venue, add = self._routes, self.venue, events.append
        for payload in payloads:
            end = payload.find(_SEPARATOR, 11, 160)
            route = routes.get(payload[11:end]) if end > 0 and payload.startswith(_PREFIX) else None
            if route is None:
                self._decode_slowly(payload, received, events, control)
                continue
            try:
                data = route[1](payload).data
            except _DECODE_ERRORS as error:
                control.append(
                    Malformed(_error_type(error), str(error)[:EXCERPT_BYTES], excerpt(payload))
                )
                continue
            add(Event(data, route[0], venue, received, payload[end + 9 : -1]))
        return events, control

    def _decode_slowly(
        self, payload: bytes, received: float, events: list[Event], control: list[Control]
    ) -> None:
        try:
            loose = _decode_loose(payload)
            if loose.stream is None:
                control.append(_without_stream(loose, payload))
            elif loose.stream == _SHUTDOWN_STREAM:
                control.append(ServerShutdown(_decode_shutdown(loose.data).E))
            else:
                stream = parse_stream(loose.stream)
                data = _DATA_DECODERS[stream.kind](loose.data)
                events.append(Event(data, stream.name, self.venue, received, bytes(loose.data)))
                self._learn(loose.stream, stream)
        except UnknownStreamError as error:
            control.append(
                Malformed("unknown_stream", str(error)[:EXCERPT_BYTES], excerpt(payload))
            )
        except _DECODE_ERRORS as error:
            control.append(
                Malformed(_error_type(error), str(error)[:EXCERPT_BYTES], excerpt(payload))
            )

    def _learn(self, wire_name: str, stream: Stream) -> None:
        # Only names that parsed and carried a good payload get here, so the table is bounded by
        # what the exchange serves; the cap holds even if it misbehaves.
        if len(self._routes) < MAX_ROUTES:
            self._routes[wire_name.encode()] = (stream.name, _DECODERS[stream.kind])


MAX_ROUTES = 16_384
"""Stream names that one decoder remembers."""


def _error_type(error: Exception) -> str:
    return "bad_payload" if isinstance(error, msgspec.ValidationError) else "bad_json"


def _without_stream(loose: _Loose, payload: bytes) -> Control:
    if loose.e == "serverShutdown":
        return ServerShutdown(loose.E)
    if loose.error is not None:
        return Reply(loose.id, b"", loose.error.code, loose.error.msg[:EXCERPT_BYTES])
    if loose.code is not None:
        return Reply(loose.id, b"", loose.code, loose.msg[:EXCERPT_BYTES])
    if loose.id is not None:
        return Reply(loose.id, bytes(loose.result))
    return Malformed("unknown_event", f"event type {str(loose.e)[:40]!r}", excerpt(payload))

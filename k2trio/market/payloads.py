"""Typed payloads of the exchange, and the event that carries one.

Prices and quantities stay the decimal strings that the exchange sent, so they are exact; wrap them
in :class:`decimal.Decimal` where arithmetic is needed. Times are Unix milliseconds (microseconds
where the feed was opened with that unit).

Source: Binance spot API docs, "WebSocket Streams".
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Generic, Literal, TypeAlias

import msgspec
from typing_extensions import TypeVar  # its default is of Python 3.13

from .futures_payloads import (
    AssetIndex,
    CompositeIndex,
    ContinuousKline,
    ContractInfo,
    ForcedOrder,
    FuturesBookTicker,
    FuturesDepth,
    FuturesPartialDepth,
    FuturesTicker,
    MarkPrice,
    TradingSession,
)
from .kinds import Kind
from .products import DIALECTS
from .spot_payloads import (
    MAX_INTEGER,
    AggTrade,
    AvgPrice,
    Bar,
    BlockTrade,
    BookTicker,
    Depth,
    DepthSnapshot,
    Id,
    Integer,
    Kline,
    Level,
    MiniTicker,
    PartialDepth,
    ReferencePrice,
    Ticker,
    Trade,
    WindowTicker,
)

if TYPE_CHECKING:
    from .streams import Stream

__all__ = [
    "IGNORED",
    "MAX_INTEGER",
    "NS",
    "PAYLOADS",
    "SEPARATOR",
    "AggTrade",
    "AssetIndex",
    "AvgPrice",
    "Bar",
    "BlockTrade",
    "BookTicker",
    "CompositeIndex",
    "ContinuousKline",
    "ContractInfo",
    "Depth",
    "DepthSnapshot",
    "Event",
    "ForcedOrder",
    "FuturesBookTicker",
    "FuturesDepth",
    "FuturesPartialDepth",
    "FuturesTicker",
    "Id",
    "Integer",
    "Kline",
    "Level",
    "MarkPrice",
    "MiniTicker",
    "Origin",
    "P_co",
    "PartialDepth",
    "Payload",
    "ReferencePrice",
    "Ticker",
    "Trade",
    "TradingSession",
    "WindowTicker",
    "frame_of",
    "payload_of",
    "type_of",
]

SEPARATOR = b'","data":'
"""What stands between stream name and payload in a combined frame."""

NS = 1_000_000_000
"""Nanoseconds a second."""


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
    | FuturesTicker
    | ContinuousKline
    | MarkPrice
    | ForcedOrder
    | CompositeIndex
    | AssetIndex
    | ContractInfo
    | TradingSession
    | list[FuturesTicker]
    | list[MarkPrice]
    | list[AssetIndex]
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
"""The type of ``Event.data`` per stream kind, at the spot exchange."""

_OF_FUTURES: dict[Kind, Any] = {
    Kind.TRADE: Trade,
    Kind.AGG_TRADE: AggTrade,
    Kind.DEPTH: FuturesDepth,
    Kind.RPI_DEPTH: FuturesDepth,
    Kind.PARTIAL_DEPTH: FuturesPartialDepth,
    Kind.BOOK_TICKER: FuturesBookTicker,
    Kind.ALL_BOOK_TICKERS: FuturesBookTicker,
    Kind.KLINE: Kline,
    Kind.CONTINUOUS_KLINE: ContinuousKline,
    Kind.MINI_TICKER: MiniTicker,
    Kind.ALL_MINI_TICKERS: list[MiniTicker],
    Kind.TICKER: FuturesTicker,
    Kind.ALL_TICKERS: list[FuturesTicker],
    Kind.MARK_PRICE: MarkPrice,
    Kind.ALL_MARK_PRICES: list[MarkPrice],
    Kind.FORCED_ORDER: ForcedOrder,
    Kind.ALL_FORCED_ORDERS: ForcedOrder,
    Kind.COMPOSITE_INDEX: CompositeIndex,
    Kind.ASSET_INDEX: AssetIndex,
    Kind.ALL_ASSET_INDEXES: list[AssetIndex],
    Kind.CONTRACT_INFO: ContractInfo,
    Kind.TRADING_SESSION: TradingSession,
}
"""The same where futures are traded."""

_OF_FAMILY = {"spot": PAYLOADS, "futures": _OF_FUTURES}


def payload_of(kind: Kind, product: str) -> Any:
    """The type of ``Event.data`` of a kind of stream of a product."""
    return _OF_FAMILY[DIALECTS[product].family][kind]


def type_of(stream: Stream) -> Any:
    """The type of ``Event.data`` of a stream."""
    return payload_of(stream.kind, stream.product)


IGNORED: dict[type, dict[str, str]] = {
    Trade: {
        "M": "the exchange's documents say to ignore it",
        "b": "the buyer's order: binance.com tells it no more, and it would slow down every trade",
        "a": "the seller's order: the same",
        "X": "of futures: what made the trade; the stream is not documented",
        "st": "of futures: the kind of the symbol",
    },
    AggTrade: {
        "M": "the exchange's documents say to ignore it",
        "nq": "of futures: the quantity less that of retail orders, for display",
        "st": "of futures: the kind of the symbol",
    },
    FuturesDepth: dict.fromkeys(("ps", "st"), "the pair and the kind of the symbol"),
    FuturesPartialDepth: {
        "U": "these are all the best levels, whatever came before",
        "pu": "the same",
        "ps": "the pair of the symbol",
        "st": "the kind of the symbol",
    },
    Bar: {"B": "the exchange's documents say to ignore it"},
}
"""What the exchange says and no field holds: wire name → why. ``Event.raw`` has it."""

P_co = TypeVar("P_co", bound=Payload, covariant=True, default=Payload)
"""The payload of an event; where the kind of its stream is not known, any of them."""

Origin: TypeAlias = Literal["live", "backfill", "snapshot"]
"""Where an event comes from: a connection, REST, or REST as the snapshot of a book."""


class Event(msgspec.Struct, Generic[P_co], frozen=True, gc=False):
    """One message of the venue.

    :ivar data: the typed payload; its type follows from the stream's kind (``PAYLOADS``).
    :ivar stream: stream name.
    :ivar venue: the exchange whose ids these are.
    :ivar received: Unix time in seconds at which the bytes were read.
    :ivar frame: the combined frame that it came in, exactly as the exchange sent it (UTF-8 JSON).
        For ``origin`` other than ``"live"``, and where an endpoint does not know ``TIME_UNIT``, the
        frame that would have carried it.
    :ivar origin: ``"live"``, or where else it came from.
    """

    data: P_co
    stream: str
    venue: str
    received: float
    frame: bytes
    origin: Origin = "live"

    @property
    def received_ns(self) -> int:
        """The same as an integer of nanoseconds, exactly.

        A float of Unix seconds holds a quarter of a microsecond, which is finer than the time of a
        read is known. So there is one stamp, and not two to be made and carried for each message.
        """
        seconds, fraction = divmod(self.received, 1)
        return int(seconds) * NS + round(fraction * NS)

    @property
    def raw(self) -> bytes:
        """The payload exactly as the exchange sent it, cut out of ``frame`` when asked for."""
        return bytes(_cut_raw(self.frame).data)


def frame_of(stream: str, raw: bytes) -> bytes:
    """The combined frame in which the exchange sends a payload."""
    return b'{"stream":"' + stream.encode() + SEPARATOR + raw + b"}"


class _Carrier(msgspec.Struct):
    """A combined frame, of which only the payload's bytes are wanted."""

    data: msgspec.Raw


_cut_raw = msgspec.json.Decoder(_Carrier).decode

"""k2trio: the Binance market-data client that does not lose messages."""

from . import aio, futures, streams, sync
from .book.books import Books
from .book.measures import Fill
from .book.order_book import BookState, OrderBook
from .client.books import FeedBooks, books
from .client.consumer import Batches, Events
from .client.deliver import deliver
from .client.feed import Feed
from .client.health import FeedStatus, LineStatus
from .client.opening import FeedOptions, open_feed
from .continuity.items import Gap, GapReason, Item, Outage, VenueChanged
from .continuity.ledger import Coverage, Missing
from .dataset.reading import RecordBatches, read
from .dataset.recording import Recording, open_recording
from .errors import (
    BookFault,
    BrokerUnavailable,
    CircuitOpen,
    ConfigError,
    ConnectionFailed,
    FeedClosed,
    GaveUp,
    K2Error,
    SinkError,
    SubscriptionRejected,
    UnknownStreamError,
    Unreadable,
    UsageError,
)
from .kafka.log import open_log
from .loading import load_settings
from .market.payloads import (
    AggTrade,
    AssetIndex,
    AvgPrice,
    Bar,
    BlockTrade,
    BookTicker,
    CompositeIndex,
    ContinuousKline,
    ContractInfo,
    Depth,
    DepthSnapshot,
    Event,
    ForcedOrder,
    FuturesBookTicker,
    FuturesDepth,
    FuturesPartialDepth,
    FuturesTicker,
    Kline,
    Level,
    MarkPrice,
    MiniTicker,
    Origin,
    PartialDepth,
    Payload,
    ReferencePrice,
    Ticker,
    Trade,
    TradingSession,
    WindowTicker,
)
from .market.streams import Kind, Stream, parse_stream
from .observe import transitions
from .observe.latency import Latency, Spread
from .observe.metrics import Metrics
from .observe.transitions import Observer, Transition
from .policy.breaker import CircuitBreaker
from .settings import Settings
from .sinks.sink import PromptSink, Sink
from .streams import StreamName

__version__ = "0.1.0"

__all__ = [
    "AggTrade",
    "AssetIndex",
    "AvgPrice",
    "Bar",
    "Batches",
    "BlockTrade",
    "BookFault",
    "BookState",
    "BookTicker",
    "Books",
    "BrokerUnavailable",
    "CircuitBreaker",
    "CircuitOpen",
    "CompositeIndex",
    "ConfigError",
    "ConnectionFailed",
    "ContinuousKline",
    "ContractInfo",
    "Coverage",
    "Depth",
    "DepthSnapshot",
    "Event",
    "Events",
    "Feed",
    "FeedBooks",
    "FeedClosed",
    "FeedOptions",
    "FeedStatus",
    "Fill",
    "ForcedOrder",
    "FuturesBookTicker",
    "FuturesDepth",
    "FuturesPartialDepth",
    "FuturesTicker",
    "Gap",
    "GapReason",
    "GaveUp",
    "Item",
    "K2Error",
    "Kind",
    "Kline",
    "Latency",
    "Level",
    "LineStatus",
    "MarkPrice",
    "Metrics",
    "MiniTicker",
    "Missing",
    "Observer",
    "OrderBook",
    "Origin",
    "Outage",
    "PartialDepth",
    "Payload",
    "PromptSink",
    "RecordBatches",
    "Recording",
    "ReferencePrice",
    "Settings",
    "Sink",
    "SinkError",
    "Spread",
    "Stream",
    "StreamName",
    "SubscriptionRejected",
    "Ticker",
    "Trade",
    "TradingSession",
    "Transition",
    "UnknownStreamError",
    "Unreadable",
    "UsageError",
    "VenueChanged",
    "WindowTicker",
    "__version__",
    "aio",
    "books",
    "deliver",
    "futures",
    "load_settings",
    "open_feed",
    "open_log",
    "open_recording",
    "parse_stream",
    "read",
    "streams",
    "sync",
    "transitions",
]

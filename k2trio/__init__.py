"""k2trio: the Binance market-data client that does not lose messages."""

from .breaker import CircuitBreaker
from .errors import (
    CircuitOpen,
    ConfigError,
    ConnectionFailed,
    GaveUp,
    K2Error,
    SinkError,
    SubscriptionRejected,
    UnknownStreamError,
)
from .feed import Feed, FeedStatus, LineStatus, open_feed
from .messages import (
    AggTrade,
    AvgPrice,
    Bar,
    BlockTrade,
    BookTicker,
    Depth,
    DepthSnapshot,
    Event,
    Kline,
    Level,
    MiniTicker,
    PartialDepth,
    ReferencePrice,
    Ticker,
    Trade,
    WindowTicker,
)
from .metrics import Metrics
from .settings import Settings, load_settings
from .streams import Kind, Stream, parse_stream
from .track import Gap, Outage

__all__ = [
    "AggTrade",
    "AvgPrice",
    "Bar",
    "BlockTrade",
    "BookTicker",
    "CircuitBreaker",
    "CircuitOpen",
    "ConfigError",
    "ConnectionFailed",
    "Depth",
    "DepthSnapshot",
    "Event",
    "Feed",
    "FeedStatus",
    "Gap",
    "GaveUp",
    "K2Error",
    "Kind",
    "Kline",
    "Level",
    "LineStatus",
    "Metrics",
    "MiniTicker",
    "Outage",
    "PartialDepth",
    "ReferencePrice",
    "Settings",
    "SinkError",
    "Stream",
    "SubscriptionRejected",
    "Ticker",
    "Trade",
    "UnknownStreamError",
    "WindowTicker",
    "load_settings",
    "open_feed",
    "parse_stream",
]

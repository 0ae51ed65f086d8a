"""k2trio: the Binance market-data client that does not lose messages."""

from .client.feed import Feed
from .client.health import FeedStatus, LineStatus
from .client.opening import open_feed
from .continuity.items import Gap, Outage, VenueChanged
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
from .market.payloads import (
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
from .market.streams import Kind, Stream, parse_stream
from .observe.metrics import Metrics
from .policy.breaker import CircuitBreaker
from .settings import Settings, load_settings

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
    "VenueChanged",
    "WindowTicker",
    "load_settings",
    "open_feed",
    "parse_stream",
]

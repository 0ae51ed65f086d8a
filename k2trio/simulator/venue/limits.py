"""What the exchange enforces on WebSocket connections."""

from __future__ import annotations

from dataclasses import dataclass

from k2trio.market.streams import MAX_STREAMS_PER_CONNECTION


@dataclass(frozen=True, slots=True)
class Limits:
    """What the exchange enforces; the defaults are its own rules, scale them for short runs.

    :ivar client_messages_per_s: messages a client may send on a connection in any second.
    :ivar streams: streams of one connection.
    :ivar connects: connection attempts of one client in ``connects_window_s`` seconds.
    :ivar ping_interval_s: the exchange pings this often.
    :ivar pong_timeout_s: a ping must be answered within this time.
    :ivar lifetime_s: a connection ends after this time.
    :ivar buffer_bytes: bytes that wait for a slow client before it is cut off.
    :ivar close_grace_s: how long a close frame waits for its answer.
    :ivar upgrade_timeout_s: how long a client may take for its request.
    :ivar client_message_bytes: longest message of a client.

    Source: Binance spot API docs, "WebSocket Streams", general information and limits.
    """

    client_messages_per_s: int = 5
    streams: int = MAX_STREAMS_PER_CONNECTION
    connects: int = 300
    connects_window_s: float = 300.0
    ping_interval_s: float = 20.0
    pong_timeout_s: float = 60.0
    lifetime_s: float = 86_400.0
    buffer_bytes: int = 8 << 20
    close_grace_s: float = 5.0
    upgrade_timeout_s: float = 10.0
    client_message_bytes: int = 1 << 20


def limits_of(product: str) -> Limits:
    """What the exchange enforces where a product is traded.

    Source: Binance USD-M futures docs, "Websocket Market Streams".
    """
    if product == "spot":
        return Limits()
    return Limits(client_messages_per_s=10, ping_interval_s=180.0, pong_timeout_s=600.0)

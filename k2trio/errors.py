"""The errors of k2trio: one base, and a few kinds that a caller can act on."""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from collections.abc import Sequence

POLICY_VIOLATION = 1008
"""Close code by which the exchange answers too many messages (RFC 6455, section 7.4.1)."""


NAMED = 5
"""Streams that a message names; more are too many to read."""


class K2Error(Exception):
    """Base of every error that k2trio raises on purpose."""


class ConfigError(K2Error):
    """A setting, stream name or URL that cannot work; the message says what to change."""


class InUse(ConfigError):  # noqa: N818 - says what it is
    """A file that another program has locked."""


class UnknownStreamError(ConfigError):
    """A stream name that the exchange does not document."""


class UsageError(K2Error, RuntimeError):
    """A call that cannot work where or when it is made; the message says what to call instead."""


class FeedClosed(K2Error):  # noqa: N818 - as Trio names its own
    """The feed was left, or has ended; nothing more comes out of it."""


class SinkError(K2Error):
    """The output cannot be written (disk full, broken pipe); says which and why."""


class Unreadable(K2Error):  # noqa: N818 - the word of the exit code that it makes
    """A recorded file, or a part of it, is not what it should be; it says where and why."""


class BrokerUnavailable(Unreadable):
    """No broker of a log answered for long enough; says which, and what to look at."""


class BookFault(K2Error):  # noqa: N818 - the field's word for it
    """What the exchange sent makes no order book: crossed, negative, or no number."""


class GaveUp(K2Error):  # noqa: N818 - the field's word for it
    """The feed used up its reconnect attempts and ended.

    :ivar attempts: reconnect attempts made since data last flowed.
    """

    def __init__(self, attempts: int, last_failure: ConnectionFailed) -> None:
        super().__init__(
            f"gave up after {attempts} reconnect attempts; the last one failed with "
            f"{last_failure.error_type}: {last_failure}"
        )
        self.attempts = attempts
        self.last_failure = last_failure


class CircuitOpen(K2Error):  # noqa: N818 - as in the circuit breaker pattern
    """The breaker refuses the attempt.

    :ivar name: the breaker's name.
    :ivar retry_at: when it may admit one again, in :func:`trio.current_time` seconds.
    """

    def __init__(self, name: str, retry_at: float) -> None:
        super().__init__(f"circuit breaker {name} is open")
        self.name = name
        self.retry_at = retry_at


class SubscriptionRejected(K2Error):  # noqa: N818
    """The exchange refused a subscription; names the streams asked for."""

    def __init__(self, streams: tuple[str, ...], code: int | None, message: str) -> None:
        super().__init__(
            f"the exchange rejected the subscription to {', '.join(streams)}: {message} "
            f"(code {code}); check the symbol and the stream name"
        )
        self.streams = streams
        self.code = code
        self.message = message


class ReconnectReason(enum.StrEnum):
    """Label ``reason`` of ``k2_binance_reconnects_total``."""

    CONNECTION_CLOSED = "connection_closed"
    WEBSOCKET_ERROR = "websocket_error"
    UNEXPECTED_ERROR = "unexpected_error"
    HEALTH_CHECK_TIMEOUT = "health_check_timeout"


class ConnectionFailed(K2Error):  # noqa: N818
    """One connection, or the attempt to make one, failed; the feed reconnects.

    :ivar error_type: bounded label for metrics and logs.
    :ivar reason: why the reconnect happens, as the reconnect counter names it.
    :ivar trips: the peer told us to stay away: its breaker opens at once.
    :ivar cooldown_factor: how much longer than usual its breaker stays open.
    """

    error_type: str = "connection_failed"
    trips: bool = False
    cooldown_factor: float = 1
    reason: ReconnectReason = ReconnectReason.WEBSOCKET_ERROR


class DialError(ConnectionFailed):
    """TCP could not be opened: refused, unreachable."""

    error_type = "refused"


class NameResolutionError(ConnectionFailed):
    """DNS gave no address, and none from an earlier look-up is known."""

    error_type = "dns"


class LocalResourceError(ConnectionFailed):
    """This machine refused the socket (no descriptors, no memory, no port)."""

    error_type = "local_resource"
    reason = ReconnectReason.UNEXPECTED_ERROR


class TLSError(ConnectionFailed):
    """The TLS handshake failed; never answered with plaintext."""

    error_type = "tls"


class HandshakeTimeout(ConnectionFailed):
    """DNS, TCP, TLS and the WebSocket upgrade together took longer than allowed."""

    error_type = "handshake_timeout"


class ProxyTrouble(enum.StrEnum):
    """What a proxy did instead of leading to the endpoint; labels of metrics and logs."""

    UNREACHABLE = "proxy_unreachable"
    TIMEOUT = "proxy_timeout"
    CREDENTIALS = "proxy_credentials"
    REFUSED = "proxy_refused"
    GATEWAY = "proxy_gateway"
    """It cannot reach the endpoint itself."""
    PROTOCOL = "proxy_protocol"


class ProxyFailed(ConnectionFailed):
    """The proxy did not lead to the endpoint, of which nothing was learnt.

    For the feed it is a failed dial as any other: another endpoint may be let through.

    :ivar trouble: what it did.
    """

    trips: bool = False
    trouble: ProxyTrouble

    def __init__(self, trouble: ProxyTrouble, message: str) -> None:
        super().__init__(message)
        self.trouble = trouble
        self.error_type = trouble.value
        # It has decided. Wrong credentials that are sent again and again get an account locked.
        self.trips = trouble in (ProxyTrouble.CREDENTIALS, ProxyTrouble.REFUSED)


class HandshakeRefused(ConnectionFailed):
    """The server answered the upgrade with something else than 101.

    :ivar status: HTTP status code.
    :ivar retry_after: seconds asked for by ``Retry-After``, if any.
    """

    error_type: str = "handshake_refused"
    trips: bool = False

    def __init__(self, status: int, retry_after: float | None = None) -> None:
        wait = "" if retry_after is None else f", retry after {retry_after:g} s"
        super().__init__(f"the server answered the upgrade with HTTP {status}{wait}")
        self.status = status
        self.retry_after = retry_after
        self.error_type = f"http_{status}"
        # Firewall and legal region: no retry will change the answer soon (exchange docs).
        self.trips = status in (403, 451)


class Refused(ConnectionFailed):
    """The breaker refused or withdrew the attempt; nothing was learnt about the endpoint."""

    error_type = "circuit_open"


class Dropped(ConnectionFailed):
    """The connection ended and we had not asked for it: close frame, FIN or RST.

    :ivar code: WebSocket close code (RFC 6455, section 7.4.1), or None where no close
        frame came (1006 in the RFC's terms).
    """

    error_type = "dropped"
    reason = ReconnectReason.CONNECTION_CLOSED
    cooldown_factor: float = 1

    def __init__(self, detail: str, code: int | None = None) -> None:
        super().__init__(detail)
        self.code = code
        if code == POLICY_VIOLATION:
            self.cooldown_factor = 2


class Reset(Dropped):
    """The transport broke without a goodbye: RST or a write error."""

    error_type = "reset"
    reason = ReconnectReason.WEBSOCKET_ERROR


class ProtocolViolation(ConnectionFailed):
    """The peer broke HTTP or RFC 6455, or a bound of ours."""

    error_type = "protocol_violation"


class MessageTooBig(ProtocolViolation):
    """A message over ``max_message_bytes``."""

    error_type = "message_too_big"


class Stale(ConnectionFailed):
    """Nothing arrived for longer than the watchdog allows.

    :ivar tier: ``"transport"`` (no bytes at all), ``"data"`` (no data message),
        ``"stream"`` (one dead subscription) or ``"suspend"`` (the machine slept).
    :param route: on which it was, where the exchange has such.
    :param streams: that were asked for there.
    """

    error_type: str = "stale"
    reason = ReconnectReason.HEALTH_CHECK_TIMEOUT

    def __init__(
        self, tier: str, silence_s: float, route: str = "", streams: Sequence[str] = ()
    ) -> None:
        what = {
            "transport": "no bytes arrived for",
            "data": "no data message arrived for",
            "stream": "one stream had no message, though its venue had news, for",
            "suspend": "the machine was suspended for",
        }[tier]
        where = ""
        if route:  # the exchange takes a subscription to a stream of another one, and stays silent
            named = f"{', '.join(streams[:NAMED])}{' …' if len(streams) > NAMED else ''}"
            where = f" on route /{route}; perhaps these have moved to another one: {named}"
        super().__init__(f"{what} {silence_s:g} s{where}")
        self.tier = tier
        self.error_type = f"stale_{tier}"


class AttemptTimeout(ConnectionFailed):
    """A half-open probe did not prove itself within the breaker's probe deadline."""

    error_type = "probe_timeout"


def leaves(error: BaseException) -> list[BaseException]:
    """The exceptions of a group and of the groups inside it, in order; else the one itself."""
    if not isinstance(error, BaseExceptionGroup):
        return [error]
    members = cast("BaseExceptionGroup[BaseException]", error).exceptions
    return [leaf for member in members for leaf in leaves(member)]

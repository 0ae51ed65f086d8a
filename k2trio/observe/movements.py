"""Which transition moves which metric."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING

from ..policy.breaker import State
from . import transitions as on

if TYPE_CHECKING:
    from .families import Families

_HTTP_ERRORS = frozenset(f"http_{status.value}" for status in HTTPStatus)


class Movements:
    """An observer of transitions that moves metrics.

    :param symbols: the label of the feed's own metrics.
    """

    def __init__(self, families: Families, symbols: str) -> None:
        self._families = families
        self._reconnect_delay = families.reconnect_delay.labels(symbols)
        self._carriers: dict[str, dict[str, str]] = {}
        """Line → the endpoints in use by it, each with its venue."""

    def observe(self, transition: on.Transition) -> None:
        """Move the metrics that a transition concerns."""
        to = self._families
        match transition:
            case on.Dialing():
                to.dials.labels(transition.endpoint).inc()
                to.attempts.labels(transition.line)
            case on.Connected():
                to.connects.labels(transition.endpoint).inc()
                to.handshake.observe(transition.handshake_s)
            case on.Flowing():
                self._use(transition.line, transition.endpoint, transition.venue)
                if transition.outage_s is not None:
                    to.outage.observe(transition.outage_s)
            case on.BecameStable():
                to.attempts.labels(transition.line).set(0)
            case on.ConnectionLost():
                self._count_connection_error(transition.error_type)
                if transition.carrying:
                    self._keep_in_use(transition.line, None)
            case on.DialFailed():
                self._count_connection_error(transition.error_type)
            case on.Reconnecting():
                to.reconnects.labels(transition.reason).inc()
                self._reconnect_delay.set(transition.delay_s)
                to.attempts.labels(transition.line).set(transition.attempt)
            case on.Rotated():
                to.rotations.labels(transition.reason).inc()
                self._keep_in_use(transition.line, transition.to_endpoint)
            case on.RotationFailed():
                self._keep_in_use(transition.line, transition.endpoint)
            case on.Closed():
                self._keep_in_use(transition.line, None)
            case on.BreakerChanged():
                to.breaker_state.labels(transition.name).set(State[transition.new.upper()])
            case on.MalformedMessage():
                to.message_errors.labels(transition.error_type).inc(transition.messages)
            case on.OutageDeclared():
                to.unproven.inc(transition.unproven_s)
            case on.BookDiffers():
                to.book_differences.labels(transition.witness).inc(transition.times)
            case on.SubscriptionRefused():
                to.message_errors.labels("subscription_refused").inc()
            case on.PingMeasured():
                to.ping.observe(transition.round_trip_s)
            case _:
                pass

    def _count_connection_error(self, error_type: str) -> None:
        # A status is the peer's choice of three digits: only the registered ones make labels.
        if error_type.startswith("http_") and error_type not in _HTTP_ERRORS:
            error_type = "http_other"
        self._families.connection_errors.labels(error_type).inc()

    def _use(self, line: str, endpoint: str, venue: str) -> None:
        # During a rotation a line uses two endpoints, or one of them twice.
        self._carriers.setdefault(line, {})[endpoint] = venue
        self._families.in_use.labels(line, endpoint, venue).set(1)

    def _keep_in_use(self, line: str, kept: str | None) -> None:
        """Of the line's endpoints in use, leave at most the given one."""
        carriers = self._carriers.get(line, {})
        for endpoint in [name for name in carriers if name != kept]:
            self._families.in_use.labels(line, endpoint, carriers.pop(endpoint)).set(0)

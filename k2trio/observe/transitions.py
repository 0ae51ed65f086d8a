"""What happens to a feed, as values: the logic emits these; logs, metrics and displays subscribe.

Every transition of a line names it. Times are :func:`trio.current_time` seconds and
durations are seconds.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import ClassVar, Self, TypeAlias


class RotationReason(StrEnum):
    """Why a healthy connection is replaced."""

    LIFETIME = "lifetime"
    SERVER_SHUTDOWN = "server_shutdown"
    FAIL_BACK = "fail_back"


@dataclass(frozen=True, slots=True)
class Dialing:
    """An attempt starts. ``attempt`` counts retries since data last flowed; 0 is the first try."""

    line: str
    endpoint: str
    url_index: int
    venue: str
    attempt: int


@dataclass(frozen=True, slots=True)
class Connected:
    """The upgrade succeeded; no data yet."""

    line: str
    endpoint: str
    url_index: int
    venue: str
    handshake_s: float


@dataclass(frozen=True, slots=True)
class Flowing:
    """The first data message of a connection arrived; it carries the line from now on.

    ``outage_s`` is the time since the line's last message before, or None for the first one.
    """

    line: str
    endpoint: str
    url_index: int
    venue: str
    outage_s: float | None


@dataclass(frozen=True, slots=True)
class BecameStable:
    """Data has flowed long enough for the retry count to start anew."""

    line: str
    endpoint: str


@dataclass(frozen=True, slots=True)
class ConnectionLost:
    """A connection that was up failed. ``carrying`` is False for one not (or no longer) in use."""

    line: str
    endpoint: str
    url_index: int
    venue: str
    reason: str
    error_type: str
    detail: str
    lived_s: float
    silence_s: float
    carrying: bool


@dataclass(frozen=True, slots=True)
class DialFailed:
    """An attempt failed before the upgrade was done."""

    line: str
    endpoint: str
    url_index: int
    venue: str
    reason: str
    error_type: str
    detail: str
    took_s: float


@dataclass(frozen=True, slots=True)
class Reconnecting:
    """A retry is planned.

    ``delay_s`` is the nominal delay, ``wait_s`` what jitter and breakers made of it.
    """

    line: str
    endpoint: str
    url_index: int
    reason: str
    attempt: int
    delay_s: float
    wait_s: float


@dataclass(frozen=True, slots=True)
class Rotating:
    """A replacement is dialled beside the running connection."""

    line: str
    endpoint: str
    to_endpoint: str
    reason: RotationReason


@dataclass(frozen=True, slots=True)
class Rotated:
    """The replacement carries the line; the old connection is retired."""

    line: str
    endpoint: str
    venue: str
    to_endpoint: str
    reason: RotationReason
    overlap_s: float


@dataclass(frozen=True, slots=True)
class RotationFailed:
    """The replacement did not come up; the running connection goes on."""

    line: str
    endpoint: str
    to_endpoint: str
    reason: RotationReason
    error_type: str
    detail: str


@dataclass(frozen=True, slots=True)
class Closed:
    """The connection was up and is closed, since the feed was left, or has ended."""

    line: str
    endpoint: str
    venue: str


@dataclass(frozen=True, slots=True)
class BreakerChanged:
    """A circuit breaker changed its state."""

    name: str
    old: str
    new: str
    cause: str


@dataclass(frozen=True, slots=True)
class VenueFrozen:
    """The venue asked us to stay away (``Retry-After``)."""

    venue: str
    for_s: float
    status: int


@dataclass(frozen=True, slots=True)
class FrozenByAnother:
    """Another process of this address learnt that the venue wants nothing for so long."""

    venue: str
    for_s: float


@dataclass(frozen=True, slots=True)
class BudgetSharing:
    """The file of the shared budget is in use; or cannot be used, for the reason in ``problem``."""

    path: str
    problem: str


@dataclass(frozen=True, slots=True)
class Recurring:
    """What may happen a thousand times a second, and is told as sums then.

    :cvar alike: the fields that those have in common which may be joined.
    :cvar counted: the field that says how many it stands for.
    :cvar summed: other fields that add up.
    :cvar earlier: fields of which the earlier one counts; of all others it is the later one.
    """

    alike: ClassVar[tuple[str, ...]]
    counted: ClassVar[str]
    summed: ClassVar[tuple[str, ...]] = ()
    earlier: ClassVar[tuple[str, ...]] = ()

    @property
    def kind(self) -> tuple[str, ...]:
        """What it has in common with those that it may be joined with."""
        return tuple(getattr(self, name) for name in self.alike)

    @property
    def count(self) -> int:
        """How many it stands for."""
        return int(getattr(self, self.counted))

    def joined(self, later: Self) -> Self:
        """Both as one; they are of one kind."""
        sums = {
            name: getattr(self, name) + getattr(later, name)
            for name in (self.counted, *self.summed)
        }
        return replace(later, **sums, **{name: getattr(self, name) for name in self.earlier})


@dataclass(frozen=True, slots=True)
class MalformedMessage(Recurring):
    """A payload was not understood and skipped."""

    alike: ClassVar[tuple[str, ...]] = "endpoint", "error_type"
    counted = "messages"

    line: str
    endpoint: str
    error_type: str
    detail: str
    excerpt: str
    messages: int = 1


@dataclass(frozen=True, slots=True)
class GapDeclared(Recurring):
    """Ids of a stream will not be delivered; the consumer gets a ``Gap`` in their place.

    Those that a batch declares of one stream for one reason are told together: ``gaps`` ranges,
    which lie between ``first`` and ``last``. ``since`` and ``until`` are those of the ``Gap``s.
    """

    alike: ClassVar[tuple[str, ...]] = "venue", "stream", "reason"
    counted = "gaps"
    earlier: ClassVar[tuple[str, ...]] = "first", "since"

    venue: str
    stream: str
    first: int
    last: int
    reason: str
    since: float | None = None
    until: float | None = None
    gaps: int = 1


@dataclass(frozen=True, slots=True)
class OutageDeclared(Recurring):
    """Messages of a stream without provable ids may be missing; the consumer gets an ``Outage``.

    ``since`` and ``until`` are Unix time, of the messages before and after. Those of a batch are
    told together, as ``outages``; ``unproven_s`` is how long they lasted.
    """

    alike: ClassVar[tuple[str, ...]] = "venue", "stream"
    counted = "outages"
    summed: ClassVar[tuple[str, ...]] = ("unproven_s",)
    earlier: ClassVar[tuple[str, ...]] = ("since",)

    venue: str
    stream: str
    since: float
    until: float
    unproven_s: float
    outages: int = 1


@dataclass(frozen=True, slots=True)
class VenueSwitched(Recurring):
    """A stream goes on from another venue; the consumer gets a ``VenueChanged`` in its place.

    Those of a batch are told together, as ``streams``; ``stream`` is the last one.
    """

    alike: ClassVar[tuple[str, ...]] = "venue", "previous"
    counted = "streams"

    venue: str
    previous: str
    stream: str
    streams: int = 1


@dataclass(frozen=True, slots=True)
class Repaired(Recurring):
    """REST brought what was missing of a stream, and it is delivered in its place.

    ``origin`` is ``"backfill"`` for the messages themselves, and ``"snapshot"`` for a book.
    """

    alike: ClassVar[tuple[str, ...]] = "venue", "stream", "origin"
    counted = "messages"

    venue: str
    stream: str
    origin: str
    messages: int = 1


@dataclass(frozen=True, slots=True)
class BookDiffers(Recurring):
    """A book that is kept is not what the exchange says; a new snapshot is asked for.

    ``witness`` is what it was compared with, or ``"update"`` where the update itself makes no book.
    """

    alike: ClassVar[tuple[str, ...]] = "stream", "witness"
    counted = "times"

    stream: str
    witness: str
    detail: str
    times: int = 1


@dataclass(frozen=True, slots=True)
class SubscriptionRefused:
    """The exchange refused streams, or lost some that were subscribed."""

    line: str
    endpoint: str
    streams: tuple[str, ...]
    code: int | None
    detail: str


@dataclass(frozen=True, slots=True)
class StreamSilent:
    """One stream is silent while others flow and its venue has news; ``action`` says what is done.

    ``action`` is ``"resubscribe"`` or ``"reconnect"``.
    """

    line: str
    endpoint: str
    stream: str
    silence_s: float
    action: str


@dataclass(frozen=True, slots=True)
class PingMeasured:
    """A ping of ours was answered."""

    line: str
    endpoint: str
    round_trip_s: float


@dataclass(frozen=True, slots=True)
class GivingUp:
    """The retries are used up; the feed ends."""

    line: str
    attempts: int
    error_type: str
    detail: str


@dataclass(frozen=True, slots=True)
class StateNotSaved:
    """The state file could not be written; it is tried again until the attempts are used up."""

    path: str
    attempt: int
    attempts: int
    detail: str


Transition: TypeAlias = (
    Dialing
    | Connected
    | Flowing
    | BecameStable
    | ConnectionLost
    | DialFailed
    | Reconnecting
    | Rotating
    | Rotated
    | RotationFailed
    | Closed
    | BreakerChanged
    | VenueFrozen
    | FrozenByAnother
    | BudgetSharing
    | MalformedMessage
    | GapDeclared
    | OutageDeclared
    | VenueSwitched
    | Repaired
    | BookDiffers
    | SubscriptionRefused
    | StreamSilent
    | PingMeasured
    | GivingUp
    | StateNotSaved
)

Observer = Callable[[Transition], None]
"""Called synchronously with each transition, in order; must not block."""

"""What happens to a feed, as values: the logic emits these; logs, metrics and displays subscribe.

Every transition of a line names it. Times are :func:`trio.current_time` seconds and
durations are seconds.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import TypeAlias

from .recurring import BookDiffers as BookDiffers
from .recurring import GapDeclared as GapDeclared
from .recurring import MalformedMessage as MalformedMessage
from .recurring import OutageDeclared as OutageDeclared
from .recurring import Recurring as Recurring
from .recurring import Repaired as Repaired
from .recurring import VenueSwitched as VenueSwitched


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
class TimeUnitDiffers:
    """A connection tells its times in another unit than TIME_UNIT asks for; they are converted.

    What is finer than ``told`` is not known there.
    """

    line: str
    endpoint: str
    told: str


@dataclass(frozen=True, slots=True)
class GivingUp:
    """The retries are used up; the feed ends."""

    line: str
    attempts: int
    error_type: str
    detail: str


@dataclass(frozen=True, slots=True)
class NotCompiled:
    """The feed runs without the compiled core: the same, but slower."""

    why: str


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
    | TimeUnitDiffers
    | GivingUp
    | StateNotSaved
    | NotCompiled
)

Observer = Callable[[Transition], None]
"""Called synchronously with each transition, in order; must not block."""

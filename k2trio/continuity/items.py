"""What a consumer gets besides messages: what is missing, in its place among them."""

from __future__ import annotations

from typing import Literal, TypeAlias

import msgspec

from ..market.payloads import Event, P_co

GapReason: TypeAlias = Literal[
    "not_repaired",
    "not_repairable",
    "venue_missing",
    "snapshot",
    "hold_overflow",
    "jump",
    "reset",
    "shared_id",
    "overflow",
    "resume_limit",
    "shutdown",
    "not_written",
]
"""Why ids are missing.

``not_repaired``: REST did not bring them in time. ``not_repairable``: no REST host is known for
the venue, or the kind has no history. ``venue_missing``: the venue itself does not have them.
``snapshot``: they are contained in the depth snapshot that follows. ``hold_overflow``: too many
messages waited behind them. ``jump`` and ``reset``: the venue's ids leapt forward or started anew.
At a ``reset`` the ids are only the place: the next one of the numbering that ended.
``shared_id``: an aggregate trade that shares its id with the one that follows, or with the one
before. ``overflow``: the consumer was too slow and the policy is to drop. ``resume_limit``: longer
ago than a restart may go back. ``shutdown``: the feed was left before they could be repaired.
``not_written``, in the ledger alone: received, but the consumer ended before it had dealt with
them.
"""


class Gap(msgspec.Struct, frozen=True):
    """Ids ``first`` to ``last`` of a stream, both inclusive, that the feed will not deliver.

    For klines the ids are the open times of the missing bars, in the unit that ``TIME_UNIT`` says.

    :ivar since: Unix time in seconds at which the message before was received; None if there is
        none, as right after a start.
    :ivar until: Unix time in seconds at which the message after was received; None if there is
        none. ``since`` where the wall clock was set back behind that meanwhile.

    Both are of messages that came over a connection, not of those that a repair brought. Where the
    missing messages themselves had been received (``overflow``, ``not_written``), it is when the
    first and the last of them were.
    """

    venue: str
    stream: str
    first: int
    last: int
    reason: GapReason
    since: float | None = None
    until: float | None = None

    def __post_init__(self) -> None:
        if self.since is not None and self.until is not None and self.until < self.since:
            msgspec.structs.force_setattr(self, "until", self.since)


class Outage(msgspec.Struct, frozen=True):
    """A time in which messages of a stream without provable ids may be missing.

    :ivar since: Unix time in seconds of the last message before.
    :ivar until: Unix time in seconds of the first message after; ``since`` where the wall clock
        was set back behind that meanwhile, so that how long it lasted is not known.
    """

    venue: str
    stream: str
    since: float
    until: float

    def __post_init__(self) -> None:
        if self.until < self.since:
            msgspec.structs.force_setattr(self, "until", self.since)


class VenueChanged(msgspec.Struct, frozen=True):
    """The stream goes on from another venue; its first message from there follows.

    :ivar venue: where it goes on.
    :ivar previous: the venue of the message before; its ids are no neighbours of what follows.
    :ivar since: Unix time in seconds at which the last message of the venue before was received.
    :ivar until: the same of the first message that follows.
    """

    venue: str
    stream: str
    previous: str
    since: float
    until: float


Item: TypeAlias = Event[P_co] | Gap | Outage | VenueChanged
"""What a feed delivers."""

"""A message that waits behind a gap."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from ..market.payloads import Event


class Held(NamedTuple):
    """A message beyond a gap, since when it is known that something before it is missing, and the
    ids it covers.

    For klines ``first`` is the open time of its bar, and ``last`` its event time.
    """

    first: int
    last: int
    since: float
    event: Event

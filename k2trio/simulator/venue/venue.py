"""A venue as its connections see it: what they share, and what it enforces on them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import random
    from collections.abc import Mapping

    from ..faults.board import FaultBoard
    from ..market.contract import VenueMarket
    from .admission import Admission
    from .broadcast import Broadcast
    from .limits import Limits
    from .truth import Truth


@dataclass(frozen=True, slots=True)
class Venue:
    """One venue.

    :ivar name: faults may be addressed to it.
    :ivar rng: decides which messages a fault hits, and what garbage it sends; seeded.
    :ivar strict_symbols: whether unknown symbols are refused.
    :ivar wrapped_errors: shape of control errors, see :func:`.control.answer`.
    :ivar knows_time_unit: whether ``timeUnit`` in URLs is heeded.
    :ivar moved: streams that come on another route than the documents say, and which.
    """

    name: str
    market: VenueMarket
    truth: Truth
    broadcast: Broadcast
    faults: FaultBoard
    limits: Limits
    admission: Admission
    rng: random.Random
    strict_symbols: bool
    wrapped_errors: bool
    knows_time_unit: bool
    moved: Mapping[str, str]

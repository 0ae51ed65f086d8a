"""Whether lines that carry the same streams say the same: one id is one trade."""

from __future__ import annotations

import operator
from typing import TYPE_CHECKING, Any

from ..continuity.held import Source, Stray
from ..market.streams import Kind

if TYPE_CHECKING:
    from ..market.payloads import Event
    from ..market.units import TimeUnit

MAX_OPEN = 32
"""Messages of a stream that wait for the other line's word; older ones are forgotten."""
NEAR_S = 10.0
"""Copies come within this time of each other; later, ids may have begun anew (s)."""

_FACTS = {
    Kind.TRADE: operator.attrgetter("price", "quantity"),
    Kind.AGG_TRADE: operator.attrgetter("price", "quantity", "last_trade_id"),
}
"""What cannot differ between two copies of one message, for the kinds where that is so. Nor can the
millisecond of the trade."""
_IDS = {
    Kind.TRADE: operator.attrgetter("trade_id"),
    # An id may be used twice; see ``aggregates.py``.
    Kind.AGG_TRADE: operator.attrgetter("agg_id", "first_trade_id"),
}


class Agreement:
    """Compares what each message says with what another connection said before.

    :param unit: of times; not every connection tells them as finely.
    """

    def __init__(self, unit: TimeUnit) -> None:
        self._per_ms = unit.per_ms
        self._open: dict[tuple[str, str], dict[Any, tuple[Source, Event[Any]]]] = {}
        """(venue, stream) → id → who brought it first, and what."""

    def compare(self, kind: Kind, event: Event[Any], source: Source) -> Stray | None:
        """Note a message; if another connection gave its id to another trade, one is refused.

        That is the younger connection's: the older one has been believed for longer.
        """
        facts = _FACTS.get(kind)
        if facts is None:
            return None
        waiting = self._open.setdefault((event.venue, event.stream), {})
        number = _IDS[kind](event.data)
        first = waiting.pop(number, None)
        if first is None or first[0] is source:
            waiting[number] = source, event
            if len(waiting) > MAX_OPEN:
                del waiting[next(iter(waiting))]
            return None
        other, before = first
        late = abs(event.received - before.received) > NEAR_S
        apart = abs(before.data.trade_time - event.data.trade_time)
        if late or (facts(before.data) == facts(event.data) and apart < self._per_ms):
            return None
        wrong, message = (
            (other, before) if other.started_at > source.started_at else (source, event)
        )
        why = "another connection gives this id to another trade"
        return Stray(message, wrong, disputed=True, error_type="contradiction", why=why)

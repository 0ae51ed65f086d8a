"""What a batch tells besides its live messages: what is missing, and what a repair brought."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias, assert_never, cast

from ..continuity.items import Gap, Item, Outage, VenueChanged
from ..market.payloads import Event
from .transitions import GapDeclared, OutageDeclared, Recurring, Repaired, VenueSwitched

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

Told: TypeAlias = GapDeclared | OutageDeclared | Repaired | VenueSwitched


def told_by(items: Iterable[Item]) -> Sequence[Told]:
    """One transition per stream, kind and reason, however many items there are of it."""
    found: dict[tuple[str, ...], Recurring] = {}
    for item in items:
        if isinstance(item, Event) and item.origin == "live":
            continue
        told = _told(item)
        key = (type(told).__name__, *told.kind)
        before = found.get(key)
        found[key] = told if before is None else before.joined(told)
    return cast("Sequence[Told]", list(found.values()))


def _told(item: Item) -> Told:
    match item:
        case Gap():
            return GapDeclared(
                item.venue, item.stream, item.first, item.last, item.reason, item.since, item.until
            )
        case Outage():
            lasted_s = item.until - item.since
            return OutageDeclared(item.venue, item.stream, item.since, item.until, lasted_s)
        case VenueChanged():
            return VenueSwitched(item.venue, item.previous, item.stream)
        case Event():
            return Repaired(item.venue, item.stream, item.origin)
        case _:
            assert_never(item)

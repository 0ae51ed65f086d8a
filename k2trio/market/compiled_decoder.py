"""The compiled core as a decoder of this market's payloads."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..compiled import core
from .layouts import LAYOUTS, layout_of
from .payloads import Event, Level
from .products import DIALECTS

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ..compiled.interface import Decoder as Core
    from .streams import Stream

MAX_STREAMS = 1024
"""Streams that it knows; a connection has no more."""

EVENT_FIELDS = ("data", "stream", "venue", "received", "frame", "origin")
"""The fields of events, in the order in which the core wants to be told of them."""

_KINDS = [
    (kind, product) for product, dialect in DIALECTS.items() for kind in LAYOUTS[dialect.family]
]
_LAYOUTS = tuple(layout_of(kind, product) for kind, product in _KINDS)
_PLACES = {named: place for place, named in enumerate(_KINDS)}


def compiled_decoder(venue: str) -> Core | None:
    """A decoder of live events of a venue; None where there is no compiled core."""
    if core is None:
        return None
    made: Core = core.Decoder(
        Event,
        EVENT_FIELDS,
        Level,
        ("price", "quantity"),
        _LAYOUTS,
        venue,
        "live",
    )
    return made


def expect(decoder: Core, streams: Iterable[Stream]) -> None:
    """Let it know these streams, as far as it has layouts of their kinds."""
    known = [
        (stream.name, place, stream.symbol, stream.interval)
        for stream in streams
        if (place := _PLACES.get((stream.kind, stream.product))) is not None
    ]
    decoder.expect(known[:MAX_STREAMS])

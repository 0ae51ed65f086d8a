"""What a decoded message takes in memory, as far as its kind and its frame tell."""

from __future__ import annotations

from .payloads import Depth, DepthSnapshot, Event, PartialDepth

EVENT_BYTES = 256
"""The event and what else does not grow with the frame."""
FRAME_FACTOR = 4
"""The frame itself, and a string of Python's for each of its values."""
BOOK_FACTOR = 9
"""Of books: a level of about 25 characters becomes a struct and two strings, of 150 bytes."""
UNMADE_FACTOR = 2
"""Of books whose levels are made when they are touched, which nobody does who keeps messages."""

_BOOKS = (Depth, PartialDepth, DepthSnapshot)


def cost_of_item(item: object) -> int:
    """Bytes that an event takes, or what stands in the place of events: gaps and the like."""
    return cost_of(item) if isinstance(item, Event) else EVENT_BYTES  # pyright: ignore[reportUnknownArgumentType]


def cost_of(event: Event) -> int:
    """Bytes that an event takes, rather too many than too few."""
    data, factor = event.data, FRAME_FACTOR
    if isinstance(data, _BOOKS):
        factor = BOOK_FACTOR if isinstance(data.bids, list) else UNMADE_FACTOR
    return EVENT_BYTES + factor * len(event.frame)

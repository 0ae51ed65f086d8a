"""Which silences a venue can be asked about, by what its dialect says of a stream's kind."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..market.streams import Silence

if TYPE_CHECKING:
    from ..continuity.track import Track
    from ..market.streams import Stream


def is_known_by_id(stream: Stream) -> bool:
    """Whether the key is an id that REST knows."""
    return stream.order.silence in (Silence.BY_ID, Silence.BY_BLOCK_ID, Silence.BY_QUOTE)


def is_periodic(stream: Stream) -> bool:
    """Whether no venue can be asked about it, but it speaks every few seconds all the same."""
    return stream.order.silence is Silence.PERIODIC


def is_rare(stream: Stream) -> bool:
    """Whether it may have nothing to say for hours."""
    return stream.order.silence in (Silence.BY_BLOCK_ID, Silence.RARE)


def can_be_asked_about(track: Track) -> bool:
    """Whether a venue can tell what is newest: of block trades only by one that it told before."""
    match track.stream.order.silence:
        case Silence.BY_BLOCK_ID:
            return track.next is not None
        case Silence.BY_ID | Silence.BY_QUOTE | Silence.BY_TRADE:
            return True
        case _:
            return False

"""Whether order books that are wanted can be made of the streams that are asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .streams import BOOK_KINDS, Kind, any_stream

if TYPE_CHECKING:
    from collections.abc import Iterable


def refuse_bookless(streams: Iterable[str], levels: int, snapshot_levels: int) -> None:
    """Refuse to sample books that are not there, or could never begin.

    :param levels: of a sample.
    :param snapshot_levels: of the snapshots with which books of depth updates begin.
    :raises ValueError: that it cannot work, and what to change.
    """
    kinds = {any_stream(name).kind for name in streams}
    if not kinds & BOOK_KINDS:
        raise ValueError(
            "BOOK_LEVELS wants books: add streams that carry them, as btcusdt@depth@100ms, to"
            " STREAMS, or name SYMBOLS only"
        )
    if Kind.DEPTH in kinds and snapshot_levels < levels:
        raise ValueError(
            "DEPTH_SNAPSHOT_LEVELS must be at least BOOK_LEVELS: with so many do books begin"
        )

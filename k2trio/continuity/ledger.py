"""The ledger: which ids of a stream were repaired, which are missing and why.

What came live is not written down, as it is the rest: see :attr:`Coverage.live`.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import msgspec

from .items import GapReason  # noqa: TC001 - msgspec looks at it

MAX_RANGES = 10_000
"""Ranges that a ledger keeps per stream; older ones are counted, but forgotten one by one."""


class Missing(NamedTuple):
    """A declared range of ids."""

    first: int
    last: int
    reason: GapReason


class Coverage(msgspec.Struct, frozen=True):
    """What is known of one stream's ids between the first and the last one seen.

    ``live + repaired + missing`` is the number of ids in between; after a reset, of ids since then.
    Ids of block trades that REST proved to be unused do not count.
    Kinds without provable ids count messages instead, and klines missing and repaired bars.
    ``ranges_forgotten`` counts ranges that are in the sums but no longer in the lists.
    """

    venue: str
    stream: str
    first: int | None
    last: int | None
    live: int
    repaired: int
    missing: int
    duplicates: int
    repaired_ranges: list[tuple[int, int]]
    missing_ranges: list[Missing]
    ranges_forgotten: int
    outages: int


class Ledger:
    """Ids, or bars, that did not come live, as sums and as ranges.

    :ivar repaired: how many a repair brought.
    :ivar missing: how many were declared missing.
    """

    __slots__ = ("forgotten", "missing", "missing_ranges", "repaired", "repaired_ranges")

    def __init__(self) -> None:
        self.repaired: int = 0
        self.missing: int = 0
        self.repaired_ranges: list[tuple[int, int]] = []
        self.missing_ranges: list[Missing] = []
        self.forgotten: int = 0
        """Ranges that are in the sums but no longer in the lists."""

    def __repr__(self) -> str:
        return f"<Ledger repaired={self.repaired} missing={self.missing}>"

    def clear(self) -> None:
        """Begin anew, as ids did; ranges that were forgotten stay counted."""
        self.repaired = self.missing = 0
        self.repaired_ranges.clear()
        self.missing_ranges.clear()

    def note_repaired(self, first: int, last: int, count: int) -> None:
        """Write down a range that a repair brought."""
        self.repaired += count
        ranges = self.repaired_ranges
        if ranges and ranges[-1][1] + 1 == first:
            ranges[-1] = ranges[-1][0], last
        else:
            ranges.append((first, last))
            self._forget(ranges)

    def note_missing(self, first: int, last: int, count: int, reason: GapReason) -> None:
        """Write down a range that was declared missing."""
        self.missing += count
        ranges = self.missing_ranges
        if ranges and ranges[-1].reason == reason and ranges[-1].last + 1 == first:
            ranges[-1] = Missing(ranges[-1].first, last, reason)
        else:
            ranges.append(Missing(first, last, reason))
            self._forget(ranges)

    def _forget(self, ranges: list[Any]) -> None:
        if len(ranges) > MAX_RANGES:
            del ranges[0]
            self.forgotten += 1

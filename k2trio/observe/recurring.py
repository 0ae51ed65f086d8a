"""Transitions that may come a thousand times a second: they are told as sums then."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar, Self


@dataclass(frozen=True, slots=True)
class Recurring:
    """What may happen a thousand times a second, and is told as sums then.

    :cvar alike: the fields that those have in common which may be joined.
    :cvar counted: the field that says how many it stands for.
    :cvar summed: other fields that add up.
    :cvar earlier: fields of which the earlier one counts; of all others it is the later one.
    """

    alike: ClassVar[tuple[str, ...]]
    counted: ClassVar[str]
    summed: ClassVar[tuple[str, ...]] = ()
    earlier: ClassVar[tuple[str, ...]] = ()

    @property
    def kind(self) -> tuple[str, ...]:
        """What it has in common with those that it may be joined with."""
        return tuple(getattr(self, name) for name in self.alike)

    @property
    def count(self) -> int:
        """How many it stands for."""
        return int(getattr(self, self.counted))

    def joined(self, later: Self) -> Self:
        """Both as one; they are of one kind."""
        sums = {
            name: getattr(self, name) + getattr(later, name)
            for name in (self.counted, *self.summed)
        }
        return replace(later, **sums, **{name: getattr(self, name) for name in self.earlier})


@dataclass(frozen=True, slots=True)
class MalformedMessage(Recurring):
    """A payload was not understood and skipped."""

    alike: ClassVar[tuple[str, ...]] = "endpoint", "error_type"
    counted = "messages"

    line: str
    endpoint: str
    error_type: str
    detail: str
    excerpt: str
    messages: int = 1


@dataclass(frozen=True, slots=True)
class GapDeclared(Recurring):
    """Ids of a stream will not be delivered; the consumer gets a ``Gap`` in their place.

    Those that a batch declares of one stream for one reason are told together: ``gaps`` ranges,
    which lie between ``first`` and ``last``. ``since`` and ``until`` are those of the ``Gap``s.
    """

    alike: ClassVar[tuple[str, ...]] = "venue", "stream", "reason"
    counted = "gaps"
    earlier: ClassVar[tuple[str, ...]] = "first", "since"

    venue: str
    stream: str
    first: int
    last: int
    reason: str
    since: float | None = None
    until: float | None = None
    gaps: int = 1


@dataclass(frozen=True, slots=True)
class OutageDeclared(Recurring):
    """Messages of a stream without provable ids may be missing; the consumer gets an ``Outage``.

    ``since`` and ``until`` are Unix time, of the messages before and after. Those of a batch are
    told together, as ``outages``; ``unproven_s`` is how long they lasted.
    """

    alike: ClassVar[tuple[str, ...]] = "venue", "stream"
    counted = "outages"
    summed: ClassVar[tuple[str, ...]] = ("unproven_s",)
    earlier: ClassVar[tuple[str, ...]] = ("since",)

    venue: str
    stream: str
    since: float
    until: float
    unproven_s: float
    outages: int = 1


@dataclass(frozen=True, slots=True)
class VenueSwitched(Recurring):
    """A stream goes on from another venue; the consumer gets a ``VenueChanged`` in its place.

    Those of a batch are told together, as ``streams``; ``stream`` is the last one.
    """

    alike: ClassVar[tuple[str, ...]] = "venue", "previous"
    counted = "streams"

    venue: str
    previous: str
    stream: str
    streams: int = 1


@dataclass(frozen=True, slots=True)
class Repaired(Recurring):
    """REST brought what was missing of a stream, and it is delivered in its place.

    ``origin`` is ``"backfill"`` for the messages themselves, and ``"snapshot"`` for a book.
    """

    alike: ClassVar[tuple[str, ...]] = "venue", "stream", "origin"
    counted = "messages"

    venue: str
    stream: str
    origin: str
    messages: int = 1


@dataclass(frozen=True, slots=True)
class BookDiffers(Recurring):
    """A book that is kept is not what the exchange says; a new snapshot is asked for.

    ``witness`` is what it was compared with, or ``"update"`` where the update itself makes no book.
    """

    alike: ClassVar[tuple[str, ...]] = "stream", "witness"
    counted = "times"

    stream: str
    witness: str
    detail: str
    times: int = 1

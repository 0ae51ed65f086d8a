"""Fetches what holes in recorded files lack: from REST, page by page, within the budget.

One page serves all holes of a stream that lie in it. What two pages leave out is believed to be
gone; what could not be asked for is neither.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import trio

from ..continuity.items import Gap
from ..market.keys import key_getters
from ..market.streams import stream_of
from ..market.units import US, convert
from ..repair.hosts import BackfillError, NotServedError, UnknownSymbolError
from ..repair.pages import Pages
from ..repair.rest import PAGE_ROWS
from .proof.bars import Bars

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence

    from ..continuity.items import GapReason, Item
    from ..market.payloads import Event
    from ..market.units import TimeUnit
    from ..repair.rest import Backfill, Page

ATTEMPTS = 5
"""Requests in a row that may fail before the rest of a stream is left for another time."""
RETRY_S = 1.0
"""Pause after a request that failed; doubles each time."""
LEFT_TO_OTHERS = 0.5
"""Share of the REST budget that is left to feeds of this address, whose gaps are more urgent."""


class Span(NamedTuple):
    """Keys that are missing, both inclusive.

    :ivar first: an id; of bars the open time of the first one, in microseconds.
    :ivar last: the last id; of bars the last microsecond of the last one.
    :ivar since: when the message before was made; Unix time in seconds.
    :ivar until: the same of the message after.
    """

    first: int
    last: int
    since: float | None
    until: float | None


class NotAskedError(BackfillError):
    """REST did not answer; what is left may be asked for another time."""


class Fetcher:
    """Fetches what spans of one stream lack.

    :param spans: in order, not overlapping.
    :ivar left: spans, or parts of them, of which nothing is known yet.
    """

    def __init__(
        self, backfill: Backfill, venue: str, stream: str, spans: Sequence[Span], unit: TimeUnit
    ) -> None:
        self.left: list[Span] = list(spans)
        self._backfill = backfill
        self._venue = venue
        self._stream = stream_of(venue, stream)
        self._bars = Bars.of(stream)
        self._key_of = key_getters(self._stream.kind, self._stream.product)[1]
        self._unit = unit
        self._pages = Pages()
        self._reached = 0
        """The key from which on the last page was whole: what lies before is out of its reach."""

    async def items(self) -> AsyncGenerator[list[Item]]:
        """What REST has of the spans, and a gap in the place of the rest; in order.

        :raises NotAskedError: if REST does not answer.
        """
        if not self._stream.order.repair.has_history:
            while self.left:
                yield [self.gap(self.left.pop(0), "not_repairable")]
        if self.left and not self._backfill.serves(self._venue):
            raise NotAskedError(f"no REST host of {self._venue} is known; name one in REST_URLS")
        while self.left:
            try:
                await self._ask()
            except UnknownSymbolError:
                while self.left:
                    yield [self.gap(self.left.pop(0), "venue_missing")]
                return
            found = self._settled()
            if found:
                yield found

    async def _ask(self) -> None:
        """Add a page of what is missing.

        :raises UnknownSymbolError: if the venue has no such symbol any more.
        :raises NotAskedError: if REST does not answer.
        """
        first = self.left[0].first
        last = first + PAGE_ROWS - 2  # and one beyond it
        if self._bars is None:
            last = min(last, max(span.last for span in self.left if span.first <= last))
        page = await self._page(self._told(first), self._told(last))
        rows = {key: event for event in page.events if (key := self._key(event)) >= first}
        newest = max(rows, default=self.left[0].last + 1)
        if self._bars is not None:
            rows.pop(newest, None)  # it may still be open
        self._reached = first if page.begins == self._told(first) else page.begins
        self._pages.add(self._reached, newest, rows)

    async def _page(self, first: int, last: int) -> Page:
        pause_s = RETRY_S
        weight = self._backfill.weight(self._stream)
        for attempt in range(1, ATTEMPTS + 1):
            try:
                async with self._backfill.turn(self._venue, weight, LEFT_TO_OTHERS) as turn:
                    return await self._backfill.page(self._venue, self._stream, first, last, turn)
            except UnknownSymbolError:
                raise
            except BackfillError as error:
                if attempt == ATTEMPTS or isinstance(error, NotServedError):
                    raise NotAskedError(str(error)) from error
                await trio.sleep(pause_s)
                pause_s *= 2
        raise AssertionError("the last attempt returns or raises")

    def _settled(self) -> list[Item]:
        """What is decided of the spans, which is taken out of what is left."""
        items: list[Item] = []
        while self.left:
            first, last, since, until = self.left[0]
            self._pages.forget(first)
            key = self._pages.first
            then = last + 1 if key is None else min(key, last + 1)
            if key == first:
                event = self._pages.take()
                items.append(event)
                then = self._behind(event)
            elif self._pages.skipped(first, then):
                items.append(self.gap(Span(first, then - 1, since, until), "venue_missing"))
            elif first < self._reached:
                # These hosts tell the newest trades only, without an API key.
                then = min(then, self._reached)
                items.append(self.gap(Span(first, then - 1, since, until), "not_repaired"))
            else:
                break
            self.left[0] = Span(then, last, since, until)
            if then > last:
                del self.left[0]
        return items

    def _behind(self, event: Event) -> int:
        """The key that comes next after a row."""
        data: Any = event.data
        return US.of(data.bar.close_time + 1) if self._bars is not None else self._key(event) + 1

    def _key(self, event: Event) -> int:
        data: Any = event.data
        return US.of(data.bar.open_time) if self._bars is not None else self._key_of(data)

    def _told(self, key: int) -> int:
        """A key as the feed tells it."""
        return convert(key, US, self._unit) if self._bars is not None else key

    def gap(self, span: Span, reason: GapReason) -> Gap:
        """The declaration that a span is missing."""
        first, last = span.first, span.last
        if self._bars is not None:
            last = self._bars.last_open(first, last)
        first, last = self._told(first), self._told(last)
        return Gap(self._venue, self._stream.name, first, last, reason, span.since, span.until)

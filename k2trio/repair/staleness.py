"""Verified staleness: silence alone is no proof, so the venue is asked before anything is cut.

*A whole connection is silent.* If another connection brought what this one did not, no question
is needed: it is stale. If the venue has nothing newer than what was delivered, the market is quiet
and the connection stays. If it has, or does not answer, the connection is stale. Of some kinds no
venue can be asked: the periodic ones are believed to be stale once for each silence, the others,
which may have nothing to say for hours, never.

*One stream is silent while others flow.* It is judged by its own rhythm: a stream that had a
message every second is suspicious long before one that had a message an hour. Then it is verified
in the same way, subscribed anew, and if that does not help the connection is replaced.

When a stream was last heard belongs to the connection, where there is more than one: what its
companion brings is no excuse for silence, it is the proof against it.
"""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING, Protocol

import trio

from ..continuity.times import MS, units_per_second
from ..errors import ConnectionFailed, Stale, SubscriptionRejected
from ..market.streams import Kind
from ..observe.transitions import StreamSilent, SubscriptionRefused
from .asking import UNKNOWN_SYMBOL
from .hosts import BackfillError, UnknownSymbolError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ..continuity.arbiter import Arbiter
    from ..continuity.track import Track
    from ..observe.transitions import Observer
    from ..policy.failover import Endpoint
    from ..settings import Settings
    from .rest import Backfill, Newest

VERIFY_TIMEOUT_S = 10.0
"""How long the venue may take to answer."""
VERIFY_STREAMS = 5
"""Streams asked about when a whole connection is silent; the liveliest tell most."""
RHYTHM_FACTOR = 20
"""A stream is suspicious after this many times its mean interval."""

IN_FLIGHT_S = 3.0
"""News that the venue has just had may be on its way: streams speak every two seconds at most."""

_BY_ID = frozenset({Kind.TRADE, Kind.AGG_TRADE, Kind.DEPTH, Kind.BOOK_TICKER, Kind.PARTIAL_DEPTH})
"""Kinds whose key is an id that REST knows."""
_BY_TIME = frozenset({Kind.KLINE, Kind.MINI_TICKER, Kind.TICKER, Kind.WINDOW_TICKER})
"""Kinds that speak of trades: a trade after their last message is news."""
_VERIFIABLE = _BY_ID | _BY_TIME
_PERIODIC = frozenset({Kind.AVG_PRICE, Kind.ALL_MINI_TICKERS, Kind.ALL_WINDOW_TICKERS})
"""Kinds that no venue can be asked about, and that speak every second whatever happens. The rest of
those, block trades and reference prices, have nothing to say for hours."""


class Verdict(enum.Enum):
    """What a venue's answer means for a silent connection.

    ``QUIET``: there was nothing to send. ``NEWS``: there was, or the venue does not answer; both
    mean that the connection is stale. ``UNPROVEN``: nothing has been delivered yet that the
    answer could be compared with, or a silence that nobody can be asked about lasts on.
    """

    QUIET = "quiet"
    NEWS = "news"
    UNPROVEN = "unproven"


class Carrier(Protocol):
    """What the check needs of a connection in service."""

    @property
    def line(self) -> str:
        """The name of the line that it serves."""
        ...

    @property
    def endpoint(self) -> Endpoint:
        """Where it leads to."""
        ...

    @property
    def streams(self) -> Sequence[str]:
        """What is subscribed."""
        ...

    @property
    def started_at(self) -> float:
        """When it was dialled."""
        ...

    @property
    def connected(self) -> bool:
        """Whether data can flow."""
        ...

    @property
    def judgeable(self) -> bool:
        """Whether it is in service, and all that it brought has been looked at."""
        ...

    def heard_at(self, stream: str) -> float | None:
        """When it last brought something of a stream; None if that is not noted per connection."""
        ...

    async def resubscribe(self, stream: str) -> None:
        """Unsubscribe and subscribe one stream.

        :raises SubscriptionRejected: if the exchange does not want it any more.
        :raises ConnectionFailed: if the connection ends first.
        """

    def fail(self, failure: ConnectionFailed) -> None:
        """End the connection because of a failure."""


class StalenessCheck:
    """Asks venues whether silence is real; see the module."""

    def __init__(
        self, arbiter: Arbiter, backfill: Backfill, settings: Settings, emit: Observer
    ) -> None:
        self._arbiter = arbiter
        self._backfill = backfill
        self._settings = settings
        self._emit = emit
        self._suspects: dict[tuple[str, str], float] = {}
        """(line, stream) → when it was subscribed anew."""
        self._acted_on: dict[tuple[str, str], int] = {}
        """(venue, stream) of a periodic kind → messages it had when its silence was acted on."""
        self._told: dict[tuple[str, str], tuple[int, int]] = {}
        """(venue, stream) → messages it had when the venue was last asked, and the id it told."""
        self._unknown: dict[tuple[str, str], bool] = {}
        """(venue, stream) of symbols that the venue does not have → whether that was told."""

    async def verify(self, venue: str, streams: Sequence[str], silent_since: float) -> Verdict:
        """Whether there is news for a connection on any of its streams.

        :param silent_since: when the connection brought its last message, or was opened.
        """
        tracks = [self._arbiter.track(venue, name) for name in streams]
        if await self._came_elsewhere(tracks, silent_since):
            return Verdict.NEWS
        askable = [track for track in tracks if track.stream.kind in _VERIFIABLE]
        if askable and not self._backfill.serves(venue):
            return Verdict.NEWS
        askable.sort(key=lambda track: -track.received)
        verdict = Verdict.QUIET
        for track in askable[:VERIFY_STREAMS]:
            if track.next is None:
                verdict = Verdict.UNPROVEN
            if await self._has_news(track):
                return Verdict.NEWS
        for track in tracks:
            if track.stream.kind in _PERIODIC:
                verdict = Verdict.UNPROVEN
                if self._acted_on.get((venue, track.stream.name)) != track.received:
                    self._acted_on[venue, track.stream.name] = track.received
                    return Verdict.NEWS
        return verdict

    async def _came_elsewhere(self, tracks: Sequence[Track], silent_since: float) -> bool:
        """Whether another connection brought a message that this one should have had by now."""
        seen_at = max((track.seen_at for track in tracks), default=float("-inf"))
        if seen_at <= silent_since + IN_FLIGHT_S:
            return False  # that may be the copy of this connection's last message
        await trio.sleep_until(seen_at + IN_FLIGHT_S)
        return True

    async def _has_news(self, track: Track) -> bool:
        """Whether the venue has news, or does not tell; waits for what may be on its way."""
        received = track.received
        if not await self._is_behind(track):
            return False
        await trio.sleep(IN_FLIGHT_S)
        return track.received == received

    async def _is_behind(self, track: Track) -> bool:
        newest: Newest | None = None
        with trio.move_on_after(VERIFY_TIMEOUT_S) as patience:
            try:
                newest = await self._backfill.newest(track.venue, track.stream)
            except UnknownSymbolError:
                self._unknown.setdefault((track.venue, track.stream.name), False)
                return False
            except BackfillError:
                return True
        if patience.cancelled_caught:
            return True
        if track.next is None:
            if newest is not None and track.contiguous:
                # From here on the first message proves whether one was missed.
                track.resume(newest.id, self._settings.resume_limit)
            return False
        if newest is None:
            return True  # it had messages before
        return self._is_news(track, newest)

    def _is_news(self, track: Track, newest: Newest) -> bool:
        """Whether the venue has something after the last message delivered."""
        by_id = track.stream.kind in _BY_ID
        if track.next is not None and by_id and newest.id >= track.next:
            return True
        # Ids that began anew are lower, so an id alone proves no quiet.
        time, at = track.delivered_time, track.delivered_at
        if newest.time_ms is not None and time is not None and at is not None:
            return newest.time_ms * units_per_second(time, at) > time * MS
        if not by_id:
            return True
        asked = track.venue, track.stream.name
        before = self._told.get(asked)
        self._told[asked] = track.received, newest.id
        return before is not None and before[0] == track.received and before[1] != newest.id

    async def watch(self, carriers: Callable[[], Sequence[Carrier]]) -> None:
        """Look at every stream once per health interval, for ever."""
        while True:
            await trio.sleep(self._settings.health_check_interval)
            for carrier in carriers():
                if carrier.judgeable:
                    await self._look_at(carrier)

    async def _look_at(self, carrier: Carrier) -> None:
        now = trio.current_time()
        for name in list(carrier.streams):
            track = self._arbiter.track(carrier.endpoint.venue, name)
            heard_at = self._heard_at(carrier, track)
            silence = now - heard_at
            if silence < self._patience(track, now - carrier.started_at):
                self._suspects.pop((carrier.line, name), None)
            elif await self._missed(carrier, track, heard_at):
                await self._act(carrier, track, silence)
            self._tell_unknown(carrier, name)
            if not carrier.connected:
                return

    def _tell_unknown(self, carrier: Carrier, name: str) -> None:
        """Name a stream that will bring nothing: a new connection would not help it."""
        where = carrier.endpoint
        if self._unknown.get((where.venue, name)) is False:
            self._unknown[where.venue, name] = True
            why = f"{where.venue} has no such symbol"
            self._emit(SubscriptionRefused(carrier.line, where.name, (name,), UNKNOWN_SYMBOL, why))

    def _heard_at(self, carrier: Carrier, track: Track) -> float:
        """When the connection last brought something of the stream, or was dialled."""
        heard_at = carrier.heard_at(track.stream.name)
        return max(track.seen_at if heard_at is None else heard_at, carrier.started_at)

    async def _missed(self, carrier: Carrier, track: Track, heard_at: float) -> bool:
        """Whether there is news of the stream that the connection has not brought."""
        if await self._came_elsewhere([track], heard_at):
            return self._heard_at(carrier, track) == heard_at
        return track.stream.kind in _VERIFIABLE and await self._has_news(track)

    def _patience(self, track: Track, age: float) -> float:
        """How long the stream may be silent before it is suspicious, by its own rhythm."""
        limit = self._settings.health_check_timeout or float("inf")
        if track.received < 2:
            return max(limit, age / RHYTHM_FACTOR)
        return max(limit, RHYTHM_FACTOR * (track.seen_at - track.began_at) / track.received)

    async def _act(self, carrier: Carrier, track: Track, silence: float) -> None:
        name = track.stream.name
        suspect = carrier.line, name
        tried = suspect in self._suspects
        action = "reconnect" if tried else "resubscribe"
        self._emit(StreamSilent(carrier.line, carrier.endpoint.name, name, silence, action))
        if tried or not carrier.connected:
            self._suspects.pop(suspect, None)
            carrier.fail(Stale("stream", silence))
            return
        self._suspects[suspect] = trio.current_time()
        try:
            await carrier.resubscribe(name)
        except SubscriptionRejected:
            self._suspects.pop(suspect, None)  # told by the session
        except ConnectionFailed as failure:
            carrier.fail(failure)

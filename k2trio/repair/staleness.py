"""Verified staleness: silence alone is no proof, so the venue is asked before anything is cut.

*A whole connection is silent.* If another connection brought what this one did not, no question
is needed: it is stale. If the venue has nothing that should have come, the market is quiet and the
connection stays. If it has, or does not answer, the connection is stale. The question is
asked so early that what is in flight has come by the limit. Of some kinds no venue can be asked:
the periodic ones are believed to be stale once for each silence, the others, which may have nothing
to say for hours, never. Nor are block trades for want of an answer, which are as rare.

*One stream is silent while others flow.* It is judged by its own rhythm: a stream that had a
message every second is suspicious long before one that had a message an hour. Then it is verified
in the same way, subscribed anew, and if that does not help the connection is replaced. Where no
venue can be asked, the rhythm is all there is, and each silence is acted on once. Without an answer
the connection stays, for the sake of the others.

The tables below say what each answer means. A silence that was acted on, or that nobody could
explain, is told as an :class:`~..continuity.items.Outage` when the stream speaks again.

When a stream was last heard belongs to the connection, where there is more than one: what its
companion brings is no excuse for silence, it is the proof against it.
"""

from __future__ import annotations

import enum
import math
from contextlib import suppress
from typing import TYPE_CHECKING, Protocol

import trio

from ..errors import ConnectionFailed, Stale, SubscriptionRejected
from ..observe.transitions import StreamSilent, SubscriptionRefused
from .askable import can_be_asked_about, is_periodic, is_rare
from .asking import UNKNOWN_SYMBOL
from .hosts import BackfillError, UnknownSymbolError
from .listing import LISTING_TIMEOUT_S, complaints
from .news import News, Silence

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
RARE_MESSAGES = 100
"""A rare kind that nobody can be asked about has such an interval from so many messages on: few may
all have come at one moment."""

IN_FLIGHT_S = 3.0
"""News that the venue has just had may be on its way: streams speak every two seconds at most."""
ASK_AHEAD_S = VERIFY_TIMEOUT_S + IN_FLIGHT_S
"""So long before a connection counts as stale the venue is asked: then all is in by that time."""


class Answer(enum.Enum):
    """What a venue says of a stream that is silent here."""

    NEWER = "newer"
    """It has something that should have come, and did not; see ``news.py``."""
    NOTHING_NEWER = "nothing newer"
    NO_SUCH_SYMBOL = "no such symbol"
    NO_ANSWER = "no answer"
    """None in time, a refusal, no weight, or no host that could be asked."""


class Verdict(enum.Enum):
    """What a venue's answers mean for a silent connection.

    ``QUIET``: there was nothing to send. ``NEWS``: there was, or nobody can tell; both mean that
    the connection is stale. ``UNPROVEN``: nothing has been delivered yet that the answer could be
    compared with, or a silence that nobody can be asked about lasts on.
    """

    QUIET = "quiet"
    NEWS = "news"
    UNPROVEN = "unproven"


CONNECTION_IS_STALE = {
    Answer.NEWER: True,
    Answer.NOTHING_NEWER: False,
    Answer.NO_SUCH_SYMBOL: False,  # no other connection would bring it
    Answer.NO_ANSWER: True,  # as if nobody could be asked: the plain rule
}
"""What an answer means for a connection that is silent as a whole."""
STREAM_IS_STALE = {
    Answer.NEWER: True,
    Answer.NOTHING_NEWER: False,
    Answer.NO_SUCH_SYMBOL: False,  # it is named, and harms no other stream
    Answer.NO_ANSWER: False,  # the others flow; the silence is declared when it speaks again
}
"""What an answer means for one stream of a connection on which others flow."""


def _is_stale(track: Track, answer: Answer) -> bool:
    """Whether a silent connection is stale, by what the venue says of one of its streams."""
    unexplained = answer is Answer.NO_ANSWER and is_rare(track.stream)
    return CONNECTION_IS_STALE[answer] and not unexplained


def _is_proven(
    tracks: Sequence[Track], measured: Sequence[bool], answers: Sequence[Answer]
) -> bool:
    """Whether answers of which none is news prove that there was nothing to send.

    A symbol that the venue does not have proves nothing, and a rare kind without an answer neither;
    that is for the others to do, if there are any.

    :param measured: whether there was something that the answer could be compared with.
    """
    told = [
        known and answer is Answer.NOTHING_NEWER
        for track, known, answer in zip(tracks, measured, answers, strict=True)
        if answer is not Answer.NO_SUCH_SYMBOL
        and (answer is not Answer.NO_ANSWER or not is_rare(track.stream))
    ]
    return all(told) and bool(told or not tracks)


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
    def last_data_at(self) -> float | None:
        """When it last brought a message."""
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
        """(venue, stream) → messages it had when its silence was acted on."""
        self._news: News = News()
        self._unknown: dict[tuple[str, str], bool] = {}
        """(venue, stream) of symbols that the venue does not have → whether that was told."""

    @property
    def unknown(self) -> Sequence[str]:
        """The streams of symbols that their venue does not have."""
        return sorted(stream for _, stream in self._unknown)

    async def verify(
        self, venue: str, streams: Sequence[str], silent_since: float, open_since: float
    ) -> Verdict:
        """Whether there is news for a connection on any of its streams.

        :param silent_since: when the connection brought its last message, or was opened.
        :param open_since: when it was opened.
        """
        tracks = [self._arbiter.track(venue, name) for name in streams]
        if await self._came_elsewhere(tracks, silent_since):
            return Verdict.NEWS
        askable = [track for track in tracks if can_be_asked_about(track)]
        askable.sort(key=lambda track: -track.received)
        askable = askable[:VERIFY_STREAMS]
        measured = [track.next is not None for track in askable]
        times = (track.last_time for track in tracks)
        last_time = max((time for time in times if time is not None), default=None)
        answers = await self._ask_about(askable, Silence(open_since, last_time))
        if any(map(_is_stale, askable, answers)):
            return Verdict.NEWS
        proven = _is_proven(askable, measured, answers)
        for track in tracks:
            if is_periodic(track.stream):
                proven = False
                if self._acted_on.get((venue, track.stream.name)) != track.received:
                    self._acted_on[venue, track.stream.name] = track.received
                    return Verdict.NEWS
        return Verdict.QUIET if proven else Verdict.UNPROVEN

    async def _ask_about(self, tracks: Sequence[Track], silence: Silence) -> Sequence[Answer]:
        """Ask about all of them at once. The first news is enough; the others are quiet then."""
        answers = [Answer.NOTHING_NEWER] * len(tracks)
        async with trio.open_nursery() as nursery:

            async def ask(place: int, track: Track) -> None:
                answers[place] = await self._ask(track, silence)
                if _is_stale(track, answers[place]):
                    nursery.cancel_scope.cancel()

            for place, track in enumerate(tracks):
                nursery.start_soon(ask, place, track)
        return answers

    async def _came_elsewhere(self, tracks: Sequence[Track], silent_since: float) -> bool:
        """Whether another connection brought a message that this one should have had by now."""
        seen_at = max((track.seen_at for track in tracks), default=-math.inf)
        if seen_at <= silent_since + IN_FLIGHT_S:
            return False  # that may be the copy of this connection's last message
        await trio.sleep_until(seen_at + IN_FLIGHT_S)
        return True

    async def _ask(self, track: Track, silence: Silence) -> Answer:
        """What the venue says of a stream; waits for what may be on its way."""
        received = track.received
        answer = await self._answer(track, silence)
        if answer is Answer.NEWER:
            await trio.sleep(IN_FLIGHT_S)
            if track.received != received:
                return Answer.NOTHING_NEWER
        return answer

    async def _answer(self, track: Track, silence: Silence) -> Answer:
        if not self._backfill.serves(track.venue):
            return Answer.NO_ANSWER
        newest: Newest | None = None
        with trio.move_on_after(VERIFY_TIMEOUT_S) as patience:
            try:
                newest = await self._backfill.newest(track.venue, track.stream, track.position)
            except UnknownSymbolError:
                self._unknown.setdefault((track.venue, track.stream.name), False)
                return Answer.NO_SUCH_SYMBOL
            except BackfillError:
                return Answer.NO_ANSWER
        if patience.cancelled_caught:
            return Answer.NO_ANSWER
        if track.next is None:
            if newest is not None and track.contiguous:
                # From here on the first message proves whether one was missed.
                track.resume(newest.id, self._settings.resume_limit)
            elif newest is not None and self._news.moves_unheard(silence, track, newest):
                return Answer.NEWER
            return Answer.NOTHING_NEWER
        if newest is None:
            return Answer.NO_ANSWER  # it had messages before
        is_news = self._news.speaks_against(silence, track, newest)
        return Answer.NEWER if is_news else Answer.NOTHING_NEWER

    async def watch(self, carriers: Callable[[], Sequence[Carrier]]) -> None:
        """Look at every stream once per health interval, for ever."""
        while True:
            await trio.sleep(self._settings.health_check_interval)
            carried = {
                (carrier.endpoint.venue, name) for carrier in carriers() for name in carrier.streams
            }
            if carried:
                self._unknown = {key: told for key, told in self._unknown.items() if key in carried}
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
                if track.seen_at > carrier.started_at:
                    self._unknown.pop((track.venue, name), None)  # it speaks: it was listed since
            elif await self._missed(carrier, track, heard_at):
                await self._act(carrier, track, silence)
            await self._tell_unknown(carrier, track)
            if not carrier.connected:
                return

    async def _tell_unknown(self, carrier: Carrier, track: Track) -> None:
        """Name a stream that will bring nothing: a new connection would not help it."""
        where, name, symbol = carrier.endpoint, track.stream.name, track.stream.symbol or ""
        if self._unknown.get((where.venue, name)) is not False:
            return
        self._unknown[where.venue, name] = True
        why = f"{symbol} is not a symbol of {where.venue}"
        with trio.move_on_after(LISTING_TIMEOUT_S), suppress(BackfillError):
            statuses = await self._backfill.listed(where.venue)
            why = complaints([symbol], where.venue, statuses).get(symbol, why)
        self._emit(SubscriptionRefused(carrier.line, where.name, (name,), UNKNOWN_SYMBOL, why))

    def _heard_at(self, carrier: Carrier, track: Track) -> float:
        """When the connection last brought something of the stream, or was dialled."""
        heard_at = carrier.heard_at(track.stream.name)
        return max(track.seen_at if heard_at is None else heard_at, carrier.started_at)

    async def _missed(self, carrier: Carrier, track: Track, heard_at: float) -> bool:
        """Whether there is news of the stream that the connection has not brought."""
        if await self._came_elsewhere([track], heard_at):
            return self._heard_at(carrier, track) == heard_at
        if not can_be_asked_about(track):
            return self._breaks_its_rhythm(carrier, track)
        subscribed_at = self._suspects.get((carrier.line, track.stream.name), carrier.started_at)
        answer = await self._ask(track, Silence(max(subscribed_at, carrier.started_at)))
        if answer is Answer.NO_ANSWER:
            track.interrupt()
        return STREAM_IS_STALE[answer]

    def _breaks_its_rhythm(self, carrier: Carrier, track: Track) -> bool:
        """Whether a stream that nobody can be asked about should have spoken, as others do.

        That is acted on once for each silence.
        """
        alone = trio.current_time() - (carrier.last_data_at or carrier.started_at)
        if alone >= self._settings.health_check_timeout:
            return False  # all are silent, which is a matter of the connection
        return self._acted_on.get((track.venue, track.stream.name)) != track.received

    def _patience(self, track: Track, age: float) -> float:
        """How long the stream may be silent before it is suspicious, by its own rhythm."""
        limit = self._settings.health_check_timeout or math.inf
        messages, enough = track.received, 2
        if is_rare(track.stream) and not can_be_asked_about(track):
            messages, enough = messages - track.duplicates, RARE_MESSAGES
        if messages >= enough:
            return max(limit, RHYTHM_FACTOR * (track.seen_at - track.began_at) / messages)
        if is_rare(track.stream):
            return math.inf
        return max(limit, age / RHYTHM_FACTOR)

    async def _act(self, carrier: Carrier, track: Track, silence: float) -> None:
        name = track.stream.name
        suspect = carrier.line, name
        tried = suspect in self._suspects
        action = "reconnect" if tried else "resubscribe"
        self._emit(StreamSilent(carrier.line, carrier.endpoint.name, name, silence, action))
        if trio.current_time() - track.seen_at >= silence:
            track.interrupt()  # nor did another connection bring it
        if tried or not carrier.connected:
            self._suspects.pop(suspect, None)
            self._acted_on[track.venue, name] = track.received
            carrier.fail(Stale("stream", silence))
            return
        self._suspects[suspect] = trio.current_time()
        try:
            await carrier.resubscribe(name)
        except SubscriptionRejected:
            self._suspects.pop(suspect, None)  # told by the session
        except ConnectionFailed as failure:
            carrier.fail(failure)

"""The decoder: text frames of a connection become events, or what else the exchange said.

Source: Binance spot API docs, "WebSocket Streams".
"""

from __future__ import annotations

import functools
from itertools import repeat
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast

import msgspec

from ..errors import UnknownStreamError
from . import compiled_decoder as compiled
from .belonging import Belonging, belongs
from .control import (
    Control,
    Malformed,
    OtherUnit,
    error_type,
    excerpt,
    misplaced,
    printable,
    shutdown_of,
    without_stream,
)
from .keys import is_timeless, time_getter
from .payloads import SEPARATOR, Event, Payload, Trade, payload_of, type_of
from .spot import SPOT
from .streams import Kind, Stream, stream_of
from .units import MS, TimeUnit, UnitWatch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from ..compiled.interface import Decoder as Core
    from ..compiled.interface import Run

P = TypeVar("P")

MAX_KNOWN = 16_384
"""Stream names that one decoder remembers."""
MAX_TAGGED = 128
"""Streams of a connection up to which each has a type of its own to be parsed into. More of those
would be slower, as they need more memory than the caches have."""


class _Combined(msgspec.Struct):
    """A combined frame, whatever it carries, or something else entirely."""

    stream: str | None = None
    data: msgspec.Raw = msgspec.Raw(b"")


class _Envelope(msgspec.Struct, Generic[P], gc=False):
    """A combined frame whose stream carries payloads of one type.

    Where a connection has few streams, each gets an envelope class of its own, of which ``stream``
    is a class attribute: see :func:`_envelope_of`.
    """

    stream: str
    data: P


_decode_combined = msgspec.json.Decoder(_Combined).decode
# msgspec reports nesting beyond the interpreter's limit as RecursionError.
_DECODE_ERRORS = (msgspec.MsgspecError, RecursionError, UnicodeDecodeError)
_NOT_PARSED = (*_DECODE_ERRORS, LookupError)

_SHUTDOWN_STREAM = "!serverShutdown"


def decode_payload(kind: Kind, raw: bytes, product: str = SPOT.product) -> Payload:
    """Decode one bare payload (what stands in ``data`` of a combined frame).

    :raises msgspec.MsgspecError: if it is not of that kind.
    """
    payload: Payload = _decode_bare(payload_of(kind, product))(raw)  # the table ties kind to type
    return payload


@functools.cache
def _decode_bare(payload: Any) -> Callable[[bytes], Any]:
    return msgspec.json.Decoder(payload).decode


@functools.cache
def _decode_envelope(payload: Any) -> Callable[[bytes], _Envelope[Any]]:
    return msgspec.json.Decoder(_Envelope[payload]).decode


@functools.lru_cache(maxsize=4096)
def _envelope_of(stream: str, payload: Any) -> type[_Envelope[Any]]:
    """A type that only a frame of this very stream can be parsed into."""
    return cast(
        "type[_Envelope[Any]]",
        msgspec.defstruct(
            "_Envelope",
            [("data", payload)],
            namespace={"stream": stream},
            tag_field="stream",
            tag=stream,
            gc=False,
        ),
    )


@functools.lru_cache(maxsize=64)
def _decoder_of(streams: tuple[tuple[str, Any], ...]) -> Callable[[bytes], _Envelope[Any]]:
    """A function that parses a frame of any of these streams, told apart by their names.

    Making it takes about 20 µs a stream, so a connection gets that of the one before.
    """
    # A lone type would be taken without its name; so there is always one of no stream as well.
    union: Any = _envelope_of("", Trade)
    for name, payload in streams:
        union |= _envelope_of(name, payload)
    decoder: msgspec.json.Decoder[_Envelope[Any]] = msgspec.json.Decoder(union)
    return decoder.decode


class Decoder:
    """Turns the text frames of one combined-stream connection into events.

    The exchange writes every combined frame as ``{"stream":"<name>","data":<payload>}``. The name
    tells the type of the payload, and the parser is told of all names and types: so one call
    parses a frame, whatever its white space and the order of its keys. Where there are too many
    streams for that, the type follows from the only kind that they are of, or else from the bytes
    before the payload, in the exchange's own layout. Any other frame takes the slow path, which
    gives the same event for the same content: control replies, announcements, streams that are
    new. One bad payload never spoils its batch.

    :param venue: whose messages these are.
    :param unit: of the times that were asked for; see ``units.py``.
    :param accepts: whether a stream that is not known was subscribed; what was not is malformed, so
        that a peer cannot make up streams without end.
    :param pure: whether to do without the compiled core.
    :ivar runs: what the last batch had of each stream, as far as the compiled core saw it: of a
        stream that is there, all messages of the batch.
    """

    def __init__(
        self,
        venue: str,
        accepts: Callable[[str], bool] = lambda _: True,
        unit: TimeUnit = MS,
        *,
        pure: bool = False,
    ) -> None:
        self.venue = venue
        self.runs: Sequence[Run] = ()
        self._core: Core | None = None if pure else compiled.compiled_decoder(venue)
        self._unit = UnitWatch(unit)
        self._accepts = accepts
        self._streams: dict[str, Stream] = {}
        self._routes: dict[bytes, tuple[str, Callable[[bytes], _Envelope[Any]]]] = {}
        """A frame up to the stream's name → that name, and what parses the frame."""
        self._names: dict[str, str] = {}
        """Of each known stream, its name → the same as one object, for all events to share."""
        self._belonging = Belonging({})
        self._tells_time = False
        """Whether some of the streams do that are known, or have come."""
        self._parse: Callable[[bytes], _Envelope[Any]] = self._parse_by_route

    def expect(self, streams: Iterable[str]) -> None:
        """Know these streams before they come; they are taken even after an unsubscription.

        Others are learnt when they first come, which costs that message the slow path.
        """
        known = len(self._streams)
        named = [stream_of(self.venue, name) for name in streams]
        self._streams |= {stream.name: stream for stream in named}
        if len(self._streams) != known:
            self._prepare()

    def decode(
        self, payloads: Sequence[bytes], received: float
    ) -> tuple[list[Event], list[Control]]:
        """Decode a batch.

        :param payloads: text frames in order of arrival; valid UTF-8, as ``frames.py`` checks.
        :param received: Unix time in seconds at which they were read.
        :returns: the events in order, and what was not an event in order.
        """
        self.runs = ()
        unit = self._unit
        if unit.fits:
            return self._decode(payloads, received)
        if not unit.differs:
            decoded = self._decode(payloads, received)
            if not self._tells_time:  # nor does a stream that has just come
                return decoded
            unit.look(map(self._time_of, decoded[0]), received)
            if not unit.differs:
                return decoded
            told: list[Control] = [OtherUnit(unit.told.word)]
        else:
            told = []
        events, control = self._decode(list(map(unit.converted, payloads)), received)
        return events, [*told, *control]

    def _decode(
        self, payloads: Sequence[bytes], received: float
    ) -> tuple[list[Event], list[Control]]:
        if self._core is None or not isinstance(payloads, list):
            return self._decode_purely(payloads, received)
        items, odd, self.runs = self._core.decode(payloads, received)
        if not odd:
            return items, []
        more, control = self._decode_purely([items[index] for index in odd], received)
        streams = {event.stream for event in more}
        self.runs = [run for run in self.runs if run.stream not in streams]
        by_frame = {id(event.frame): event for event in more}
        for index in odd:
            items[index] = by_frame.get(id(items[index]))
        return [item for item in items if item is not None], control

    def _decode_purely(
        self, payloads: Sequence[bytes], received: float
    ) -> tuple[list[Event], list[Control]]:
        names = self._names
        try:
            envelopes = list(map(self._parse, payloads))
            streams = [names[envelope.stream] for envelope in envelopes]
        except _NOT_PARSED:
            return self._decode_singly(payloads, received)
        data = [envelope.data for envelope in envelopes]
        if not self._belonging.of_all(streams, data):
            return self._decode_singly(payloads, received)
        stamps = repeat(self.venue), repeat(received)
        return list(map(Event, data, streams, *stamps, payloads)), []

    def _decode_singly(
        self, payloads: Sequence[bytes], received: float
    ) -> tuple[list[Event], list[Control]]:
        events: list[Event] = []
        control: list[Control] = []
        known = len(self._streams)
        for payload in payloads:
            try:
                envelope = self._parse(payload)
                name = self._names[envelope.stream]
            except _NOT_PARSED:
                self._decode_slowly(payload, received, events, control)
            else:
                if belongs(self._streams[name], envelope.data):
                    events.append(Event(envelope.data, name, self.venue, received, payload))
                else:
                    control.append(misplaced(name, payload))
        if len(self._streams) != known:
            self._prepare()
        return events, control

    def _parse_by_route(self, payload: bytes) -> _Envelope[Any]:
        """Parse a frame in the exchange's own layout, by what stands before the payload.

        :raises LookupError: if it is none, or of no stream that is known.
        """
        name, parse = self._routes[payload.partition(SEPARATOR)[0]]
        envelope = parse(payload)
        if envelope.stream != name:
            raise LookupError
        return envelope

    def _prepare(self) -> None:
        """Choose how to parse, by the streams that are known."""
        streams = self._streams
        if self._core is not None:
            compiled.expect(self._core, streams.values())
        self._names = {name: name for name in streams}
        self._belonging = Belonging(streams)
        types = {type_of(stream) for stream in streams.values()}
        self._tells_time |= not all(
            is_timeless(stream.kind, stream.product) for stream in streams.values()
        )
        if len(streams) <= MAX_TAGGED:
            self._parse = _decoder_of(tuple((name, type_of(streams[name])) for name in streams))
        elif len(types) == 1:
            self._parse = _decode_envelope(types.pop())
        else:
            # A name that was parsed needs no escapes in JSON: these bytes are what is sent.
            self._routes = {
                b'{"stream":"' + name.encode(): (name, _decode_envelope(type_of(stream)))
                for name, stream in streams.items()
            }
            self._parse = self._parse_by_route

    def _decode_slowly(
        self, payload: bytes, received: float, events: list[Event], control: list[Control]
    ) -> None:
        try:
            combined = _decode_combined(payload)
            raw = bytes(combined.data)
            if combined.stream is None:
                control.append(without_stream(payload))
            elif not raw:
                control.append(Malformed("bad_payload", "no data", excerpt(payload)))
            elif combined.stream == _SHUTDOWN_STREAM:
                control.append(shutdown_of(raw))
            else:
                stream = stream_of(self.venue, combined.stream)
                if not self._accepts(stream.name):
                    control.append(Malformed("unknown_stream", "not subscribed", excerpt(payload)))
                    return
                data = _decode_bare(type_of(stream))(raw)
                if not belongs(stream, data):
                    control.append(misplaced(stream.name, payload))
                    return
                events.append(Event(data, stream.name, self.venue, received, payload))
                self._tells_time |= not is_timeless(stream.kind, stream.product)
                if combined.stream == stream.name:
                    self._learn(stream)
        except UnknownStreamError as error:
            control.append(Malformed("unknown_stream", printable(str(error)), excerpt(payload)))
        except _DECODE_ERRORS as error:
            control.append(Malformed(error_type(error), printable(str(error)), excerpt(payload)))

    def _time_of(self, event: Event) -> int | None:
        stream = stream_of(self.venue, event.stream)
        return time_getter(stream.kind, stream.product)(event.data)

    def _learn(self, stream: Stream) -> None:
        # Only names that were accepted and carried a good payload get here, and each in one
        # spelling. The bound is for a decoder that accepts everything.
        if len(self._streams) < MAX_KNOWN:
            self._streams[stream.name] = stream

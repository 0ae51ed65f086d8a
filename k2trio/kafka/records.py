"""Items as records of Kafka topics: topic, key, value and headers, and back.

A message's value is the exchange's own payload, untouched; all else stands in headers, as text:
``venue``, ``stream``, ``first`` and ``last`` (the ids that it covers; of kinds that are ordered by
time, that time), ``received_ns`` (Unix nanoseconds) and ``origin``. With ``?value=line`` the value
is the JSON line of ``--output FILE``, behind the same headers.

A gap, an outage and a change of venue are records too, in their place among the messages: with the
header ``item`` (``gap``, ``outage``, ``venue_changed``), and their JSON line as the value.

The key is the symbol, so that all of a symbol's messages of a topic stand in one partition, in
their order; of the streams of all symbols it is the stream's name.
"""

from __future__ import annotations

import functools
import math
from typing import TYPE_CHECKING, Any, TypeAlias

from ..continuity.items import Gap, Outage, VenueChanged
from ..market.keys import key_getters
from ..market.payloads import Event
from ..market.streams import stream_of
from ..sinks.lines import encode_lines

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..continuity.items import Item
    from ..kafka_urls import KafkaURL

    Header: TypeAlias = tuple[str, str | bytes | None]
    Headers: TypeAlias = list[Header]
    Record: TypeAlias = tuple[str, bytes, bytes, Headers]
    """Topic, key, value and headers: what is produced."""
    _Key: TypeAlias = Callable[[Any], int]
    _Head: TypeAlias = tuple[str, bytes, Header, Header, _Key, _Key]
    """What the records of a stream have in common: topic, key, two headers, and its keys."""

ITEM_NAMES: dict[type[Gap | Outage | VenueChanged], bytes] = {
    Gap: b"gap",
    Outage: b"outage",
    VenueChanged: b"venue_changed",
}
"""What stands in the header ``item``."""
MAX_STREAMS = 16_384
"""Streams whose heads are kept."""


class Recorder:
    """Makes records out of items.

    :param url: names the topics, and what values are.
    """

    def __init__(self, url: KafkaURL) -> None:
        self._url = url
        self._lines = url.value == "line"
        self._head = functools.lru_cache(MAX_STREAMS)(self._make_head)
        self._received, self._origin = math.nan, ""
        self._came: tuple[Header, Header] = ("received_ns", b""), ("origin", b"")

    def record(self, item: Item) -> Record:
        """The record of an item."""
        topic, key, venue, stream, first_of, last_of = self._head(item.venue, item.stream)
        if not isinstance(item, Event):
            remark: Headers = [venue, stream, ("item", ITEM_NAMES[type(item)])]
            return topic, key, encode_lines([item])[:-1], remark
        data: Any = item.data
        if item.origin == "snapshot":
            first = last = b"%d" % data.last_update_id
        else:
            first = b"%d" % first_of(data)
            last = first if first_of is last_of else b"%d" % last_of(data)
        if item.received != self._received or item.origin != self._origin:
            # Made once for all messages of a socket read.
            self._received, self._origin = item.received, item.origin
            received_ns = b"%d" % item.received_ns
            self._came = ("received_ns", received_ns), ("origin", item.origin.encode())
        value = encode_lines([item])[:-1] if self._lines else item.raw
        return topic, key, value, [venue, stream, ("first", first), ("last", last), *self._came]

    def _make_head(self, venue: str, name: str) -> _Head:
        stream = stream_of(venue, name)
        topic = self._url.topic_of(stream.kind, venue)
        key = (stream.symbol or name).encode()
        first_of, last_of = key_getters(stream.kind, stream.product)
        if stream.order.first == stream.order.last:
            last_of = first_of
        return topic, key, ("venue", venue.encode()), ("stream", name.encode()), first_of, last_of

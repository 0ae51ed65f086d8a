"""A log, iterated as the feed was whose items were written to it.

The topics are read in a worker thread, a chunk at a time and some ahead.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import trio

from ..dataset.recording import CLOSE_TIMEOUT_S, Recording, played
from ..dataset.wanted import wanted
from ..errors import ConfigError
from ..extras import require
from ..kafka_urls import parse_kafka_url
from ..market.streams import any_stream
from ..market.units import MS
from .properties import check_properties, load_properties

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterable
    from datetime import datetime
    from os import PathLike

    from ..dataset.wanted import Wanted
    from ..kafka_urls import KafkaURL
    from .following import Following

BEGINNING, END = "beginning", "end"
CLOCKS_S = 60.0
"""How far the clocks of brokers and collectors may differ where reading begins at a time (s)."""


@asynccontextmanager
async def open_log(
    url: str,
    *,
    streams: Iterable[str] | None = None,
    start: datetime | str = BEGINNING,
    follow: bool = False,
    properties: Mapping[str, str] | str | PathLike[str] | None = None,
) -> AsyncGenerator[Recording]:
    """Open the Kafka topics that a run writes to, to be iterated as its feed was.

    Only what was committed is seen. Items of one stream come in their order. Those of several do so
    by the time when they were received, as far as they are there already; what is still to come
    comes when it does.

    :param url: as OUTPUT names it; which form the values have is seen.
    :param streams: exact names of those that are wanted; by default all.
    :param start: ``"beginning"``, ``"end"``, or a time as ``datetime`` or ISO 8601, of UTC where it
        says no zone: what was received before is left out.
    :param follow: go on with what comes, also in topics that are new; else end at what could be
        read when the log was opened.
    :param properties: of librdkafka, for TLS, SASL and tuning; or a file of ``name=value`` lines.
    :raises ConfigError: for a URL without topics, for properties that cannot be, and where the
        extra ``kafka`` is not installed.
    :raises BrokerUnavailable: if no broker answers; later, by the iteration.
    :raises Unreadable: by the iteration, where a record is none of ours.
    """
    require("confluent_kafka", "kafka", "open_log")
    try:
        parsed = parse_kafka_url(url)
    except ValueError as error:
        raise ConfigError(str(error)) from None
    if start == END and not follow:
        raise ConfigError("from the end on there is nothing yet: follow=True waits for it")
    given = _properties(properties)
    since = None if start in (BEGINNING, END) else start
    chosen = wanted(streams, since, None, MS)

    def begin() -> Following:
        return _begun(parsed, given, chosen, at_end=start == END, follow=follow)

    following = await trio.to_thread.run_sync(begin)
    try:
        async with played(following.course()) as recording:
            yield recording
    finally:
        with trio.move_on_after(CLOSE_TIMEOUT_S, shield=True):
            await trio.to_thread.run_sync(following.close)


def _properties(given: Mapping[str, str] | str | PathLike[str] | None) -> dict[str, str]:
    if given is None:
        return {}
    return check_properties(given) if isinstance(given, Mapping) else load_properties(Path(given))


def _begun(
    url: KafkaURL, properties: Mapping[str, str], wanted: Wanted, *, at_end: bool, follow: bool
) -> Following:
    """Ask what there is, and begin to read it; to be called in a thread of Trio's."""
    from . import client as clients  # they need the extra
    from .following import Following

    kinds = None
    if wanted.streams is not None:
        kinds = frozenset(any_stream(name).kind for name in wanted.streams)
    begin = clients.END if at_end else clients.BEGINNING
    if math.isfinite(wanted.start):
        begin = max(0, round((wanted.start - CLOCKS_S) * 1000))
    client = clients.LogClient(url, properties, trio.from_thread.check_cancelled, follows=follow)
    try:
        stretches = client.stretches(client.partitions(kinds), begin)
        return Following(client, stretches, wanted, kinds, follow=follow)
    except BaseException:
        client.close()
        raise

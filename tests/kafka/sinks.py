"""Sinks of Kafka for tests: trades to write, and what the topics then hold."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import trio
from engine_log import accounts_of
from numbered import trade
from topics import unique

from k2trio.kafka.cluster import Cluster
from k2trio.kafka.sink import KafkaSink
from k2trio.kafka.transactions import Transactions
from k2trio.kafka_urls import parse_kafka_url
from k2trio.market.payloads import Event, frame_of
from k2trio.market.units import MS

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterable, Mapping

VENUE = "v"
STREAM = "btcusdt@trade"


def trades(first: int, last: int) -> list[Event]:
    """Trades of these ids, each with the frame that it came in."""
    return [_framed(trade(number, number / 1000)) for number in range(first, last + 1)]


def _framed(event: Event) -> Event:
    raw = b'{"e":"trade","s":"BTCUSDT","t":%d}' % event.data.trade_id
    frame = frame_of(event.stream, raw)
    return Event(event.data, event.stream, event.venue, event.received, frame)


class Written:
    """A log of its own, and sinks that write it."""

    def __init__(
        self,
        address: str,
        form: str = "",
        properties: Mapping[str, str] | None = None,
        read_at: str | None = None,
    ) -> None:
        self.group = unique("group")
        self.topic = f"{self.group}.trade.v"
        self.told: list[tuple[str, dict[str, Any]]] = []
        self._url = parse_kafka_url(f"kafka://{address}/{self.group}.{{kind}}.{{venue}}{form}")
        self._properties = properties or {}
        self._read_at = read_at or address

    def transactions(self, shards: int = 1) -> Transactions:
        cluster = Cluster(self._url.bootstrap, self._properties)
        return Transactions(cluster, self._url, self.group, shards=shards)

    def sink(self, **options: Any) -> KafkaSink:
        given = {"interval_s": 0.02, "max_records": 1000, "buffer_bytes": 1 << 26, **options}
        return KafkaSink(self.transactions(), unit=MS, tell=self._tell, **given)

    @contextlib.asynccontextmanager
    async def writing(self, **options: Any) -> AsyncGenerator[KafkaSink]:
        """A sink that is open, and commits."""
        with self.sink(**options) as sink:
            await sink.positions()
            async with trio.open_nursery() as nursery:
                nursery.start_soon(sink.tend)
                yield sink
                nursery.cancel_scope.cancel()

    def account(self) -> tuple[int, int | None, Iterable[str]]:
        """Records, the last id, and what is wrong with them."""
        account = accounts_of(self._read_at, [self.topic]).get((VENUE, STREAM))
        return (0, None, []) if account is None else (account.records, account.last, account.wrong)

    def _tell(self, event: str, **context: Any) -> None:
        self.told.append((event, context))

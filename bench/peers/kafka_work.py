"""One piece of work of ``kafka.py``: write so many trades to a broker, and tell what it took.

python kafka_work.py NAME ADDRESS COUNT [OUTAGE_S]
"""

from __future__ import annotations

import asyncio
import json
import resource
import sys
import time
from typing import TYPE_CHECKING, Any

import trio

from k2trio.kafka.cluster import Cluster
from k2trio.kafka.records import Recorder
from k2trio.kafka.sink import KafkaSink
from k2trio.kafka.transactions import Transactions
from k2trio.kafka_urls import KafkaURL, parse_kafka_url
from k2trio.market.decoder import decode_payload
from k2trio.market.payloads import Event, frame_of
from k2trio.market.streams import Kind
from k2trio.market.units import MS

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

SYMBOLS = ("BTCUSDT", "ETHUSDT", "BNBUSDT", "SOLUSDT", "XRPUSDT")
READ = 32
"""Messages that came with one read of a socket."""
BATCH = 500
PERIOD_S = 0.1
RATE = 5_000


def trades(count: int) -> list[Event]:
    """Trades of five symbols; those of one read have one receive time."""
    events: list[Event] = []
    for number in range(count):
        symbol = SYMBOLS[number % len(SYMBOLS)]
        raw = (
            b'{"e":"trade","E":1790000040000,"s":"%b","t":%d,"p":"61234.51000000",'
            b'"q":"0.00163000","T":1790000040000,"m":true,"M":true}' % (symbol.encode(), number)
        )
        stream = f"{symbol.lower()}@trade"
        received = 1_790_000_040.0 + number // READ / 1000
        data = decode_payload(Kind.TRADE, raw)
        events.append(Event(data, stream, "binance.com", received, frame_of(stream, raw)))
    return events


def sink_of(url: KafkaURL, group: str) -> KafkaSink:
    """The sink as a run opens it."""
    transactions = Transactions(Cluster(url.bootstrap, {}), url, group)
    return KafkaSink(
        transactions, interval_s=0.1, max_records=20_000, buffer_bytes=64 << 20, unit=MS, tell=_tell
    )


def _tell(_event: str, **_context: Any) -> None:
    pass


async def ours(url: KafkaURL, group: str, events: Sequence[Event]) -> None:
    """The sink: transactions that hold messages and positions."""
    with sink_of(url, group) as sink:
        await sink.positions()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(sink.tend)
            with Taken() as taken:
                for start in range(0, len(events), BATCH):
                    await sink.write(events[start : start + BATCH])
                    await trio.lowlevel.checkpoint()
                await sink.flush()
            nursery.cancel_scope.cancel()
    taken.tell(len(events))


def plain(url: KafkaURL, events: Sequence[Event], *, headers: bool) -> None:
    """confluent-kafka as it comes: idempotent, acknowledged by all, and no transactions."""
    from confluent_kafka import Producer

    recorder = Recorder(url)
    producer = Producer(
        {
            "bootstrap.servers": url.bootstrap,
            "enable.idempotence": True,
            "compression.type": "lz4",
            "linger.ms": 5,
            "batch.size": 1 << 20,
            "queue.buffering.max.messages": 1_000_000,
        }
    )
    with Taken() as taken:
        for number, event in enumerate(events):
            topic, key, value, told = recorder.record(event)
            producer.produce(topic, value, key, headers=told if headers else None)
            if not number % 1000:
                producer.poll(0)
        producer.flush()
    taken.tell(len(events))


async def aiokafka(url: KafkaURL, group: str, events: Sequence[Event]) -> None:
    """aiokafka's transactions, of a commit interval each."""
    from aiokafka import AIOKafkaProducer

    recorder = Recorder(url)
    producer = AIOKafkaProducer(
        bootstrap_servers=url.bootstrap, transactional_id=group, max_batch_size=1 << 20
    )
    await producer.start()
    with Taken() as taken:
        for start in range(0, len(events), 20_000):
            async with producer.transaction():
                for event in events[start : start + 20_000]:
                    topic, key, value, told = recorder.record(event)
                    await producer.send(topic, value, key, headers=told)  # pyright: ignore
    await producer.stop()
    taken.tell(len(events))


async def outage(url: KafkaURL, group: str, seconds: float) -> None:
    """5,000 a second while the broker goes away and comes back; the memory that it takes."""
    with sink_of(url, group) as sink:
        await sink.positions()
        before = _peak_mb()
        blocked_s, lag_s, number = 0.0, 0.0, 0
        async with trio.open_nursery() as nursery:
            nursery.start_soon(sink.tend)
            started = trio.current_time()
            while (now := trio.current_time()) - started < seconds:
                step = trades_from(number, int(RATE * PERIOD_S))
                await sink.write(step)
                blocked_s += max(0.0, trio.current_time() - now - PERIOD_S)
                lag_s = max(lag_s, sink.standing(trio.current_time()).lag_s)
                number += len(step)
                await trio.sleep_until(now + PERIOD_S)
            await trio.to_thread.run_sync(sink.sync)
            nursery.cancel_scope.cancel()
    print(
        json.dumps(
            {
                "written": number,
                "before_mb": before,
                "peak_mb": _peak_mb(),
                "blocked_s": blocked_s,
                "lag_s": lag_s,
            }
        )
    )


def trades_from(first: int, count: int) -> list[Event]:
    """Trades of one symbol, so that their ids are consecutive."""
    events = []
    for number in range(first, first + count):
        raw = b'{"e":"trade","E":1790000040000,"s":"BTCUSDT","t":%d,"p":"61234.51000000",' % number
        raw += b'"q":"0.00163000","T":1790000040000,"m":true,"M":true}'
        data = decode_payload(Kind.TRADE, raw)
        frame = frame_of("btcusdt@trade", raw)
        events.append(Event(data, "btcusdt@trade", "binance.com", time.time(), frame))
    return events


class Taken:
    """Time by the clock and of the processors, all threads together."""

    def __enter__(self) -> Taken:
        self._wall, self._cpu = time.monotonic(), time.process_time()
        return self

    def __exit__(self, *_: object) -> None:
        self._wall = time.monotonic() - self._wall
        self._cpu = time.process_time() - self._cpu

    def tell(self, count: int) -> None:
        """Print what was taken for so many."""
        print(
            json.dumps(
                {
                    "per_cpu_s": count / self._cpu,
                    "per_s": count / self._wall,
                    "peak_mb": _peak_mb(),
                }
            )
        )


def _peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    """See the module."""
    name, address, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
    group = f"{name}-{time.time_ns()}"
    url = parse_kafka_url(f"kafka://{address}/{group}.{{kind}}")
    Cluster(address, {}).make_topic(f"{group}.trade", 4, {})
    if name == "outage":
        trio.run(outage, url, group, float(count))
        return
    events = trades(count)
    works: dict[str, Callable[[], object]] = {
        "k2trio": lambda: trio.run(ours, url, group, events),
        "plain": lambda: plain(url, events, headers=True),
        "bare": lambda: plain(url, events, headers=False),
        "aiokafka": lambda: asyncio.run(aiokafka(url, group, events)),
    }
    works[name]()


if __name__ == "__main__":
    main()

"""One piece of a dataset's work, timed: what ``dataset.py`` runs in a process of its own.

``python dataset_work.py WORK FOLDER ROWS``: prints JSON with the rows a second of CPU time, bytes a
row and the highest resident memory.
"""

import datetime as dt
import json
import random
import resource
import sys
import time
from pathlib import Path

import trio

from k2trio.market.payloads import Event, Trade, frame_of

WORK, FOLDER, ROWS = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
HOUR = dt.datetime(2026, 1, 5, 13, tzinfo=dt.UTC)
JOURNAL = FOLDER / "set" / "_journal" / f"{HOUR:%Y%m%dT%H}-1.jsonl"
START_S = HOUR.timestamp()
RATE = 5_000
SYMBOLS = ("BTCUSDT", "ETHUSDT", "SOLUSDT", "XRPUSDT", "DOGEUSDT")
BATCH = 250
"""Trades that come in one read."""
VENUE = "binance.com"


def batches():
    """The trades of five symbols as a feed brings them, ``RATE`` a second, at most an hour's."""
    rng = random.Random(1)
    ticks = dict.fromkeys(SYMBOLS, 6_425_000)
    ids = dict.fromkeys(SYMBOLS, 5_000_000_000)
    rate = max(RATE, ROWS / 3600)
    for start in range(0, ROWS, BATCH):
        received = START_S + start / rate + 0.004 + rng.random() / 500
        batch = []
        for number in range(start, min(start + BATCH, ROWS)):
            symbol = SYMBOLS[min(int(rng.expovariate(0.7)), 4)]
            ticks[symbol] += rng.choice((-1, 0, 0, 0, 1))
            ids[symbol] += 1
            made = int((START_S + number / rate) * 1000)
            price = f"{ticks[symbol] // 100}.{ticks[symbol] % 100:02d}000000"
            quantity = f"0.{int(rng.paretovariate(1)) % 100000:05d}000"
            maker = rng.random() < 0.5
            trade = Trade(made, symbol, ids[symbol], price, quantity, made - 1, maker)
            raw = (
                f'{{"e":"trade","E":{made},"s":"{symbol}","t":{ids[symbol]},"p":"{price}",'
                f'"q":"{quantity}","T":{made - 1},"m":{str(maker).lower()},"M":true}}'
            ).encode()
            stream = f"{symbol.lower()}@trade"
            batch.append(Event(trade, stream, VENUE, received, frame_of(stream, raw)))
        yield batch


class Stopwatch:
    """CPU time between ``start`` and ``stop``, added up."""

    def __init__(self):
        self.cpu_s = 0.0

    def __enter__(self):
        self._since = time.process_time()
        return self

    def __exit__(self, *_):
        self.cpu_s += time.process_time() - self._since


async def journal(watch):
    """As the collector does it, before anything is sealed."""
    from k2trio.sinks.jsonl import JsonLines

    JOURNAL.parent.mkdir(parents=True, exist_ok=True)
    with JsonLines(JOURNAL) as sink:
        for batch in batches():
            with watch:
                await sink.write(batch)
        with watch:
            sink.sync()
    return JOURNAL


async def compressed(watch):
    """The same into ``….jsonl.zst``."""
    from k2trio.sinks.zst import ZstdLines

    path = FOLDER / "out.jsonl.zst"
    with ZstdLines(path) as sink:
        for batch in batches():
            with watch:
                await sink.write(batch)
        with watch:
            sink.sync()
    return path


async def json_dumps(watch):
    """What a script does that gets dicts: ``json.dumps``, a line each, flushed each batch."""
    path = FOLDER / "dumps.jsonl"
    with path.open("w") as file:
        for batch in batches():
            rows = [json.loads(event.raw) for event in batch]
            with watch:
                for event, row in zip(batch, rows, strict=True):
                    file.write(json.dumps({"received": event.received, **row}) + "\n")
                file.flush()
    return path


async def plain_pyarrow(watch):
    """What a script does that gets dicts: a table each 100,000 of them, into one Parquet file."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    path, rows, writer = FOLDER / "plain.parquet", [], None
    for batch in batches():
        rows += [{"received": event.received, **json.loads(event.raw)} for event in batch]
        if len(rows) >= 100_000:
            with watch:
                table = pa.Table.from_pylist(rows)
                writer = writer or pq.ParquetWriter(path, table.schema)
                writer.write_table(table)
            rows = []
    with watch:
        if rows:
            table = pa.Table.from_pylist(rows)
            writer = writer or pq.ParquetWriter(path, table.schema)
            writer.write_table(table)
        writer.close()
    return path


async def seal(watch):
    """The journal becomes sealed files."""
    from k2trio.dataset.sealing import seal_all

    with watch:
        for outcome in seal_all(FOLDER / "set", JOURNAL.parent, "bench"):
            if outcome.problem is not None:
                raise SystemExit(outcome.problem)
    return FOLDER / "set"


async def verify_sealed(watch):
    """The sealed files are proven."""
    return proven(watch, FOLDER / "set")


async def verify_lines(watch):
    """JSON lines are proven."""
    return proven(watch, FOLDER / "copy.jsonl")


def proven(watch, path):
    from k2trio.dataset.catalogue import find
    from k2trio.dataset.proof.proof import prove

    with watch:
        found = prove(find([path]))
    if sum(account.count for account in found.accounts) != ROWS:
        raise SystemExit("not all rows were read")
    return path


def size(path):
    """Bytes of a file, or of the Parquet files in a folder."""
    if path.is_file():
        return path.stat().st_size
    return sum(file.stat().st_size for file in path.rglob("*.parquet"))


watch = Stopwatch()
began = time.perf_counter()
made = trio.run(globals()[WORK.replace("-", "_")], watch)
print(
    json.dumps(
        {
            "rows": ROWS,
            "cpu_s": watch.cpu_s,
            "rows_per_cpu_s": ROWS / watch.cpu_s,
            "wall_s": time.perf_counter() - began,
            "bytes_per_row": size(made) / ROWS,
            "peak_rss_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        }
    )
)

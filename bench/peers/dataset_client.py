"""The feed, each message noted and then written to a journal; see ``dataset.py``.

The variant ``alone`` only writes. With ``sealing`` another journal is sealed meanwhile, again and
again, as the collector does it; with ``discard`` nothing is written at all.
"""

import contextlib
import os
import random
import shutil
import sys
import tempfile
from pathlib import Path

import trio
from meter import Latencies, parse_options

import k2trio
from k2trio.sinks.jsonl import JsonLines

PREPARED = Path(os.environ["K2TRIO_BENCH_JOURNAL"])
options = parse_options()
take = Latencies(options).take
settings = k2trio.Settings(
    websocket_url=f"{options.url}/stream",
    failover_urls=(),
    rest_urls=(options.url.replace("ws", "http", 1),),
    streams=tuple(options.streams),
    ca_file=options.ca,
)


async def seal_for_ever(folder):
    """Seal the prepared journal as the collector's sink does."""
    journals = folder / "set" / "_journal"
    while True:
        shutil.rmtree(folder / "set", ignore_errors=True)
        journals.mkdir(parents=True)
        os.link(PREPARED, journals / PREPARED.name)
        await trio.run_process(
            [sys.executable, "-m", "k2trio", "seal", str(folder / "set")],
            capture_stdout=True,
            capture_stderr=True,
        )


async def main():
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        sink = None if options.variant == "discard" else JsonLines(folder / "out.jsonl")
        async with trio.open_nursery() as nursery:
            if options.variant == "sealing":
                nursery.start_soon(seal_for_ever, folder)
            with sink or contextlib.nullcontext():
                async with k2trio.open_feed(settings=settings, rng=random.Random(1)) as feed:
                    async for batch in feed.batches():
                        for event in batch:
                            take(event.data.trade_time)
                        if sink is not None:
                            await sink.write(batch)
            nursery.cancel_scope.cancel()


trio.run(main)

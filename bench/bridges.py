"""Bridges: what it costs to read the feed from asyncio, from uvloop, and from a plain thread.

The load server, the open loop and the figures are those of ``latency.py``: from when a message
should have been sent until the handler has it, and how much of a core that takes. The first row is
the feed in Trio, where nothing has to be bridged.

    python bench/bridges.py [--rates 1000,5000,50000] [--seconds 10] [--rounds 3]
"""

from __future__ import annotations

from harness.clients import Client, named
from latency import run

WORLDS = {
    "k2trio, Trio": "trio",
    "k2trio.aio, asyncio": "asyncio",
    "k2trio.aio, uvloop": "uvloop",
    "k2trio.sync, a thread": "sync",
}
ROWS = [
    Client(name, "bridge_client.py", "typed events, gap-free", variant=variant)
    for name, variant in WORLDS.items()
]

if __name__ == "__main__":
    run("bridges", __doc__, lambda only: named(ROWS, only))

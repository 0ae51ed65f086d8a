"""Own client under faults: a hand-written client, and what it lost on a bad day without noticing.

The simulated exchange breaks connections and leaves messages out, and tells afterwards what it
had emitted. `own_client` is the usual loop that reconnects; put yours in its place. Beside it
runs a feed of k2trio, on the same trades.

    python examples/own_client_under_faults.py --seconds 20

Needs nothing but k2trio (trio-websocket and httpx2 come with it).
"""

from __future__ import annotations

import json
from typing import Any

import httpx2
import trio
from exchange import options, simulator
from trio_websocket import ConnectionClosed, HandshakeError, open_websocket_url

import k2trio
from k2trio import streams

STREAM = "btcusdt@trade"
FAULTS: tuple[dict[str, Any], ...] = (  # "at" is a share of the run
    {"at": 0.15, "endpoint": "*", "kind": "rst"},
    {"at": 0.30, "endpoint": "*", "kind": "dropped", "share": 0.3, "duration": 1},
    {"at": 0.50, "endpoint": "*", "kind": "outage", "duration": 1},
    {"at": 0.70, "endpoint": "*", "kind": "fin"},
    {"at": 0.80, "endpoint": "*", "kind": "duplicated", "share": 0.2, "duration": 1},
)


async def own_client(url: str, seen: list[int]) -> None:
    """Yours: append the id of each trade that it delivers."""
    while True:
        try:
            async with open_websocket_url(f"{url}?streams={STREAM}") as connection:
                while True:
                    message = json.loads(await connection.get_message())
                    seen.append(message["data"]["t"])
        except (ConnectionClosed, HandshakeError, OSError):
            await trio.sleep(0.5)


async def feed(settings: k2trio.Settings, seen: list[int], named: list[k2trio.Gap]) -> None:
    async with k2trio.open_feed([streams.trade("btcusdt")], settings, log=False) as feed:
        async for item in feed:
            if isinstance(item, k2trio.Event):
                seen.append(item.data.trade_id)
            elif isinstance(item, k2trio.Gap):
                named.append(item)


def account(name: str, seen: list[int], named: list[k2trio.Gap], last: int) -> None:
    """Compare what came with what there was from the first id that came to ``last``."""
    seen = [one for one in seen if one <= last]
    first = min(seen)
    emitted = last - first + 1
    missing = emitted - len(set(seen))
    told = sum(min(gap.last, last) - gap.first + 1 for gap in named if gap.first <= last)
    print(f"{name:12}{emitted:>9}{len(set(seen)):>11}{len(seen) - len(set(seen)):>7}", end="")
    print(f"{told:>16}{missing - told:>17}")


async def main(seconds: float, urls: dict[str, str]) -> None:
    settings = k2trio.load_settings(
        websocket_url=urls["a"], failover_urls=[urls["b"]], rest_urls=[urls["rest"]],
        shared_budget="off", reconnect_delay=0.2,
    )  # fmt: skip
    own: list[int] = []
    ours: list[int] = []
    named: list[k2trio.Gap] = []
    faults = [{**fault, "at": fault["at"] * seconds} for fault in FAULTS]
    async with httpx2.AsyncClient(base_url=urls["rest"]) as rest:
        (await rest.post("/simulator/faults", json=faults)).raise_for_status()
        with trio.move_on_after(seconds):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(own_client, urls["a"], own)
                nursery.start_soon(feed, settings, ours, named)
        truth = (await rest.get("/simulator/truth")).json()
    print("faults: " + ", ".join(f"{fault['kind']} at {fault['at']:.0f} s" for fault in faults))
    last = min(own[-1], ours[-1], truth["symbols"]["BTCUSDT"]["trades"][-1][1])
    print(f"{'':12}{'emitted':>9}{'delivered':>11}{'twice':>7}{'named missing':>16}", end="")
    print(f"{'lost in silence':>17}")
    account("own client", own, [], last)
    account("k2trio", ours, named, last)


if __name__ == "__main__":
    given = options(__doc__, seconds=20).parse_args()
    with simulator("--symbols", "BTCUSDT", "--rate", "30") as urls:
        trio.run(main, given.seconds, urls)

"""Kafka round trip: a run writes to topics, and what it wrote is read back as a feed.

The writer is `python -m k2trio`, as it runs in production; the reader is k2trio.open_log, which
brings back the items themselves, gaps among them. It reads what was committed, so the account
must be exact: each id once and in order, or named as missing.

    python examples/kafka_round_trip.py --seconds 10 --broker 127.0.0.1:9092

Needs a broker, and the extra kafka: python -m pip install 'k2trio[kafka]'
"""

from __future__ import annotations

import secrets
import signal
import subprocess
import sys
import time
from collections import defaultdict
from dataclasses import dataclass
from decimal import Decimal

import trio
from exchange import add_faults, exchange, options

import k2trio

STREAMS = "btcusdt@trade,ethusdt@trade"


@dataclass
class Account:
    messages: int = 0
    missing: int = 0
    first: int | None = None
    next: int | None = None  # the id that has to follow; None: any may
    volume: Decimal = Decimal(0)
    turnover: Decimal = Decimal(0)

    def take(self, item: k2trio.Item) -> None:
        match item:
            case k2trio.Event(data=k2trio.Trade() as trade):
                if self.next not in (None, trade.trade_id):
                    sys.exit(f"{item.stream}: {trade.trade_id} came in the place of {self.next}")
                self.first = trade.trade_id if self.first is None else self.first
                self.next = trade.trade_id + 1
                self.messages += 1
                self.volume += Decimal(trade.quantity)
                self.turnover += Decimal(trade.price) * Decimal(trade.quantity)
            case k2trio.Gap(first=first, last=last, reason=reason):
                self.missing += last - first + 1
                self.next = None if reason == "reset" else last + 1  # then ids began anew
            case _:
                self.next = None  # another venue, with ids of its own
                print(item)


def write(url: str, group: str, seconds: float) -> None:
    """Let the program write for so long, and end it as systemd or Kubernetes would."""
    command = [
        sys.executable, "-m", "k2trio", "--output", url, "--group", group, "--streams", STREAMS,
        "--metrics-port", "0", "--log-level", "warning",
    ]  # fmt: skip
    with subprocess.Popen(command) as process:
        until = time.monotonic() + seconds
        while process.poll() is None and time.monotonic() < until:
            time.sleep(0.1)
        process.send_signal(signal.SIGTERM)
    if process.returncode:
        sys.exit(process.returncode)  # it has said why: that no broker answers, for one


async def read(url: str) -> None:
    accounts: dict[str, Account] = defaultdict(Account)
    async with k2trio.open_log(url) as log:
        async for item in log:
            accounts[item.stream].take(item)
    print(
        f"{'stream':14}{'messages':>9}{'missing':>9}{'first id':>12}{'volume':>14}{'average':>14}"
    )
    for stream, one in sorted(accounts.items()):
        average = one.turnover / one.volume if one.volume else Decimal(0)
        print(f"{stream:14}{one.messages:>9}{one.missing:>9}{one.first or 0:>12}", end="")
        print(f"{one.volume:>14.5f}{average:>14.4f}")


if __name__ == "__main__":
    parser = options(__doc__, seconds=10)
    parser.add_argument("--broker", default="127.0.0.1:9092", help="HOST:PORT")
    add_faults(parser)
    given = parser.parse_args()
    name = f"example-{secrets.token_hex(4)}"  # topics and a group that nobody else has
    url = f"kafka://{given.broker}/{name}.{{kind}}.{{venue}}"
    with exchange(given.faults):
        print(f"writing to {url} for {given.seconds:g} s", flush=True)
        write(url, name, given.seconds)
    trio.run(read, url)

"""The exchange that the examples read: the one you name, or a simulated one of their own.

Where ``K2_BINANCE_WEBSOCKET_URL`` names an endpoint, they read that, as every program of k2trio
does. Else this starts ``python -m k2trio simulate`` for as long as an example runs.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Generator

NAMED = "K2_BINANCE_WEBSOCKET_URL"
MARKET = ("--symbols", "BTCUSDT,ETHUSDT,LTCUSDT", "--rate", "20")


def options(about: str | None, seconds: float) -> argparse.ArgumentParser:
    """What every example can be told on its command line."""
    parser = argparse.ArgumentParser(
        description=about, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=seconds, help=f"default: {seconds:g}")
    return parser


def add_faults(parser: argparse.ArgumentParser) -> None:
    """Let an example show what it does on a bad day."""
    text = "what goes wrong at the simulated exchange: a JSON file, see docs/howto/simulator.md"
    parser.add_argument("--faults", type=Path, help=text)


@contextmanager
def exchange(faults: Path | None = None) -> Generator[None]:
    """Have ``k2trio`` read the exchange that is named, or else a simulated one."""
    if NAMED in os.environ:
        if faults is not None:
            sys.exit(f"--faults are for the simulated exchange: unset {NAMED}")
        yield
        return
    more = () if faults is None else ("--faults", str(faults))
    with simulator(*MARKET, *more) as urls:
        variables = {
            NAMED: urls["a"],
            "K2_BINANCE_FAILOVER_URLS": urls["b"],
            "K2_BINANCE_REST_URLS": urls["rest"],
            "K2_BINANCE_SHARED_BUDGET": "off",  # its limits are nobody else's
        }
        os.environ.update(variables)
        try:
            yield
        finally:
            for name in variables:
                del os.environ[name]


@contextmanager
def simulator(*arguments: str) -> Generator[dict[str, str]]:
    """Run a simulated exchange; its URLs are ``a`` and ``b``, its two endpoints, and ``rest``."""
    # Whoever ends an example ends its exchange.
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    command = [sys.executable, "-m", "k2trio", "simulate", "--ports", "0,0", "--rest-port", "0"]
    with subprocess.Popen([*command, *arguments], stdout=subprocess.PIPE, text=True) as process:
        try:
            urls: dict[str, str] = {}
            for line in process.stdout or ():
                name, url = line.split()
                urls[name] = url
                if name == "rest":  # the last one
                    break
            if "rest" not in urls:
                sys.exit("the simulated exchange did not start; it says why above")
            yield urls
        finally:
            process.terminate()

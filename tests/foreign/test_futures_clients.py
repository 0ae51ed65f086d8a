"""Clients that others wrote stream USD-M futures from the simulated exchange, over both routes.

Each runs in the environment that the benches make for it (``bench/peers.toml``), with a program of
this folder. Where that cannot be installed, its test is skipped and says so.
"""

from __future__ import annotations

import json
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from processes import simulator

pytestmark = pytest.mark.slow

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent.parent / "bench"))

from harness.clients import Client, NotMeasuredError, python_of  # noqa: E402 - not a package of ours

ENOUGH = 30
"""Messages of each stream."""
BOUND_S = 90
CLIENTS = [
    Client("unicorn", "unicorn_client.py", "dicts", environment="unicorn"),
    Client("ccxt", "ccxt_client.py", "unified dicts", environment="ccxt"),
    Client("official SDK", "binance_sdk_client.py", "models", environment="binance-sdk-usdm"),
]


@pytest.fixture(params=CLIENTS, ids=lambda client: client.name)
def told(request: pytest.FixtureRequest) -> dict[str, list[Any]]:
    """What a client got of each stream."""
    client = request.param
    try:
        python = python_of(client)
    except NotMeasuredError as error:
        pytest.skip(f"{client.environment} {error}")
    with simulator("--product", "usdm", "--rate", "50") as exchange:
        end = subprocess.run(  # noqa: S603 - a program of this folder
            [
                python,
                str(HERE / client.adapter),
                exchange.urls["a"],
                str(ENOUGH),
                exchange.urls["rest"],
            ],
            capture_output=True,
            text=True,
            timeout=BOUND_S,
            check=False,
        )
    assert end.returncode == 0, end.stderr
    return dict(json.loads(end.stdout.splitlines()[-1]))


def test_it_streams_trades_and_books_each_on_its_route(told: dict[str, list[Any]]) -> None:
    trades, updates = told["aggTrade"], told["depth@100ms"]
    assert len(trades) >= ENOUGH <= len(updates)
    ids = [int(trade["a"]) for trade in trades]
    assert ids == list(range(ids[0], ids[0] + len(ids)))
    assert {trade["s"] for trade in (*trades, *updates)} == {"BTCUSDT"}
    assert all(int(one["u"]) == int(other["pu"]) for one, other in pairwise(updates))

"""The feed in what other people's loops run: a web server's lifespan, the cells of a notebook."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx2
import nbclient
import nbformat
import pytest
from bridge.exchange import Exchange
from pages import DOCS, blocks
from processes import PATIENCE_S, SHUTDOWN_S, simulator

if TYPE_CHECKING:
    from collections.abc import Generator

pytestmark = pytest.mark.slow

HERE = Path(__file__).parent
HOW_TO = DOCS / "howto"


@pytest.fixture(scope="module")
def exchange() -> Generator[Exchange]:
    with simulator("--rate", "200") as running:
        yield Exchange(running)


@contextmanager
def served(exchange: Exchange, *options: str) -> Generator[tuple[subprocess.Popen[str], str]]:
    """The application in uvicorn, and where."""
    command = (sys.executable, "-m", "uvicorn", "--app-dir", str(HERE), "app:app", "--port", "0")
    with subprocess.Popen(  # noqa: S603 - our own application
        [*command, *options],
        env=exchange.environment(),
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        try:
            assert process.stderr is not None
            for line in process.stderr:
                if found := re.search(r"running on (http://\S+)", line):
                    break
            else:
                raise AssertionError("the server ended")
            yield process, found[1]
        finally:
            process.kill()


def get(url: str) -> httpx2.Response:
    return httpx2.get(url, trust_env=False).raise_for_status()


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_a_web_application_reads_a_feed_for_as_long_as_it_lives(
    exchange: Exchange, loop: str
) -> None:
    if loop == "uvloop":
        pytest.importorskip("uvloop")
    before = exchange.endings()
    with served(exchange, "--loop", loop) as (process, url):
        deadline = time.monotonic() + PATIENCE_S
        while len(ids := get(f"{url}/ids").json()) < 300:
            assert time.monotonic() < deadline
        assert ids == list(range(ids[0], ids[0] + len(ids)))
        assert get(f"{url}/health").json() == {"connected": True, "problems": []}
        assert "k2_binance_connect_budget_left" in get(f"{url}/metrics").text
        process.send_signal(signal.SIGINT)
        at = time.monotonic()
        _, err = process.communicate(timeout=PATIENCE_S)
        assert time.monotonic() - at < SHUTDOWN_S
    assert "Application shutdown complete" in err
    assert "Traceback" not in err
    exchange.assert_all_closed(before)


@pytest.mark.parametrize("page", ["asyncio.md", "threads.md"])
def test_the_examples_of_the_documents_run_as_they_are(exchange: Exchange, page: str) -> None:
    (example,) = (block.text for block in blocks(HOW_TO / page, "python"))
    with subprocess.Popen(  # noqa: S603 - our own text
        [sys.executable, "-u", "-X", "dev", "-W", "error", "-c", example],
        env=exchange.environment(),
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        for _ in range(20):
            assert process.stdout.readline() == "btcusdt@trade 127.0.0.1\n"
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=PATIENCE_S)
    assert err.splitlines()[-1] == "KeyboardInterrupt"


CELLS = (
    "import k2trio\nids = []",
    """
    async with k2trio.aio.open_feed(["btcusdt@trade"]) as feed:
        async for event in feed:
            ids.append(event.data.trade_id)
            if len(ids) == 300:
                break
    """,
    "assert ids == list(range(ids[0], ids[0] + 300))\nlen(ids)",
    """
    opening = k2trio.aio.open_feed(["btcusdt@trade"])
    feed = await opening.__aenter__()
    """,
    "event = await anext(feed)\nevent.stream",
    "await opening.__aexit__(None, None, None)\nfeed.status().connected",
    """
    with k2trio.sync.open_feed(["btcusdt@trade"]) as feed:
        event = feed.get(timeout=10)
    event.stream
    """,
)
SHOWN = [None, None, "300", None, "'btcusdt@trade'", "False", "'btcusdt@trade'"]
"""What each cell shows."""


def test_a_notebook_opens_reads_and_leaves_feeds_in_its_cells(
    exchange: Exchange, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In one cell, and over several."""
    before = exchange.endings()
    for name, value in exchange.environment().items():
        monkeypatch.setenv(name, value)
    notebook: Any = nbformat.v4.new_notebook()
    notebook.cells = [nbformat.v4.new_code_cell(text) for text in map(_dedented, CELLS)]
    nbclient.NotebookClient(notebook, timeout=int(PATIENCE_S), kernel_name="python3").execute()
    assert [_shown(cell) for cell in notebook.cells] == SHOWN
    exchange.assert_all_closed(before)


def _dedented(text: str) -> str:
    lines = text.strip("\n").splitlines()
    return "\n".join(line.removeprefix("    ") for line in lines)


def _shown(cell: Any) -> str | None:
    """The value that a cell shows; whatever else it says fails the test."""
    values = [output["data"]["text/plain"] for output in cell.outputs]
    return values[0] if values else None

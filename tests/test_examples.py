"""Every example runs as it stands, and what it tells is what the simulated exchange did.

The market follows from its seed alone, so the truth of each example's exchange can be made here.
"""

from __future__ import annotations

import asyncio
import contextlib
import http.server
import itertools
import json
import re
import sqlite3
import subprocess
import sys
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx2
import nbclient
import nbformat
import pyarrow.parquet as pq
import pytest
from pages import ROOT
from processes import PATIENCE_S, environment
from shell import free_ports

import k2trio
from k2trio.market.streams import Kind
from k2trio.simulator import FaultBoard, ServeConfig
from k2trio.simulator.market.trading import Listener
from k2trio.simulator.serving.server import generated

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable

    from k2trio.simulator.market.book import Side
    from k2trio.simulator.market.trading import SymbolMarket

pytestmark = pytest.mark.slow

FOLDER = ROOT / "examples"
SHARED = FOLDER / "exchange.py"
EXAMPLES = {path.stem for path in FOLDER.glob("*.py") if path != SHARED}
PORT, HOOK_PORT = free_ports(2)
LAST_S = 120
"""So long an example and its exchange may live, on a busy machine."""
BAD_DAY = [
    {"at": 0, "endpoint": "rest", "kind": "rest_refused", "duration": LAST_S},
    *(
        {"at": at, "endpoint": "*", "kind": "dropped", "duration": 0.3}
        for at in range(2, LAST_S, 3)
    ),
    *({"at": at, "endpoint": "*", "kind": "rst"} for at in range(4, LAST_S, 4)),
]
"""Something is left out again and again, connections break, and nothing can be fetched."""
STRICT = ("-W", "error")
LENIENT = ("-W", "error", "-W", "ignore::ResourceWarning")
"""trio-websocket, which the own client uses, leaves sockets open whose handshake failed."""
FAULTS = ("--faults", "bad-day.json")
ARGUMENTS: dict[str, tuple[str, ...]] = {
    "alert_bot": ("8", "--move", "2", "--webhook", f"http://127.0.0.1:{HOOK_PORT}/", *FAULTS),
    "arbitrage_monitor": ("8",),
    "candles_to_parquet": ("8", "--width", "1", "--output", "candles.parquet", *FAULTS),
    "custom_sink": ("6", "--database", "trades.db"),
    "fastapi_dashboard": ("6", "--port", str(PORT)),
    "live_ladder": ("6", "--levels", "5"),
    "own_client_under_faults": ("8",),
    "polars_notebook": ("4",),
    "replay_backtest": ("8", *FAULTS),
}


# -- Running them ---------------------------------------------------------------------------------


@dataclass
class Run:
    """An example that has come to its end."""

    folder: Path
    code: int = 0
    out: str = ""
    err: str = ""
    seen: list[Any] = field(default_factory=list)
    """What the world saw of it meanwhile."""


def run_example(name: str, folder: Path, *arguments: str) -> Run:
    """Run it as the documents say, in a folder of its own."""
    (folder / "bad-day.json").write_text(json.dumps(BAD_DAY))
    run = Run(folder)
    with contextlib.ExitStack() as stack:
        if name in BESIDE:
            stack.enter_context(BESIDE[name](run))
        variables = environment(REPAIR_HOLD="0.2", RECONNECT_DELAY="0.05", STABLE_AFTER="0.5")
        strict = LENIENT if name == "own_client_under_faults" else STRICT
        process = subprocess.run(  # noqa: S603 - our own program
            [sys.executable, *strict, FOLDER / f"{name}.py", "--seconds", *arguments],
            cwd=folder,
            env=variables | {"PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            timeout=2 * PATIENCE_S,
            check=False,
        )
    run.code, run.out, run.err = process.returncode, process.stdout, process.stderr
    return run


def run_notebook(_: str, folder: Path, seconds: str) -> Run:
    """Run its cells in a kernel, and keep its table."""
    notebook: Any = nbformat.v4.new_notebook()
    text = (FOLDER / "polars_notebook.py").read_text()
    told = f"import sys\nsys.argv += ['--seconds', {seconds!r}]"
    cells = [told, *re.split(r"^# %%", text, flags=re.MULTILINE)]
    code = [cell for cell in cells if not cell.startswith(" [markdown]")]
    code.append(f"frame.write_parquet({str(folder / 'frame.parquet')!r})")
    notebook.cells = [nbformat.v4.new_code_cell(cell) for cell in code]
    place = {"metadata": {"path": str(FOLDER)}}
    client = nbclient.NotebookClient(
        notebook, timeout=int(2 * PATIENCE_S), kernel_name="python3", resources=place
    )
    asyncio.run(client.async_execute())
    outputs = [output for cell in notebook.cells for output in cell.outputs]
    return Run(folder, out="".join(output.get("text", "") for output in outputs))


@contextlib.contextmanager
def webhook(run: Run) -> Generator[None]:
    """Takes what the bot posts."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            run.seen.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", HOOK_PORT), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        yield
        server.shutdown()
        thread.join()


@contextlib.contextmanager
def browser(run: Run) -> Generator[None]:
    """Looks at the page, and when all symbols have their rows, at these to the end."""

    def look() -> None:
        deadline = time.monotonic() + PATIENCE_S
        with httpx2.Client(base_url=f"http://127.0.0.1:{PORT}", trust_env=False) as client:
            while time.monotonic() < deadline:
                with contextlib.suppress(httpx2.HTTPError):
                    rows = client.get("/rows").json()["rows"]
                    if all(row["price"] and row["bid"] for row in rows):
                        break
                time.sleep(0.1)
            run.seen.append(client.get("/").text)
            with client.stream("GET", "/events") as events:
                for line in events.iter_lines():  # until it ends, as a page does that stays open
                    if line:
                        run.seen.append(json.loads(line.removeprefix("data: ")))

    with ThreadPoolExecutor(1) as looking:
        seen = looking.submit(look)
        yield
        seen.result()


BESIDE: dict[str, Callable[[Run], contextlib.AbstractContextManager[None]]] = {
    "alert_bot": webhook,
    "fastapi_dashboard": browser,
}


@pytest.fixture(scope="module")
def runs(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Generator[dict[str, Future[Run]]]:
    """All examples that are asked for, at once: they wait more than they work."""
    asked = {
        item.callspec.params["run"]
        for item in request.session.items
        if item.path == Path(__file__) and isinstance(item, pytest.Function)
        if hasattr(item, "callspec") and "run" in item.callspec.params
    }
    with ThreadPoolExecutor(len(EXAMPLES)) as pool:
        yield {
            name: pool.submit(
                run_notebook if name == "polars_notebook" else run_example,
                name, tmp_path_factory.mktemp(name), *ARGUMENTS[name],
            )
            for name in sorted(asked)
        }  # fmt: skip


@pytest.fixture
def run(request: pytest.FixtureRequest, runs: dict[str, Future[Run]]) -> Run:
    return runs[request.param].result()


def of(name: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("run", [name], indirect=True)


def assert_well(run: Run) -> None:
    """It ended by itself, without complaint, and what it printed fits a terminal."""
    assert (run.code, complaints(run.err)) == (0, "")
    assert [line for line in run.out.splitlines() if len(line) > 80] == []


def complaints(err: str) -> str:
    """What it said besides the log of the feed."""
    return re.sub(r"^(connection_lost|reconnecting|gap_declared) .*\n", "", err, flags=re.MULTILINE)


# -- The truth ------------------------------------------------------------------------------------


class Updates(Listener):
    """Every change of a book: update id, side, price, quantity."""

    def __init__(self, symbol: SymbolMarket) -> None:
        self.changes: list[tuple[int, int, Decimal, Decimal]] = []
        for sign, side in ((1, symbol.book.bids), (-1, symbol.book.asks)):
            self.changes += [
                (symbol.update_id, sign, decimal(price), decimal(quantity))
                for price, quantity in side.quantities.items()
            ]
        symbol.attach(self, Kind.DEPTH)

    def on_level(self, symbol: SymbolMarket, side: Side, price: int) -> None:  # type: ignore[override]
        quantity = decimal(side.quantities.get(price, 0))
        self.changes.append((symbol.update_id, side.sign, decimal(price), quantity))


Levels = list[tuple[Decimal, Decimal]]


class Truth:
    """What happens at every simulated exchange of the examples."""

    def __init__(self, rate: float, *symbols: str) -> None:
        config = ServeConfig(symbols=symbols, rate=rate)
        (exchange,) = generated(config, FaultBoard()).values()
        market = exchange.market
        self._updates = {name: Updates(market.symbols[name]) for name in symbols}
        market.advance(market.now_us + LAST_S * 1_000_000)
        self._trades = {
            name: {
                trade.id: (decimal(trade.price), decimal(trade.quantity))
                for trade in market.symbols[name].trades.records
            }
            for name in symbols
        }

    def trades(self, symbol: str, first: int, last: int) -> Levels:
        """Price and quantity of each trade from one id to another."""
        return [self._trades[symbol][number] for number in range(first, last + 1)]

    def price(self, symbol: str, trade_id: int) -> Decimal:
        return self._trades[symbol][trade_id][0]

    def books(self, symbol: str, wanted: Iterable[int]) -> dict[int, tuple[Levels, Levels]]:
        """Bids and asks at update ids, the best first."""
        sides: dict[int, dict[Decimal, Decimal]] = {1: {}, -1: {}}
        changes = iter([*self._updates[symbol].changes, (1 << 62, 1, Decimal(0), Decimal(0))])
        change = next(changes)
        found: dict[int, tuple[Levels, Levels]] = {}
        for update_id in sorted(wanted):
            while change[0] <= update_id:
                _, sign, price, quantity = change
                sides[sign][price] = quantity
                change = next(changes)
            bids, asks = ({p: q for p, q in side.items() if q}.items() for side in sides.values())
            found[update_id] = sorted(bids, reverse=True), sorted(asks)
        return found


def decimal(units: int) -> Decimal:
    return Decimal(units).scaleb(-8)


@pytest.fixture(scope="module")
def truth() -> Truth:
    return Truth(20, "BTCUSDT", "ETHUSDT", "LTCUSDT")


# -- What they tell -------------------------------------------------------------------------------


@of("candles_to_parquet")
def test_complete_candles_are_so_and_others_say_that_they_are_not(run: Run, truth: Truth) -> None:
    assert_well(run)
    rows = pq.read_table(run.folder / "candles.parquet").to_pylist()
    complete = sum(row["complete"] for row in rows)
    assert run.out.splitlines()[-1] == (
        f"candles.parquet: {len(rows)} candles, {complete} of them complete"
    )
    assert {row["symbol"] for row in rows} == {"BTCUSDT", "ETHUSDT"}
    for symbol in ("BTCUSDT", "ETHUSDT"):
        mine = [row for row in rows if row["symbol"] == symbol]
        assert not mine[0]["complete"], "it began before the feed did"
        lacking = 0
        for before, row in itertools.pairwise(mine):
            trades = truth.trades(symbol, row["first_trade_id"], row["last_trade_id"])
            volume = sum(quantity for _, quantity in trades)
            lacking += row["first_trade_id"] > before["last_trade_id"] + 1 or row["volume"] < volume
            if row["complete"]:
                prices = [price for price, _ in trades]
                assert row["first_trade_id"] == before["last_trade_id"] + 1
                assert (row["open"], row["close"]) == (prices[0], prices[-1])
                assert (row["low"], row["high"]) == (min(prices), max(prices))
                assert row["volume"] == volume
        assert lacking, "the day was not bad enough"
    assert complete


@of("live_ladder")
def test_a_ladder_is_the_book_of_its_update(run: Run, truth: Truth) -> None:
    assert_well(run)
    pictures = re.findall(
        r"BTCUSDT at 127\.0\.0\.1: live\nupdate (\d+)\n((?:.+\n)+)", f"{run.out}\n"
    )
    assert len(pictures) >= 3
    books = truth.books("BTCUSDT", [int(update) for update, _ in pictures])
    for update, text in pictures:
        bids, asks = (side[:5] for side in books[int(update)])
        rows = re.findall(r"^ +(\d+\.\d\d) +(\d+\.\d{5}) ", text, re.MULTILINE)
        assert [(Decimal(p), Decimal(q)) for p, q in rows] == [*reversed(asks), *bids]
        assert f"spread {asks[0][0] - bids[0][0]:.2f}" in text


@of("fastapi_dashboard")
def test_a_dashboard_shows_prices_and_whole_volumes(run: Run, truth: Truth) -> None:
    assert_well(run)
    assert run.out == f"http://127.0.0.1:{PORT}/ for 6 s\n"
    page, *told = run.seen
    assert "EventSource" in page
    assert len(told) >= 2
    for event in told:
        assert event["problems"] == []
        assert [row["symbol"] for row in event["rows"]] == ["btcusdt", "ethusdt", "ltcusdt"]
        for row in event["rows"]:
            symbol, last = row["symbol"].upper(), row["trade_id"]
            assert Decimal(row["price"]) == truth.price(symbol, last)
            assert Decimal(row["bid"]) < Decimal(row["ask"])
            assert (row["missing"], row["outages"]) == (0, 0)
    traded = 0
    for before, row in zip(told[0]["rows"], told[-1]["rows"], strict=True):
        trades = truth.trades(row["symbol"].upper(), before["trade_id"] + 1, row["trade_id"])
        volume = sum(quantity for _, quantity in trades)
        assert Decimal(row["volume"]) - Decimal(before["volume"]) == volume
        traded += len(trades)
    assert traded


OPPORTUNITY = re.compile(
    r"^buy at (\S+), sell at (\S+): \+(\S+)\n  by updates (\d+) and (\d+)$", re.MULTILINE
)


@of("arbitrage_monitor")
def test_opportunities_are_what_both_books_gave(run: Run, truth: Truth) -> None:
    assert_well(run)
    found = OPPORTUNITY.findall(run.out)
    assert run.out.splitlines()[-1] == f"{len(found)} opportunities in 8 s"
    assert found
    books = truth.books("LTCUSDT", {int(n) for row in found for n in row[3:]})
    for here, there, told, bought_at, sold_at in found:
        assert {here, there} == {"127.0.0.1", "localhost"}
        cost = taken(books[int(bought_at)][1], Decimal("0.001"))
        proceeds = taken(books[int(sold_at)][0], Decimal("0.001"))
        fee = Decimal("0.00005")
        profit = proceeds * (1 - fee) - cost * (1 + fee)
        assert profit > 0
        assert Decimal(told) == round(profit, 10)


def taken(levels: Levels, quantity: Decimal) -> Decimal:
    """What a quantity costs, or brings."""
    cost = Decimal(0)
    for price, there in levels:
        part = min(quantity, there)
        cost, quantity = cost + part * price, quantity - part
    assert quantity == 0
    return cost


@of("alert_bot")
def test_a_bot_posts_what_it_tells(run: Run, truth: Truth) -> None:
    assert_well(run)
    told = run.out.splitlines()
    posted = [body["text"] for body in run.seen]
    assert posted == told[: len(posted)]
    assert len(told) - len(posted) <= 1, "when its time was up the last one was under way"
    assert any(re.match(r"connection to 127\.0\.0\.1:\d+ lost: ", line) for line in told)
    assert any(re.match(r"data again, from 127\.0\.0\.1:\d+, after ", line) for line in told)
    assert any("are missing, not_repaired" in line for line in told)
    moves = re.findall(r"LTCUSDT ([+-][\d.]+) bp: (\S+) -> (\S+), trades (\d+) to (\d+)", run.out)
    assert moves
    for move, first, last, first_id, last_id in moves:
        prices = [truth.price("LTCUSDT", int(number)) for number in (first_id, last_id)]
        assert [Decimal(first), Decimal(last)] == prices
        assert Decimal(move) == round((prices[1] / prices[0] - 1) * 10_000, 1)
        assert abs(Decimal(move)) >= 2


@of("polars_notebook")
def test_a_notebook_proves_its_table_whole(run: Run, truth: Truth) -> None:
    assert "the feed names 0 holes" in run.out
    rows = pq.read_table(run.folder / "frame.parquet").to_pylist()
    for symbol in ("BTCUSDT", "ETHUSDT", "LTCUSDT"):
        mine = [row for row in rows if row["symbol"] == symbol]
        ids = [row["id"] for row in mine]
        assert ids == list(range(ids[0], ids[-1] + 1))
        assert [(row["price"], row["quantity"]) for row in mine] == truth.trades(
            symbol, ids[0], ids[-1]
        )


@of("replay_backtest")
def test_a_backtest_trades_at_prices_that_were_and_adds_up(run: Run, truth: Truth) -> None:
    assert_well(run)
    *_, end = run.out.splitlines()
    fills = re.findall(r"^(buy|sell) +LTCUSDT at (\S+), trade (\d+)$", run.out, re.MULTILINE)
    assert [way for way, _, _ in fills] == ["buy", "sell"] * (len(fills) // 2)
    assert len(fills) >= 2
    assert "Gap: sell what is held" in run.out
    cash = fees = Decimal(0)
    for way, price, trade_id in fills:
        assert Decimal(price) == truth.price("LTCUSDT", int(trade_id))
        fees += Decimal(price) * Decimal("0.00005")
        cash += Decimal(price) * (1 if way == "sell" else -1)
    told = re.fullmatch(r"(\d+) trades up to \d+, (\d+) fills, fees (\S+), profit (\S+)", end)
    assert told is not None
    assert int(told[1]) > 50
    assert (int(told[2]), Decimal(told[3]), Decimal(told[4])) == (len(fills), fees, cash - fees)


@of("custom_sink")
def test_a_sink_has_each_trade_once_over_a_restart(run: Run, truth: Truth) -> None:
    assert_well(run)
    assert "away for 1.2 s" in run.out
    with contextlib.closing(sqlite3.connect(run.folder / "trades.db")) as database:
        assert database.execute("SELECT * FROM gaps").fetchall() == []
        for symbol in ("BTCUSDT", "ETHUSDT"):
            stream = f"{symbol.lower()}@trade"
            rows = database.execute(
                "SELECT id, price, quantity, origin FROM trades WHERE stream = ? ORDER BY id",
                [stream],
            ).fetchall()
            first, last = rows[0][0], rows[-1][0]
            assert [row[0] for row in rows] == list(range(first, last + 1))
            found = [(Decimal(price), Decimal(quantity)) for _, price, quantity, _ in rows]
            assert found == truth.trades(symbol, first, last)
            fetched = sum(row[3] == "backfill" for row in rows)
            assert fetched > 0
            assert (
                f"{stream}: {len(rows)} trades from {first} to {last}, {fetched} of them by REST"
            ) in run.out


@of("own_client_under_faults")
def test_an_own_client_is_told_what_it_lost(run: Run) -> None:
    assert_well(run)
    rows = {
        name: list(map(int, numbers.split()))
        for name, numbers in re.findall(r"^(own client|k2trio) +(.+)$", run.out, re.MULTILINE)
    }
    for emitted, delivered, _, named, lost in rows.values():
        assert emitted == delivered + named + lost
    assert rows["own client"][3] == 0
    assert rows["own client"][4] > 0
    assert rows["k2trio"][2] == rows["k2trio"][4] == 0


def test_a_round_trip_through_kafka_loses_nothing(kafka: str, tmp_path: Path, truth: Truth) -> None:
    run = run_example("kafka_round_trip", tmp_path, "4", "--broker", kafka)
    assert_well(run)
    rows = re.findall(r"^(\w+)@trade +(\d+) +(\d+) +(\d+) +(\S+) +(\S+)$", run.out, re.MULTILINE)
    assert [row[0] for row in rows] == ["btcusdt", "ethusdt"]
    for symbol, messages, missing, first, volume, average in rows:
        assert missing == "0"
        assert int(messages) > 0
        trades = truth.trades(symbol.upper(), int(first), int(first) + int(messages) - 1)
        assert Decimal(volume) == sum(quantity for _, quantity in trades)
        turnover = sum(price * quantity for price, quantity in trades)
        assert Decimal(average) == round(turnover / Decimal(volume), 4)


# -- All of them ----------------------------------------------------------------------------------


def test_every_example_is_run_and_listed() -> None:
    assert {*ARGUMENTS, "kafka_round_trip"} == EXAMPLES
    text = (FOLDER / "README.md").read_text()
    listed = re.findall(r"^\| \[(\w+)\.py\]\(\./\1\.py\) \|", text, re.MULTILINE)
    assert sorted(listed) == sorted(EXAMPLES)


@pytest.mark.parametrize("name", sorted(EXAMPLES))
def test_an_example_says_how_to_run_it_and_uses_what_is_public(name: str) -> None:
    text = (FOLDER / f"{name}.py").read_text()
    assert f"python examples/{name}.py" in text
    assert "\nNeeds " in text
    assert not re.search(r"from k2trio\.|import k2trio\.", text)
    assert set(re.findall(r"\bk2trio\.([A-Za-z]\w*)", text)) <= set(k2trio.__all__)

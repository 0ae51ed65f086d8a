"""FastAPI dashboard: prices, quotes and what is missing, live in a browser.

The feed lives in the app's lifespan, in the same loop; the page gets its rows as server-sent
events. What is missing stands beside the sums that lack it, and a feed that is not well says so.

    python examples/fastapi_dashboard.py --seconds 60 --port 8000

Needs FastAPI and uvicorn: python -m pip install fastapi uvicorn
"""

from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import uvicorn
from exchange import add_faults, exchange, options
from fastapi import FastAPI
from fastapi.responses import HTMLResponse, StreamingResponse

import k2trio
from k2trio import streams

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

SYMBOLS = ("btcusdt", "ethusdt", "ltcusdt")
PAGE = """<!doctype html><title>Prices</title><style>body{font:13px monospace;margin:1em}
td,th{text-align:right;padding:.2em .8em}</style><table id=rows></table><p id=problems></p><script>
const source = new EventSource("events"), problems = document.getElementById("problems")
source.onerror = () => problems.textContent = "no connection: these are the last rows"
source.onmessage = message => {
  const told = JSON.parse(message.data), rows = told.rows, names = Object.keys(rows[0])
  const line = (tag, cells) => `<tr><${tag}>` + cells.join(`<${tag}>`)
  document.getElementById("rows").innerHTML = line("th", names)
    + rows.map(row => line("td", names.map(name => row[name] ?? "-"))).join("")
  problems.textContent = told.problems.join("; ") || "all is well"
}</script>"""


@dataclass
class Row:
    symbol: str
    price: str | None = None
    trade_id: int | None = None
    volume: Decimal = Decimal(0)
    missing: int = 0  # trades that will not come, and are not in the volume
    bid: str | None = None
    ask: str | None = None
    outages: int = 0  # times in which quotes may be missing: their ids cannot prove it


async def follow(feed: k2trio.Feed[Any], rows: dict[str, Row]) -> None:
    async for item in feed:
        row = rows[item.stream.partition("@")[0]]
        match item:
            case k2trio.Event(data=k2trio.Trade() as trade):
                row.price, row.trade_id = trade.price, trade.trade_id
                row.volume += Decimal(trade.quantity)
            case k2trio.Event(data=k2trio.BookTicker(bid=bid, ask=ask)):
                row.bid, row.ask = bid, ask
            case k2trio.Gap(first=first, last=last):
                row.missing += last - first + 1
            case _:
                row.outages += 1


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncGenerator[None]:
    names = [make(symbol) for symbol in SYMBOLS for make in (streams.trade, streams.book_ticker)]
    app.state.rows = {symbol: Row(symbol) for symbol in SYMBOLS}
    async with k2trio.aio.open_feed(names) as app.state.feed, asyncio.TaskGroup() as tasks:
        reader = tasks.create_task(follow(app.state.feed, app.state.rows))
        yield
        reader.cancel()


app = FastAPI(lifespan=lifespan)


@app.get("/")
def page() -> HTMLResponse:
    return HTMLResponse(PAGE)


@app.get("/rows")
async def rows() -> dict[str, Any]:
    found = [asdict(row) for row in app.state.rows.values()]
    return {"rows": found, "problems": app.state.feed.status().problems}


@app.get("/events")
async def events() -> StreamingResponse:
    async def told() -> AsyncGenerator[str]:
        while not app.state.server.should_exit:  # else an open page would hold up the end
            yield f"data: {json.dumps(await rows(), default=str)}\n\n"
            await asyncio.sleep(0.5)

    return StreamingResponse(told(), media_type="text/event-stream")


async def main(seconds: float, port: int) -> None:
    config = uvicorn.Config(app, port=port, log_level="warning", timeout_graceful_shutdown=1)
    app.state.server = server = uvicorn.Server(config)
    asyncio.get_running_loop().call_later(seconds, setattr, server, "should_exit", True)
    print(f"http://127.0.0.1:{port}/ for {seconds:g} s", flush=True)
    await server.serve()


if __name__ == "__main__":
    parser = options(__doc__, seconds=60)
    parser.add_argument("--port", type=int, default=8000)
    add_faults(parser)
    given = parser.parse_args()
    with exchange(given.faults):
        asyncio.run(main(given.seconds, given.port))

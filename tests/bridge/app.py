"""A web application with a feed in its lifespan, as one writes it with FastAPI."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from fastapi import FastAPI, Response
from prometheus_client import generate_latest

import k2trio

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

ids: list[int] = []
feeds: list[k2trio.Feed] = []


async def read(feed: k2trio.Feed) -> None:
    async for event in feed:
        match event:
            case k2trio.Event(data=k2trio.Trade(trade_id=number)):
                ids.append(number)


@asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncGenerator[None]:
    async with k2trio.aio.open_feed(["btcusdt@trade"]) as feed, asyncio.TaskGroup() as tasks:
        feeds.append(feed)
        reader = tasks.create_task(read(feed))
        yield
        reader.cancel()


app = FastAPI(lifespan=lifespan)


@app.get("/ids")
async def get_ids() -> list[int]:
    return ids


@app.get("/health")
async def get_health() -> dict[str, Any]:
    status = feeds[0].status()
    return {"connected": status.connected, "problems": status.problems}


@app.get("/metrics")
def get_metrics() -> Response:
    return Response(generate_latest(feeds[0].metrics.registry))

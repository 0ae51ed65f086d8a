"""`check` of futures: each route is tried, and streams that bring nothing on theirs are named."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import trio
from futures import Futures
from processes import k2trio, simulator

if TYPE_CHECKING:
    from collections.abc import Sequence
    from subprocess import CompletedProcess

pytestmark = pytest.mark.slow

DEPTH, MARK, AGGS = "btcusdt@depth@100ms", "btcusdt@markPrice@1s", "btcusdt@aggTrade"
DEAD_REST = "http://127.0.0.1:9"


async def checked(streams: Sequence[str], moved: dict[str, str]) -> CompletedProcess[str]:
    """What `check` says of an exchange on a socket of this machine."""
    async with trio.open_nursery() as nursery:
        exchange = Futures(nursery, moved=moved)
        (listener, *_) = await trio.open_tcp_listeners(0, host="127.0.0.1")
        nursery.start_soon(trio.serve_listeners, exchange.serve, [listener])
        port = listener.socket.getsockname()[1]
        variables = {
            "PRODUCT": "usdm",
            "WEBSOCKET_URL": f"ws://127.0.0.1:{port}/stream",
            "REST_URLS": DEAD_REST,
            "STREAMS": ",".join(streams),
            "METRICS_PORT": "0",
        }
        end = await trio.to_thread.run_sync(lambda: k2trio("check", **variables))
        nursery.cancel_scope.cancel()
    return end


def verdicts(end: CompletedProcess[str]) -> dict[str, str]:
    """Route → how it went."""
    lines = [line for line in end.stdout.splitlines() if line.startswith("ws://")]
    return {line.split()[1]: " ".join(line.split()[2:]) for line in lines}


async def test_each_route_is_tried_and_works() -> None:
    end = await checked([DEPTH, MARK, AGGS], {})
    found = verdicts(end)
    assert found.keys() == {"/public", "/market"}
    assert all(verdict.endswith(" works") for verdict in found.values())
    assert "127.0.0.1-usdm" in end.stdout
    assert f"{DEAD_REST}/fapi/v1/time" in end.stderr


@pytest.mark.parametrize(("moved", "told"), [(MARK, "/market"), (DEPTH, "/public")])
async def test_a_stream_that_brings_nothing_on_its_route_is_named(moved: str, told: str) -> None:
    end = await checked([DEPTH, MARK, AGGS], {moved: "elsewhere"})
    verdict = verdicts(end)[told]
    if moved == MARK:  # others of its route speak
        assert verdict.endswith(f"works; quiet, or of another route: {MARK}")
    else:
        assert verdict.endswith("no message within 10 s")
        assert "/public: no message within 10 s" in end.stderr


def test_a_stream_of_the_other_product_is_refused() -> None:
    end = k2trio("check", PRODUCT="usdm", STREAMS="btcusdt@avgPrice")
    assert end.returncode == 2
    assert "is not a stream of USD-M futures; spot has it, at PRODUCT=spot" in end.stderr


def test_the_simulated_exchange_passes_for_one_of_futures() -> None:
    with simulator("--product", "usdm", "--rate", "50") as exchange:
        variables = {**exchange.variables(), "PRODUCT": "usdm"}
        streams = f"{DEPTH},{MARK},{AGGS},!forceOrder@arr"
        end = k2trio("check", **variables, STREAMS=streams)
    assert end.returncode == 0, end.stderr
    found = verdicts(end)
    assert found.keys() == {"/public", "/market"}
    assert " works" in found["/market"]
    assert "known and traded" in end.stdout

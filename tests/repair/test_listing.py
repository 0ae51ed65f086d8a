"""The venue's list: symbols that it does not have or does not trade are named before the start."""

from __future__ import annotations

from typing import Any

import httpx2
import pytest
import trio
from rest import HOSTS, Rest, status
from world import fault, open_world

from k2trio.repair.hosts import BackfillError
from k2trio.repair.listing import LISTING_TIMEOUT_S, MAX_HINTED, MAX_NAMED, complaints, untraded
from k2trio.settings import Settings

KNOWN = {"BTCUSDT": "TRADING", "BTCUSDC": "TRADING", "ETHUSDT": "TRADING", "LUNAUSDT": "BREAK"}


def exchange_info(request: httpx2.Request) -> Any:
    """As the exchange answers: an unknown one among ``symbols`` refuses the whole."""
    wanted = request.url.params.get("symbols")
    names = list(KNOWN) if wanted is None else wanted.strip("[]").replace('"', "").split(",")
    if not set(names) <= KNOWN.keys():
        return status(400, -1121)
    return {"symbols": [{"symbol": name, "status": KNOWN[name], "filters": []} for name in names]}


def of(*symbols: str, **values: Any) -> Settings:
    given: dict[str, Any] = {"symbols": symbols, "rest_urls": HOSTS, **values}
    return Settings(websocket_url="wss://v.test:9/stream", **given)


async def complaints_of(settings: Settings, transport: httpx2.AsyncBaseTransport) -> list[str]:
    return list((await untraded(settings, transport=transport)).values())


async def test_known_symbols_cost_one_short_question(autojump_clock: object) -> None:
    rest = Rest(exchange_info)
    assert await untraded(of("BTCUSDT", "ETHUSDT"), transport=rest) == {}
    ((_, _, path, parameters),) = rest.requests
    assert (path, parameters) == ("/api/v3/exchangeInfo", {"symbols": '["BTCUSDT","ETHUSDT"]'})


async def test_an_unknown_symbol_is_named_with_those_it_may_have_been_meant_to_be(
    autojump_clock: object,
) -> None:
    found = await complaints_of(of("ETHUSDT", "BTCUSD", "XXXXXXXX"), transport=Rest(exchange_info))
    assert found == [
        "BTCUSD is not a symbol of v.test; did you mean BTCUSDT or BTCUSDC?",
        "XXXXXXXX is not a symbol of v.test",
    ]


async def test_a_symbol_that_is_not_traded_is_named_and_never_proposed(
    autojump_clock: object,
) -> None:
    rest = Rest(exchange_info)
    assert await complaints_of(of("LUNAUSDT"), transport=rest) == [
        "LUNAUSDT is not traded at v.test; its status is BREAK, leave it out"
    ]
    assert await complaints_of(of("LUNAUSD"), transport=rest) == [
        "LUNAUSD is not a symbol of v.test"
    ]


async def test_streams_without_a_symbol_ask_nothing(autojump_clock: object) -> None:
    rest = Rest(exchange_info)
    assert await untraded(of(streams=["!miniTicker@arr"]), transport=rest) == {}
    assert rest.requests == []


@pytest.mark.parametrize(
    "symbols", [[f"S{number}USDT" for number in range(MAX_NAMED + 1)], ["币安人生USDT"]]
)
async def test_what_one_question_cannot_name_is_looked_up_in_the_whole_list(
    symbols: list[str], autojump_clock: object
) -> None:
    rest = Rest(lambda _: {"symbols": [{"symbol": name, "status": "TRADING"} for name in symbols]})
    assert await untraded(of(*symbols), transport=rest) == {}
    assert [parameters for *_, parameters in rest.requests] == [{"showPermissionSets": "false"}]


async def test_a_venue_that_does_not_know_how_to_leave_permissions_out_is_asked_without(
    autojump_clock: object,
) -> None:
    def answer(request: httpx2.Request) -> Any:
        if "showPermissionSets" in request.url.params:
            return status(400, -1104)
        return exchange_info(request)

    (line,) = await complaints_of(of("BTCUSD"), transport=Rest(answer))
    assert line.startswith("BTCUSD is not a symbol")


async def test_a_venue_that_does_not_answer_is_waited_for_no_longer_than_the_bound(
    autojump_clock: object,
) -> None:
    async def hang(_: httpx2.Request) -> None:
        await trio.sleep_forever()

    began_at = trio.current_time()
    with pytest.raises(BackfillError, match="within 5 s"):
        await untraded(of("BTCUSDT"), transport=Rest(hang))
    assert trio.current_time() - began_at == LISTING_TIMEOUT_S


@pytest.mark.parametrize(
    "answer", [httpx2.ConnectError("refused"), status(503), {"symbols": 1}, []], ids=str
)
async def test_no_sound_answer_is_no_verdict(answer: Any, autojump_clock: object) -> None:
    with pytest.raises(BackfillError):
        await untraded(of("BTCUSDT"), transport=Rest(lambda _: answer))


async def test_a_venue_without_a_known_rest_host_is_no_verdict(autojump_clock: object) -> None:
    with pytest.raises(BackfillError, match=r"no REST host of v\.test is known"):
        await untraded(of("BTCUSDT", rest_urls=["https://api.binance.com"]))


def test_only_so_many_are_compared_with_all_others() -> None:
    known = {f"A{number}USDT": "TRADING" for number in range(100)}
    lines = complaints([f"A{n}USD" for n in range(MAX_HINTED + 5)], "v", known).values()
    assert ["did you mean" in line for line in lines] == [True] * MAX_HINTED + [False] * 5


async def test_the_simulated_exchange_is_asked_like_the_real_one(autojump_clock: object) -> None:
    async with open_world([fault(1, "halt", symbol="ETHUSDT", duration=60)]) as world:
        await trio.sleep(2)
        settings = world.settings.model_copy(
            update={"streams": ("btcusdt@trade", "ethusdt@depth", "btcusd@trade")}
        )
        found = await complaints_of(settings, transport=world.network.rest_transport())
    assert found == [
        "ETHUSDT is not traded at venue.test; its status is HALT, leave it out",
        "BTCUSD is not a symbol of venue.test; did you mean BTCUSDT?",
    ]

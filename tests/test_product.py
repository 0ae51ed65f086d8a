"""PRODUCT: what follows from it, what it follows from, and what does not go together."""

from __future__ import annotations

from typing import Any

import pytest

from k2trio.errors import ConfigError
from k2trio.loading import load_settings
from k2trio.market.spot import SPOT
from k2trio.market.usdm import USDM
from k2trio.settings import Settings

FUTURES = "wss://fstream.binance.com/stream"


def problem(**values: Any) -> str:
    """The one-line complaint about the values."""
    with pytest.raises(ConfigError) as error:
        load_settings(**values)
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize("said", [{"product": "usdm"}, {"websocket_url": FUTURES}])
def test_futures_are_asked_for_by_name_or_by_their_host(said: dict[str, Any]) -> None:
    settings = Settings(**said)
    assert settings.dialect is USDM
    assert settings.endpoint_urls == (FUTURES,)
    assert settings.stream_names == ("btcusdt@aggTrade", "ethusdt@aggTrade")
    assert settings.rest_weight_limit == 1200
    assert settings.model_fields_set - {"shared_budget"} == said.keys()  # the rest are defaults


def test_spot_is_what_it_is_without() -> None:
    assert Settings(product="spot").model_dump(exclude={"product"}) == Settings().model_dump(
        exclude={"product"}
    )
    assert Settings().dialect is SPOT


def test_a_host_that_is_not_known_is_spot_unless_said_otherwise() -> None:
    url = "wss://127.0.0.1:9443/stream"
    assert Settings(websocket_url=url).dialect is SPOT
    settings = Settings(websocket_url=url, product="usdm")
    assert settings.dialect is USDM
    assert settings.failover_urls == ()


def test_the_environment_says_it_as_well(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("K2_BINANCE_PRODUCT", "usdm")
    monkeypatch.setenv("K2_BINANCE_STREAMS", "btcusdt@markPrice@1s,!forceOrder@arr")
    assert load_settings().endpoint_urls == (FUTURES,)
    monkeypatch.setenv("K2_BINANCE_PRODUCT", "")
    monkeypatch.setenv("K2_BINANCE_STREAMS", "")
    assert load_settings().dialect is SPOT


def test_books_come_with_the_trades_that_are_proven() -> None:
    settings = Settings(product="usdm", symbols=["BTCUSDT_260925"], book_levels=10)
    assert settings.stream_names == ("btcusdt_260925@aggTrade", "btcusdt_260925@depth@100ms")


@pytest.mark.parametrize(
    ("values", "complaint"),
    [
        ({"product": "options"}, "PRODUCT: 'options' is no product; known are spot, usdm"),
        (
            {"product": "usdm", "websocket_url": SPOT.websocket_url},
            "is of spot, and this feed of USD-M futures",
        ),
        ({"failover_urls": [FUTURES]}, "set PRODUCT=usdm if that is meant"),
        (
            {"websocket_url": "wss://fstream.binance.com/market/stream"},
            "names the route /market, which follows from the streams; write " + FUTURES,
        ),
        (
            {"websocket_url": "wss://fstream.binance.com/public/ws/btcusdt@depth@100ms"},
            f"write {FUTURES} here, and --streams btcusdt@depth@100ms",
        ),
        (
            {"product": "usdm", "time_unit": "us"},
            "TIME_UNIT must be ms: USD-M futures has no other",
        ),
        ({"product": "usdm", "rest_weight_limit": 3000}, "REST_WEIGHT_LIMIT must be at most 2400"),
        ({"product": "usdm", "depth_snapshot_levels": 5000}, "must be at most 1000 for USD-M"),
        ({"product": "usdm", "streams": ["btcusdt@avgPrice"]}, "spot has it, at PRODUCT=spot"),
        ({"streams": ["btcusdt@forceOrder"]}, "USD-M futures has it, at PRODUCT=usdm"),
    ],
)
def test_what_does_not_go_together_is_refused(values: dict[str, Any], complaint: str) -> None:
    assert complaint in problem(**values)

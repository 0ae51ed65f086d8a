"""Which hosts are of which venue."""

from __future__ import annotations

from collections import Counter
from urllib.parse import urlsplit

import pytest

from k2trio.market.products import DIALECTS
from k2trio.market.venues import VENUES, dialect_of, rest_of, venue_of
from k2trio.urls import rest_url, websocket_url


@pytest.mark.parametrize(
    ("host", "venue"),
    [
        ("stream.binance.com", "binance.com"),
        ("STREAM.binance.com", "binance.com"),
        ("data-stream.binance.vision", "binance.com"),
        ("api3.binance.com", "binance.com"),
        ("data-api.binance.vision", "binance.com"),
        ("stream.binance.us", "binance.us"),
        ("api.binance.us", "binance.us"),
        ("stream.testnet.binance.vision", "binance.com-testnet"),
        ("demo-stream.binance.com", "binance.com-demo"),
        ("demo-api.binance.com", "binance.com-demo"),
        ("stream-cloud.trbinance.com", "trbinance.com"),
        ("api.binance.me", "trbinance.com"),
        ("Example.COM", "example.com"),
        ("stream.binance.com.evil.com", "stream.binance.com.evil.com"),
        ("127.0.0.1", "127.0.0.1"),
        ("::1", "::1"),
    ],
)
def test_venue_of_a_host(host: str, venue: str) -> None:
    assert venue_of(host) == venue


def test_the_name_of_a_venue_tells_its_dialect() -> None:
    for product, dialect in DIALECTS.items():
        assert all(dialect_of(venue.name) is dialect for venue in dialect.venues), product
    assert dialect_of("a-relay.of-ours.example-usdm").product == "usdm"
    assert dialect_of("a-relay.of-ours.example").product == "spot"


def test_no_host_is_of_two_venues() -> None:
    hosts = Counter(
        urlsplit(url).hostname if "://" in url else url
        for venue in VENUES
        for url in (*venue.streams, *venue.rest, *venue.further_rest)
    )
    assert [host for host, count in hosts.items() if count > 1] == []


def test_every_host_may_be_named_in_the_settings() -> None:
    for venue in VENUES:
        for host in venue.streams:
            assert websocket_url(f"wss://{host}/stream")
        for url in (*venue.rest, *venue.further_rest):
            assert rest_url(url) == url


def test_a_venue_that_is_not_known_has_no_public_rest_host() -> None:
    assert rest_of("binance.com-demo") == ("https://demo-api.binance.com",)
    assert rest_of("example.com") == ()

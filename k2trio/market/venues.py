"""The venues that are known: by which hosts each is reached.

A venue is an exchange with ids of its own. A host that is not listed is a venue named by itself, so
that two ports of one host are one venue, and nobody's ids are taken for another's.

Source: Binance spot API docs, "General Information" of each venue.
"""

from __future__ import annotations

from typing import NamedTuple
from urllib.parse import urlsplit


class Venue(NamedTuple):
    """An exchange.

    :ivar streams: its WebSocket hosts.
    :ivar rest: the REST hosts that are asked by default, in order of preference.
    :ivar further_rest: hosts that are of it too, but do not answer all that a repair asks.
    """

    name: str
    streams: tuple[str, ...]
    rest: tuple[str, ...]
    further_rest: tuple[str, ...] = ()


VENUES = (
    Venue(
        "binance.com",
        ("stream.binance.com", "data-stream.binance.vision"),
        (
            "https://api.binance.com",
            "https://api-gcp.binance.com",
            "https://api1.binance.com",
            "https://api2.binance.com",
            "https://api3.binance.com",
            "https://api4.binance.com",
        ),
        ("https://data-api.binance.vision",),
    ),
    Venue("binance.us", ("stream.binance.us",), ("https://api.binance.us",)),
    Venue("trbinance.com", ("stream-cloud.trbinance.com",), ("https://api.binance.me",)),
    Venue(
        "binance.com-testnet",
        ("stream.testnet.binance.vision",),
        ("https://testnet.binance.vision",),
    ),
    Venue("binance.com-demo", ("demo-stream.binance.com",), ("https://demo-api.binance.com",)),
)

_REST_OF = {venue.name: venue.rest for venue in VENUES}
_OF_HOST = {host: venue.name for venue in VENUES for host in venue.streams} | {
    urlsplit(url).hostname or "": venue.name
    for venue in VENUES
    for url in (*venue.rest, *venue.further_rest)
}


def venue_of(host: str) -> str:
    """The venue that a host belongs to, of WebSocket or of REST."""
    return _OF_HOST.get(host.lower(), host.lower())


def rest_of(venue: str) -> tuple[str, ...]:
    """The public REST hosts of a venue; none for one that is not known."""
    return _REST_OF.get(venue, ())

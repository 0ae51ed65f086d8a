"""The venues that are known: by which hosts each is reached.

A venue is an exchange with ids of its own, and each product of an exchange is one. A host that is
not listed is a venue named by itself, so that two ports of one host are one venue, and nobody's ids
are taken for another's; the name ends in the product, unless that is spot.

Source: Binance API docs, "General Information" of each venue.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from .products import DIALECTS
from .spot import SPOT

if TYPE_CHECKING:
    from .dialect import Dialect, Venue

VENUES: tuple[Venue, ...] = tuple(
    venue for dialect in DIALECTS.values() for venue in dialect.venues
)

_REST_OF = {venue.name: venue.rest for venue in VENUES}
_OF_HOST = {host: venue.name for venue in VENUES for host in venue.streams} | {
    urlsplit(url).hostname or "": venue.name
    for venue in VENUES
    for url in (*venue.rest, *venue.further_rest)
}


def venue_of(host: str, product: str = SPOT.product) -> str:
    """The venue that a host belongs to, of WebSocket or of REST.

    :param product: what a host that is not known is asked for.
    """
    host = host.lower()
    known = _OF_HOST.get(host)
    if known is not None:
        return known
    plain = product == SPOT.product and dialect_of(host) is SPOT
    return host if plain else f"{host}-{product}"


def dialect_of(venue: str) -> Dialect:
    """The dialect that a venue speaks, by the end of its name."""
    return DIALECTS.get(venue.rpartition("-")[2], SPOT)


def product_of(host: str) -> str | None:
    """The product of a host that is known; None of others."""
    venue = _OF_HOST.get(host.lower())
    return None if venue is None else dialect_of(venue).product


def rest_of(venue: str) -> tuple[str, ...]:
    """The public REST hosts of a venue; none for one that is not known."""
    return _REST_OF.get(venue, ())

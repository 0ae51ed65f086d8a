"""Which symbols a venue lists and trades: asked before anything is subscribed to.

The exchange acknowledges a subscription to a symbol that it does not know, and stays silent; a slip
of the keyboard would pass for a quiet market. So its list is asked for, first only for the symbols
that are meant: that answer is short. One unknown among them refuses the whole question, and only
the whole list says which one it is, and what it may have been meant to be.

Source: Binance spot API docs, "Exchange information", and "Error codes".
"""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import msgspec
import trio

from ..market.streams import parse_stream
from ..market.venues import dialect_of, venue_of
from ..sharing.sharing import open_sharing
from .asking import Hosts
from .hosts import BackfillError

if TYPE_CHECKING:
    import ssl
    from collections.abc import Mapping, Sequence

    import httpx2

    from ..settings import Settings
    from .asking import Query

LISTING_TIMEOUT_S = 5.0
"""How long the venue may take to answer; who starts waits for it."""
CLOSE_TIMEOUT_S = 1.0
"""Bound on closing the connections, whatever was cancelled."""
MAX_NAMED = 100
"""Symbols that one question names; for more the whole list is asked for."""
MAX_HINTED = 20
"""Symbols that are compared with all others for what they may have been meant to be."""
HINTS = 3
LIKENESS = 0.75
"""How like a hint must be to what was written; 1 is the same."""
TRADED = "TRADING"


class _Symbol(msgspec.Struct):
    symbol: str
    status: str


class _Listing(msgspec.Struct):
    symbols: list[_Symbol]


async def untraded(
    settings: Settings,
    *,
    verify: ssl.SSLContext | bool = True,
    transport: httpx2.AsyncBaseTransport | None = None,
) -> dict[str, str]:
    """What is wrong with symbols of the settings: the first venue does not list or trade them.

    :param verify: TLS context of the program.
    :param transport: stands in for the network in tests.
    :returns: symbol → one line.
    :raises BackfillError: if the venue gave no answer in time.
    """
    symbols = _listed(settings.stream_names, settings.dialect.product)
    if not symbols:
        return {}
    venue = venue_of(urlsplit(settings.websocket_url).hostname or "", settings.dialect.product)
    hosts = Hosts([venue], settings, verify, transport, open_sharing(settings))
    try:
        with trio.move_on_after(LISTING_TIMEOUT_S):
            return complaints(symbols, venue, await statuses_of(hosts, venue, symbols))
    finally:
        with trio.CancelScope(shield=True, deadline=trio.current_time() + CLOSE_TIMEOUT_S):
            await hosts.aclose()
    raise BackfillError(f"no REST host of {venue} answered within {LISTING_TIMEOUT_S:g} s")


def _listed(streams: Sequence[str], product: str) -> list[str]:
    """The symbols of the streams, as far as an exchange lists such; indexes are none."""
    parsed = (parse_stream(name, product) for name in streams)
    symbols = (stream.symbol for stream in parsed if stream.order.listed)
    return list(dict.fromkeys(symbol for symbol in symbols if symbol is not None))


def complaints(symbols: Sequence[str], venue: str, statuses: Mapping[str, str]) -> dict[str, str]:
    """Symbol → what is wrong with it, given the status of each that the venue lists."""
    traded = [symbol for symbol, status in statuses.items() if status == TRADED]
    lines: dict[str, str] = {}
    for symbol in symbols:
        status = statuses.get(symbol)
        if status is None:
            near = _nearest(symbol, traded) if len(lines) < MAX_HINTED else []
            hint = f"; did you mean {' or '.join(near)}?" if near else ""
            lines[symbol] = f"{symbol} is not a symbol of {venue}{hint}"
        elif status != TRADED:
            why = f"its status is {status}"
            lines[symbol] = f"{symbol} is not traded at {venue}; {why}, leave it out"
    return lines


def _nearest(symbol: str, known: Sequence[str]) -> list[str]:
    return difflib.get_close_matches(symbol, known, n=HINTS, cutoff=LIKENESS)


async def statuses_of(hosts: Hosts, venue: str, symbols: Sequence[str]) -> dict[str, str]:
    """Symbol → status, of all those asked for that the venue lists; of all that it lists, if none.

    :raises BackfillError: if the venue did not answer.
    """
    # The sets of permissions are most of the whole list; not every venue knows how to leave them.
    rest = dialect_of(venue).rest
    questions: list[Query] = [{"showPermissionSets": "false"}, {}] if rest.narrows else [{}]
    if rest.narrows and 0 < len(symbols) <= MAX_NAMED and all(map(str.isascii, symbols)):
        questions.insert(0, {"symbols": msgspec.json.encode(symbols).decode()})
    why = BackfillError(f"{venue} was not asked")
    for query in questions:
        try:
            path, weight, _ = rest.listing
            answer, _ = await hosts.get(venue, path, query, weight, _Listing)
        except BackfillError as error:
            why = error
        else:
            return {row.symbol: row.status for row in answer.symbols}
    raise why

"""What a product of the exchange calls things, and what it admits: all of it as data.

There is one dialect a product (``spot.py``, ``usdm.py``), and whatever differs between products
asks it. ``products.py`` lists them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, NamedTuple, TypeAlias

if TYPE_CHECKING:
    import re
    from collections.abc import Mapping

    from .kinds import Kind, Order, Repair

Family: TypeAlias = Literal["spot", "futures"]
"""Which types payloads have; see ``payloads.py``."""


MIN_LEVELS = 100
"""A snapshot with fewer levels is no cheaper, or hardly so."""


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


class Carried(NamedTuple):
    """What the part of a stream's name behind its ``@`` stands for, or a whole name.

    :ivar interval: of klines, or the window of a ticker.
    :ivar levels: of a partial book.
    """

    kind: Kind
    interval: str | None = None
    levels: int | None = None


class Request(NamedTuple):
    """A question to REST.

    :ivar weight: what it costs.
    :ivar rows: how many it answers at most.
    """

    path: str
    weight: int
    rows: int = 1000


@dataclass(frozen=True)
class Rest:
    """What REST is asked.

    :ivar weight_per_minute: what the venue admits to an address.
    :ivar default_limit: how much of that repairs use by default.
    :ivar history: of each kind of repair its question.
    :ivar trades: the last trades of a symbol, for which nobody needs a key.
    :ivar depth: the path of a book.
    :ivar depths: how many levels a side there can be, and what they weigh; the most first.
    :ivar any_depth: whether numbers between these may be asked for too.
    :ivar listing: the symbols that there are.
    :ivar clock: what time it is there.
    :ivar narrows: whether a question for the symbols may name those that are meant.
    """

    weight_per_minute: int
    default_limit: int
    history: Mapping[Repair, Request]
    trades: Request
    depth: str
    depths: tuple[tuple[int, int], ...]
    listing: Request
    clock: Request
    any_depth: bool = True
    narrows: bool = True

    def levels(self, wanted: int) -> int:
        """The number of levels to ask for, to get at least so many if there can be so many."""
        if self.any_depth:
            return wanted
        enough = [levels for levels, _ in self.depths if levels >= wanted]
        return min(enough, default=self.depths[0][0])

    @property
    def fewest(self) -> int:
        """The fewest levels of a book that are worth a snapshot."""
        return min(levels for levels, _ in self.depths if levels >= MIN_LEVELS)

    def look(self, wanted: int) -> tuple[int, int]:
        """The number of levels to ask for, to get no fewer than are wanted, and what they weigh."""
        levels = self.levels(wanted)
        return levels, next(weight for most, weight in reversed(self.depths) if most >= levels)


@dataclass(frozen=True)
class Dialect:
    """A product.

    :ivar product: its name, as the settings have it.
    :ivar title: the same for people.
    :ivar family: which types its payloads have.
    :ivar websocket_url: the endpoint that is dialled by default.
    :ivar failover_urls: those that are dialled if it fails.
    :ivar symbol: what a symbol may be, in lower case.
    :ivar suffixes: what may stand behind the ``@`` of a symbol.
    :ivar whole: names of streams without a symbol.
    :ivar known: the same in short, for people.
    :ivar orders: what makes each kind continuous.
    :ivar default_kinds: the streams of a symbol for which none are named, and with books.
    :ivar routes: of each kind the part of the URL that brings it, where the exchange has such.
    :ivar streams_per_connection: how many it serves.
    :ivar client_messages_per_s: how many a client may send on a connection; pings and pongs count.
    :ivar tells_units: whether it tells times in another unit if it is asked to.
    """

    product: str
    title: str
    family: Family
    venues: tuple[Venue, ...]
    websocket_url: str
    failover_urls: tuple[str, ...]
    symbol: re.Pattern[str]
    suffixes: Mapping[str, Carried]
    whole: Mapping[str, Carried]
    known: str
    orders: Mapping[Kind, Order]
    rest: Rest
    default_kinds: tuple[str, ...]
    default_book_kinds: tuple[str, ...]
    routes: Mapping[Kind, str] = field(default_factory=dict["Kind", str])
    streams_per_connection: int = 1024
    client_messages_per_s: int = 5
    tells_units: bool = True

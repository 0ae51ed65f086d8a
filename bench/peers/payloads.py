"""Typed payloads for libraries that decode nothing: the structs that k2trio uses, field by field.

So a bare WebSocket library does here what a careful user of it would write: cut the combined frame
at known bytes, look the stream up, decode straight into the type.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import msgspec
from msgspec import Meta, field

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

Integer = Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)]
Id = Annotated[int, Meta(ge=0, le=2**63 - 1)]
SEPARATOR = b'","data":'
TEXT_SEPARATOR = SEPARATOR.decode()


class Trade(msgspec.Struct, frozen=True, gc=False, tag_field="e", tag="trade"):
    event_time: Id = field(name="E")
    symbol: str = field(name="s")
    trade_id: Id = field(name="t")
    price: str = field(name="p")
    quantity: str = field(name="q")
    trade_time: Integer = field(name="T")
    buyer_is_maker: bool = field(name="m")


class AggTrade(msgspec.Struct, frozen=True, gc=False, tag_field="e", tag="aggTrade"):
    event_time: Id = field(name="E")
    symbol: str = field(name="s")
    agg_id: Id = field(name="a")
    price: str = field(name="p")
    quantity: str = field(name="q")
    first_trade_id: Integer = field(name="f")
    last_trade_id: Integer = field(name="l")
    trade_time: Integer = field(name="T")
    buyer_is_maker: bool = field(name="m")


class Level(msgspec.Struct, frozen=True, gc=False, array_like=True, forbid_unknown_fields=True):
    price: str
    quantity: str


class Depth(msgspec.Struct, frozen=True, gc=False, tag_field="e", tag="depthUpdate"):
    event_time: Id = field(name="E")
    symbol: str = field(name="s")
    first_update_id: Id = field(name="U")
    last_update_id: Id = field(name="u")
    bids: list[Level] = field(name="b")
    asks: list[Level] = field(name="a")


class FuturesDepth(Depth, frozen=True, gc=False, tag_field="e", tag="depthUpdate"):
    transaction_time: Integer = field(name="T")
    previous_update_id: Id = field(name="pu")


class BookTicker(msgspec.Struct, frozen=True, gc=False):
    update_id: Id = field(name="u")
    symbol: str = field(name="s")
    bid: str = field(name="b")
    bid_quantity: str = field(name="B")
    ask: str = field(name="a")
    ask_quantity: str = field(name="A")


class Bar(msgspec.Struct, frozen=True, gc=False):
    open_time: Integer = field(name="t")
    close_time: Integer = field(name="T")
    symbol: str = field(name="s")
    interval: str = field(name="i")
    open: str = field(name="o")
    close: str = field(name="c")
    high: str = field(name="h")
    low: str = field(name="l")
    volume: str = field(name="v")
    trades: Integer = field(name="n")
    closed: bool = field(name="x")
    quote_volume: str = field(name="q")


class Kline(msgspec.Struct, frozen=True, gc=False, tag_field="e", tag="kline"):
    event_time: Id = field(name="E")
    symbol: str = field(name="s")
    bar: Bar = field(name="k")


TYPES: dict[str, Any] = {
    "trade": Trade,
    "aggTrade": AggTrade,
    "depth": Depth,
    "bookTicker": BookTicker,
    "kline_1m": Kline,
}


OF_FUTURES: dict[str, Any] = {"depth": FuturesDepth}


def make_routes(
    streams: Sequence[str], product: str = "spot"
) -> dict[bytes | str, Callable[[bytes | str], Any]]:
    """What stands before the payload, as bytes and as text → the payload's decoder.

    A frame is then decoded in two lines, which adapters have in place, without a call::

        start = frame.find(SEPARATOR, 11, 160) + 9
        data = routes[frame[:start]](frame[start:-1])
    """
    types = TYPES if product == "spot" else OF_FUTURES
    decoders = {kind: msgspec.json.Decoder(type_).decode for kind, type_ in types.items()}
    heads = {name: b'{"stream":"' + name.encode() + SEPARATOR for name in streams}
    routes: dict[bytes | str, Callable[[bytes | str], Any]] = {}
    for name, head in heads.items():
        routes[head] = routes[head.decode()] = decoders[name.split("@")[1]]
    return routes


class Frame(msgspec.Struct):
    """A whole combined frame in one call, where every payload says its type."""

    stream: str
    data: Trade | AggTrade | Depth | Kline

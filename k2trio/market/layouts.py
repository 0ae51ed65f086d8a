"""How the exchange writes the payloads that come most often: every byte but the values.

The compiled decoder takes payloads that look exactly so. Whatever looks otherwise is decoded by
what the types say, as everything is where there is no compiled core.

Source: frames that the exchange sent; its documents give the same fields in the same order.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from .kinds import Kind, Rule
from .payloads import payload_of
from .products import DIALECTS

if TYPE_CHECKING:
    from .dialect import Family

_KLINE = (
    '{"e":"kline","E":<E>,"s":<s>,"k":{"t":<k.t>,"T":<k.T>,"s":<k.s>,"i":<k.i>,"f":<k.f>,'
    '"L":<k.L>,"o":<k.o>,"c":<k.c>,"h":<k.h>,"l":<k.l>,"v":<k.v>,"n":<k.n>,"x":<k.x>,'
    '"q":<k.q>,"V":<k.V>,"Q":<k.Q>,"B":<"">}}'
)
LAYOUTS: dict[Family, dict[Kind, str]] = {
    "spot": {
        Kind.TRADE: '{"e":"trade","E":<E>,"s":<s>,"t":<t>,"p":<p>,"q":<q>,"T":<T>,"m":<m>,"M":<>}',
        Kind.AGG_TRADE: (
            '{"e":"aggTrade","E":<E>,"s":<s>,"a":<a>,"p":<p>,"q":<q>,"f":<f>,"l":<l>,"T":<T>,'
            '"m":<m>,"M":<>}'
        ),
        Kind.DEPTH: '{"e":"depthUpdate","E":<E>,"s":<s>,"U":<U>,"u":<u>,"b":<b>,"a":<a>}',
        Kind.PARTIAL_DEPTH: '{"lastUpdateId":<lastUpdateId>,"bids":<bids>,"asks":<asks>}',
        Kind.BOOK_TICKER: '{"u":<u>,"s":<s>,"b":<b>,"B":<B>,"a":<a>,"A":<A>}',
        Kind.KLINE: _KLINE,
    },
    "futures": {
        Kind.AGG_TRADE: (
            '{"e":"aggTrade","E":<E>,"s":<s>,"a":<a>,"p":<p>,"q":<q>,"nq":<"">,"f":<f>,"l":<l>,'
            '"T":<T>,"m":<m>}'
        ),
        Kind.DEPTH: (
            '{"e":"depthUpdate","E":<E>,"T":<T>,"s":<s>,"U":<U>,"u":<u>,"pu":<pu>,"b":<b>,"a":<a>}'
        ),
        Kind.BOOK_TICKER: (
            '{"e":"bookTicker","u":<u>,"s":<s>,"b":<b>,"B":<B>,"a":<a>,"A":<A>,"T":<T>,"E":<E>}'
        ),
        Kind.KLINE: _KLINE,
    },
}
"""Kind → its layout, where it comes often. ``<E>`` is the value of the key E, ``<k.t>`` that of t
in the object k, and ``<>`` and ``<"">`` are a truth and a text that no field holds."""


class Step(NamedTuple):
    """A part of a layout, as the compiled decoder wants it.

    :ivar literal: the bytes that come first.
    :ivar what: what stands behind them, a letter.
    :ivar field: which field gets it; None: none.
    """

    literal: bytes
    what: str
    field: str | None


class Layout(NamedTuple):
    """A layout, as the compiled decoder wants it.

    :ivar payload: the type of the payload.
    :ivar inner: the type of the struct within it, if there is one.
    :ivar rule: how messages follow each other: 1 by consecutive keys, 2 by growing ones, 3 by the
        last key of the one before; 0: that takes a closer look.
    :ivar first: the step of the first key; and so on; -1: there is none.
    :ivar begin: the step of the first trade of an aggregate.
    """

    payload: type
    inner: type | None
    steps: tuple[Step, ...]
    rule: int
    first: int
    last: int
    time: int
    begin: int
    end: int


_END, _OPEN, _CLOSE, _IGNORED, _UNUSED = "e", "o", "z", "x", "u"
_COUNT, _INTEGER, _TEXT, _TRUTH, _LEVELS = "c", "i", "t", "b", "l"
_OWN = {"symbol": "s", "interval": "v"}
"""Fields that say again what the stream's name says."""
_TIMES = "trade_time", "transaction_time", "event_time"
"""Of these the first that there is is the time of a message, as ``keys.py`` says."""
_VALUE = re.compile("<([^<>]*)>")
_RULES = {Rule.CONTIGUOUS: 1, Rule.INCREASING: 2, Rule.CHAINED: 3}


def layout_of(kind: Kind, product: str) -> Layout:
    """The layout of a kind.

    :raises KeyError: if there is none.
    """
    dialect = DIALECTS[product]
    payload = payload_of(kind, product)
    *parts, tail = _VALUE.split(LAYOUTS[dialect.family][kind])
    keys = parts[1::2]
    outer = _fields(payload)
    nested = {key.partition(".")[0] for key in keys if "." in key}
    inner = outer[nested.pop()].type if nested else None
    steps: list[Step] = []
    places: dict[str, int] = {}
    inside = False
    for literal, key in zip(parts[::2], keys, strict=True):
        name, _, within = key.partition(".")
        if within and not inside:
            # The literal up to the brace that opens it; what follows is in it.
            before, _, literal = literal.partition("{")
            steps.append(Step((before + "{").encode(), _OPEN, outer[name].name))
            inside = True
        places[key] = len(steps)
        steps.append(_step(literal, within or name, _fields(inner) if inside else outer))
    if inside:
        steps.append(Step(b"}", _CLOSE, None))
        tail = tail.removeprefix("}")
    steps.append(Step((tail + "}").encode(), _END, None))
    order = dialect.orders[kind]
    names = {item.name: key for key, item in outer.items()}
    times = [names[name] for name in _TIMES if name in names]
    return Layout(
        payload,
        inner,
        tuple(steps),
        0 if kind is Kind.KLINE else _RULES[order.rule],
        places[order.first],
        places[order.last],
        places[times[0]] if times else -1,
        places["f"] if order.inner else -1,
        places["l"] if order.inner else -1,
    )


def _fields(payload: Any) -> dict[str, msgspec.structs.FieldInfo]:
    return {item.encode_name: item for item in msgspec.structs.fields(payload)}


def _step(literal: str, key: str, fields: dict[str, msgspec.structs.FieldInfo]) -> Step:
    if key in ("", '""'):
        return Step(literal.encode(), _UNUSED if key else _IGNORED, None)
    item = fields[key]
    return Step(literal.encode(), _OWN.get(item.name) or _what(item.type), item.name)


def _what(of: Any) -> str:
    """The letter for values of a type."""
    match msgspec.inspect.type_info(of):
        case msgspec.inspect.StrType():
            return _TEXT
        case msgspec.inspect.BoolType():
            return _TRUTH
        case msgspec.inspect.IntType(ge=0):
            return _COUNT
        case msgspec.inspect.IntType() | msgspec.inspect.UnionType():
            return _INTEGER
        case _:
            return _LEVELS

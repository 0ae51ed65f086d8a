"""The core makes the very lines that the pure path makes."""

from __future__ import annotations

import itertools
import random
from typing import TYPE_CHECKING

import pytest
from written import STREAMS, frames, needs_core

from k2trio.continuity.items import Gap, Outage, VenueChanged
from k2trio.market.decoder import Decoder
from k2trio.market.payloads import Event
from k2trio.sinks.lines import encode_lines, encode_lines_purely
from k2trio.sinks.parsing import decode_lines

if TYPE_CHECKING:
    from k2trio.continuity.items import Item

pytestmark = needs_core


def items(seed: int) -> list[Item]:
    """What a feed delivers, frames in unusual layouts and remarks among them."""
    rng = random.Random(seed)
    written = list(itertools.islice(frames(seed), 100))
    for at in rng.sample(range(100), 30):
        old, new = rng.choice(
            [(b'":', b'": '), (b'"data":{', b'"data":\n {\r\n'), (b"}}", b'},"more":{"a":1}}'),
             (b"}}", b'},"more":"}"}'), (b"}}", b',"x":{"y":[1]}}}'), (b"}}", b',"x":"}"}}')]
        )  # fmt: skip
        head, _, tail = written[at].rpartition(old) if old == b"}}" else (b"", b"", b"")
        written[at] = head + new + tail if head else written[at].replace(old, new, 3)
    found: list[Item] = []
    for at in range(0, 100, 10):
        decoder = Decoder(rng.choice(("one.test", "two.test")), pure=rng.random() < 0.5)
        decoder.expect(STREAMS)
        found += decoder.decode(written[at : at + 10], 1.79e9 + rng.random())[0]
    first = found[0]
    assert isinstance(first, Event)
    found += [
        Event(first.data, first.stream, first.venue, first.received, first.frame, "backfill"),
        Gap("one.test", "btcusdt@trade", 1, 2, "jump", None, 3.5),
        Outage("one.test", "btcusdt@bookTicker", 1.0, 2.0),
        VenueChanged("two.test", "btcusdt@trade", "one.test", 1.0, 2.0),
    ]
    rng.shuffle(found)
    return found


@pytest.mark.parametrize("seed", range(40))
def test_lines_are_the_same(seed: int) -> None:
    found = items(seed)
    assert encode_lines(found) == encode_lines_purely(found)
    assert encode_lines(iter(found)) == b"".join(encode_lines([item]) for item in found)
    assert len(decode_lines(encode_lines(found))) == len(found)


def test_of_nothing_comes_nothing() -> None:
    assert encode_lines([]) == b""


def test_what_is_no_item_is_refused() -> None:
    with pytest.raises(AttributeError):
        encode_lines(["text"])  # type: ignore[list-item]
    with pytest.raises(TypeError):
        encode_lines(7)  # type: ignore[arg-type]

"""Levels that are made when they are touched are like the list that the pure path gives."""

from __future__ import annotations

import copy
import gc
import itertools
import pickle
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import pytest
from written import frames, needs_core

from k2trio.market.decoder import Decoder
from k2trio.market.payloads import Depth, Level

if TYPE_CHECKING:
    from k2trio.market.payloads import Event

pytestmark = needs_core
STREAM = "btcusdt@depth@100ms"


def decoded(count: int = 60) -> list[tuple[Depth, Depth]]:
    """The same depth messages by the core and by the pure path."""
    whole = list(itertools.islice(frames(5, (STREAM,)), count))
    both: list[list[Event[Any]]] = []
    for pure in (False, True):
        decoder = Decoder("venue", pure=pure)
        decoder.expect([STREAM])
        both.append(decoder.decode(whole, 1.79e9)[0])
    return [(one.data, two.data) for one, two in zip(*both, strict=True)]


def test_they_compare_as_lists_do() -> None:
    sides = [(one.bids, two.bids) for one, two in decoded()]
    for levels, plain in sides:
        assert levels == plain
        assert plain == levels
        assert levels != [*plain, Level("1", "2")]
        assert levels != tuple(plain)
        assert levels != "text"
    for (one, plain), (two, other) in itertools.pairwise(sides):
        assert (one == two) == (plain == other)


def test_they_are_read_as_lists_are() -> None:
    for one, two in decoded():
        for levels, plain in ((one.bids, two.bids), (one.asks, two.asks)):
            assert isinstance(levels, Sequence)
            assert len(levels) == len(plain)
            assert list(levels) == plain
            assert list(reversed(levels)) == plain[::-1]
            assert levels[1:7] == plain[1:7]
            assert levels[::-2] == plain[::-2]
            assert repr(levels) == repr(plain)
            assert bool(levels) == bool(plain)
            for at, level in enumerate(plain):
                assert levels[at] == level == levels[at - len(plain)]
                assert level in levels
                assert levels.index(level) == plain.index(level)
                assert levels.index(level, at, at + 1) == at
                with pytest.raises(ValueError, match="not in"):
                    levels.index(level, at + 1)
                assert levels.count(level) == plain.count(level)


def test_what_is_not_there_is_missed_as_in_a_list() -> None:
    levels = decoded()[0][0].bids
    for at in (len(levels), -len(levels) - 1, 10**30):
        with pytest.raises(IndexError):
            levels[at]
    with pytest.raises(ValueError, match="not in"):
        levels.index(Level("no", "such"))
    with pytest.raises(TypeError):
        levels["first"]  # type: ignore[call-overload]


def test_they_cannot_be_changed_and_have_no_hash() -> None:
    levels: Any = next(one.bids for one, _ in decoded() if one.bids)
    with pytest.raises(TypeError):
        levels[0] = Level("1", "2")
    assert not hasattr(levels, "append")
    with pytest.raises(TypeError):
        hash(levels)
    with pytest.raises(TypeError):
        type(levels)()


def test_copies_and_pickles_are_lists_of_the_same() -> None:
    for one, two in decoded(10):
        assert pickle.loads(pickle.dumps(one)) == two  # noqa: S301 - our own
        assert copy.deepcopy(one) == two
        assert type(copy.copy(one.bids)) is list


def test_a_level_is_one_object_however_often_it_is_looked_at() -> None:
    levels = next(one.bids for one, _ in decoded() if one.bids)
    assert levels[0] is levels[0]
    assert next(iter(levels)) is levels[0]


def test_the_garbage_collector_does_not_watch_them() -> None:
    depth = decoded(1)[0][0]
    list(depth.bids)
    assert not gc.is_tracked(depth)
    assert not gc.is_tracked(depth.bids)


def test_they_outlive_the_message() -> None:
    sides = [(one.bids, two.bids) for one, two in decoded()]
    gc.collect()
    assert [list(levels) for levels, _ in sides] == [plain for _, plain in sides]


def test_a_malformed_level_is_found_when_it_is_decoded() -> None:
    decoder = Decoder("venue")
    decoder.expect([STREAM])
    whole = next(one for one in frames(6, (STREAM,)) if b'"b":[[' in one)
    for wrong in (b'"b":[["1"],', b'"b":[[1,"2"],', b'"b":["1","2"],[', b'"b":[["1","2"'):
        events, remarks = decoder.decode([whole.replace(b'"b":[[', wrong + b"[", 1)], 1.79e9)
        assert not events
        assert len(remarks) == 1


def test_a_match_statement_takes_them_for_a_sequence() -> None:
    levels: Any = next(one.bids for one, _ in decoded() if len(one.bids) == 1)
    match levels:
        case [Level(price=price)]:
            assert price == levels[0].price
        case _:
            pytest.fail("no sequence of one level")

"""Rows of every table become what the feed delivered again."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from msgspec import structs
from recordings import MS, US, VENUE, event_of, session, snapshot_of, with_remarks
from world import START_MS

from k2trio.continuity.items import Gap, Outage, VenueChanged
from k2trio.dataset.columns import pieces
from k2trio.dataset.rebuilding import items_of
from k2trio.market import units
from k2trio.market.payloads import Event, frame_of
from k2trio.market.streams import TABLE, parse_stream
from k2trio.repair import rows
from k2trio.simulator import Market
from k2trio.sinks.lines import encode_lines
from k2trio.sinks.parsing import decode_lines

if TYPE_CHECKING:
    from collections.abc import Sequence

    from k2trio.continuity.items import Item
    from k2trio.market.units import TimeUnit

MICROSECOND_S = 1e-6


def through_tables(items: Sequence[Item], unit: TimeUnit = units.MS, cut: int = 0) -> list[Item]:
    """Items that were written, made columns of, and made of these again; in their order.

    :param cut: rows that are made items at once; 0: all.
    """
    placed = []
    for piece in pieces(decode_lines(encode_lines(items))):
        step = cut or len(piece.batch)
        for start in range(0, len(piece.batch), step):
            placed += items_of(piece._replace(batch=piece.batch.slice(start, step)), unit)
    return [item for _, item in sorted(placed, key=lambda one: one.sequence)]


@pytest.mark.parametrize("cut", [0, 7])
@pytest.mark.parametrize(("told", "unit"), [(MS, units.MS), (US, units.US)])
def test_live_messages_come_out_byte_for_byte(told: int, unit: TimeUnit, cut: int) -> None:
    items = session(5, unit=told, rate=300)
    kinds = {parse_stream(item.stream).kind for item in items}
    assert kinds == set(TABLE)
    assert through_tables(items, unit, cut) == items  # frames, payloads and stamps


def test_what_was_told_in_one_unit_can_be_had_in_the_other() -> None:
    in_ms, in_us = session(5, unit=MS), session(5, unit=US)
    assert through_tables(in_us, units.MS) == in_ms
    # What lies behind the milliseconds is not known; that a bar ends before the next one is.
    found = through_tables(in_ms, units.US)
    assert found == [
        item
        if not isinstance(item, Event) or item.origin != "live"
        else event_of(
            item.stream,
            bytes(
                msgspec.json.decode(
                    units.frame_in_unit(item.frame, units.MS, units.US), type=_Carrier
                ).data
            ),
            item.received,
        )
        for item in in_ms
    ]


class _Carrier(msgspec.Struct):
    data: msgspec.Raw


def test_what_rest_told_comes_out_as_the_feed_delivers_it() -> None:
    trade = rows.TradeRow(1, "0.00000100", "2.00000000", START_MS, True)
    block = rows.BlockTradeRow(4, "3.50000000", "1.00000000", START_MS, False)
    agg = rows.AggRow(1, "3.50000000", "0.00000001", 5, 7, START_MS, False)
    one, none = "1.00000000", "0.00000000"
    bars = [
        rows.KlineRow(at, one, one, one, one, none, at + 59_999, none, trades, *volumes)
        for at, trades, volumes in (
            (START_MS, 0, [none, none]),
            (START_MS + 60_000, 3, [one, one]),
            (START_MS + 120_000, 3, []),
        )
    ]
    made: list[tuple[str, tuple[Any, bytes]]] = [
        ("btcusdt@trade", rows.trade_of("BTCUSDT", trade, units.MS)),
        ("btcusdt@aggTrade", rows.agg_of(parse_stream("btcusdt@aggTrade"), agg, units.MS)),
        ("btcusdt@blockTrade", rows.block_trade_of("BTCUSDT", block, units.MS)),
        *(("btcusdt@kline_1m", rows.kline_of("BTCUSDT", "1m", bar, units.MS)) for bar in bars),
    ]
    items: list[Item] = [
        Event(data, stream, VENUE, 1.5e9, frame_of(stream, raw), "backfill")
        for stream, (data, raw) in made
    ]
    assert through_tables(items) == items


def test_a_snapshot_among_updates_and_a_deep_book() -> None:
    market = Market(["BTCUSDT"], seed=1, rate=0)
    items: list[Item] = [snapshot_of(market, "btcusdt@depth@100ms", 1.5e9)]
    items += session(1, ["btcusdt@depth@100ms"])
    items.insert(5, structs.replace(items[0], received=2e9))
    assert through_tables(items[1:], cut=3) == items[1:]
    assert through_tables(items, cut=3) == items


def test_prices_of_nothing_and_bars_of_nobody() -> None:
    none = b'{"e":"referencePrice","s":"BTCUSDT","r":null,"t":1767225600000}'
    items: list[Item] = [event_of("btcusdt@referencePrice", none, 1.5e9)]
    items.append(event_of("!miniTicker@arr", b"[]", 1.5e9))
    assert through_tables(items) == items


def test_remarks_come_out_as_they_were_to_the_microsecond() -> None:
    items = with_remarks(session(2))
    items.append(Gap(VENUE, "btcusdt@trade", 5, 9, "overflow", 1.5e9 + 0.1234567, None))
    found = through_tables(items)
    assert len(found) == len(items)
    for item, was in zip(found, items, strict=True):
        if isinstance(item, Event):
            assert item == was
            continue
        assert type(item) is type(was)
        for name in type(item).__struct_fields__:
            value, before = getattr(item, name), getattr(was, name)
            if name in {"since", "until"} and before is not None:
                assert value == pytest.approx(before, abs=MICROSECOND_S)
            else:
                assert value == before
    assert {type(item) for item in found} == {Event, Gap, Outage, VenueChanged}


def test_a_gap_of_bars_is_in_the_unit_of_the_feed() -> None:
    gap = Gap(VENUE, "btcusdt@kline_1m", START_MS, START_MS + 60_000, "not_repaired", 1.5, 2.5)
    (in_ms,), (in_us,) = through_tables([gap]), through_tables([gap], units.US)
    assert in_ms == gap
    assert isinstance(in_us, Gap)
    assert (in_us.first, in_us.last) == (START_MS * 1000, (START_MS + 60_000) * 1000)


def test_what_no_table_can_hold_comes_out_as_it_came() -> None:
    raw = b'{"e":"trade","E":1,"s":"BTCUSDT","t":1,"p":"0.1234567891","q":"1e3","T":1,"m":true}'
    items: list[Item] = [event_of("btcusdt@trade", raw, 1.5e9)]
    assert through_tables(items) == items


@pytest.mark.skipif(
    "K2TRIO_RECORDED" not in os.environ,
    reason="K2TRIO_RECORDED does not name the folder of recorded exchange traffic",
)
def test_real_messages_come_out_byte_for_byte() -> None:
    lines = (Path(os.environ["K2TRIO_RECORDED"]) / "spot.frames.jsonl").read_bytes().splitlines()
    items: list[Item] = []
    for line in lines:
        row = msgspec.json.decode(line)
        frame = row["frame"]
        items.append(event_of(frame["stream"], msgspec.json.encode(frame["data"]), row["received"]))
    assert len(items) > 200
    assert through_tables(items) == items

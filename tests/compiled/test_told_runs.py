"""What the core tells of the messages of a stream spares the arbiter a look at each, and changes
nothing else.
"""

from __future__ import annotations

import itertools
import random
from typing import Any

import pytest
from written import FUTURES, FUTURES_VENUE, STREAMS, VENUE, frames, needs_core

from k2trio.continuity.arbiter import Arbiter
from k2trio.market.decoder import Decoder

pytestmark = needs_core


def streams_of(seed: int) -> tuple[str, ...]:
    """Many, or two, or those of futures."""
    return (STREAMS, (STREAMS[0], STREAMS[seed % 6]), FUTURES)[seed % 3]


def troubled(seed: int) -> list[list[bytes]]:
    """Batches in which messages are lost, doubled, late, or turned round."""
    rng = random.Random(seed)
    streams = streams_of(seed)
    whole = list(itertools.islice(frames(seed, streams), 600))
    for _ in range(rng.choice((0, 3, 30))):
        at = rng.randrange(len(whole) - 5)
        match rng.randrange(4):
            case 0:
                del whole[at]
            case 1:
                whole.insert(at + rng.randrange(5), whole[at])
            case 2:
                whole[at], whole[at + 1] = whole[at + 1], whole[at]
            case _:
                whole[at] = whole[at].replace(b'":', b'": ', 3)  # as nobody writes it
    ends = sorted(rng.sample(range(len(whole)), rng.choice((3, 10, 30))))
    return [whole[a:b] for a, b in itertools.pairwise([0, *ends, len(whole)]) if b > a]


def delivered(batches: list[list[bytes]], seed: int, *, told: bool) -> Any:
    venue = FUTURES_VENUE if streams_of(seed) is FUTURES else VENUE
    decoder, arbiter = Decoder(venue), Arbiter(1000)
    decoder.expect(streams_of(seed))
    items, now = [], 0.0
    used = 0
    for batch in batches:
        now += 0.01
        events, _ = decoder.decode(batch, 1.79e9 + now)
        if events:
            used += len(decoder.runs)
            runs = decoder.runs if told else ()
            decision = arbiter.offer(venue, events, now, None, runs)
            items.append((decision.items, decision.duplicates))
    return items, [track.coverage() for track in arbiter.tracks], used


@pytest.mark.parametrize("seed", range(40))
def test_nothing_depends_on_being_told(seed: int) -> None:
    batches = troubled(seed)
    items, ledger, used = delivered(batches, seed, told=True)
    assert (items, ledger) == delivered(batches, seed, told=False)[:2]
    assert used or not seed % 3  # of many streams batches have too few messages to be worth it


def test_a_run_says_what_a_batch_has_of_a_stream() -> None:
    decoder = Decoder("venue")
    decoder.expect(["btcusdt@aggTrade"])
    whole = list(itertools.islice(frames(8, ("btcusdt@aggTrade",)), 10))
    events, _ = decoder.decode(whole, 1.79e9)
    (run,) = decoder.runs
    first, last = events[0].data, events[-1].data
    assert (run.stream, run.messages, run.in_order) == ("btcusdt@aggTrade", 10, True)
    assert (run.first, run.after) == (first.agg_id, last.agg_id + 1)
    assert (run.begin, run.due) == (first.first_trade_id, last.last_trade_id + 1)
    assert run.time == last.trade_time
    decoder.decode([*whole[:4], *whole[5:]], 1.79e9)
    assert not decoder.runs[0].in_order


def test_of_a_stream_with_a_message_for_the_pure_path_nothing_is_told() -> None:
    decoder = Decoder("venue")
    streams = ("btcusdt@trade", "ethusdt@trade")
    decoder.expect(streams)
    whole = list(itertools.islice(frames(9, streams), 20))
    at = next(index for index, one in enumerate(whole) if b"btcusdt" in one)
    whole[at] = whole[at].replace(b'":', b'": ', 3)
    events, _ = decoder.decode(whole, 1.79e9)
    assert [run.stream for run in decoder.runs] == ["ethusdt@trade"]
    assert len(events) == 20


def test_a_chain_is_in_order_by_what_its_links_name() -> None:
    """Ids of the updates of futures are not consecutive: each names the last one before it."""
    decoder = Decoder(FUTURES_VENUE)
    decoder.expect(FUTURES)
    written = itertools.islice(frames(11, FUTURES), 100)
    whole = [one for one in written if b"@depth" in one]
    events, _ = decoder.decode(whole, 1.79e9)
    (run,) = decoder.runs
    first, last = events[0].data, events[-1].data
    assert (run.messages, run.in_order) == (len(whole), True)
    assert (run.first, run.after) == (first.previous_update_id + 1, last.last_update_id + 1)
    decoder.decode([*whole[:4], *whole[5:]], 1.79e9)
    assert not decoder.runs[0].in_order

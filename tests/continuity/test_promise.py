"""The promise, whatever ids do: everything sent is delivered once, in order, or named."""

from __future__ import annotations

import random  # noqa: TC003 - hypothesis looks at it
from dataclasses import dataclass, replace

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec import structs
from numbered import ABSURD, NOW_S, TRADES, Bench, Line, trade

from k2trio.continuity.items import Gap, Outage
from k2trio.market.payloads import Event

MAX_LAG = 3
"""Messages by which copies lag where one connection may contest the other."""
TAIL = 12
"""So many messages at the end decide on all that came before."""


@dataclass(frozen=True)
class Sent:
    """A message as the exchange sent it; its place among all is told by its price.

    :ivar near: the numbering touches one that begins only a few ids away.
    """

    number: int
    time_ms: int
    absurd: bool = False
    near: bool = False


@dataclass
class Run:
    """What was sent, what came out of it, and what arrived before anything newer."""

    sent: list[Sent]
    bench: Bench
    in_turn: set[int]


def sending(rng: random.Random, least: int) -> list[Sent]:
    """Numberings one after the other, with single absurd ids among them.

    :param least: messages that a numbering has at least.
    """
    sent: list[Sent] = []
    time_ms, number = 0, rng.randint(1000, 3000)
    was_near = False
    # Far numberings are far from each other too: of two that touch, a loss between may not show.
    far = rng.sample(range(1, 10), 4)
    for _ in range(rng.randint(1, 3)):
        begins = len(sent)
        for _ in range(rng.randint(least, least + 8)):
            if sent and rng.random() < 0.1:
                about = max(0, number + rng.randint(-20, 20))
                odd = rng.choice([0, 3, ABSURD, ABSURD // 2, about])
                sent.append(Sent(odd, time_ms + 1, absurd=True))
                time_ms += 2
            time_ms += rng.choice([0, 1, 1, 7])
            sent.append(Sent(number, time_ms))
            number += 1
        near = rng.random() < 0.5
        sent[begins:] = [replace(one, near=near or was_near) for one in sent[begins:]]
        number = (
            max(0, number - rng.randint(1, 30))
            if near
            else far.pop() * 10**8 + rng.randint(0, 10**7)
        )
        was_near = near
        time_ms += 1
    sent += [Sent(number + n, time_ms + n, near=was_near) for n in range(TAIL)]
    # An absurd id is none that the venue gives out: of two such, nothing tells which was meant.
    real = {one.number for one in sent if not one.absurd}
    return [one for one in sent if not one.absurd or one.number not in real]


def carried(rng: random.Random, sent: list[Sent]) -> list[int]:
    """The places of what a connection brings. Where numberings touch, it loses nothing."""
    share = rng.choice([0, 0.05, 0.2])
    return [
        at
        for at, one in enumerate(sent)
        if at >= len(sent) - TAIL or one.near or rng.random() >= share
    ]


def play(rng: random.Random, *, redundant: bool) -> Run:
    """Two connections bring it in reads of any size, one behind the other by as much as it likes.

    :param redundant: the feed knows that there are two, so that one may contest the other. Then
        copies lag by a few messages only: what is contested waits for them.
    """
    run = Run(sending(rng, 12 if redundant else 4), Bench(redundant=redundant), set())
    sent, bench = run.sent, run.bench
    lines = [(Line(name), carried(rng, sent)) for name in ("0a", "0b")]
    done = [0, 0]
    newest_ms = -1
    while any(at < len(places) for at, (_, places) in zip(done, lines, strict=True)):
        which = rng.randint(0, 1)
        if redundant:
            behind = [(*places, len(sent))[at] for at, (_, places) in zip(done, lines, strict=True)]
            if abs(behind[0] - behind[1]) > MAX_LAG:
                which = behind.index(min(behind))
        line, places = lines[which]
        read = places[done[which] : done[which] + rng.randint(1, 4 if redundant else 9)]
        done[which] += len(read)
        if not read:
            continue
        received = NOW_S + sent[read[-1]].time_ms / 1000
        events = [trade(sent[at].number, sent[at].time_ms / 1000, str(at)) for at in read]
        bench.now += 0.01
        bench.at_once(*[structs.replace(one, received=received) for one in events], source=line)
        for at in read:
            if sent[at].time_ms >= newest_ms:
                run.in_turn.add(at)
                newest_ms = sent[at].time_ms
    track = bench.arbiter.track("v", TRADES)
    while track.held:
        track.abandon("not_repaired", bench.items)
    bench.arbiter.dismiss()
    return run


def check(run: Run) -> None:
    sent, items = run.sent, run.bench.items
    places = [int(item.data.price) for item in items if isinstance(item, Event)]
    assert len(places) == len(set(places)), "delivered once"
    # Where an absurd id has its place is for nobody to say.
    real = [at for at in places if not sent[at].absurd]
    assert real == sorted(real), "delivered in order"
    named = {int(stray.event.data.price) for stray in run.bench.strays}
    gaps: list[Gap | Outage] = []
    before = -1
    for item in [*items, None]:
        if isinstance(item, Gap | Outage):
            gaps.append(item)
            continue
        after = len(sent) if item is None else int(item.data.price)
        if item is not None and sent[after].absurd:
            continue
        for at in range(before + 1, after):
            if any(_names(gap, sent[at].number) for gap in gaps):
                named.add(at)
        before, gaps = after, []
    began = min(places, default=len(sent))  # what came before the feed is not promised
    silent = set(range(began, len(sent))) - named - set(places)
    # An absurd id that is late may be a copy: only the newest of what was delivered is known.
    assert [at for at in sorted(silent) if not sent[at].absurd or at in run.in_turn] == []


def _names(gap: Gap | Outage, number: int) -> bool:
    if isinstance(gap, Outage) or gap.reason in ("reset", "jump"):
        return True  # whatever lies between two numberings
    return gap.first <= number <= gap.last


@settings(
    max_examples=4 * settings().max_examples,
    deadline=None,
    suppress_health_check=[HealthCheck.large_base_example],
)
@given(st.randoms(use_true_random=False), st.booleans())
def test_everything_sent_is_delivered_once_in_order_or_named(
    rng: random.Random, redundant: bool
) -> None:
    """Ids begin anew at any distance, single ids are absurd, and both connections lose some."""
    check(play(rng, redundant=redundant))

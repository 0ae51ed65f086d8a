"""What happened in the demo: how soon each fault was noticed, and whether the numbers add up.

The score listens to the exchange (which faults began), to the feed (its transitions) and to the
consumer (what was delivered), and compares the last with the truth of the exchange.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import trio

from ...continuity.items import Gap
from ...market.payloads import Event, Trade
from ...observe import transitions as on
from .script import GAP, REPAIR, ROTATION, Step

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from ...continuity.items import Item
    from ...observe.transitions import Transition
    from ...simulator import Fault, Truth

REPAIRED = "backfill"
"""``Event.origin`` of a message that was fetched over REST."""


@dataclass
class Outcome:
    """How the feed came through one step of the script; times in seconds of trio's clock."""

    step: Step
    began_at: float | None = None
    noticed_at: float | None = None
    flowing_at: float | None = None
    outage_s: float | None = None
    missing: int = 0
    repaired: int = 0

    @property
    def passed(self) -> bool:
        """Whether it was noticed, and data flowed afterwards."""
        return self.noticed_at is not None and self.flowing_at is not None


@dataclass
class Delivered:
    """What the consumer got of one stream. Counted message by message, not derived."""

    first: int | None = None
    last: int = 0
    live: int = 0
    repaired: int = 0
    missing: int = 0
    faulty: list[str] = field(default_factory=list[str])

    def take(self, first: int, last: int) -> None:
        """Check that the ids come next, and remember them."""
        if self.first is None:
            self.first = first
        elif first != self.last + 1:
            self.faulty.append(f"{first} after {self.last}")
        self.last = last


@dataclass(frozen=True)
class Account:
    """Emitted against delivered, of one stream, in ids.

    :ivar emitted: by the exchange while the feed was open: ``before`` the first delivered message,
        ``spanned`` from the first to the last delivered, ``after`` the last one.
    """

    stream: str
    emitted: int
    before: int
    spanned: int
    live: int
    repaired: int
    missing: int
    after: int
    faulty: tuple[str, ...]

    @property
    def adds_up(self) -> bool:
        """Something came, and every id was delivered once, in order, or declared missing."""
        return (
            self.live > 0
            and not self.faulty
            and self.spanned == self.live + self.repaired + self.missing
            and self.emitted == self.before + self.spanned + self.after
        )


class Score:
    """See the module.

    :param truth: of the exchange.
    :param names: ``host:port`` → the name that the script calls the endpoint by.
    :param say: called with (seconds since the start, kind, text) for each thing worth telling.
    """

    def __init__(
        self,
        steps: Sequence[Step],
        streams: Sequence[str],
        truth: Truth,
        names: Mapping[str, str],
        say: Callable[[float, str, str], None],
    ) -> None:
        self.outcomes: list[Outcome] = [Outcome(step) for step in steps]
        self.delivered: dict[str, Delivered] = {stream: Delivered() for stream in streams}
        self.reconnects: dict[str, int] = {}
        self.rotations: dict[str, int] = {}
        self.endpoint: str = "-"
        self.breakers: dict[str, str] = dict.fromkeys(names.values(), "closed")
        self.started_at: float = trio.current_time()
        self._truth = truth
        self._names = names
        self._say = say
        self._known_before = {stream: self._last_emitted(stream) for stream in streams}

    @property
    def now(self) -> float:
        """Seconds since the start."""
        return trio.current_time() - self.started_at

    @property
    def messages(self) -> int:
        """Messages delivered so far."""
        return sum(count.live + count.repaired for count in self.delivered.values())

    @property
    def missing(self) -> int:
        """Messages declared missing so far."""
        return sum(count.missing for count in self.delivered.values())

    # -- from the exchange --------------------------------------------------------------------

    def fault_begins(self, fault: Fault) -> None:
        """See :class:`k2trio.simulator.faults.board.FaultListener`."""
        for outcome in self.outcomes:
            if fault is outcome.step.faults[0]:
                outcome.began_at = trio.current_time()
                self._say(self.now, "FAULT", outcome.step.name)

    def fault_ends(self, fault: Fault) -> None:
        """See :class:`k2trio.simulator.faults.board.FaultListener`."""
        for outcome in self.outcomes:
            if fault is outcome.step.faults[0]:
                self._say(self.now, "fault", f"over: {outcome.step.name}")

    def _current(self) -> Outcome | None:
        begun = [outcome for outcome in self.outcomes if outcome.began_at is not None]
        return begun[-1] if begun else None

    # -- from the feed ------------------------------------------------------------------------

    def observe(self, transition: Transition) -> None:
        """An observer of the feed."""
        match transition:
            case on.ConnectionLost() | on.DialFailed():
                self._noticed(transition.error_type)
            case on.Rotating():
                self._noticed(ROTATION)
            case on.Reconnecting():
                self.reconnects[transition.reason] = self.reconnects.get(transition.reason, 0) + 1
            case on.Flowing():
                self.endpoint = self._name(transition.endpoint)
                self._flows(transition.outage_s)
            case on.Rotated():
                self.rotations[transition.reason] = self.rotations.get(transition.reason, 0) + 1
                self.endpoint = self._name(transition.to_endpoint)
            case on.BreakerChanged():
                self.breakers[self._name(transition.name)] = transition.new
            case _:
                pass
        if text := self._tell(transition):
            self._say(self.now, "feed", text)

    def _noticed(self, what: str) -> None:
        outcome = self._current()
        if outcome and outcome.noticed_at is None and what in outcome.step.noticed_as:
            outcome.noticed_at = trio.current_time()

    def _flows(self, outage_s: float | None) -> None:
        outcome = self._current()
        if outcome and outcome.noticed_at is not None and outcome.flowing_at is None:
            outcome.flowing_at = trio.current_time()
            outcome.outage_s = None if ROTATION in outcome.step.noticed_as else outage_s

    def _tell(self, transition: Transition) -> str | None:
        match transition:
            case on.Connected():
                took_ms = transition.handshake_s * 1000
                return f"connected to {self._name(transition.endpoint)} in {took_ms:.1f} ms"
            case on.Flowing(outage_s=None):
                return f"data flows from {self._name(transition.endpoint)}"
            case on.Flowing():
                where, outage_s = self._name(transition.endpoint), transition.outage_s or 0
                return f"data flows from {where}; {outage_s * 1000:.1f} ms without a message"
            case on.ConnectionLost() | on.DialFailed():
                return (
                    f"{self._name(transition.endpoint)} failed: {transition.error_type} "
                    f"({transition.detail})"
                )
            case on.Reconnecting():
                return (
                    f"retry {transition.attempt} on {self._name(transition.endpoint)} "
                    f"in {transition.wait_s:.2f} s ({transition.reason})"
                )
            case on.Rotating():
                return (
                    f"opening {self._name(transition.to_endpoint)} beside "
                    f"{self._name(transition.endpoint)} ({transition.reason})"
                )
            case on.Rotated():
                return (
                    f"moved to {self._name(transition.to_endpoint)} without a gap, "
                    f"after {transition.overlap_s * 1000:.0f} ms of both"
                )
            case on.RotationFailed():
                return (
                    f"could not move to {self._name(transition.to_endpoint)}: "
                    f"{transition.error_type}; staying"
                )
            case on.BreakerChanged():
                return f"breaker of {self._name(transition.name)}: {transition.new}"
            case on.VenueFrozen():
                return f"the exchange asks to stay away for {transition.for_s:g} s"
            case on.GivingUp():
                return f"giving up: {transition.detail}"
            case _:
                return None

    def _name(self, endpoint: str) -> str:
        return self._names.get(endpoint, endpoint)

    # -- from the consumer --------------------------------------------------------------------

    def deliver(self, items: Iterable[Item]) -> None:
        """Count what the consumer got."""
        for item in items:
            match item:
                case Event(data=Trade(trade_id=trade_id)):
                    self._take_trade(item, trade_id)
                case Gap():
                    self._take_gap(item)
                case _:
                    pass

    def _take_trade(self, event: Event, trade_id: int) -> None:
        count = self.delivered[event.stream]
        count.take(trade_id, trade_id)
        if event.origin == REPAIRED:
            count.repaired += 1
            self._hole_told(REPAIR)
            if outcome := self._current():
                outcome.repaired += 1
            return
        count.live += 1
        if event.raw != self._truth.payload(event.stream, trade_id):
            count.faulty.append(f"{trade_id} is not what was sent")

    def _take_gap(self, gap: Gap) -> None:
        ids = gap.last - gap.first + 1
        count = self.delivered[gap.stream]
        count.take(gap.first, gap.last)
        count.missing += ids
        self._hole_told(GAP)
        if outcome := self._current():
            outcome.missing += ids
        self._say(
            self.now,
            "gap",
            f"{gap.stream}: {ids} missing, {gap.first} to {gap.last} ({gap.reason})",
        )

    def _hole_told(self, how: str) -> None:
        """A hole among messages that flow is noticed when the consumer sees how it was closed."""
        self._noticed(how)
        outcome = self._current()
        if outcome and how in outcome.step.noticed_as and outcome.flowing_at is None:
            outcome.flowing_at = trio.current_time()

    # -- the sum ------------------------------------------------------------------------------

    def _last_emitted(self, stream: str) -> int:
        ranges = self._truth.ranges(stream)
        return ranges[-1][1] if ranges else 0

    def _emitted(self, stream: str, first: int, last: int) -> int:
        """How many ids from ``first`` to ``last`` the exchange emitted."""
        return sum(
            max(0, min(last, end) - max(first, start) + 1)
            for start, end in self._truth.ranges(stream)
        )

    def accounts(self) -> list[Account]:
        """The sum per stream, as of now."""
        return [self._account(stream, count) for stream, count in self.delivered.items()]

    def _account(self, stream: str, count: Delivered) -> Account:
        start, end = self._known_before[stream] + 1, self._last_emitted(stream)
        first = end + 1 if count.first is None else count.first
        last = end if count.first is None else count.last
        return Account(
            stream=stream,
            emitted=self._emitted(stream, start, end),
            before=self._emitted(stream, start, first - 1),
            spanned=self._emitted(stream, first, last),
            live=count.live,
            repaired=count.repaired,
            missing=count.missing,
            after=self._emitted(stream, last + 1, end),
            faulty=tuple(count.faulty),
        )

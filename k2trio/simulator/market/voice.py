"""The voice of a watched stream: when it speaks, and what it needs of the market for it.

A stream costs nothing until somebody watches it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from .message import Message
from .trading import NEVER_US, Listener

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from k2trio.market.streams import Stream

    from .trading import SymbolMarket


class Stage(Protocol):
    """What a voice needs of the market that it speaks on.

    :ivar now_us: simulated time; microseconds.
    :ivar retells: whether partial books are told anew when only levels below them changed.
    """

    now_us: int
    retells: bool

    def schedule(self, voice: Voice) -> None:
        """Call ``voice.step()`` at its ``due_us``."""
        ...

    def emit(self, message: Message) -> None:
        """Let a message out."""
        ...

    def of(self, stream: Stream) -> SymbolMarket:
        """The symbol that a stream tells about."""
        ...

    def all(self, stream: Stream) -> Sequence[SymbolMarket]:
        """The symbols that a stream tells about: one, or all."""
        ...


class Voice(Listener):
    """One watched stream of a market.

    :ivar due_us: when :meth:`step` is to be called; microseconds.
    """

    def __init__(self, stage: Stage, stream: Stream, period_us: int = 0) -> None:
        self.stage = stage
        self.name: str = stream.name
        self.stream = stream
        self.period_us = period_us
        self.due_us: int = NEVER_US

    def arm(self, due_us: int | None = None) -> None:
        """Speak at ``due_us`` (default: the next multiple of the period), or sooner if armed."""
        if due_us is None:
            due_us = (self.stage.now_us // self.period_us + 1) * self.period_us
        if due_us < self.due_us:
            self.due_us = due_us
            self.stage.schedule(self)

    def step(self) -> None:
        """Speak."""
        now_us, self.due_us = self.due_us, NEVER_US
        self.speak(now_us)

    def speak(self, now_us: int) -> None:
        """Emit what this stream says at ``now_us``."""

    def say(self, first: int, last: int, now_us: int, render: Callable[[int], bytes]) -> None:
        """Emit one message."""
        self.stage.emit(Message(self.name, first, last, now_us, render))

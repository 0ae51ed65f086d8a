"""What the targets of a run have in common: sinks that are opened, looked after, and closed."""

from __future__ import annotations

import abc
from typing import TYPE_CHECKING, Self

from ..errors import SinkError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from types import TracebackType

    from ..continuity.items import Item
    from ..continuity.positions import Key, Position
    from ..market.units import TimeUnit


class TargetSink(abc.ABC):
    """A :class:`Sink`; a context manager, which closes it."""

    def __init__(self) -> None:
        self.whole: int = 0

    @property
    def problem(self) -> str | None:
        """What is not as it should be, though nothing is lost; a sentence, None if all is well."""
        return None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            self.close()
        except SinkError:
            if error is None:  # else the error under way says more than this one
                raise

    async def positions(self) -> Mapping[Key, Position] | None:
        """How far each stream of a venue is in it, by itself; None if it remembers nothing.

        Called once, before the first write. What it has already it leaves out of what comes.

        :raises SinkError: if it cannot be asked.
        """
        return None

    async def beyond(self, begin: Mapping[Key, Position], unit: TimeUnit) -> Mapping[Key, Position]:
        """How far each stream is in it, unbroken from where it is known to have been; durable.

        Called once, before the first write. By default nothing more is known.

        :param begin: where streams are known to have been.
        :param unit: of the times in messages.
        :raises SinkError: if that cannot be made durable.
        """
        return begin

    @abc.abstractmethod
    async def write(self, items: Sequence[Item]) -> None:
        """See :class:`Sink`."""

    @abc.abstractmethod
    def check(self) -> None:
        """See :class:`Sink`."""

    @abc.abstractmethod
    def sync(self) -> None:
        """See :class:`Sink`."""

    @abc.abstractmethod
    async def flush(self) -> None:
        """See :class:`Sink`."""

    @abc.abstractmethod
    def reopen(self) -> None:
        """Look now whether a file was moved away, and go on in a new one if so.

        :raises SinkError: if it was deleted, and there cannot be a new one.
        """

    @abc.abstractmethod
    async def tend(self) -> None:
        """Do at its time what is due while nothing comes; runs for as long as the sink is open.

        :raises SinkError: if that fails.
        """

    @abc.abstractmethod
    def close(self) -> None:
        """Make durable what is not yet, and let go of everything.

        :raises SinkError: if that fails; it is closed all the same.
        """

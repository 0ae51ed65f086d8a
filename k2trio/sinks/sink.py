"""What a sink is: takes a feed's items, and says how far it came."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, runtime_checkable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..continuity.items import Item


class Sink(Protocol):
    """Where a feed's items go; any object that has these will do.

    A sink that failed stays failed: what came after would hide that something is missing.

    :ivar whole: how many items of the last write are whole, from its first one on; 0 when one
        begins. They count as delivered: ``STATE`` remembers them, once :meth:`sync` has returned.
    """

    whole: int

    async def write(self, items: Sequence[Item]) -> None:
        """Take items; returns when all of them are whole.

        If it is cancelled, what is not whole is given to it once more, for the last write.

        :raises SinkError: if it cannot, or could not once before.
        """
        ...

    def check(self) -> None:
        """Return if everything that was to be written is whole.

        :raises SinkError: if not.
        """
        ...

    def sync(self) -> None:
        """Return when everything that is whole is durable; blocks, and is called in a thread.

        :raises SinkError: if it cannot be made so.
        """
        ...

    async def flush(self) -> None:
        """The same at the end, within a bound of its own, whatever was cancelled.

        :raises SinkError: if it cannot be made so, or not in time.
        """
        ...


@runtime_checkable
class PromptSink(Sink, Protocol):
    """A sink that mostly need not be waited for, as a file: no task is woken to write to it.

    :ivar prompt: whether that is so of this one.
    """

    prompt: bool

    def write_now(self, items: Sequence[Item]) -> bool:
        """Take items without waiting; False if that cannot be: then nothing of them is taken.

        It is called where the items were received, between two reads, and so has to be brief.

        :raises SinkError: as :meth:`Sink.write` does.
        """
        ...

"""A feed of Trio that is opened and left by somebody outside of Trio, and how it ended."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, TypeVar, cast

import trio
from outcome import Error, Value

from ..errors import FeedClosed, leaves

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence
    from contextlib import AbstractAsyncContextManager

    from outcome import Outcome

    from ..client.feed import Feed

    Entry: TypeAlias = Callable[[], AbstractAsyncContextManager[Feed[Any]]]


T = TypeVar("T")
T_contra = TypeVar("T_contra", contravariant=True)


class Answer(Protocol[T_contra]):
    """A future of asyncio, or of ``concurrent.futures``."""

    def cancelled(self) -> bool: ...
    def set_result(self, result: T_contra, /) -> None: ...
    def set_exception(self, exception: BaseException, /) -> None: ...


class Stay:
    """From the opening of a feed until everything of it is gone. Only Trio's thread touches it.

    :param entry: opens the feed: :func:`k2trio.open_feed` with its arguments.
    :param opened: called when it is open; not, if that fails.
    :param over: called at the end, when nothing of it runs any more.
    :ivar feed: None before it is open.
    :ivar error: what came out of the feed's block, if it did not end in peace.
    :ivar interrupted: whether Trio as a whole was, and took it along.
    """

    def __init__(
        self,
        entry: Entry,
        opened: Callable[[], object],
        over: Callable[[], object],
    ) -> None:
        self.feed: Feed | None = None
        self.error: BaseException | None = None
        self.interrupted: bool = False
        self._entry = entry
        self._opened = opened
        self._over = over
        self._left = trio.Event()
        self._nursery: trio.Nursery | None = None

    def leave(self) -> None:
        """Ask it to end."""
        self._left.set()

    async def run(self) -> None:
        """Be in the feed's block until asked to leave; raises nothing but a cancellation."""
        try:
            async with self._entry() as feed:
                await self._be_in(feed)
        except BaseException as error:
            if any(isinstance(one, trio.Cancelled) for one in leaves(error)):
                self.interrupted = True
                raise
            self.error = unwrapped(error)
        finally:
            self._over()

    async def _be_in(self, feed: Feed) -> None:
        try:
            async with trio.open_nursery() as self._nursery:
                self.feed = feed
                self._opened()
                await self._left.wait()
                self._nursery.cancel_scope.cancel()
        finally:
            self._nursery = None

    def start(self, work: Callable[[], Awaitable[T]], answer: Answer[T]) -> trio.CancelScope:
        """Do something in Trio while the feed is open, and answer how it ended.

        :returns: what cancels it.
        """
        scope = trio.CancelScope()
        if self._nursery is None:
            answer.set_exception(FeedClosed("the feed was left, or has ended"))
        else:
            self._nursery.start_soon(_answered, work, answer, scope)
        return scope

    def outcome(self, body: BaseException | None) -> BaseException | None:
        """What leaves the block, when that was left with an error or with none.

        As with the Trio entry: an error of the block alone goes out as it came.
        """
        error = self.error
        if body is None or error is None or body is error:
            return error if body is None else body
        others: Sequence[BaseException] = [error]
        if isinstance(error, BaseExceptionGroup):
            others = cast("BaseExceptionGroup[BaseException]", error).exceptions
        return BaseExceptionGroup("the feed ended", [body, *others])


def unwrapped(error: BaseException) -> BaseException:
    """A Ctrl-C as itself, as programs expect it; what went wrong in the feed as it is."""
    found = leaves(error)
    return found[0] if all(isinstance(one, KeyboardInterrupt) for one in found) else error


async def _answered(
    work: Callable[[], Awaitable[T]], answer: Answer[T], scope: trio.CancelScope
) -> None:
    outcome: Outcome[T] = Error(FeedClosed("the feed was left meanwhile"))
    try:
        with scope:
            outcome = Value(await work())
    except Exception as error:  # noqa: BLE001 - it is raised where the work was asked for
        outcome = Error(error)
    finally:
        _settle(answer, outcome)


@trio.lowlevel.enable_ki_protection
def _settle(answer: Answer[T], outcome: Outcome[T]) -> None:
    if answer.cancelled():
        pass
    elif isinstance(outcome, Error):
        answer.set_exception(outcome.error)
    else:
        answer.set_result(outcome.unwrap())

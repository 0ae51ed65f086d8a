"""A thread that runs Trio for one feed, and how another thread speaks to it."""

from __future__ import annotations

import atexit
import threading
from concurrent.futures import Future, wait
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TypeVar

import trio

from ..errors import FeedClosed
from .stay import Stay

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from ..client.feed import Feed
    from .stay import Entry

T = TypeVar("T")

EXIT_BOUND_S = 5.0
"""How long a feed that is still open when the program exits may take to end."""


class Background:
    """A feed in a thread of its own, from its opening until everything of it is gone."""

    def __init__(self, entry: Entry) -> None:
        self.stay: Stay = Stay(entry, self._opened, lambda: None)
        self._token: trio.lowlevel.TrioToken | None = None
        self._decided = threading.Event()
        """It is open, or will not be."""
        # A daemon, since others are waited for at exit before anybody could tell them to end.
        self._thread = threading.Thread(target=self._run, name="k2trio feed", daemon=True)
        self._thread.start()

    def begin(self) -> Feed[Any]:
        """Wait until the feed is open."""
        self._decided.wait()
        if self.stay.feed is None:
            self._thread.join()
            raise self.stay.error or FeedClosed("the feed's thread ended before it was open")
        return self.stay.feed

    def end(self, error: BaseException | None) -> None:
        """Have everything of the feed end, and raise what there is to raise.

        :param error: what the block was left with.
        """
        self.leave(None)
        outcome = self.stay.outcome(error)
        if outcome is not None:
            raise outcome

    def leave(self, bound_s: float | None) -> None:
        """Have the feed end, and wait for it, for so long at most."""
        self._decided.wait(bound_s)
        if self._token is not None:
            with suppress(trio.RunFinishedError):
                self._token.run_sync_soon(self.stay.leave)
        self._thread.join(bound_s)

    def failure(self, closed: FeedClosed) -> BaseException:
        """Why nothing more comes: what went wrong in the feed, if something did."""
        self._thread.join()
        return self.stay.error or closed

    def post(self, work: Callable[[], object]) -> None:
        """Have something done in Trio's thread.

        :raises FeedClosed: if that has ended.
        """
        assert self._token is not None  # noqa: S101 - nobody has the feed before it is open
        try:
            self._token.run_sync_soon(work)
        except trio.RunFinishedError:
            raise FeedClosed("the feed was left, or has ended; open another one") from None

    def call(self, work: Callable[[], T]) -> T:
        """Do something in Trio's thread; in this one, if that has ended or is this one."""
        if threading.current_thread() is self._thread:
            return work()
        try:
            return trio.from_thread.run_sync(work, trio_token=self._token)
        except trio.RunFinishedError:
            return work()

    def do(self, work: Callable[[], Awaitable[T]]) -> T:
        """Do something on Trio that takes its time; who is interrupted here cancels it there."""
        answer: Future[T] = Future()
        begun: Future[trio.CancelScope] = Future()
        self.post(lambda: begun.set_result(self.stay.start(work, answer)))
        try:
            return answer.result()
        finally:
            if not answer.done():
                with suppress(FeedClosed):
                    self.post(lambda: begun.result().cancel())
                    wait([answer])

    def _run(self) -> None:
        _running.add(self)
        try:
            trio.run(self._main)
        finally:
            _running.discard(self)
            self._decided.set()

    async def _main(self) -> None:
        self._token = trio.lowlevel.current_trio_token()
        await self.stay.run()

    def _opened(self) -> None:
        self._decided.set()


_running: set[Background] = set()


def _end_all() -> None:
    for background in tuple(_running):
        background.leave(EXIT_BOUND_S)


atexit.register(_end_all)

"""Batches on their way from Trio's thread to a consumer's: one at a time, when it is asked for.

So the feed's own outbox stays the bound. Whatever the consumer's thread is interrupted in, a batch
that was taken out for it is there when it asks again.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

from ..client.consumer import SECOND_CONSUMER
from ..errors import FeedClosed, K2Error, UsageError

if TYPE_CHECKING:
    from ..client.feed import Feed
    from ..continuity.items import Item
    from .background import Background


class Handover:
    """What a thread asks the feed of another one for."""

    def __init__(self, feed: Feed[Any], background: Background) -> None:
        self._feed = feed
        self._background = background
        self._one = threading.Lock()
        self._asked = False
        self._answered = threading.Event()
        self._answer: list[Item[Any]] | K2Error | None = None
        """Written by Trio's thread before it says so, and read by the consumer's after."""

    def ask(self, timeout: float | None = None) -> list[Item[Any]]:
        """The next batch; what came before is acknowledged.

        :param timeout: seconds to wait for one; None: for ever.
        :raises TimeoutError: if there was none.
        :raises UsageError: if another thread waits for it.
        """
        if not self._one.acquire(blocking=False):
            raise UsageError(SECOND_CONSUMER)
        try:
            batch = self._kept()
            if batch is None:
                self._answered.clear()
                self._asked = True
                self._background.post(self._give)
                if not self._answered.wait(timeout):
                    self._take_back()
                batch = self._taken()
        except FeedClosed as closed:
            self._asked = False
            raise self._background.failure(closed) from None
        finally:
            self._one.release()
        if batch is None:
            raise TimeoutError(f"no message within {timeout:g} s")
        return batch

    def rest(self) -> list[Item[Any]]:
        """What was taken out of the feed, when the asking for it was interrupted."""
        try:
            return self._kept() or []
        except K2Error:
            return []  # it is raised again by whoever asks

    def _kept(self) -> list[Item[Any]] | None:
        if not self._asked:
            return None
        self._take_back()
        return self._taken()

    def _taken(self) -> list[Item[Any]] | None:
        self._asked = False
        answer, self._answer = self._answer, None
        if isinstance(answer, K2Error):
            raise answer
        return answer

    def _take_back(self) -> None:
        """Ask no more; the answer may have come meanwhile, and counts then."""
        self._background.call(self._give_no_more)
        self._answered.wait()

    # -- in Trio's thread ---------------------------------------------------------------------

    def _give(self) -> None:
        self._feed.notify(None)
        try:
            batch = self._feed.take()
        except K2Error as error:
            self._say(error)
        else:
            if batch is None:
                self._feed.notify(self._give)
            else:
                self._say(batch)

    def _give_no_more(self) -> None:
        self._feed.notify(None)
        if not self._answered.is_set():
            self._say(None)

    def _say(self, answer: list[Item[Any]] | K2Error | None) -> None:
        self._answer = answer
        self._answered.set()

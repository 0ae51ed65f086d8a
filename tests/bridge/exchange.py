"""A simulated exchange in a process of its own, for feeds in the process of the tests."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import trio
from processes import PATIENCE_S, environment

from k2trio.market.payloads import Event, Trade
from k2trio.observe.transitions import Connected
from k2trio.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Iterable

    from processes import Simulator

    from k2trio.continuity.items import Item

STREAM, OTHER = "btcusdt@trade", "ethusdt@trade"
RATE = 200
END_BOUND_S = 4.0
"""How long a feed may take to end on a busy machine; by itself it takes milliseconds."""
NOWHERE = Settings(
    websocket_url="ws://127.0.0.1:9/stream",
    failover_urls=[],
    streams=[STREAM],
    reconnect_delay=0.01,
    max_reconnect_attempts=1,
)
"""A feed of these gives up."""


@dataclass
class Exchange:
    """A running simulator, and what one wants to know of it."""

    simulator: Simulator

    def settings(self, **values: Any) -> Settings:
        urls = self.simulator.urls
        given: dict[str, Any] = {
            "websocket_url": urls["a"],
            "failover_urls": [urls["b"]],
            "rest_urls": [urls["rest"]],
            "streams": [STREAM],
            "reconnect_delay": 0.05,
            **values,
        }
        return Settings(**given)

    def environment(self) -> dict[str, str]:
        """What a program needs to find it, and to be alone with it."""
        return environment(**self.simulator.variables("a", "b"), SHARED_BUDGET="off")

    def assert_all_closed(self, before: dict[str, int]) -> None:
        """Every connection is closed by now, and was closed in order.

        :param before: :meth:`endings` of an earlier time.
        """
        deadline = time.monotonic() + PATIENCE_S
        while (truth := self.simulator.truth())["openConnections"]:
            assert time.monotonic() < deadline, "a connection is still open"
            time.sleep(0.02)
        assert {cause for cause, n in truth["endings"].items() if n > before.get(cause, 0)} == {
            "client close"
        }

    def endings(self) -> dict[str, int]:
        """How connections have ended so far: cause → number."""
        return dict(self.simulator.truth()["endings"])


class BrokenObserver:
    """What goes wrong in Trio's world: an observer with a mistake in it."""

    def __init__(self, kind: type[object] = Connected) -> None:
        self.error = ZeroDivisionError("a mistake")
        self._kind = kind

    def __call__(self, transition: object) -> None:
        if isinstance(transition, self._kind):
            raise self.error


def ids(items: Iterable[Item]) -> list[int]:
    """The ids of trades."""
    return [item.data.trade_id for item in items
            if isinstance(item, Event) and isinstance(item.data, Trade)]  # fmt: skip


def assert_whole(items: list[Item], at_least: int = 1) -> None:
    """Trades of one stream, each one once and in order, and nothing else."""
    found = ids(items)
    assert found == list(range(found[0], found[0] + len(items)))
    assert len(found) >= at_least


def assert_trio_is_gone() -> None:
    """Nothing of it runs in this thread any more."""
    assert not trio.lowlevel.in_trio_run()

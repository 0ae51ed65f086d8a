"""The watchdog: how long a connection may be silent, and the ping that asks whether it lives."""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from ..wire.connection import Connection


ASK_SHARE = 0.75
"""The question whether a silence is real is asked within this last share of its limit."""


async def until_silent(
    limit_s: float,
    last: Callable[[], float],
    blocked: Callable[[], bool],
    excused: Callable[[], Awaitable[bool]] | None = None,
    ask_before_s: float = 0.0,
) -> None:
    """Return exactly ``limit_s`` seconds after the last sign of life.

    The deadline is not moved at every message, which would cost the hot path; when it comes it
    is compared with the last sign of life and set anew from there. That is as exact.

    :param last: when the last sign of life came.
    :param blocked: whether reading waits for the consumer; then silence proves nothing.
    :param excused: asked before the time is over; whether the silence is as it should be, which is
        then a sign of life. No answer by the deadline is none.
    :param ask_before_s: how long before.
    """
    lead_s = min(ask_before_s, ASK_SHARE * limit_s)
    while True:
        alive_at = trio.current_time() if blocked() else last()
        # Compared as a point in time: a difference may round to a wait that never ends.
        deadline = alive_at + limit_s
        if trio.current_time() < deadline - lead_s:
            await trio.sleep_until(deadline - lead_s)
            continue
        if excused is not None:
            with trio.move_on_at(deadline):
                if await excused():
                    continue
                await trio.sleep_until(deadline)
        if not blocked() and last() <= alive_at:
            return


async def ping_when_quiet(
    connection: Connection, interval_s: float, measured: Callable[[float], None]
) -> None:
    """Ping after each interval without a message; the answer is a sign of life.

    :param measured: told each round trip (s).
    """
    quiet_since = connection.opened_at
    while True:
        quiet_since = max(quiet_since, connection.tap.last_text_at)
        await trio.sleep_until(quiet_since + interval_s)
        if connection.tap.last_text_at > quiet_since:
            continue
        quiet_since = trio.current_time()
        round_trip = await connection.ping(interval_s)
        if round_trip is not None:
            measured(round_trip)

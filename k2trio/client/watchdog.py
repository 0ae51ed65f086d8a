"""The watchdog: how long a connection may be silent, and the ping that asks whether it lives."""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from ..wire.connection import Connection


MEASURE_EVERY_S = 60.0
"""How often the round trip is measured of a connection on which messages flow (s)."""
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


async def ping_now_and_then(
    connection: Connection, interval_s: float, measured: Callable[[float], None]
) -> None:
    """Ping after each interval without a message; the answer is a sign of life.

    While messages flow, ping once a minute at most all the same, for the round trip.

    :param measured: told each round trip (s).
    """
    quiet_since = pinged_at = connection.opened_at
    while True:
        quiet_since = max(quiet_since, connection.tap.last_text_at)
        measure_at = pinged_at + max(interval_s, MEASURE_EVERY_S)
        await trio.sleep_until(min(quiet_since + interval_s, measure_at))
        quiet = connection.tap.last_text_at <= quiet_since
        if not quiet and trio.current_time() < measure_at:
            continue
        quiet_since = pinged_at = trio.current_time()
        stalls, held_up = connection.tap.stalls, connection.tap.blocked
        round_trip = await connection.ping(interval_s)
        # Where reading waited for the consumer, so did the answer, which then measures nothing.
        if round_trip is not None and not held_up and stalls == connection.tap.stalls:
            measured(round_trip)

"""Every invariant: what has to hold of any run, whatever its seed.

Each is a function that takes a run that has ended, and its first line is the invariant's number
and sentence.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .books import books_are_whole, live_books_are_right
from .bounds import buffers_are_bounded, closing_is_bounded
from .calm import (
    a_run_converges,
    a_sound_exchange_is_never_left,
    the_supervisor_stays,
)
from .dataset import a_recording_is_proven
from .dialling import (
    breakers_keep_their_states,
    client_messages_are_few,
    dials_are_paced,
    nobody_is_refused,
    retries_wait,
)
from .hands import a_covered_takeover_is_seamless, a_log_converges, no_update_twice
from .lateness import output_is_in_time
from .metrics import connected_is_true, metrics_are_true
from .order import every_id_once, venues_are_kept_apart
from .repair import what_can_be_repaired_is
from .sent import what_was_sent_is_delivered_or_named
from .silence import silence_is_not_kept, silence_is_not_stable

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..run import Run

INVARIANTS: tuple[Callable[[Run], None], ...] = (
    every_id_once,
    venues_are_kept_apart,
    dials_are_paced,
    nobody_is_refused,
    breakers_keep_their_states,
    client_messages_are_few,
    buffers_are_bounded,
    closing_is_bounded,
    metrics_are_true,
    connected_is_true,
    a_sound_exchange_is_never_left,
    retries_wait,
    a_run_converges,
    the_supervisor_stays,
    what_can_be_repaired_is,
    what_was_sent_is_delivered_or_named,
    output_is_in_time,
    silence_is_not_stable,
    silence_is_not_kept,
    books_are_whole,
    live_books_are_right,
    a_recording_is_proven,
)

OF_LOGS: tuple[Callable[[Run], None], ...] = (
    every_id_once,
    venues_are_kept_apart,
    dials_are_paced,
    nobody_is_refused,
    client_messages_are_few,
    what_can_be_repaired_is,
    what_was_sent_is_delivered_or_named,
    books_are_whole,
    live_books_are_right,
    a_recording_is_proven,
    no_update_twice,
    a_covered_takeover_is_seamless,
    a_log_converges,
)
"""Those that are held to a log which several members wrote in turn: of what each of them shows and
does, other runs tell."""


def check(run: Run) -> None:
    """Hold every invariant to a run that has ended.

    :raises Violation: for the first one that does not hold.
    """
    for invariant in INVARIANTS if run.group is None else OF_LOGS:
        invariant(run)

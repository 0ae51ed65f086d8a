"""When a gap's time is over; pure."""

from __future__ import annotations

from k2trio.repair.hold import PATIENCE_S, Hold


def at(hold: Hold, opened_at: float, *, excused: bool = True) -> float:
    return hold.deadline(opened_at, excused=excused)


def test_a_gap_has_its_time_from_its_opening_or_from_the_last_progress() -> None:
    hold = Hold(10)
    assert (at(hold, 0), at(hold, 3)) == (10, 13)
    hold.progress(5)
    assert (at(hold, 3), at(hold, 7)) == (15, 17)


def test_the_clock_stands_still_while_the_stream_waits_for_its_turn() -> None:
    hold = Hold(10)
    hold.wait(4)
    assert at(hold, 0) == 10 + PATIENCE_S
    assert at(hold, 0, excused=False) == 10
    hold.resume(9, excused=True)
    assert at(hold, 0) == 15
    assert at(hold, 6) == 19  # it opened in the middle of the wait
    assert at(hold, 9.5) == 19.5


def test_a_wait_that_is_not_excused_counts() -> None:
    hold = Hold(10)
    hold.wait(4)
    hold.resume(9, excused=False)
    assert at(hold, 0) == 10


def test_all_waits_of_a_gap_together_are_bounded() -> None:
    hold = Hold(10)
    for begin in (0, 30, 60):
        hold.wait(begin)
        hold.resume(begin + 25, excused=True)
    assert at(hold, 0) == 10 + PATIENCE_S
    hold.wait(90)
    assert at(hold, 0) == 10 + PATIENCE_S


def test_progress_in_a_wait_begins_the_wait_anew() -> None:
    hold = Hold(10)
    hold.wait(0)
    hold.progress(20)
    hold.resume(25, excused=True)
    assert at(hold, 0) == 35

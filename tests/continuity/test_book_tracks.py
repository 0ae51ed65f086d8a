"""Books: when a snapshot is wanted, and how it gets between two updates; pure."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import pytest

from k2trio.continuity.arbiter import Arbiter
from k2trio.continuity.books import BookTrack
from k2trio.continuity.items import Gap, Item, Outage
from k2trio.market.payloads import Depth, DepthSnapshot, Event

if TYPE_CHECKING:
    from collections.abc import Sequence

DEPTH = "btcusdt@depth"


class Book:
    """One depth stream; ``told`` is what was delivered, ids of updates as (first, last)."""

    def __init__(self, max_held: int = 100, *, snapshots: bool = False) -> None:
        self.arbiter = Arbiter(max_held, snapshots=snapshots)
        track = self.arbiter.track("v", DEPTH)
        assert isinstance(track, BookTrack)
        self.track = track
        self.out: list[Item] = []

    def offer(self, *ids: tuple[int, int]) -> None:
        for first, last in ids:
            data = Depth(last, "BTCUSDT", first, last, [], [])
            event = Event(data, DEPTH, "v", float(last), b"")
            self.out += self.arbiter.offer("v", [event], float(last)).items

    def snapshot(self, last: int) -> bool:
        event = Event(DepthSnapshot(last, [], []), DEPTH, "v", 0.0, b"", "snapshot")
        return self.track.snapshot(event, self.out)

    @property
    def told(self) -> list[object]:
        return [
            (item.first, item.last, item.reason)
            if isinstance(item, Gap)
            else f"snapshot {item.data.last_update_id}"  # type: ignore[union-attr]
            if item.origin == "snapshot"  # type: ignore[union-attr]
            else (item.data.first_update_id, item.data.last_update_id)  # type: ignore[union-attr]
            for item in self.out
        ]


def broken() -> Book:
    """A book of which 3 … 9 were declared without a snapshot."""
    book = Book()
    book.offer((1, 2), (10, 12))
    assert not book.track.wants_snapshot
    book.track.abandon("not_repaired", book.out)
    assert book.track.wants_snapshot
    book.out.clear()
    return book


def test_a_snapshot_that_is_wanted_goes_between_two_updates() -> None:
    book = broken()
    book.offer((13, 15))
    assert not book.snapshot(14)  # the update 13 … 15 was delivered already
    assert book.snapshot(15)
    book.offer((16, 18))
    assert book.told == [(13, 15), "snapshot 15", (16, 18)]
    assert not book.track.wants_snapshot
    assert not book.snapshot(18)


def test_a_snapshot_that_is_ahead_stands_for_the_updates_that_it_contains() -> None:
    book = broken()
    assert book.snapshot(16)
    book.offer((13, 15), (16, 18), (19, 20))
    assert book.told == [(13, 16, "snapshot"), "snapshot 16", (16, 18), (19, 20)]


def test_a_paused_stream_is_held_until_a_snapshot_joins() -> None:
    book = broken()
    book.track.pause()
    book.offer((13, 15), (16, 18), (19, 20))
    assert (book.told, book.track.gap, book.track.newest) == ([], None, 20)
    assert book.snapshot(16)
    assert book.told == [(13, 15), "snapshot 16", (16, 18), (19, 20)]
    book.offer((21, 22))
    assert book.told[-1] == (21, 22)


def test_a_paused_stream_goes_on_as_if_nothing_had_been_when_told_to() -> None:
    book = broken()
    book.track.pause()
    book.offer((13, 15), (16, 18))
    book.track.abandon("not_repaired", book.out)
    book.offer((19, 20))
    assert book.told == [(13, 15), (16, 18), (19, 20)]
    assert book.track.wants_snapshot


def test_a_book_begins_with_the_updates_that_its_first_snapshot_contains() -> None:
    book = Book(snapshots=True)
    book.offer((1, 2), (3, 5), (6, 9))
    assert (book.told, book.track.asks) == ([], True)
    assert book.snapshot(7)
    book.offer((10, 11))
    assert book.told == [(1, 2), (3, 5), "snapshot 7", (6, 9), (10, 11)]
    assert not book.track.wanting
    coverage = book.track.coverage()
    assert (coverage.first, coverage.last, coverage.live) == (1, 11, 11)


def test_an_update_of_which_another_server_has_told_all_is_a_copy_before_a_snapshot_too() -> None:
    book = Book(snapshots=True)
    book.offer((1, 2), (4, 5), (3, 6))
    assert book.snapshot(6)
    assert book.told == [(1, 2), (3, 6), "snapshot 6"]
    assert book.track.coverage().duplicates == 1


def test_a_book_that_no_snapshot_began_has_begun_with_its_first_update() -> None:
    book = Book(snapshots=True)
    book.offer((1, 2), (3, 5))
    book.track.abandon("not_repaired", book.out)
    assert book.told == [(1, 2), (3, 5)]
    assert book.track.coverage().first == 1


def test_a_snapshot_that_is_ahead_of_a_paused_stream_waits_for_it() -> None:
    book = Book(snapshots=True)
    book.offer((1, 2), (3, 5))
    assert book.snapshot(8)
    assert (book.told, book.track.asks, book.track.wanting) == ([(1, 2), (3, 5)], False, True)
    book.offer((6, 7))
    assert book.told[2:] == [(6, 7)]
    book.offer((8, 8), (9, 9))
    assert book.told[3:] == [(8, 8), "snapshot 8", (9, 9)]
    assert not book.track.wanting


def test_a_book_begins_with_a_snapshot_that_is_older_than_its_first_update_by_nothing() -> None:
    book = Book(snapshots=True)
    book.offer((5, 6))
    assert not book.snapshot(3)
    assert book.snapshot(4)
    assert book.told == ["snapshot 4", (5, 6)]


def test_updates_lost_while_a_snapshot_waits_for_them_are_asked_for_as_ever() -> None:
    book = Book(snapshots=True)
    book.offer((1, 2))
    book.snapshot(8)
    book.offer((5, 6))
    assert (book.track.gap, book.track.asks) == ((3, 4), True)
    assert book.snapshot(9)
    book.offer((7, 9), (10, 11))
    assert book.told == [(1, 2), (3, 9, "snapshot"), "snapshot 9", (10, 11)]


def test_a_gap_in_a_paused_stream_is_a_gap() -> None:
    book = broken()
    book.track.pause()
    book.offer((16, 18), (20, 20))
    assert book.track.gap == (13, 15)
    assert not book.snapshot(14)
    assert book.snapshot(15)
    assert book.told == [(13, 15, "snapshot"), "snapshot 15", (16, 18)]
    assert book.track.gap == (19, 19)


def test_a_paused_stream_holds_no_more_than_a_gapped_one() -> None:
    book = Book(max_held=3)
    book.offer((1, 1))
    book.track.pause()
    book.offer((2, 2), (3, 3), (4, 4))
    assert book.told == [(1, 1)]
    book.offer((5, 5))
    assert book.told == [(n, n) for n in range(1, 6)]


def test_an_update_that_is_lost_on_its_way_makes_a_snapshot_wanted() -> None:
    book = Book()
    book.offer((1, 2))
    (event,) = book.out
    assert isinstance(event, Event)
    book.track.lose(event)
    assert book.track.wants_snapshot


@pytest.mark.parametrize("snapshots", [False, True])
@pytest.mark.parametrize("seed", range(30))
def test_whatever_happens_each_update_continues_what_was_told_before_it(
    seed: int, snapshots: bool
) -> None:
    rng = random.Random(seed)
    book, first = Book(max_held=8, snapshots=snapshots), 1
    for _ in range(400):
        last = first + rng.randrange(3)
        match rng.randrange(12):
            case 0:
                pass  # it is lost
            case 1:
                book.offer((first, last), (first, last))
            case 2:
                book.track.pause()
                book.offer((first, last))
            case 3:
                book.offer((first, last))
                book.snapshot(rng.randrange(max(1, first - 5), last + 5))
            case 4:
                book.track.abandon("not_repaired", book.out)
                book.offer((first, last))
            case _:
                book.offer((first, last))
        first = last + 1
    while book.track.held:
        book.track.abandon("not_repaired", book.out)
    due: int | None = None
    for told in book.told:
        match told:
            case (int(begin), int(end), str(_)):
                assert begin == due
                due = end + 1
            case (int(begin), int(end)):
                assert due is None or begin <= due <= end
                due = end + 1
            case _:
                assert isinstance(told, str)
                assert due is not None or snapshots
                contained = int(told.split()[1])
                assert due is None or contained >= due - 1
                due = contained + 1
    coverage = book.track.coverage()
    assert due == book.track.next == (coverage.last or 0) + 1
    assert coverage.live + coverage.missing == due - (coverage.first or 0)


# -- quiet streams ---------------------------------------------------------------------------------


def quiet(book: Book, at: float) -> Book:
    assert book.track.fall_quiet(at, 2.0)
    assert not book.track.fall_quiet(at + 1, 2.0)
    return book


def test_a_quiet_book_begins_with_a_snapshot_and_its_first_update_joins() -> None:
    book = quiet(Book(snapshots=True), 3.0)
    assert book.snapshot(7)
    assert not book.track.wanting
    assert not book.track.fall_quiet(4.0, 2.0)
    book.offer((2, 4))  # it was on its way, and is in the snapshot
    book.offer((6, 9), (10, 11))
    assert book.told == ["snapshot 7", (6, 9), (10, 11)]
    coverage = book.track.coverage()
    assert (coverage.first, coverage.last, coverage.live) == (8, 11, 4)


def test_a_first_update_that_does_not_join_reveals_a_gap() -> None:
    book = quiet(Book(snapshots=True), 3.0)
    assert book.snapshot(7)
    book.offer((9, 9))
    assert (book.told, book.track.gap) == (["snapshot 7"], (8, 8))
    book.track.abandon("not_repaired", book.out)
    book.offer((10, 10))
    assert book.told[1:] == [(8, 8, "not_repaired"), (9, 9), (10, 10)]
    coverage = book.track.coverage()
    assert (coverage.first, coverage.live, coverage.missing) == (8, 2, 1)


def test_a_book_of_which_an_update_came_first_is_not_quiet() -> None:
    book = quiet(Book(snapshots=True), 3.0)
    book.offer((5, 7))
    assert not book.track.quiet
    assert book.snapshot(6)
    assert book.told == ["snapshot 6", (5, 7)]


@pytest.mark.parametrize("missed", [0, 3])
def test_a_snapshot_tells_what_a_quiet_book_has_missed_while_it_was_away(missed: int) -> None:
    book = Book(snapshots=True)
    book.offer((1, 4))
    assert book.snapshot(4)
    assert not book.track.fall_quiet(100.0, 2.0)  # nothing is in doubt
    book.track.interrupt()
    assert not book.track.wanting
    quiet(book, 100.0)
    assert book.track.wanting
    assert not book.snapshot(3)  # REST lags
    assert book.snapshot(4 + missed)
    gap: list[object] = [(5, 7, "snapshot")] if missed else []
    assert book.told == [(1, 4), "snapshot 4", *gap, f"snapshot {4 + missed}"]
    assert not book.track.wanting
    assert not book.track.unheard
    book.offer((5 + missed, 9))
    assert book.told[-1] == (5 + missed, 9)


def test_an_update_that_joins_spares_a_quiet_book_its_snapshot() -> None:
    book = Book(snapshots=True)
    book.offer((1, 4))
    assert book.snapshot(4)
    book.track.interrupt()
    quiet(book, 100.0)
    book.offer((5, 6))
    assert not book.track.wanting
    assert not book.snapshot(6)


def test_a_book_that_lost_updates_and_fell_quiet_has_a_snapshot_at_once() -> None:
    book = Book(snapshots=True)
    book.offer((1, 4))
    assert book.snapshot(4)
    book.offer((7, 8))
    book.track.abandon("not_repaired", book.out)
    quiet(book, 100.0)
    assert book.snapshot(8)
    assert book.told[2:] == [(5, 6, "not_repaired"), (7, 8), "snapshot 8"]


def test_a_book_that_a_snapshot_began_is_found_to_be_quiet_anew() -> None:
    """It was wrong: another snapshot is wanted, and may be put in when it is quiet still."""
    book = quiet(Book(snapshots=True), 3.0)
    assert book.snapshot(7)
    assert book.track.begin_again()
    assert not book.track.quiet
    quiet(book, 6.0)
    assert book.snapshot(8)
    assert book.told == ["snapshot 7", (8, 8, "snapshot"), "snapshot 8"]


def test_a_stream_that_is_away_is_not_quiet() -> None:
    book = quiet(Book(snapshots=True), 3.0)
    book.track.interrupt()
    assert not book.track.quiet
    assert not book.snapshot(7)


NOW_MS = 1_800_000_000_000


def update(first: int, last: int, second: float) -> Event[Depth]:
    """An update that the exchange made then, and that came at once."""
    at_ms = NOW_MS + round(second * 1000)
    return Event(Depth(at_ms, "BTCUSDT", first, last, [], []), DEPTH, "v", at_ms / 1000, b"")


def begun_by_a_snapshot(second: float) -> Book:
    """A quiet book that a snapshot of the ids until 1,000 began."""
    book = quiet(Book(snapshots=True), second)
    data = DepthSnapshot(1000, [], [])
    assert book.track.snapshot(
        Event(data, DEPTH, "v", NOW_MS / 1000 + second, b"", "snapshot"), book.out
    )
    return book


@pytest.mark.parametrize("went_on", [True, False])
def test_a_quiet_book_whose_ids_begin_anew_below_its_first_snapshot_goes_on(went_on: bool) -> None:
    book = begun_by_a_snapshot(3.0)
    if went_on:
        book.track.offer(update(1001, 1001, 60.0), 60.0, book.out)
    book.out.clear()
    for number in range(10):
        second = 500.0 * (number + 1)
        book.track.offer(update(number + 1, number + 1, second), second, book.out)
    gap, *rest = book.out
    assert isinstance(gap, Gap)
    assert gap.reason == "reset"
    first = 1
    if not went_on:
        # The first might have been on its way when the snapshot was made: a time has to name it.
        outage, *rest = rest
        assert isinstance(outage, Outage)
        assert (outage.since, outage.until) == (NOW_MS / 1000 + 3.0, NOW_MS / 1000 + 1000.0)
        first = 2
    assert [item.data.first_update_id for item in rest] == list(range(first, 11))  # type: ignore[union-attr]


@pytest.mark.parametrize("ids", [[0] * 40, range(900, 940)], ids=["the very first", "others"])
def test_updates_that_a_snapshot_contains_come_as_late_as_they_like(ids: Sequence[int]) -> None:
    """The last of them was made just before the snapshot was."""
    book = begun_by_a_snapshot(60.0)
    for second, number in enumerate(ids):
        late = update(number, number, 20.5 + second)
        book.track.offer(late, 60.0 + second, book.out)
    assert book.told == ["snapshot 1000"]
    assert book.track.doubts is None
    book.track.offer(update(1001, 1003, 61.0), 101.0, book.out)
    assert book.told == ["snapshot 1000", (1001, 1003)]


def missed_seven() -> Book:
    """A book that lay quiet behind its first snapshot; the next one says that seven ids came."""
    book = begun_by_a_snapshot(3.0)
    book.track.interrupt()
    quiet(book, 100.0)
    later = Event(DepthSnapshot(1007, [], []), DEPTH, "v", NOW_MS / 1000 + 100, b"", "snapshot")
    assert book.track.snapshot(later, book.out)
    return book


def test_a_gap_that_a_snapshot_stands_for_ends_when_that_came() -> None:
    gap = missed_seven().out[1]
    assert isinstance(gap, Gap)
    assert (gap.first, gap.last, gap.reason) == (1001, 1007, "snapshot")
    assert (gap.since, gap.until) == (NOW_MS / 1000 + 3, NOW_MS / 1000 + 100)


def test_the_first_update_that_a_later_snapshot_stands_for_comes_as_late_as_it_likes() -> None:
    book = missed_seven()
    told = book.told
    for number in range(40):
        book.track.offer(update(1001, 1001, 50.0 + number), 100.0 + number, book.out)
    assert (book.told, book.track.doubts) == (told, None)


def test_a_book_that_began_with_its_first_id_is_followed_when_ids_begin_anew() -> None:
    book = Book()
    for number, second in ((1, 0.0), (1, 60.0), (2, 61.0), (3, 62.0)):
        book.track.offer(update(number, number, second), second, book.out)
    assert book.told == [(1, 1), (2, 2, "reset"), (1, 1), (2, 2), (3, 3)]


def test_a_book_is_quiet_when_for_so_long_nothing_has_come() -> None:
    book = Book(snapshots=True)
    book.offer((1, 2))
    assert book.snapshot(2)
    assert not book.track.fall_quiet(100.0, 5.0), "no connection was lost, so nothing is missing"
    book.track.interrupt()
    assert not book.track.fall_quiet(6.9, 5.0)
    assert book.track.fall_quiet(7.0, 5.0)
    assert not book.track.fall_quiet(8.0, 5.0), "that is no news"


def test_a_book_that_waits_behind_a_gap_is_not_quiet() -> None:
    book = Book(snapshots=True)
    book.offer((1, 2))
    book.snapshot(2)
    book.track.interrupt()
    book.offer((5, 6))
    assert not book.track.fall_quiet(100.0, 5.0)


def test_one_lost_update_is_enough_to_want_a_snapshot() -> None:
    book = Book()
    book.offer((1, 2), (4, 5))
    book.track.abandon("not_repaired", book.out)
    assert book.told == [(1, 2), (3, 3, "not_repaired"), (4, 5)]
    assert book.track.wants_snapshot


def test_what_was_told_before_makes_no_snapshot_wanted() -> None:
    book = Book()
    book.offer((1, 2), (3, 5))
    book.track.declare(4, "not_repaired", book.out)
    assert not book.track.wants_snapshot
    assert book.told == [(1, 2), (3, 5)]


def test_a_book_whose_ids_began_anew_wants_a_snapshot() -> None:
    """What was kept of it is of the numbering before."""
    book = Book(snapshots=True)
    book.offer((100_000_001, 100_000_002))
    book.snapshot(100_000_002)
    assert not book.track.wants_snapshot
    for number in range(1, 5):
        data = Depth(200_000_000 + number, "BTCUSDT", number, number, [], [])
        event = Event(data, DEPTH, "v", 200_000.0 + number, b"")
        book.out += book.arbiter.offer("v", [event], 200_000.0 + number).items
    assert (100_000_003, 100_000_003, "reset") in book.told
    assert book.track.wants_snapshot


def test_a_book_can_be_begun_again_where_books_begin_with_a_snapshot() -> None:
    book = Book(snapshots=True)
    assert not book.track.begin_again(), "it has not begun yet"
    book.offer((1, 2))
    book.snapshot(2)
    assert book.track.begin_again()
    assert book.track.asks
    assert not book.track.begin_again()
    assert not Book().track.begin_again()


def test_an_update_that_is_lost_has_the_reason_that_is_told() -> None:
    book = Book()
    book.offer((1, 2), (3, 5))
    first, second = book.out
    assert book.track.lose(first) == Gap("v", DEPTH, 1, 2, "overflow", 2.0, 2.0)  # type: ignore[arg-type]
    lost = book.track.lose(second, "not_written")  # type: ignore[arg-type]
    assert lost == Gap("v", DEPTH, 3, 5, "not_written", 5.0, 5.0)


def test_a_gap_behind_the_snapshot_of_a_quiet_book_begins_with_that() -> None:
    book = Book(snapshots=True)
    assert book.track.fall_quiet(10.0, 5.0)
    event = Event(DepthSnapshot(7, [], []), DEPTH, "v", 3.0, b"", "snapshot")
    assert book.track.snapshot(event, book.out)
    book.offer((10, 12))
    book.track.abandon("not_repaired", book.out)
    assert book.out[1] == Gap("v", DEPTH, 8, 9, "not_repaired", 3.0, 12.0)
    book.offer((10, 12))
    assert book.track.coverage().duplicates == 1

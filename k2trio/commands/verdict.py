"""What ``verify`` found, as tables for people."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Literal

from rich.table import Table

from .run import complain
from .terminal import put_line, put_rich

if TYPE_CHECKING:
    from ..dataset.proof.report import Report, StreamReport

MAX_SHOWN = 20
"""Holes, minutes and jumps that are shown of each table; --json has more of them."""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_YEAR_9999_US = 253_402_300_799_999_999


def show(report: Report) -> None:
    """Print the report, and each problem with a file on standard error."""
    put_rich(_streams(report))
    for title, table in (
        ("missing", _holes(report)),
        ("doubles", _doubles(report)),
        ("outages", _outages(report)),
        ("clocks that were set", _jumps(report)),
        ("trades against bars of one minute", _comparisons(report)),
        ("minutes that differ", _minutes(report)),
    ):
        if table.row_count:
            put_line(f"\n{title}:")
            put_rich(table)
    for name, size in report.torn.items():
        put_line(f"\n{name} ends in {size} bytes of half a line, as a crash leaves it")
    complain([*report.unreadable, *report.changed, *report.scattered])
    put_line(f"\n{_verdict(report)}")


def _streams(report: Report) -> Table:
    """A row for each stream; columns that are empty in all of them are left out."""
    rows = [_stream(row) for row in report.streams]
    table = _table()
    named = {name for row in rows for name, cell in row.items() if cell}
    if len({row["venue"] for row in rows}) == 1:
        table.title, table.title_justify = rows[0]["venue"], "left"
        named.remove("venue")
    shown = [name for name in _COLUMNS if name in named]
    for name in shown:
        table.add_column(name, justify=_COLUMNS[name], no_wrap=name in _WHOLE)
    for row in rows:
        table.add_row(*(row[name] for name in shown))
    return table


_COLUMNS: dict[str, Literal["left", "right"]] = {
    "stream": "left",
    "venue": "left",
    "messages": "right",
    "first": "right",
    "last": "right",
    "from": "left",
    "to": "left",
    "missing, declared": "right",
    "missing, not declared": "right",
    "doubles": "right",
    "disorder": "right",
    "numbered anew": "right",
    "outages": "right",
    "complete": "left",
}


_WHOLE = frozenset({"stream", "messages", "first", "last", "complete"})
"""Columns that are not wrapped on narrow terminals."""


def _stream(row: StreamReport) -> dict[str, str]:
    declared = sum(one.ids for one in row.missing if one.reason is not None)
    silent = sum(one.ids for one in row.missing if one.reason is None)
    return {
        "stream": row.stream,
        "venue": f"{row.venue} (archive)" if row.archive else row.venue,
        "messages": str(row.messages),
        "first": "" if row.keyed_by_time or row.first is None else str(row.first),
        "last": "" if row.keyed_by_time or row.last is None else str(row.last),
        "from": time(row.began).partition(".")[0],
        "to": time(row.ended).partition(".")[0],
        "missing, declared": str(declared or ""),
        "missing, not declared": str(silent or ""),
        "doubles": str(row.doubles or ""),
        "disorder": str(row.disorder or ""),
        "numbered anew": str(row.renumbered or ""),
        "outages": str(row.outages or ""),
        "complete": "yes" if row.complete else "no",
    }


def _holes(report: Report) -> Table:
    table = _table("stream", "first", "last", "ids", "why", "after", "before")
    for row in report.streams:
        count = sum(one.holes for one in row.missing)
        for hole in row.holes[:MAX_SHOWN]:
            table.add_row(
                row.stream,
                _key(row, hole.first),
                _key(row, hole.last),
                str(hole.ids),
                hole.reason or "not declared",
                time(hole.before),
                time(hole.after),
            )
        _more(table, row.stream, count)
    return table


def _doubles(report: Report) -> Table:
    table = _table("stream", "first", "last")
    for row in report.streams:
        for first, last in row.double_ranges[:MAX_SHOWN]:
            table.add_row(row.stream, _key(row, first), _key(row, last))
        _more(table, row.stream, len(row.double_ranges))
    return table


def _outages(report: Report) -> Table:
    table = _table("stream", "since", "until")
    for row in report.streams:
        for since, until in row.outage_ranges[:MAX_SHOWN]:
            table.add_row(row.stream, time(since), time(until))
        _more(table, row.stream, row.outages)
    return table


def _jumps(report: Report) -> Table:
    table = _table("stream", "clock", "at", "by (s)")
    for row in report.streams:
        for jump in row.jumps[:MAX_SHOWN]:
            table.add_row(row.stream, jump.clock, time(jump.at), f"{jump.seconds:+.3f}")
        _more(table, row.stream, row.clock_jumps)
    return table


def _comparisons(report: Report) -> Table:
    table = _table("trades", "bars", "minutes compared", "different")
    for one in report.comparisons:
        table.add_row(one.trades, one.bars, str(one.minutes), str(one.different or ""))
    return table


def _minutes(report: Report) -> Table:
    table = _table("trades", "minute", "trades there", "in the bar", "volume there", "in the bar")
    for one in report.comparisons:
        for row in one.rows[:MAX_SHOWN]:
            table.add_row(
                one.trades,
                time(row.minute),
                *(str(count) for count in (row.trades, row.bar_trades)),
                *(row.volume, row.bar_volume),
            )
        _more(table, one.trades, one.different)
    return table


def _table(*headers: str) -> Table:
    return Table(*headers, box=None, pad_edge=False)


def _more(table: Table, name: str, count: int) -> None:
    if count > MAX_SHOWN:
        table.add_row(name, f"and {count - MAX_SHOWN} more")


def _key(row: StreamReport, key: int | None) -> str:
    """An id, or a time where that is the key."""
    if key is None:
        return ""
    return time(key) if row.keyed_by_time else str(key)


def time(at: int | None) -> str:
    """A time in microseconds, as people read it."""
    if at is None or not 0 <= at <= _YEAR_9999_US:
        return "" if at is None else str(at)
    moment = _EPOCH + timedelta(microseconds=at)
    return f"{moment:%Y-%m-%d %H:%M:%S}" + (f".{at % 1_000_000:06}".rstrip("0").rstrip("."))


def _verdict(report: Report) -> str:
    counts = [f"{report.files} files"] if report.files or not report.partitions else []
    counts += [f"{report.partitions} partitions"] if report.partitions else []
    size = f"{', '.join(counts)}, {report.bytes:,} bytes"
    if report.unreadable:
        return f"not all could be read: {size}"
    if report.complete:
        return f"complete: {size}"
    wrong = sum(not stream.complete for stream in report.streams)
    different = sum(one.different for one in report.comparisons)
    parts = [f"{wrong} of {len(report.streams)} streams"] if wrong else []
    parts += [f"{different} minutes that differ"] if different else []
    parts += [f"{len(report.changed)} files that have changed"] if report.changed else []
    parts += [f"{len(report.scattered)} streams without order"] if report.scattered else []
    return f"not complete: {', '.join(parts)}; {size}"

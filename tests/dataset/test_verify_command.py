"""``k2trio verify``: what it prints, and its exit code."""

from __future__ import annotations

import json
import os
import signal
import sys
from typing import TYPE_CHECKING, Any

import pytest
import recording as rec
from processes import k2trio, started, stop

from k2trio.commands.options import parse
from k2trio.commands.verify import LAYOUT, VerifyOptions, verify
from k2trio.errors import ConfigError, SinkError

if TYPE_CHECKING:
    from pathlib import Path

    from k2trio.continuity.items import Item

pytestmark = pytest.mark.slow


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "set.jsonl"


def run(*arguments: object) -> int:
    return verify(parse(VerifyOptions, "verify", [*map(str, arguments)], LAYOUT))


def report_of(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, dict[str, Any]]:
    code = run("--json", *arguments)
    report = json.loads(capsys.readouterr().out)
    assert report["exit"] == code
    return code, report


WHOLE: list[Item] = [*rec.trades(1, 50)]
QUOTES: list[Item] = [rec.quote(1, 1), rec.quote(5, 2)]


@pytest.mark.parametrize(
    ("items", "code"),
    [
        (WHOLE, 0),
        (QUOTES, 0),
        ([*WHOLE, rec.trade(52)], 1),
        ([*WHOLE, rec.gap(51, 51), rec.trade(52)], 1),
        # The venue itself does not have it: nothing lacks that ever was.
        ([*WHOLE, rec.gap(51, 51, "venue_missing"), rec.trade(52)], 0),
        ([*WHOLE, rec.trade(50)], 1),
        # Named, and lost for good.
        ([*QUOTES, rec.outage(2, 4), rec.quote(9, 4)], 0),
        ([*WHOLE, rec.gap(51, 51, "shutdown"), rec.trade(52)], 1),
        ([*WHOLE, rec.gap(51, 51, "jump"), rec.trade(52)], 0),
        # Each bar has closed, so no update of theirs matters.
        ([rec.bar(1, 1, "1"), rec.outage(2, 4, rec.BARS), rec.bar(2, 1, "1")], 0),
        ([*WHOLE, rec.reset(51, 60), rec.trade(1, 60)], 0),
        ([*WHOLE[1:], WHOLE[0]], 1),  # all there, but in another order
        ([*rec.trades(1, 200), rec.bar(1, 60, "31")], 1),
        ([], 0),
    ],
)
def test_the_exit_code_says_whether_something_is_missing_or_wrong(
    path: Path, items: list[Item], code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    got, report = report_of(capsys, rec.write(path, items))
    assert got == code
    assert report["complete"] == (code == 0)


def test_scripts_can_tell_what_was_declared(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rec.write(path, [*rec.trades(1, 10), rec.gap(11, 12), *rec.trades(14, 20)])
    _, report = report_of(capsys, path)
    (stream,) = report["streams"]
    assert {row["reason"]: (row["holes"], row["ids"]) for row in stream["missing"]} == {
        "not_repaired": (1, 2),
        None: (1, 1),
    }
    after = (rec.START_S + 14) * 10**6
    assert stream["holes"][1] == {
        "first": 13, "last": 13, "ids": 1, "reason": None,
        "before": (rec.START_S + 10) * 10**6, "after": after,
    }  # fmt: skip


def test_of_bars_the_open_times_are_told(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rec.write(path, [rec.bar(1, 1, "1"), rec.bar(2, 1, "1"), rec.bar(6, 1, "1")])
    _, report = report_of(capsys, path)
    opens = [(rec.START_S + 60 * minute) * 10**6 for minute in range(7)]
    (stream,) = report["streams"]
    assert (stream["first"], stream["last"]) == (opens[1], opens[6])
    (hole,) = stream["holes"]
    assert (hole["first"], hole["last"], hole["ids"]) == (opens[3], opens[5], 3)


def test_what_cannot_be_read_is_exit_code_2_and_does_not_hide_the_rest(tmp_path: Path) -> None:
    rec.write(tmp_path / "a.jsonl", WHOLE)
    (tmp_path / "b.jsonl").write_text("{}\n")
    done = k2trio("verify", str(tmp_path))
    assert done.returncode == 2
    assert "btcusdt@trade" in done.stdout
    assert "b.jsonl" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_path_that_leads_nowhere_is_one_line(tmp_path: Path) -> None:
    done = k2trio("verify", str(tmp_path / "missing"))
    assert done.returncode == 2
    assert (done.stdout, len(done.stderr.splitlines())) == ("", 1)


def test_a_folder_without_recorded_files_proves_nothing(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no recorded files"):
        run(tmp_path)


def test_a_path_must_be_named() -> None:
    with pytest.raises(ConfigError, match="verify PATH"):
        run()


def test_people_get_tables(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    events = rec.trades(1, 400)
    items = [
        *events[:50],
        *events[60:],
        events[-1],
        rec.outage(1, 2),
        rec.quote(1, 1),
        rec.bar(3, 9, "1"),
    ]
    assert run(rec.write(path, items)) == 1
    out = capsys.readouterr().out
    assert "not declared" in out
    assert "2026-11-26 08:00:50" in out  # the trade before the hole
    assert "minutes that differ" in out
    assert "not complete: 1 of 3 streams, 1 minutes that differ" in out


def test_a_manifest_is_written_and_checked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    manifest = tmp_path / "manifest.json"
    root = rec.sealed(tmp_path / "set", rec.trades(1, 10), rec.trades(11, 20))
    assert report_of(capsys, root, "--manifest", manifest)[0] == 0
    written = json.loads(manifest.read_bytes())
    assert [row["messages"] for row in written["streams"]] == [20]
    assert all(len(row["sha256"]) == 64 for row in written["files"])
    # Anywhere: also where it has moved.
    moved = root.rename(tmp_path / "elsewhere")
    assert report_of(capsys, moved, "--manifest", manifest)[0] == 0
    rec.write(moved / "_journal" / "20261126T10-1.jsonl", [*rec.trades(21, 30)])
    code, report = report_of(capsys, moved, "--manifest", manifest)
    assert code == 1
    assert report["changed"] == [
        "_journal/20261126T10-1.jsonl is not in the manifest",
        "binance.com btcusdt@trade: 30 messages, 1 to 30, 0 missing, and the manifest says "
        "20 messages, 1 to 20, 0 missing",
    ]
    assert json.loads(manifest.read_bytes()) == written


def test_a_manifest_tells_files_that_are_others_or_gone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    manifest = tmp_path / "manifest.json"
    folder = tmp_path / "set"
    for name, first in (("a.jsonl", 1), ("b.jsonl", 11), ("c.jsonl", 21)):
        rec.write(folder / name, [*rec.trades(first, first + 9)])
    report_of(capsys, folder, "--manifest", manifest)
    (folder / "a.jsonl").unlink()
    data = (folder / "b.jsonl").read_bytes()
    (folder / "b.jsonl").write_bytes(data.replace(b"65000.1", b"65000.2"))
    with (folder / "c.jsonl").open("ab") as file:
        file.write(b"\n")
    _, report = report_of(capsys, folder, "--manifest", manifest)
    assert [line.partition(",")[0] for line in report["changed"][:3]] == [
        "a.jsonl is in the manifest",
        "b.jsonl has another SHA-256 than the manifest says",
        f"c.jsonl has {len((folder / 'c.jsonl').read_bytes())} bytes",
    ]


def test_a_manifest_that_cannot_be_written_is_told_before_anything_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("k2trio.commands.verify.survey", pytest.fail)
    with pytest.raises(ConfigError, match="its directory does not exist"):
        run(tmp_path, "--manifest", tmp_path / "nowhere" / "manifest.json")


def test_a_file_that_is_no_manifest_is_left_alone(path: Path, tmp_path: Path) -> None:
    other = tmp_path / "notes.json"
    other.write_text("{}")
    with pytest.raises(ConfigError, match="no manifest of ours"):
        run(rec.write(path, WHOLE), "--manifest", other)
    assert other.read_text() == "{}"


def test_two_files_of_one_name_have_no_manifest(tmp_path: Path) -> None:
    for folder in ("one", "two"):
        rec.write(tmp_path / folder / "set.jsonl", WHOLE)
    with pytest.raises(ConfigError, match="make one of each folder"):
        run(tmp_path / "one", tmp_path / "two", "--manifest", tmp_path / "manifest.json")


def test_closed_standard_output_is_told(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rec.write(path, WHOLE)
    monkeypatch.setattr(sys, "stdout", None)  # as with >&-
    for form in ("--json", "--no-json"):
        with pytest.raises(SinkError, match="standard output is closed"):
            run(path, form)


def test_ctrl_c_ends_it_with_the_exit_code_of_shells(tmp_path: Path) -> None:
    pipe = tmp_path / "set.jsonl"
    os.mkfifo(pipe)
    with started("verify", str(pipe)) as process, pipe.open("wb"):  # it is being read now
        ended = stop(process, signal.SIGINT)
    assert (ended.code, ended.out) == (130, b"")
    assert "KeyboardInterrupt" not in ended.err

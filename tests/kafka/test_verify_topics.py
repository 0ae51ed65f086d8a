"""``k2trio verify`` of Kafka topics: the same report as of files, and the same exit codes."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
import recording as rec
from logged import Log
from processes import k2trio as run_program
from recordings import session, with_remarks

from k2trio.commands.options import parse
from k2trio.commands.verify import LAYOUT, VerifyOptions, verify
from k2trio.errors import ConfigError
from k2trio.kafka import client, sources

if TYPE_CHECKING:
    from pathlib import Path

    from k2trio.continuity.items import Item

pytestmark = pytest.mark.slow


def run(*arguments: object) -> int:
    return verify(parse(VerifyOptions, "verify", [*map(str, arguments)], LAYOUT))


def report_of(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, dict[str, Any]]:
    code = run("--json", *arguments)
    report = json.loads(capsys.readouterr().out)
    assert report["exit"] == code
    return code, report


@pytest.mark.parametrize("form", ["", "?value=line"])
def test_topics_are_proven_as_a_file_of_the_same_is(
    kafka: str, form: str, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(sources, "CHUNK_RECORDS", 10)
    monkeypatch.setattr(client, "POLLED", 10)
    items = with_remarks(session())
    log = Log(kafka, form=form)
    log.write(items)
    code, of_topics = report_of(capsys, log.url)
    of_file = report_of(capsys, rec.write(tmp_path / "set.jsonl", items))[1]
    assert of_topics["streams"] == of_file["streams"]
    assert of_topics["comparisons"] == of_file["comparisons"]
    assert (code, of_topics["files"], of_topics["unreadable"]) == (1, 0, [])
    assert of_topics["partitions"] == 3 * len({log.topic_of(item) for item in items})
    assert of_topics["bytes"] > 10_000


WHOLE: list[Item] = [*rec.trades(1, 50)]


@pytest.mark.parametrize(
    ("items", "code"),
    [
        (WHOLE, 0),
        ([*WHOLE, rec.trade(52)], 1),
        ([*WHOLE, rec.gap(51, 51), rec.trade(52)], 1),
        ([*WHOLE, rec.gap(51, 51, "venue_missing"), rec.trade(52)], 0),
        ([*WHOLE, rec.trade(50)], 1),
        ([*WHOLE[1:], WHOLE[0]], 1),
        ([*WHOLE, rec.reset(51, 60), rec.trade(1, 60)], 0),
        ([*rec.trades(1, 200), rec.bar(1, 60, "31")], 1),
    ],
)
def test_the_exit_code_is_that_of_files(
    kafka: str, items: list[Item], code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    log = Log(kafka, "all", partitions=2)
    log.write(items)
    got, report = report_of(capsys, log.url)
    assert got == code
    assert report["complete"] == (code == 0)


def test_doubles_holes_and_disorder_are_told_of_each_stream(
    kafka: str, capsys: pytest.CaptureFixture[str]
) -> None:
    log = Log(kafka, partitions=2)
    trades = rec.trades(1, 100)
    quotes: list[Item] = [rec.quote(number, number) for number in range(1, 50)]
    log.write([*trades[:20], *trades[25:60]])
    log.begin(trades[60:])
    log.abort()  # and these are doubles of nothing
    log.write([*trades[55:90], *quotes])
    log.write([trades[95], rec.gap(92, 93), trades[90]])
    code, report = report_of(capsys, log.url)
    of_quotes, of_trades = report["streams"]
    assert code == 1
    assert (of_quotes["messages"], of_quotes["complete"]) == (49, True)
    assert of_trades["doubles"] == 5
    assert of_trades["double_ranges"] == [[56, 60]]
    assert [(row["first"], row["last"], row["reason"]) for row in of_trades["holes"]] == [
        (21, 25, None), (92, 93, "not_repaired"), (94, 95, None)
    ]  # fmt: skip
    assert of_trades["disorder"] == 1


def test_what_is_behind_an_open_transaction_does_not_count_yet(
    kafka: str, capsys: pytest.CaptureFixture[str]
) -> None:
    log = Log(kafka, "all", partitions=1)
    log.write(rec.trades(1, 10))
    log.begin(rec.trades(11, 20))
    assert report_of(capsys, log.url)[1]["streams"][0]["last"] == 10
    log.commit()
    assert report_of(capsys, log.url)[1]["streams"][0]["last"] == 20


def test_topics_and_files_are_proven_together(
    kafka: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log = Log(kafka)
    log.write(rec.trades(1, 10))
    path = rec.write(tmp_path / "set.jsonl", rec.trades(11, 20))
    code, report = report_of(capsys, log.url, path, log.url)  # named twice, read once
    assert (code, report["files"], report["partitions"]) == (0, 1, 3)
    assert [(row["first"], row["last"], row["doubles"]) for row in report["streams"]] == [
        (1, 20, 0)
    ]


def test_a_stream_in_two_partitions_has_no_order(
    kafka: str, capsys: pytest.CaptureFixture[str]
) -> None:
    log = Log(kafka, "all", partitions=2)
    log.write(rec.trades(1, 10), partition=0)
    log.write(rec.trades(11, 20), partition=1)
    assert run(log.url) == 1
    said = capsys.readouterr()
    assert f"binance.com btcusdt@trade stands in partitions 0, 1 of {log.stem}.all" in said.err
    assert "not complete: 1 streams without order; 2 partitions, " in said.out


def test_a_record_of_somebody_else_is_exit_code_2_and_does_not_hide_the_rest(kafka: str) -> None:
    log = Log(kafka, partitions=1)
    log.write([*rec.trades(1, 10), rec.quote(1, 1)])
    log.write_other(log.topic_of(rec.trade(1)), b"theirs", {}, 0)
    done = run_program("verify", log.url)
    assert done.returncode == 2
    assert "btcusdt@trade" in done.stdout
    assert "btcusdt@bookTicker" in done.stdout
    (line,) = done.stderr.splitlines()
    assert f"{log.stem}.trade.binance.com, partition 0, offset 11: no record of ours" in line


def test_a_broker_that_is_not_there_is_one_line_and_does_not_hide_files(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "ANSWER_TIMEOUT_S", 1.0)
    assert run("kafka://127.0.0.1:1/market", rec.write(tmp_path / "set.jsonl", WHOLE)) == 2
    said = capsys.readouterr()
    assert "btcusdt@trade" in said.out
    (line,) = said.err.splitlines()
    assert "no broker of 127.0.0.1:1 answers" in line


def test_what_cannot_be_meant_is_told(kafka: str, tmp_path: Path) -> None:
    nowhere = f"kafka://{kafka}/nobody-has-this"
    path = rec.write(tmp_path / "set.jsonl", WHOLE)
    for arguments, told in (
        ([nowhere], "has no topic nobody-has-this"),
        (["kafka://market"], "names no topic"),
        ([nowhere, "--manifest", tmp_path / "m.json"], "a manifest is of files"),
        ([nowhere, "--kafka-properties", tmp_path / "none"], "cannot be read"),
        ([path, "--kafka-properties", "x"], "--kafka-properties is for kafka:// URLs"),
    ):
        with pytest.raises(ConfigError, match=told):
            run(*arguments)


def test_topics_without_records_prove_nothing_and_lack_nothing(
    kafka: str, capsys: pytest.CaptureFixture[str]
) -> None:
    log = Log(kafka, "all")
    log.make(f"{log.stem}.all")
    code, report = report_of(capsys, log.url)
    assert (code, report["partitions"], report["streams"]) == (0, 3, [])

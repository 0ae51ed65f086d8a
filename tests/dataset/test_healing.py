"""Healing as users do it: real processes, a real disk, the simulated exchange's REST."""

from __future__ import annotations

import json
import os
import signal
import time
from typing import TYPE_CHECKING, Any

import pytest
from processes import LOGGED, PATIENCE_S, Simulator, k2trio, simulator, started, stop

import k2trio as library
from k2trio.dataset.healing import Healing

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable
    from pathlib import Path

pytestmark = pytest.mark.slow

TRADES, AGGREGATES, BARS = "btcusdt@trade", "btcusdt@aggTrade", "btcusdt@kline_1s"
DEPTH, TICKER = "btcusdt@depth@100ms", "btcusdt@bookTicker"
STREAMS = (TRADES, AGGREGATES, BARS, DEPTH, TICKER)
IDS = {TRADES: "t", AGGREGATES: "a"}
JOURNAL = "20260101T00-1.jsonl"
ENOUGH = {TRADES: 160, AGGREGATES: 60, BARS: 5}
"""Messages that bring ids, behind all that tests take away."""


@pytest.fixture(scope="module")
def exchange() -> Generator[Simulator]:
    with simulator("--rate", "40", "--symbols", "BTCUSDT") as running:
        yield running


@pytest.fixture(scope="module")
def recorded(exchange: Simulator, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The lines of some seconds in which nothing was lost."""
    path = tmp_path_factory.mktemp("recorded") / "out.jsonl"
    given = ("--streams", ",".join(STREAMS), "--output", str(path))
    with started("run", *given, **exchange.variables()) as process:
        deadline = time.monotonic() + PATIENCE_S
        while not has_enough(path):
            assert time.monotonic() < deadline
            time.sleep(0.2)
        assert stop(process, signal.SIGINT).code == 0
    lines = path.read_text().splitlines()
    assert not [line for line in lines if '"data":' not in line]
    return lines


def has_enough(path: Path) -> bool:
    """Whether a recording has come so far; a busy machine takes its time."""
    found = dict.fromkeys(ENOUGH, 0)
    lines = path.read_text().splitlines()[:-1] if path.exists() else []
    for line in lines:
        stream = json.loads(line)["stream"]
        if stream in found and is_key(line):
            found[stream] += 1
    return all(found[stream] >= count for stream, count in ENOUGH.items())


def without(lines: Iterable[str], stream: str, places: Iterable[int]) -> list[str]:
    """The lines, but for some of the stream's messages."""
    gone, count, kept = set(places), -1, []
    for line in lines:
        if f'"stream":"{stream}"' in line and is_key(line):
            count += 1
            if count in gone:
                continue
        kept.append(line)
    return kept


def is_key(line: str) -> bool:
    """Whether it brings an id: of bars the last update, of books no snapshot."""
    row = json.loads(line)
    return row["origin"] != "snapshot" and row["data"].get("k", {}).get("x", True)


def dataset(folder: Path, lines: Iterable[str]) -> Path:
    """A set of which all is sealed."""
    journals = folder / "_journal"
    journals.mkdir(parents=True)
    (journals / JOURNAL).write_text("".join(f"{line}\n" for line in lines))
    done = k2trio("seal", str(folder))
    assert done.returncode == 0, done.stderr
    return folder


def file_of(folder: Path, lines: Iterable[str]) -> Path:
    folder.mkdir()
    path = folder / "out.jsonl"
    path.write_text("".join(f"{line}\n" for line in lines))
    return path


def verdict(path: Path) -> tuple[int, dict[str, Any]]:
    """The exit code of ``verify``, and its report by streams."""
    done = k2trio("verify", str(path), "--json")
    report = json.loads(done.stdout)
    return done.returncode, {row["stream"]: row for row in report["streams"]}


def heal(path: Path, exchange: Simulator, **variables: str) -> tuple[int, str, str]:
    done = k2trio("heal", str(path), **{**exchange.variables(), **variables})
    return done.returncode, done.stdout, done.stderr


def rows(path: Path, kind: str) -> dict[int, tuple[Any, ...]]:
    """Id → all that a message says, but when it came and from where."""
    told = library.read(path, kind=kind).read_all().to_pylist()
    apart = {"received_ns", "origin", "sequence"}
    found = {}
    for row in told:
        key = next(value for name, value in row.items() if name.endswith("_id"))
        assert key not in found, f"{kind} {key} is there twice"
        found[key] = tuple(value for name, value in row.items() if name not in apart)
    return found


@pytest.mark.parametrize("make", [dataset, file_of])
def test_what_rest_has_is_fetched_and_the_set_is_complete_again(
    make: Callable[[Path, list[str]], Path],
    recorded: list[str],
    exchange: Simulator,
    tmp_path: Path,
) -> None:
    whole = make(tmp_path / "whole", recorded)
    lines = without(recorded, TRADES, [3, 4, 5, 20, 50])
    lines = without(lines, AGGREGATES, [7, 30])
    lines = without(lines, BARS, [1, 2])
    torn = make(tmp_path / "torn", lines)
    code, before = verdict(torn)
    missing = {name: sum(hole["ids"] for hole in row["holes"]) for name, row in before.items()}
    assert code == 1
    assert missing == {TRADES: 5, AGGREGATES: 2, BARS: 2, DEPTH: 0, TICKER: 0}
    code, out, err = heal(torn, exchange)
    assert (code, err) == (0, ""), out
    assert verdict(torn)[0] == 0
    for kind in ("trade", "aggTrade"):
        assert rows(torn, kind) == rows(whole, kind)
    code, out, _ = heal(torn, exchange)
    assert code == 0
    assert "nothing to heal" in out


@pytest.mark.parametrize("make", [dataset, file_of])
def test_aggregates_of_futures_are_fetched_from_their_rest(
    make: Callable[[Path, list[str]], Path], tmp_path: Path
) -> None:
    streams = f"{AGGREGATES},{DEPTH},btcusdt@markPrice@1s,!forceOrder@arr"
    path = tmp_path / "out.jsonl"
    with simulator("--product", "usdm", "--rate", "40", "--symbols", "BTCUSDT") as futures:
        given = ("--product", "usdm", "--streams", streams, "--output", str(path))
        with started("run", *given, **futures.variables()) as process:
            deadline = time.monotonic() + PATIENCE_S
            while not path.exists() or path.read_text().count(f'"{AGGREGATES}"') < 60:
                assert time.monotonic() < deadline
                time.sleep(0.2)
            assert stop(process, signal.SIGINT).code == 0
        recorded = path.read_text().splitlines()
        whole = make(tmp_path / "whole", recorded)
        torn = make(tmp_path / "torn", without(recorded, AGGREGATES, [7, 8, 9, 30]))
        code, before = verdict(torn)
        assert code == 1
        assert sum(hole["ids"] for hole in before[AGGREGATES]["holes"]) == 4
        code, out, err = heal(torn, futures)  # the set says whose it is
        assert (code, err) == (0, ""), out
    assert verdict(torn)[0] == 0
    assert rows(torn, "aggTrade") == rows(whole, "aggTrade")


def test_what_nobody_has_is_declared(
    recorded: list[str], exchange: Simulator, tmp_path: Path
) -> None:
    torn = dataset(tmp_path / "torn", without(recorded, DEPTH, [5, 9]))
    assert verdict(torn)[0] == 1
    code, _, err = heal(torn, exchange)
    assert (code, err) == (0, "")
    code, after = verdict(torn)
    assert code == 0
    assert {row["reason"] for row in after[DEPTH]["missing"]} == {"not_repairable"}


def test_without_rest_nothing_changes_and_it_says_why(
    recorded: list[str], exchange: Simulator, tmp_path: Path
) -> None:
    torn = dataset(tmp_path / "torn", without(recorded, TRADES, [3]))
    before = sorted(torn.rglob("*.parquet"))
    venue = json.loads(recorded[0])["venue"]
    code, _, err = heal(torn, exchange, REST_URLS="")
    assert code == 1
    assert err == f"k2trio: no REST host of {venue} is known; name one in REST_URLS\n"
    assert sorted(torn.rglob("*.parquet")) == before
    assert verdict(torn)[0] == 1


def test_a_file_that_was_cut_short_and_one_that_is_gone_are_made_anew(
    recorded: list[str], exchange: Simulator, tmp_path: Path
) -> None:
    whole = dataset(tmp_path / "whole", recorded)
    torn = dataset(tmp_path / "torn", recorded)
    (trades,) = torn.rglob("*.trade.parquet")
    os.truncate(trades, trades.stat().st_size // 2)
    (aggregates,) = torn.rglob("*.aggTrade.parquet")
    aggregates.unlink()
    done = k2trio("verify", str(torn))
    assert done.returncode == 2
    assert trades.name in done.stderr
    assert aggregates.name in done.stderr
    code, _, err = heal(torn, exchange)
    assert (code, err) == (0, "")
    assert verdict(torn)[0] == 0
    for kind in ("trade", "aggTrade"):
        assert rows(torn, kind) == rows(whole, kind)


def test_a_seal_that_was_cut_short_names_its_cure(
    recorded: list[str], exchange: Simulator, tmp_path: Path
) -> None:
    lines = [line for line in recorded if f'"stream":"{TRADES}"' in line]
    third = len(lines) // 3
    torn = tmp_path / "torn"
    (torn / "_journal").mkdir(parents=True)
    for hour in range(3):
        part = lines[hour * third : (hour + 1) * third]
        text = "".join(f"{line}\n" for line in part)
        (torn / "_journal" / f"20261126T1{hour}-1.jsonl").write_text(text)
    assert k2trio("seal", str(torn)).returncode == 0
    seal = torn / "_sealed" / "20261126T11-1.json"
    os.truncate(seal, 100)
    code, _, err = heal(torn, exchange)
    assert code != 0
    (line,) = err.splitlines()
    assert f"{seal} is no seal of ours" in line
    assert "remove it, and the sealed files of 20261126T11-1, and run heal" in line
    seal.unlink()
    for path in torn.rglob("20261126T11-1.*.parquet"):
        path.unlink()
    assert verdict(torn)[0] == 1
    assert heal(torn, exchange)[0] == 0
    code, after = verdict(torn)
    assert (code, after[TRADES]["messages"]) == (0, 3 * third)


def test_of_a_broken_file_that_rest_cannot_bring_back_the_time_is_declared(
    recorded: list[str], exchange: Simulator, tmp_path: Path
) -> None:
    torn = dataset(tmp_path / "torn", recorded)
    (tickers,) = torn.rglob("*.bookTicker.parquet")
    os.truncate(tickers, tickers.stat().st_size - 100)
    (depths,) = torn.rglob("*.depth%40100ms.parquet")
    depths.unlink()
    code, _, err = heal(torn, exchange)
    assert (code, err) == (0, "")
    code, after = verdict(torn)
    assert code == 0
    assert after[TICKER]["outage_s"] == 3600  # all that is known of it is its hour
    assert {row["reason"] for row in after[DEPTH]["missing"]} == {"not_repairable"}


def test_a_file_that_is_as_it_was_sealed_is_never_taken_for_broken(
    recorded: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    market = dataset(tmp_path / "market", recorded)
    monkeypatch.setattr("k2trio.dataset.sources.VERSION", 0)  # as if newer ones were there
    healing = Healing(str(market), None, "a test")
    found = healing.diagnose(healing.survey())
    assert found.broken == []
    assert len(found.unreadable) == len(list(market.rglob("*.parquet")))
    assert all("update k2trio to read it" in line for line in found.unreadable)


def test_journals_that_lie_elsewhere_count(recorded: list[str], tmp_path: Path) -> None:
    market = dataset(tmp_path / "market", recorded[: len(recorded) // 3])
    elsewhere = (market / "_journal").rename(tmp_path / "journals")
    rest = recorded[len(recorded) // 3 :]
    (elsewhere / "20260101T01-1.jsonl").write_text("".join(f"{line}\n" for line in rest))
    healing = Healing(str(market), elsewhere, "a test")
    (unsealed,) = healing.survey().datasets[0].unsealed
    assert unsealed.name == str(elsewhere / "20260101T01-1.jsonl")


def test_when_it_is_interrupted_it_says_so(
    recorded: list[str], exchange: Simulator, tmp_path: Path
) -> None:
    torn = dataset(tmp_path / "torn", without(recorded, TRADES, [3]))
    exchange.break_now("rest_hang", "rest", count=1)
    with started("heal", str(torn), **{**exchange.variables(), **LOGGED}) as process:
        assert process.stderr is not None
        process.stderr.readline()  # it asks, and waits for the answer
        ended = stop(process, signal.SIGINT)
    assert ended.code == 1
    assert f"{torn} is not healed yet" in ended.err
    assert heal(torn, exchange)[0] == 0
    assert verdict(torn)[0] == 0


def test_a_healing_that_was_killed_is_gone_on_with(
    recorded: list[str], exchange: Simulator, tmp_path: Path
) -> None:
    places = range(3, 150, 2)
    whole = dataset(tmp_path / "whole", recorded)
    torn = dataset(tmp_path / "torn", without(without(recorded, TRADES, places), BARS, [1]))
    # Streams are asked for in the order of their names: bars, and then trades, which hang.
    variables = {**exchange.variables(), **LOGGED}
    with started("heal", str(torn), **variables) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if b'"healing"' in line and TRADES.encode() in line:
                break
        process.kill()
    code, _, err = heal(torn, exchange)
    assert (code, err) == (0, "")
    assert verdict(torn)[0] == 0
    assert rows(torn, "trade") == rows(whole, "trade")
    assert not [path for path in (torn / "_journal").iterdir() if not path.name.startswith(".")]


def test_one_healing_at_a_time(recorded: list[str], exchange: Simulator, tmp_path: Path) -> None:
    torn = dataset(tmp_path / "torn", without(recorded, TRADES, [3]))
    exchange.break_now("rest_hang", "rest", count=1)
    variables = {**exchange.variables(), **LOGGED}
    with started("heal", str(torn), **variables) as process:
        assert process.stderr is not None
        process.stderr.readline()  # it asks, and waits for the answer
        code, _, err = heal(torn, exchange)
        assert code == 2
        assert err.startswith(f"k2trio: the healing of {torn} is in use by another program")
        process.communicate(timeout=PATIENCE_S)
        assert process.returncode == 0
    assert verdict(torn)[0] == 0


def test_beside_a_collector_that_runs(exchange: Simulator, tmp_path: Path) -> None:
    market = tmp_path / "market"
    given = ("--streams", f"{TRADES},{AGGREGATES}", "--output", f"parquet:{market}")
    haste = {"REPAIR_HOLD": "0.5", **exchange.variables()}
    with started("run", *given, **haste) as process:
        time.sleep(1.5)
        exchange.break_now("rest_refused", "rest", duration=2.5)
        exchange.break_now("dropped", share=0.5, duration=1.0)
        time.sleep(3.5)
        code, _, err = heal(market, exchange)
        assert (code, err) == (0, "")
        time.sleep(0.5)
        assert stop(process, signal.SIGINT).code == 0
    code, after = verdict(market)
    assert code == 0, after
    assert sum(row["messages"] for row in after.values()) == sum(
        row["last"] - row["first"] + 1 for row in after.values()
    )
    done = k2trio("seal", str(market))
    assert done.returncode == 0, done.stderr
    assert verdict(market) == (0, after)


@pytest.mark.parametrize(
    ("path", "why"),
    [
        ("nowhere", "nowhere is no dataset and no file of JSON lines; name one"),
        (
            "s3://key:secret@bucket/set",
            "the URL for 'bucket' must not hold a user name or password; for S3, "
            "AWS_SHARED_CREDENTIALS_FILE names a file of them",
        ),
        ("s3://bucket/set", "name the folder of the journals of s3://bucket/set with --journal"),
    ],
)
def test_what_cannot_be_healed_is_refused_in_one_line(path: str, why: str) -> None:
    done = k2trio("heal", path)
    assert done.returncode == 2
    assert done.stderr == f"k2trio: {why}\n"


def test_a_folder_that_is_no_dataset_is_not_made_one(tmp_path: Path) -> None:
    file_of(tmp_path / "lines", [])
    done = k2trio("heal", str(tmp_path / "lines"))
    assert done.returncode == 2
    why = f"{tmp_path / 'lines'} is no dataset; name one, or a file of JSON lines"
    assert done.stderr == f"k2trio: {why}\n"
    assert [path.name for path in (tmp_path / "lines").iterdir()] == ["out.jsonl"]


def test_a_folder_of_journals_has_to_be_there(tmp_path: Path) -> None:
    nowhere = tmp_path / "nowhere"
    done = k2trio("heal", "s3://bucket/set", "--journal", str(nowhere))
    assert done.returncode == 2
    assert done.stderr == f"k2trio: there is no folder {nowhere}; name that of the journals\n"


def test_a_path_has_to_be_named() -> None:
    done = k2trio("heal")
    assert done.returncode == 2
    assert done.stderr == "k2trio: name a dataset or a file of JSON lines: heal PATH…\n"

"""The program into Kafka, as its users run it: killed, doubled, without a broker."""

from __future__ import annotations

import json
import signal
import time
from typing import TYPE_CHECKING, Any

import pytest
from engine_log import accounts_of
from processes import LOGGED, Ended, exporter_url, k2trio, simulator, started, stop
from topics import unique

if TYPE_CHECKING:
    import subprocess
    from pathlib import Path

    from engine_log import StreamAccount
    from processes import Simulator

pytestmark = pytest.mark.slow

STREAMS = ("btcusdt@trade", "ethusdt@aggTrade", "btcusdt@bookTicker", "btcusdt@depth@100ms")
KINDS = ("trade", "aggTrade", "bookTicker", "depth")
PATIENCE_S = 30.0


class Run:
    """A log of its own, and how to write it."""

    def __init__(self, kafka: str, exchange: Simulator, **more: str) -> None:
        self.group = unique("run")
        self._kafka = kafka
        self.variables = exchange.variables() | {
            "OUTPUT": f"kafka://{kafka}/{self.group}.{{kind}}",
            "GROUP": self.group,
            "STREAMS": ",".join(STREAMS),
            **more,
        }

    def accounts(self) -> dict[str, StreamAccount]:
        topics = [f"{self.group}.{kind}" for kind in KINDS]
        return {stream: one for (_, stream), one in accounts_of(self._kafka, topics).items()}

    def wait_for(self, writer: subprocess.Popen[bytes], stream: str, last: int) -> None:
        """Until the log has an id."""
        deadline = time.monotonic() + PATIENCE_S
        while (one := self.accounts().get(stream)) is None or (one.last or 0) < last:
            if writer.poll() is not None or time.monotonic() > deadline:
                writer.kill()
                raise AssertionError(f"{one}\n{writer.communicate()[1].decode()}")
            time.sleep(0.1)


def emitted(exchange: Simulator, stream: str) -> int:
    """The last id of a stream so far."""
    ranges: list[list[int]] = exchange.truth()["streams"].get(stream, {"ranges": []})["ranges"]
    return ranges[-1][1] if ranges else -1


def events(ended: Ended) -> list[dict[str, Any]]:
    return [json.loads(line) for line in ended.err.splitlines() if line.startswith("{")]


def test_a_program_that_is_killed_again_and_again_writes_everything_once(kafka: str) -> None:
    with simulator("--rate", "200") as exchange:
        run = Run(kafka, exchange)
        for _ in range(3):
            with started("run", **run.variables) as process:
                run.wait_for(process, "btcusdt@trade", emitted(exchange, "btcusdt@trade") + 100)
        with started("run", **run.variables) as last:
            run.wait_for(last, "btcusdt@trade", emitted(exchange, "btcusdt@trade") + 100)
            ended = stop(last, signal.SIGTERM)
    assert (ended.code, ended.err) == (0, "")
    accounts = run.accounts()
    assert [wrong for one in accounts.values() for wrong in one.wrong] == []
    assert set(accounts) == set(STREAMS)
    for stream in ("btcusdt@trade", "ethusdt@aggTrade"):
        assert not accounts[stream].gaps, "REST had it"
        assert accounts[stream].repaired > 0
    assert accounts["btcusdt@bookTicker"].outages == 3, "nothing proves what came meanwhile"


def test_a_second_program_ends_the_first_in_one_line(kafka: str) -> None:
    with simulator("--rate", "100") as exchange:
        run = Run(kafka, exchange)
        with started("run", **run.variables) as first:
            run.wait_for(first, "btcusdt@trade", emitted(exchange, "btcusdt@trade") + 10)
            with started("run", **run.variables) as second:
                out, err = first.communicate(timeout=PATIENCE_S)
                assert (first.returncode, out) == (1, b"")
                (line,) = err.decode().splitlines()
                assert line.startswith(f"k2trio: {run.group}-0 is written by another process now (")
                run.wait_for(second, "btcusdt@trade", emitted(exchange, "btcusdt@trade") + 10)
                assert stop(second, signal.SIGTERM).code == 0
    assert [wrong for one in run.accounts().values() for wrong in one.wrong] == []


def test_a_broker_that_is_not_there_is_one_line() -> None:
    with simulator() as exchange:
        ended = k2trio("run", **exchange.variables() | {"OUTPUT": "kafka://127.0.0.1:1/x.{kind}"})
    assert ended.returncode == 2
    (line,) = ended.stderr.splitlines()
    assert "no broker of 127.0.0.1:1 answered within 10 s" in line
    assert "are they up" in line


def test_properties_that_the_library_refuses_are_one_line_without_their_values(
    tmp_path: Path,
) -> None:
    file = tmp_path / "kafka.properties"
    file.write_text("security.protocol=SASL_SSL\nsasl.mechanism=s3cret-nonsense\n")
    with simulator() as exchange:
        variables = {"OUTPUT": "kafka://127.0.0.1:1/x", "KAFKA_PROPERTIES": str(file)}
        for shards in ("0", "2"):
            ended = k2trio("run", **exchange.variables() | variables | {"SHARDS": shards})
            assert ended.returncode == 2
            (line,) = ended.stderr.splitlines()
            assert line.startswith("k2trio: KAFKA_PROPERTIES cannot be used: ")
            assert "s3cret" not in line


def test_files_beside_it_go_on_where_they_are(kafka: str, tmp_path: Path) -> None:
    """Two outputs and a state file: the log leaves out what it has already."""
    file, state = tmp_path / "out.jsonl", tmp_path / "state.json"
    with simulator("--rate", "100") as exchange:
        run = Run(kafka, exchange, STATE=str(state), STATE_INTERVAL="0.3")
        run.variables["OUTPUT"] += f",{file}"
        for _ in range(2):
            with started("run", **run.variables) as process:
                run.wait_for(process, "btcusdt@trade", emitted(exchange, "btcusdt@trade") + 60)
                process.kill()
    accounts = run.accounts()
    assert [wrong for one in accounts.values() for wrong in one.wrong] == []
    assert not accounts["btcusdt@trade"].gaps


def test_members_part_the_shards_and_tell_whose_they_are(kafka: str) -> None:
    with simulator("--rate", "100") as exchange:
        run = Run(kafka, exchange, SHARDS="3", KAFKA_SESSION_TIMEOUT="6", **LOGGED)
        with started("run", **run.variables) as one, started("run", **run.variables) as two:
            pages = [exporter_url(process) for process in (one, two)]
            owned = wait_until_parted(pages, 3)
            assert sorted(shard for shards in owned for shard in shards) == [0, 1, 2]
            assert all(owned), "one of them has all"
            run.wait_for(one, "btcusdt@trade", emitted(exchange, "btcusdt@trade") + 50)
            ends = [stop(process, signal.SIGTERM) for process in (one, two)]
    assert [ended.code for ended in ends] == [0, 0]
    accounts = run.accounts()
    assert [wrong for account in accounts.values() for wrong in account.wrong] == []
    assert set(accounts) == set(STREAMS)


def wait_until_parted(pages: list[str], shards: int) -> list[set[int]]:
    """Until every shard has one owner; which each has, as their status says."""
    import httpx2

    deadline = time.monotonic() + PATIENCE_S
    while True:
        reports = [httpx2.get(f"{page}/status", trust_env=False).json()["log"] for page in pages]
        owned = [{row["shard"] for row in report["shards"] if row["owned"]} for report in reports]
        if sum(map(len, owned)) == shards and all(owned):
            return owned
        assert time.monotonic() < deadline, reports
        time.sleep(0.2)

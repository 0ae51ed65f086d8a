"""The command replay, as its users run it: as a process, for whatever client."""

from __future__ import annotations

import json
import signal
import time
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import httpx2
import pytest
import trio
import trio_websocket
from processes import FAST, PATIENCE_S, k2trio, lines_of, simulator, started, stop
from recordings import VENUE, seal, session, write_lines

from k2trio.sinks.parsing import decode_lines, items_of

if TYPE_CHECKING:
    import subprocess
    from collections.abc import AsyncGenerator, Generator, Sequence
    from pathlib import Path

pytestmark = pytest.mark.slow

STREAMS = (
    "btcusdt@trade",
    "btcusdt@aggTrade",
    "btcusdt@depth@100ms",
    "btcusdt@bookTicker",
    "ethusdt@kline_1s",
    "!miniTicker@arr",
)


@dataclass
class Replay:
    """A running ``k2trio replay``."""

    process: subprocess.Popen[bytes]
    urls: dict[str, str]
    said: list[str]

    def variables(self) -> dict[str, str]:
        """Settings of a client of it."""
        return {**FAST, "WEBSOCKET_URL": self.urls["a"], "FAILOVER_URLS": "",
                "REST_URLS": self.urls["rest"]}  # fmt: skip


@contextmanager
def replayed(*arguments: str) -> Generator[Replay]:
    with started("replay", *arguments, "--ports", "0", "--rest-port", "0") as process:
        said = [line.strip() for line in lines_of(process, 3)]
        urls = dict(line.split(" ", 1) for line in said[:2])
        yield Replay(process, urls, said)


def recorded(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_bytes().splitlines()] if path.exists() else []


def messages(path: Path, *origins: str) -> list[tuple[str, Any]]:
    """Stream and payload of each message, in their order."""
    return [
        (row["stream"], row["data"])
        for row in recorded(path)
        if "data" in row and (not origins or row["origin"] in origins)
    ]


def record(path: Path, seconds: float, **variables: str) -> None:
    """Let the program record for so long."""
    with started("run", "--streams", ",".join(STREAMS), "--output", str(path), **variables) as run:
        end = time.monotonic() + PATIENCE_S
        while len(recorded(path)) < 50 and time.monotonic() < end:
            time.sleep(0.05)
        time.sleep(seconds)
        ended = stop(run, signal.SIGINT)
    assert ended.code == 0, ended.err


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the program recorded of a simulated exchange."""
    path = tmp_path_factory.mktemp("recording") / "out.jsonl"
    with simulator("--rate", "30", "--seed", "3") as exchange:
        record(path, 4, **exchange.variables())
    assert {row["stream"] for row in recorded(path)} == set(STREAMS)
    assert not [row for row in recorded(path) if "data" not in row]
    return path


def record_again(replay: Replay, path: Path, streams: Sequence[str] = STREAMS) -> tuple[int, str]:
    """Record until the replay is over; returns its exit code and its last words."""
    variables = replay.variables()
    with started("run", "--streams", ",".join(streams), "--output", str(path), **variables) as run:
        out, err = replay.process.communicate(timeout=PATIENCE_S)
        assert err == b""
        assert stop(run, signal.SIGINT).code == 0
    return replay.process.returncode, out.decode()


@pytest.mark.parametrize("speed", ["1", "4"])
def test_a_recording_replayed_and_recorded_again_gives_the_same_messages(
    recording: Path, tmp_path: Path, speed: str
) -> None:
    again = tmp_path / "again.jsonl"
    with replayed(str(recording), "--speed", speed, "--lead", "0.5", "--linger", "1") as replay:
        code, said = record_again(replay, again)
    told = len(messages(recording, "live"))
    assert (code, said) == (0, f"end of the recording: {told} messages\n")
    books = [stream for stream in STREAMS if "@depth" in stream]
    for stream in STREAMS:  # how they lie among each other, sockets and snapshots decide anew
        got, was = (
            [data for name, data in messages(path, "live", "backfill") if name == stream]
            for path in (again, recording)
        )
        assert got == was, stream
    assert [row["stream"] for row in recorded(again) if row.get("origin") == "snapshot"] == books
    assert not [row for row in recorded(again) if "data" not in row]


def test_with_faults_on_top_nothing_is_lost(recording: Path, tmp_path: Path) -> None:
    faults = tmp_path / "faults.json"
    bad = [
        {"at": 0.8, "endpoint": "a", "kind": "dropped", "share": 0.5, "duration": 0.7},
        {"at": 2.0, "endpoint": "a", "kind": "rst"},
        {"at": 2.6, "endpoint": "rest", "kind": "rest_status", "status": 503, "count": 1},
    ]
    faults.write_text(json.dumps(bad))
    again = tmp_path / "again.jsonl"
    arguments = str(recording), "--faults", str(faults), "--linger", "3"
    with replayed(*arguments) as replay:
        code, _ = record_again(replay, again)
    assert code == 0
    assert messages(again, "backfill")
    for stream in ("btcusdt@trade", "btcusdt@aggTrade"):
        got, was = (
            [data for name, data in messages(path) if name == stream] for path in (again, recording)
        )
        assert got == was


def test_a_dataset_is_replayed_as_well(recording: Path, tmp_path: Path) -> None:
    seal(tmp_path / "set", items_of(decode_lines(recording.read_bytes())), "20260101T00-1")
    again = tmp_path / "again.jsonl"
    arguments = str(tmp_path / "set"), "--linger", "1", "--speed", "2"
    with replayed(*arguments) as replay:
        assert record_again(replay, again)[0] == 0
    for stream in STREAMS:
        got, was = (
            [data for name, data in messages(path, "live") if name == stream]
            for path in (again, recording)
        )
        assert got == was, stream


# -- other clients --------------------------------------------------------------------------------


@asynccontextmanager
async def opened(url: str) -> AsyncGenerator[trio_websocket.WebSocketConnection]:
    """Another library's connection."""
    parts = urlsplit(url)
    target = parts.path + (f"?{parts.query}" if parts.query else "")
    stream = await trio.open_tcp_stream(parts.hostname or "", parts.port or 0)
    async with stream, trio.open_nursery() as nursery:
        yield await trio_websocket.wrap_client_stream(nursery, stream, parts.netloc, target)
        nursery.cancel_scope.cancel()


def test_any_client_can_have_it_raw_or_combined_in_part_and_by_rest(tmp_path: Path) -> None:
    items = session(3, ["btcusdt@trade", "ethusdt@trade", "btcusdt@kline_1s"])
    path = write_lines(tmp_path / "out.jsonl", items)
    raws = {item.stream: [] for item in items}
    for item in items:
        raws[item.stream].append(item.raw.decode())

    async def read(url: str, subscribe: str | None = None) -> tuple[list[str], object]:
        texts: list[str] = []
        async with opened(url) as socket:
            if subscribe is not None:
                asked = {"method": "SUBSCRIBE", "params": [subscribe], "id": 7}
                await socket.send_message(json.dumps(asked))
            try:
                while True:
                    texts.append(await socket.get_message())
            except trio_websocket.ConnectionClosed as closed:
                return texts, closed.reason

    async def main(base: str) -> list[tuple[list[str], object]]:
        found: dict[int, tuple[list[str], object]] = {}

        async def keep(number: int, *arguments: str) -> None:
            found[number] = await read(*arguments)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(keep, 0, f"{base}/ws/btcusdt@trade")
            nursery.start_soon(keep, 1, f"{base}/stream?streams=btcusdt@trade/btcusdt@kline_1s")
            nursery.start_soon(keep, 2, f"{base}/ws", "ethusdt@trade")
        return [found[number] for number in range(3)]

    with replayed(str(path), "--speed", "3", "--linger", "0.5") as replay:
        assert replay.said[2] == f"recording of {VENUE} from 2026-01-01T00:00:00Z"
        base = replay.urls["a"].removesuffix("/stream")
        raw, combined, asked = trio.run(main, base)
        assert replay.process.wait(PATIENCE_S) == 0
    assert raw[0] == raws["btcusdt@trade"]
    frames = [item.frame.decode() for item in items if item.stream.startswith("btcusdt")]
    assert combined[0] == frames
    assert asked[0][0] == '{"result":null,"id":7}'
    assert asked[0][1:] == raws["ethusdt@trade"]
    for _, reason in (raw, combined, asked):
        assert (reason.code, reason.reason) == (1001, "end of the recording")


def test_it_can_stay_until_it_is_told_to_end_and_rest_answers(tmp_path: Path) -> None:
    items = session(2, ["btcusdt@trade"])
    path = write_lines(tmp_path / "out.jsonl", items)
    arguments = str(path), "--linger", "inf", "--speed", "10", "--lead", "0", "--times", "shifted"
    with replayed(*arguments) as replay:

        async def listen() -> str:
            async with opened(f"{replay.urls['a']}?streams=btcusdt@trade") as socket:
                return str(await socket.get_message())

        first = json.loads(trio.run(listen))["data"]
        assert 0 <= time.time() - first["T"] / 1000 < 70
        said = list(lines_of(replay.process, 1))
        assert said == [f"end of the recording: {len(items)} messages\n"]
        rows = httpx2.get(
            replay.urls["rest"] + "/api/v3/trades?symbol=BTCUSDT&limit=3", trust_env=False
        ).json()
        assert [row["id"] for row in rows] == [item.data.trade_id for item in items[-3:]]
        refused = httpx2.post(
            replay.urls["rest"] + "/simulator/faults",
            json=[{"at": 0, "endpoint": "*", "kind": "ids_jump"}],
            trust_env=False,
        )
        assert refused.status_code == 400
        assert "a recording is as it is" in refused.text
        ended = stop(replay.process, signal.SIGINT)
    assert (ended.code, ended.err) == (0, "")


def test_help_tells_how_it_ends() -> None:
    told = k2trio("replay", "--help").stdout
    assert told.startswith("usage: python -m k2trio replay [PATH …] [OPTIONS]\n")
    for option in ("--speed NUMBER", "--from TIME", "--faults FILE", "--linger SECONDS"):
        assert option in told
    assert "the program ends with 0" in " ".join(told.split())
    assert max(map(len, told.splitlines())) <= 100


# -- what cannot be -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        ([], 2, "name what is to be replayed"),
        (["none.jsonl"], 2, "there is no none.jsonl"),
        (["{path}", "--speed", "0"], 2, "--speed"),
        (["{path}", "--from", "soon"], 2, "--from: must be a time as"),
        (["{path}", "--from", "2030-01-01"], 2, "there is no message in what is to be replayed"),
        (["{path}", "--venue", "other"], 2, "there is no message of other"),
        (["{path}", "--streams", "btcusdt@trades"], 2, "did you mean"),
        (["{path}", "--faults", "{faults}"], 2, "a recording is as it is"),
        (["{broken}"], 1, "no line of ours"),
    ],
)
def test_what_cannot_be_replayed_is_told_in_a_line(
    tmp_path: Path, arguments: list[str], code: int, says: str
) -> None:
    named = {
        "path": write_lines(tmp_path / "out.jsonl", session(1, ["btcusdt@trade"])),
        "faults": tmp_path / "faults.json",
        "broken": tmp_path / "broken.jsonl",
    }
    named["faults"].write_text('{"at": 1, "endpoint": "a", "kind": "halt"}')
    named["broken"].write_text("what is this\n" * 9)
    done = k2trio("replay", *(one.format(**named) for one in arguments))
    assert (done.returncode, done.stdout) == (code, "")
    assert says in done.stderr
    assert done.stderr.count("\n") == 1

"""Sealing where something is in the way: a full disk, a busy file, a store that is broken."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, NamedTuple

import pyarrow.fs as pafs
import pytest
from journaled import ID, WRITER, everything, journal, journaled, leftovers, trade
from processes import PATIENCE_S, environment, k2trio, started

from k2trio.dataset.sealing import seal_all
from k2trio.dataset.stores import open_store
from k2trio.sinks.jsonl import JsonLines

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path

pytestmark = pytest.mark.slow


def many(count: int) -> list[str]:
    """Trades that do not compress well."""
    return [
        trade(n, n + n * n % 997 / 1000).replace("0.01000000", f"{n * 7919 % 100003}.{n:08}")
        for n in range(count)
    ]


# -- the command ----------------------------------------------------------------------------------


def test_the_command_seals_and_says_what(tmp_path: Path) -> None:
    path = journal(tmp_path, [trade(1), trade(2)])
    expected = journaled(path)
    end = k2trio("seal", str(tmp_path))
    assert (end.returncode, end.stderr) == (0, "")
    assert re.fullmatch(rf"{ID}\.jsonl: 2 rows in 1 files, \d+ bytes\n", end.stdout)
    assert everything(tmp_path) == expected
    end = k2trio("seal", str(tmp_path))
    assert (end.returncode, end.stdout, end.stderr) == (0, "", "")


def test_journals_may_lie_elsewhere(tmp_path: Path) -> None:
    path = journal(tmp_path / "fast", [trade(1)])
    expected = journaled(path)
    end = k2trio("seal", str(tmp_path / "large"), "--journal", str(path.parent))
    assert (end.returncode, end.stderr) == (0, "")
    assert everything(tmp_path / "large", path.parent) == expected
    assert list(path.parent.iterdir()) == []


REFUSAL = (
    "the URL for 'bucket' must not hold a user name or password; for S3, "
    "AWS_SHARED_CREDENTIALS_FILE names a file of them"
)


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ([], "name the dataset: seal FOLDER, or seal s3://bucket/prefix"),
        (["{}"], "there is no folder {}/_journal with journals; name it with --journal"),
        (["s3://bucket"], "name the folder of the journals of s3://bucket with --journal"),
        (["s3://key:a/b@bucket/x"], REFUSAL),
        (["{}", "--jurnal", "x"], "--jurnal is not an option; did you mean --journal?"),
    ],
)
def test_what_cannot_work_is_one_line_and_code_2(
    arguments: list[str], complaint: str, tmp_path: Path
) -> None:
    end = k2trio("seal", *(word.format(tmp_path) for word in arguments))
    assert (end.returncode, end.stdout) == (2, "")
    assert end.stderr == f"k2trio: {complaint.format(tmp_path)}\n"


def test_each_journal_that_cannot_be_sealed_is_one_line_and_code_1(tmp_path: Path) -> None:
    paths = [journal(tmp_path, ["no line\n"], f"20251126T1{hour}-1") for hour in (1, 3)]
    journal(tmp_path, [trade(1)])
    end = k2trio("seal", str(tmp_path))
    assert end.returncode == 1
    assert [line.split(",")[0] for line in end.stderr.splitlines()] == [
        f"k2trio: {path}" for path in paths
    ]
    assert end.stdout.startswith(f"{ID}.jsonl: 1 rows")


# -- others ---------------------------------------------------------------------------------------


def test_a_journal_that_is_written_to_is_left_alone(tmp_path: Path) -> None:
    live, done = journal(tmp_path, [trade(1)]), journal(tmp_path, [trade(2)], "20251126T11-3")
    expected = sorted(journaled(live) + journaled(done))
    with JsonLines(live):
        end = k2trio("seal", str(tmp_path))
    assert end.returncode == 0
    assert f"{live.name}: in use by another program\n" in end.stdout
    assert live.exists()
    assert not done.exists()
    assert everything(tmp_path) == expected


def test_many_at_once_seal_each_journal_once(tmp_path: Path) -> None:
    expected = sorted(
        row
        for hour in range(10, 20)
        for row in journaled(journal(tmp_path, many(200), f"20251126T{hour}-1"))
    )
    command = [sys.executable, "-m", "k2trio", "seal", str(tmp_path)]
    runs = [
        subprocess.Popen(command, env=environment(), stdout=subprocess.PIPE, text=True)  # noqa: S603
        for _ in range(3)
    ]
    told = [run.communicate(timeout=PATIENCE_S)[0] for run in runs]
    assert [run.returncode for run in runs] == [0, 0, 0]
    assert sum(text.count(" rows in ") for text in told) == 10
    assert everything(tmp_path) == expected
    assert leftovers(tmp_path) == []
    assert list((tmp_path / "_journal").iterdir()) == []


def test_a_reader_beside_a_sealing_sees_all_once(tmp_path: Path) -> None:
    expected = sorted(
        row
        for hour in range(10, 20)
        for row in journaled(journal(tmp_path, many(300), f"20251126T{hour}-1"))
    )
    with started("seal", str(tmp_path)) as process:
        looks = 0
        while process.poll() is None:
            assert everything(tmp_path) == expected
            looks += 1
        assert process.returncode == 0
    assert looks > 1
    assert everything(tmp_path) == expected


def test_an_interrupt_ends_it_at_once_and_loses_nothing(tmp_path: Path) -> None:
    expected = sorted(
        row
        for hour in range(10, 20)
        for row in journaled(journal(tmp_path, many(2000), f"20251126T{hour}-1"))
    )
    with started("seal", str(tmp_path)) as process:
        assert process.stdout is not None
        assert process.stdout.readline()
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=PATIENCE_S)
    assert (process.returncode, err) == (-signal.SIGINT, b"")
    assert everything(tmp_path) == expected
    assert k2trio("seal", str(tmp_path)).returncode == 0
    assert everything(tmp_path) == expected
    assert leftovers(tmp_path) == []


# -- disks ----------------------------------------------------------------------------------------


def limited(kilobytes: int, *arguments: str) -> subprocess.CompletedProcess[str]:
    """The command, where no file may grow beyond a size."""
    return subprocess.run(  # noqa: S603 - our own command
        ["bash", "-c", f'ulimit -f {kilobytes}; exec "$@"', "-", sys.executable, "-m", "k2trio",  # noqa: S607
         *arguments],
        env=environment(), capture_output=True, text=True, timeout=PATIENCE_S, check=False,
    )  # fmt: skip


def test_a_file_that_cannot_grow_leaves_the_journal_and_nothing_else(tmp_path: Path) -> None:
    path = journal(tmp_path, [trade(5, symbol="AB"), *many(20_000)])
    expected = journaled(path)
    end = limited(64, "seal", str(tmp_path))
    assert end.returncode == 1
    (told,) = end.stderr.splitlines()
    assert told.startswith("k2trio: cannot write venue=binance.com/kind=trade/symbol=BTCUSDT/")
    assert told.endswith("it may not grow further; rotate it, or raise the limit (ulimit -f)")
    assert [p for p in tmp_path.rglob("*") if p.is_file() and p.name != path.name] == [
        path.with_name(f"{ID}.plan")
    ]
    assert everything(tmp_path) == expected
    assert k2trio("seal", str(tmp_path)).returncode == 0
    assert everything(tmp_path) == expected
    assert leftovers(tmp_path) == []


@contextmanager
def small_disk(folder: Path, size: str) -> Generator[Path]:
    """A disk of its own."""
    if os.geteuid() != 0 or shutil.which("mount") is None:
        pytest.skip("only root can mount a disk")
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "none", str(folder)]
    if subprocess.run(command, capture_output=True, check=False).returncode:  # noqa: S603
        pytest.skip("no disk can be mounted here")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)  # noqa: S603, S607


def test_a_full_disk_leaves_the_journal_and_is_told(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", "256k") as root:
        path = journal(tmp_path, many(30_000))
        expected = journaled(path)
        end = k2trio("seal", str(root), "--journal", str(path.parent))
        assert end.returncode == 1
        assert end.stderr.endswith("the disk is full; make room\n")
        assert everything(root, path.parent) == expected
        assert not list(root.rglob("*.parquet"))
        assert leftovers(root) == []
        subprocess.run(["mount", "-o", "remount,size=16m", str(root)], check=True)  # noqa: S603, S607
        assert k2trio("seal", str(root), "--journal", str(path.parent)).returncode == 0
        assert everything(root, path.parent) == expected


def test_a_full_disk_beside_the_journal_is_told_too(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", "1m") as root:
        path = journal(root, many(2_000))
        expected = journaled(path)
        ballast = root / "ballast"
        with pytest.raises(OSError, match="No space left"):
            ballast.write_bytes(bytes(1 << 20))
        end = k2trio("seal", str(root))
        assert end.returncode == 1
        assert end.stderr.endswith("the disk is full; make room\n")
        ballast.unlink()
        assert everything(root) == expected
        assert k2trio("seal", str(root)).returncode == 0
        assert everything(root) == expected


def test_a_target_that_may_not_be_written_to_is_one_line(tmp_path: Path) -> None:
    path = journal(tmp_path, [trade(1)])
    expected = journaled(path)
    target = tmp_path / "target"
    target.mkdir(mode=0o500)
    name = "/sys/none" if os.geteuid() == 0 else str(target)
    end = k2trio("seal", name, "--journal", str(path.parent))
    assert (end.returncode, end.stdout) == (1, "")
    (told,) = end.stderr.splitlines()
    assert told.startswith("k2trio: cannot write venue=binance.com/")
    assert f" in {name}: " in told
    assert journaled(path) == expected


def test_a_file_that_is_not_finished_leaves_the_older_one_and_nothing_else(tmp_path: Path) -> None:
    store, path = open_store(tmp_path, tmp_path), PurePosixPath("folder/file.parquet")
    with store.new(path) as file:
        file.write(b"old")
    with pytest.raises(TypeError), store.new(path) as file:
        file.write("no bytes")  # type: ignore[arg-type]
    (left,) = (tmp_path / "folder").iterdir()
    assert left.read_bytes() == b"old"


# -- object stores --------------------------------------------------------------------------------


class Bucket(NamedTuple):
    """A bucket of a server in a process of its own."""

    url: str
    filesystem: pafs.S3FileSystem
    process: subprocess.Popen[bytes]

    def found(self) -> list[str]:
        """What is in it."""
        found = self.filesystem.get_file_info(pafs.FileSelector("bucket/set", recursive=True,
                                                                allow_not_found=True))  # fmt: skip
        return sorted(info.path for info in found if info.is_file)


SERVER = """
import sys, threading
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import make_server, WSGIRequestHandler

app = DomainDispatcherApplication(create_backend_app)
left = int(sys.argv[2])
parts = 0

def failing(environ, start):
    "After so many parts of uploads it answers none."
    global parts
    if environ["REQUEST_METHOD"] in ("PUT", "POST") and environ.get("QUERY_STRING"):
        parts += 1
        if parts > left:
            start("500 Internal Server Error", [("Content-Type", "text/plain")])
            return [b""]
    return app(environ, start)

class Quiet(WSGIRequestHandler):
    def log(self, *_): pass

make_server("127.0.0.1", int(sys.argv[1]), failing, True, request_handler=Quiet).serve_forever()
"""
"""An object store; its second argument says how many steps of uploads it lets through."""
ALL = 1 << 30


@contextmanager
def bucket(monkeypatch: pytest.MonkeyPatch, steps: int = ALL) -> Generator[Bucket]:
    """Start an object store with an empty bucket."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-c", SERVER, str(port), str(steps)]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as process:  # noqa: S603
        try:
            endpoint = f"127.0.0.1:{port}"
            wait_for(port, process)
            store = pafs.S3FileSystem(endpoint_override=endpoint, scheme="http",
                                      allow_bucket_creation=True, region="us-east-1")  # fmt: skip
            store.create_dir("bucket")
            yield Bucket(f"s3://bucket/set?endpoint_override=http://{endpoint}", store, process)
        finally:
            process.kill()


def wait_for(port: int, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.05)
        else:
            return


def test_a_bucket_is_sealed_into_as_a_folder_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = journal(tmp_path, [*many(500), trade(1, symbol="币安人生USDT")])
    expected = journaled(path)
    with bucket(monkeypatch) as store:
        end = k2trio("seal", store.url, "--journal", str(path.parent))
        assert (end.returncode, end.stderr) == (0, "")
        assert everything(store.url, path.parent) == expected
        assert everything(store.url) == expected
        assert list(path.parent.iterdir()) == []
        assert f"bucket/set/_sealed/{ID}.json" in store.found()
        monkeypatch.setenv("AWS_ENDPOINT_URL", store.url.partition("=")[2])
        assert everything("s3://bucket/set") == expected


@pytest.mark.parametrize("steps", [1, 3, 5])
def test_a_bucket_that_fails_midway_keeps_the_journal_and_gets_it_later(
    steps: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An upload is three steps: it is begun, its part is sent, it is completed."""
    path = journal(tmp_path, [trade(1, symbol="AB"), trade(1, symbol="CD")])
    expected = journaled(path)
    with bucket(monkeypatch, steps) as store:
        (outcome,) = seal_all(store.url, path.parent, WRITER)
        assert outcome.problem is not None
        assert "\n" not in outcome.problem
        assert everything(store.url, path.parent) == expected
        # What was whole is removed, and what was not has never been there.
        assert store.found() == []
    with bucket(monkeypatch) as store:
        (outcome,) = seal_all(store.url, path.parent, WRITER)
        assert outcome.problem is None
        assert everything(store.url, path.parent) == expected


def test_a_bucket_that_does_not_answer_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = journal(tmp_path, [trade(1)])
    expected = journaled(path)
    with bucket(monkeypatch) as store:
        store.process.kill()
        store.process.wait(PATIENCE_S)
        end = k2trio("seal", store.url, "--journal", str(path.parent))
    assert end.returncode == 1
    (told,) = end.stderr.splitlines()
    assert "NETWORK_CONNECTION" in told
    assert journaled(path) == expected

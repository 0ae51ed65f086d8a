"""A run with several outputs, on real disks: killed, full, read-only, moved, shared, resumed."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import zstandard
from processes import (
    LOGGED,
    PATIENCE_S,
    SHUTDOWN_S,
    Simulator,
    k2trio,
    simulator,
    started,
    stop,
)
from recorded_lines import content

from k2trio.commands.options import parse
from k2trio.commands.outputs import open_outputs, try_output
from k2trio.commands.simulate import SimulateOptions
from k2trio.dataset.catalogue import find
from k2trio.dataset.rotated import JOURNAL, SEALED
from k2trio.errors import ConfigError, SinkError
from k2trio.loading import load_settings
from k2trio.settings import Settings
from k2trio.targets import parse_target

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Iterator

pytestmark = pytest.mark.slow

STREAM = "btcusdt@trade"
DISK_BYTES = 256 << 10


@pytest.fixture(scope="module")
def exchange() -> Iterator[Simulator]:
    with simulator("--rate", "200", "--seed", "1", "--symbols", "BTCUSDT") as running:
        yield running


def variables_of(exchange: Simulator) -> dict[str, str]:
    return exchange.variables() | {"SYMBOLS": "BTCUSDT"}


def until(true: Callable[[], object], process: subprocess.Popen[bytes]) -> None:
    """Wait for something outside."""
    end = time.monotonic() + PATIENCE_S
    while not true():
        assert process.poll() is None
        assert time.monotonic() < end, "it never came"
        time.sleep(0.02)


def size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def whole(path: Path) -> bytes:
    """The whole lines of an output, of whole frames, also after a kill."""
    data = path.read_bytes()
    if path.suffix == ".zst":
        text = b""
        while data:
            reader = zstandard.ZstdDecompressor().decompressobj()
            part = reader.decompress(data)
            text, data = text + (part if reader.eof else b""), reader.unused_data
        return text
    return data[: data.rfind(b"\n") + 1]


def ids(*texts: bytes) -> list[int]:
    rows = [json.loads(line) for text in texts for line in text.splitlines()]
    assert [row for row in rows if "data" not in row] == []
    return [row["data"]["t"] for row in rows if row["stream"] == STREAM]


def assert_without_a_hole(numbers: Iterable[int]) -> None:
    got = sorted(set(numbers))
    assert len(got) > 10
    assert got == list(range(got[0], got[-1] + 1))


def outputs(*paths: Path | str) -> list[str]:
    return [word for path in paths for word in ("--output", str(path))]


@contextmanager
def mounted(folder: Path, options: str) -> Generator[None]:
    """A disk of its own in memory."""
    folder.mkdir()
    mount = shutil.which("mount")
    if mount is None:
        pytest.skip("no mount here")
    order = [mount, "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
    done = subprocess.run(order, capture_output=True, text=True, check=False)  # noqa: S603
    if done.returncode:
        pytest.skip(f"mount: {done.stderr.strip()}")
    try:
        yield
    finally:
        subprocess.run(["umount", str(folder)], check=True)  # noqa: S603, S607


def test_after_kills_each_output_has_every_message(
    exchange: Simulator, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What one has and another has not is delivered again, to that one alone."""
    plain, packed, state = (tmp_path / name for name in ("a.jsonl", "b.jsonl.zst", "state.json"))
    arguments = [*outputs(plain, packed), "--state", str(state), "--state-interval", "0.3"]
    variables = variables_of(exchange)
    for _ in range(4):
        before = size(packed)
        with started("run", *arguments, **variables) as process:
            until(lambda: size(packed) > before + 2_000 and size(state), process)  # noqa: B023
            time.sleep(0.2)
            process.kill()
            process.wait(PATIENCE_S)
        (row,) = json.loads(state.read_text())["positions"]
        for path in (plain, packed):
            found = ids(whole(path))
            assert set(range(found[0], row["position"] + 1)) <= set(found), "the state runs ahead"
    before = size(packed)
    with started("run", *arguments, **variables) as process:
        until(lambda: size(packed) > before + 2_000, process)
        end = stop(process, signal.SIGTERM)
    assert (end.code, end.err) == (0, "")
    first, second = ids(content(plain)), ids(content(packed))
    assert_without_a_hole(first)
    assert_without_a_hole(second)
    assert set(first) == set(second)
    assert [len(found) - len(set(found)) for found in (first, second)] == [0, 0]
    assert first == second == sorted(first)
    with capsys.disabled():
        sys.stdout.write(
            f"\n  4 times kill -9, state every 0.3 s: {len(first)} ids in each, 0 lost, 0 twice\n"
        )


def sealed_or_not(folder: Path) -> list[int]:
    """The ids of a dataset."""
    return [
        number
        for source in find([folder])
        for piece in source.pieces()
        if piece.stream == STREAM
        for number in piece.batch.column("trade_id").to_pylist()
    ]


def test_a_dataset_beside_a_file_holds_the_same_after_kills(
    exchange: Simulator, tmp_path: Path
) -> None:
    plain, folder, state = (tmp_path / name for name in ("a.jsonl", "set", "state.json"))
    arguments = [*outputs(f"parquet:{folder}", plain), "--state", str(state)]
    journals = folder / JOURNAL
    for ending in (signal.SIGKILL, signal.SIGKILL, signal.SIGTERM):
        before = size(plain)
        with started("run", *arguments, **variables_of(exchange)) as process:
            until(lambda: size(plain) > before + 20_000 and size(state), process)  # noqa: B023
            # What the run before left is sealed meanwhile, and the journal of this one is not.
            until(lambda: len(list(journals.iterdir())) == 1, process)
            process.send_signal(ending)
            process.wait(PATIENCE_S)
        assert process.returncode == (0 if ending == signal.SIGTERM else -ending)
    assert len(list((folder / SEALED).iterdir())) == 2
    in_file, in_set = ids(content(plain)), sealed_or_not(folder)
    assert_without_a_hole(in_file)
    assert sorted(in_set) == sorted(in_file)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount a disk")
@pytest.mark.parametrize("name", ["a.jsonl", "a.jsonl.zst"])
def test_one_full_disk_ends_the_run_and_a_restart_brings_what_is_missing(
    exchange: Simulator, tmp_path: Path, name: str
) -> None:
    small, other, state = tmp_path / "small", tmp_path / "b.jsonl", tmp_path / "state.json"
    with mounted(small, f"size={DISK_BYTES}"):
        full = small / name
        filler = small / "filler"
        filler.write_bytes(bytes(DISK_BYTES - (24 << 10)))
        arguments = [*outputs(full, other), "--state", str(state), "--state-interval", "0.2"]
        with started("run", *arguments, **variables_of(exchange)) as process:
            _, err = process.communicate(timeout=PATIENCE_S)
        assert process.returncode == 1
        (line,) = err.decode().splitlines()
        assert line.startswith(f"k2trio: cannot write to {full}: the disk is full; make room; ")
        piece = "frame; " if name.endswith(".zst") else "line"
        assert f"it ends with a whole {piece}" in line
        assert other.read_bytes() == whole(other), "the other one has whole lines"
        assert content(full) == whole(full)
        filler.unlink()
        with started("run", *arguments, **variables_of(exchange)) as process:
            before = size(other)
            until(lambda: size(other) > before + 2_000, process)
            end = stop(process, signal.SIGTERM)
        assert (end.code, end.err) == (0, "")
        first, second = ids(content(full)), ids(content(other))
    assert_without_a_hole(first)
    assert_without_a_hole(second)
    assert set(first) == set(second)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount a disk")
@pytest.mark.parametrize("name", ["a.jsonl", "a.jsonl.zst"])
def test_a_read_only_disk_is_one_line_and_exit_code_2(
    exchange: Simulator, tmp_path: Path, name: str
) -> None:
    folder, other = tmp_path / "fixed", tmp_path / "b.jsonl"
    with mounted(folder, "ro"):
        arguments = outputs(other, folder / name)
        end = k2trio("run", *arguments, **variables_of(exchange))
        check = k2trio("check", *arguments, **variables_of(exchange))
    line = f"k2trio: cannot open {folder / name}: its disk is read-only; choose a file on another"
    assert (end.returncode, end.stdout) == (2, "")
    assert end.stderr.startswith(line)
    assert end.stderr.count("\n") == 1
    assert check.returncode == 2
    assert f"output {other}" in check.stdout
    assert size(other) == 0


@pytest.mark.parametrize("name", ["a.jsonl", "a.jsonl.zst"])
def test_an_output_of_another_program_is_one_line_and_exit_code_2(
    exchange: Simulator, tmp_path: Path, name: str
) -> None:
    shared = tmp_path / name
    with started("run", *outputs(shared), **variables_of(exchange)) as process:
        until(lambda: size(shared), process)
        for command in ("run", "check"):
            arguments = outputs(tmp_path / "b.jsonl", shared)
            end = k2trio(command, *arguments, **variables_of(exchange))
            assert (end.returncode, end.stderr) == (
                2,
                f"k2trio: the output {shared} is in use by another program; "
                "stop that one, or choose another file\n",
            )
        assert stop(process, signal.SIGTERM).code == 0
    assert_without_a_hole(ids(content(shared)))


def test_sighup_opens_every_file_anew_and_standard_output_goes_on(
    exchange: Simulator, tmp_path: Path
) -> None:
    files = [tmp_path / "a.jsonl", tmp_path / "b.jsonl.zst"]
    printed = tmp_path / "printed"
    variables = variables_of(exchange) | LOGGED
    with (
        printed.open("wb") as standard,
        started("run", *outputs("-", *files), stdout=standard, **variables) as process,
    ):
        until(lambda: all(size(path) > 1_000 for path in files), process)
        for path in files:
            path.rename(path.with_name(f"moved-{path.name}"))
        process.send_signal(signal.SIGHUP)
        until(lambda: all(size(path) > 1_000 for path in files), process)
        end = stop(process, signal.SIGTERM)
    assert end.code == 0
    assert end.err.count('"event": "output_reopened"') == 2
    texts = [content(path.with_name(f"moved-{path.name}")) + content(path) for path in files]
    assert texts[0] == texts[1] == printed.read_bytes()
    assert_without_a_hole(ids(texts[0]))


def test_a_file_of_an_earlier_hour_is_finished_and_old_ones_go(
    exchange: Simulator, tmp_path: Path
) -> None:
    path = tmp_path / "out.jsonl.zst"
    line = b'{"venue":"venue","stream":"ethusdt@trade","data":{}}\n'
    path.write_bytes(zstandard.ZstdCompressor().compress(line))
    os.utime(path, (1_700_000_000, 1_700_000_000))
    old = [tmp_path / f"out.20231113T{hour:02}0000Z.jsonl.zst" for hour in range(4)]
    for one in old:
        one.touch()
    arguments = [*outputs(path), "--output-rotate", "1h", "--output-keep", "2"]
    with started("run", *arguments, **variables_of(exchange)) as process:
        until(lambda: size(path) > 1_000, process)
        assert stop(process, signal.SIGTERM).code == 0
    finished = tmp_path / "out.20231114T220000Z.jsonl.zst"
    assert content(finished) == line
    assert_without_a_hole(ids(content(path)))
    later = [one for one in tmp_path.iterdir() if one not in (path, finished, *old)]
    assert later in ([], [tmp_path / f"out.{time.strftime('%Y%m%dT%H0000Z', time.gmtime())}"])
    assert [one for one in old if one.exists()] == old[-1:]


WRONG = [
    ("parquet:", "names no folder; write parquet:FOLDER"),
    ("s3://bucket/x", "did you mean parquet:s3://bucket/x?"),
    ("out.zst", "did you mean out.jsonl.zst?"),
]


@pytest.mark.parametrize(("target", "cure"), WRONG, ids=[target for target, _ in WRONG])
def test_a_wrong_target_is_one_line_by_option_and_by_variable(target: str, cure: str) -> None:
    by_option = k2trio("run", *outputs("fine.jsonl", target))
    by_variable = k2trio("run", OUTPUT=f"fine.jsonl,{target}")
    for end, name in ((by_option, "--output"), (by_variable, "K2_BINANCE_OUTPUT")):
        assert (end.returncode, end.stdout) == (2, "")
        assert end.stderr.startswith(f"k2trio: {name}: {target!r} ")
        assert end.stderr.endswith(f"{cure}\n")
        assert end.stderr.count("\n") == 1
    assert not Path("fine.jsonl").exists()


def test_options_that_take_lists_may_be_repeated() -> None:
    words = ["--output", "a.jsonl,b.jsonl", "--symbols", "BTCUSDT", "--output=c.jsonl.zst"]
    settings = parse(Settings, "run", [*words, "--symbols", "ETHUSDT"])
    assert settings.output == ("a.jsonl", "b.jsonl", "c.jsonl.zst")
    assert settings.symbols == ("BTCUSDT", "ETHUSDT")
    options = parse(SimulateOptions, "simulate", ["--ports", "1,2", "--ports", "3"])
    assert options.ports == (1, 2, 3)


def test_standard_output_that_is_another_output_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"
    arguments = ["run", *outputs("-", path)]
    with path.open("ab") as file, started(*arguments, stdout=file) as process:
        _, err = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 2
    assert err.decode() == f"k2trio: OUTPUT {path} is what standard output goes to; name another\n"


@pytest.mark.parametrize(
    ("where", "verdict"),
    [
        ("new", "can be written"),
        (".", "can be written"),
        ("file", "it is no folder; name one"),
        ("none/deep", "its directory does not exist; create it"),
    ],
)
def test_check_tries_the_folder_of_a_dataset(where: str, verdict: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("text")
    target = parse_target(f"parquet:{tmp_path / where}")
    before = sorted(tmp_path.iterdir())
    if verdict == "can be written":
        try_output(target)
    else:
        with pytest.raises(SinkError, match=f"^cannot write to .*: {verdict}$"):
            try_output(target)
    assert sorted(tmp_path.iterdir()) == before


def test_a_bucket_without_a_journal_is_one_line() -> None:
    end = k2trio("run", "--output", "parquet:s3://bucket/x")
    assert (end.returncode, end.stderr) == (
        2,
        "k2trio: parquet:s3://bucket/x needs a folder of this machine for its journal: "
        "set JOURNAL\n",
    )


@pytest.mark.parametrize(
    ("target", "package", "extra"),
    [("out.jsonl.zst", "zstandard", "zstd"), ("parquet:set", "pyarrow", "parquet")],
)
def test_a_package_that_is_not_there_is_named(
    target: str, package: str, extra: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    monkeypatch.chdir(tmp_path)
    settings = load_settings(output=["first.jsonl", target])
    with pytest.raises(ConfigError) as refused:
        open_outputs(settings, print)
    assert str(refused.value) == (
        f"--output {target} needs the package {package}: python -m pip install 'k2trio[{extra}]'"
    )
    monkeypatch.undo()
    with open_outputs(load_settings(output=tmp_path / "first.jsonl"), print):
        pass  # nobody holds what was opened before that


def test_the_end_of_a_run_leaves_whole_frames_within_its_bound(
    exchange: Simulator, tmp_path: Path
) -> None:
    path = tmp_path / "out.jsonl.zst"
    with started("run", *outputs(path), **variables_of(exchange)) as process:
        until(lambda: size(path), process)
        time.sleep(0.5)
        end = stop(process, signal.SIGTERM)
    assert (end.code, end.err) == (0, "")
    assert end.took_s < SHUTDOWN_S
    assert_without_a_hole(ids(content(path)))

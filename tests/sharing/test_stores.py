"""The file of the shared budget: killed, torn, locked, not what it should be; on a real disk."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from k2trio import files
from k2trio.policy.ledger import Account, Entry, State
from k2trio.sharing.stores import (
    PAGE_BYTES,
    PLACE_BYTES,
    Attempt,
    LedgerError,
    SharedFile,
    default_file,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

PATIENCE_S = 30.0

KILLER = """
import os, random, signal, sys, time
from pathlib import Path
from k2trio.policy.ledger import Account, Entry
from k2trio.sharing.stores import Attempt, SharedFile

store = SharedFile(Path(sys.argv[1]))

def count(state, now):
    account = state.setdefault("v weight", Account())
    entries = account.spent.setdefault("writer", [Entry(now, 0, 0)])
    entries[-1] = Entry(now, entries[-1].weight + 1, 0)
    account.spent["ballast"] = [Entry(now, n, 0) for n in range(1000)]
    return entries[-1].weight

for number in range(int(sys.argv[2])):
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        while True:
            os.write(writing, b"%d " % store.change(count, Attempt()))
    os.close(writing)
    time.sleep(random.uniform(0.0, 0.02))
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    told = b""
    while part := os.read(reading, 1 << 16):
        told += part
    os.close(reading)
    print((told.split() or [b"0"])[-1].decode(), store.change(count, Attempt()), flush=True)
"""
"""Kills one after the other that counts in the file; prints what each told last, and the next."""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "budget"


def add(store: SharedFile, name: str = "one", weight: int = 7) -> None:
    def act(state: State, now: float) -> None:
        account = state.setdefault("v weight", Account())
        account.spent[name] = [Entry(now, weight, 0)]

    store.change(act, Attempt())


def weights(store: SharedFile) -> dict[str, int]:
    """What is in the file."""

    def act(state: State, now: float) -> dict[str, int]:
        spent = state["v weight"].spent if "v weight" in state else {}
        return {name: sum(one.weight for one in rows) for name, rows in spent.items()}

    return store.change(act, Attempt())


def test_what_one_enters_another_finds(path: Path) -> None:
    add(SharedFile(path))
    assert weights(SharedFile(path)) == {"one": 7}


@pytest.mark.slow
def test_whoever_is_killed_leaves_nothing_locked_and_nothing_torn(path: Path) -> None:
    """At any moment: in a write, with the lock, or between."""
    ended = subprocess.run(  # noqa: S603 - our own command
        [sys.executable, "-c", KILLER, str(path), "100"],
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=True,
    )
    before = 0
    for line in ended.stdout.splitlines():
        told, found = map(int, line.split())
        told = max(told, before)
        assert told < found <= told + 2  # what was written last, it may not have lived to tell
        before = found
    assert before > 100


@pytest.mark.parametrize("cut", range(0, 60, 7))
def test_a_torn_write_leaves_what_was_there_before(path: Path, cut: int) -> None:
    store = SharedFile(path)
    add(store, weight=1)
    add(store, weight=2)  # the second place
    with path.open("r+b") as file:
        file.seek(PAGE_BYTES + cut)
        file.write(b"\0" * 40)
    assert weights(store) in ({"one": 2}, {"one": 1})
    add(store, weight=3)
    assert weights(store) == {"one": 3}


def test_both_places_torn_is_a_new_beginning(path: Path) -> None:
    store = SharedFile(path)
    add(store)
    add(store, weight=8)
    with path.open("r+b") as file:
        for place in range(2):
            file.seek(PAGE_BYTES + place * PLACE_BYTES + 20)
            file.write(b"\0" * 9)
    assert weights(store) == {}
    add(store)
    assert weights(store) == {"one": 7}


def test_a_file_that_vanishes_is_made_anew(path: Path) -> None:
    store = SharedFile(path)
    add(store)
    path.unlink()
    assert weights(store) == {}


def link(path: Path) -> None:
    path.symlink_to(path.parent / "elsewhere")


def dangling_file(path: Path) -> None:
    path.write_text("dear diary\n")


def newer(path: Path) -> None:
    path.write_bytes(b"k2trio shared budget, form 2\n" + b"\0" * 5000)


@pytest.mark.parametrize("make", [link, os.mkfifo, os.mkdir, dangling_file, newer])
def test_what_is_no_shared_budget_is_refused_and_left_as_it_is(
    path: Path, make: Callable[[Path], object]
) -> None:
    make(path)
    before = path.read_bytes() if path.is_file() else b""
    with pytest.raises((LedgerError, OSError)) as error:
        add(SharedFile(path))
    assert isinstance(error.value, LedgerError) or files.why(error.value)
    assert not (path.parent / "elsewhere").exists()
    assert (path.read_bytes() if path.is_file() else b"") == before


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may give files away")
def test_where_everybody_may_write_a_file_of_another_user_is_not_trusted(path: Path) -> None:
    add(SharedFile(path))
    os.chown(path, 12345, -1)
    assert weights(SharedFile(path)) == {"one": 7}  # a folder of those who trust each other
    path.parent.chmod(0o1777)
    with pytest.raises(LedgerError, match="another user's"):
        add(SharedFile(path))


def test_a_named_file_is_for_its_group_whatever_the_umask_and_the_default_for_its_user(
    path: Path,
) -> None:
    before = os.umask(0o077)
    try:
        add(SharedFile(path))
        other = path.with_name("private")
        add(SharedFile(other, files.PRIVATE))
    finally:
        os.umask(before)
    assert path.stat().st_mode & 0o777 == 0o660
    assert other.stat().st_mode & 0o777 == 0o600
    path.chmod(0o666)  # somebody wants more
    add(SharedFile(path))
    assert path.stat().st_mode & 0o777 == 0o666


def test_who_was_not_waited_for_changes_nothing_when_the_lock_comes(path: Path) -> None:
    store = SharedFile(path)
    add(store)
    attempt = Attempt()
    attempt.abandoned = True
    with pytest.raises(LedgerError, match="too long"):
        store.change(lambda state, _: state.clear(), attempt)
    assert weights(store) == {"one": 7}


def test_more_than_there_is_room_for_is_said_and_nothing_is_lost(path: Path) -> None:
    store = SharedFile(path)
    add(store)

    def flood(state: State, now: float) -> None:
        for number in range(20_000):
            state["v weight"].spent[f"{number:012x}"] = [Entry(now, 1, 0)]

    with pytest.raises(LedgerError, match="room"):
        store.change(flood, Attempt())
    assert weights(store) == {"one": 7}


def test_what_says_nothing_new_is_not_written(path: Path) -> None:
    store = SharedFile(path)
    add(store)
    with path.open("r+b") as file:
        before = file.read()
        weights(store)
        file.seek(0)
        assert file.read() == before


def test_the_default_does_not_depend_on_the_session(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Else a service and a shell of one user would share nothing."""
    names = set()
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        for variable in ("XDG_RUNTIME_DIR", "HOME"):
            monkeypatch.setenv(variable, str(tmp_path / folder))
        store = default_file()
        assert store is not None
        names.add(store.name)
    assert len(names) == 1


def test_a_lock_ends_with_its_holder(path: Path) -> None:
    store = SharedFile(path)
    add(store)
    code = (
        "import fcntl, os, sys\n"
        "fcntl.flock(os.open(sys.argv[1], os.O_RDWR), fcntl.LOCK_EX)\n"
        "print(flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(  # noqa: S603 - our own command
        [sys.executable, "-c", code, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as holder:
        assert holder.stdout is not None
        holder.stdout.readline()
        with path.open("rb") as file, pytest.raises(BlockingIOError):
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        holder.kill()
    assert weights(store) == {"one": 7}

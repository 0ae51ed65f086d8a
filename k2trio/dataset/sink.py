"""A dataset as the sink of a feed: a journal an hour, each sealed when it is done.

The journal is a file of JSON lines like any other output, so what holds for those holds here: whole
lines, synced when asked, locked. Sealing is the work of another process: in a thread of this one it
would hold up the feed. It may fail, and is tried again; the journals stay for as long as it does.
"""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import trio

from .. import files
from ..errors import ConfigError, K2Error, SinkError
from ..sinks.jsonl import JsonLines, say_nothing
from ..sinks.line_sink import LineSink
from ..sinks.tails import look_beyond
from .catalogue import journals
from .layout import JOURNAL_ENDING, JournalId, hour_of
from .owners import claim
from .rotated import JOURNAL
from .tails import tails_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from ..continuity.items import Item
    from ..continuity.positions import Key, Position
    from ..market.units import TimeUnit

LOOK_S = 1.0
"""How often the clock is looked at, which may be set; so late a new journal may begin."""
RETRY_S = 30.0
"""How long after a sealing that failed the next one is tried."""
MAX_RETRY_S = 900.0
"""The same after many, each of which doubles it."""
SEALING_TIMEOUT_S = 3 * 3600.0
"""How long a sealing may take before it is ended, as one would be that hangs."""
MAX_TOLD = 5
"""Lines of a failed sealing that are told."""


class ParquetSink(LineSink):
    """A dataset that is written to; a context manager.

    Run :meth:`tend` beside whatever writes: without it there is one journal, and no sealing.

    :param target: the dataset's folder, or an ``s3://`` URL.
    :param journal: where the journals lie; None for inside of the folder.
    :param tell: is told what happens, as an event with its context.
    :param now: the wall clock, in Unix seconds.
    :raises ConfigError: if that can be no dataset, or has no place for journals.
    :raises SinkError: if a journal cannot be opened, saying which and why.
    """

    whole: int

    def __init__(
        self,
        target: str,
        journal: Path | None = None,
        tell: Callable[..., object] = say_nothing,
        now: Callable[[], float] = time.time,
    ) -> None:
        super().__init__()
        self._problem: str | None = None
        self._target = target
        self._folder = _journal_folder(target, journal)
        self._tell = tell
        self._now = now
        self._begun = JournalId.new(now())
        self._turned = trio.Event()
        try:
            files.make_folder(self._folder)
        except OSError as error:
            raise SinkError(f"cannot make {self._folder}: {files.why(error)}") from error
        if "://" in target:
            claim(self._folder, target)
        self._lines = JsonLines(self._path(self._begun), tell=tell)

    async def append(self, data: bytes, lines: int) -> None:
        """See :class:`LineSink`."""
        self.whole = 0
        try:
            await self._lines.append(data, lines)
        finally:
            self.whole = self._lines.whole

    @property
    def prompt(self) -> bool:
        """See :class:`PromptSink`."""
        return self._lines.prompt

    def write_now(self, items: Sequence[Item]) -> bool:
        """See :class:`PromptSink`."""
        self.whole = 0
        if not self._lines.takes_now:
            return False
        new = self._begin(items)
        try:
            self._lines.write_now(new)
        finally:
            self.whole = self._lines.whole
            self._end(items, new)
        return True

    @property
    def problem(self) -> str | None:
        """Why journals are not sealed, in a sentence; None if they are."""
        return self._problem

    async def beyond(self, begin: Mapping[Key, Position], unit: TimeUnit) -> Mapping[Key, Position]:
        """See :class:`TargetSink`; call it before :meth:`tend`, which has journals sealed."""
        tails = tails_of(self._folder, self._target, begin, unit)
        return await look_beyond(tails, begin, unit, self._tell)

    def check(self) -> None:
        """See :class:`Sink`."""
        self._lines.check()

    def sync(self) -> None:
        """See :class:`Sink`."""
        self._lines.sync()

    async def flush(self) -> None:
        """See :class:`Sink`.

        The journal is left for the next start: sealing takes longer than a shutdown may.
        """
        await self._lines.flush()

    def reopen(self) -> None:
        """See :class:`TargetSink`."""
        self._lines.reopen()

    def close(self) -> None:
        """See :class:`TargetSink`."""
        self._lines.close()

    async def tend(self) -> None:
        """Begin a journal each hour and have those that are done sealed, until cancelled.

        :raises SinkError: if the disk refuses to sync a journal.
        """
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._keep_hours)
            nursery.start_soon(self._keep_sealed)

    async def _keep_hours(self) -> None:
        """A journal is of the hour that the clock shows, wherever that was set to."""
        told = False
        while True:
            await trio.sleep(LOOK_S)
            now = self._now()
            if hour_of(now) == self._begun.hour:
                continue
            begun = JournalId.new(now)
            try:
                self._lines.begin(self._path(begun))
            except K2Error as error:
                if not told:
                    self._tell("journal_not_begun", detail=f"{error}; the old one goes on")
                told = True
                continue
            told = False
            self._begun = begun
            await trio.to_thread.run_sync(self._lines.sync, abandon_on_cancel=True)
            self._turned.set()

    async def _keep_sealed(self) -> None:
        """Also what an earlier run left."""
        delay_s = RETRY_S
        while True:
            self._turned = trio.Event()
            problems = await self._seal()
            self._problem = f"journals are not sealed: {problems[0]}" if problems else None
            for problem in problems[:MAX_TOLD]:
                self._tell("not_sealed", detail=problem, next_try_s=delay_s)
            if problems:
                await trio.sleep(delay_s)
                delay_s = min(2 * delay_s, MAX_RETRY_S)
            else:
                delay_s = RETRY_S
                await self._turned.wait()

    async def _seal(self) -> list[str]:
        """Have sealed what there is besides the current journal.

        Returns what was wrong, a line each.
        """
        command = [sys.executable, "-m", "k2trio", "seal", self._target]
        with trio.move_on_after(SEALING_TIMEOUT_S):
            try:
                if not journals(self._folder).keys() - {str(self._begun)}:
                    return []
                done = await trio.run_process(
                    [*command, "--journal", str(self._folder)],
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    capture_stderr=True,
                    check=False,
                    process_group=0,  # a Ctrl-C is for this process to answer
                )
            except OSError as error:
                return [f"sealing cannot be started: {files.why(error)}"]
            lines = done.stderr.decode("utf-8", "backslashreplace").splitlines()
            told = [line.removeprefix("k2trio: ") for line in lines]
            if done.returncode:
                return told or [f"sealing ended with code {done.returncode}"]
            return []
        return [f"sealing has not ended within {SEALING_TIMEOUT_S:g} s"]

    def _path(self, journal: JournalId) -> Path:
        return self._folder / f"{journal}{JOURNAL_ENDING}"


def _journal_folder(target: str, journal: Path | None) -> Path:
    if "://" not in target:
        return journal or Path(target) / JOURNAL
    if not target.startswith("s3://"):
        raise ConfigError(f"{target} can be no dataset; name a folder, or s3://bucket/prefix")
    if journal is None:
        raise ConfigError(f"{target} takes no journals; name a folder for them in JOURNAL")
    return journal

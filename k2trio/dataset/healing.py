"""Healing: what REST still has of the holes in recorded files is fetched, and added to them.

Nothing that was recorded is rewritten. What is fetched goes to a file of its own, which counts as
soon as a line is in it: of a dataset it is a journal, which is sealed in the end; JSON lines have a
companion. So a healing may be interrupted anywhere, and what it has is not asked for again.
"""

from __future__ import annotations

import secrets
from contextlib import aclosing, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from .. import files
from ..errors import ConfigError
from ..market.payloads import Event
from ..market.units import US
from ..sinks.jsonl import JsonLines
from .broken import broken_parts, retire
from .catalogue import healings, is_dataset, refuse_credentials, survey, survey_dataset
from .fetching import Fetcher, NotAskedError, Span
from .layout import HEALED, JOURNAL_ENDING
from .owners import refuse_others
from .proof.account import Account
from .proof.proof import prove
from .proof.sealed import read_seal
from .rotated import JOURNAL, LinesName
from .sealing import seal_held
from .stores import open_store

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence

    from ..continuity.items import Item, Outage
    from ..market.units import TimeUnit
    from ..repair.rest import Backfill
    from .broken import Broken
    from .catalogue import Survey
    from .proof.holes import Hole
    from .stores import Store

STAMP_FORMAT = "%Y%m%dT%H%M%S"


@dataclass
class Wound:
    """What is missing of one stream, and may be had or must be declared.

    :ivar curable: what the venue may have.
    :ivar past: what it numbers otherwise by now, and nobody declared.
    :ivar outages: times of which nothing is known any more.
    """

    venue: str
    stream: str
    curable: list[Span] = field(default_factory=list[Span])
    past: list[Span] = field(default_factory=list[Span])
    outages: list[Outage] = field(default_factory=list["Outage"])


class Healed(NamedTuple):
    """What came of a wound.

    :ivar fetched: messages.
    :ivar declared: ranges and times that are declared missing now.
    :ivar left: ranges that are as they were.
    :ivar why: they could not be asked for; None if all were.
    """

    wound: Wound
    fetched: int
    declared: int
    left: int
    why: str | None


@dataclass
class Diagnosis:
    """What is to be healed.

    :ivar broken: sealed files that cannot be read.
    :ivar unreadable: a line for each other file that cannot.
    """

    wounds: list[Wound]
    broken: list[Broken]
    unreadable: list[str]


class Healing:
    """A dataset, or a file of JSON lines with its rotated ones, while it is healed.

    :param where: a folder, an ``s3://`` URL, or a file.
    :param journal: folder of the dataset's journals, if it is not inside.
    :param writer: what to name in sealed files as having written them.
    :raises ConfigError: if it leads nowhere, or to something that cannot be added to.
    """

    def __init__(self, where: str, journal: Path | None, writer: str) -> None:
        self._where = where
        self._writer = writer
        self._store: Store | None = None
        self._journal = journal
        path = Path(where)
        refuse_credentials(where)
        if "://" in where or path.is_dir():
            if "://" in where and journal is None:
                raise ConfigError(f"name the folder of the journals of {where} with --journal")
            if journal is not None and not journal.is_dir():
                raise ConfigError(f"there is no folder {journal}; name that of the journals")
            if "://" not in where and not is_dataset(path):
                raise ConfigError(f"{where} is no dataset; name one, or a file of JSON lines")
            self._folder = journal or path / JOURNAL
            refuse_others(self._folder, where)
            self._store = open_store(where, self._folder)
            return
        name = LinesName.parse(path.name)
        if name is None or not path.exists():
            raise ConfigError(f"{where} is no dataset and no file of JSON lines; name one")
        self._folder = path.parent
        self._companion = path.with_name(name.companion)

    @contextmanager
    def held(self) -> Generator[None]:
        """Keep others from healing it.

        :raises ConfigError: if somebody does.
        """
        if self._store is None:
            with files.locked(self._companion, f"the healing of {self._where}"):
                yield
            return
        files.make_folder(self._folder)
        with files.locked(self._folder / "heal", f"the healing of {self._where}"):
            yield

    def survey(self) -> Survey:
        """What there is to read; blocks.

        :raises ConfigError: if there is nothing.
        """
        if self._store is None:
            return survey([self._where])
        return survey_dataset(self._where, self._journal)

    def diagnose(self, found: Survey, tell: Callable[[int], object] = lambda _: None) -> Diagnosis:
        """Read all of it; blocks.

        :param tell: is told how many bytes more have been read.
        """
        proof = prove(found.sources, tell)
        broken: list[Broken] = []
        for dataset in found.datasets:
            seals = [read_seal(dataset, batch) for batch in sorted(dataset.seals)]
            broken += broken_parts(dataset, seals)
        paths = [one.part.path for one in broken]
        unreadable = [line for line in proof.unreadable if not any(p in line for p in paths)]
        return Diagnosis(_wounds(proof.accounts, broken), broken, unreadable)

    @contextmanager
    def bandage(self) -> Generator[JsonLines]:
        """Where what is fetched is written to; behind the block all of it is on the disk.

        :raises ConfigError: if it cannot be opened.
        """
        path = self._companion if self._store is None else self._folder / _new_name()
        with JsonLines(path) as sink:
            yield sink

    def seal(self) -> None:
        """Seal what was fetched; blocks. Companions of JSON lines stay as they are.

        :raises SinkError: if that cannot be done; it counts all the same, and may be tried again.
        """
        if self._store is not None:
            for path in healings(self._folder).values():
                seal_held(path, self._store, self._writer)

    def retire(self, broken: Sequence[Broken]) -> None:
        """Let sealed files be gone that could not be read, once they are healed; blocks.

        :raises SinkError: if that cannot be written.
        """
        if self._store is not None:
            retire(self._store, broken)


async def heal(wound: Wound, backfill: Backfill, unit: TimeUnit, sink: JsonLines) -> Healed:
    """Fetch what one stream lacks, and write it down.

    :raises SinkError: if it cannot be written.
    """
    fetcher = Fetcher(backfill, wound.venue, wound.stream, wound.curable, unit)
    fetched = declared = 0
    why: str | None = None
    named: list[Item] = [fetcher.gap(span, "not_repairable") for span in wound.past]
    named += wound.outages
    await sink.write(named)
    declared += len(named)
    try:
        async with aclosing(fetcher.items()) as found:
            async for items in found:
                await sink.write(items)
                messages = sum(isinstance(item, Event) for item in items)
                fetched += messages
                declared += len(items) - messages
    except NotAskedError as error:
        why = str(error)
    return Healed(wound, fetched, declared, len(fetcher.left), why)


def _new_name() -> str:
    stamp = f"{datetime.now(UTC):{STAMP_FORMAT}}"
    return f"{HEALED}{stamp}-{secrets.randbelow(10**9)}{JOURNAL_ENDING}"


def _wounds(accounts: Sequence[Account], broken: Sequence[Broken]) -> list[Wound]:
    """What can be healed or must be declared, by streams."""
    found: dict[tuple[str, str], Wound] = {}

    def wound(venue: str, stream: str) -> Wound:
        return found.setdefault((venue, stream), Wound(venue, stream))

    runs: dict[tuple[str, str], Account] = {}
    for account in accounts:
        if not account.provable or account.archive:
            continue
        runs[account.venue, account.stream] = account
        *past, newest = account.numberings
        curable = [_span(hole) for hole in newest.holes if _is_curable(account, hole)]
        undeclared = [
            _span(hole)
            for numbering in past
            for hole in numbering.holes
            if hole.reason is None and account.measure(hole)
        ]
        if curable or undeclared:
            one = wound(account.venue, account.stream)
            one.curable += curable
            one.past += undeclared
    for lost in broken:
        venue, stream = lost.part.venue, lost.part.stream
        there = runs.get((venue, stream)) or Account(venue, stream)
        if there.provable:
            ranges = lost.lost(there.numberings[-1].runs.ranges)
            spans = [Span(first, last, None, None) for first, last in ranges]
            wound(venue, stream).curable += spans
        elif lost.outage is not None:
            wound(venue, stream).outages.append(lost.outage)
    for one in found.values():
        one.curable = _joined(one.curable)
    return list(found.values())


def _is_curable(account: Account, hole: Hole) -> bool:
    """Whether the venue may have what is missing, or nobody has said yet that it is."""
    if not account.measure(hole):
        return False
    if hole.reason is None:
        return True
    if hole.after is None:
        return False  # what is missing at the end, the next start of the collector may fetch
    # It may have been not repairable for want of a REST host.
    asked = account.has_history and hole.reason == "not_repairable"
    return asked or account.is_curable(hole.reason)


def _span(hole: Hole) -> Span:
    since, until = (
        None if time is None else time / US.per_second for time in (hole.before, hole.after)
    )
    return Span(hole.first, hole.last, since, until)


def _joined(spans: Sequence[Span]) -> list[Span]:
    """In order, and those that overlap as one."""
    joined: list[Span] = []
    for span in sorted(spans, key=lambda span: (span.first, span.last)):
        if joined and span.first <= joined[-1].last:
            before = joined[-1]
            joined[-1] = before._replace(last=max(before.last, span.last))
        else:
            joined.append(span)
    return joined

"""What there is to read: paths become recorded files, those that count, in their order.

A path is a file, a dataset's folder (also ``s3://bucket/prefix``), or a folder of files.
"""

from __future__ import annotations

import itertools
import re
from dataclasses import dataclass, field
from os import PathLike, fspath
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.fs as pafs

from ..errors import ConfigError, Unreadable
from .layout import (
    ENDING,
    HEALED,
    JOURNAL,
    JOURNAL_ENDING,
    SEAL_ENDING,
    SEALED,
    JournalId,
    Place,
)
from .sources import LinesFile, SealedFile

if TYPE_CHECKING:
    from collections.abc import Iterable

    from .sources import Source

MOST_LOOKS = 5
"""How often a folder is looked at anew in which journals are sealed meanwhile."""
LINES_NAME = re.compile(r".+\.(jsonl|zst)(\.\w+)*\Z")
"""How files of JSON lines are called, rotated ones too."""


@dataclass
class Dataset:
    """A dataset's folder, as it was when it was looked at.

    :ivar root: its folder on its file system.
    :ivar journals: id → file, of those that are not sealed.
    :ivar unsealed: the same as sources, readable even when they are sealed meanwhile.
    :ivar seals: the ids of seals.
    :ivar sealed: the sealed files that count.
    """

    filesystem: pafs.FileSystem
    root: str
    journals: dict[str, Path] = field(default_factory=dict[str, Path])
    unsealed: list[LinesFile] = field(default_factory=list[LinesFile])
    seals: set[str] = field(default_factory=set[str])
    sealed: list[SealedFile] = field(default_factory=list[SealedFile])

    @property
    def sources(self) -> list[Source]:
        """Sealed files and then journals, in the order of their hours."""
        return [
            *sorted(self.sealed, key=_order),
            *self.unsealed,
        ]

    def counts(self, batch: str) -> bool:
        """Whether sealed files of a journal or a healing count: all of them are there.

        In a copy without any seal, those do that have no journal.
        """
        return batch in self.seals if self.seals else batch not in self.journals


def open_dataset(where: str | PathLike[str], journal: Path | None = None) -> Dataset:
    """Look at a dataset's folder.

    :param where: a folder or an ``s3://`` URL.
    :param journal: its folder of journals, if it is not inside.
    :raises ConfigError: if it cannot be read.
    :raises Unreadable: if one of its journals cannot be opened.
    """
    filesystem, root = locate(where)
    local = isinstance(filesystem, pafs.LocalFileSystem)
    folder = journal or (Path(root) / JOURNAL if local else None)
    dataset = Dataset(filesystem, root)
    found: list[pafs.FileInfo] = []
    try:
        for looks in itertools.count(1):
            # In this order: of a journal that has its seal, all files are there afterwards.
            unsealed = {} if folder is None else journals(folder)
            dataset.seals = _seals(filesystem, root)
            found = filesystem.get_file_info(
                pafs.FileSelector(root, recursive=True, allow_not_found=not local)
            )
            dataset.journals = {
                key: path for key, path in unsealed.items() if key not in dataset.seals
            }
            try:
                dataset.unsealed = [LinesFile(p, kept=True) for p in dataset.journals.values()]
                break
            except Unreadable:
                gone = not all(path.exists() for path in dataset.journals.values())
                if not gone or looks == MOST_LOOKS:
                    raise
    except (OSError, pa.ArrowException) as error:
        raise ConfigError(f"cannot read the dataset {where}: {error}") from error
    for info in found:
        path = PurePosixPath(info.path)
        if info.is_file and path.suffix == ENDING and not path.name.startswith("."):
            place = Place.parse(path)
            if place is not None and dataset.counts(place.batch):
                dataset.sealed.append(SealedFile(filesystem, info.path, info.size, place))
    return dataset


def _seals(filesystem: pafs.FileSystem, root: str) -> set[str]:
    """The ids of the seals."""
    found = filesystem.get_file_info(pafs.FileSelector(f"{root}/{SEALED}", allow_not_found=True))
    paths = (PurePosixPath(info.path) for info in found if info.is_file)
    return {path.name.removesuffix(SEAL_ENDING) for path in paths if path.suffix == SEAL_ENDING}


def locate(where: str | PathLike[str]) -> tuple[pafs.FileSystem, str]:
    """The file system and the folder on it.

    :raises ConfigError: if there is no such file system.
    """
    text = fspath(where)
    if "://" not in text:
        return pafs.LocalFileSystem(), str(Path(text).absolute())
    try:
        filesystem, root = pafs.FileSystem.from_uri(text)
    except (OSError, pa.ArrowException, ValueError) as error:
        raise ConfigError(f"cannot open {text}: {error}") from error
    return filesystem, root.rstrip("/")


def find(paths: Iterable[str | PathLike[str]]) -> list[Source]:
    """The recorded files that paths lead to, each once.

    :raises ConfigError: if one of them leads nowhere.
    """
    sources: dict[str, Source] = {}
    for path in paths:
        for source in _find(path):
            sources.setdefault(source.name, source)
    return list(sources.values())


def _find(where: str | PathLike[str]) -> list[Source]:
    if "://" in fspath(where):
        return open_dataset(where).sources
    path = Path(where)
    if not path.exists():
        raise ConfigError(f"there is no {path}; name a recorded file or a dataset's folder")
    if path.is_dir():
        lines = [LinesFile(p) for p in sorted(_lines_files(path), key=_age)]
        return [*open_dataset(path).sources, *lines]
    return [_file(path)]


def _file(path: Path) -> Source:
    place = Place.parse(PurePosixPath(path.absolute()))
    if place is not None:
        filesystem, name = locate(path)
        return SealedFile(filesystem, name, path.stat().st_size, place)
    if path.suffix == ENDING:
        raise Unreadable(f"{path} does not lie in a dataset's folders; name it where it lies")
    return LinesFile(path)


def journals(folder: Path) -> dict[str, Path]:
    """Id → file, of the journals in a folder, in the order of their hours."""
    named = ((path.name.removesuffix(JOURNAL_ENDING), path) for path in folder.glob("*.jsonl"))
    found = [(parsed, name, path) for name, path in named if (parsed := JournalId.parse(name))]
    return {name: path for _, name, path in sorted(found)}


def _lines_files(folder: Path) -> Iterable[Path]:
    """Files of JSON lines under a folder, but not those of datasets."""
    for path in folder.rglob("*"):
        if path.is_file() and LINES_NAME.match(path.name) and JOURNAL not in path.parts:
            yield path


def _age(path: Path) -> tuple[object, ...]:
    """Orders rotated files of one name from the oldest to the one that is written to."""
    stem, ending, mark = path.name.partition(".jsonl")
    number = mark.strip(".").removesuffix("zst").strip(".")
    newest = not number
    return str(path.parent), stem, ending, newest, len(number), number


def _order(file: SealedFile) -> tuple[object, ...]:
    """Sealed files by stream, and by time in it; what was healed stands where its day is."""
    place = file.place
    journal = JournalId.parse(place.batch)
    hour = 0.0 if journal is None else journal.hour.timestamp()
    number = 0 if journal is None else journal.number
    healed = place.batch.startswith(HEALED)
    return place.venue, place.kind, place.symbol, place.label, place.date, healed, hour, number

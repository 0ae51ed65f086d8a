"""What there is to read: paths become recorded files, those that count, in their order.

A path is a file, a dataset's folder (also ``s3://bucket/prefix``), or a folder of files.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.fs as pafs

from ..errors import ConfigError, Unreadable
from .layout import ENDING, HEALED, JOURNAL, SEALED, JournalId, Place
from .linesfile import LinesFile
from .rotated import age, lines_files
from .sources import SealedFile

if TYPE_CHECKING:
    from collections.abc import Iterable

    from .linesfile import Source

SEAL_ENDING = ".json"


@dataclass
class Dataset:
    """A dataset's folder, as it was when it was looked at.

    :ivar root: its folder on its file system.
    :ivar journals: id → file, of those that are not sealed.
    :ivar seals: the ids of seals.
    :ivar sealed: the sealed files that count.
    """

    filesystem: pafs.FileSystem
    root: str
    journals: dict[str, Path] = field(default_factory=dict[str, Path])
    seals: set[str] = field(default_factory=set[str])
    sealed: list[SealedFile] = field(default_factory=list[SealedFile])

    @property
    def sources(self) -> list[Source]:
        """Sealed files and then journals, in the order of their hours."""
        return [
            *sorted(self.sealed, key=_order),
            *(LinesFile(path) for _, path in sorted(self.journals.items())),
        ]


def open_dataset(where: str | Path, journal: Path | None = None) -> Dataset:
    """Look at a dataset's folder.

    :param where: a folder or an ``s3://`` URL.
    :param journal: its folder of journals, if it is not inside.
    :raises ConfigError: if it cannot be read.
    """
    filesystem, root = locate(where)
    dataset = Dataset(filesystem, root)
    inside = Path(root) / JOURNAL if isinstance(filesystem, pafs.LocalFileSystem) else None
    try:
        # In this order: what is sealed meanwhile is then seen in one of both at least, and a
        # journal that has its seal is left out.
        journals = _journals(journal or inside)
        found = filesystem.get_file_info(pafs.FileSelector(root, recursive=True))
    except (OSError, pa.ArrowException) as error:
        raise ConfigError(f"cannot read the dataset {where}: {error}") from error
    seals, sealed = f"{root}/{SEALED}/", list[SealedFile]()
    for info in found:
        if info.type is not pafs.FileType.File:
            continue
        path = PurePosixPath(info.path)
        if info.path.startswith(seals) and path.suffix == SEAL_ENDING:
            dataset.seals.add(path.name.removesuffix(SEAL_ENDING))
        elif path.suffix == ENDING and not path.name.startswith("."):
            place = Place.parse(path)
            if place is not None:
                sealed.append(SealedFile(filesystem, info.path, info.size, place))
    dataset.journals = {key: path for key, path in journals.items() if key not in dataset.seals}
    dataset.sealed = [file for file in sealed if file.place.batch not in dataset.journals]
    return dataset


def locate(where: str | Path) -> tuple[pafs.FileSystem, str]:
    """The file system and the folder on it.

    :raises ConfigError: if there is no such file system.
    """
    text = str(where)
    if "://" not in text:
        return pafs.LocalFileSystem(), str(Path(text).absolute())
    try:
        filesystem, root = pafs.FileSystem.from_uri(text)
    except (OSError, pa.ArrowException, ValueError) as error:
        raise ConfigError(f"cannot open {text}: {error}") from error
    return filesystem, root.rstrip("/")


def find(paths: Iterable[str | Path]) -> list[Source]:
    """The recorded files that paths lead to, each once.

    :raises ConfigError: if one of them leads nowhere.
    """
    sources: dict[str, Source] = {}
    for path in paths:
        for source in _find(path):
            sources.setdefault(source.name, source)
    return list(sources.values())


def _find(where: str | Path) -> list[Source]:
    if "://" in str(where):
        return open_dataset(where).sources
    path = Path(where)
    if not path.exists():
        raise ConfigError(f"there is no {path}; name a recorded file or a dataset's folder")
    if path.is_dir():
        lines = [LinesFile(p) for p in sorted(lines_files(path), key=age)]
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


def _journals(folder: Path | None) -> dict[str, Path]:
    if folder is None or not folder.is_dir():
        return {}
    named = ((path.name.removesuffix(".jsonl"), path) for path in folder.glob("*.jsonl"))
    return {name: path for name, path in named if JournalId.parse(name)}


def _order(file: SealedFile) -> tuple[object, ...]:
    """Sealed files by stream, and by time in it; what was healed stands where its day is."""
    place = file.place
    journal = JournalId.parse(place.batch)
    hour = 0.0 if journal is None else journal.hour.timestamp()
    number = 0 if journal is None else journal.number
    healed = place.batch.startswith(HEALED)
    return place.venue, place.kind, place.symbol, place.label, place.date, healed, hour, number

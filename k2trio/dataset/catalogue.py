"""What there is to read: paths become recorded files, those that count, in their order.

A path is a file, a dataset's folder (also ``s3://bucket/prefix``), or a folder of files, as JSON
lines and the exchange's archives. What was fetched later for a file of JSON lines lies beside it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from os import PathLike, fspath
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.fs as pafs

from ..errors import ConfigError, Unreadable
from ..paths import check_location
from .archives import Archive, ArchiveName
from .layout import HEALED, JOURNAL_ENDING, SEAL_ENDING, JournalId, Place
from .linesfile import LinesFile, NoFile, size_of
from .rotated import ENDING, JOURNAL, SEALED, LinesName, age
from .sources import SealedFile

if TYPE_CHECKING:
    from collections.abc import Iterable

    from .linesfile import Source

MOST_LOOKS = 5
"""How often a folder is looked at anew in which journals are sealed meanwhile."""


@dataclass
class Dataset:
    """A dataset's folder, as it was when it was looked at.

    :ivar root: its folder on its file system.
    :ivar journals: id → file, of those that are not sealed; of interrupted healings too.
    :ivar unsealed: the same as sources, readable even when they are sealed meanwhile.
    :ivar seals: the ids of seals.
    :ivar sealed: the sealed files that count.
    """

    filesystem: pafs.FileSystem
    root: str
    journals: dict[str, Path] = field(default_factory=dict[str, Path])
    unsealed: list[LinesFile | NoFile] = field(default_factory=list[LinesFile | NoFile])
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


def is_dataset(folder: Path) -> bool:
    """Whether a folder is that of a dataset, also of a copy without journals and seals."""
    if (folder / JOURNAL).is_dir() or (folder / SEALED).is_dir():
        return True
    return any(child.is_dir() for child in folder.glob("venue=*"))


def open_dataset(where: str | PathLike[str], journal: Path | None = None) -> Dataset:
    """Look at a dataset's folder.

    :param where: a folder or an ``s3://`` URL.
    :param journal: its folder of journals, if it is not inside.
    :raises ConfigError: if it cannot be read.
    """
    filesystem, root = locate(where)
    local = isinstance(filesystem, pafs.LocalFileSystem)
    folder = journal or (Path(root) / JOURNAL if local else None)
    dataset = Dataset(filesystem, root)
    found: list[pafs.FileInfo] = []
    try:
        for _ in range(MOST_LOOKS):
            # In this order: of a journal that has its seal, all files are there afterwards.
            unsealed = {} if folder is None else journals(folder) | healings(folder)
            dataset.seals = _seals(filesystem, root)
            found = filesystem.get_file_info(
                pafs.FileSelector(root, recursive=True, allow_not_found=not local)
            )
            dataset.journals = {
                key: path for key, path in unsealed.items() if key not in dataset.seals
            }
            dataset.unsealed = [_kept(path) for path in dataset.journals.values()]
            missing = [one for one in dataset.unsealed if isinstance(one, NoFile)]
            if all(one.path.exists() for one in missing):
                break  # else it was sealed meanwhile
    except (OSError, pa.ArrowException) as error:
        raise ConfigError(f"cannot read the dataset {where}: {error}") from error
    for info in found:
        path = PurePosixPath(info.path)
        if info.is_file and path.suffix == ENDING and not path.name.startswith("."):
            place = Place.parse(path)
            if place is not None and dataset.counts(place.batch):
                dataset.sealed.append(SealedFile(filesystem, info.path, info.size, place))
    return dataset


def _kept(path: Path) -> LinesFile | NoFile:
    """A journal, readable even when it is sealed meanwhile."""
    try:
        return LinesFile(path, healed=path.name.startswith(HEALED), kept=True)
    except Unreadable as error:
        return NoFile(path, str(error))


def _seals(filesystem: pafs.FileSystem, root: str) -> set[str]:
    """The ids of the seals."""
    found = filesystem.get_file_info(pafs.FileSelector(f"{root}/{SEALED}", allow_not_found=True))
    paths = (PurePosixPath(info.path) for info in found if info.is_file)
    return {path.name.removesuffix(SEAL_ENDING) for path in paths if path.suffix == SEAL_ENDING}


def refuse_credentials(where: str) -> None:
    """Refuse a URL with a user name or password before anything can repeat it.

    :raises ConfigError: saying where they belong.
    """
    try:
        check_location(where)
    except ValueError as error:
        raise ConfigError(str(error)) from None


def locate(where: str | PathLike[str]) -> tuple[pafs.FileSystem, str]:
    """The file system and the folder on it.

    :raises ConfigError: if there is no such file system, or its URL holds a password.
    """
    text = fspath(where)
    if "://" not in text:
        return pafs.LocalFileSystem(), str(Path(text).absolute())
    refuse_credentials(text)
    try:
        filesystem, root = pafs.FileSystem.from_uri(text)
    except (OSError, pa.ArrowException, ValueError) as error:
        raise ConfigError(f"cannot open {text}: {error}") from error
    return filesystem, root.rstrip("/")


@dataclass
class Survey:
    """What paths lead to.

    :ivar sources: the recorded files that count, each once.
    :ivar datasets: the folders of datasets among them.
    :ivar folders: those that were named, on their file systems.
    """

    sources: list[Source] = field(default_factory=list["Source"])
    datasets: list[Dataset] = field(default_factory=list[Dataset])
    folders: list[str] = field(default_factory=list[str])


def survey(paths: Iterable[str | PathLike[str]]) -> Survey:
    """See what there is.

    :raises ConfigError: if one of the paths leads nowhere.
    """
    found: dict[str, Source] = {}
    datasets: dict[str, Dataset] = {}
    folders: list[str] = []
    for path in paths:
        one = _look(path)
        for dataset in one.datasets:
            datasets.setdefault(dataset.root, dataset)
        if not one.sources and not any(dataset.seals for dataset in one.datasets):
            raise ConfigError(f"there are no recorded files in {path}")
        for source in one.sources:
            found.setdefault(source.name, source)
        folders += one.folders
    return Survey(list(found.values()), list(datasets.values()), folders)


def find(paths: Iterable[str | PathLike[str]]) -> list[Source]:
    """The recorded files that paths lead to, each once.

    :raises ConfigError: if one of them leads nowhere.
    """
    return survey(paths).sources


def survey_dataset(where: str | PathLike[str], journal: Path | None = None) -> Survey:
    """See what there is of a dataset alone, whatever else lies in its folder.

    :param journal: its folder of journals, if it is not inside.
    :raises ConfigError: if it cannot be read.
    """
    dataset = open_dataset(where, journal)
    return Survey(dataset.sources, [dataset], [dataset.root])


def _look(where: str | PathLike[str]) -> Survey:
    if "://" in fspath(where):
        return survey_dataset(where)
    path = Path(where).absolute()
    if not path.exists():
        raise ConfigError(f"there is no {where}; name a recorded file or a dataset's folder")
    if not path.is_dir():
        return Survey(_files(path))
    # In none of them, it may be a part of one.
    datasets = [open_dataset(root) for root in _roots(path)] or [open_dataset(path)]
    sources = [source for dataset in datasets for source in dataset.sources]
    return Survey([*sources, *_others(path)], datasets, [str(path)])


def _roots(folder: Path) -> list[Path]:
    """The folders of datasets in a folder, or itself: each has journals and seals of its own."""
    if is_dataset(folder):
        return [folder]
    children = sorted(child for child in folder.iterdir() if child.is_dir())
    return [root for child in children if not child.is_symlink() for root in _roots(child)]


def _files(path: Path) -> list[Source]:
    """A file that was named, and its companion."""
    place = Place.parse(PurePosixPath(path))
    if place is not None:
        filesystem, name = locate(path)
        return [SealedFile(filesystem, name, size_of(path), place)]
    if path.suffix == ENDING:
        why = f"{path} does not lie in a dataset's folders; name it where it lies"
        return [NoFile(path, why)]
    archive = ArchiveName.parse(path.name)
    if archive is not None:
        return [Archive(path, archive)]
    name_of = LinesName.parse(path.name)
    if name_of is None or name_of.healed:
        return [LinesFile(path, healed=name_of is not None)]
    companion = path.with_name(name_of.companion)
    healed = [LinesFile(companion, healed=True)] if companion.exists() else []
    return [LinesFile(path), *healed]


def _others(folder: Path) -> list[Source]:
    """Files under a folder that are not of datasets: JSON lines, and archives."""
    lines: list[LinesFile] = []
    archives: list[Source] = []
    for path in folder.rglob("*"):
        if JOURNAL in path.relative_to(folder).parts or not path.is_file():
            continue
        archive = ArchiveName.parse(path.name)
        if archive is not None:
            archives.append(Archive(path, archive))
        elif (name := LinesName.parse(path.name)) is not None:
            lines.append(LinesFile(path, healed=name.healed))
    lines.sort(key=lambda file: age(file.path))
    return [*lines, *sorted(archives, key=lambda file: file.name)]


def healings(folder: Path) -> dict[str, Path]:
    """Id → file, of healings in a folder of journals: what an interrupted one has fetched."""
    return {
        path.name.removesuffix(JOURNAL_ENDING): path
        for path in sorted(folder.glob(f"{HEALED}*{JOURNAL_ENDING}"))
    }


def journals(folder: Path) -> dict[str, Path]:
    """Id → file, of the journals in a folder, in the order of their hours."""
    named = ((path.name.removesuffix(JOURNAL_ENDING), path) for path in folder.glob("*.jsonl"))
    found = [(parsed, name, path) for name, path in named if (parsed := JournalId.parse(name))]
    return {name: path for _, name, path in sorted(found)}


def _order(file: SealedFile) -> tuple[object, ...]:
    """Sealed files by stream, and by time in it; what was healed stands where its day is."""
    place = file.place
    journal = JournalId.parse(place.batch)
    hour = 0.0 if journal is None else journal.hour.timestamp()
    number = 0 if journal is None else journal.number
    healed = place.batch.startswith(HEALED)
    return place.venue, place.kind, place.symbol, place.label, place.date, healed, hour, number

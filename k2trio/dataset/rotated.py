"""Files of JSON lines as they lie in folders: how they are called, and which is the older one."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple, Self

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

JOURNAL = "_journal"
"""Folder of what is not sealed yet, inside a dataset's."""
SEALED = "_sealed"
"""Folder of the seals, beside it."""
ENDING = ".parquet"
"""How sealed files end."""
COMPANION = ".healed.jsonl"
"""How the file ends that holds what was fetched later for files of JSON lines of one name."""

_LINES_NAME = re.compile(r"(?P<stem>.+?)\.(jsonl|zst)(?P<mark>(\.\w+)*)\Z")


class LinesName(NamedTuple):
    """How a file of JSON lines is called, rotated or not.

    :ivar stem: what all files of one output have in common.
    :ivar mark: what tells a rotated one apart, without the ending of compression.
    """

    stem: str
    mark: str

    @classmethod
    def parse(cls, name: str) -> Self | None:
        """What a file's name says; None if no such file is called so."""
        match = None if name.startswith(".") else _LINES_NAME.match(name)
        if match is None:
            return None
        marks = [mark for mark in match["mark"].split(".") if mark not in ("", "zst")]
        return cls(match["stem"], ".".join(marks))

    @property
    def healed(self) -> bool:
        """Whether it holds what was fetched later, for the files of that name."""
        return f"{self.stem}.jsonl".endswith(COMPANION)

    @property
    def companion(self) -> str:
        """The name of the file that holds what was fetched later for it."""
        return f"{self.stem}{COMPANION}"


def lines_files(folder: Path) -> Iterable[Path]:
    """Files of JSON lines under a folder, but not those of datasets."""
    for path in folder.rglob("*"):
        named = LinesName.parse(path.name) is not None
        if named and JOURNAL not in path.relative_to(folder).parts and path.is_file():
            yield path


def series(path: Path) -> Path:
    """What the rotated files of one output have in common: the path without its ending."""
    name = LinesName.parse(path.name)
    return path if name is None else path.with_name(name.stem)


def age(path: Path) -> tuple[str, bool, tuple[tuple[int, str], ...]]:
    """Orders files of JSON lines of one name from the oldest to the one that is written to."""
    name = LinesName.parse(path.name)
    if name is None:
        return str(path), True, ()
    marks = tuple((len(mark), mark) for mark in name.mark.split("."))
    return str(series(path)), not name.mark, marks

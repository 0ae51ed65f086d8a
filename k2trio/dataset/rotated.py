"""Files of JSON lines as they lie in folders: how they are called, and which is the older one."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

JOURNAL = "_journal"
"""Folder of what is not sealed yet, inside a dataset's."""
LINES_NAME = re.compile(r".+\.(jsonl|zst)(\.\w+)*\Z")
"""How files of JSON lines are called, rotated ones too."""


def lines_files(folder: Path) -> Iterable[Path]:
    """Files of JSON lines under a folder, but not those of datasets."""
    for path in folder.rglob("*"):
        if path.is_file() and LINES_NAME.match(path.name) and JOURNAL not in path.parts:
            yield path


def age(path: Path) -> tuple[object, ...]:
    """Orders rotated files of one name from the oldest to the one that is written to."""
    number = _number(path)
    newest = not number
    return *series(path), newest, len(number), number


def series(path: Path) -> tuple[str, str, bool]:
    """What the rotated files of one output have in common."""
    stem, ending, _ = path.name.partition(".jsonl")
    return str(path.parent), stem, bool(ending)


def _number(path: Path) -> str:
    _, _, mark = path.name.partition(".jsonl")
    return mark.strip(".").removesuffix("zst").strip(".")

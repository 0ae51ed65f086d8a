"""Recorded items in the order in which the feed delivered them, whatever files they lie in."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import ConfigError
from ..extras import require
from .courses import of_lines, told_together
from .filled import HealedLines, filled
from .linesfile import LinesFile
from .rotated import ENDING, JOURNAL, SEALED, LinesName, age, lines_files, series

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from .courses import Course
    from .wanted import Wanted


def delivered(paths: Sequence[str], wanted: Wanted) -> Course:
    """What was recorded, in the order of delivery.

    :param paths: recorded files, folders of them, and datasets.
    :raises ConfigError: if one of them leads nowhere, or needs an extra.
    :raises Unreadable: where a file is not what it should be, after what was before that.
    """
    lines: list[Path] = []
    others: list[str] = []
    for path in paths:
        local = Path(path)
        if "://" in str(path):
            others.append(path)
        elif not local.exists():
            raise ConfigError(f"there is no {path}; name a recorded file or a dataset's folder")
        elif local.is_dir():
            lines += lines_files(local)
            if _is_dataset(local):
                others.append(path)
        elif local.suffix == ENDING:
            others.append(path)
        else:
            lines.append(local)
    courses = _of_lines(lines, wanted)
    if others:
        require("pyarrow", "parquet", str(others[0]))
        from .sealed import courses_of  # it needs the extra

        courses += courses_of(others, wanted)
    if not courses:
        raise ConfigError(f"nothing is recorded in {', '.join(map(str, paths))}")
    yield from courses[0] if len(courses) == 1 else told_together(courses)


def _is_dataset(folder: Path) -> bool:
    """Whether there is more in it than files of lines."""
    marks = (folder / JOURNAL, folder / SEALED)
    return any(mark.is_dir() for mark in marks) or any(folder.rglob(f"*{ENDING}"))


def _of_lines(paths: Iterable[Path], wanted: Wanted) -> list[Course]:
    """One course of all files of a name, with what was fetched later for them."""
    rotated: dict[Path, list[LinesFile]] = {}
    for path in sorted({path.absolute() for path in paths}, key=age):
        name = LinesName.parse(path.name)
        if name is None or not name.healed:
            rotated.setdefault(series(path), []).append(LinesFile(path))
    courses: list[Course] = []
    for stem, files in rotated.items():
        course = of_lines(files, wanted)
        name = LinesName.parse(files[0].path.name)
        companion = None if name is None else stem.with_name(name.companion)
        if companion is not None and companion.exists():
            course = filled(course, HealedLines(LinesFile(companion)))
        courses.append(course)
    return courses

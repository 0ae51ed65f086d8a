"""Whose journals lie in a folder of their own, so that nobody seals them into another dataset.

Journals of a dataset on this machine lie inside of it. Those of an object store lie anywhere, and
two programs may be given one folder: each would seal what the other has received.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .. import files
from ..errors import ConfigError, SinkError

if TYPE_CHECKING:
    from pathlib import Path

NAME = ".dataset"
"""The file in the folder that names the dataset."""


def refuse_others(folder: Path, target: str) -> bool:
    """Refuse a folder of journals that is another dataset's; returns whether it is this one's.

    :raises ConfigError: saying whose it is.
    :raises SinkError: if that cannot be told.
    """
    path = folder / NAME
    try:
        told = files.read(path).decode("utf-8", "backslashreplace").strip()
    except FileNotFoundError:
        return False
    except OSError as error:
        raise SinkError(f"cannot read {path}: {files.why(error)}") from error
    if told != _plain(target):
        raise ConfigError(
            f"the journals in {folder} are of {told}; name another folder, "
            f"or remove {path} if they are to go to {target}"
        )
    return True


def claim(folder: Path, target: str) -> None:
    """Let a folder of journals be that of a dataset.

    :raises ConfigError: if it is another one's.
    :raises SinkError: if that cannot be written.
    """
    if refuse_others(folder, target):
        return
    try:
        files.replace(folder / NAME, f"{_plain(target)}\n".encode(), files.SHARED)
    except OSError as error:
        raise SinkError(f"cannot write {folder / NAME}: {files.why(error)}") from error


def _plain(target: str) -> str:
    """Without what says how a bucket is reached."""
    return target.partition("?")[0].rstrip("/")

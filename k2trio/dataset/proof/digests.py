"""SHA-256 of recorded files, each made once."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from ... import files
from ...errors import Unreadable

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..linesfile import Source

BLOCK_BYTES = 1 << 20


class Digests:
    """The SHA-256 of files, as hexadecimal.

    :param tell: is told how many bytes more have been read.
    """

    def __init__(self, tell: Callable[[int], object] = lambda _: None) -> None:
        self._tell = tell
        self._made: dict[str, str] = {}

    def of(self, source: Source) -> str:
        """Of one file.

        :raises Unreadable: if it cannot be read.
        """
        name = source.name
        if name not in self._made:
            digest = hashlib.sha256()
            try:
                with source.open() as file:
                    while block := file.read(BLOCK_BYTES):
                        digest.update(block)
                        self._tell(len(block))
            except OSError as error:
                raise Unreadable(f"cannot read {name}: {files.why(error)}") from error
            self._made[name] = digest.hexdigest()
        return self._made[name]

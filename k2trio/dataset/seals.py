"""The seal of a journal: what was made of it. With it, and not before, its sealed files count."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import TYPE_CHECKING

import msgspec

from ..errors import Unreadable
from .layout import SEAL_ENDING
from .rotated import SEALED

if TYPE_CHECKING:
    from .stores import Store

SEAL_VERSION = 1
"""Of the format of seals."""


class SealedPart(msgspec.Struct, frozen=True):
    """A sealed file.

    :ivar path: in the dataset.
    :ivar venue: the exchange.
    :ivar stream: its name; empty where the file holds remarks of several.
    :ivar kind: the table.
    :ivar rows: how many there are.
    :ivar first: the lowest first key; None where rows have no keys.
    :ivar last: the highest last key.
    :ivar bytes: the size of the file.
    :ivar sha256: of the whole file.
    """

    path: str
    venue: str
    stream: str
    kind: str
    rows: int
    first: int | None
    last: int | None
    bytes: int
    sha256: str


class Seal(msgspec.Struct, frozen=True):
    """What was made of a journal, or of what was fetched later.

    :ivar batch: the id of the journal, or of the healing.
    :ivar rows: of all files together; as many as the journal has lines.
    :ivar torn_bytes: of half a line at the journal's end, which nobody was told was written.
    :ivar writer: what wrote it.
    """

    batch: str
    rows: int
    torn_bytes: int
    files: tuple[SealedPart, ...]
    writer: str
    version: int = SEAL_VERSION


def seal_path(batch: str) -> PurePosixPath:
    """Where the seal of a journal or a healing is, in the dataset."""
    return PurePosixPath(SEALED, batch + SEAL_ENDING)


def put_seal(store: Store, seal: Seal) -> None:
    """Write a seal, after its files.

    :raises SinkError: if it cannot be written.
    """
    with store.new(seal_path(seal.batch)) as file:
        file.write(msgspec.json.format(_encode(seal), indent=1))
    store.settle()


def parse_seal(data: bytes, name: str) -> Seal:
    """Read a seal.

    :param name: what to call it in an error.
    :raises Unreadable: if it is none, or of a newer version.
    """
    try:
        seal = _decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise Unreadable(
            f"{name} is no seal of ours ({error}); put it back from a copy, or remove it, and the "
            f"sealed files of {PurePosixPath(name).stem}, and run heal: it fetches what REST has"
        ) from error
    if seal.version > SEAL_VERSION:
        raise Unreadable(f"{name} is of version {seal.version}; update k2trio to read it")
    return seal


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Seal).decode

"""A manifest: what recorded files hold, in a file of its own, to be checked again anywhere.

Files are named as they lie under the folder that was named, so they may have moved together.
"""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import TYPE_CHECKING

import msgspec

from ... import files
from ...errors import ConfigError, SinkError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from ..linesfile import Source
    from .digests import Digests
    from .report import StreamReport

VERSION = 1
"""Of the format."""


class FileRow(msgspec.Struct, frozen=True):
    """A file.

    :ivar name: its path under the folder that was named; of a file that was named, its name.
    """

    name: str
    bytes: int
    sha256: str


class StreamRow(msgspec.Struct, frozen=True):
    """What there is of a stream; see :class:`~.report.StreamReport`."""

    venue: str
    stream: str
    archive: bool
    messages: int
    first: int | None
    last: int | None
    missing: int


class Manifest(msgspec.Struct, frozen=True):
    """What there is."""

    files: list[FileRow]
    streams: list[StreamRow]
    version: int = VERSION


def manifest_of(
    sources: Sequence[Source],
    roots: Sequence[str],
    streams: Iterable[StreamReport],
    digests: Digests,
) -> Manifest:
    """The manifest of what was read.

    :param roots: the folders that were named.
    :raises ConfigError: if two files would have one name.
    :raises Unreadable: if a file cannot be read.
    """
    named: dict[str, Source] = {}
    for source in sources:
        name = _name(source, roots)
        if name in named:
            raise ConfigError(
                f"{source.name} and {named[name].name} are both {name} in a manifest; "
                "make one of each folder"
            )
        named[name] = source
    rows = [FileRow(name, named[name].size, digests.of(named[name])) for name in sorted(named)]
    return Manifest(rows, [_stream_row(report) for report in streams])


def try_to_write(path: Path) -> None:
    """Find out whether a manifest could be written.

    :raises ConfigError: if it could not.
    """
    try:
        files.try_to_replace(path)
    except OSError as error:
        raise ConfigError(f"cannot write the manifest {path}: {files.why(error)}") from error


def write(path: Path, manifest: Manifest) -> None:
    """Write a manifest, whole or not at all.

    :raises SinkError: if it cannot be written.
    """
    data = msgspec.json.format(msgspec.json.encode(manifest), indent=1) + b"\n"
    try:
        files.replace(path, data, files.SHARED)
    except OSError as error:
        raise SinkError(f"cannot write the manifest {path}: {files.why(error)}") from error


def read(path: Path) -> Manifest | None:
    """A manifest that was written; None if there is none.

    :raises ConfigError: if there is something else.
    """
    try:
        manifest = msgspec.json.decode(files.read(path), type=Manifest)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ConfigError(f"cannot read the manifest {path}: {files.why(error)}") from error
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is no manifest of ours; name another file") from error
    if manifest.version > VERSION:
        raise ConfigError(f"{path} is of version {manifest.version}; update k2trio to read it")
    return manifest


def differences(before: Manifest, now: Manifest) -> list[str]:
    """A line for all that is not as it was."""
    lines: list[str] = []
    old_files = {row.name: row for row in before.files}
    new_files = {row.name: row for row in now.files}
    for name in sorted(old_files.keys() | new_files.keys()):
        old, new = old_files.get(name), new_files.get(name)
        if new is None:
            lines.append(f"{name} is in the manifest, and is not there")
        elif old is None:
            lines.append(f"{name} is not in the manifest")
        elif old.bytes != new.bytes:
            lines.append(f"{name} has {new.bytes} bytes, and the manifest says {old.bytes}")
        elif old.sha256 != new.sha256:
            lines.append(f"{name} has another SHA-256 than the manifest says")
    old_streams = {(row.venue, row.stream, row.archive): row for row in before.streams}
    new_streams = {(row.venue, row.stream, row.archive): row for row in now.streams}
    for key in sorted(old_streams.keys() | new_streams.keys()):
        was, is_now = old_streams.get(key), new_streams.get(key)
        if was != is_now:
            lines.append(f"{key[0]} {key[1]}: {_told(is_now)}, and the manifest says {_told(was)}")
    return lines


def _told(row: StreamRow | None) -> str:
    if row is None:
        return "nothing"
    return f"{row.messages} messages, {row.first} to {row.last}, {row.missing} missing"


def _stream_row(report: StreamReport) -> StreamRow:
    missing = sum(row.ids for row in report.missing)
    return StreamRow(
        report.venue,
        report.stream,
        report.archive,
        report.messages,
        report.first,
        report.last,
        missing,
    )


def _name(source: Source, roots: Sequence[str]) -> str:
    path = PurePosixPath(source.name)
    inside = [path.relative_to(root) for root in roots if path.is_relative_to(root)]
    return str(min(inside, key=lambda name: len(name.parts), default=PurePosixPath(path.name)))

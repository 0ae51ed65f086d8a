"""Partitions of Kafka topics as sources of a proof: each is read once, as a file of lines is."""

from __future__ import annotations

import time
from contextlib import ExitStack, contextmanager
from typing import IO, TYPE_CHECKING

from ..dataset.linesfile import Source
from ..errors import ConfigError, Unreadable
from ..kafka_urls import parse_kafka_url
from .client import SILENCE_TIMEOUT_S, LogClient
from .reading import line_of

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence

    from ..dataset.columns import Piece
    from ..sinks.parsing import Line
    from .client import Stretch

CHUNK_BYTES = 8 << 20
"""Values that become columns at once; see ``linesfile.CHUNK_BYTES``."""
CHUNK_RECORDS = 1 << 16
"""The same in records, which have more to them than their values."""


class PartitionSource(Source):
    """What a partition held when it was looked at.

    :ivar size: bytes of values, as far as they have been read.
    :ivar streams: venue and stream of all that was found in it.
    """

    size: int
    done: int

    def __init__(self, client: LogClient, stretch: Stretch) -> None:
        super().__init__(str(stretch), 0)
        self.stretch: Stretch = stretch
        self.streams: set[tuple[str, str]] = set()
        self._client = client

    def open(self) -> IO[bytes]:
        """See :class:`Source`: it is no file.

        :raises Unreadable: always.
        """
        raise Unreadable(f"{self.name} is no file")

    def pieces(self, columns: Sequence[str] | None = None) -> Iterator[Piece]:
        """See :class:`Source`."""
        from ..dataset.columns import pieces  # it needs another extra

        sequence = 0
        for lines in self._lines():
            self.streams.update((line.venue or "", line.stream) for line in lines)
            yield from pieces(lines, sequence, columns)
            sequence += len(lines)

    def _lines(self) -> Iterator[list[Line]]:
        """The lines of its records, in chunks.

        :raises Unreadable: where there is something else, after what was before that.
        """
        self.size = self.done = 0
        if self.stretch.begin >= self.stretch.end:
            return
        self._client.read([self.stretch])
        at_end = False
        while not at_end:
            lines: list[Line] = []
            try:
                at_end = self._fill(lines)
            except Unreadable:
                yield lines
                raise
            yield lines

    def _fill(self, lines: list[Line]) -> bool:
        """Read a chunk; returns whether it is the last one."""
        begin, quiet_s = self.done, 0.0
        while self.done < begin + CHUNK_BYTES and len(lines) < CHUNK_RECORDS:
            began = time.monotonic()
            messages = self._client.poll()
            quiet_s = 0.0 if messages else quiet_s + time.monotonic() - began
            if quiet_s > SILENCE_TIMEOUT_S:
                raise self._client.silent(f"read {self.name} to its end")
            for message in messages:
                if int(message.offset() or 0) >= self.stretch.end:
                    return True
                if message.error() is None:  # else it says that a lower end was reached
                    lines.append(line_of(message))
                    self.size = self.done = self.done + len(message.value() or b"")
        return False


@contextmanager
def open_partitions(
    urls: Iterable[str], properties: Mapping[str, str]
) -> Generator[list[PartitionSource]]:
    """The partitions of the topics that URLs mean, each once, as they are now.

    :param properties: of librdkafka.
    :raises ConfigError: for what is no URL of topics, and for properties that cannot be.
    :raises BrokerUnavailable: if no broker answers.
    """
    found: dict[tuple[str, str], PartitionSource] = {}
    with ExitStack() as stack:
        for text in urls:
            try:
                url = parse_kafka_url(text)
            except ValueError as error:
                raise ConfigError(str(error)) from None
            client = LogClient(url, properties)
            stack.callback(client.close)
            for stretch in client.stretches(client.partitions()):
                source = PartitionSource(client, stretch)
                found.setdefault((url.bootstrap, source.name), source)
        yield list(found.values())

"""``k2trio verify``: what recorded files, or topics, hold of each stream, and what they lack.

The exit code is 0 if nothing is missing and nothing wrong, 1 if something is, 2 if something could
not be read. What the feed declared missing is missing all the same, but for ids that the venue
itself does not have; why it is, the report says.
"""

from __future__ import annotations

import signal
from contextlib import ExitStack, contextmanager
from pathlib import Path  # noqa: TC003 - pydantic looks at it
from typing import TYPE_CHECKING

import msgspec
from pydantic import Field

from ..dataset.catalogue import survey
from ..dataset.proof import manifest
from ..dataset.proof.digests import Digests
from ..dataset.proof.proof import prove
from ..dataset.proof.report import Report, comparison_report, stream_report
from ..dataset.proof.sealed import Findings, check_archives, check_seals
from ..errors import ConfigError, Unreadable
from ..extras import require
from ..kafka.scattered import scattered_in
from ..kafka_urls import SCHEME
from . import verdict
from .options import Layout, Options
from .progress import progress
from .run import EXIT_FAILED, EXIT_OK, EXIT_USAGE
from .terminal import put

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

    from ..dataset.catalogue import Survey
    from ..dataset.proof.report import StreamReport
    from ..kafka.sources import PartitionSource

LAYOUT = Layout(words="paths")
EXIT_INTERRUPTED = 128 + signal.SIGINT
"""As shells have it."""


class VerifyOptions(Options):
    """Prove what recorded files or Kafka topics hold of each stream, and what they lack.

    A PATH is a dataset's folder or s3:// URL, a file of JSON lines, an archive of the exchange, a
    folder of those, or the kafka:// URL that a run writes to. Exit code: 0 nothing missing and
    nothing wrong, 1 something is, 2 something cannot be read.
    """

    paths: tuple[str, ...] = Field((), description="What to read; rotated files in any order.")
    json_: bool = Field(False, description="Print the report as JSON instead of tables.")
    manifest: Path | None = Field(
        None,
        description="Write ranges, counts and SHA-256 to this file; if it is there already, check"
        " against it.",
    )
    kafka_properties: Path | None = Field(
        None, description="File of librdkafka properties (name=value lines) for kafka:// URLs."
    )


def verify(options: VerifyOptions) -> int:
    """Read, print what was found, and return the exit code.

    :raises ConfigError: if a path leads nowhere.
    """
    if not options.paths:
        raise ConfigError("name recorded files or folders: verify PATH…")
    try:
        report = _verified(options)
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    if options.json_:
        put(msgspec.json.format(msgspec.json.encode(report), indent=1).decode() + "\n")
    else:
        verdict.show(report)
    return report.exit


def _verified(options: VerifyOptions) -> Report:
    before = None if options.manifest is None else manifest.read(options.manifest)
    if options.manifest is not None and before is None:
        manifest.try_to_write(options.manifest)  # before hours of reading
    found = survey([path for path in options.paths if not path.startswith(SCHEME)])
    findings = Findings()
    with _partitions(options, findings) as partitions:
        sources = [*found.sources, *partitions]
        total = sum(source.size for source in found.sources)
        with progress("read", None if partitions else total) as tell:
            proof = prove(sources, tell)
        scattered = scattered_in(partitions)
    streams = [stream_report(account) for account in proof.accounts]
    with progress("checked", total) as tell:
        digests = Digests(tell)
        for dataset in found.datasets:
            check_seals(dataset, digests, findings)
        check_archives(found.sources, digests, findings)
        if options.manifest is not None:
            _keep_manifest(options.manifest, before, found, streams, digests, findings)
    comparisons = [comparison_report(one) for one in proof.comparisons]
    unreadable = [*proof.unreadable, *findings.unreadable]
    complete = not (
        unreadable
        or findings.changed
        or scattered
        or not all(stream.complete for stream in streams)
        or any(one.different for one in comparisons)
    )
    return Report(
        files=len(found.sources),
        partitions=len(partitions),
        bytes=sum(source.size for source in sources),
        streams=streams,
        comparisons=comparisons,
        torn=proof.torn,
        unreadable=unreadable,
        changed=findings.changed,
        scattered=scattered,
        complete=complete,
        exit=EXIT_USAGE if unreadable else EXIT_OK if complete else EXIT_FAILED,
    )


@contextmanager
def _partitions(options: VerifyOptions, findings: Findings) -> Generator[Sequence[PartitionSource]]:
    """Those of the topics that were named, while they are read.

    :raises ConfigError: if a URL leads to none, or options do not go with it.
    """
    urls = [path for path in options.paths if path.startswith(SCHEME)]
    if not urls:
        if options.kafka_properties is not None:
            raise ConfigError("--kafka-properties is for kafka:// URLs; name one, or leave it out")
        yield ()
        return
    if options.manifest is not None:
        raise ConfigError("a manifest is of files: leave out --manifest, or the kafka:// URLs")
    require("confluent_kafka", "kafka", urls[0])
    from ..kafka.properties import load_properties
    from ..kafka.sources import open_partitions  # it needs the extra

    properties = load_properties(options.kafka_properties)
    with ExitStack() as stack:
        try:
            found = stack.enter_context(open_partitions(urls, properties))
        except Unreadable as error:
            findings.unreadable.append(str(error))
            found = []
        yield found


def _keep_manifest(
    path: Path,
    before: manifest.Manifest | None,
    found: Survey,
    streams: list[StreamReport],
    digests: Digests,
    findings: Findings,
) -> None:
    """Write a manifest, or compare with the one that is there."""
    try:
        now = manifest.manifest_of(found.sources, found.folders, streams, digests)
    except Unreadable as error:
        findings.unreadable.append(str(error))
        return
    if before is None:
        manifest.write(path, now)
    else:
        findings.changed += manifest.differences(before, now)

"""Where a run's messages go, as people name it: standard output, files, datasets, Kafka."""

from __future__ import annotations

import enum
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from .kafka_urls import SCHEME, parse_kafka_url
from .paths import check_location

if TYPE_CHECKING:
    from collections.abc import Sequence

ZSTD_ENDING = ".jsonl.zst"
DATASET = "parquet:"
BUCKET = "s3://"

_BUCKET = re.compile(r"s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9](/[^\s?#]*)?\Z")
"""A bucket's name as Amazon S3 has them ("Bucket naming rules"), and a prefix."""


class Form(enum.Enum):
    """What is written there."""

    STANDARD_OUTPUT = "standard output"
    LINES = "JSON lines"
    ZSTD = "JSON lines in zstd"
    DATASET = "Parquet"
    KAFKA = "Kafka"


@dataclass(frozen=True)
class Target:
    """One of the values of OUTPUT.

    :ivar where: a path, what stands behind ``parquet:``, or the URL of Kafka topics.
    """

    form: Form
    where: str

    def __str__(self) -> str:
        return f"{DATASET}{self.where}" if self.form is Form.DATASET else self.where

    @property
    def remote(self) -> bool:
        """Whether it lies on another machine."""
        if self.form is Form.DATASET:
            return self.where.startswith(BUCKET)
        return self.form is Form.KAFKA

    @property
    def path(self) -> Path | None:
        """The file or folder on this machine; None where there is none."""
        return None if self.remote or self.form is Form.STANDARD_OUTPUT else Path(self.where)

    @property
    def file(self) -> Path | None:
        """The one file that is appended to; None where there is none."""
        return self.path if self.form in (Form.LINES, Form.ZSTD) else None


def parse_target(text: str) -> Target:
    """Understand what somebody typed.

    :raises ValueError: that it cannot be a target, and what to write.
    """
    if "\0" in text:
        raise ValueError("no name of an output holds a NUL")
    if text == "-":
        return Target(Form.STANDARD_OUTPUT, text)
    if text.startswith(DATASET):
        where = text.removeprefix(DATASET)
        if not where:
            raise ValueError(f"{text!r} names no folder; write {DATASET}FOLDER")
        if "://" in where and not _BUCKET.match(where):
            check_location(where)
            raise ValueError(f"{_shown(text)} is no bucket; write {DATASET}{BUCKET}BUCKET/PREFIX")
        return Target(Form.DATASET, where.rstrip("/") or "/")
    if text.startswith(SCHEME):
        return Target(Form.KAFKA, str(parse_kafka_url(text)))
    if "://" in text:
        check_location(text)
        cure = f"did you mean {DATASET}{text}?" if _BUCKET.match(text) else "name a file"
        raise ValueError(f"{_shown(text)} is no file; {cure}")
    if text.endswith(".parquet"):
        raise ValueError(
            f"{text!r} is no folder; did you mean {DATASET}{text[: -len('.parquet')]}?"
        )
    if text.endswith(ZSTD_ENDING):
        return Target(Form.ZSTD, text)
    if text.endswith((".zst", ".zstd")):
        stem = re.sub(r"(\.jsonl?|\.ndjson)?\.zstd?\Z", "", text)
        raise ValueError(
            f"{text!r} does not end in {ZSTD_ENDING}; did you mean {stem}{ZSTD_ENDING}?"
        )
    return Target(Form.LINES, text)


def _shown(text: str) -> str:
    """A text that is no target; of a URL that may be cut off in a password, by the comma that
    parts outputs, only the beginning.
    """
    scheme, found, rest = text.partition("://")
    return repr(f"{scheme}://…" if found and ":" in rest else text)


def check_outputs(
    targets: Sequence[Target], journal: Path | None, book_levels: int, shards: int
) -> None:
    """Refuse outputs that do not go together.

    :param journal: a folder for what is not sealed yet.
    :param book_levels: of samples of books in place of messages; 0 for none.
    :param shards: that several processes part the streams into; 0 for one process.
    :raises ValueError: saying which, and what to change.
    """
    if [target.form for target in targets].count(Form.STANDARD_OUTPUT) > 1:
        raise ValueError("OUTPUT names standard output twice; leave one out")
    if book_levels and (sets := [one for one in targets if one.form in (Form.DATASET, Form.KAFKA)]):
        raise ValueError(
            f"{sets[0]} takes messages, and BOOK_LEVELS brings samples of books in place of them; "
            "write those to a file of JSON lines"
        )
    logs = [target for target in targets if target.form is Form.KAFKA]
    if len(logs) > 1:
        raise ValueError(f"{logs[0]} and {logs[1]}: a run writes to one Kafka; run two programs")
    if shards and (not logs or len(targets) > 1):
        raise ValueError(
            "SHARDS parts the streams among processes, each of which writes what is its own: set "
            "OUTPUT to a kafka:// URL, and to nothing else"
        )
    remote = [target for target in targets if target.remote and target.form is Form.DATASET]
    if remote and journal is None:
        raise ValueError(f"{remote[0]} needs a folder of this machine for its journal: set JOURNAL")
    if len(remote) > 1:
        raise ValueError(f"{remote[0]} and {remote[1]} need a JOURNAL each; run two programs")

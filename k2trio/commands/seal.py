"""``k2trio seal``: make sealed Parquet of the journals that nobody writes to any more.

A collector starts it by itself after each hour. By hand it is for what a collector left that runs
no more; it is safe beside one that does, beside another of itself, and when it is killed.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

from pydantic import Field

from .. import __version__
from ..dataset.catalogue import refuse_credentials
from ..dataset.rotated import JOURNAL
from ..dataset.sealing import seal_all
from ..errors import ConfigError
from .options import Options
from .run import EXIT_FAILED, EXIT_OK, complain
from .terminal import put_line

NICENESS = 19
"""How far it stands back where a system has no time that only the idle get."""


class SealOptions(Options):
    """Make sealed Parquet files of the journals of a dataset that nobody writes to.

    PATH is the dataset's folder, or s3://bucket/prefix.
    """

    journal: Path | None = Field(
        default=None, description="Folder of the journals, if it is not PATH/_journal."
    )


def seal(target: str, options: SealOptions) -> int:
    """Seal what can be sealed; returns the exit code.

    :raises ConfigError: if there is nothing of that kind.
    """
    if not target:
        raise ConfigError("name the dataset: seal FOLDER, or seal s3://bucket/prefix")
    refuse_credentials(target)
    folder = options.journal
    if folder is None:
        if "://" in target:
            raise ConfigError(f"name the folder of the journals of {target} with --journal")
        folder = Path(target) / JOURNAL
    # A Ctrl-C may end it anywhere, as a crash may.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    _stand_back()
    failed = False
    for outcome in seal_all(target, folder, f"k2trio {__version__}"):
        name = outcome.journal.name
        if outcome.problem is not None:
            complain([outcome.problem])
            failed = True
        elif outcome.busy:
            put_line(f"{name}: in use by another program")
        elif outcome.seal is None:
            put_line(f"{name}: nothing to seal")
        else:
            parts = outcome.seal.files
            size = sum(part.bytes for part in parts)
            put_line(f"{name}: {outcome.seal.rows} rows in {len(parts)} files, {size} bytes")
    return EXIT_FAILED if failed else EXIT_OK


def _stand_back() -> None:
    """Take only what a collector and everybody else on this machine leave of the processors.

    Being nice is not enough: whoever is nice still holds up the feed that wakes up on its core.
    """
    if sys.platform == "linux":
        os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
    else:
        os.nice(NICENESS)

"""``k2trio heal``: fetch what recorded files lack, as far as the exchange still has it.

The exit code is 0 if nothing is left that could be had, 1 if something is or it was interrupted,
2 if it could not start.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import trio
from pydantic import Field

from .. import __version__
from ..dataset.healing import Healing, heal
from ..errors import ConfigError
from ..observe import logs
from ..repair.rest import Backfill
from ..settings import Settings
from ..sharing.sharing import open_sharing
from ..wire.tls import make_ssl_context
from .options import Layout
from .progress import progress
from .routes import new_table
from .run import EXIT_FAILED, EXIT_OK, complain
from .terminal import put_line, put_rich

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..dataset.healing import Diagnosis, Healed

CLOSE_TIMEOUT_S = 1.0
"""How long connections to REST hosts may take to close."""
USED = frozenset(
    {
        "paths",
        "config",
        "journal",
        "rest_urls",
        "rest_weight_limit",
        "shared_budget",
        "time_unit",
        "ca_file",
        "proxy",
        "proxy_file",
        "allow_insecure",
        "log_level",
        "log_format",
    }
)
LAYOUT = Layout(words="paths", left_out=frozenset(Settings.model_fields) - USED)


class HealSettings(Settings):
    """Fetch what recorded files lack, as far as the exchange still has it, and add it to them.

    A PATH is a dataset's folder or s3:// URL, or a file of JSON lines. What is gone is declared.
    Safe beside a collector, and to be interrupted: what was fetched is not asked for again.
    """

    paths: tuple[str, ...] = Field(default=(), description="What to heal.")


async def heal_all(settings: HealSettings) -> int:
    """Heal each path; returns the exit code.

    :raises ConfigError: if one leads nowhere, or somebody heals it already.
    :raises SinkError: if what is fetched cannot be written or sealed.
    """
    if not settings.paths:
        raise ConfigError("name a dataset or a file of JSON lines: heal PATH…")
    code = EXIT_OK
    for path in settings.paths:
        healing = Healing(path, settings.journal, f"k2trio {__version__}")
        with healing.held():
            done = False
            try:
                code = max(code, await _heal(path, healing, settings))
                done = True
            finally:
                if not done and trio.current_effective_deadline() == -math.inf:
                    complain([f"{path} is not healed yet; interrupted, and heal goes on with it"])
    return code


async def _heal(path: str, healing: Healing, settings: Settings) -> int:
    await trio.to_thread.run_sync(healing.seal)  # what an interrupted one has fetched
    found = await trio.to_thread.run_sync(healing.survey, abandon_on_cancel=True)
    with progress("read", sum(source.size for source in found.sources)) as tell:
        diagnosis = await trio.to_thread.run_sync(
            healing.diagnose, found, tell, abandon_on_cancel=True
        )
    if not diagnosis.wounds and not diagnosis.broken:
        complain(diagnosis.unreadable)
        of_what = " in what can be read" if diagnosis.unreadable else ""
        put_line(f"{path}: nothing to heal{of_what}")
        return EXIT_FAILED if diagnosis.unreadable else EXIT_OK
    healed = await _fetch(healing, diagnosis, settings)
    if diagnosis.broken and not any(one.left for one in healed):
        await trio.to_thread.run_sync(healing.retire, diagnosis.broken)
    table = new_table("stream", "venue", "fetched", "declared missing", "left")
    for one in healed:
        figures = (one.fetched, one.declared, one.left)
        table.add_row(one.wound.stream, one.wound.venue, *map(str, figures))
    put_line(f"{path}:")
    put_rich(table)
    complain([*diagnosis.unreadable, *filter(None, (one.why for one in healed))])
    left = any(one.left for one in healed)
    return EXIT_FAILED if left or diagnosis.unreadable else EXIT_OK


async def _fetch(healing: Healing, diagnosis: Diagnosis, settings: Settings) -> Sequence[Healed]:
    """Fetch and seal what is missing. What was fetched is sealed also where this is cancelled."""
    log = logs.get_logger()
    sharing = open_sharing(settings, logs.transition_log(log))
    backfill = Backfill(
        list(dict.fromkeys(wound.venue for wound in diagnosis.wounds)),
        settings,
        verify=make_ssl_context(settings),
        sharing=sharing,
    )
    healed: list[Healed] = []
    try:
        async with trio.open_nursery() as nursery:
            if sharing is not None:
                nursery.start_soon(sharing.run)
            with healing.bandage() as sink:
                for wound in diagnosis.wounds:
                    log.info("healing", stream=wound.stream, ranges=len(wound.curable))
                    healed.append(await heal(wound, backfill, settings.unit, sink))
            nursery.cancel_scope.cancel()
    finally:
        with trio.CancelScope(shield=True):
            await trio.to_thread.run_sync(healing.seal)
            with trio.move_on_after(CLOSE_TIMEOUT_S):
                await backfill.aclose()
    return healed

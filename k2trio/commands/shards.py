"""``run --shards``: this process as one of those that write a log together."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

import trio

from .. import __version__, extras
from ..errors import ConfigError, SinkError
from ..observe import logs
from .attending import attend
from .exported import exported_feed
from .starting import refuse_untraded
from .summary import sum_up, tell_start

if TYPE_CHECKING:
    from ..observe.telling import TransitionLog
    from ..settings import Settings
    from .manager import Manager


async def write_shards(settings: Settings, transitions: TransitionLog, manager: Manager) -> None:
    """Write the shards that the group hands to this process, until told to stop.

    :raises ConfigError: if that cannot begin: no broker answers, or the group has other shards.
    :raises Fenced: if a shard of this process's is written by another one.
    """
    (target,) = settings.targets
    extras.require("confluent_kafka", "kafka", f"--output {target}")
    from ..engine.member import Member
    from ..engine.telling import Telling
    from ..kafka.opening import open_cluster, shard_sink

    log = logs.get_logger()
    cluster = open_cluster(settings, target.where)
    make_sink = functools.partial(shard_sink, settings, cluster, target.where, log.warning)
    try:
        await trio.to_thread.run_sync(make_sink(0).make_positions_topic)
    except SinkError as error:
        raise ConfigError(str(error)) from error
    await refuse_untraded(settings, log.warning)

    hot = settings.standby == "hot"
    async with (
        trio.open_nursery() as nursery,
        exported_feed(
            settings, observers=[transitions], streams=settings.stream_names if hot else ()
        ) as (feed, url, reporter),
        transitions.summing_up(),
    ):
        log.info("exporting", page=url, metrics=f"{url}/metrics", ready=f"{url}/readyz")
        tell_start(feed, __version__)
        nursery.start_soon(sum_up, feed)
        telling = Telling(settings, feed.metrics, log.info)
        member = Member(feed, settings, cluster, make_sink, telling.took_over, log.warning)
        telling.shards = member.shards
        reporter.log, reporter.output_problem = telling.report, telling.problem
        nursery.start_soon(attend, manager, feed, reporter)
        await member.run()
        nursery.cancel_scope.cancel()

"""The outputs of a run: tried, and opened. What an extra brings is loaded where it is asked for."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING

import trio

from .. import extras, files
from ..continuity.positions import Position, earlier
from ..continuity.state import load_state, locked, save_state
from ..errors import ConfigError, SinkError
from ..market.streams import Kind, any_stream
from ..sinks.fan_out import FanOut
from ..sinks.jsonl import JsonLines, try_lines
from ..sinks.line_sink import LineSink
from ..targets import Form

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from pathlib import Path

    from ..continuity.positions import Key
    from ..market.units import TimeUnit
    from ..observe.metrics import Metrics
    from ..settings import Settings
    from ..sinks.target_sink import TargetSink
    from ..targets import Target


def open_outputs(settings: Settings, tell: Callable[..., object]) -> TargetSink:
    """Open all outputs of a run, or none.

    :param tell: is told what happens to them, as an event with its context.
    :raises ConfigError: if one cannot be opened, or another program writes to it.
    """
    try:
        with ExitStack() as stack:
            sinks = [
                stack.enter_context(_opened(target, settings, tell)) for target in settings.targets
            ]
            stack.pop_all()
    except SinkError as error:
        raise ConfigError(str(error)) from error
    return sinks[0] if len(sinks) == 1 else FanOut(sinks)


def _opened(target: Target, settings: Settings, tell: Callable[..., object]) -> TargetSink:
    require(target)
    if target.form is Form.DATASET:
        from ..dataset.sink import ParquetSink

        journal = settings.journal if target.remote else None
        return ParquetSink(target.where, journal, tell)
    if target.form is Form.KAFKA:
        from ..kafka.opening import open_cluster, shard_sink

        return shard_sink(settings, open_cluster(settings, target.where), target.where, tell)
    if target.form is Form.ZSTD and target.path is not None:
        from ..sinks.zst import ZstdLines

        return ZstdLines(target.path, settings.rotation, tell)
    return JsonLines(target.path, settings.rotation, tell)


async def remembered(
    sink: TargetSink, settings: Settings, tell: Callable[..., object]
) -> Iterable[Position]:
    """Where the streams are to go on, as far as the outputs themselves remember it.

    What all of them hold that the state file lacks, as after a kill, the state file is told.

    :param tell: is told of that, as an event with its context.
    :raises ConfigError: if one of them cannot be asked, read or written to, or the state file.
    """
    unit = settings.unit
    try:
        with locked(settings.state):
            own = await sink.positions() or {}
            stored: dict[Key, Position] = {}
            if settings.state is not None:
                stored = {(one.venue, one.stream): one for one in load_state(settings.state, unit)}
            begin = {key: earlier(one, own.get(key, one)) for key, one in stored.items()}
            there = await sink.beyond({**own, **begin}, unit)
            # Where Kafka has less than the state file, the streams begin there.
            new = {
                key: there[key]
                for key, one in stored.items()
                if begin[key] is one and there[key].position != one.position
            }
            if new and settings.state is not None:
                await _advance(settings.state, {**stored, **new}, unit)
                tell("resumed_behind_state", streams=len(new), state=str(settings.state))
    except SinkError as error:
        raise ConfigError(str(error)) from error
    return own.values()


async def _advance(path: Path, positions: Mapping[Key, Position], unit: TimeUnit) -> None:
    """Write a state file; what positions say is durable already."""
    plain = [_stored(one) for one in positions.values()]
    try:
        await trio.to_thread.run_sync(save_state, path, plain, unit)
    except OSError as error:
        raise SinkError(f"cannot write the state file {path}: {files.why(error)}") from error


def _stored(position: Position) -> Position:
    """What a state file keeps of a position: no time of bars, whose position is one."""
    bars = any_stream(position.stream).kind is Kind.KLINE
    return Position(
        position.venue, position.stream, position.position, None if bars else position.time
    )


def watch_outputs(metrics: Metrics, sink: TargetSink) -> None:
    """Let the metrics look at journals that cannot be sealed, and at how far Kafka is behind."""
    sinks = sink.sinks if isinstance(sink, FanOut) else [sink]
    files = [one for one in sinks if isinstance(one, LineSink)]
    metrics.watch_sealing(lambda: next((one.problem for one in files if one.problem), None))
    if len(files) < len(sinks):
        from ..kafka.sink import KafkaSink

        now = trio.lowlevel.current_clock().current_time
        logs = [one for one in sinks if isinstance(one, KafkaSink)]
        metrics.watch_log(lambda: [one.standing(now()) for one in logs])


def try_output(target: Target) -> None:
    """Find out whether an output could be written to, and leave it as it is.

    Of a bucket only those could tell who write to it.

    :raises SinkError: if it cannot be opened, or is somebody's something else.
    :raises ConfigError: if another program writes to it, or a package is not there.
    """
    require(target)
    if target.path is None:
        return
    if target.form is Form.DATASET:
        _try_folder(target.path)
    elif target.form is Form.ZSTD:
        from ..sinks.frames import try_frames

        try_frames(target.path)
    else:
        try_lines(target.path)


def require(target: Target) -> None:
    """Refuse an output that needs a package which is not installed.

    :raises ConfigError: saying which.
    """
    if target.form is Form.DATASET:
        extras.require("pyarrow", "parquet", f"--output {target}")
    elif target.form is Form.ZSTD:
        extras.require("zstandard", "zstd", f"--output {target}")
    elif target.form is Form.KAFKA:
        extras.require("confluent_kafka", "kafka", f"--output {target}")


def _try_folder(folder: Path) -> None:
    try:
        files.try_to_replace(folder / "journal" if folder.is_dir() else folder)
    except OSError as error:
        raise SinkError(f"cannot write to {folder}: {files.why(error)}") from error
    if folder.exists() and not folder.is_dir():
        raise SinkError(f"cannot write to {folder}: it is no folder; name one")

"""``k2trio replay``: a recording, served as the exchange that it was recorded of."""

from __future__ import annotations

import functools
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Literal

import trio
from pydantic import BeforeValidator, Field

from ...dataset.recording import open_recording
from ...errors import ConfigError
from ...market.venues import dialect_of
from ...simulator import Exchange, Player, Tempo, refuse_made_up, serve
from ...simulator.faults.fault import refuse_unknown
from ...simulator.market.market import HISTORY
from ..options import Layout, split
from ..run import EXIT_OK
from ..serving import REST_NAME, ServeOptions, announce, configuration, explain
from ..terminal import put_line
from .entries import Entries

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ...simulator import Fault, FaultBoard, ServeConfig

LAYOUT = Layout(words="paths")
GOING_AWAY = 1001
END = "end of the recording"


def _time(value: object) -> object:
    if not isinstance(value, str):
        return value
    try:
        return datetime.fromisoformat(value)
    except ValueError:
        raise ValueError("must be a time as 2026-11-26T13:00") from None


Time = Annotated[datetime | None, BeforeValidator(_time)]


class ReplayOptions(ServeOptions):
    """Serve a recording as an exchange, by WebSocket and REST, to any client.

    Prints one line per URL and waits for the first subscription; then the recording begins. When
    its last message is told, connections stay open for --linger, so that clients can repair what
    they miss, and are closed then; the program ends with 0. REST knows what the recording has told.
    """

    paths: tuple[str, ...] = Field(
        (),
        description="Recorded files: JSON lines, sealed Parquet, folders of them, s3:// URLs.",
    )
    speed: float = Field(1, gt=0, le=1000, description="How much faster than it was recorded.")
    from_: Time = Field(
        None, description="Leave out what was received before, as 2026-11-26T13:00; UTC."
    )
    to: Time = Field(None, description="Leave out what was received then, or later.")
    streams: Annotated[tuple[str, ...], BeforeValidator(split)] = Field(
        (), description="The streams to replay; by default all."
    )
    times: Literal["kept", "shifted"] = Field(
        "kept",
        description="Whether payloads tell the recorded times, or such as if it was now: moved by "
        "whole minutes, so that bars of hours and days are not where they belong.",
    )
    venue: str | None = Field(
        None, description="Whose messages to replay, by default those of the first one's venue."
    )
    lead: float = Field(
        1, ge=0, description="The recording begins so long after the first subscription (s)."
    )
    linger: float = Field(
        5,
        ge=0,
        description="Connections stay open, and REST answers, so long after the end (s); inf: "
        "until Ctrl-C.",
    )


async def replay(options: ReplayOptions) -> int:
    """Serve until the end of the recording, or until cancelled.

    :raises ConfigError: for a path that leads nowhere, a busy port, or a faults file that cannot be
        used.
    :raises Unreadable: where a file is not what it should be.
    """
    if not options.paths:
        raise ConfigError("name what is to be replayed, as in: replay out.jsonl --speed 10")
    async with open_recording(
        options.paths, start=options.from_, end=options.to, streams=options.streams or None
    ) as recording:
        entries = Entries(recording.batches(), options.venue)
        venue = await entries.begin(time.time() if options.times == "shifted" else None)
        await _serve(options, entries, venue)
    return EXIT_OK


async def _serve(options: ReplayOptions, entries: Entries, venue: str) -> None:
    product = dialect_of(venue).product
    player = Player(entries, entries.start_us, HISTORY, product)
    names = {*options.endpoint_names, REST_NAME, venue}

    def refuse(faults: Sequence[Fault]) -> None:
        refuse_made_up(faults)
        refuse_unknown(faults, names, None)

    def exchanges_of(config: ServeConfig, board: FaultBoard) -> dict[str, Exchange]:
        tempo = Tempo(options.speed, options.lead)
        return {
            venue: Exchange(venue, player.market, faults=board, limits=config.limits, tempo=tempo)
        }

    config = configuration(options, venue, product, refuse)
    async with trio.open_nursery() as nursery:
        try:
            running = await nursery.start(
                functools.partial(serve, config, exchanges_of, refuse=refuse)
            )
        except OSError as error:
            raise explain(error, options) from error
        announce(options, running)
        put_line(f"recording of {venue} from {_shown(entries.start_us)}")
        await player.run(running.exchanges[venue].look_again)
        put_line(_sum(player.market.told, entries))
        await trio.sleep(options.linger)
        exchange = running.exchanges[venue]
        with trio.move_on_after(2 * exchange.limits.close_grace_s):
            await exchange.close_all(GOING_AWAY, END)
        nursery.cancel_scope.cancel()


def _shown(time_us: int) -> str:
    return datetime.fromtimestamp(time_us // 1_000_000, UTC).isoformat().replace("+00:00", "Z")


def _sum(told: int, entries: Entries) -> str:
    gaps, strangers = entries.left_out
    parts = [f"{END}: {told} messages"]
    if gaps:
        parts.append(f"{gaps} gaps, which were in it")
    if strangers:
        parts.append(f"{strangers} messages of other venues left out, see --venue")
    return "; ".join(parts)

"""A library that is heard: what happens to a feed goes to the standard log, unless asked not to."""

from __future__ import annotations

import logging
import re
from typing import Any

import pytest
import trio
from processes import python
from world import fault, name, open_world

from k2trio.observe import transitions as on

A = name("a")
NO_REST: dict[str, Any] = {"rest_urls": ["https://nobody.test"]}
DROP = fault(10, "fin")
LOSSES = fault(0, "dropped", "*", share=0.03, duration=60)
UNREACHABLE = """
import logging, sys, trio, k2trio

{setup}

async def main():
    settings = k2trio.load_settings(
        websocket_url="ws://127.0.0.1:1/stream", failover_urls=[],
        reconnect_delay=0.01, max_reconnect_attempts=1,
    )
    async with k2trio.open_feed(["btcusdt@trade"], settings) as feed:
        try:
            async for item in feed:
                pass
        except k2trio.GaveUp:
            pass

trio.run(main)
"""


def lines(log: pytest.LogCaptureFixture, level: int = logging.WARNING) -> list[str]:
    """What the library's log says, from that level on."""
    return [
        record.getMessage()
        for record in log.records
        if record.name == "k2trio" and record.levelno >= level
    ]


async def test_a_lost_connection_is_a_warning_of_the_standard_log(
    autojump_clock: Any, caplog: pytest.LogCaptureFixture
) -> None:
    async with open_world([DROP]) as world:
        await trio.sleep(20)
    (lost,) = world.of(on.ConnectionLost)
    (line,) = [line for line in lines(caplog) if line.startswith("connection_lost")]
    assert f" endpoint={A} " in line
    assert f"detail={lost[1].detail!r}" in line


async def test_what_goes_well_is_heard_by_who_asks_for_it(
    autojump_clock: Any, caplog: pytest.LogCaptureFixture
) -> None:
    async with open_world():
        await trio.sleep(10)
    assert lines(caplog, logging.DEBUG) == []
    caplog.set_level(logging.INFO, logger="k2trio")
    async with open_world():
        await trio.sleep(10)
    told = [line.split()[0] for line in lines(caplog, logging.DEBUG) if " line=" in line]
    assert told == ["connected", "flowing", "became_stable", "closed"]


async def test_losses_are_told_as_sums_which_leave_none_out(
    autojump_clock: Any, caplog: pytest.LogCaptureFixture
) -> None:
    async with open_world([LOSSES], rate=50, settings=NO_REST) as world:
        await trio.sleep(55)
        during = len(lines(caplog))
    gaps = [int(found[1]) for line in lines(caplog) if (found := re.search(r" gaps=(\d+)", line))]
    assert sum(gaps) == sum(what.gaps for _, what in world.of(on.GapDeclared)) > 50
    assert len(gaps) <= 8
    assert during < len(gaps)


@pytest.mark.slow
def test_with_no_logging_set_up_standard_error_has_the_warnings_and_no_more() -> None:
    said = said_by("")
    assert [line.split()[0] for line in said] == ["dial_failed", "reconnecting", "dial_failed",
        "giving_up"]  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize(
    "setup",
    [
        'logging.getLogger("k2trio").setLevel(logging.CRITICAL)',
        'logging.getLogger("k2trio").addHandler(logging.NullHandler())',
        "import functools; k2trio.open_feed = functools.partial(k2trio.open_feed, log=False)",
    ],
    ids=["level", "handler", "argument"],
)
def test_it_is_silent_for_who_asks_for_silence(setup: str) -> None:
    assert said_by(setup) == []


def said_by(setup: str) -> list[str]:
    """Standard error of a program whose feed gives up."""
    done = python(UNREACHABLE.format(setup=setup))
    assert done.returncode == 0, done.stderr
    return done.stderr.splitlines()

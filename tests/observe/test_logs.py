"""Logs: one event per transition, for people or machines, with nothing unbounded or secret."""

from __future__ import annotations

import io
import json
import logging
from typing import TYPE_CHECKING, Any

import pytest
import structlog

from k2trio.observe import logs, telling
from k2trio.observe import transitions as on

if TYPE_CHECKING:
    from collections.abc import Iterator

LOST = on.ConnectionLost(
    "0", "host:1", 0, "venue", "connection_closed", "dropped", "close frame 1001", 61.5, 0.25, True
)


def noon() -> float:
    return 43_200.0


@pytest.fixture(autouse=True)
def logging_as_before() -> Iterator[None]:
    handlers, level = logging.root.handlers[:], logging.root.level
    yield
    logging.root.handlers[:] = handlers
    logging.root.setLevel(level)
    structlog.reset_defaults()


def logged(*transitions: on.Transition, level: str = "debug") -> list[dict[str, Any]]:
    out = io.StringIO()
    logs.configure(level, "json", out)
    observer = logs.transition_log(logs.get_logger(), noon)
    for transition in transitions:
        observer(transition)
    return [json.loads(line) for line in out.getvalue().splitlines()]


def test_a_transition_is_one_event_with_all_its_context() -> None:
    (event,) = logged(LOST)
    assert event.pop("timestamp").endswith("Z")
    assert event == {
        "event": "connection_lost",
        "level": "warning",
        "line": "0",
        "endpoint": "host:1",
        "url_index": 0,
        "venue": "venue",
        "reason": "connection_closed",
        "error_type": "dropped",
        "detail": "close frame 1001",
        "lived_s": 61.5,
        "silence_s": 0.25,
        "carrying": True,
    }


@pytest.mark.parametrize(
    ("transition", "level"),
    [
        (on.Dialing("0", "h", 0, "v", 1), "debug"),
        (on.PingMeasured("0", "h", 0.1), "debug"),
        (on.Connected("0", "h", 0, "v", 0.1), "info"),
        (on.Flowing("0", "h", 0, "v", None), "info"),
        (on.BreakerChanged("h", "half_open", "closed", "successes"), "info"),
        (on.BreakerChanged("h", "closed", "open", "failures"), "warning"),
        (LOST, "warning"),
        (on.GapDeclared("v", "s", 1, 2, "not_repaired"), "warning"),
        (on.GapDeclared("v", "s", 1, 2, "snapshot"), "info"),
        (on.OutageDeclared("v", "s", 1, 2, 1), "warning"),
        (on.Repaired("v", "s", "backfill"), "info"),
        (on.VenueFrozen("v", 30, 429), "warning"),
        (on.FrozenByAnother("v", 30), "warning"),
        (on.BudgetSharing("/run/budget", ""), "info"),
        (on.BudgetSharing("/run/budget", "permission denied"), "warning"),
        (on.GivingUp("0", 10, "refused", ""), "error"),
    ],
)
def test_levels_say_who_has_to_look(transition: on.Transition, level: str) -> None:
    assert [event["level"] for event in logged(transition)] == [level]


def test_lower_levels_are_left_out() -> None:
    events = logged(on.Connected("0", "h", 0, "v", 0.1), LOST, level="warning")
    assert [event["event"] for event in events] == ["connection_lost"]


def test_text_and_lists_are_bounded() -> None:
    (bad,) = logged(on.MalformedMessage("0", "h", "bad_json", "d", "x" * 10_000))
    assert bad["excerpt"] == "x" * telling.MAX_TEXT + "…"
    streams = tuple(f"s{number}@trade" for number in range(1000))
    (refused,) = logged(on.SubscriptionRefused("0", "h", streams, 2, "d"))
    assert refused["streams"] == list(streams[: telling.MAX_ITEMS])


def test_a_flood_of_bad_messages_is_one_line_and_a_sum() -> None:
    now = 0.0
    out = io.StringIO()
    logs.configure("info", "json", out)
    log = logs.transition_log(logs.get_logger(), lambda: now)
    for number in range(1001):
        now = number / 100
        log(on.MalformedMessage("0", "h", "bad_json", "d", f"x{number}"))
    first, then = map(json.loads, out.getvalue().splitlines())
    assert (first["messages"], first["excerpt"]) == (1, "x0")
    assert (then["messages"], then["over_s"]) == (999, 10.0)


def test_control_characters_cannot_forge_a_line() -> None:
    for form in ("json", "console"):
        out = io.StringIO()
        logs.configure("info", form, out)
        forged = "x\n2026-01-01 [info] all is well\x1b[2J"
        logs.transition_log(logs.get_logger(), noon)(
            on.MalformedMessage("0", "h", "e", "d", forged)
        )
        assert out.getvalue().count("\n") == 1
        assert "\x1b" not in out.getvalue()


def test_warnings_of_libraries_come_through_in_our_format_and_their_debug_does_not() -> None:
    out = io.StringIO()
    logs.configure("debug", "json", out)
    logging.getLogger("trio-websocket").debug("GET /stream?secret")
    logging.getLogger("somebody").warning("look: %s", "this")
    (event,) = map(json.loads, out.getvalue().splitlines())
    assert (event["event"], event["level"]) == ("look: this", "warning")


def test_a_traceback_shows_no_local_values() -> None:
    out = io.StringIO()
    logs.configure("info", "console", out)
    try:
        password = "".join(["hun", "ter", "2"])
        raise ValueError(len(password))
    except ValueError:
        logs.get_logger().exception("failed")
    assert "ValueError: 7" in out.getvalue()
    assert out.getvalue().count("hunter2") == 0

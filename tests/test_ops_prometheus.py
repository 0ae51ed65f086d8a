"""The alerts and the dashboard against the real Prometheus, Alertmanager and promtool.

The rules are the shipped ones. Where time passes for real, ``monitoring.shortened_rules`` divides
every time in them by a constant; promtool tests them as they are.
"""

from __future__ import annotations

import signal
import subprocess
import time
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from commands import Simulator, simulator, started
from monitoring import (
    MISSING,
    NEEDED,
    JOB,
    Prometheus,
    Webhook,
    alertmanager,
    alerts,
    free_port,
    panels,
    plain,
    prometheus,
    selectors,
    shipped,
    shortened_rules,
    timeline,
    until,
    webhook,
    without_filter,
)

if TYPE_CHECKING:
    from collections.abc import Generator

pytestmark = pytest.mark.skipif(bool(MISSING), reason=NEEDED)

UNIT_TESTS = Path(__file__).parent / "ops" / "alerts_test.yml"
OUTAGE_S = 6.0
STEP_S = 0.5


def promtool(*arguments: str) -> str:
    end = subprocess.run(  # noqa: S603
        ["promtool", *arguments],  # noqa: S607
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    print(f"$ promtool {' '.join(arguments)}\n{end.stdout}{end.stderr}")  # noqa: T201
    assert end.returncode == 0, end.stdout + end.stderr
    return end.stdout


# -- promtool -------------------------------------------------------------------------------------


def test_promtool_accepts_the_rules(tmp_path: Path) -> None:
    path = tmp_path / "alerts.yml"
    path.write_text(shipped("alerts.yml"))
    assert "SUCCESS" in promtool("check", "rules", str(path))
    path.write_text(shortened_rules())
    assert "SUCCESS" in promtool("check", "rules", str(path))


def test_every_alert_fires_when_it_should_and_stays_quiet_when_it_should() -> None:
    assert "SUCCESS" in promtool("test", "rules", str(UNIT_TESTS))


def test_every_alert_has_a_case_that_fires_and_one_that_stays_quiet() -> None:
    fired: dict[str, set[bool]] = {}
    for case in yaml.safe_load(UNIT_TESTS.read_text())["tests"]:
        for check in case.get("alert_rule_test", ()):
            fired.setdefault(check["alertname"], set()).add(bool(check["exp_alerts"]))
    assert fired == dict.fromkeys(alerts(), {True, False})


def test_a_rule_that_is_broken_fails_its_test(tmp_path: Path) -> None:
    (tmp_path / "alerts.yml").write_text(
        shipped("alerts.yml").replace("connection_status == 0", "connection_status == 2")
    )
    text = UNIT_TESTS.read_text().replace("../../k2trio/ops/alerts.yml", "alerts.yml")
    (tmp_path / "test.yml").write_text(text)
    with pytest.raises(AssertionError, match="K2Disconnected"):
        promtool("test", "rules", str(tmp_path / "test.yml"))


# -- end to end -----------------------------------------------------------------------------------


@dataclass
class World:
    """Simulator, k2trio, Prometheus, Alertmanager and a receiver, all real."""

    exchange: Simulator
    prometheus: Prometheus
    receiver: Webhook
    port: int
    began: float
    rows: list[tuple[float, str]] = field(default_factory=list)

    def note(self, what: str) -> float:
        now = time.time()
        self.rows.append((now, what))
        return now

    def firing(self, alert: str) -> bool:
        """Whether Prometheus says so."""
        found = self.prometheus.get("alerts")["alerts"]
        return any(
            one["labels"]["alertname"] == alert and one["state"] == "firing" for one in found
        )

    def comes_and_goes(self, alert: str, since: float) -> None:
        """Wait until the receiver was told that it fires, and then that it is over."""
        for status in ("firing", "resolved"):
            at = until(
                lambda status=status: self.receiver.when(alert, status, since),
                f"webhook: {alert} {status}",
            )
            self.rows.append((at, f"webhook: {alert} {status}"))
            since = at
        assert not self.firing(alert)

    def tell(self, title: str) -> None:
        """Print what happened, and what every alert did meanwhile."""
        states = self.prometheus.between(
            'ALERTS{alertstate="firing"}', self.rows[0][0], time.time(), 0.2
        )
        for one in states:
            at = float(one["values"][0][0])
            self.rows.append((at, f"Prometheus: {one['metric']['alertname']} is firing"))
        print(f"\n{title}\n{timeline(self.rows)}")  # noqa: T201
        self.rows = []


def k2trio_run(exchange: Simulator, port: int) -> Any:
    """Start it; ``localhost`` is another venue than ``127.0.0.1``, as every unknown host is."""
    variables = exchange.variables() | {
        "FAILOVER_URLS": exchange.urls["b"].replace("127.0.0.1", "localhost"),
        "STREAMS": "btcusdt@trade,ethusdt@trade,btcusdt@bookTicker",
        "METRICS_PORT": str(port),
        "MAX_RECONNECT_ATTEMPTS": "0",
        "STABLE_AFTER": "0.3",
        "RECOVERY_TIMEOUT": "1",
        "HEALTH_CHECK_INTERVAL": "0.5",
        "REPAIR_HOLD": "1",
    }
    return started("run", stdout=subprocess.DEVNULL, **variables)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Generator[World]:
    folder = tmp_path_factory.mktemp("prometheus")
    port = free_port()
    with ExitStack() as stack:
        exchange = stack.enter_context(simulator("--rate", "20", "--seed", "1"))
        process = stack.enter_context(k2trio_run(exchange, port))
        receiver = stack.enter_context(webhook())
        address = stack.enter_context(alertmanager(folder, receiver))
        running = stack.enter_context(
            prometheus(folder, f"127.0.0.1:{port}", shortened_rules(), address)
        )
        world = World(exchange, running, receiver, port, time.time())
        stack.callback(lambda: process.kill())
        world.process = process  # type: ignore[attr-defined]
        world.stack = stack  # type: ignore[attr-defined]
        until(lambda: value(world, "k2_binance_connection_status") == 1, "a connection")
        until(lambda: not running.get("alerts")["alerts"], "calm")
        yield world


def value(world: World, expression: str) -> float | None:
    found = world.prometheus.get("query", query=expression)["result"]
    return float(found[0]["value"][1]) if found else None


def test_an_outage_fires_reaches_the_webhook_and_is_resolved_by_recovery(world: World) -> None:
    world.exchange.break_now("outage", duration=OUTAGE_S)
    broken = world.note(f"fault: every endpoint is down for {OUTAGE_S:g} s")
    world.rows.append((broken + OUTAGE_S, "fault ends"))
    for alert in ("K2Disconnected", "K2NoFreshData", "K2ErrorBudgetBurnFast"):
        world.comes_and_goes(alert, broken)
    world.tell("an outage")
    text = next(one for one in world.receiver.texts if "K2Disconnected" in str(one))
    where = f"127.0.0.1:{world.port}"
    assert text["annotations"]["summary"] == f"{where}: not connected to the exchange"
    assert text["annotations"]["runbook_url"] == "runbook.md#k2disconnected"
    assert text["labels"]["severity"] == "critical"


def test_a_venue_that_fails_and_a_rest_that_fails_are_told_apart(world: World) -> None:
    world.exchange.break_now("unknown_event")
    world.exchange.break_now("dropped", duration=0.5)
    world.exchange.break_now("rest_status", "rest", status=503, duration=4.0)
    world.note("fault: messages left out, REST answers 503; an unknown event")
    time.sleep(2)  # the gap opens on the preferred venue
    world.exchange.break_now("outage", "a", duration=OUTAGE_S)
    broken = world.note(f"fault: the first endpoint is down for {OUTAGE_S:g} s")
    world.rows.append((broken + OUTAGE_S, "fault ends"))
    for alert in ("K2ForeignVenue", "K2GapDeclared", "K2MessageErrors"):
        world.comes_and_goes(alert, world.rows[0][0])
    world.tell("another venue, a gap that REST does not close, an unknown event")


def test_a_process_that_dies_is_missed_and_its_return_is_seen(world: World) -> None:
    process = world.process  # type: ignore[attr-defined]
    process.send_signal(signal.SIGKILL)
    broken = world.note("fault: k2trio is killed")
    until(lambda: world.receiver.when("K2ExporterDown", "firing", broken), "webhook")
    world.stack.enter_context(k2trio_run(world.exchange, world.port))  # type: ignore[attr-defined]
    world.note("k2trio is started again")
    world.comes_and_goes("K2ExporterDown", broken)
    until(lambda: value(world, "k2_binance_connection_status") == 1, "a connection")
    world.tell("a killed process")


# After the tests above, so that there is something to be seen.


def test_prometheus_evaluates_every_rule_without_an_error(world: World) -> None:
    groups = world.prometheus.get("rules")["groups"]
    for rule in [rule for group in groups for rule in group["rules"]]:
        assert (rule["name"], rule["health"], rule.get("lastError")) == (rule["name"], "ok", None)


def expressions(world: World) -> dict[str, str]:
    """All rules and panels, ready to be asked."""
    rules = [
        rule
        for group in yaml.safe_load(shortened_rules())["groups"]
        for rule in group["rules"]
    ]
    return {rule.get("alert") or rule["record"]: rule["expr"] for rule in rules} | {
        f"{panel['title']} {target['refId']}": plain(target["expr"], "5s", "60s")
        for panel in panels()
        for target in panel["targets"]
    }


def test_every_expression_returns_series(world: World) -> None:
    """Comparisons say 0 or 1 here instead of dropping series: most alerts were quiet, as they ought."""
    end = time.time()
    empty: list[str] = []
    parts = 0
    for name, expression in expressions(world).items():
        read = [f"last_over_time({selector.prettify()}[1h])" for selector in selectors(expression)]
        for part in (*without_filter(expression), *read):
            parts += 1
            if not world.prometheus.between(part, world.began, end, STEP_S):
                empty.append(f"{name}: {part}")
    print(f"\n{len(expressions(world))} expressions, {parts} parts; empty: {len(empty)}")  # noqa: T201
    assert not empty
    assert not world.prometheus.between(f'k2_binance_nonsense{{job="{JOB}"}}', world.began, end, 1)

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
from monitoring import (
    JOB,
    MISSING,
    NEEDED,
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
from processes import Simulator, simulator, started
from prometheus_client import start_http_server

from k2trio.observe.families import Families
from k2trio.observe.metrics import Metrics
from k2trio.observe.standing import ShardStanding

if TYPE_CHECKING:
    from collections.abc import Generator

pytestmark = [pytest.mark.skipif(bool(MISSING), reason=NEEDED), pytest.mark.slow]

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
    assert fired == {name: {True, False} for name in alerts()}


def test_a_rule_that_is_broken_fails_its_test(tmp_path: Path) -> None:
    (tmp_path / "alerts.yml").write_text(
        shipped("alerts.yml").replace("connection_status == 0", "connection_status == 2")
    )
    text = yaml.safe_load(UNIT_TESTS.read_text())
    text["rule_files"] = ["alerts.yml"]
    text["tests"] = [case for case in text["tests"] if "K2Disconnected" in str(case)]
    (tmp_path / "test.yml").write_text(yaml.safe_dump(text))
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
    processes: ExitStack
    process: subprocess.Popen[bytes]
    began: float = field(default_factory=time.time)
    rows: list[tuple[float, str]] = field(default_factory=list)

    def note(self, what: str) -> float:
        now = time.time()
        self.rows.append((now, what))
        return now

    def comes_and_goes(self, alert: str, since: float) -> None:
        """Wait until the receiver was told that it fires, and then that it is over."""
        for status in ("firing", "resolved"):
            since = self.told(alert, status, since)

    def told(self, alert: str, status: str, since: float) -> float:
        """Wait until the receiver was told; returns when that was."""
        when: float = until(
            lambda: self.receiver.when(alert, status, since), f"webhook: {alert} {status}"
        )
        return when

    def tell(self, title: str) -> None:
        """Print what happened, and what every alert did meanwhile."""
        began = min(at for at, _ in self.rows)
        for sent in self.receiver.sent:
            self.rows.append((sent.at, f"webhook: {sent.alert} {sent.status}"))
            decided = sent.ends_at if sent.status == "resolved" else sent.starts_at
            self.rows.append((decided, f"Prometheus: {sent.alert} {sent.status}"))
        rows = {row for row in self.rows if row[0] >= began}
        print(f"\n{title}\n{timeline(sorted(rows))}")  # noqa: T201
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
        world = World(exchange, running, receiver, port, stack, process)
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
    text = next(sent for sent in world.receiver.sent if sent.alert == "K2Disconnected")
    where = f"127.0.0.1:{world.port}"
    assert text.annotations["summary"] == f"{where}: not connected to the exchange"
    assert text.annotations["runbook_url"] == "runbook.md#k2disconnected"
    assert text.labels["severity"] == "critical"


def test_a_venue_that_fails_and_a_rest_that_fails_are_told_apart(world: World) -> None:
    world.exchange.break_now("unknown_event")
    world.exchange.break_now("dropped", duration=0.5)
    world.exchange.break_now("rest_status", "rest", status=503, duration=4.0)
    since = world.note("fault: messages left out, REST answers 503; an unknown event")
    world.told("K2GapDeclared", "firing", since)
    world.exchange.break_now("outage", "a", duration=OUTAGE_S)
    broken = world.note(f"fault: the first endpoint is down for {OUTAGE_S:g} s")
    world.rows.append((broken + OUTAGE_S, "fault ends"))
    for alert in ("K2ForeignVenue", "K2GapDeclared", "K2MessageErrors"):
        world.comes_and_goes(alert, since)
    world.tell("another venue, a gap that REST does not close, an unknown event")


def test_a_process_that_dies_is_missed_and_its_return_is_seen(world: World) -> None:
    world.process.send_signal(signal.SIGKILL)
    broken = world.note("fault: k2trio is killed")
    world.told("K2ExporterDown", "firing", broken)
    world.process = world.processes.enter_context(k2trio_run(world.exchange, world.port))
    world.note("k2trio is started again")
    world.comes_and_goes("K2ExporterDown", broken)
    until(lambda: value(world, "k2_binance_connection_status") == 1, "a connection")
    world.tell("a killed process")


def test_prometheus_evaluates_every_rule_without_an_error(world: World) -> None:
    groups = world.prometheus.get("rules")["groups"]
    for rule in [rule for group in groups for rule in group["rules"]]:
        assert (rule["name"], rule["health"], rule.get("lastError")) == (rule["name"], "ok", None)


def expressions() -> dict[str, str]:
    """All rules and panels, ready to be asked."""
    rules = [
        rule for group in yaml.safe_load(shortened_rules())["groups"] for rule in group["rules"]
    ]
    return {rule.get("alert") or rule["record"]: rule["expr"] for rule in rules} | {
        f"{panel['title']} {target['refId']}": plain(target["expr"], "5s", "60s")
        for panel in panels()
        for target in panel["targets"]
    }


def of_a_log(expression: str) -> bool:
    """Whether it asks for what only a run with shards tells."""
    ours = {"k2_binance_takeover_timestamp_seconds"}  # 0, and filtered, before the first
    ours |= {row.name + ("_total" if row.kind == "counter" else "") for row in Families.rows()
             if row.labels == ("shard",)}  # fmt: skip
    return any(selector.name in ours for selector in selectors(expression))


def unanswered(running: Prometheus, wanted: dict[str, str], since: float) -> list[str]:
    """Parts of expressions, and what they read, that return nothing.

    Comparisons say 0 or 1 here instead of dropping series: most alerts are quiet, rightly.
    """
    end = time.time()
    empty: list[str] = []
    parts = 0
    for name, expression in wanted.items():
        read = [f"last_over_time({selector.prettify()}[1h])" for selector in selectors(expression)]
        for part in (*without_filter(expression), *read):
            parts += 1
            if not running.between(part, since, end, STEP_S):
                empty.append(f"{name}: {part}")
    print(f"\n{len(wanted)} expressions, {parts} parts; empty: {len(empty)}")  # noqa: T201
    return empty


def test_every_expression_returns_series(world: World) -> None:
    world.exchange.break_now("unknown_event")
    world.exchange.break_now("rst")
    for moved in ("message_errors_total", "reconnects_total"):
        query = f"sum(increase(k2_binance_{moved}[5s])) > 0"
        until(lambda query=query: value(world, query), moved)
    until(lambda: value(world, "k2_binance_connection_status") == 1, "a connection")
    wanted = {name: one for name, one in expressions().items() if not of_a_log(one)}
    assert not unanswered(world.prometheus, wanted, world.began)
    nonsense = f'k2_binance_nonsense{{job="{JOB}"}}'
    assert not world.prometheus.between(nonsense, world.began, time.time(), 1)


def test_every_expression_of_a_log_returns_series(tmp_path: Path) -> None:
    metrics = Metrics(["BTCUSDT"])
    metrics.watch_log(lambda: [ShardStanding(0, True, commit_s=0.01), ShardStanding(1, False)])
    metrics.took_over("cold", 2.5, time.time())
    server, thread = start_http_server(0, "127.0.0.1", metrics.registry)
    wanted = {name: one for name, one in expressions().items() if of_a_log(one)}
    began = time.time()
    try:
        target = f"127.0.0.1:{server.server_port}"
        with prometheus(tmp_path, target, shortened_rules()) as running:
            # Two scrapes at least, so that there are increases.
            scrapes = "count_over_time(k2_binance_shard_owned[5s]) > 2"
            until(lambda: running.get("query", query=scrapes)["result"], "scrapes")
            assert not unanswered(running, wanted, began)
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
    assert {"K2LogBehind", "K2ShardUnowned", "K2TakeoversOften"} <= wanted.keys()

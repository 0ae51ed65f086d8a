"""The files for operators: they parse, name only what exists, and are shipped."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import typing
import zipfile
from pathlib import Path
from typing import Any

import pytest
import yaml
from monitoring import (
    alerts,
    nodes,
    panels,
    plain,
    rules,
    selectors,
    shipped,
    shortened_rules,
    without_filter,
)
from processes import k2trio, lines_of, started
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families
from promql_parser import AggregateExpr, BinaryExpr

from k2trio.observe import transitions as on
from k2trio.observe.metrics import Metrics
from k2trio.observe.standing import ShardStanding
from k2trio.observe.telling import event_name
from k2trio.settings import Settings

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
RUNBOOK = shipped("runbook.md")
TARGET_LABELS = {"job", "instance"}
"""What Prometheus adds to every series."""
OF_PROMETHEUS = {"up": TARGET_LABELS, "ALERTS": {"alertname", "alertstate", "severity"}}
OF_MANY = {"K2ExporterDown", "K2ShardUnowned", "K2TakeoversOften"}
"""Alerts that no single process is to blame for."""
SEVERITIES = {"critical", "warning"}
DASHBOARD: dict[str, Any] = json.loads(shipped("dashboard.json"))


def exported() -> dict[str, set[str]]:
    """Every sample that Metrics exports, with its labels."""
    metrics = Metrics(["BTCUSDT"], version="1")
    metrics.add_breaker("e")
    metrics.add_endpoint("e", "v", 0)
    metrics.watch_budget("v", lambda: 300)
    metrics.watch_rest_budget("v", lambda: 3000)
    metrics.line_delivered("0", 1, 1)
    metrics.line_lost("0", 1)
    metrics.watch_log(lambda: [ShardStanding(0, True, commit_s=0.01)])
    metrics.observe(on.Dialing("0", "e", 0, "v", 0))
    metrics.observe(on.Flowing("0", "e", 0, "v", 1.0))
    metrics.observe(on.DialFailed("0", "e", 0, "v", "websocket_error", "refused", "", 1.0))
    samples: dict[str, set[str]] = {}
    for family in text_string_to_metric_families(generate_latest(metrics.registry).decode()):
        for sample in family.samples:
            samples[sample.name] = set(sample.labels)
    return samples


EXPORTED = exported()
RECORDED = {rule["record"] for rule in rules() if "record" in rule}
EXPRESSIONS = {
    **{rule.get("alert") or rule["record"]: rule["expr"] for rule in rules()},
    **{
        f"{panel['title']} {target['refId']}": plain(target["expr"], "1m", "1h")
        for panel in panels()
        for target in panel["targets"]
    },
    "annotation": DASHBOARD["annotations"]["list"][1]["expr"],
}


def labels_of(sample: str) -> set[str]:
    if sample in RECORDED:
        return TARGET_LABELS
    return EXPORTED.get(sample, OF_PROMETHEUS.get(sample, set())) | TARGET_LABELS


# -- expressions ----------------------------------------------------------------------------------


@pytest.mark.parametrize("expression", EXPRESSIONS.values(), ids=EXPRESSIONS)
def test_every_metric_in_an_expression_exists_with_these_labels(expression: str) -> None:
    read = selectors(expression)
    for selector in read:
        assert selector.name in EXPORTED.keys() | RECORDED | OF_PROMETHEUS.keys()
        matched = {matcher.name for matcher in selector.matchers.matchers}
        assert matched <= labels_of(selector.name)
    known = set().union(*(labels_of(selector.name) for selector in read))
    grouped: set[str] = set()
    for node in nodes(expression):
        if isinstance(node, AggregateExpr | BinaryExpr) and node.modifier is not None:
            grouping = node.modifier if isinstance(node, AggregateExpr) else node.modifier.matching
            grouped |= set(grouping.labels if grouping is not None else ())
    assert grouped <= known


def test_a_metric_or_label_that_does_not_exist_would_be_found() -> None:
    (wrong,) = selectors('sum(rate(k2_binance_mesages_total{kind="x"}[5m]))')
    assert wrong.name not in EXPORTED
    assert {matcher.name for matcher in wrong.matchers.matchers} == {"kind"}
    assert "kind" not in labels_of("k2_binance_messages_received_total")


def test_every_metric_of_a_feed_is_on_the_dashboard_or_alerted_on() -> None:
    families = {re.sub(r"_(bucket|count|sum|created|total)$", "", name) for name in EXPORTED}
    read = {
        re.sub(r"_(bucket|count|sum|total)$", "", selector.name)
        for expression in EXPRESSIONS.values()
        for selector in selectors(expression)
    }
    assert families - read == {
        "k2_binance_build_info",  # fills the dashboard's variables
        "k2_binance_line_first_messages",  # these three compare the lines of a hot standby
        "k2_binance_line_late_messages",
        "k2_binance_line_lost_ids",
        "k2_binance_reconnect_delay_seconds",
    }


def test_a_comparison_without_its_filter_keeps_every_series() -> None:
    assert without_filter("a > 1 and on (job) b") == ["(a) > bool (1)", "b"]
    assert without_filter("absent(up)") == ["up"]
    assert without_filter("a / b") == ["a\n/\n  b"] or without_filter("a / b") == ["a / b"]


# -- alerts ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "rule"), alerts().items(), ids=alerts())
def test_an_alert_says_what_is_wrong_how_bad_it_is_and_where_to_read_on(
    name: str, rule: dict[str, Any]
) -> None:
    assert name.startswith("K2")
    assert re.fullmatch(r"\d+[smh]", rule["for"])
    assert rule["labels"]["severity"] in SEVERITIES
    annotations = rule["annotations"]
    assert set(annotations) == {"summary", "description", "runbook_url"}
    assert ("{{ $labels.instance }}" in annotations["summary"]) == (name not in OF_MANY)
    assert annotations["runbook_url"] == f"runbook.md#{name.lower()}"


def test_every_alert_has_its_section_in_the_runbook_and_no_section_is_left_over() -> None:
    sections = dict(re.findall(r"^## (\w+)\n\n(.+?)(?=^## |\Z)", RUNBOOK, re.MULTILINE | re.DOTALL))
    assert set(sections) == set(alerts())
    for text in sections.values():
        parts = re.findall(r"^\*\*(\w+)(?:\.\*\*|\*\*)", text, re.MULTILINE)
        assert parts == ["Meaning", "Causes", "See", "Do", "Over"]


def test_the_runbook_names_only_metrics_settings_and_log_events_that_exist() -> None:
    metrics = set(re.findall(r"\bk2_(?:binance|circuit)_\w+|\binstance:k2_[\w:]+", RUNBOOK))
    assert metrics <= EXPORTED.keys() | RECORDED
    logged = set(re.findall(r"Log: `(\w+)`", RUNBOOK))
    assert logged <= {event_name(kind.__new__(kind)) for kind in typing.get_args(on.Transition)}
    settings = {name.upper() for name in Settings.model_fields}
    words = set(re.findall(r"\b[A-Z]+(?:_[A-Z]+)+\b", RUNBOOK))
    assert words <= settings


def test_the_shortened_rules_of_the_tests_are_the_shipped_ones_but_for_times() -> None:
    def without_times(text: str) -> list[str]:
        text = re.sub(r"\[\d+(ms|[smhd])\]|for: \d+(ms|[smhd])\n", "", text)
        return re.sub(r"[<>] (bool )?[\d.]+", "", text).split()

    short = shortened_rules()
    assert "for: 500ms" in short
    assert without_times(short) == without_times(shipped("alerts.yml"))


# -- the dashboard --------------------------------------------------------------------------------


def test_panels_have_titles_units_and_descriptions_and_do_not_overlap() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken, panel["title"]
        taken |= cells
        assert panel["title"]
        if panel["type"] != "row":
            assert panel["description"].endswith(".")
            assert panel["fieldConfig"]["defaults"]["unit"]
            assert all(target["legendFormat"] for target in panel["targets"])
    ids = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(set(ids)) == len(ids)


def test_every_panel_asks_the_data_source_that_was_chosen() -> None:
    chosen = {"type": "prometheus", "uid": "${datasource}"}
    names = [variable["name"] for variable in DASHBOARD["templating"]["list"]]
    assert names == ["datasource", "job", "instance"]
    for panel in panels():
        assert panel["datasource"] == chosen
        for target in panel["targets"]:
            assert target["datasource"] == chosen
            variables = set(re.findall(r"\$\w+", target["expr"]))
            assert variables <= {"$job", "$instance", "$__rate_interval", "$__range"}
            assert {"$job", "$instance"} <= variables


def test_alerts_that_the_dashboard_names_exist() -> None:
    named = set(re.findall(r"\bK2[A-Z]\w+", shipped("dashboard.json")))
    assert named <= set(alerts())
    assert len(named) > 10


# -- the command ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "file"),
    [("alerts", "alerts.yml"), ("dashboard", "dashboard.json"), ("runbook", "runbook.md")],
)
def test_ops_prints_the_files(name: str, file: str) -> None:
    end = k2trio("ops", name)
    assert (end.returncode, end.stderr) == (0, "")
    assert end.stdout == shipped(file)


def test_the_links_lead_to_where_the_runbook_is() -> None:
    end = k2trio("ops", "alerts", "--runbook-url", "https://wiki.test/k2")
    groups = yaml.safe_load(end.stdout)["groups"]
    urls = [
        rule["annotations"]["runbook_url"]
        for group in groups
        for rule in group["rules"]
        if "alert" in rule
    ]
    assert sorted(urls) == sorted(f"https://wiki.test/k2#{name.lower()}" for name in alerts())


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ([], "say what ops is to print; it has alerts, dashboard, runbook"),
        (["alarms"], "ops does not print 'alarms'; it has alerts, dashboard, runbook"),
    ],
)
def test_ops_says_what_it_can_print(arguments: list[str], expected: str) -> None:
    end = k2trio("ops", *arguments)
    assert (end.returncode, end.stdout, end.stderr) == (2, "", f"k2trio: {expected}\n")


def test_ops_into_a_reader_that_leaves_is_no_traceback() -> None:
    with started("ops", "dashboard") as process:
        list(lines_of(process, 1))
        assert process.stdout is not None
        process.stdout.close()
        assert process.stderr is not None
        err = process.stderr.read().decode()
        process.wait(30)
    assert "Traceback" not in err
    # All of it may have fitted into the pipe.
    assert process.returncode in (0, 1, -signal.SIGPIPE)


def test_the_wheel_and_the_sdist_bring_the_files(tmp_path: Path) -> None:
    subprocess.run(  # noqa: S603 - our own build
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-t", "sdist",
         "-d", str(tmp_path)],
        cwd=ROOT, check=True, capture_output=True, timeout=120,
    )  # fmt: skip
    (wheel,) = tmp_path.glob("*.whl")
    files = {"alerts.yml", "dashboard.json", "runbook.md"}
    assert {f"k2trio/commands/ops/{name}" for name in files} <= set(
        zipfile.ZipFile(wheel).namelist()
    )
    (sdist,) = tmp_path.glob("*.tar.gz")
    listed = subprocess.run(  # noqa: S603
        [sys.executable, "-m", "tarfile", "-l", str(sdist)],
        check=True, capture_output=True, text=True, timeout=60,
    ).stdout  # fmt: skip
    for name in files:
        assert f"/k2trio/commands/ops/{name}" in listed

"""Runs the real Prometheus and Alertmanager against k2trio, and looks into expressions.

Both are Debian's packages, ``prometheus`` and ``prometheus-alertmanager``; nothing here installs
them.
"""

from __future__ import annotations

import contextlib
import json
import re
import shutil
import socket
import subprocess
import threading
import time
from dataclasses import dataclass, field
from datetime import datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.resources import files
from typing import TYPE_CHECKING, Any

import httpx2
import promql_parser
import yaml
from promql_parser import BinaryExpr, Call, ParenExpr, VectorSelector

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator, Sequence
    from pathlib import Path

PROGRAMS = ("prometheus", "promtool", "prometheus-alertmanager")
MISSING = [program for program in PROGRAMS if shutil.which(program) is None]
NEEDED = f"needs {', '.join(MISSING)}: apt-get install prometheus prometheus-alertmanager"

PATIENCE_S = 30.0
SCRAPE_S = 0.2
JOB = "k2trio"

SHORTER = 120
"""By what ``for`` and ranges of the shipped rules are divided: a minute becomes half a second."""
THRESHOLDS = {
    "k2_binance_last_message_timestamp_seconds < bool 60": (
        "k2_binance_last_message_timestamp_seconds < bool 1"
    ),
    "k2_binance_last_message_timestamp_seconds > 120": (
        "k2_binance_last_message_timestamp_seconds > 2"
    ),
    "k2_binance_oldest_gap_seconds > 5": "k2_binance_oldest_gap_seconds > 0.5",
    "(k2_binance_log_lag_seconds) > 10": "(k2_binance_log_lag_seconds) > 0.5",
}
"""Thresholds of the shipped rules that are times, and what they become."""

UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def shipped(name: str) -> str:
    """A file of ``k2trio.commands.ops``."""
    return files("k2trio.commands.ops").joinpath(name).read_text(encoding="utf-8")


def rules() -> list[dict[str, Any]]:
    """The shipped rules, recording and alerting."""
    groups = yaml.safe_load(shipped("alerts.yml"))["groups"]
    return [rule for group in groups for rule in group["rules"]]


def alerts() -> dict[str, dict[str, Any]]:
    """The shipped alerts by name."""
    return {rule["alert"]: rule for rule in rules() if "alert" in rule}


def panels() -> list[dict[str, Any]]:
    """The shipped dashboard's panels that show something."""
    return [panel for panel in json.loads(shipped("dashboard.json"))["panels"]
            if panel["type"] != "row"]  # fmt: skip


def shorter(duration: str) -> str:
    """A duration of the rules as it is in a test: ``1m`` → ``500ms``."""
    seconds = int(duration[:-1]) * UNITS[duration[-1]]
    return f"{round(seconds * 1000 / SHORTER)}ms"


def shortened_rules() -> str:
    """The shipped rules with every time divided by :data:`SHORTER`."""
    text = shipped("alerts.yml")
    for shipped_as, becomes in THRESHOLDS.items():
        assert shipped_as in text
        text = text.replace(shipped_as, becomes)
    text = re.sub(r"\[(\d+[smhd])\]", lambda found: f"[{shorter(found[1])}]", text)
    return re.sub(r"for: (\d+[smhd])\n", lambda found: f"for: {shorter(found[1])}\n", text)


def plain(expression: str, interval: str, whole: str) -> str:
    """A dashboard's expression with its variables filled in."""
    for name, value in {
        "$job": JOB,
        "$instance": ".*",
        "$__rate_interval": interval,
        "$__range": whole,
    }.items():
        expression = expression.replace(name, value)
    return expression


# -- expressions ----------------------------------------------------------------------------------


def nodes(expression: str) -> list[Any]:
    """Everything in an expression, outer parts first."""
    found: list[Any] = []
    promql_parser.walk(promql_parser.parse(expression), found.append)
    return found


def selectors(expression: str) -> list[VectorSelector]:
    """What an expression reads."""
    return [node for node in nodes(expression) if isinstance(node, VectorSelector)]


def without_filter(expression: str) -> list[str]:
    """The same with outer comparisons that keep or drop turned into ones that say 0 or 1.

    Sides of ``and``, ``or`` and ``unless`` come apart: each has to return something by itself.
    """
    return list(_unfiltered(promql_parser.parse(expression)))


def _unfiltered(node: Any) -> Iterator[str]:
    while isinstance(node, ParenExpr):
        node = node.expr
    if isinstance(node, Call) and node.func.name == "absent":
        yield from _unfiltered(node.args[0])  # nothing is absent while all is well
    elif not isinstance(node, BinaryExpr):
        yield node.prettify()
    elif (operator := str(node.op)) in ("and", "or", "unless"):
        yield from _unfiltered(node.lhs)
        yield from _unfiltered(node.rhs)
    elif operator in ("==", "!=", ">", "<", ">=", "<=") and node.modifier is None:
        yield f"({node.lhs.prettify()}) {operator} bool ({node.rhs.prettify()})"
    else:
        yield node.prettify()


# -- programs -------------------------------------------------------------------------------------


def free_port() -> int:
    """A port that is free now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def until(true: Callable[[], Any], what: str, patience_s: float = PATIENCE_S) -> Any:
    """Wait for something outside, and return it."""
    end = time.monotonic() + patience_s
    while time.monotonic() < end:
        with contextlib.suppress(httpx2.TransportError):
            if found := true():
                return found
        time.sleep(0.05)
    raise AssertionError(f"never came: {what}")


@contextlib.contextmanager
def _process(folder: Path, name: str, *arguments: str) -> Generator[None]:
    with (folder / f"{name}.log").open("wb") as log:
        process = subprocess.Popen([name, *arguments], stdout=log, stderr=log, cwd=folder)  # noqa: S603 - ours
        try:
            yield
        finally:
            process.terminate()
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


@dataclass
class Prometheus:
    """A running Prometheus."""

    url: str

    def get(self, path: str, **parameters: Any) -> Any:
        """The data of an answer of its API."""
        answer = httpx2.get(f"{self.url}/api/v1/{path}", params=parameters, trust_env=False)
        body = answer.json()
        assert body["status"] == "success", body
        return body["data"]

    def between(self, expression: str, start: float, end: float, step: float) -> Any:
        """The series of an expression over a time."""
        found = self.get("query_range", query=expression, start=start, end=end, step=step)
        return found["result"]

    def ready(self) -> bool:
        """Whether it has scraped its target."""
        if httpx2.get(f"{self.url}/-/ready", trust_env=False).status_code != 200:
            return False
        return any(target["health"] == "up" for target in self.get("targets")["activeTargets"])


@contextlib.contextmanager
def prometheus(
    folder: Path, target: str, rules: str, alertmanager: str | None = None
) -> Generator[Prometheus]:
    """Start one that scrapes k2trio at ``target`` and evaluates the rules."""
    port = free_port()
    (folder / "rules.yml").write_text(rules)
    config: dict[str, Any] = {
        "global": {"scrape_interval": f"{round(SCRAPE_S * 1000)}ms",
                   "scrape_timeout": f"{round(SCRAPE_S * 1000)}ms",
                   "evaluation_interval": f"{round(SCRAPE_S * 1000)}ms"},
        "rule_files": ["rules.yml"],
        "scrape_configs": [{"job_name": JOB, "static_configs": [{"targets": [target]}]}],
    }  # fmt: skip
    if alertmanager is not None:
        config["alerting"] = {"alertmanagers": [{"static_configs": [{"targets": [alertmanager]}]}]}
    (folder / "prometheus.yml").write_text(yaml.safe_dump(config))
    with _process(
        folder,
        "prometheus",
        f"--config.file={folder}/prometheus.yml",
        f"--storage.tsdb.path={folder}/data",
        f"--web.listen-address=127.0.0.1:{port}",
        "--web.enable-lifecycle",
    ):
        running = Prometheus(f"http://127.0.0.1:{port}")
        until(running.ready, f"a scrape; see {folder}/prometheus.log")
        yield running


def unix(text: str) -> float:
    """Unix time of an RFC 3339 text."""
    return datetime.fromisoformat(text).timestamp()


@dataclass(frozen=True)
class Sent:
    """An alert as Alertmanager sent it; times are Unix times."""

    at: float
    alert: str
    status: str
    starts_at: float
    ends_at: float
    labels: dict[str, str]
    annotations: dict[str, str]


@dataclass
class Webhook:
    """Receives what Alertmanager sends."""

    url: str
    sent: list[Sent] = field(default_factory=list)

    def when(self, alert: str, status: str, after: float) -> float | None:
        """When it was told so first after a moment."""
        times = [
            one.at
            for one in self.sent
            if (one.alert, one.status) == (alert, status) and one.at > after
        ]
        return times[0] if times else None


@contextlib.contextmanager
def webhook() -> Generator[Webhook]:
    """Start a receiver on a free port."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            for alert in body["alerts"]:
                receiver.sent.append(
                    Sent(
                        time.time(),
                        alert["labels"]["alertname"],
                        alert["status"],
                        unix(alert["startsAt"]),
                        unix(alert["endsAt"]),
                        alert["labels"],
                        alert["annotations"],
                    )
                )
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        receiver = Webhook(f"http://127.0.0.1:{server.server_address[1]}/")
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.1}).start()
        try:
            yield receiver
        finally:
            server.shutdown()


@contextlib.contextmanager
def alertmanager(folder: Path, receiver: Webhook) -> Generator[str]:
    """Start one that sends everything to the receiver at once; its address."""
    address = f"127.0.0.1:{free_port()}"
    config = {
        "route": {"receiver": "hook", "group_by": ["alertname"], "group_wait": "100ms",
                  "group_interval": "200ms", "repeat_interval": "1h"},
        "receivers": [{"name": "hook", "webhook_configs": [{"url": receiver.url}]}],
    }  # fmt: skip
    (folder / "alertmanager.yml").write_text(yaml.safe_dump(config))
    with _process(
        folder,
        "prometheus-alertmanager",
        f"--config.file={folder}/alertmanager.yml",
        f"--storage.path={folder}/alertmanager",
        f"--web.listen-address={address}",
        "--cluster.listen-address=",
    ):
        ready = f"http://{address}/-/ready"
        until(
            lambda: httpx2.get(ready, trust_env=False).status_code == 200,
            f"alertmanager; see {folder}/prometheus-alertmanager.log",
        )
        yield address


def timeline(rows: Sequence[tuple[float, str]]) -> str:
    """Moments as text, in order, in seconds since the first one."""
    start = min(at for at, _ in rows)
    return "\n".join(f"{at - start:7.1f} s  {what}" for at, what in sorted(rows))

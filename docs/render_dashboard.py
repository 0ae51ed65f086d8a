"""Draws ``docs/dashboard.png``: the shipped dashboard, from a real run, by matplotlib.

``python docs/render_dashboard.py`` runs the simulated exchange through a bad day of some minutes,
k2trio against it, and a real Prometheus that scrapes k2trio with the shipped rules (times shortened
as in the tests). Then it walks the panels of ``dashboard.json``, asks their own queries, and draws
each at its place. It is not Grafana: what is shown is what the file asks for, not how Grafana
styles it. Needs Debian's prometheus, and matplotlib (``pip install matplotlib``).
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib import pyplot as plt
from matplotlib.colors import LogNorm
from matplotlib.ticker import FuncFormatter, MaxNLocator

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests"))

from monitoring import (  # noqa: E402
    Prometheus,
    free_port,
    panels,
    plain,
    prometheus,
    shipped,
    shortened_rules,
    until,
)
from processes import Simulator, simulator, started  # noqa: E402

INTERVAL_S = 5
INK, PAPER, PANEL, FAINT = "#d8d9da", "#111217", "#181b1f", "#2c3235"
PALETTE = ["#73bf69", "#f2cc0c", "#5794f2", "#ff9830", "#f2495c", "#b877d9", "#8ab8ff", "#37872d"]
NAMED = {"green": "#56a64b", "yellow": "#e0b400", "orange": "#ff780a", "red": "#e02f44",
         "transparent": "#22252b", "text": "#5a5f66"}  # fmt: skip
ROW_IN, COLUMN_IN = 0.36, 0.62


def bad_day(exchange: Simulator) -> None:
    """Break things, one after another."""
    steps: list[tuple[float, str, str, dict[str, Any]]] = [
        (10, "rst", "*", {}),
        (10, "dropped", "*", {"duration": 2, "share": 0.3}),
        (8, "outage", "a", {"duration": 18}),
        (30, "stall", "*", {"duration": 8}),
        (16, "unknown_event", "*", {}),
        (6, "outage", "*", {"duration": 14}),
        (26, "rest_status", "rest", {"status": 503, "duration": 6}),
        (0, "dropped", "*", {"duration": 1}),
        (14, "server_shutdown", "a", {"duration": 3}),
        (10, "fin", "*", {}),
        (12, "http_status", "a", {"status": 503, "duration": 8}),
        (0, "rst", "*", {}),
    ]
    for pause, kind, endpoint, parameters in steps:
        time.sleep(pause)
        sys.stderr.write(f"{kind} {endpoint} {parameters}\n")
        exchange.break_now(kind, endpoint, **parameters)
    time.sleep(25)


def record(folder: Path, draw: Any) -> None:
    """Run it all, and draw while Prometheus still runs."""
    port = free_port()
    with simulator("--rate", "30", "--seed", "7") as exchange:
        settings = exchange.variables() | {
            "FAILOVER_URLS": exchange.urls["b"].replace("127.0.0.1", "localhost"),
            "STREAMS": "btcusdt@trade,ethusdt@trade,btcusdt@bookTicker",
            "METRICS_PORT": str(port),
            "RECONNECT_DELAY": "0.5",
            "MAX_RECONNECT_DELAY": "3",
            "STABLE_AFTER": "1",
            "RECOVERY_TIMEOUT": "4",
            "HEALTH_CHECK_INTERVAL": "1",
            "HEALTH_CHECK_TIMEOUT": "4",
            "REPAIR_HOLD": "3",
            "OUTPUT": str(folder / "out.jsonl"),
        }
        with (
            started("run", **settings),
            prometheus(folder, f"127.0.0.1:{port}", shortened_rules()) as running,
        ):
            connected = "k2_binance_connection_status == 1"
            until(lambda: running.get("query", query=connected)["result"], "a connection")
            time.sleep(INTERVAL_S)
            began = time.time()
            bad_day(exchange)
            draw(running, began, time.time())


# -- drawing --------------------------------------------------------------------------------------


def amount(value: float, unit: str) -> str:
    """A value as a person reads it."""
    match unit:
        case "s" if abs(value) >= 60:
            return f"{value / 60:.3g} min"
        case "s" if value and abs(value) < 1:
            return f"{value * 1000:.3g} ms"
        case "s":
            return f"{value:.3g} s"
        case "percentunit":
            return f"{value * 100:.4g} %"
        case "cps":
            return f"{value:.3g}/s"
        case _ if abs(value) >= 100:
            return f"{value:,.0f}"
        case _:
            return f"{value:.3g}"


def legend(series: Any, template: str) -> str:
    """Grafana's legend format, filled in."""
    text = template
    for name, value in series["metric"].items():
        text = text.replace(f"{{{{{name}}}}}", value)
    return text


def mapped(panel: Any, value: float) -> tuple[str, str] | None:
    """Text and colour that the panel's mappings give a value."""
    for mapping in panel["fieldConfig"]["defaults"].get("mappings", ()):
        if found := mapping["options"].get(f"{value:g}"):
            return found["text"], NAMED[found["color"]]
    return None


def threshold_colour(panel: Any, value: float) -> str:
    """The colour of the last step that the value reaches."""
    steps = panel["fieldConfig"]["defaults"]["thresholds"]["steps"]
    reached = [step for step in steps if step["value"] is None or value >= step["value"]]
    return NAMED[reached[-1]["color"]]


class Picture:
    """One dashboard over one time."""

    def __init__(self, running: Prometheus, began: float, ended: float) -> None:
        self.running, self.began, self.ended = running, began, ended
        self.step = 0.5

    def ask(self, target: Any, step: float | None = None) -> Any:
        query = plain(target["expr"], f"{INTERVAL_S}s", f"{round(self.ended - self.began)}s")
        return self.running.between(query, self.began, self.ended, step or self.step)

    def draw(self, path: Path) -> None:
        """Every panel at its place."""
        everything = json.loads(shipped("dashboard.json"))["panels"]
        rows = max(one["gridPos"]["y"] + one["gridPos"]["h"] for one in everything)
        height = rows * ROW_IN + 0.5
        figure = plt.figure(figsize=(24 * COLUMN_IN, height), facecolor=PAPER)
        title = 1 - 0.28 / height
        figure.text(0.006, title, "k2trio", size=15, weight="bold", va="center")
        about = "a bad day of the simulated exchange, minutes:seconds; not drawn by Grafana"
        figure.text(0.994, title, about, size=8.5, va="center", ha="right", color="#9a9da1")
        for panel in everything:
            self._panel(figure, panel, height)
        figure.savefig(path, dpi=100)

    def _panel(self, figure: Any, panel: Any, height: float) -> None:
        place = panel["gridPos"]
        top = 0.5 + place["y"] * ROW_IN
        gap = 0.05
        box = (
            (place["x"] * COLUMN_IN + gap) / (24 * COLUMN_IN),
            1 - (top + place["h"] * ROW_IN - gap) / height,
            (place["w"] * COLUMN_IN - 2 * gap) / (24 * COLUMN_IN),
            (place["h"] * ROW_IN - 2 * gap) / height,
        )
        if panel["type"] == "row":
            figure.text(box[0] + 0.002, box[1] + box[3] / 2, f"▾ {panel['title']}", size=10.5,
                        weight="bold", va="center")  # fmt: skip
            return
        kind = panel["type"]
        back = figure.add_axes(box, facecolor=PANEL)
        back.set(xticks=[], yticks=[])
        width, tall = box[2] * 24 * COLUMN_IN, box[3] * height
        back.text(0.08 / width, 1 - 0.14 / tall, panel["title"], size=9.5, weight="bold",
                  va="center", transform=back.transAxes,
                  color="white" if kind == "stat" else INK)  # fmt: skip
        if kind == "stat":
            self._stat(back, panel)
            return
        left = {"state-timeline": 1.75}.get(kind, 0.68)
        right = 0.62 if panel["fieldConfig"]["overrides"] or kind == "heatmap" else 0.15
        bottom = {"timeseries": 0.58}.get(kind, 0.3)
        inner = (
            box[0] + left / (24 * COLUMN_IN),
            box[1] + bottom / height,
            box[2] - (left + right) / (24 * COLUMN_IN),
            box[3] - (bottom + 0.34) / height,
        )
        axes = figure.add_axes(inner, facecolor=PANEL)
        {"timeseries": self._series, "state-timeline": self._states, "heatmap": self._heat}[kind](
            axes, panel
        )
        axes.set_xlim(0, self.ended - self.began)
        axes.xaxis.set_major_formatter(FuncFormatter(lambda s, _: f"{s // 60:.0f}:{s % 60:02.0f}"))
        axes.xaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 3, 6]))

    def _stat(self, axes: Any, panel: Any) -> None:
        (target,) = panel["targets"]
        found = self.ask(target)
        if not found:
            axes.text(0.5, 0.42, "No data", size=12, ha="center", va="center",
                      transform=axes.transAxes, color=INK)  # fmt: skip
            return
        value = float(found[0]["values"][-1][1])
        unit = panel["fieldConfig"]["defaults"]["unit"]
        text, colour = mapped(panel, value) or (
            amount(round(value, 4), unit),
            threshold_colour(panel, value),
        )
        axes.set_facecolor(colour)
        axes.text(0.5, 0.42, text, size=20, weight="bold", ha="center", va="center",
                  transform=axes.transAxes, color="white")  # fmt: skip

    def _series(self, axes: Any, panel: Any) -> None:
        defaults = panel["fieldConfig"]["defaults"]
        unit, custom = defaults["unit"], defaults["custom"]
        bars = custom["drawStyle"] == "bars"
        right = {one["matcher"]["options"] for one in panel["fieldConfig"]["overrides"]}
        second: Any = None
        base: dict[float, float] = {}
        colours = iter(PALETTE * 4)
        for target in panel["targets"]:
            for one in self.ask(target, INTERVAL_S if bars else None):
                name = legend(one, target["legendFormat"])
                points = [(float(at) - self.began, float(value)) for at, value in one["values"]]
                if bars and not any(value for _, value in points):
                    continue
                colour = next(colours)
                on = axes
                if name in right:
                    second = on = axes.twinx()
                    axes.set_zorder(1)  # what is on the left stays visible
                    axes.patch.set_visible(False)
                    second.patch.set_visible(False)
                if bars:
                    at, values = zip(*points, strict=True)
                    floor = [base.get(moment, 0.0) for moment in at]
                    on.bar(at, values, INTERVAL_S * 0.9, floor, color=colour, label=name)
                    base |= {m: f + v for m, f, v in zip(at, floor, values, strict=True)}
                    continue
                self._line(on, points, colour, name, fill=custom["fillOpacity"] > 0)
        self._frame(axes, defaults, unit)
        handles, labels = axes.get_legend_handles_labels()
        if second is not None:
            more = second.get_legend_handles_labels()
            handles, labels = handles + more[0], [*labels, *(f"{name} (right)" for name in more[1])]
            second.set_ylim(bottom=0)
            second.tick_params(length=0)
            for spine in second.spines.values():
                spine.set_visible(False)
        if handles:
            axes.legend(handles, labels, loc="upper left", bbox_to_anchor=(-0.02, -0.14),
                        ncols=min(len(labels), 5), frameon=False, fontsize=7.5, handlelength=1.2,
                        columnspacing=1.1, borderaxespad=0)  # fmt: skip

    def _line(self, axes: Any, points: Any, colour: str, name: str, *, fill: bool) -> None:
        """A line that breaks where there is nothing, as Grafana's does."""
        whole: list[tuple[float, float]] = []
        before: float | None = None
        for at, value in points:
            if before is not None and at - before > 4 * self.step:
                whole.append((before + self.step, math.nan))
            whole.append((at, value))
            before = at
        times, values = zip(*whole, strict=True)
        axes.plot(times, values, color=colour, linewidth=1.3, label=name)
        if fill:
            axes.fill_between(times, values, color=colour, alpha=0.08)

    def _frame(self, axes: Any, defaults: Any, unit: str) -> None:
        low, high = axes.get_ylim()
        axes.set_ylim(defaults.get("min", low), defaults.get("max", max(high, 1e-3)) * 1.02)
        low, high = axes.get_ylim()
        for step in defaults.get("thresholds", {}).get("steps", ()):
            if step["value"] is not None and low < step["value"] < high:
                axes.axhline(step["value"], color=NAMED["red"], linewidth=0.9, linestyle="--")
        axes.grid(color=FAINT, linewidth=0.6)
        axes.yaxis.set_major_locator(MaxNLocator(5))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: amount(value, unit)))

    def _states(self, axes: Any, panel: Any) -> None:
        names: list[str] = []
        for target in panel["targets"]:
            for one in self.ask(target):
                names.append(legend(one, target["legendFormat"]))
                self._state_row(axes, panel, len(names) - 1, one["values"])
        axes.set_yticks(range(len(names)), [name.replace(" (", "\n(") for name in names], size=7.5)
        axes.set_ylim(len(names) - 0.45, -0.55)

    def _state_row(self, axes: Any, panel: Any, row: int, values: Any) -> None:
        start, current = float(values[0][0]), float(values[0][1])
        ends = [*values[1:], [values[-1][0], "nan"]]
        for at, value in ends:
            if float(value) != current:
                text, colour = mapped(panel, current) or ("", NAMED["text"])
                width = float(at) - start
                axes.barh(row, width, 0.8, start - self.began, color=colour)
                if width > (self.ended - self.began) / 14 and text != "-":
                    axes.text(start - self.began + 1, row, text, size=7.5, va="center",
                              color="white", clip_on=True)  # fmt: skip
                start, current = float(at), float(value)

    def _heat(self, axes: Any, panel: Any) -> None:
        (target,) = panel["targets"]
        found = sorted(self.ask(target, INTERVAL_S), key=lambda one: float(one["metric"]["le"]))
        if not found:
            return
        times = [float(at) - self.began for at, _ in found[0]["values"]]
        rows = [dict(one["values"]) for one in found]
        moments = [at for at, _ in found[0]["values"]]
        counts = [
            [float(row.get(at, 0)) - (float(rows[k - 1].get(at, 0)) if k else 0) for at in moments]
            for k, row in enumerate(rows)
        ]
        cells = [[value if value > 0.05 else math.nan for value in row] for row in counts]
        mesh = axes.pcolormesh(times, range(len(cells)), cells, cmap="YlOrRd", shading="nearest",
                               norm=LogNorm(0.3, max(3, max(map(max, counts)))))  # fmt: skip
        labels = ["≤ " + amount(float(one["metric"]["le"]), "s") for one in found[:-1]] + ["more"]
        axes.set_yticks(range(len(labels)), labels, size=7.5)
        bar = axes.figure.colorbar(mesh, ax=axes, fraction=0.03, pad=0.015)
        bar.outline.set_visible(False)
        bar.ax.minorticks_off()
        bar.ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))


def main() -> None:
    """Run, draw, and say where the picture is."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, default=ROOT / "docs" / "dashboard.png")
    path = parser.parse_args().output
    mpl.use("agg")
    mpl.rcParams.update({
        "text.color": INK, "axes.labelcolor": INK, "xtick.color": INK, "ytick.color": INK,
        "axes.edgecolor": FAINT, "xtick.labelsize": 7.5, "ytick.labelsize": 7.5,
        "font.family": "DejaVu Sans", "xtick.major.size": 0, "ytick.major.size": 0,
    })  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        record(Path(folder), lambda *when: Picture(*when).draw(path))
    sys.stderr.write(f"{path}: {len(panels())} panels\n")


if __name__ == "__main__":
    main()

"""Results: as a table for people, as JSON with everything needed to judge it, as a plot."""

from __future__ import annotations

import datetime as dt
import json
import os
import platform
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Mapping, Sequence

OURS, OTHERS, FLOOR = "#0b6e4f", "#9aa5b1", "#d8dde3"
"""Colours of the bars."""
MARKERS = ("o", "|", "D", "s")


def machine() -> dict[str, Any]:
    """What the figures were taken on."""
    model = platform.processor()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        names = [line for line in cpuinfo.read_text().splitlines() if line.startswith("model name")]
        model = names[0].partition(":")[2].strip() if names else model
    return {
        "cpu": model,
        "cores": os.cpu_count(),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "load_before": os.getloadavg()[0],
    }


def document(checkout: Path, **content: Any) -> dict[str, Any]:
    """The JSON of a benchmark: date, machine and commit around its content."""
    commit = subprocess.run(
        ["git", "-C", str(checkout), "describe", "--always", "--dirty"],
        capture_output=True, text=True, check=False,
    ).stdout.strip()  # fmt: skip
    return {
        "date": dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
        "commit": commit,
        "machine": machine(),
        **content,
    }


def publish(
    content: Mapping[str, Any], options: argparse.Namespace, draw: Callable[[Path], None]
) -> None:
    """What every script ends with: the caption, and the JSON and the plots if they are wanted.

    :param options: with ``json``, a file, and ``plots``, a folder; each may be None.
    :param draw: puts the plots into a folder, which exists.
    """
    print(caption(content))
    if options.json is not None:
        write_json(options.json, content)
    if options.plots is not None:
        options.plots.mkdir(parents=True, exist_ok=True)
        draw(options.plots)


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write a document; one line says so, or why not."""
    try:
        path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n")
    except OSError as error:
        raise SystemExit(f"cannot write {path}: {error.strerror}") from error
    print(f"wrote {path}", file=sys.stderr)


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table; columns after the first are figures."""
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)


def caption(content: Mapping[str, Any]) -> str:
    """One line: where and when."""
    where = content["machine"]
    return (
        f"{where['cpu']}, {where['cores']} cores, {where['system']}, Python {where['python']}, "
        f"loopback, {content['date'][:10]}, commit {content['commit']}"
    )


def figure(path: Path, height: float) -> Any:
    """A matplotlib figure with one set of axes, or None, said so, where that is not installed."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        print(f"no {path.name}: pip install -r bench/requirements.txt", file=sys.stderr)
        return None
    return Figure(figsize=(9, height), layout="constrained", dpi=120)


def bars(
    path: Path,
    title: str,
    unit: str,
    rows: Sequence[tuple[str, float, str]],
    foot: str,
) -> None:
    """Horizontal bars, longest on top, each with its own label: name, value, text behind it."""
    if not rows:
        return
    chart = figure(path, 1.2 + 0.32 * len(rows))
    if chart is None:
        return
    rows = sorted(rows, key=lambda row: row[1])
    axes = chart.add_subplot()
    colours = [
        OURS if name.startswith("k2trio") else FLOOR if name.startswith("floor") else OTHERS
        for name, _, _ in rows
    ]
    drawn = axes.barh([name for name, _, _ in rows], [value for _, value, _ in rows], color=colours)
    axes.bar_label(drawn, [label for _, _, label in rows], padding=4, fontsize=9)
    axes.set_title(title, loc="left", fontweight="bold")
    axes.set_xlabel(f"{unit}\n{foot}", fontsize=8)
    axes.spines[["top", "right"]].set_visible(False)
    axes.margins(x=0.18, y=0.01)
    chart.savefig(path)
    print(f"wrote {path}", file=sys.stderr)


def ranges(
    path: Path,
    title: str,
    unit: str,
    rows: Sequence[tuple[str, Sequence[float]]],
    marks: Sequence[str],
    foot: str,
) -> None:
    """A row of dots per name, lowest first, on a logarithmic scale; each dot with its value.

    :param rows: name, and one value per mark, ascending.
    :param marks: what the values are, e.g. ``p50``.
    """
    if not rows:
        return
    chart = figure(path, 1.5 + 0.42 * len(rows))
    if chart is None:
        return
    axes = chart.add_subplot()
    rows = sorted(rows, key=lambda row: row[1][0], reverse=True)
    for place, (name, values) in enumerate(rows):
        colour = OURS if name.startswith("k2trio") else OTHERS
        axes.plot(values, [place] * len(values), color=colour, linewidth=1.2, zorder=1)
        for number, value in enumerate(values):
            axes.scatter(value, place, s=34, color=colour, marker=MARKERS[number], zorder=2)
            axes.annotate(
                f"{value:,.0f}" if value >= 10 else f"{value:.1f}", (value, place),
                (0, -13 if number == 1 else 6), textcoords="offset points", ha="center", fontsize=7,
            )  # fmt: skip
    for number, mark in enumerate(marks):
        axes.scatter([], [], s=34, color=OTHERS, marker=MARKERS[number], label=mark)
    axes.legend(loc="upper left", bbox_to_anchor=(0, -0.13), ncols=len(marks), frameon=False)
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:,g}")
    axes.set_yticks(range(len(rows)), [name for name, _ in rows])
    axes.set_ylim(-0.6, len(rows) - 0.2)
    axes.set_title(title, loc="left", fontweight="bold")
    axes.set_xlabel(f"{unit}\n{foot}", fontsize=8)
    axes.grid(axis="x", color="#eef0f2")
    axes.spines[["top", "right"]].set_visible(False)
    chart.savefig(path)
    print(f"wrote {path}", file=sys.stderr)


def name_lines(axes: Any, lines: Sequence[tuple[float, float, str, bool]]) -> None:
    """Write names at the right ends of lines, apart from each other: x, y, name, whether ours."""
    low, high = axes.get_ylim()
    step = (high - low) / 26
    ordered = sorted(lines, key=lambda line: line[1])
    right = max(at for at, *_ in lines)
    place = low
    for at, value, name, ours in ordered:
        place = max(value, place + step)
        axes.annotate(
            f"{name} {value:.0f}", (at, value), (right * 1.04, place), textcoords="data",
            fontsize=8, va="center", color=OURS if ours else "#52606d",
            fontweight="bold" if ours else "normal",
        )  # fmt: skip
    axes.set_ylim(low, max(high, place + step))
    axes.set_xlim(0, right * 1.45)

"""Draws ``docs/demo.svg``: a moving picture of ``python -m k2trio demo``, from a real run.

``python docs/render_demo.py`` runs the demo on a terminal of its own, keeps what it writes and
when, and draws what the terminal shows as frames of one SVG. They follow each other by a CSS
animation, so the picture moves wherever an image may, and needs no script. Who asks for less motion
sees the last frame. Nothing is touched up: the times on the screen are those of the run, and the
title says how much faster it is shown. Needs Linux or macOS, and pyte (dependency group ``docs``).
"""

from __future__ import annotations

import argparse
import fcntl
import math
import os
import pty
import struct
import sys
import termios
import time
from dataclasses import dataclass
from html import escape
from itertools import groupby, pairwise
from pathlib import Path
from typing import NamedTuple

import pyte

HERE = Path(__file__).parent
COLUMNS, ROWS = 80, 32
STEP_S = 0.5
"""Of the run, between two frames at least."""
WHOLE_S = 0.03
"""So long nothing is written when a screen is whole."""
LAST_S = 8.0
"""For which the last frame stands, in the picture."""
CELL_W, CELL_H, FONT = 8.4, 17, 14
MARGIN, BAR = 14, 34
INK, PAPER, FRAME, FAINT = "#d8d9da", "#111217", "#1d2026", "#8b9099"
NAMED = {"red": "#f2495c", "green": "#73bf69", "brown": "#f2cc0c", "blue": "#5794f2",
         "magenta": "#b877d9", "cyan": "#8ab8ff", "white": INK, "black": FRAME}  # fmt: skip
MAX_BYTES = 300_000


class Run(NamedTuple):
    """Cells of a row that look alike."""

    column: int
    text: str
    colour: str
    bold: bool


@dataclass(frozen=True)
class Frame:
    """What the terminal shows from a time on, seconds since the start."""

    at: float
    rows: tuple[tuple[Run, ...], ...]


def record(seconds: int) -> list[tuple[float, bytes]]:
    """What the demo writes to a terminal, and when."""
    command = [sys.executable, "-m", "k2trio", "demo", "--seconds", str(seconds)]
    size = struct.pack("HHHH", ROWS, COLUMNS, 0, 0)
    process, terminal = pty.fork()
    if process == 0:
        fcntl.ioctl(sys.stdout.fileno(), termios.TIOCSWINSZ, size)
        plain = {name: os.environ[name] for name in ("PATH", "PYTHONPATH") if name in os.environ}
        os.execve(sys.executable, command, plain | {"TERM": "xterm-256color", "LANG": "C.UTF-8"})  # noqa: S606 - ourselves
    began = time.monotonic()
    written: list[tuple[float, bytes]] = []
    while True:
        try:
            data = os.read(terminal, 65536)
        except OSError:  # how Linux says that the other side was closed
            data = b""
        if not data:
            break
        written.append((time.monotonic() - began, data))
    _, status = os.waitpid(process, 0)
    if os.waitstatus_to_exitcode(status) != 0:
        sys.exit(f"the demo failed: {written[-1][1].decode(errors='replace')}")
    return written


def frames(written: list[tuple[float, bytes]]) -> list[Frame]:
    """The screens that were whole, at most one every ``STEP_S``, and the last one."""
    screen = pyte.Screen(COLUMNS, ROWS)
    stream = pyte.ByteStream(screen)
    found: list[Frame] = []
    for (at, data), (then, _) in pairwise([*written, (math.inf, b"")]):
        stream.feed(data)
        if then - at < WHOLE_S or (found and at - found[-1].at < STEP_S and then < math.inf):
            continue
        rows = tuple(_row(screen, number) for number in range(ROWS))
        if not found or rows != found[-1].rows:
            found.append(Frame(at, rows))
    return found


def _row(screen: pyte.Screen, number: int) -> tuple[Run, ...]:
    cells = [screen.buffer[number][column] for column in range(COLUMNS)]
    runs: list[Run] = []
    column = 0
    for (colour, bold), group in groupby(cells, key=lambda cell: (cell.fg, cell.bold)):
        text = "".join(cell.data for cell in group)
        if text.strip():
            before = len(text) - len(text.lstrip())
            runs.append(Run(column + before, text.strip(), colour, bold))
        column += len(text)
    return tuple(runs)


def drawn(film: list[Frame], seconds: int, speed: float) -> str:
    """The SVG."""
    width, height = COLUMNS * CELL_W + 2 * MARGIN, BAR + ROWS * CELL_H + MARGIN
    names = {row: f"r{number}" for number, row in enumerate(dict.fromkeys(_all_rows(film)))}
    texts = "\n".join(f'<g id="{name}">{_text(row)}</g>' for row, name in names.items())
    pictures: list[str] = []
    for number, frame in enumerate(film):
        uses = "".join(
            f'<use href="#{names[row]}" y="{place * CELL_H}"/>'
            for place, row in enumerate(frame.rows)
            if row
        )
        pictures.append(f'<g transform="translate(0 {number * ROWS * CELL_H})">{uses}</g>')
    last_at = film[-1].at / speed
    whole_s = last_at + LAST_S
    keys = "".join(
        f"{100 * frame.at / speed / whole_s if number else 0:.3f}%"
        f"{{transform:translateY(-{number * ROWS * CELL_H}px)}}"
        for number, frame in enumerate(film)
    )
    end = f"translateY(-{(len(film) - 1) * ROWS * CELL_H}px)"
    title = "python -m k2trio demo"
    told = f"{seconds} s, shown {speed:g} times as fast" if speed != 1 else f"{seconds} s"
    fonts = "ui-monospace,SFMono-Regular,Menlo,Consolas,'DejaVu Sans Mono',monospace"
    return f"""\
<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height}" width="{width:g}" \
height="{height}" role="img" aria-labelledby="title about">
<title id="title">{title}</title>
<desc id="about">A real run: faults of a simulated exchange, how the feed comes through, and its \
accounts at the end.</desc>
<style>
text{{font:{FONT}px {fonts};fill:{INK};white-space:pre}}
.b{{font-weight:700}}
#film{{transform:{end};animation:play {whole_s:.2f}s step-end infinite}}
@keyframes play{{{keys}100%{{transform:{end}}}}}
@media (prefers-reduced-motion:reduce){{#film{{animation:none}}}}
</style>
<defs>
<clipPath id="screen"><rect width="{width:g}" height="{ROWS * CELL_H}"/></clipPath>
{texts}
</defs>
<rect width="{width:g}" height="{height}" rx="8" fill="{PAPER}"/>
<path d="M0 {BAR - 6}V8a8 8 0 0 1 8-8H{width - 8:g}a8 8 0 0 1 8 8V{BAR - 6}z" fill="{FRAME}"/>
<text x="{MARGIN}" y="19">{title}</text>
<text x="{width - MARGIN:g}" y="19" text-anchor="end" style="fill:{FAINT}">{told}</text>
<g transform="translate({MARGIN} {BAR})" clip-path="url(#screen)"><g id="film">
{chr(10).join(pictures)}
</g></g>
</svg>
"""


def _all_rows(film: list[Frame]) -> list[tuple[Run, ...]]:
    return [row for frame in film for row in frame.rows if row]


def _text(row: tuple[Run, ...]) -> str:
    return "".join(map(_run, row))


def _run(run: Run) -> str:
    bold = ' class="b"' if run.bold else ""
    colour = f' style="fill:{NAMED[run.colour]}"' if run.colour in NAMED else ""
    # The length makes columns meet whatever font there is.
    place = f'x="{run.column * CELL_W:g}" y="{FONT}" textLength="{len(run.text) * CELL_W:g}"'
    return f"<text {place}{bold}{colour}>{escape(run.text, quote=False)}</text>"


def main() -> None:
    """Record, draw, and tell how large it is."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--seconds", type=int, default=60, help="of the run [60]")
    parser.add_argument("--speed", type=float, default=2.0, help="how much faster it plays [2]")
    parser.add_argument("--output", type=Path, default=HERE / "demo.svg")
    given = parser.parse_args()
    film = frames(record(given.seconds))
    text = drawn(film, given.seconds, given.speed)
    size = len(text.encode())
    if size > MAX_BYTES:
        sys.exit(f"{size:,} bytes are more than {MAX_BYTES:,}; show fewer frames")
    given.output.write_text(text, encoding="utf-8")
    sys.stdout.write(f"{given.output.name}: {len(film)} frames, {size:,} bytes\n")


if __name__ == "__main__":
    main()

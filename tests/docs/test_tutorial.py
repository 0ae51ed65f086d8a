"""The tutorial works, block by block, as whoever follows it does."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
from pages import DOCS, blocks
from processes import PATIENCE_S
from shell import bash, with_free_ports

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.slow

TUTORIAL = DOCS / "tutorial.md"
FASTER = [
    ("INT 90", "INT 9"),
    ('"at": 10,', '"at": 1,'),
    ('"at": 25,', '"at": 2,'),
    ('"duration": 3}', '"duration": 0.5}'),
    ('"at": 45,', '"at": 6,'),
    ('"duration": 25', '"duration": 3.5'),
    ('"at": 46,', '"at": 6.2,'),
    ('"duration": 2}', '"duration": 0.3}'),
]
"""What makes the tutorial's minute and a half nine seconds."""


def test_the_tutorial_works_from_its_first_block_to_its_last(
    tmp_path: Path,
) -> None:
    ports = with_free_ports()

    def faster(text: str) -> str:
        for slow, fast in FASTER:
            text = text.replace(slow, fast)
        return ports(text)

    all_of_it = "".join(block.text for block in blocks(TUTORIAL))
    assert all(slow in all_of_it for slow, _ in FASTER)
    script: list[str] = []
    for block in blocks(TUTORIAL, "json", "python", "sh"):
        if file := block.marks.get("file"):
            (tmp_path / file).write_text(faster(block.text))
        elif "not run" not in block.marks:
            script.append(faster(block.text))
            if "simulate" in block.text:
                port = ports("9443")
                up = f"(exec 3<>/dev/tcp/127.0.0.1/{port}) 2>/dev/null"
                script.append(f"until {up}; do sleep 0.1; done")
    with bash("\n".join(script), tmp_path, REPAIR_HOLD="0.5", RECONNECT_DELAY="0.1") as process:
        told, _ = process.communicate(timeout=4 * PATIENCE_S)
    assert process.returncode == 0, told
    # Each stage as the page shows it: holes, filled by REST, and then none.
    assert re.search(r"^btcusdt@trade .+ not_repaired ", told, re.MULTILINE), told
    assert "\nnot complete: 2 of 3 streams" in told
    assert re.search(r"^btcusdt@trade  127\.0\.0\.1  [1-9]\d* +0 +0$", told, re.MULTILINE), told
    assert "\ncomplete: " in told.partition("\nmarket:\n")[2]
    assert re.search(r"^\d+ trades, [1-9]\d* of them brought by REST", told, re.MULTILINE), told
    assert (tmp_path / "chart.png").read_bytes().startswith(b"\x89PNG")

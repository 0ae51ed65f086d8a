"""What a type checker knows of the settings: the model's fields, each by its name and type.

Nothing here runs; see ``feeds.py``.
"""

# pyright: strict, reportUnnecessaryTypeIgnoreComment=true

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal, assert_type

from k2trio import Settings, load_settings


def settings_take_their_fields_and_nothing_else() -> None:
    assert_type(Settings(), Settings)
    Settings(symbols=["BTCUSDT"], reconnect_delay=3, state=Path("state.json"))
    Settings(symbls=["BTCUSDT"])  # type: ignore[call-arg]
    Settings(reconnect_delay="3")  # type: ignore[arg-type]


def load_settings_takes_the_same() -> None:
    assert_type(load_settings(), Settings)
    load_settings(symbols="BTCUSDT,ETHUSDT", max_reconnect_attempts=0, overflow="drop")
    load_settings(output=Path("out.jsonl"), output_rotate="1h", output_keep=3)
    load_settings(output=["out.jsonl.zst", Path("other.jsonl")], journal=Path("journal"))
    load_settings(output=3)  # type: ignore[arg-type]
    load_settings(max_reconect_attempts=0)  # type: ignore[call-arg]
    load_settings(overflow="wait")  # type: ignore[arg-type]


def settings_are_read_with_their_types(settings: Settings) -> None:
    assert_type(settings.symbols, Sequence[str])
    assert_type(settings.reconnect_delay, float)
    assert_type(settings.state, Path | None)
    assert_type(settings.overflow, Literal["block", "drop"])

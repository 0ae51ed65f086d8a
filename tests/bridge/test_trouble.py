"""One exchange in trouble, and a program of each world that reads it: all get the same."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from bridge.trouble import STREAMS, common, consumed, lost_or_wrong, worlds

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.slow

SECONDS = 8.0
"""``python tests/bridge/trouble.py`` takes a minute."""


def test_programs_of_every_world_get_equal_ids_through_the_same_trouble(tmp_path: Path) -> None:
    told = consumed(SECONDS, tmp_path)
    assert set(told) == set(worlds()) >= {"trio", "asyncio", "sync"}
    assert lost_or_wrong(told) == []
    assert all(one.repaired for one in told.values())
    for stream in STREAMS:
        first, last = common(told, stream)
        assert last - first > 500

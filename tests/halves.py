"""Which half of the suite a case belongs to: the quick one, or the slow one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterable

EVERY = 20
"""Of so many cases of one kind, the first is in the quick half."""


def quick_and_slow(cases: Iterable[Any]) -> list[Any]:
    """All cases, of which most are marked as slow."""
    return [
        pytest.param(*(case if isinstance(case, tuple) else (case,)), marks=pytest.mark.slow)
        if number % EVERY
        else case
        for number, case in enumerate(cases)
    ]

"""Keeps the tests hermetic."""

from __future__ import annotations

import os

import pytest

from k2trio.settings import ENV_PREFIX


@pytest.fixture(autouse=True)
def no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    """Variables of the machine that runs the tests must not change them."""
    for name in list(os.environ):
        if name.upper().startswith(ENV_PREFIX):
            monkeypatch.delenv(name)

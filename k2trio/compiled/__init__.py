"""The compiled core, where it was built and is wanted; everything works without it too.

It is built with the package where a C compiler is there. ``K2TRIO_PURE=1`` leaves it out.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from types import ModuleType

VARIABLE = "K2TRIO_PURE"
INTERFACE = 2
"""Of the core that fits this package; one that an older version left in the folder does not."""


def _load() -> tuple[ModuleType | None, str]:
    """The core; or None, and why."""
    if os.environ.get(VARIABLE, "") not in ("", "0"):
        return None, f"{VARIABLE} is set"
    try:
        found = importlib.import_module("._core", __package__)
    except ImportError as error:
        return None, f"it was not built with this package ({error})"
    if getattr(found, "INTERFACE", None) != INTERFACE:
        return None, "it is that of another version; install the package again"
    cast("Any", Sequence).register(found.Levels)
    return found, ""


core: ModuleType | None
why_not: str
core, why_not = _load()
"""The compiled core, or None and the reason."""

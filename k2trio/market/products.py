"""The products that are known, each by its dialect. A further one is a file, and a place here."""

from __future__ import annotations

from .spot import SPOT
from .usdm import USDM

DIALECTS = {dialect.product: dialect for dialect in (SPOT, USDM)}
"""By their names; where one has to be guessed, the first goes first."""

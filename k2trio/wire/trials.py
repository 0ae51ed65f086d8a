"""Which addresses of a server have failed, so that the others are tried before them.

That an address takes a TCP connection says little: a dead node behind a name may accept and never
speak. So an address that was connected to counts as failed until a WebSocket was opened there.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .resolver import Address


class Trials:
    """Of one server; no more is kept than its name last had addresses."""

    def __init__(self) -> None:
        self._failed_at: dict[Address, float] = {}

    def order(self, addresses: Sequence[Address]) -> list[Address]:
        """The addresses as they are to be tried: those that have failed last, the latest at last.

        The system's own order decides between the rest (RFC 6724).
        """
        failed = self._failed_at
        self._failed_at = {address: failed[address] for address in addresses if address in failed}
        return sorted(addresses, key=lambda address: failed.get(address, -math.inf))

    def begin(self, address: Address, now: float) -> None:
        """A connection to the address was made, which has to prove itself."""
        self._failed_at[address] = now

    def prove(self, address: Address) -> None:
        """It did."""
        self._failed_at.pop(address, None)

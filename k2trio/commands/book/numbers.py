"""The exchange's decimals as people read them: exact, aligned at the point, without idle zeros."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


def trimmed(number: str) -> str:
    """A decimal without the zeros at its end that say nothing."""
    return number.rstrip("0").rstrip(".") if "." in number else number


class Column:
    """Decimals one below the other, all with as many digits behind the point.

    It never has fewer of these than before, so that a picture that changes does not jump.
    """

    def __init__(self) -> None:
        self._decimals = 0

    def take(self, numbers: Sequence[str]) -> list[str]:
        """The numbers as they are to be shown; of one length if right-aligned."""
        shown = [trimmed(number).partition(".") for number in numbers]
        self._decimals = max(self._decimals, *(len(digits) for _, _, digits in shown), 0)
        point = "." if self._decimals else ""
        return [f"{whole}{point}{digits.ljust(self._decimals, '0')}" for whole, _, digits in shown]

"""What a check raises."""

from __future__ import annotations


class Violation(AssertionError):  # noqa: N818 - an invariant is violated
    """An invariant does not hold."""


def demand(condition: bool, invariant: int, message: str) -> None:
    """Hold an invariant.

    :param invariant: its number.
    :raises Violation: if the condition is false.
    """
    if not condition:
        raise Violation(f"invariant {invariant}: {message}")

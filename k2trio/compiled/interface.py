"""What the compiled core offers, for type checkers: the core itself is no Python.

Everything here is documented in the C headers beside it, and none of it runs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Generic, NamedTuple, Protocol, TypeVar

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import Self

L = TypeVar("L")


class Run(NamedTuple):
    """What a batch has of a stream.

    :ivar messages: how many.
    :ivar in_order: whether each of them follows the one before it.
    :ivar first: first key of the first.
    :ivar after: what comes after the last key of the last.
    :ivar time: when the last was made, if it tells.
    :ivar begin: of aggregates, the first trade of the first.
    :ivar due: of aggregates, what comes after the last trade of the last.
    """

    stream: str
    messages: int
    in_order: bool
    first: int
    after: int
    time: int | None
    begin: int
    due: int


class Decoder(Protocol):
    """Makes events of combined frames that have the exchange's own layout."""

    def expect(self, streams: list[tuple[str, int, str | None, str | None]], /) -> None:
        """Know these streams, and no others: name, layout, symbol and interval of each."""

    def decode(
        self, payloads: list[bytes], received: float, /
    ) -> tuple[list[Any], list[int], Sequence[Run]]:
        """Frames → events, or the frame where it is for the pure path; where those are; runs."""
        ...


class Ladder(Generic[L]):
    """One side of a book, whose levels are ``L``."""

    if TYPE_CHECKING:
        best: L | None
        known: int
        whole: bool
        exhausted: bool
        floor: int | None
        sign: int

        def __init__(
            self,
            sign: int,
            level: type[L],
            level_fields: tuple[str, str],
            most: int,
            unusual: type[Exception],
        ) -> None: ...
        def __len__(self) -> int: ...
        def __iter__(self) -> Iterator[L]: ...
        def top(self, levels: int, /) -> list[L]: ...
        def crosses(self, other: Self, /) -> bool: ...
        def update(self, changes: Sequence[L], /) -> None: ...
        def limit(self) -> None: ...
        def find(self, key: int, /) -> L | None: ...
        def down_to(self, key: int, /) -> list[L]: ...

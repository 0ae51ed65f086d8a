from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple, Self, final

from ..market.payloads import Level

INTERFACE: int

class Run(NamedTuple):
    stream: str
    messages: int
    in_order: bool
    first: int
    after: int
    time: int | None
    begin: int
    due: int

@final
class Levels:
    def __len__(self) -> int: ...
    def __getitem__(self, index: int) -> Any: ...

@final
class Decoder:
    def __new__(
        cls,
        event: type,
        event_fields: tuple[str, ...],
        level: type,
        level_fields: tuple[str, ...],
        layouts: tuple[tuple[Any, ...], ...],
        venue: str,
        origin: str,
    ) -> Decoder: ...
    def expect(self, streams: list[tuple[str, int, str | None, str | None]], /) -> None: ...
    def decode(
        self, payloads: list[bytes], received: float, /
    ) -> tuple[list[Any], list[int], list[Run]]: ...

@final
class Lines:
    def __new__(
        cls,
        event: type,
        event_fields: tuple[str, ...],
        head: Callable[[str, str], bytes],
        middle: Callable[[float, str], bytes],
        other: Callable[[Any], bytes],
    ) -> Lines: ...
    def __call__(self, items: Iterable[Any], /) -> bytes: ...

class Ladder:
    def __new__(
        cls,
        sign: int,
        level: type,
        level_fields: tuple[str, str],
        most: int,
        unusual: type[Exception],
    ) -> Self: ...
    def __len__(self) -> int: ...
    def __iter__(self) -> Iterator[Level]: ...
    @property
    def best(self) -> Level | None: ...
    @property
    def known(self) -> int: ...
    @property
    def whole(self) -> bool: ...
    @property
    def exhausted(self) -> bool: ...
    @property
    def floor(self) -> int | None: ...
    @property
    def sign(self) -> int: ...
    def top(self, levels: int, /) -> list[Level]: ...
    def crosses(self, other: Self, /) -> bool: ...
    def update(self, changes: Iterable[Level], /) -> None: ...
    def limit(self) -> None: ...
    def find(self, key: int, /) -> Level | None: ...
    def down_to(self, key: int, /) -> list[Level]: ...

def cut(data: bytes, at: int, longest: int, texts: list[bytes], /) -> int: ...

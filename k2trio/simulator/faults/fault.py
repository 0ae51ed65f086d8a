"""Faults as data: what goes wrong, where, when and for how long.

A :class:`Fault` is a value. It is written in Python, read from a JSON file, or posted to a running
simulator, and a seeded schedule of them can be drawn (:mod:`.schedule`). The exchange, the network
and the REST side ask the :class:`.board.FaultBoard` what is wrong right now.
"""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING, Annotated

import msgspec

from .kinds import FaultKind

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence
    from pathlib import Path


class Fault(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One fault.

    :param at: when; seconds since the start of the run (or since it was posted).
    :param endpoint: name of an endpoint or of a venue, or ``"*"`` for all.
    :param kind: what goes wrong.
    :param duration: how long; seconds. 0 has a meaning of its own, see :class:`.kinds.Scope`.
    :param count: attempts hit at most; or messages of a burst, pings of a flood, orders.
    :param status: HTTP status of ``HTTP_STATUS`` and ``REST_STATUS``.
    :param retry_after: ``Retry-After`` of those; seconds.
    :param held: with ``HTTP_STATUS``: send no Content-Length and keep the connection open.
    :param code: close code of ``CLOSE``, ``CLOSE_HELD`` and ``SERVER_SHUTDOWN``.
    :param location: target of ``REDIRECT``.
    :param symbol: the symbol of ``SILENT_SYMBOL``, ``BURST``, ``IDS_JUMP``, ``IDS_RESET``,
        ``SHARED_ID`` and ``HALT`` (None: all), and the only one that ``DROPPED``, ``DUPLICATED``
        and ``REORDERED`` touch.
    :param stream: the stream of ``ABSURD_KEY`` and ``LOST_STREAM``; None: one is drawn.
    :param share: share of messages that are dropped, doubled, swapped; 0 to 1.
    :param by: ids skipped by ``IDS_JUMP``, taken back by ``IDS_RESET``; how far ``ABSURD_KEY``
        is ahead, in ids or in milliseconds.
    :param size: bytes of ``OVERSIZE`` (over 16 MiB only the header is sent) and depth of
        ``DEEP_JSON``; rows left by ``REST_SHORT`` and ``REST_TRUNCATED``.
    :param interval: seconds between the bytes of ``UPGRADE_DRIP``.
    :param lag: how old the answers of ``REST_LAG`` are; seconds.
    """

    at: Annotated[float, msgspec.Meta(ge=0)]
    endpoint: str
    kind: FaultKind
    duration: Annotated[float, msgspec.Meta(ge=0)] = 0.0
    count: Annotated[int, msgspec.Meta(ge=1)] | None = None
    status: Annotated[int, msgspec.Meta(ge=400, le=599)] = 429
    retry_after: Annotated[float, msgspec.Meta(ge=0)] | None = None
    held: bool = False
    code: Annotated[int, msgspec.Meta(ge=1000, le=4999)] = 1001
    location: str = "wss://example.invalid/stream"
    symbol: str | None = None
    share: Annotated[float, msgspec.Meta(ge=0, le=1)] = 1.0
    stream: str | None = None
    by: Annotated[int, msgspec.Meta(ge=1)] = 5_000_000
    size: Annotated[int, msgspec.Meta(ge=1)] | None = None
    interval: Annotated[float, msgspec.Meta(ge=0)] = 1.0
    lag: Annotated[float, msgspec.Meta(ge=0)] = 25.0

    def hits(self, names: Sequence[str]) -> bool:
        """Whether it is meant for something called by one of ``names``."""
        return self.endpoint == "*" or self.endpoint in names


_FAULTS: msgspec.json.Decoder[Fault | list[Fault]] = msgspec.json.Decoder(Fault | list[Fault])


def parse_faults(data: bytes | str) -> list[Fault]:
    """Faults from JSON: one object, or a list of them.

    :raises msgspec.ValidationError: if a field is unknown or of the wrong type, or a kind unknown.
    :raises msgspec.DecodeError: if it is not JSON.
    """
    try:
        found = _FAULTS.decode(data)
    except msgspec.ValidationError as error:
        if (unknown := _unknown_kind(data)) is None:
            raise
        raise msgspec.ValidationError(unknown) from error
    return [found] if isinstance(found, Fault) else found


def _unknown_kind(data: bytes | str) -> str | None:
    """Says of the first kind that is none what the known ones are."""
    try:
        found = msgspec.json.decode(data)
    except (msgspec.DecodeError, RecursionError):
        return None
    for fault in found if isinstance(found, list) else [found]:  # pyright: ignore[reportUnknownVariableType]
        kind = fault.get("kind") if isinstance(fault, dict) else None  # pyright: ignore[reportUnknownVariableType, reportUnknownMemberType]
        if isinstance(kind, str) and kind not in set(FaultKind):
            near = difflib.get_close_matches(kind, list(FaultKind), n=1)
            hint = f" did you mean {near[0]}?" if near else ""
            return f"{kind[:80]!r} is no kind of fault;{hint} known are {', '.join(FaultKind)}"
    return None


def refuse_unknown(
    faults: Iterable[Fault], names: Collection[str], symbols: Collection[str] | None
) -> None:
    """Faults that could hit nothing are slips.

    :param names: what faults may be meant for, besides ``"*"``.
    :param symbols: what is traded; None: that is not known.
    :raises ValueError: naming the first one that nothing is called, and what there is.
    """
    for fault in faults:
        for given, known in ((fault.endpoint, {"*", *names}), (fault.symbol, symbols)):
            if given is not None and known is not None and given not in known:
                there = ", ".join(sorted(known))
                raise ValueError(f"nothing is called {given[:80]!r}; known are {there}")


def load_faults(path: Path) -> list[Fault]:
    """Faults from a JSON file, see :func:`parse_faults`."""
    return parse_faults(path.read_bytes())

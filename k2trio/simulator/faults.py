"""Faults as data: what goes wrong, where, when and for how long.

A :class:`Fault` is a value. It is written in Python, read from a JSON file, or posted to a running
simulator, and a seeded schedule of them can be drawn. The exchange, the network and the REST side
ask the :class:`FaultBoard` what is wrong right now.

Three scopes decide what ``duration`` and ``count`` mean (:data:`SCOPE` says which kind has which):

attempt
    Hits attempts: dials, upgrades or REST requests. With ``duration`` it hits every attempt in
    that time, with ``count`` at most that many; with neither, the next attempt only.
data
    Changes what flows on connections. Without ``duration`` it lasts for the rest of the life of
    the connections that are live at ``at``; with it, it hits every connection of the endpoint
    (new ones too) until the time is over.
strike
    Happens once, to every connection of the endpoint that is live at ``at``.
"""

from __future__ import annotations

import enum
import heapq
import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Protocol

import msgspec
import trio

if TYPE_CHECKING:
    import random
    from collections.abc import Iterable, Sequence
    from pathlib import Path


class Scope(enum.Enum):
    """What a kind of fault hits; see the module's text."""

    ATTEMPT = "attempt"
    DATA = "data"
    STRIKE = "strike"


class FaultKind(enum.StrEnum):
    """Everything that the simulator can break."""

    # Dialling
    REFUSED = "refused"
    BLACK_HOLE = "black_hole"
    DNS_FAILURE = "dns_failure"
    DNS_HANG = "dns_hang"
    # The upgrade
    UPGRADE_SILENT = "upgrade_silent"
    UPGRADE_DRIP = "upgrade_drip"
    UPGRADE_FIN = "upgrade_fin"
    UPGRADE_RST = "upgrade_rst"
    HTTP_STATUS = "http_status"
    REDIRECT = "redirect"
    BAD_ACCEPT = "bad_accept"
    NOT_HTTP = "not_http"
    # What the exchange then does with the connection
    FLAPPING = "flapping"
    SUBSCRIBE_DEAD = "subscribe_dead"
    # Ends of a connection
    FIN = "fin"
    RST = "rst"
    CLOSE = "close"
    CLOSE_HELD = "close_held"
    PING_WHILE_CLOSING = "ping_while_closing"
    LIFETIME = "lifetime"
    SERVER_SHUTDOWN = "server_shutdown"
    OUTAGE = "outage"
    # Silence
    HALF_OPEN = "half_open"
    STALL = "stall"
    SILENT_SYMBOL = "silent_symbol"
    ZERO_WINDOW = "zero_window"
    # Odd bytes
    GARBAGE = "garbage"
    BINARY = "binary"
    MASKED = "masked"
    RESERVED_BITS = "reserved_bits"
    BAD_UTF8 = "bad_utf8"
    OVERSIZE = "oversize"
    EMPTY_FRAGMENTS = "empty_fragments"
    FRAGMENTED = "fragmented"
    SEGMENTED = "segmented"
    PING_FLOOD = "ping_flood"
    # Odd messages
    BAD_JSON = "bad_json"
    DEEP_JSON = "deep_json"
    HUGE_NUMBER = "huge_number"
    WRONG_TYPES = "wrong_types"
    UNKNOWN_EVENT = "unknown_event"
    # The venue's own losses
    DROPPED = "dropped"
    DUPLICATED = "duplicated"
    REORDERED = "reordered"
    BURST = "burst"
    IDS_JUMP = "ids_jump"
    # REST
    REST_REFUSED = "rest_refused"
    REST_STATUS = "rest_status"
    REST_HANG = "rest_hang"
    REST_TRUNCATED = "rest_truncated"
    REST_HOLES = "rest_holes"
    REST_SHORT = "rest_short"
    REST_UNORDERED = "rest_unordered"


_K = FaultKind

DIAL_KINDS = (_K.REFUSED, _K.OUTAGE, _K.BLACK_HOLE, _K.DNS_FAILURE, _K.DNS_HANG)
UPGRADE_KINDS = (
    _K.UPGRADE_SILENT,
    _K.UPGRADE_DRIP,
    _K.UPGRADE_FIN,
    _K.UPGRADE_RST,
    _K.HTTP_STATUS,
    _K.REDIRECT,
    _K.BAD_ACCEPT,
    _K.NOT_HTTP,
)
SESSION_KINDS = (_K.FLAPPING, _K.SUBSCRIBE_DEAD)
REST_KINDS = (_K.REST_REFUSED, _K.REST_STATUS, _K.REST_HANG)
REST_ROW_KINDS = (_K.REST_TRUNCATED, _K.REST_HOLES, _K.REST_SHORT, _K.REST_UNORDERED)
DATA_KINDS = (
    _K.HALF_OPEN,
    _K.STALL,
    _K.SILENT_SYMBOL,
    _K.ZERO_WINDOW,
    _K.FRAGMENTED,
    _K.SEGMENTED,
    _K.DROPPED,
    _K.DUPLICATED,
    _K.REORDERED,
    _K.PING_WHILE_CLOSING,
)

SCOPE: dict[FaultKind, Scope] = (
    dict.fromkeys(FaultKind, Scope.STRIKE)
    | dict.fromkeys(
        (*DIAL_KINDS, *UPGRADE_KINDS, *SESSION_KINDS, *REST_KINDS, *REST_ROW_KINDS), Scope.ATTEMPT
    )
    | dict.fromkeys(DATA_KINDS, Scope.DATA)
)
"""What each kind hits."""


class Fault(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One fault.

    :param at: when; seconds since the start of the run (or since it was posted).
    :param endpoint: name of an endpoint or of a venue, or ``"*"`` for all.
    :param kind: what goes wrong.
    :param duration: how long; seconds. 0 has a meaning of its own, see the module's text.
    :param count: attempts hit at most; or messages of a burst, pings of a flood, orders.
    :param status: HTTP status of ``HTTP_STATUS`` and ``REST_STATUS``.
    :param retry_after: ``Retry-After`` of those; seconds.
    :param held: with ``HTTP_STATUS``: send no Content-Length and keep the connection open.
    :param code: close code of ``CLOSE``, ``CLOSE_HELD`` and ``LIFETIME``.
    :param location: target of ``REDIRECT``.
    :param symbol: the symbol of ``SILENT_SYMBOL``, ``BURST``, ``IDS_JUMP`` (None: all), and the
        only one that ``DROPPED``, ``DUPLICATED`` and ``REORDERED`` touch.
    :param share: share of messages (or REST rows) that are dropped, doubled, swapped; 0 to 1.
    :param by: ids skipped by ``IDS_JUMP``.
    :param size: bytes of ``OVERSIZE`` (over 16 MiB only the header is sent) and depth of
        ``DEEP_JSON``; rows left by ``REST_SHORT`` and ``REST_TRUNCATED``.
    :param interval: seconds between the bytes of ``UPGRADE_DRIP``.
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
    by: int = 5_000_000
    size: Annotated[int, msgspec.Meta(ge=1)] | None = None
    interval: Annotated[float, msgspec.Meta(ge=0)] = 1.0

    def hits(self, names: Sequence[str]) -> bool:
        """Whether it is meant for something called by one of ``names``."""
        return self.endpoint == "*" or self.endpoint in names


class FaultListener(Protocol):
    """Told when faults begin and end, in the order of time."""

    def fault_begins(self, fault: Fault) -> None:
        """A fault begins; a strike only begins."""
        ...

    def fault_ends(self, fault: Fault) -> None:
        """The duration of a fault is over."""
        ...


@dataclass(slots=True, eq=False)
class _Active:
    fault: Fault
    ends_at: float
    left: int | None


MAX_FAULTS = 100_000
"""Faults that a board holds at most, pending and active."""


class FaultBoard:
    """What is wrong right now. Give it a schedule, and run :meth:`run`.

    :param schedule: faults with ``at`` relative to the moment when :meth:`run` starts.
    """

    def __init__(self, schedule: Iterable[Fault] = ()) -> None:
        self._first = list(schedule)
        self._listeners: list[FaultListener] = []
        self._active: list[_Active] = []
        self._serial = itertools.count()
        self._pending: list[tuple[float, int, Fault, _Active | None]] = []
        self._changed = trio.Event()

    def listen(self, listener: FaultListener) -> None:
        """Tell ``listener`` of every fault from now on."""
        self._listeners.append(listener)

    def add(self, faults: Iterable[Fault]) -> None:
        """Schedule more faults, ``at`` relative to now.

        :raises ValueError: if the board is full.
        """
        now = trio.current_time()
        for fault in faults:
            if len(self._pending) + len(self._active) >= MAX_FAULTS:
                raise ValueError(f"more than {MAX_FAULTS} faults")
            heapq.heappush(self._pending, (now + fault.at, next(self._serial), fault, None))
        self._changed.set()

    def pending(self) -> list[Fault]:
        """Faults that have not begun, soonest first."""
        return [entry[2] for entry in sorted(self._pending, key=_order) if entry[3] is None]

    def active(self, names: Sequence[str] = (), kinds: Sequence[FaultKind] = ()) -> list[Fault]:
        """Faults that last now, for ``names`` (default: any) and of ``kinds`` (default: any)."""
        return [
            entry.fault
            for entry in self._active
            if (not names or entry.fault.hits(names)) and (not kinds or entry.fault.kind in kinds)
        ]

    def take(self, names: Sequence[str], kinds: Sequence[FaultKind]) -> Fault | None:
        """The fault that this attempt meets, if any; uses up one of its count."""
        for entry in self._active:
            if entry.fault.hits(names) and entry.fault.kind in kinds:
                if entry.left is not None:
                    entry.left -= 1
                    if entry.left <= 0:
                        self._active.remove(entry)
                return entry.fault
        return None

    async def run(self) -> None:
        """Begin and end the faults at their times, for ever."""
        self.add(self._first)
        while True:
            self._changed = trio.Event()
            until = self._pending[0][0] if self._pending else float("inf")
            with trio.move_on_at(until):
                await self._changed.wait()
            while self._pending and self._pending[0][0] <= trio.current_time():
                _, _, fault, ending = heapq.heappop(self._pending)
                if ending is None:
                    self._begin(fault)
                else:
                    self._end(ending)

    def _begin(self, fault: Fault) -> None:
        scope = SCOPE[fault.kind]
        if scope is Scope.ATTEMPT or (scope is Scope.DATA and fault.duration):
            once = scope is Scope.ATTEMPT and not fault.duration and fault.count is None
            entry = _Active(fault, float("inf"), 1 if once else fault.count)
            if scope is Scope.DATA:
                entry.left = None
            if fault.duration:
                entry.ends_at = trio.current_time() + fault.duration
                heapq.heappush(self._pending, (entry.ends_at, next(self._serial), fault, entry))
            self._active.append(entry)
        for listener in self._listeners:
            listener.fault_begins(fault)

    def _end(self, entry: _Active) -> None:
        if entry in self._active:
            self._active.remove(entry)
        for listener in self._listeners:
            listener.fault_ends(entry.fault)


def _order(entry: tuple[float, int, Fault, _Active | None]) -> tuple[float, int]:
    return entry[0], entry[1]


_FAULTS: msgspec.json.Decoder[Fault | list[Fault]] = msgspec.json.Decoder(Fault | list[Fault])


def parse_faults(data: bytes | str) -> list[Fault]:
    """Faults from JSON: one object, or a list of them.

    :raises msgspec.ValidationError: if a field is unknown or of the wrong type.
    :raises msgspec.DecodeError: if it is not JSON.
    """
    found = _FAULTS.decode(data)
    return [found] if isinstance(found, Fault) else found


def load_faults(path: Path) -> list[Fault]:
    """Faults from a JSON file, see :func:`parse_faults`."""
    return parse_faults(path.read_bytes())


DRAWN_KINDS: tuple[FaultKind, ...] = tuple(
    kind
    for kind in FaultKind
    if kind not in {_K.DNS_HANG, _K.BURST, _K.IDS_JUMP, _K.ZERO_WINDOW, _K.REST_HOLES}
)
"""Kinds of :func:`draw_schedule`; left out are those that end a run or that cannot be repaired."""


def draw_schedule(
    rng: random.Random,
    endpoints: Sequence[str],
    horizon_s: float,
    *,
    mean_interval_s: float = 120.0,
    max_duration_s: float = 60.0,
    kinds: Sequence[FaultKind] = DRAWN_KINDS,
    rest: Sequence[str] = (),
) -> list[Fault]:
    """Draw faults at random times until ``horizon_s``; the same generator state, the same faults.

    :param endpoints: names that connections' faults are drawn for.
    :param rest: names that REST faults are drawn for; none: no REST faults.
    """
    usable = [kind for kind in kinds if rest or not kind.startswith("rest_")]
    faults: list[Fault] = []
    at = rng.expovariate(1 / mean_interval_s)
    while at < horizon_s:
        kind = usable[rng.randrange(len(usable))]
        names = rest if kind.startswith("rest_") else endpoints
        scope = SCOPE[kind]
        duration = 0.0 if scope is Scope.STRIKE else rng.uniform(1.0, max_duration_s)
        if scope is Scope.ATTEMPT and rng.random() < 0.5:
            duration = 0.0
        faults.append(
            Fault(
                at=at,
                endpoint=names[rng.randrange(len(names))],
                kind=kind,
                duration=duration,
                status=_draw_status(rng, kind),
                retry_after=float(rng.randrange(1, 30)) if rng.random() < 0.5 else None,
                code=(1000, 1001, 1008, 1012, 1013)[rng.randrange(5)],
                share=rng.uniform(0.01, 0.5),
            )
        )
        at += rng.expovariate(1 / mean_interval_s)
    return faults


def _draw_status(rng: random.Random, kind: FaultKind) -> int:
    if kind is FaultKind.REST_STATUS:
        return (429, 418, 500, 502, 503)[rng.randrange(5)]
    return (429, 418, 403, 451, 503)[rng.randrange(5)]

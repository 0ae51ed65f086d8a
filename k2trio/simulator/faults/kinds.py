"""The kinds of faults: everything that can break, and what each of it hits."""

from __future__ import annotations

import enum


class Scope(enum.Enum):
    """What a kind of fault hits, which decides what ``duration`` and ``count`` of one mean.

    ``ATTEMPT``
        Hits attempts: dials, upgrades or REST requests. With ``duration`` it hits every attempt in
        that time, with ``count`` at most that many; with neither, the next attempt only.
    ``DATA``
        Changes what flows on connections. Without ``duration`` it lasts for the rest of the life
        of the connections that are live at ``at``; with it, it hits every connection of the
        endpoint (new ones too) until the time is over.
    ``STRIKE``
        Happens once, to every connection of the endpoint that is live at ``at``.
    """

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
    REPLACEMENT_DEAD = "replacement_dead"
    """The same, of a connection that opens beside another one."""
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
    DEAD_STANDBY = "dead_standby"
    """One connection, drawn from the live ones, gets nothing more; its pings are answered."""
    LOST_STREAM = "lost_stream"
    """One such connection loses one stream, and still lists it, until that is subscribed anew."""
    HALT = "halt"
    """A symbol does not trade for a while; the first bars after it open late, off their grid."""
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
    IDS_RESET = "ids_reset"
    """All ids begin anew, ``by`` lower than they were, and REST forgets what was before."""
    ABSURD_KEY = "absurd_key"
    """A single message has an id or a time that is ``by`` too high."""
    SHARED_ID = "shared_id"
    """Two aggregate trades, one after the other, have the same id."""
    # REST
    REST_REFUSED = "rest_refused"
    REST_STATUS = "rest_status"
    REST_HANG = "rest_hang"
    REST_KEY = "rest_key"
    """``historicalTrades`` wants a key, as on binance.us."""
    REST_LAG = "rest_lag"
    """Trades, bars and books are those of ``lag`` seconds ago."""
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
MARKET_KINDS = (_K.BURST, _K.IDS_JUMP, _K.IDS_RESET, _K.SHARED_ID, _K.HALT)
ONE_CONNECTION_KINDS = (_K.DEAD_STANDBY, _K.LOST_STREAM)
REST_KINDS = (_K.REST_REFUSED, _K.REST_STATUS, _K.REST_HANG)
REST_STATE_KINDS = (_K.REST_KEY, _K.REST_LAG)
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
        (
            *DIAL_KINDS,
            *UPGRADE_KINDS,
            *SESSION_KINDS,
            _K.REPLACEMENT_DEAD,
            *REST_KINDS,
            *REST_STATE_KINDS,
            *REST_ROW_KINDS,
        ),
        Scope.ATTEMPT,
    )
    | dict.fromkeys(DATA_KINDS, Scope.DATA)
)
"""What each kind hits."""

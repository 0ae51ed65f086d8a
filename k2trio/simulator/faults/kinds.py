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
    """Dials meet a closed port."""
    BLACK_HOLE = "black_hole"
    """Dials are swallowed: no answer comes, and no refusal."""
    DNS_FAILURE = "dns_failure"
    """The name is not found. In memory only; on real ports the dial is cut."""
    DNS_HANG = "dns_hang"
    """The look-up never ends. In memory only, too."""
    # The upgrade
    UPGRADE_SILENT = "upgrade_silent"
    """TCP is accepted, and the upgrade never answered."""
    UPGRADE_DRIP = "upgrade_drip"
    """The answer to the upgrade comes byte by byte, ``interval`` seconds apart."""
    UPGRADE_FIN = "upgrade_fin"
    """The exchange ends its side instead of answering the upgrade."""
    UPGRADE_RST = "upgrade_rst"
    """It resets the connection instead."""
    HTTP_STATUS = "http_status"
    """The upgrade is refused with ``status``, and ``retry_after`` if given."""
    REDIRECT = "redirect"
    """The upgrade is answered with a redirect to ``location``."""
    BAD_ACCEPT = "bad_accept"
    """The upgrade is answered with a ``Sec-WebSocket-Accept`` that is not that of the key."""
    NOT_HTTP = "not_http"
    """The upgrade is answered with something that is not HTTP."""
    # What the exchange then does with the connection
    FLAPPING = "flapping"
    """The connection is accepted, and ends after its first message."""
    SUBSCRIBE_DEAD = "subscribe_dead"
    """The connection is accepted, its subscriptions are acknowledged, and nothing comes."""
    REPLACEMENT_DEAD = "replacement_dead"
    """The same, of the next connection that opens beside another one."""
    # Ends of a connection
    FIN = "fin"
    """TCP ends without a close frame."""
    RST = "rst"
    """TCP is reset."""
    CLOSE = "close"
    """A close frame with ``code``; TCP ends when it is answered."""
    CLOSE_HELD = "close_held"
    """A close frame with ``code``, and TCP stays open whatever is answered."""
    PING_WHILE_CLOSING = "ping_while_closing"
    """The exchange answers a close frame late, with pings before its own."""
    LIFETIME = "lifetime"
    """The end of 24 hours: a close frame with 1001."""
    SERVER_SHUTDOWN = "server_shutdown"
    """The event ``serverShutdown``; with ``duration`` a close frame that long after it."""
    OUTAGE = "outage"
    """Live connections are reset, and dials refused while it lasts."""
    # Silence
    HALF_OPEN = "half_open"
    """All packets are lost, both ways; without ``duration`` for ever, else TCP catches up."""
    STALL = "stall"
    """No messages come; pings are answered."""
    SILENT_SYMBOL = "silent_symbol"
    """No messages of ``symbol`` come."""
    ZERO_WINDOW = "zero_window"
    """The exchange stops reading, so what the client writes piles up."""
    DEAD_STANDBY = "dead_standby"
    """One connection, drawn from the live ones, gets nothing more; its pings are answered."""
    LOST_STREAM = "lost_stream"
    """One such connection loses one stream, and still lists it, until that is subscribed anew."""
    HALT = "halt"
    """A symbol does not trade for a while; the first bars after it open late, off their grid."""
    # Odd bytes
    GARBAGE = "garbage"
    """A frame with a reserved opcode, and random bytes."""
    BINARY = "binary"
    """A binary message."""
    MASKED = "masked"
    """A masked frame, which no server may send (RFC 6455, 5.1)."""
    RESERVED_BITS = "reserved_bits"
    """A frame with a reserved bit set, though no extension was agreed on."""
    BAD_UTF8 = "bad_utf8"
    """A text message that is not UTF-8."""
    OVERSIZE = "oversize"
    """A message of ``size`` bytes."""
    EMPTY_FRAGMENTS = "empty_fragments"
    """A message of ever more empty fragments; nothing else comes meanwhile."""
    FRAGMENTED = "fragmented"
    """Messages come in fragments."""
    SEGMENTED = "segmented"
    """Bytes come one at a time."""
    PING_FLOOD = "ping_flood"
    """``count`` pings at once."""
    # Odd messages
    BAD_JSON = "bad_json"
    """A message that ends in the midst of its JSON."""
    DEEP_JSON = "deep_json"
    """Brackets in brackets, ``size`` deep."""
    HUGE_NUMBER = "huge_number"
    """An id of 400 digits."""
    WRONG_TYPES = "wrong_types"
    """A trade whose fields are of other types."""
    UNKNOWN_EVENT = "unknown_event"
    """An event of a kind that nobody knows, on a stream that was subscribed."""
    # The venue's own losses
    DROPPED = "dropped"
    """A ``share`` of messages does not come."""
    DUPLICATED = "duplicated"
    """A ``share`` of messages comes twice."""
    REORDERED = "reordered"
    """A ``share`` of messages comes after the one that follows it."""
    BURST = "burst"
    """``count`` trades at once."""
    IDS_JUMP = "ids_jump"
    """All ids leap ahead by ``by``."""
    IDS_RESET = "ids_reset"
    """All ids begin anew, ``by`` lower than they were, and REST forgets what was before."""
    ABSURD_KEY = "absurd_key"
    """A single message has an id or a time that is ``by`` too high."""
    SHARED_ID = "shared_id"
    """Two aggregate trades, one after the other, have the same id."""
    # REST
    REST_REFUSED = "rest_refused"
    """Requests are refused: in memory the connection, on real ports with 503."""
    REST_STATUS = "rest_status"
    """Requests are answered with ``status``, and ``retry_after`` if given."""
    REST_HANG = "rest_hang"
    """Requests are never answered."""
    REST_KEY = "rest_key"
    """``historicalTrades`` wants a key, as on binance.us."""
    REST_LAG = "rest_lag"
    """Trades, bars and books are those of ``lag`` seconds ago."""
    REST_TRUNCATED = "rest_truncated"
    """REST has forgotten all but its newest ``size`` rows."""
    REST_HOLES = "rest_holes"
    """Answers lack rows in their midst."""
    REST_SHORT = "rest_short"
    """Answers have ``size`` rows at most."""
    REST_UNORDERED = "rest_unordered"
    """Answers have their newest row first."""


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

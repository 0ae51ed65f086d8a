"""How a shard of the log stands, as whoever writes it tells at each scrape."""

from __future__ import annotations

from typing import NamedTuple


class ShardStanding(NamedTuple):
    """One shard, as one member of the group sees it; of one that others own only that is known.

    :ivar owned: whether this member writes it.
    :ivar uncommitted: messages taken and not committed.
    :ivar lag_s: age of the oldest of them (s); 0 if there are none.
    :ivar commit_s: how long the last commit took, all attempts together (s); None before the first.
    :ivar retries: attempts that the brokers did not do, since this member was given the shard.
    """

    shard: int
    owned: bool
    uncommitted: int = 0
    lag_s: float = 0.0
    commit_s: float | None = None
    retries: int = 0

"""What a shard's positions stand beside: who writes it, and how far that one came."""

from __future__ import annotations

import os
import socket
import uuid

import msgspec

from ..errors import K2Error, SinkError


class Fenced(SinkError):  # noqa: N818 - the field's word for it
    """Another process writes the shard now; what this one has not committed is in no topic."""


class Unavailable(K2Error):  # noqa: N818 - the field's word for it
    """The brokers did not do it yet; to be tried again."""


OWNER_KEY = b"owner"
"""Key of the record; all others of the topic are of positions."""


class Owner(msgspec.Struct, frozen=True):
    """Who writes a shard; in every transaction, so it also says which was committed last.

    :ivar member: a name that no other process has, nor this one after a restart.
    :ivar where: host and process, for people.
    :ivar transactions: how many were committed.
    """

    member: str
    where: str
    transactions: int = 0

    @classmethod
    def new(cls) -> Owner:
        """This process, as an owner who has not written yet."""
        return cls(uuid.uuid4().hex, f"{socket.gethostname()}, process {os.getpid()}")

    def after_one_more(self) -> Owner:
        """The same when a transaction has been committed."""
        return msgspec.structs.replace(self, transactions=self.transactions + 1)

"""Connects to whichever address of a server answers first (happy eyeballs, RFC 8305)."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

import trio

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .resolver import Address

CONNECT_STAGGER_S = 0.25
"""How long one address is tried alone before the next joins."""


async def first_to_connect(addresses: Sequence[Address]) -> tuple[socket.socket, Address]:
    """Try the addresses in turn, each joined by the next after a while; the first one wins."""
    connected: list[tuple[socket.socket, Address]] = []
    errors: list[OSError] = []

    async def attempt(address: Address, failed: trio.Event) -> None:
        try:
            connected.append((await _connect(address), address))
        except OSError as error:
            errors.append(error)
            failed.set()
        else:
            nursery.cancel_scope.cancel()

    try:
        async with trio.open_nursery() as nursery:
            for address in addresses:
                failed = trio.Event()
                nursery.start_soon(attempt, address, failed)
                with trio.move_on_after(CONNECT_STAGGER_S):
                    await failed.wait()
    except BaseException:
        # Cancelled in the very moment of success: nobody will take the sockets.
        for late, _ in connected:
            late.close()
        raise
    for late, _ in connected[1:]:
        late.close()
    if not connected:
        raise errors[0]
    return connected[0]


async def _connect(address: Address) -> socket.socket:
    # trio.open_tcp_stream would hide the error number, which tells whose fault it is.
    family, where = address
    plain = socket.socket(family, socket.SOCK_STREAM)
    connecting = trio.socket.from_stdlib_socket(plain)
    try:
        await connecting.connect(where)
    except BaseException:
        connecting.close()
        raise
    return plain

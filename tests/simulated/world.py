"""The world of a run: venues, network and settings, as its plan has them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from k2trio.settings import Settings
from k2trio.simulator import Exchange, FaultBoard, Limits, Market, MemoryNetwork, RestServer

if TYPE_CHECKING:
    from .plan import Plan


def make_world(plan: Plan) -> tuple[MemoryNetwork, dict[str, Exchange], Settings]:
    """The network, the venues by name, and the client's settings."""
    board = FaultBoard(plan.faults)
    network = MemoryNetwork(board)
    places = {"a": "first", "b": "first"} | ({"c": "second"} if plan.two_venues else {})
    exchanges: dict[str, Exchange] = {}
    for endpoint, venue in places.items():
        if venue not in exchanges:
            market = Market(
                ["BTCUSDT"], seed=plan.seed + len(exchanges), rate=plan.rate, history=200_000
            )
            limits = Limits(ping_interval_s=20 * plan.pace, pong_timeout_s=60 * plan.pace)
            exchanges[venue] = Exchange(
                venue, market, faults=board, limits=limits, tick_s=0, record=plan.streams
            )
            network.add_rest(f"{venue}.test", RestServer(exchanges[venue], f"{venue}.rest"))
        network.add(f"{venue}.test", 1000 + ord(endpoint), exchanges[venue], endpoint)
    urls = [f"wss://{venue}.test:{1000 + ord(name)}/stream" for name, venue in places.items()]
    settings = Settings(
        websocket_url=urls[0],
        failover_urls=urls[1:],
        rest_urls=[f"https://{venue}.test" for venue in exchanges],
        streams=plan.streams,
        max_reconnect_attempts=0,
        redundancy=plan.redundancy,
        rotate_after=plan.rotate_after,
        overflow=plan.overflow,
        max_buffered_messages=2000,
        max_held_messages=20_000,
        transport_timeout=45 * plan.pace,
        health_check_interval=30 * plan.pace,
        health_check_timeout=60 * plan.pace,
    )
    return network, exchanges, settings

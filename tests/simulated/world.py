"""The world of a run: venues, network and settings, as its plan has them."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from k2trio.settings import Settings
from k2trio.simulator import (
    Exchange,
    FaultBoard,
    Market,
    MemoryNetwork,
    RestLimits,
    RestServer,
)
from k2trio.simulator.rest.quota import Quota
from k2trio.simulator.venue.limits import limits_of

from .plan import FULL_WISH, rest_name

if TYPE_CHECKING:
    from .plan import Plan

FIRST_PORT = 1000
"""Endpoint ``a`` has the port of its letter on top of this."""

FIRST_REST_PORT = 8000


def make_world(plan: Plan) -> tuple[MemoryNetwork, dict[str, Exchange], Settings, dict[str, Quota]]:
    """The network, the venues by name, the client's settings, and what REST counts by venue."""
    board = FaultBoard(plan.faults)
    network = MemoryNetwork(board)
    places = {"a": "first", "b": "first"} | ({"c": "second"} if plan.two_venues else {})
    exchanges: dict[str, Exchange] = {}
    rest_urls: list[str] = []
    quotas: dict[str, Quota] = {}
    for endpoint, venue in places.items():
        if venue not in exchanges:
            exchanges[venue] = _venue(plan, venue, board, plan.seed + len(exchanges))
            quotas[venue] = Quota(RestLimits(weight_per_minute=plan.rest_weight))
            rest_urls += _add_rest(network, exchanges[venue], plan, quotas[venue])
        network.add(f"{venue}.test", FIRST_PORT + ord(endpoint), exchanges[venue], endpoint)
    urls = [f"wss://{venue}.test:{FIRST_PORT + ord(name)}/stream" for name, venue in places.items()]
    settings = Settings(
        product=plan.product,
        websocket_url=urls[0],
        failover_urls=urls[1:],
        rest_urls=rest_urls,
        rest_weight_limit=min(FULL_WISH, plan.rest_weight),
        shared_budget="off",
        streams=plan.streams,
        time_unit=plan.time_unit,
        max_reconnect_attempts=0,
        redundancy=plan.redundancy,
        rotate_after=plan.rotate_after,
        overflow=plan.overflow,
        max_buffered_messages=2000,
        max_held_messages=20_000,
        transport_timeout=45 * plan.pace,
        health_check_interval=30 * plan.pace,
        health_check_timeout=60 * plan.pace,
        **_of_members(plan),
    )
    return network, exchanges, settings, quotas


def _of_members(plan: Plan) -> dict[str, Any]:
    """Settings of those who write the log in turn."""
    if plan.takeovers is None:
        return {}
    return {
        "output": ["kafka://log.test:9092/{kind}"],
        "standby": plan.takeovers.standby,
        "shards": plan.takeovers.shards,
        "kafka_commit_interval": plan.takeovers.commit_interval_s,
        "hot_buffer": plan.takeovers.hot_buffer_s,
    }


def _venue(plan: Plan, name: str, board: FaultBoard, seed: int) -> Exchange:
    return Exchange(
        name,
        Market(
            plan.symbols,
            seed=seed,
            rate=plan.rate,
            history=200_000,
            product=plan.product,
            retells=plan.retells,
        ),
        faults=board,
        limits=replace(
            limits_of(plan.product), ping_interval_s=20 * plan.pace, pong_timeout_s=60 * plan.pace
        ),
        strict_symbols=len(plan.known_streams) == len(plan.streams),
        knows_time_unit=name == "first" and plan.heeds_unit[0],
        tick_s=0,
        record=plan.known_streams,
    )


def _add_rest(network: MemoryNetwork, exchange: Exchange, plan: Plan, quota: Quota) -> list[str]:
    """Add the REST hosts of a venue: ports of one name, as of one venue."""
    limits = RestLimits(weight_per_minute=plan.rest_weight)
    urls: list[str] = []
    for number in range(plan.rest_hosts):
        heeds = exchange.venue == "first" and plan.heeds_unit[1]
        name = rest_name(exchange.venue, number)
        server = RestServer(exchange, name, limits, quota, knows_time_unit=heeds)
        host, port = f"{exchange.venue}.test", FIRST_REST_PORT + number
        network.add_rest(host, server, port)
        urls.append(f"https://{host}:{port}")
    return urls

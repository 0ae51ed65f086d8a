"""A simulated exchange: a coherent market behind Binance's interfaces, with faults on demand.

In memory and virtual time: :class:`MemoryNetwork`. On real sockets: :func:`serve`.
"""

from .exchange import Exchange
from .faults.board import FaultBoard
from .faults.fault import Fault, load_faults, parse_faults
from .faults.kinds import FaultKind
from .faults.schedule import draw_schedule
from .market.market import EPOCH_MS, Market
from .market.message import Message
from .market.spec import SymbolSpec
from .recorded.entry import Entry, Levels
from .recorded.playing import Player, refuse_made_up
from .rest.quota import RestLimits
from .rest.server import RestServer
from .serving.configuration import EndpointConfig, RestConfig, ServeConfig
from .serving.memory import memory_pair
from .serving.network import MemoryNetwork
from .serving.server import Running, serve
from .venue.limits import Limits
from .venue.pace import Tempo
from .venue.truth import Truth

__all__ = [
    "EPOCH_MS",
    "EndpointConfig",
    "Entry",
    "Exchange",
    "Fault",
    "FaultBoard",
    "FaultKind",
    "Levels",
    "Limits",
    "Market",
    "MemoryNetwork",
    "Message",
    "Player",
    "RestConfig",
    "RestLimits",
    "RestServer",
    "Running",
    "ServeConfig",
    "SymbolSpec",
    "Tempo",
    "Truth",
    "draw_schedule",
    "load_faults",
    "memory_pair",
    "parse_faults",
    "refuse_made_up",
    "serve",
]

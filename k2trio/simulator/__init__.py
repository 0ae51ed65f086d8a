"""A simulated exchange: a coherent market behind Binance's interfaces, with faults on demand.

In memory and virtual time: :class:`MemoryNetwork`. On real sockets: :func:`serve`.
"""

from .board import FaultBoard
from .configuration import EndpointConfig, RestConfig, ServeConfig
from .exchange import Exchange
from .faults import Fault, load_faults, parse_faults
from .kinds import FaultKind
from .limits import Limits
from .market import EPOCH_MS, Market
from .memory import memory_pair
from .message import Message
from .network import MemoryNetwork
from .quota import RestLimits
from .rest import RestServer
from .schedule import draw_schedule
from .server import Running, serve
from .spec import SymbolSpec
from .truth import Truth

__all__ = [
    "EPOCH_MS",
    "EndpointConfig",
    "Exchange",
    "Fault",
    "FaultBoard",
    "FaultKind",
    "Limits",
    "Market",
    "MemoryNetwork",
    "Message",
    "RestConfig",
    "RestLimits",
    "RestServer",
    "Running",
    "ServeConfig",
    "SymbolSpec",
    "Truth",
    "draw_schedule",
    "load_faults",
    "memory_pair",
    "parse_faults",
    "serve",
]

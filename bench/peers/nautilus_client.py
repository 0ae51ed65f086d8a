"""nautilus-trader: its Binance socket client and its own decoding up to ``TradeTick``.

What its data engine does with the ticks afterwards is left out.
"""

import asyncio

import msgspec
from meter import Meter, parse_options
from nautilus_trader.adapters.binance.spot.schemas.market import BinanceSpotTradeMsg
from nautilus_trader.adapters.binance.websocket.client import BinanceWebSocketClient
from nautilus_trader.common.component import LiveClock
from nautilus_trader.model.identifiers import InstrumentId

options = parse_options()
meter = Meter(options)
count, mark = 0, meter.mark
clock = LiveClock()
decode = msgspec.json.Decoder(BinanceSpotTradeMsg).decode
instruments = {"BTCUSDT": InstrumentId.from_str("BTCUSDT.BINANCE")}


def handle(raw: bytes) -> None:
    """For each message, as the library's data client does."""
    global count, mark
    data = decode(raw).data
    data.parse_to_trade_tick(instrument_id=instruments[data.s], ts_init=clock.timestamp_ns())
    count += 1
    if count >= mark:
        mark = meter.reached(count)


async def main() -> None:
    """Subscribe, then let the callbacks run until the meter ends the process."""
    client = BinanceWebSocketClient(
        clock=clock,
        base_url=options.url,
        handler=handle,
        handler_reconnect=None,
        loop=asyncio.get_running_loop(),
    )
    await client.subscribe_trades("BTCUSDT")
    await asyncio.Event().wait()


asyncio.run(main())

"""picows on uvloop, with a decoder behind it.

Variants: ``msgspec`` (typed by stream, as k2trio does), ``frame`` (msgspec too, but the whole frame
in one call, which needs payloads that say their type), ``orjson`` (the whole frame as a dict),
``file`` (nothing decoded: frames are appended to a file, a line each).
"""

import asyncio
import tempfile

import msgspec
import orjson
import uvloop
from meter import Latencies, Meter, parse_options
from payloads import SEPARATOR, Frame, make_routes
from picows import WSFrame, WSListener, WSMsgType, WSTransport, ws_connect

options = parse_options()
TEXT = WSMsgType.TEXT


class CountTyped(WSListener):
    """Decodes and counts."""

    def __init__(self) -> None:
        super().__init__()
        self.meter = Meter(options)
        self.routes = make_routes(options.streams, options.product)
        self.count, self.mark = 0, self.meter.mark

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        """Called for each frame."""
        if frame.msg_type == TEXT:
            payload = frame.get_payload_as_bytes()
            start = payload.find(SEPARATOR, 11, 160) + 9
            self.routes[payload[:start]](payload[start:-1])
            self.count += 1
            if self.count >= self.mark:
                self.mark = self.meter.reached(self.count)


class CountWhole(CountTyped):
    """Decodes whole frames straight from the receive buffer."""

    decode = staticmethod(
        orjson.loads if options.variant == "orjson" else msgspec.json.Decoder(Frame).decode
    )

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        """Called for each frame."""
        if frame.msg_type == TEXT:
            self.decode(frame.get_payload_as_memoryview())
            self.count += 1
            if self.count >= self.mark:
                self.mark = self.meter.reached(self.count)


class Append(WSListener):
    """Appends what comes to a file, as it is."""

    def __init__(self) -> None:
        super().__init__()
        self.meter = Meter(options)
        self.count, self.mark = 0, self.meter.mark
        self.file = tempfile.TemporaryFile()  # noqa: SIM115 - as long as the process

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        """Called for each frame."""
        if frame.msg_type == TEXT:
            self.file.write(frame.get_payload_as_memoryview())
            self.file.write(b"\n")
            self.count += 1
            if self.count >= self.mark:
                self.mark = self.meter.reached(self.count)


class Time(WSListener):
    """Takes the time of each message, decoded."""

    def __init__(self) -> None:
        super().__init__()
        self.take = Latencies(options).take
        self.routes = make_routes(options.streams)

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        """Called for each frame."""
        if frame.msg_type == TEXT:
            payload = frame.get_payload_as_bytes()
            start = payload.find(SEPARATOR, 11, 160) + 9
            self.take(self.routes[payload[:start]](payload[start:-1]).trade_time)


async def main() -> None:
    """Run until the listener ends the process."""
    listener = CountTyped if options.variant == "msgspec" else CountWhole
    if options.variant == "file":
        listener = Append
    if options.latency:
        listener = Time
    await ws_connect(listener, options.stream_url, ssl_context=options.ssl_context())
    await asyncio.Event().wait()


uvloop.run(main())

"""The floor: a bare socket.

For throughput it looks at nothing: what the load server can send at most. For latency it blocks in
``recv`` and reads no more of a message than its time: what the machine and the server take.
"""

import base64
import os
import re
import socket
from typing import NoReturn
from urllib.parse import urlsplit

from meter import Latencies, Meter, parse_options

READ_BYTES = 256 * 1024

options = parse_options()


def connect() -> tuple[socket.socket, dict[bytes, bytes], bytes]:
    """Upgrade; the socket, the fields of the answer, and what came after it."""
    where = urlsplit(options.url)
    assert where.hostname is not None
    sock = socket.create_connection((where.hostname, where.port))
    context = options.ssl_context()
    if context is not None:
        sock = context.wrap_socket(sock, server_hostname=where.hostname)
    key = base64.b64encode(os.urandom(16)).decode()
    sock.sendall(
        f"GET {options.stream_url.removeprefix(options.url)} HTTP/1.1\r\nHost: {where.netloc}\r\n"
        "Upgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n\r\n".encode()
    )
    head = b""
    while b"\r\n\r\n" not in head:
        head += sock.recv(4096)
    head, _, rest = head.partition(b"\r\n\r\n")
    lines = [line.partition(b": ") for line in head.split(b"\r\n")]
    return sock, {name: value for name, _, value in lines}, rest


def drain() -> NoReturn:
    """Count bytes; the server has told how many there will be."""
    sock, fields, rest = connect()
    size = int(fields[b"X-Load-Bytes"])
    meter = Meter(options)
    buffer = memoryview(bytearray(READ_BYTES))
    received, mark = len(rest), size * meter.mark // options.count
    while True:
        received += sock.recv_into(buffer)
        if received >= mark:
            reached = meter.reached(received * options.count // size)
            mark = -(-size * reached // options.count)


def time_each() -> NoReturn:
    """Take the time of each message as it comes."""
    sock, _, rest = connect()
    take = Latencies(options).take
    while True:
        end = 0
        for found in re.finditer(rb'"T":(\d+),', rest):
            take(int(found[1]))
            end = found.end()
        rest = rest[end:] + sock.recv(READ_BYTES)


if options.latency:
    time_each()
drain()

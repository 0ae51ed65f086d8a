"""The floor: drains the socket and looks at nothing. What the load server can send at most."""

import base64
import os
import socket
from urllib.parse import urlsplit

from meter import Meter, parse_options

READ_BYTES = 256 * 1024

options = parse_options()
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
size = next(int(line.split()[1]) for line in head.splitlines() if line.startswith(b"X-Load-Bytes"))
meter = Meter(options)
buffer = memoryview(bytearray(READ_BYTES))
received = len(rest)
mark = size * meter.mark // options.count
while True:
    received += sock.recv_into(buffer)
    if received >= mark:
        mark = -(-size * meter.reached(received * options.count // size) // options.count)

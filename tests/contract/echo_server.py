"""A small application behind the server's HTTP protocol, and a client that writes HTTP by hand."""

import asyncio
import json
import socket
import threading
import time
from contextlib import contextmanager

import pytest
import uvicorn

from llm_canary.server.http_protocol import HttpProtocol

POST = b"POST /a HTTP/1.1\r\nhost: localhost\r\n"
GET = b"GET /a HTTP/1.1\r\nhost: localhost\r\n"
CHUNKED = POST + b"transfer-encoding: chunked\r\n\r\n"


class Echo:
    """An application that keeps what it was asked and says it back."""

    def __init__(self):
        self.asked = []  # (method, path, header fields, body)
        self.left = threading.Event()
        self.go_on = threading.Event()

    async def __call__(self, scope, receive, send):
        path, body, more = scope["path"], b"", True
        if path == "/early":
            await self._answer(send, 413, b"too much")
            return
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                self.left.set()
                return
            body += message["body"]
            more = message["more_body"]
        self.asked.append((scope["method"], path, dict(scope["headers"]), body))
        if path == "/wait":
            assert (await receive())["type"] == "http.disconnect"
            self.left.set()
            return
        if path == "/slow":
            while not self.go_on.is_set():
                await asyncio.sleep(0.01)
        await self._answer(send, 200, path.encode() + b"=" + body)

    async def _answer(self, send, status, body):
        headers = [(b"content-length", b"%d" % len(body))]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})


@contextmanager
def served():
    echo = Echo()
    config = uvicorn.Config(
        echo,
        port=0,
        loop="uvloop",
        http=HttpProtocol,
        ws="none",
        lifespan="off",
        log_level="error",
        server_header=False,
        date_header=False,
        timeout_graceful_shutdown=1,
    )
    running = uvicorn.Server(config)
    thread = threading.Thread(target=running.run, daemon=True)
    thread.start()
    deadline = time.monotonic() + 10
    while not running.started:
        assert thread.is_alive() and time.monotonic() < deadline, "the server did not start"
        time.sleep(0.01)
    echo.port = running.servers[0].sockets[0].getsockname()[1]
    yield echo
    running.should_exit = True
    thread.join(10)


@contextmanager
def connected(echo, data=b""):
    with socket.create_connection(("127.0.0.1", echo.port), timeout=5) as connection:
        connection.sendall(data)
        yield connection


def read_to_end(connection):
    data = b""
    while part := connection.recv(65536):
        data += part
    return data


def read_answer(connection):
    """Return one answer of an open connection: status and body."""
    data = b""
    while b"\r\n\r\n" not in data:
        part = connection.recv(65536)
        assert part, data
        data += part
    head, body = data.split(b"\r\n\r\n", 1)
    fields = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:])
    while len(body) < int(fields[b"content-length"]):
        body += connection.recv(65536)
    return int(head.split()[1]), body


def refusal(data):
    """Return status and code of the one answer in `data`, which must be an error of ours."""
    head, body = data.split(b"\r\n\r\n", 1)
    assert data.count(b"HTTP/1.1 ") == 1, data
    assert b"connection: close" in head
    error = json.loads(body)["error"]
    assert set(error) == {"message", "type", "param", "code"} and error["message"]
    return int(head.split()[1]), error["code"]


def drip(connection, drop):
    """Send `drop` until the server answers; return all it says."""
    connection.settimeout(0.02)
    for _ in range(250):
        try:
            return connection.recv(65536) + read_to_end(connection)
        except TimeoutError:
            connection.sendall(drop)
    pytest.fail("no answer")

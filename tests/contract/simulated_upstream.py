"""A loopback upstream whose answers a test writes byte by byte."""

import asyncio
import json
import socket
import threading
from dataclasses import dataclass, field


@dataclass
class Received:
    method: str
    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def json(self):
        return json.loads(self.body)


class Client:
    """The gateway's connection as the upstream's script sees it."""

    def __init__(self, reader, writer):
        self.reader = reader
        self.writer = writer

    async def raw(self, data: bytes):
        self.writer.write(data)
        await self.writer.drain()

    async def answer(self, body, *, status=200, headers=(), kind="application/json"):
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        lines = [f"HTTP/1.1 {status} X", f"content-type: {kind}", f"content-length: {len(data)}"]
        lines += [f"{name}: {value}" for name, value in headers]
        await self.raw("\r\n".join(lines).encode() + b"\r\n\r\n" + data)

    async def begin_stream(self, *headers, kind="text/event-stream"):
        lines = ["HTTP/1.1 200 OK", f"content-type: {kind}", "transfer-encoding: chunked"]
        await self.raw("\r\n".join([*lines, *headers]).encode() + b"\r\n\r\n")

    async def chunk(self, data: bytes):
        await self.raw(b"%x\r\n%s\r\n" % (len(data), data))

    async def end_stream(self):
        await self.raw(b"0\r\n\r\n")

    async def stream(self, data: bytes, *, gap_s=0.0, size=None):
        """Answer with `data` as one stream, cut into pieces of `size` bytes or at its events."""
        await self.begin_stream("x-request-id: up-1")
        if size is None:
            parts = [part + b"\n\n" for part in data.split(b"\n\n") if part]
        else:
            parts = [data[i : i + size] for i in range(0, len(data), size)]
        for part in parts:
            await self.chunk(part)
            await asyncio.sleep(gap_s)
        await self.end_stream()

    def hang_up(self):
        self.writer.transport.abort()

    async def wait_closed(self):
        """Wait until the gateway closes the connection."""
        while await self.reader.read(65536):
            pass


@dataclass
class SimulatedUpstream:
    """Runs in a thread of its own. `script(received, client)` answers each request."""

    script: object = None
    received: list[Received] = field(default_factory=list)
    noticed: threading.Event = field(default_factory=threading.Event)  # scripts may set it

    def start(self):
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        self._ready.wait(5)
        return self

    def stop(self):
        self._loop.call_soon_threadsafe(self._end.set)
        self._thread.join(5)

    @property
    def base_url(self):
        return f"http://127.0.0.1:{self.port}/v1"

    def _run(self):
        self._loop.run_until_complete(self._serve())
        self._loop.close()

    async def _serve(self):
        self._end = asyncio.Event()
        self._tasks = set()
        server = await asyncio.start_server(self._connection, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        self._ready.set()
        await self._end.wait()
        server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.wait(self._tasks, timeout=2) if self._tasks else None

    async def _connection(self, reader, writer):
        task = asyncio.current_task()
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        try:
            while (request := await _read_request(reader)) is not None:
                self.received.append(request)
                await self.script(request, Client(reader, writer))
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            writer.transport.abort()


async def _read_request(reader):
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError:
        return None
    first, *lines = head.decode().split("\r\n")
    method, path, _ = first.split(" ")
    pairs = (line.split(": ", 1) for line in lines if line)
    headers = {name.lower(): value for name, value in pairs}
    body = await reader.readexactly(int(headers.get("content-length", 0)))
    return Received(method, path, headers, body)


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def completion(text="Hello", **fields):
    message = {"role": "assistant", "content": text}
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1,
        "model": "real-model",
        "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15},
    } | fields


def event(delta=None, *, finish=None, index=0, **fields):
    choices = [] if delta is None else [{"index": index, "delta": delta, "finish_reason": finish}]
    chunk = {
        "id": "chatcmpl-1",
        "object": "chat.completion.chunk",
        "created": 1,
        "model": "real-model",
        "choices": choices,
    }
    return b"data: " + json.dumps(chunk | fields, ensure_ascii=False).encode() + b"\n\n"


USAGE = event(usage={"prompt_tokens": 10, "completion_tokens": 2, "total_tokens": 12})
DONE = b"data: [DONE]\n\n"
HELLO = (
    event({"role": "assistant", "content": ""})
    + event({"content": "Hel"})
    + event({"content": "lo"})
)
WHOLE = HELLO + event({}, finish="stop") + USAGE + DONE

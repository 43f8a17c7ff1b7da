"""How much memory the data plane takes: many streams, some of them aborted, and large bodies.

    python benchmarks/relay_memory.py [--streams 10000] [--large 400] [--json]

The gateway of `gateway_app.py` runs in a process of its own (telemetry on), a simulated upstream in
another one. Resident memory is what Linux says of the gateway's process: after each tenth of the
streams, and at its highest while large bodies pass.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import socket
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator
from itertools import count
from pathlib import Path

HERE = Path(__file__).resolve().parent
EVENTS = 40  # of a stream
ABORTED_EVERY = 10
READ_BEFORE_ABORT = 2_000  # bytes
IMAGE = "data:image/png;base64," + "iVBORw0KGgo" * 190_000  # 2.1 MB
PROMPT = "The parcel left the warehouse on Monday and has not been seen since. " * 2_900  # 200 KB
ANSWER = "Well. " * 350_000  # 2.1 MB
MIB = 1024  # kB


def event(text: str | None, finish: str | None = None) -> bytes:
    """Return one event of a stream."""
    delta = {} if text is None else {"content": text}
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    chunk = {"id": "c", "object": "chat.completion.chunk", "model": "m", "choices": [choice]}
    return b"data: " + json.dumps(chunk).encode() + b"\n\n"


def usage(tokens: int) -> bytes:
    """Return the event that a provider ends with when asked for its usage."""
    counts = {"prompt_tokens": tokens, "completion_tokens": EVENTS}
    return b"data: " + json.dumps({"id": "c", "choices": [], "usage": counts}).encode() + b"\n\n"


async def serve_upstream(port: int) -> None:
    """Answer as a provider does: what `max_tokens` says, whole or streamed."""
    whole = json.dumps(
        {
            "id": "c",
            "model": "m",
            "choices": [{"index": 0, "message": {"content": ANSWER}, "finish_reason": "stop"}],
            "usage": {"prompt_tokens": 10, "completion_tokens": 500_000},
        }
    ).encode()

    async def connection(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).lower()
                length = int(head.split(b"content-length: ")[1].split(b"\r\n")[0])
                body = json.loads(await reader.readexactly(length))
                if body.get("stream"):
                    await stream(writer, large=body.get("max_tokens", 0) > 1_000)
                else:
                    writer.write(
                        b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n"
                        b"content-length: %d\r\n\r\n%b" % (len(whole), whole)
                    )
                    await writer.drain()
        writer.close()

    async def stream(writer: asyncio.StreamWriter, *, large: bool) -> None:
        writer.write(
            b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
        )
        text = ANSWER[:52_000] if large else "word " * 4
        ends = (event(None, "stop"), usage(10), b"data: [DONE]\n\n")
        for data in (*(event(text) for _ in range(EVENTS)), *ends):
            writer.write(b"%x\r\n%b\r\n" % (len(data), data))
            await writer.drain()
            await asyncio.sleep(0)
        writer.write(b"0\r\n\r\n")
        await writer.drain()

    server = await asyncio.start_server(connection, "127.0.0.1", port, limit=2**24)
    await server.serve_forever()


class Client:
    """Sends requests to the gateway, each on a connection of its own."""

    def __init__(self, port: int) -> None:
        self._port = port
        self.statuses: dict[str, int] = {}

    async def ask(self, number: int, *, aborts: bool = False, **fields: object) -> None:
        """Send one request and read its answer, or a part of it."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port, limit=2**24)
        try:
            body = json.dumps({"model": "mock-model", "user": f"user-{number}"} | fields).encode()
            writer.write(
                b"POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n"
                b"content-type: application/json\r\ncontent-length: %d\r\n\r\n%b"
                % (len(body), body)
            )
            await writer.drain()
            status = (await reader.readline()).split(b" ")[1].decode()
            if aborts:
                await reader.readexactly(READ_BEFORE_ABORT)
                writer.transport.abort()
                status = "aborted"
            while not aborts and await reader.read(2**18):
                pass
            self.statuses[status] = self.statuses.get(status, 0) + 1
        finally:
            writer.close()

    async def stream(self, number: int) -> None:
        """Read one stream; every tenth is aborted in the middle."""
        messages = [{"role": "user", "content": f"Question {number}, please."}]
        aborts = number % ABORTED_EVERY == 0
        await self.ask(number, aborts=aborts, stream=True, messages=messages)


async def run_many(total: int, at_once: int, one: Callable[[int], Awaitable[None]]) -> None:
    """Call `one` with 0, 1, ... `total`, so many at once."""
    numbers = iter(range(total))

    async def worker() -> None:
        for number in numbers:
            await one(number)

    await asyncio.gather(*(worker() for _ in range(at_once)))


def memory_kb(pid: int, field: str) -> int:
    """Return a figure of /proc/PID/status: VmRSS now, VmHWM the highest since the last reset."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1])
    raise LookupError(field)


def reset_peak(pid: int) -> None:
    """Let VmHWM begin anew at what is resident now."""
    Path(f"/proc/{pid}/clear_refs").write_text("5")


async def measure(pid: int, port: int, streams: int, large: int) -> dict[str, object]:
    """Return what each part took, in MiB."""
    client, offset = Client(port), count()
    await run_many(streams // 10, 64, client.stream)  # pools, arenas and caches fill
    rss = [memory_kb(pid, "VmRSS")]
    for _ in range(10):
        first = next(offset) * (streams // 10)
        await run_many(streams // 10, 64, lambda n, first=first: client.stream(first + n))
        rss.append(memory_kb(pid, "VmRSS"))
    found: dict[str, object] = {
        "streams": streams,
        "rss_mib": [round(each / MIB, 1) for each in rss],
        "growth_mib": round((max(rss[-3:]) - rss[0]) / MIB, 1),
    }
    image = [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": IMAGE}}]}]
    prompt = [{"role": "user", "content": PROMPT}]
    short = [{"role": "user", "content": "Write a book."}]
    parts: dict[str, tuple[int, dict[str, object]]] = {
        "image of 2 MB in, stream out": (8, {"stream": True, "messages": image}),
        "prompt of 200 KB in, stream out": (16, {"stream": True, "messages": prompt}),
        "whole answer of 2 MB": (8, {"messages": short}),
        "streamed answer of 2 MB": (8, {"stream": True, "messages": short, "max_tokens": 500_000}),
    }
    for name, (at_once, fields) in parts.items():
        await run_many(at_once, at_once, lambda n, fields=fields: client.ask(n, **fields))
        settled = memory_kb(pid, "VmRSS")
        reset_peak(pid)
        await run_many(large, at_once, lambda n, fields=fields: client.ask(n, **fields))
        peak, after = memory_kb(pid, "VmHWM"), memory_kb(pid, "VmRSS")
        found[name] = {
            "at_once": at_once,
            "before_mib": round(settled / MIB, 1),
            "peak_mib": round(peak / MIB, 1),
            "after_mib": round(after / MIB, 1),
        }
    found["answers"] = client.statuses
    return found


@contextlib.contextmanager
def process(*arguments: str, **environment: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run a Python script beside this one."""
    command = [sys.executable, *arguments]
    with subprocess.Popen(command, env=os.environ | environment) as started:
        try:
            yield started
        finally:
            started.terminate()


def free_port() -> int:
    """Return a port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


async def wait_for(port: int) -> None:
    """Wait until somebody listens."""
    for _ in range(200):
        with contextlib.suppress(OSError):
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.close()
            return
        await asyncio.sleep(0.05)
    raise TimeoutError(f"nobody listens on port {port}")


async def main(arguments: argparse.Namespace) -> dict[str, object]:
    """Start both and measure."""
    upstream, gateway = free_port(), free_port()
    base_url = f"http://127.0.0.1:{upstream}/v1"
    with (
        process(__file__, "--upstream", str(upstream)),
        process(
            str(HERE / "gateway_app.py"), str(gateway), LLM_CANARY_BENCH_UPSTREAM=base_url
        ) as running,
    ):
        await wait_for(upstream)
        await wait_for(gateway)
        return await measure(running.pid, gateway, arguments.streams, arguments.large)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--streams", type=int, default=10_000)
    parser.add_argument("--large", type=int, default=400, help="requests of each large kind")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--upstream", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.upstream is not None:
        asyncio.run(serve_upstream(options.upstream))
    measured = asyncio.run(main(options))
    if options.json:
        print(json.dumps(measured))
    else:
        for label, value in measured.items():
            print(f"{label:34} {value}")

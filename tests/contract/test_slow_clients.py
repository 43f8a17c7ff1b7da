"""Clients that take what they are sent slowly, or not at all."""

import asyncio
import time

import pytest
from raw_client import open_chat
from simulated_upstream import completion, event

from llm_canary.gateway import watch

LONG = "x" * 12_000_000  # more than all buffers on the way hold


def read_all(connection, *, until):
    data = b""
    while until not in data[-64:] and (part := connection.recv(1 << 20)):
        data += part
    return data


@pytest.mark.parametrize("stream", [False, True])
def test_slow_reading_is_not_the_upstreams_silence(gateway, upstream, stream):
    async def script(_, client):
        if stream:
            await client.stream(event({"content": LONG}) + event({}, finish="stop"), size=1 << 20)
        else:
            await client.answer(completion(LONG))

    upstream.script = script
    gateway.change(upstream={"idle_timeout_s": 0.2})

    with open_chat(gateway, stream=stream) as connection:
        time.sleep(0.8)
        data = read_all(connection, until=b"0\r\n\r\n" if stream else b"}}")

    assert data.count(b"x") >= len(LONG)
    assert gateway.event().terminal == "completed"


def test_a_client_that_takes_nothing_is_given_up_and_the_upstream_stops(
    gateway, upstream, monkeypatch
):
    async def script(_, client):
        await client.begin_stream()
        writes = asyncio.create_task(client.wait_closed())
        while not writes.done():
            await client.chunk(event({"content": "x" * 100_000}))
            await asyncio.sleep(0)
        upstream.noticed.set()

    async def noticing(got, client):
        try:
            await script(got, client)
        except OSError:
            upstream.noticed.set()

    upstream.script = noticing
    monkeypatch.setattr(watch, "_LONGEST_STALL_S", 0.3)

    with open_chat(gateway, stream=True):
        assert gateway.event().terminal == "client_cancelled"
        assert upstream.noticed.wait(5)

"""Memory stays flat: nothing of an exchange is left behind, however it ended."""

import gc
import json
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest
from raw_client import chat, open_chat
from simulated_upstream import WHOLE, completion, event

from llm_canary.gateway.dialects.chat import CHAT
from llm_canary.gateway.sse import Tap

ROOT = Path(__file__).resolve().parents[2]
# Queues fill, pools grow, the allocator keeps what it has: 10,000 streams measured 1 MiB.
FLAT_MIB = 5.0


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_memory_is_flat_over_ten_thousand_streams_of_which_a_thousand_are_aborted():
    done = subprocess.run(
        [sys.executable, ROOT / "benchmarks" / "relay_memory.py", "--large", "60", "--json"],
        capture_output=True,
        text=True,
        timeout=300,
        check=True,
    )
    measured = json.loads(done.stdout)

    assert measured["streams"] == 10_000
    assert measured["answers"]["aborted"] >= 1_000
    assert set(measured["answers"]) == {"200", "aborted"}
    assert measured["growth_mib"] < FLAT_MIB, measured["rss_mib"]


def test_no_exchange_waits_for_the_garbage_collector(gateway, upstream):
    """Cycles would keep bodies in memory for hundreds of requests."""

    async def script(got, client):
        if got.json.get("stream"):
            await client.stream(WHOLE, gap_s=0.01)  # long enough to be watched
        else:
            await client.answer(completion())

    upstream.script = script
    while gc.collect():  # what an earlier test let go of may come back once, with its finalizers
        pass
    gc.disable()
    gc.set_debug(gc.DEBUG_SAVEALL)
    try:
        for _ in range(5):
            chat(gateway)
            chat(gateway, stream=True)
            chat(gateway, model="no-route")
            with open_chat(gateway, stream=True) as connection:
                connection.recv(100)
        gateway.writer.wait(20)
        time.sleep(0.1)
        gateway.writer.events.clear()
        gc.collect()
        left = Counter(
            type(each).__qualname__
            for each in gc.garbage
            if type(each).__module__.startswith("llm_canary")
        )
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.enable()

    assert left == {}


def test_what_is_relayed_is_not_copied():
    """What a stream's tap lets through is the object that was read, not one like it."""
    tap = Tap(CHAT.marks, strips_usage=True, choices=1)
    chunks = [event({"content": "x" * size}) for size in (1, 1_000, 200_000, 2_000_000)]

    assert all(tap.feed(chunk) is chunk for chunk in chunks)

"""A machine that crashed: the end of the spool is torn, zeroed or garbage."""

from __future__ import annotations

import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from llm_canary.telemetry.drain import Drain
from llm_canary.telemetry.events import encode
from llm_canary.telemetry.sink import MemoryBatchSink
from llm_canary.telemetry.spool import SpoolWriter, frame
from tests.factories import make_inference

EVENTS = [make_inference(id=f"{number:032d}") for number in range(30)]
SIZE = len(frame([encode(EVENTS[0])]))


@settings(max_examples=60)
@given(
    cut=st.integers(0, 29 * SIZE),
    tail=st.one_of(st.just(b""), st.binary(max_size=200), st.just(bytes(4096))),
    limit=st.integers(1, 40),
)
def test_a_damaged_tail_costs_no_event_before_it_and_stops_nothing(
    cut: int, tail: bytes, limit: int
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        crashed = SpoolWriter(root)
        crashed.append([encode(event) for event in EVENTS])
        crashed.close()
        [segment] = root.glob("*/*.seg")
        whole = segment.read_bytes()
        damaged = whole[: len(whole) - cut] + tail
        segment.write_bytes(damaged)
        restarted = SpoolWriter(root)
        restarted.append([encode(make_inference(id="after"))])
        restarted.close()
        sink = MemoryBatchSink()
        drain = Drain(root, sink)
        while drain.drain_once(limit):
            pass
        drain.close()

        intact = sum(damaged.startswith(whole[: number * SIZE]) for number in range(1, 31))
        survivors = EVENTS[:intact]
        drained = list(sink.events)
        drained.remove("after")  # two writers of one millisecond are drained in either order
        assert drained == [event.id for event in survivors]
        assert [path.name for path in root.iterdir()] == ["drain.lock"]

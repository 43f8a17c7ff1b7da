from __future__ import annotations

import logging
import os
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from llm_canary.telemetry.drain import Drain
from llm_canary.telemetry.events import Event, InferenceEvent
from llm_canary.telemetry.sink import MemoryBatchSink
from llm_canary.telemetry.spool import SpoolWriter
from llm_canary.telemetry.writer import TelemetryWriter
from tests.factories import make_inference, make_outcome


def drained(root: Path) -> dict[str, Event]:
    sink = MemoryBatchSink()
    drain = Drain(root, sink)
    while drain.drain_once():
        pass
    drain.close()
    return sink.events


def test_what_is_put_is_spooled_when_closed(tmp_path: Path) -> None:
    writer = TelemetryWriter(tmp_path, flush_s=60)
    writer.start()
    events: list[Event] = [make_inference() for _ in range(2_500)] + [make_outcome()]
    for event in events:
        assert writer.put(event)

    assert writer.close()

    assert drained(tmp_path) == {event.id: event for event in events}
    assert (writer.stats.accepted, writer.stats.written, writer.stats.queued) == (2_501, 2_501, 0)


def test_what_is_put_is_spooled_within_the_flush_interval(tmp_path: Path) -> None:
    writer = TelemetryWriter(tmp_path, flush_s=0.01)
    writer.start()
    writer.put(make_inference())

    deadline_s = time.monotonic() + 5
    while writer.stats.written == 0 and time.monotonic() < deadline_s:
        time.sleep(0.005)

    assert len(drained(tmp_path)) == 1
    writer.close()


def test_a_full_queue_drops_and_counts_and_never_blocks(tmp_path: Path) -> None:
    writer = TelemetryWriter(tmp_path, capacity=10)  # not started: nothing is taken out

    answers = [writer.put(make_inference()) for _ in range(25)]

    assert answers == [True] * 10 + [False] * 15
    assert (writer.stats.accepted, writer.stats.dropped_full, writer.stats.queued) == (10, 15, 10)


def test_after_closing_events_are_counted_as_dropped(tmp_path: Path) -> None:
    writer = TelemetryWriter(tmp_path)
    writer.start()
    writer.close()

    assert not writer.put(make_inference())
    assert writer.stats.dropped_full == 1


def test_a_function_is_called_in_the_thread(tmp_path: Path) -> None:
    called_in: list[str] = []

    def make() -> Event:
        called_in.append(threading.current_thread().name)
        return make_inference(id="made")

    writer = TelemetryWriter(tmp_path)
    writer.start()
    writer.put(make)
    writer.close()

    assert called_in == ["telemetry-writer"]
    assert set(drained(tmp_path)) == {"made"}


def test_a_function_that_fails_costs_one_event_and_shows_no_content(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def fail() -> Event:
        raise ValueError("the prompt of a user")

    writer = TelemetryWriter(tmp_path)
    writer.start()
    writer.put(fail)
    writer.put(lambda: msgspec.structs.replace(make_inference(), response_text="\ud800"))
    writer.put(make_inference(id="good"))
    with caplog.at_level(logging.DEBUG):
        writer.close()

    assert set(drained(tmp_path)) == {"good"}
    assert writer.stats.dropped_error == 2
    assert writer.stats.last_error == "UnicodeEncodeError"
    assert "prompt" not in caplog.text
    assert "ValueError" in caplog.text


def test_the_finish_step_is_applied_to_every_event(tmp_path: Path) -> None:
    def redact(event: Event) -> Event:
        assert isinstance(event, InferenceEvent)
        return msgspec.structs.replace(event, request_text="[redacted]")

    writer = TelemetryWriter(tmp_path, finish=redact)
    writer.start()
    writer.put(make_inference(request_text="secret"))
    writer.put(lambda: make_inference(request_text="secret"))
    writer.close()

    texts = [e.request_text for e in drained(tmp_path).values() if isinstance(e, InferenceEvent)]
    assert texts == ["[redacted]", "[redacted]"]


def test_texts_too_large_for_a_record_are_left_out_and_the_facts_kept(tmp_path: Path) -> None:
    event = make_inference(request_text="x" * 2**24, content_hash="abc")
    writer = TelemetryWriter(tmp_path)
    writer.start()
    writer.put(event)
    writer.close()

    [stored] = drained(tmp_path).values()
    assert stored == msgspec.structs.replace(event, request_text=None)


def test_a_spool_at_its_limit_drops_the_newest_and_counts(tmp_path: Path) -> None:
    writer = TelemetryWriter(
        tmp_path, flush_s=0.001, spool=SpoolWriter(tmp_path, max_total_bytes=10_000)
    )
    writer.start()
    for _ in range(5_000):
        writer.put(make_inference())
        time.sleep(0)
    writer.close()

    stats = writer.stats
    assert stats.written + stats.dropped_error == stats.accepted == 5_000
    assert stats.dropped_error > 0
    assert "limit of 10000 bytes" in (stats.last_error or "")
    assert len(drained(tmp_path)) == stats.written


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(folder)],
        capture_output=True,
        check=False,
    )
    if mounted.returncode:
        pytest.skip("needs the right to mount a tmpfs; RLIMIT_FSIZE is tested in test_spool")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk_loses_events_counts_them_and_recovers(tiny_disk: Path) -> None:
    spool = tiny_disk / "spool"
    filler = tiny_disk / "filler"
    writer = TelemetryWriter(spool, flush_s=0.001)
    writer.start()
    with filler.open("wb") as file:
        try:
            while True:
                os.write(file.fileno(), bytes(4096))
        except OSError:
            pass
    for _ in range(300):
        assert writer.put(make_inference())
    deadline_s = time.monotonic() + 10
    while writer.stats.queued and time.monotonic() < deadline_s:
        time.sleep(0.01)
    assert "No space left" in (writer.stats.last_error or "")
    filler.unlink()

    time.sleep(0.05)
    writer.put(make_inference(id="after"))
    writer.close()

    stats = writer.stats
    assert stats.dropped_error > 0
    assert stats.written + stats.dropped_error == stats.accepted
    found = drained(spool)
    assert "after" in found
    assert len(found) >= stats.written  # a failed batch may have left whole records to the drain


def test_putting_costs_about_a_microsecond(tmp_path: Path) -> None:
    writer = TelemetryWriter(tmp_path, capacity=1_000_000)
    event = make_inference()

    def cost_us() -> float:
        started_s = time.perf_counter()
        for _ in range(20_000):
            writer.put(event)
        return (time.perf_counter() - started_s) / 20_000 * 1e6

    assert min(cost_us() for _ in range(10)) < 3  # 0.3 on a quiet machine

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from llm_canary.errors import DataError, StorageError
from llm_canary.telemetry.drain import POISON_NAME, Drain
from llm_canary.telemetry.events import Event, InferenceEvent, encode
from llm_canary.telemetry.sink import MemoryBatchSink
from llm_canary.telemetry.spool import SpoolWriter, frame, scan
from tests.factories import make_inference


def spool_events(root: Path, events: Sequence[Event], **limits: int) -> SpoolWriter:
    spool = SpoolWriter(root, **limits)
    for event in events:
        spool.append([encode(event)])
    return spool


def drain_all(drain: Drain, limit: int = 7) -> int:
    total = 0
    while count := drain.drain_once(limit):
        total += count
    return total


def test_every_event_of_living_and_dead_writers_arrives(tmp_path: Path) -> None:
    dead, alive = ([make_inference() for _ in range(50)] for _ in range(2))
    spool_events(tmp_path, dead, segment_bytes=5_000).close()
    spool = spool_events(tmp_path, alive, segment_bytes=5_000)
    sink = MemoryBatchSink()

    assert drain_all(Drain(tmp_path, sink)) == 100

    assert list(sink.events.values()) == dead + alive
    spool.close()


def test_what_is_stored_is_removed_except_the_segment_in_use(tmp_path: Path) -> None:
    spool = spool_events(tmp_path, [make_inference() for _ in range(50)], segment_bytes=5_000)
    drain = Drain(tmp_path, MemoryBatchSink())

    drain_all(drain)
    assert len(list(tmp_path.glob("*/*.seg"))) == 1
    assert drain.stats.backlog_bytes == 0
    spool.close()
    drain.drain_once()

    assert [path.name for path in tmp_path.iterdir()] == ["drain.lock"]


def test_new_events_of_a_living_writer_are_taken_up_where_it_stopped(tmp_path: Path) -> None:
    spool = spool_events(tmp_path, [make_inference(id="1")])
    sink = MemoryBatchSink()
    drain = Drain(tmp_path, sink)
    drain.drain_once()
    spool.append([encode(make_inference(id="2"))])

    assert drain.drain_once() == 1
    assert list(sink.events) == ["1", "2"]
    spool.close()


def test_a_sink_that_fails_keeps_everything_and_is_tried_again_later(tmp_path: Path) -> None:
    spool_events(tmp_path, [make_inference() for _ in range(10)]).close()
    now_s = 0.0
    sink = MemoryBatchSink()
    sink.failure = StorageError("the database is away")
    drain = Drain(tmp_path, sink, monotonic=lambda: now_s)
    waits: list[float] = []
    for _ in range(9):
        failures = drain.stats.failures
        started_s = now_s
        while drain.stats.failures == failures:
            assert drain.drain_once() == 0
            now_s += 0.25
        waits.append(now_s - started_s)
    assert waits == [0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0]
    assert drain.stats.last_error == "the database is away"
    assert drain.stats.backlog_bytes > 0

    sink.failure = None
    now_s += 60

    assert drain_all(drain) == 10
    assert drain.stats.last_error is None


def test_a_crash_after_storing_and_before_the_cursor_stores_nothing_twice(tmp_path: Path) -> None:
    spool_events(tmp_path, [make_inference() for _ in range(10)]).close()

    class CrashingSink(MemoryBatchSink):
        def write(self, events: Sequence[Event]) -> None:
            super().write(events)
            raise KeyboardInterrupt

    sink = CrashingSink()
    drain = Drain(tmp_path, sink)
    with pytest.raises(KeyboardInterrupt):
        drain.drain_once()
    drain.close()
    again = MemoryBatchSink()
    again.events = sink.events

    assert drain_all(Drain(tmp_path, again)) == 10
    assert len(again.events) == 10


@pytest.mark.parametrize("cursor", ["", "junk", "999999999"])
def test_a_damaged_cursor_does_not_stop_the_drain(tmp_path: Path, cursor: str) -> None:
    spool_events(tmp_path, [make_inference()]).close()
    [segment] = tmp_path.glob("*/*.seg")
    segment.with_suffix(".cursor").write_text(cursor)

    drain_all(Drain(tmp_path, MemoryBatchSink()))

    assert [path.name for path in tmp_path.iterdir()] == ["drain.lock"]


def test_a_record_that_is_no_event_is_moved_aside(tmp_path: Path) -> None:
    spool = SpoolWriter(tmp_path)
    spool.append([encode(make_inference(id="1")), b'{"kind":"riddle"}', b"\xff{", b"null"])
    spool.append([encode(make_inference(id="2"))])
    spool.close()
    sink = MemoryBatchSink()
    drain = Drain(tmp_path, sink)

    drain_all(drain)

    assert list(sink.events) == ["1", "2"]
    assert drain.stats.poisoned == 3
    aside = scan((tmp_path / POISON_NAME).read_bytes(), 10, is_final=True).payloads
    assert aside == [b'{"kind":"riddle"}', b"\xff{", b"null"]


def test_an_event_the_database_refuses_does_not_hold_up_the_others(tmp_path: Path) -> None:
    events = [make_inference(id=str(number)) for number in range(20)]
    spool_events(tmp_path, events).close()

    class PickySink(MemoryBatchSink):
        def write(self, events: Sequence[Event]) -> None:
            if {"3", "17"} & {event.id for event in events}:
                raise DataError("an impossible value")
            super().write(events)

    sink = PickySink()
    drain = Drain(tmp_path, sink)

    drain_all(drain, limit=100)

    assert set(sink.events) == {event.id for event in events} - {"3", "17"}
    assert (drain.stats.poisoned, drain.stats.drained) == (2, 18)


def test_damage_within_a_segment_is_skipped_and_counted(tmp_path: Path) -> None:
    spool_events(tmp_path, [make_inference(id=str(number)) for number in range(3)]).close()
    [segment] = tmp_path.glob("*/*.seg")
    data = bytearray(segment.read_bytes())
    data[len(data) // 2] ^= 1
    segment.write_bytes(data)
    sink = MemoryBatchSink()
    drain = Drain(tmp_path, sink)

    drain_all(drain)

    assert list(sink.events) == ["0", "2"]
    assert drain.stats.damaged_bytes > 0


def test_a_record_larger_than_a_chunk_arrives(tmp_path: Path) -> None:
    large = make_inference(request_text="x" * 5_000_000)
    spool_events(tmp_path, [make_inference(), large, make_inference()]).close()
    sink = MemoryBatchSink()

    drain_all(Drain(tmp_path, sink))

    assert len(sink.events) == 3
    stored = sink.events[large.id]
    assert isinstance(stored, InferenceEvent) and stored == large


def test_only_one_drain_works_on_a_spool_and_the_next_takes_over(tmp_path: Path) -> None:
    spool_events(tmp_path, [make_inference() for _ in range(3)]).close()
    first, second = (Drain(tmp_path, MemoryBatchSink()) for _ in range(2))

    assert first.drain_once(1) == 1
    assert second.drain_once(1) == 0
    first.close()
    assert second.drain_once(10) == 2


def test_folders_that_are_no_writers_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "lost+found").mkdir()
    (tmp_path / ".starting").mkdir()
    (tmp_path / "note.txt").write_text("hello")

    assert Drain(tmp_path, MemoryBatchSink()).drain_once() == 0
    assert len(list(tmp_path.iterdir())) == 4


def test_a_spool_that_does_not_exist_yet_is_empty(tmp_path: Path) -> None:
    drain = Drain(tmp_path / "data" / "spool", MemoryBatchSink())

    assert drain.drain_once() == 0
    assert drain.stats.last_error is None


def test_records_of_a_failed_batch_that_were_read_do_not_confuse_the_cursor(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import os

    spool = spool_events(tmp_path, [make_inference(id="1")])
    sink = MemoryBatchSink()
    drain = Drain(tmp_path, sink)
    write = os.write
    first, second = encode(make_inference(id="2")), encode(make_inference(id="3"))

    def fail_after_the_first(fd: int, data: bytes) -> int:
        if len(data) > len(second) + 8:
            written = write(fd, bytes(data)[: len(frame([first]))])
            drain.drain_once()  # sees the whole first record
            return written
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "write", fail_after_the_first)
    with pytest.raises(OSError, match="No space"):
        spool.append([first, second])
    monkeypatch.undo()
    spool.append([encode(make_inference(id="4")), encode(make_inference(id="5"))])
    spool.close()
    drain_all(drain)

    assert list(sink.events) == ["1", "2", "4", "5"]

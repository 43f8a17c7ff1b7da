from __future__ import annotations

import errno
import fcntl
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from llm_canary.telemetry.spool import SpoolFullError, SpoolWriter, frame, scan

# As in JSON, there is no zero byte in a payload.
PAYLOAD = st.binary(min_size=1, max_size=40).map(lambda data: data.replace(b"\0", b" "))


def segments(root: Path) -> list[Path]:
    return sorted(root.glob("*/*.seg"))


def payloads(root: Path) -> list[bytes]:
    return [
        payload
        for path in segments(root)
        for payload in scan(path.read_bytes(), 10_000, is_final=True).payloads
    ]


@given(written=st.lists(PAYLOAD))
def test_what_was_framed_is_read(written: list[bytes]) -> None:
    data = frame(written)

    found = scan(data, 10_000, is_final=True)

    assert found == (written, len(data), 0)


@given(written=st.lists(PAYLOAD, min_size=1), cut=st.integers(1, 1_000))
def test_a_torn_tail_costs_only_what_was_torn(written: list[bytes], cut: int) -> None:
    data = frame(written)
    torn = data[: max(0, len(data) - cut)]
    whole = next(n for n in range(len(written), -1, -1) if len(frame(written[:n])) <= len(torn))

    found = scan(torn, 10_000, is_final=True)

    assert found.payloads == written[:whole]
    assert found.consumed == len(torn)
    assert found.damaged == len(torn) - len(frame(written[:whole]))


@given(written=st.lists(PAYLOAD, min_size=1), data=st.data())
def test_a_damaged_record_costs_only_itself(written: list[bytes], data: st.DataObject) -> None:
    victim = data.draw(st.integers(0, len(written) - 1))
    start = len(frame(written[:victim]))
    end = len(frame(written[: victim + 1]))
    offset = data.draw(st.integers(start, end - 1))
    flip = data.draw(st.integers(1, 255))
    damaged = bytearray(frame(written))
    damaged[offset] ^= flip

    found = scan(bytes(damaged), 10_000, is_final=True)

    assert found.payloads == written[:victim] + written[victim + 1 :]
    assert found.damaged == end - start


@given(junk=st.binary(max_size=200), written=st.lists(PAYLOAD))
@example(junk=bytes(64), written=[b"{}"])
def test_junk_and_zeroed_pages_invent_no_record(junk: bytes, written: list[bytes]) -> None:
    found = scan(junk + frame(written), 10_000, is_final=True)

    assert found.consumed == len(junk) + len(frame(written))
    assert found.payloads == written
    assert found.damaged == len(junk)


def test_a_record_that_is_still_being_written_is_waited_for() -> None:
    data = frame([b"first", b"second"])

    found = scan(data[:-1], 10_000, is_final=False)

    assert found == ([b"first"], len(frame([b"first"])), 0)


def test_segments_rotate_at_their_size(tmp_path: Path) -> None:
    spool = SpoolWriter(tmp_path, segment_bytes=100)
    for number in range(20):
        spool.append([b"%020d" % number])
    spool.close()

    assert len(segments(tmp_path)) == 5
    assert payloads(tmp_path) == [b"%020d" % number for number in range(20)]


def test_a_full_spool_refuses_the_newest_until_there_is_room(tmp_path: Path) -> None:
    spool = SpoolWriter(tmp_path, segment_bytes=100, max_total_bytes=300)
    with pytest.raises(SpoolFullError, match="limit of 300 bytes"):  # noqa: PT012
        for number in range(20):
            spool.append([b"%020d" % number])
    assert sum(path.stat().st_size for path in segments(tmp_path)) <= 300
    segments(tmp_path)[0].unlink()  # as the drain does

    spool.append([b"newest"])

    assert payloads(tmp_path)[-1] == b"newest"


def test_other_writers_count_towards_the_limit(tmp_path: Path) -> None:
    for _ in range(3):
        spool = SpoolWriter(tmp_path, max_total_bytes=1_000)
        spool.append([b"x" * 300])
        spool.close()

    with pytest.raises(SpoolFullError):
        SpoolWriter(tmp_path, max_total_bytes=1_000).append([b"x" * 300])


def test_a_write_that_fails_half_way_leaves_whole_records_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spool = SpoolWriter(tmp_path)
    spool.append([b"before"])
    write = os.write

    def fill_the_disk(fd: int, data: bytes) -> int:
        if len(data) > 10:
            return write(fd, bytes(data)[:10])
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "write", fill_the_disk)
    for _ in range(3):
        with pytest.raises(OSError, match="No space"):
            spool.append([b"lost"])
    monkeypatch.undo()
    spool.append([b"after"])
    spool.close()

    assert payloads(tmp_path) == [b"before", b"after"]
    # What failed is not written over: the drain may have read it. And no empty files pile up.
    assert [path.name for path in segments(tmp_path)] == ["00000001.seg", "00000004.seg"]


def test_a_disk_without_room_for_a_folder_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fill_the_disk(*_args: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(fcntl, "flock", fill_the_disk)
    spool = SpoolWriter(tmp_path)
    for _ in range(3):
        with pytest.raises(OSError, match="No space"):
            spool.append([b"lost"])
    monkeypatch.undo()

    assert list(tmp_path.iterdir()) == []


def test_the_files_are_private(tmp_path: Path) -> None:
    spool = SpoolWriter(tmp_path)
    spool.append([b"prompt"])
    spool.close()

    [path] = segments(tmp_path)
    assert path.stat().st_mode & 0o077 == 0
    assert path.parent.stat().st_mode & 0o077 == 0


def test_a_file_size_limit_of_the_system_costs_only_the_batch(tmp_path: Path) -> None:
    """The real errno from the kernel, in a process of its own, since the limit is for good."""
    program = textwrap.dedent(
        """
        import resource, sys
        from pathlib import Path
        from llm_canary.telemetry.spool import SpoolWriter
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, resource.RLIM_INFINITY))
        spool = SpoolWriter(Path(sys.argv[1]))
        failures = 0
        for number in range(100):
            try:
                spool.append([b"%050d" % number])
            except OSError:
                failures += 1
        spool.close()
        print(failures)
        """
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path)], capture_output=True, text=True, check=True
    )

    assert int(done.stdout) > 0
    assert len(payloads(tmp_path)) == 100 - int(done.stdout)

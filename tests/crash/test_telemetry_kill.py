"""kill -9 under load: what was put a second before is in SQL after the restart, and once."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from sqlalchemy import text

from llm_canary.storage import migrate
from llm_canary.storage.engine import make_engine, read_session, write_session
from llm_canary.storage.ingest import SqlBatchSink
from llm_canary.telemetry.drain import Drain
from llm_canary.telemetry.writer import TelemetryWriter
from tests.factories import make_inference

SAFE_AFTER_S = 1.0


def serve_until_killed(root: Path, seed: int) -> None:
    """The child: puts events, drains them and scores them, all at once; prints what it put."""
    draw = random.Random(seed)
    engine = make_engine(f"sqlite:///{root}/test.db")
    writer = TelemetryWriter(root / "spool")
    writer.start()
    drain = Drain(root / "spool", SqlBatchSink(engine))

    def control() -> None:
        while True:
            drain.drain_once(draw.randint(1, 500))
            with write_session(engine) as session:
                scored = session.execute(
                    text(
                        "DELETE FROM score_task WHERE inference_id IN "
                        "(SELECT inference_id FROM score_task LIMIT 300) RETURNING 1"
                    )
                ).all()
                session.execute(
                    text("UPDATE installation SET value = value + :n"), {"n": len(scored)}
                )

    threading.Thread(target=control, daemon=True).start()
    while True:
        events = [make_inference() for _ in range(draw.randint(1, 100))]
        for event in events:
            writer.put(event)
        put_at_s = time.monotonic()
        os.write(1, "".join(f"{event.id} {put_at_s}\n" for event in events).encode())
        time.sleep(0.02)


def run_and_kill(root: Path, seed: int, life_s: float) -> set[str]:
    """Return the ids put long enough before the kill."""
    child = subprocess.Popen(
        [sys.executable, __file__, str(root), str(seed)],
        stdout=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])},
    )
    assert child.stdout is not None
    first = child.stdout.readline()
    timer = threading.Timer(life_s, child.send_signal, [signal.SIGKILL])
    timer.start()
    output = first + child.stdout.read()
    killed_at_s = time.monotonic()
    child.stdout.close()
    assert child.wait() == -signal.SIGKILL
    lines = [line.split() for line in output.decode().splitlines(keepends=True) if "\n" in line]
    return {id_ for id_, put_at_s in lines if float(put_at_s) <= killed_at_s - SAFE_AFTER_S}


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_what_was_put_a_second_before_the_kill_is_stored_and_scored_once(
    tmp_path: Path, seed: int
) -> None:
    draw = random.Random(seed)
    engine = make_engine(f"sqlite:///{tmp_path}/test.db")
    migrate.upgrade(engine)
    with write_session(engine) as session:
        session.execute(text("INSERT INTO installation (key, value) VALUES ('scored', 0)"))
    safe: set[str] = set()
    for life in range(2):  # the second life also finds what the first left
        safe |= run_and_kill(tmp_path, seed + life, draw.uniform(1.1, 1.8))

    drain = Drain(tmp_path / "spool", SqlBatchSink(engine))
    while drain.drain_once():
        pass

    with read_session(engine) as session:
        stored = session.execute(text("SELECT id FROM inference")).scalars().all()
        waiting = session.execute(text("SELECT count(*) FROM score_task")).scalar_one()
        scored = session.execute(text("SELECT value FROM installation")).scalar_one()
    engine.dispose()
    assert len(safe) > 100
    assert safe - set(stored) == set()
    assert int(scored) + waiting == len(stored)
    assert drain.stats.poisoned == 0
    assert [path.name for path in (tmp_path / "spool").iterdir()] == ["drain.lock"]


if __name__ == "__main__":
    serve_until_killed(Path(sys.argv[1]), int(sys.argv[2]))

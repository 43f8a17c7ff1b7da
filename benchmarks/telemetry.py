"""Rows per second from `put` to SQL, and what `put` costs the event loop.

    python benchmarks/telemetry.py [--rows 200000] [--rounds 3] [--postgresql URL]

Phases run one after another, so each figure is that part's own. Every row also makes a score
task. CPU per row is the figure to compare on a machine that others use too.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from hashlib import sha1
from pathlib import Path

import msgspec

from llm_canary.ids import uuid7
from llm_canary.storage import migrate
from llm_canary.storage.engine import make_engine
from llm_canary.storage.ingest import SqlBatchSink
from llm_canary.telemetry.drain import Drain
from llm_canary.telemetry.events import InferenceEvent, UsageSource
from llm_canary.telemetry.writer import TelemetryWriter

EVENT = InferenceEvent(
    id="",
    at_s=1_800_000_000.123456,
    endpoint="chat.completions",
    route="support-bot",
    rollout_id="01a206be8c9d7118b5b682ea23a96bd1",
    stage="initial",
    share=0.05,
    assigned="control",
    served="control",
    reason="hash",
    eligible=True,
    unit_hash="0123456789abcdef0123456789abcdef",
    unit_source="header:x-canary-user",
    segments={"tier": "free", "language": "de"},
    upstream="openai",
    requested_model="support-bot",
    model="gpt-5-mini",
    reported_model="gpt-5-mini-2026",
    response_id="chatcmpl-BxYz0123456789abcdef",
    prompt="support/v12",
    prompt_hash="0123456789abcdef",
    config_hash="0123456789abcdef",
    status=200,
    finish_reason="stop",
    latency_ms=812.5,
    prompt_tokens=120,
    completion_tokens=40,
    usage_source=UsageSource.PROVIDER,
    cost_nanousd=110_000,
    uncached_cost_nanousd=110_000,
    output_chars=200,
    body_hash="0123456789abcdef",
)


def measure(rows: int, url: str | None) -> dict[str, float]:
    figures: dict[str, float] = {}
    events = [
        msgspec.structs.replace(
            EVENT,
            id=uuid7(),
            at_s=EVENT.at_s + number / 1_000,
            response_id=f"chatcmpl-{sha1(b'%d' % number).hexdigest()[:24]}",
            unit_hash=sha1(b"%d" % (number % 5_000)).hexdigest()[:32],
        )
        for number in range(rows)
    ]
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        writer = TelemetryWriter(root / "spool", capacity=rows, flush_s=3600)
        writer.start()
        started_s = time.perf_counter()
        for event in events:
            writer.put(event)
        del event
        figures["put, us"] = (time.perf_counter() - started_s) / rows * 1e6
        started_s = time.perf_counter()
        writer.close(600)
        del events
        figures["writer to spool, rows/s"] = rows / (time.perf_counter() - started_s)
        spooled = sum(path.stat().st_size for path in root.glob("spool/*/*.seg"))
        figures["spool, bytes/row"] = spooled / rows
        engine = make_engine(url or f"sqlite:///{root}/bench.db")
        migrate.upgrade(engine)
        drain = Drain(root / "spool", SqlBatchSink(engine))
        started_s, cpu_s = time.perf_counter(), time.process_time()
        while drain.drain_once():
            pass
        figures["drain to SQL, rows/s"] = rows / (time.perf_counter() - started_s)
        figures["drain to SQL, CPU us/row"] = (time.process_time() - cpu_s) / rows * 1e6
        assert drain.stats.drained == rows, drain.stats
        drain.close()
        engine.dispose()
        if url is None:
            figures["SQLite, bytes/row"] = (root / "bench.db").stat().st_size / rows
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--postgresql", help="URL of an empty database, instead of SQLite")
    options = parser.parse_args()
    rounds = [measure(options.rows, options.postgresql) for _ in range(options.rounds)]
    for name in rounds[0]:
        values = [figures[name] for figures in rounds]
        print(f"{name:28} {statistics.median(values):12,.1f}   best {max(values):12,.1f}")


if __name__ == "__main__":
    main()

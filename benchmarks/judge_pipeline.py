"""How many drawn answers a second workers grade and store, with a recorded judge in the process.

python benchmarks/judge_pipeline.py [SAMPLES]

SQLite with one worker, PostgreSQL (a server of its own, started here) with four threads.
"""

from __future__ import annotations

import sys
import tempfile
import threading
import time
from pathlib import Path

from sqlalchemy.engine import Engine

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from llm_canary.clock import ManualClock  # noqa: E402
from llm_canary.judging.build import Judges  # noqa: E402
from llm_canary.judging.replay import ReplayJudge, response_hash  # noqa: E402
from llm_canary.judging.worker import JudgeWorker, _Kit  # noqa: E402
from llm_canary.storage.engine import make_engine  # noqa: E402
from llm_canary.storage.migrate import upgrade  # noqa: E402
from tests.integration.test_judge_worker import CLOCK_S, KIND, TEXT, counts, fill  # noqa: E402
from tests.support.postgresql import database, server  # noqa: E402

RECORDED = [{"id": "*", "response_sha256": response_hash("In Graz."), "labels": {"helps": "met"}}]


def main() -> None:
    samples = int(sys.argv[1]) if len(sys.argv) > 1 else 5_000
    with tempfile.TemporaryDirectory() as folder:
        measure("SQLite", f"sqlite:///{folder}/bench.db", samples, workers=1)
    with server() as uri, database(uri) as url:
        measure("PostgreSQL", url, samples, workers=1)
    with server() as uri, database(uri) as url:
        measure("PostgreSQL", url, samples, workers=4)


def measure(name: str, url: str, samples: int, *, workers: int) -> None:
    engine = make_engine(url)
    upgrade(engine)
    fill(engine, samples)
    threads = [threading.Thread(target=work, args=(engine,)) for _ in range(workers)]
    began = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    seconds = time.perf_counter() - began
    found = counts(engine)
    engine.dispose()
    assert found.graded == samples, found
    print(f"{name}, {workers} worker(s): {samples / seconds:,.0f} graded samples/s")


def work(engine: Engine) -> None:
    judge = ReplayJudge("recorded", RECORDED, KIND)
    worker = JudgeWorker(engine, ManualClock(CLOCK_S))
    worker._kits[TEXT.id] = _Kit(KIND, Judges(judge), judge.version.id)  # noqa: SLF001
    while worker.step():
        pass
    worker.close()


if __name__ == "__main__":
    main()

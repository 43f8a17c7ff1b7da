"""How long the server takes for the charts of a rollout of 30 days with N requests behind it, and for the other pages.

    python benchmarks/pages_speed.py [--requests 10000000] [--ingested 20000] [--items 5000] [--visits 20]

The rollups of N requests are put into both databases, those of `--ingested` more are written by
the real ingest, and 20,000 scored answers are added. Whatever SQL the pages send is recorded: that
none of it reads `inference` is why their time does not depend on how many rows that table has.

The other pages are those of the seeded instance (tests/support/seeded.py) with its queue copied until `--items` answers
are in it, reviews included; asked for over HTTP from the real server, which works on meanwhile.
"""

from __future__ import annotations

import argparse
import gzip
import statistics
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from sqlalchemy import event, insert, literal, select
from sqlalchemy.engine import Engine

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from llm_canary.clock import ManualClock  # noqa: E402
from llm_canary.routing.table import Role  # noqa: E402
from llm_canary.stats.histogram import LogHistogram  # noqa: E402
from llm_canary.storage import rollups  # noqa: E402
from llm_canary.storage.engine import make_engine, write_session  # noqa: E402
from llm_canary.storage.migrate import upgrade  # noqa: E402
from llm_canary.storage.models.grading import Review, ReviewSeat, Sample  # noqa: E402
from tests.factories import NOON_S  # noqa: E402
from tests.support.control import Web  # noqa: E402
from tests.support.pages import log_in  # noqa: E402
from tests.support.postgresql import database, server  # noqa: E402
from tests.support.seeded import ADMIN, Seeded  # noqa: E402
from tests.support.series_world import (  # noqa: E402
    add_rollout,
    add_scores,
    add_traffic,
    rollouts_of,
)
from tests.support.server import RunningServer  # noqa: E402

DAYS, FINE_DAYS, SCORED = 30, 14, 20_000
PAGES = (
    "/",
    "/rollouts/support-v13",
    "/rollouts/support-v13/segments",
    "/rollouts/support-v13/charts",
    "/rollouts/support-v13/answers",
    "/review",
    "/review/reviewers",
    "/review/history",
    "/review/disagreements",
    "/samples",
    "/history",
    "/calibration",
    "/alerts",
    "/settings",
)
KEYS = {"id", "sample_id", "inference_id"}
FILES = ("app.css", "uplot.css", "charts.css", "theme.js", "htmx.min.js", "app.js", "uplot.min.js")


def minute(requests: int, luck: Any) -> rollups.Sums:
    """One minute of one arm."""
    failed = int(luck.binomial(requests, 0.01))
    answers = requests - failed
    tokens = luck.lognormal(5.0, 0.6, answers).astype(int)
    histograms = []
    for values in (luck.lognormal(6.6, 0.5, answers), luck.lognormal(5.0, 0.4, answers), tokens):
        histogram = LogHistogram()
        histogram.extend(values.tolist())
        histograms.append(histogram)
    counts = Counter(
        requests=requests,
        completed=answers,
        upstream_error=failed,
        prompt_tokens=120 * answers,
        prompt_tokens_known=answers,
        completion_tokens=int(tokens.sum()),
        completion_tokens_known=answers,
        cost_nanousd=30_000 * answers + 2_000 * int(tokens.sum()),
        cost_known=answers,
        thumbs_up=int(luck.binomial(answers, 0.08)),
        thumbs_down=int(luck.binomial(answers, 0.02)),
    )
    return rollups.Sums(counts, tuple(histograms))


def put_rollups(engine: Engine, requests: int) -> int:
    """Store the rollups of `requests` over the days; fine bins of the last ones only."""
    luck = np.random.default_rng(1)
    minutes = DAYS * 1_440
    sizes = {Role.CONTROL: requests * 3 // 4 // minutes, Role.CANARY: requests // 4 // minutes}
    drawn = {role: [minute(size, luck) for _ in range(300)] for role, size in sizes.items()}
    sums: dict[rollups.Bin, rollups.Sums] = {}
    for number in range(minutes):
        at_s = NOON_S - (number + 1) * 60
        for role, each in drawn.items():
            for bin_ in rollups.bins_at("rollout-1", at_s, role.value, "support-bot"):
                if bin_.step_s in rollups.FINE_STEPS_S and number >= FINE_DAYS * 1_440:
                    continue
                sums.setdefault(bin_, rollups.Sums.none()).merge(each[number % len(each)])
    with write_session(engine) as session:
        rollups.put(session.connection(), sums)
    return len(sums)


def measure(name: str, url: str, options: argparse.Namespace) -> None:
    engine = make_engine(url)
    upgrade(engine)
    add_rollout(engine, hours=DAYS * 24.0)
    bins = put_rollups(engine, options.requests)
    add_traffic(engine, per_minute=max(options.ingested // 360, 1), pause=(0, 0))
    add_scores(engine, hours=DAYS * 24.0, count=SCORED)
    if engine.dialect.name == "postgresql":
        with engine.connect() as connection:
            connection.exec_driver_sql("ANALYZE")
            connection.commit()
    with tempfile.TemporaryDirectory() as folder:
        web = Web(
            Path(folder), engine=engine, clock=ManualClock(NOON_S), rollouts=rollouts_of(engine)
        )
        sent: list[str] = []
        event.listen(engine, "before_cursor_execute", lambda *call: sent.append(call[2]))
        print(f"{name}: {options.requests:,} requests, {bins:,} bins, {SCORED:,} scored answers")
        for chosen in ("1h", "24h", "7d", "all"):
            path, times = f"/rollouts/next/charts?range={chosen}", []
            body = b""
            for _ in range(options.visits):
                started_s = time.perf_counter()
                body = web.get(path, **{"hx-request": "true"}).content
                times.append((time.perf_counter() - started_s) * 1e3)
            times.sort()
            print(
                f"  {chosen:4} median {statistics.median(times):6.1f} ms  fastest {times[0]:6.1f}  "
                f"slowest {times[-1]:6.1f}  {len(body):9,} bytes, {len(gzip.compress(body)):7,} gzip"
            )
        page = gzip.compress(web.get("/rollouts/next/charts").content)
        static = sum(
            len(gzip.compress((ROOT / "web/static" / file).read_bytes()))
            for file in (*FILES, "charts.js", "mark.svg")
        )
        print(f"  first view, gzip: page {len(page):,} + static files {static:,} bytes")
        assert not any("FROM inference" in statement for statement in sent)
        web.close()
    engine.dispose()


def stock(engine: Engine, items: int) -> int:
    """Copy what is in the review queue until it holds `items` answers; return how many it holds."""
    sample, review, seat = (each.__table__ for each in (Sample, Review, ReviewSeat))
    queued = select(sample.c.id).where(sample.c.review_state.is_not(None))
    with engine.begin() as connection:
        count = len(connection.execute(queued).all())
        for number in range(items // count):
            for table, key in (
                (sample, sample.c.id),
                (review, review.c.sample_id),
                (seat, seat.c.sample_id),
            ):
                columns = [
                    (literal(f"{number}-") + each).label(each.name) if each.name in KEYS else each
                    for each in table.c
                ]
                # Ids have no dash, those of copies have.
                rows = select(*columns).where(key.in_(queued), ~key.contains("-"))
                connection.execute(insert(table).from_select([each.name for each in table.c], rows))
        return len(connection.execute(queued).all())


def measure_pages(name: str, url: str, folder: Path, options: argparse.Namespace) -> None:
    made = Seeded(folder, database_url=url).build()
    engine = make_engine(url)
    items = stock(engine, options.items)
    if engine.dialect.name == "postgresql":
        with engine.connect() as connection:
            connection.exec_driver_sql("ANALYZE")
            connection.commit()
    engine.dispose()
    config = (made.folder / "canary.yaml").read_text()
    print(f"{name}: the seeded instance, {items:,} answers in its review queue")
    with (
        RunningServer(folder, config, database_url=url) as running,
        httpx.Client(base_url=running.url, timeout=30) as client,
    ):
        log_in(client, ADMIN)
        for path in PAGES:
            times = []
            for _ in range(options.visits):
                started_s = time.perf_counter()
                answer = client.get(path)
                times.append((time.perf_counter() - started_s) * 1e3)
                assert answer.status_code == 200, f"{path}: {answer.status_code}"
            times.sort()
            print(
                f"  {path:32} median {statistics.median(times):6.1f} ms  fastest {times[0]:6.1f}  "
                f"slowest {times[-1]:6.1f}  {len(answer.content):9,} bytes"
            )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=10_000_000)
    parser.add_argument("--ingested", type=int, default=20_000)
    parser.add_argument("--items", type=int, default=5_000)
    parser.add_argument("--visits", type=int, default=20)
    parser.add_argument("--only", choices=("charts", "pages"))
    options = parser.parse_args()
    if options.only != "charts":
        with tempfile.TemporaryDirectory() as folder:
            url = f"sqlite:///{folder}/llm_canary.db"
            measure_pages("SQLite", url, Path(folder), options)
        with server() as uri, database(uri) as url, tempfile.TemporaryDirectory() as folder:
            measure_pages("PostgreSQL", url, Path(folder), options)
    if options.only == "pages":
        return
    with tempfile.TemporaryDirectory() as folder:
        measure("SQLite", f"sqlite:///{folder}/bench.db", options)
    with server() as uri, database(uri) as url:
        measure("PostgreSQL", url, options)


if __name__ == "__main__":
    main()

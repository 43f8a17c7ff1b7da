"""How long a reviewer waits when thirty claim and submit at once, over HTTP, through the real server.

python benchmarks/review_load.py [REVIEWERS] [SECONDS] [--think LEAST MOST] [--only DATABASE]

SQLite, then PostgreSQL (a server of its own, started here). Each reviewer claims, looks at the answer for a moment (0.2 to
0.6 s, or as `--think 2 5` says; a person takes half a minute and more) and submits.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import sys
import tempfile
import time
from pathlib import Path

import aiohttp

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from llm_canary.storage.engine import make_engine  # noqa: E402
from llm_canary.storage.migrate import upgrade  # noqa: E402
from tests.integration.test_review_queue import ask  # noqa: E402
from tests.integration.test_reviewers_over_http import CONFIG  # noqa: E402
from tests.support.postgresql import database, server  # noqa: E402
from tests.support.server import RunningServer  # noqa: E402

ANSWERS, WANTED = 5_000, 2
WARM_UP_S = 2.0


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("reviewers", type=int, nargs="?", default=30)
    parser.add_argument("seconds", type=float, nargs="?", default=20.0)
    parser.add_argument(
        "--think", type=float, nargs=2, default=(0.2, 0.6), metavar=("LEAST", "MOST")
    )
    parser.add_argument("--only", choices=("sqlite", "postgresql"))
    options = parser.parse_args()
    if options.only != "postgresql":
        with tempfile.TemporaryDirectory() as folder:
            measure("SQLite", Path(folder), f"sqlite:///{folder}/bench.db", options)
    if options.only != "sqlite":
        with server() as uri, database(uri) as url, tempfile.TemporaryDirectory() as folder:
            measure("PostgreSQL", Path(folder), url, options)


def measure(name: str, folder: Path, url: str, options: argparse.Namespace) -> None:
    engine = make_engine(url)
    upgrade(engine)
    ask(engine, ANSWERS, wanted=WANTED)
    engine.dispose()
    with RunningServer(folder, CONFIG, database_url=url) as running:
        claims, submits, busy = asyncio.run(load(running.url, options))
    pairs = [claim + submit for claim, submit in zip(claims, submits, strict=True)]
    least, most = options.think
    print(
        f"{name}, {options.reviewers} reviewers who look for {least:g} to {most:g} s: "
        f"{len(pairs)} reviews, {len(pairs) / options.seconds:.1f} a second, {busy} asked to try again"
    )
    for what, times in (("claim", claims), ("submit", submits), ("claim + submit", pairs)):
        ordered = sorted(times)
        p50, p95, p99 = (1_000.0 * ordered[int(len(ordered) * part)] for part in (0.5, 0.95, 0.99))
        print(f"  {what:15} p50 {p50:6.1f} ms  p95 {p95:6.1f} ms  p99 {p99:6.1f} ms")


async def load(url: str, options: argparse.Namespace) -> tuple[list[float], list[float], int]:
    """Return how long the claims and the submissions took, and how many claims were put off."""
    claims: list[float] = []
    submits: list[float] = []
    busy = 0
    began = time.perf_counter()

    async def work(session: aiohttp.ClientSession, number: int) -> None:
        nonlocal busy
        who, draw = {"reviewer": f"reviewer-{number}"}, random.Random(number)
        await asyncio.sleep(draw.uniform(0.0, options.think[1]))
        while (now := time.perf_counter()) - began < options.seconds + WARM_UP_S:
            async with session.post("claim", json={"rubric": "helpful", **who}) as answer:
                claimed = await answer.json()
            took = time.perf_counter() - now
            if answer.status == 409:
                busy += 1
                continue
            item = claimed["item"]
            await asyncio.sleep(draw.uniform(*options.think))
            sent = time.perf_counter()
            body = {**who, "token": item["token"], "labels": {"helps": "met"}}
            async with session.post(f"{item['sample_id']}/submit", json=body) as answer:
                await answer.read()
            assert answer.status == 200, answer.status
            if now - began > WARM_UP_S:
                claims.append(took)
                submits.append(time.perf_counter() - sent)

    async with (
        aiohttp.ClientSession(f"{url}/api/v1/reviews/") as session,
        asyncio.TaskGroup() as tasks,
    ):
        for number in range(options.reviewers):
            tasks.create_task(work(session, number))
    return claims, submits, busy


if __name__ == "__main__":
    main()

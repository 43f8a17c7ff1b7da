"""Workers of their own: one is killed in the middle, others take over; files carry the reviews."""

from __future__ import annotations

import asyncio
import csv
import json
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest
from sqlalchemy import text
from sqlalchemy.engine import Engine

from llm_canary.storage import migrate
from llm_canary.storage.engine import make_engine
from tests.support.graded_world import RUBRIC
from tests.support.judge_server import JudgeServer
from tests.support.load import chat, drive
from tests.support.server import RunningServer
from tests.support.upstream import SimulatedUpstream

CONFIG = """
version: 1
upstreams:
  simulated: {{kind: openai, base_url: "{base_url}", price: {{input_per_million: 0.10, output_per_million: 0.40}}}}
judging: {{samples_per_day: 10000000, reviews: 1.0, window: 10m, concurrency: 2}}
routes:
  bot:
    control: {{upstream: simulated, model: good}}
    rubrics: [helpful]
    content: {{store: redacted}}
rollouts:
  next: {{route: bot, canary: {{upstream: simulated, model: good}}, plan: quick}}
plans:
  quick:
    full_cycle: 0s
    warmup: 0s
    settle: 0s
    stages:
      - {{name: initial, share: 50%, min: 10m, max: 20m}}
      - {{name: full, holdback: 1%}}
    gates:
      rubric: {{kind: goal, margin: 0.1}}
"""


def worker(server: RunningServer) -> subprocess.Popen[bytes]:
    with (server.directory / "worker.log").open("ab") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "llm_canary", "serve", "--only", "workers"],
            cwd=server.directory,
            env=server.environment,
            stdout=subprocess.DEVNULL,
            stderr=log,
        )


def killed_in_the_middle(
    server: RunningServer, judge: JudgeServer, engine: Engine
) -> dict[str, int]:
    """Kill a worker that has judged some and waits for more; return where the answers stand then."""
    judge.holds_after = 30
    unlucky = worker(server)
    wait_for(engine, lambda found: found.get("judged", 0) > 0 and judge.bodies[30:])
    unlucky.kill()
    unlucky.wait()
    judge.holds_after = None
    return states(engine)


def told_to_end(control: RunningServer, judge: JudgeServer, engine: Engine) -> tuple[int, float]:
    """Tell a worker to end while its judge does not answer; return its exit code and the seconds."""
    asked = len(judge.bodies)
    judge.holds_after = asked
    ending = worker(control)
    wait_for(engine, lambda found: found.get("leased", 0) and judge.bodies[asked:])
    began = time.monotonic()
    ending.terminate()
    code = ending.wait(30)
    took_s = time.monotonic() - began
    judge.holds_after = None
    return code, took_s


def states(engine: Engine) -> dict[str, int]:
    with engine.connect() as connection:
        rows = connection.execute(text("SELECT state, count(*) FROM sample GROUP BY state"))
        return dict(tuple(row) for row in rows)


def wait_for(engine: Engine, done, timeout_s: float = 60.0) -> dict[str, int]:
    deadline = time.monotonic() + timeout_s
    while not done(found := states(engine)):
        assert time.monotonic() < deadline, found
        time.sleep(0.1)
    return found


@pytest.mark.slow
def test_a_worker_that_is_killed_loses_nothing_and_people_grade_by_files(
    tmp_path: Path, postgresql_url: str
) -> None:
    (tmp_path / "rubrics").mkdir()
    with SimulatedUpstream() as upstream, JudgeServer() as judge:
        chat_judge = (
            f'{{backend: chat, model: openai/honest, api_base: "{judge.url}/v1", '
            'api_key: "${JUDGE_KEY}"}'
        )
        rubric = RUBRIC.replace("{backend: replay, verdicts: verdicts.jsonl}", chat_judge)
        (tmp_path / "rubrics" / "helpful.yaml").write_text(rubric)
        engine = make_engine(postgresql_url)
        migrate.upgrade(engine)
        with RunningServer(
            tmp_path,
            CONFIG.format(base_url=upstream.base_url),
            "--only",
            "control",
            database_url=postgresql_url,
            ready="/api/v1/status",
            JUDGE_KEY="none",
        ) as control:
            gateway = RunningServer(
                tmp_path,
                CONFIG.format(base_url=upstream.base_url),
                "--only",
                "gateway",
                database_url=postgresql_url,
            )
            with gateway:
                assert control.cli("rollout", "start", "next", "--reason", "t").returncode == 0
                time.sleep(1)
                bodies = [(f"user-{i}", chat("bot", f"question {i}")) for i in range(60)]
                asyncio.run(drive(gateway.url, bodies, concurrency=4))
            drawn = sum(wait_for(engine, lambda found: sum(found.values()) >= 60).values())
            left = killed_in_the_middle(control, judge, engine)
            with engine.begin() as connection:  # as if the lease's minute had passed
                connection.execute(
                    text("UPDATE sample SET ready_at = drawn_at WHERE state = 'leased'")
                )
            code, took_s = told_to_end(control, judge, engine)
            given_back = states(engine)
            others = [worker(control), worker(control)]
            try:
                ended = wait_for(engine, lambda found: found.get("judged", 0) == drawn)
            finally:
                for each in others:
                    each.terminate()
                codes = [each.wait(20) for each in others]
            with engine.connect() as connection:
                twice = connection.execute(
                    text("SELECT count(*) FROM judgement GROUP BY sample_id HAVING count(*) > 1")
                ).all()
            reviews(control)
        engine.dispose()

    assert left.get("leased", 0) > 0
    assert (code, given_back["leased"]) == (0, left["leased"])  # what it held itself it gave back
    assert took_s < 9.0  # a loop would be waited for during ten seconds
    assert "Traceback" not in (tmp_path / "worker.log").read_text()
    assert ended == {"judged": drawn}
    assert twice == []
    assert codes == [0, 0]


def reviews(server: RunningServer) -> None:
    """Export what waits, grade it in a spreadsheet's manner, bring it back."""
    folder = server.directory
    out = server.cli("review", "export", "open.jsonl", "--rubric", "helpful", "--open")
    assert out.returncode == 0, out.stderr
    rows = [json.loads(line) for line in (folder / "open.jsonl").read_text().splitlines()]
    assert rows[0].keys() == {"id", "prompt", "response"}  # nothing that tells the arm
    for row in rows[:20]:
        row["human"] = [{"rater": "mara", "labels": {"helps": "met"}}]
    (folder / "graded.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows[:20]))
    back = server.cli("review", "import", "graded.jsonl", "--rubric", "helpful", "--json")
    assert back.returncode == 0, back.stderr
    assert json.loads(back.stdout) == {
        "items": 20,
        "labels": 0,
        "reviews": 20,
        "rows_without_labels": 0,
    }

    assert (
        server.cli("review", "export", "open.csv", "--rubric", "helpful", "--open").returncode == 0
    )
    with (folder / "open.csv").open() as file:
        table = list(csv.DictReader(file))
    for row in table[1:]:  # the first stays as it was exported
        row |= {"rater": "jon", "criterion": "helps", "label": "unmet"}
    table.append({**table[1], "id": "sample:nowhere"})
    with (folder / "graded.csv").open("w") as file:
        writer = csv.DictWriter(file, table[0].keys())
        writer.writeheader()
        writer.writerows(table)
    refused = server.cli("review", "import", "graded.csv", "--rubric", "helpful")
    status = json.loads(server.cli("review", "status", "--json").stdout)
    view = httpx.get(f"{server.url}/api/v1/rollouts/next").json()

    assert refused.returncode != 0
    assert "there is no sample nowhere, so nothing was stored" in refused.stderr
    assert sum(each["done"] for each in status) <= 20
    [grading] = view["grading"]
    assert grading["reviews"] == 20
    assert grading["judge_calls"] == sum(grading["judged"])
    shown = server.cli("rollout", "status", "next").stdout
    assert "rubric helpful" in shown
    assert "20 reviews" in shown

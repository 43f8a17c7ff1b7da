"""How fast checks and judges are, and how much memory 10,000 items take.

python benchmarks/check_speed.py
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from llm_canary.judging.grader import Grader  # noqa: E402
from llm_canary.judging.models import ChatJudge  # noqa: E402
from llm_canary.judging.replay import ReplayJudge  # noqa: E402
from llm_canary.opaque import Opaque  # noqa: E402
from llm_canary.rubric.load import rubric_of  # noqa: E402
from llm_canary.rubric.sample import Sample  # noqa: E402
from llm_canary.rubric.schema import JudgeEntry  # noqa: E402
from tests.support.graded_project import GradedProject  # noqa: E402
from tests.support.judge_server import JudgeServer  # noqa: E402

LABELS = {"answers_question": "met", "correct": "met", "usefulness": 3}


def main() -> None:
    rubric = rubric_of("helpfulness", ROOT)
    samples = [Sample(str(n), "question?", "a good answer") for n in range(2000)]
    replay = ReplayJudge("replay", [{"id": each.id, "labels": LABELS} for each in samples], rubric)
    print(
        f"replay judge, in process: {asyncio.run(rate(Grader(rubric, replay), samples)):.0f} samples/s"
    )
    with JudgeServer() as server:
        entry = {"backend": "chat", "model": "openai/honest", "api_base": f"{server.url}/v1"}
        judge = ChatJudge(JudgeEntry.model_validate(entry), rubric, Opaque(b"sk-x"))

        async def loopback() -> float:
            await rate(Grader(rubric, judge), samples[:20])  # imports and connections
            return await rate(Grader(rubric, judge), samples[:600])

        print(f"chat judge, simulated server on loopback: {asyncio.run(loopback()):.0f} samples/s")
        with tempfile.TemporaryDirectory() as folder:
            cached(Path(folder), server.url)
    with tempfile.TemporaryDirectory() as folder:
        sizes(Path(folder))


async def rate(grader: Grader, samples: list[Sample]) -> float:
    began = time.perf_counter()
    count = 0
    async for result in grader.grade_all(samples):
        count += result.score.passed is True
    assert count == len(samples)
    return count / (time.perf_counter() - began)


def cached(folder: Path, url: str) -> None:
    rows = [
        {"id": f"q{n}", "prompt": f"question {n}?", "response": "a good answer"}
        for n in range(1000)
    ]
    (folder / "data.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    words = ["--dataset", "data.jsonl", "--judge", "chat:openai/honest", "--judge-url", f"{url}/v1"]
    for name in ("asked", "cached"):
        took, _ = check(folder, "helpfulness", *words)
        print(f"check of 1,000 items, {name}: {took:.2f} s")


def sizes(folder: Path) -> None:
    for items in (1_000, 10_000):
        project = GradedProject(folder, "helpfulness", items=items)
        project.build("main", 0.9, seed=1)
        project.labels(200, seed=2)
        words = [
            "--dataset",
            "data.jsonl",
            "--responses",
            "main.jsonl",
            "--judge",
            "replay:verdicts.jsonl",
        ]
        took, memory = check(folder, "helpfulness", *words, "--labels", "labels.jsonl")
        print(f"check of {items:,} items, replay: {took:.2f} s, {memory:.0f} MiB")


def check(folder: Path, rubric: str, *words: str) -> tuple[float, float]:
    command = [sys.executable, "-m", "llm_canary", "check", "--rubric", rubric, *words]
    began = time.perf_counter()
    process = subprocess.Popen(
        command,
        cwd=folder,
        env=os.environ | {"OPENAI_API_KEY": "sk-x"},
        stdout=subprocess.DEVNULL,
    )
    _, _, usage = os.wait4(process.pid, 0)
    return time.perf_counter() - began, usage.ru_maxrss / 1024


if __name__ == "__main__":
    main()

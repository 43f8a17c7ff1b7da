"""A real small model judges through the whole path and is found out; a recorded strong one is trusted."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

from llm_canary.demo.child import DemoError
from llm_canary.demo.model import LocalModel, find_model

LABELLED, CHECKED = 20, 6  # a small model takes a second or two for each
DATA = Path(__file__).resolve().parents[1] / "data" / "human-labels"
RUBRIC = """\
schema: llm_canary.rubric/v1
id: sums
version: 1
criteria:
  - id: right
    kind: binary
    requirement: "The number is the right result."
    anchors: {met: "The result is right.", unmet: "It is another number."}
judges:
  primary: {backend: chat, model: openai/smollm2, api_base: URL, api_key: "${KEY}", temperature: 0, max_tokens: 900, schema_mode: grammar}
trust: {min_labels: 18}
"""


def run(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "llm_canary", *words],
        cwd=folder,
        env=os.environ | {"KEY": "sk-local"},
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )


@pytest.mark.slow
def test_a_weak_judge_is_not_trusted_and_a_strong_one_is(tmp_path, require):
    try:
        find_model()
    except DemoError as reason:
        require(str(reason))
    draw = random.Random(1)
    labels, rows = [], []
    for n in range(LABELLED + CHECKED):
        a, b = draw.randint(2, 99), draw.randint(2, 99)
        right = n % 2 == 0
        response = str(a + b if right else a + b + draw.randint(1, 9))
        row = {"id": f"s{n}", "prompt": f"What is {a} + {b}?", "response": response}
        human = [{"rater": "arithmetic", "labels": {"right": "met" if right else "unmet"}}]
        is_labelled = n < LABELLED
        (labels if is_labelled else rows).append(row | ({"human": human} if is_labelled else {}))
    for name, listed in (("labels.jsonl", labels), ("data.jsonl", rows)):
        (tmp_path / name).write_text("".join(json.dumps(row) + "\n" for row in listed))

    with LocalModel(tmp_path, slots=2, context_tokens=2048) as model:
        (tmp_path / "sums.yaml").write_text(RUBRIC.replace("URL", model.base_url))
        weak = run(
            tmp_path,
            "judge",
            "calibrate",
            "--rubric",
            "sums.yaml",
            "--labels",
            "labels.jsonl",
            "--json",
        )
        checked = run(
            tmp_path, "check", "--rubric", "sums.yaml", "--dataset", "data.jsonl", "--labels", "labels.jsonl", "--json",
        )  # fmt: skip
    strong = run(
        tmp_path, "judge", "calibrate", "--rubric", "pairwise_preference", "--labels",
        str(DATA / "llmbar_pairwise.jsonl"), "--judge", "recorded:gpt-4/vanilla", "--json",
    )  # fmt: skip

    report = json.loads(weak.stdout)
    assert weak.returncode == 4, weak.stdout + weak.stderr
    assert report["standing"] == "untrusted"
    assert report["judged"] >= LABELLED - 1
    assert report["subjects"][0]["kappa"]["value"] < 0.4
    assert checked.returncode == 4, checked.stdout + checked.stderr
    verdict = json.loads(checked.stdout)
    assert verdict["verdict"] == "untrusted"
    assert verdict["cost"]["cached"] >= LABELLED - 1  # the calibration a moment ago paid for them
    assert verdict["cost"]["calls"] >= CHECKED
    assert strong.returncode == 0
    assert json.loads(strong.stdout)["standing"] == "trusted"

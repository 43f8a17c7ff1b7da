"""Figures of docs/judges.md: recorded judges against people, on public labels; every run is the same.

python -m tests.statistics.judge_report    # print them, and renew the page
"""

from __future__ import annotations

import asyncio
import random
import sys
from pathlib import Path

import numpy as np

from llm_canary.checks.comparison import Limits
from llm_canary.checks.outcome import CriterionOutcome, Ended, Outcome
from llm_canary.checks.verdict import CheckVerdict, decide
from llm_canary.judging.calibrate import TrustReport, calibrate
from llm_canary.judging.grader import Grader
from llm_canary.judging.labels import LabelSet, read_labels
from llm_canary.judging.replay import ReplayJudge, recorded_beside_labels
from llm_canary.rubric.load import rubric_of
from llm_canary.stats.corrected import Stratum, mean_interval, stratified_ppi

ROOT = Path(__file__).resolve().parents[2]
DATA = ROOT / "tests" / "data" / "human-labels"
PAGE = ROOT / "docs" / "judges.md"
BEGIN, END = "<!-- figures: begin (make judges) -->", "<!-- figures: end -->"
RUBRIC = rubric_of("pairwise_preference", ROOT)
MARGIN = {"A": 1.0, "B": -1.0, "tie": 0.0}
RESAMPLES = 1000
JUDGES = ("gpt-4", "chatgpt", "palm2", "llama2", "falcon")


def labels(name: str) -> LabelSet:
    return read_labels(DATA / f"{name}_pairwise.jsonl", RUBRIC)


def report_of(found: LabelSet, name: str) -> TrustReport:
    judge = ReplayJudge(name, recorded_beside_labels(found, name), RUBRIC)
    return asyncio.run(calibrate(RUBRIC, found, judge, Grader(RUBRIC, judge)))


def agreement() -> list[str]:
    found = labels("pandalm")
    rows = [
        "| judge | pairs | agreement | kappa | AC1 | between people | relative | permuted labels | standing |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for name in ("gpt-3.5-turbo", "pandalm-7b"):
        report = report_of(found, name)
        [subject] = report.subjects
        rows.append(
            f"| {name} | {subject.n} | {subject.agreement.value:.4f} | {subject.kappa.value:.4f} "
            f"[{subject.kappa.lower:.3f}, {subject.kappa.upper:.3f}] | {subject.ac1.value:.3f} | "
            f"{subject.human_kappa:.3f} | {subject.relative_kappa:.2f} | {permuted(found, name):+.3f} | "
            f"{report.standing} |"
        )
    return rows


def permuted(found: LabelSet, name: str) -> float:
    """Mean kappa when people's labels are dealt out at random."""
    rng = np.random.default_rng(1)
    kappas = []
    for _ in range(10):
        order = rng.permutation(len(found.items))
        mixed = tuple(
            item._replace(labels=found.items[k].labels)
            for item, k in zip(found.items, order, strict=True)
        )
        kappas.append(report_of(found._replace(items=mixed), name).subjects[0].kappa.value)
    return float(np.mean(kappas))


def position() -> list[str]:
    found = labels("llmbar")
    rows = [
        "| judge | pairs | same verdict in both orders | right, mean of both orders | shown first wins | kappa | standing |",
        "|---|---|---|---|---|---|---|",
    ]
    for name in JUDGES:
        report = report_of(found, f"{name}/vanilla")
        at, kappa = report.position, report.subjects[0].kappa
        rows.append(
            f"| {name} | {at.pairs} | {at.consistency:.3f} | {at.mean_accuracy:.3f} | "
            f"{at.first_shown.mean:.3f} | {kappa.value:.3f} [{kappa.lower:.3f}, {kappa.upper:.3f}] | "
            f"{report.standing} |"
        )
    return rows


def corrections() -> list[str]:
    rows = [
        "| judge | labels | corrected covers | people alone cover | judge alone covers | width, corrected | width, people alone |",
        "|---|---|---|---|---|---|---|",
    ]
    for name in ("gpt-3.5-turbo", "pandalm-7b"):
        rows += [_correction_row(name, count) for count in (50, 100, 200)]
    return rows


def covered(name: str, count: int) -> dict[str, float]:
    """Share of resamples whose interval of A's win margin holds people's, and mean widths.

    The judge is made to under-rate A by a drawn tenth of its verdicts, so that its own mean is
    wrong; each resample draws all pairs with replacement, and people grade `count` of them.
    """
    found = labels("pandalm")
    human, judge = _margins(found, name)
    rng = np.random.default_rng(7)
    biased = np.where(rng.random(len(judge)) < 0.1, -1.0, judge)
    truth = float(human.mean())
    hits = {"corrected": 0, "people": 0, "judge": 0}
    widths = {"corrected": 0.0, "people": 0.0}
    for _ in range(RESAMPLES):
        drawn = rng.integers(0, len(human), len(human))
        h, f = human[drawn], biased[drawn]
        made = stratified_ppi([Stratum(1.0, h[:count], f[:count], f[count:])])
        people, alone = mean_interval(h[:count]), mean_interval(f)
        for key, each in (("corrected", made), ("people", people), ("judge", alone)):
            hits[key] += each.lower <= truth <= each.upper
        widths["corrected"] += made.upper - made.lower
        widths["people"] += people.upper - people.lower
    return {key: value / RESAMPLES for key, value in hits.items()} | {
        f"width_{key}": value / RESAMPLES for key, value in widths.items()
    }


def _correction_row(name: str, count: int) -> str:
    found = covered(name, count)
    return (
        f"| {name} | {count} | {found['corrected']:.3f} | {found['people']:.3f} | "
        f"{found['judge']:.3f} | {found['width_corrected']:.3f} | {found['width_people']:.3f} |"
    )


def _margins(found: LabelSet, name: str) -> tuple[np.ndarray, np.ndarray]:
    human, judge = [], []
    for item in found.items:
        [verdict] = [verdict for who, _, verdict in item.recorded if who == name]
        if verdict in MARGIN:
            human.append(MARGIN[item.majority])
            judge.append(MARGIN[verdict])
    return np.array(human), np.array(judge)


def same_build(runs: int = 400) -> list[str]:
    rows = [
        "| share of items that pass only sometimes | runs | failed | held |",
        "|---|---|---|---|",
    ]
    for flaky in (0.0, 0.05, 0.2, 0.5):
        fails, holds = false_fails(flaky, runs)
        rows.append(f"| {flaky:.0%} | {runs} | {fails:.1%} | {holds:.1%} |")
    return rows


def false_fails(flaky: float, runs: int) -> tuple[float, float]:
    """Run a build against itself; return how often the check fails, and how often it holds."""
    rng = random.Random(11)
    limits = Limits(max_drop=0.03, per_criterion=True, segments=("geo",))
    ended = {CheckVerdict.FAIL: 0, CheckVerdict.HOLD: 0}
    for _ in range(runs):
        chances = [1.0 if rng.random() >= flaky else rng.random() for _ in range(300)]
        before = {each.id: each for each in _played(chances, rng)}
        found = decide(_played(chances, rng), limits, baseline=before)
        if found.verdict in ended:
            ended[found.verdict] += 1
    return ended[CheckVerdict.FAIL] / runs, ended[CheckVerdict.HOLD] / runs


def _played(chances: list[float], rng: random.Random) -> list[Outcome]:
    found = []
    for n, chance in enumerate(chances):
        passed = rng.random() < chance
        found.append(
            Outcome(
                f"q{n}",
                Ended.GRADED,
                passed,
                float(passed),
                {"right": CriterionOutcome(passed)},
                must_pass_failed=() if passed else ("right",),
                segments={"geo": ("at", "de")[n % 2]},
            )
        )
    return found


def figures() -> str:
    """Return the generated part of the page."""
    parts = [
        "### Agreement with three people (PandaLM, 514 pairs)",
        *agreement(),
        "",
        "### Both orders, against an objective answer (LLMBar, 211 pairs)",
        *position(),
        "",
        "### Win margin corrected by people's labels (1,000 resamples, intervals of 95 %)",
        *corrections(),
        "",
        "### The same build checked against itself (300 items, `--max-drop 0.03`)",
        *same_build(),
    ]
    return "\n".join(f"{line}\n" if line.startswith("###") else line for line in parts)


def renewed(page: str) -> str:
    """Return the page with the figures of now."""
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n\n{figures()}\n\n{END}{after}"


if __name__ == "__main__":
    text = renewed(PAGE.read_text())
    PAGE.write_text(text)
    sys.stdout.write(text.partition(BEGIN)[2].partition(END)[0])

"""A simulated project to check: a dataset, answers of builds, recorded verdicts, and labels of people.

What a rubric's criteria are graded is drawn; the recorded judge errs in `noise` of its grades.
"""

from __future__ import annotations

import hashlib
import json
import random
from pathlib import Path

from llm_canary.rubric.load import LoadedRubric, rubric_of
from llm_canary.rubric.schema import BinaryCriterion, ChoiceCriterion, OrdinalCriterion


class GradedProject:
    """Files in `folder` for one rubric; builds are added with `build`."""

    def __init__(self, folder: Path, rubric: str, *, items: int = 300, noise: float = 0.05) -> None:
        self.folder = folder
        self.rubric: LoadedRubric = rubric_of(rubric, folder)
        self.items = items
        self._noise = noise
        self._rows = [
            {
                "id": f"q{n}",
                "prompt": f"Question {n}?",
                "context": f"Fact {n}.",
                "reference": '{"a": 1}',
                "tags": {"language": ("en", "de")[n % 2]},
                "conversation": f"c{n // 2}",
            }
            for n in range(items)
        ]
        self._write("data.jsonl", self._rows)
        self._verdicts: list[dict] = []

    def build(
        self, name: str, quality: float, *, seed: int, like: str | None = None, broken: float = 0.0
    ) -> Path:
        """Write a build's answers, of which a share `quality` is good.

        The seed says which; of a build of the same seed a share `broken` is poor besides. `like`: the
        very same answers as that build.
        """
        draw, breaks = random.Random(seed), random.Random(seed + 1)
        rows = []
        for row in self._rows:
            good = draw.random() < quality
            good = good and breaks.random() >= broken
            text = '{"a": 1}' if good else "I promise it is fine. " * 60
            mark = like or name
            rows.append(
                {"id": row["id"], "response": text if self._is_plain else f"{mark}: {text}"}
            )
            self._verdicts.append(
                {
                    "id": row["id"],
                    "response_sha256": hashlib.sha256(rows[-1]["response"].encode()).hexdigest(),
                    "labels": self._labels(good, draw),
                }
            )
        self._write("verdicts.jsonl", self._verdicts)
        return self._write(f"{name}.jsonl", rows)

    def labels(self, count: int, *, seed: int, at: str | None = "2026-11-23") -> Path:
        """Write what two people say about answers of an earlier build, which the judge has graded."""
        draw = random.Random(seed)
        rows = []
        for n in range(count):
            good = draw.random() < 0.6
            response = f"earlier {n}: {'good' if good else 'poor'}"
            exact = self._labels(good, draw, noise=0.0)
            human = [{"rater": rater, "labels": exact} for rater in ("ann", "bob")]
            for each in human:
                if at is not None:
                    each["at"] = at
            rows.append(
                {"id": f"l{n}", "prompt": "?", "context": "c", "response": response, "human": human}
            )
            digest = hashlib.sha256(response.encode()).hexdigest()
            labels = self._labels(good, draw)
            self._verdicts.append({"id": f"l{n}", "response_sha256": digest, "labels": labels})
        self._write("verdicts.jsonl", self._verdicts)
        return self._write("labels.jsonl", rows)

    @property
    def _is_plain(self) -> bool:
        return not self.rubric.rubric.asked

    def _labels(self, good: bool, draw: random.Random, noise: float | None = None) -> dict:
        errs = draw.random() < (self._noise if noise is None else noise)
        level = good != errs
        found = {}
        for criterion in self.rubric.rubric.asked:
            match criterion:
                case BinaryCriterion():
                    met = level != (criterion.polarity == "negative")
                    found[criterion.id] = "met" if met else "unmet"
                case OrdinalCriterion():
                    found[criterion.id] = criterion.levels[-1 if level else 0].value
                case ChoiceCriterion():
                    found[criterion.id] = criterion.options[0 if level else -1].label
        return found

    def _write(self, name: str, rows: list[dict]) -> Path:
        path = self.folder / name
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        return path

"""A judge of recorded verdicts: for tests, for CI without a provider, and for comparing judges.

One JSON object a line. Pointwise: `{"id", "labels": {criterion: label}, "confidence"?: {criterion:
0-1}, "response_sha256"?, "status"?}`. Pairwise: `{"id", "order": "AB"|"BA", "verdict":
"A"|"B"|"tie"|null}`, the verdict always about A and B, never about first and second. With the id
`*` and a `response_sha256` a row is about that response, whatever it answers.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import orjson
from msgspec.structs import replace

from llm_canary.documents.problems import one_of
from llm_canary.documents.rows import RowProblems, read_rows
from llm_canary.errors import ConfigError, DataError
from llm_canary.judging.judgement import Judgement, Order, Pair, Preference, Status
from llm_canary.judging.labels import LabelSet
from llm_canary.judging.models import judge_version
from llm_canary.rubric.grades import Graded, NotGraded, Why, grade
from llm_canary.rubric.load import LoadedRubric
from llm_canary.rubric.prompt import CANNOT_ASSESS
from llm_canary.rubric.sample import Sample
from llm_canary.rubric.schema import AskedCriterion

_ANY = "*"


def response_hash(response: str) -> str:
    """Return what tells two responses to one prompt apart in a recording."""
    return hashlib.sha256(response.encode("utf-8", "surrogatepass")).hexdigest()


class ReplayJudge:
    """Answers from a recording: rows in the form that is described above."""

    def __init__(self, name: str, rows: Iterable[dict[str, Any]], rubric: LoadedRubric) -> None:
        self._rows: dict[tuple[str, str | None], dict[str, Any]] = {}
        self._pairs: dict[tuple[str, str], dict[str, Any]] = {}
        digest = hashlib.sha256()
        for row in rows:
            digest.update(orjson.dumps(row, option=orjson.OPT_SORT_KEYS))
            if row.get("order") is not None:
                self._pairs[str(row["id"]), row["order"]] = row
            else:
                self._rows[str(row["id"]), row.get("response_sha256")] = row
        recording = digest.hexdigest()
        self.version = judge_version("replay", name, {"recording": recording}, rubric)

    async def grade(self, sample: Sample, criteria: Sequence[AskedCriterion]) -> Judgement:
        """Return the recorded grades of this very response, else of the id's only recording."""
        row = self._rows.get((sample.id, response_hash(sample.response)))
        row = row or self._rows.get((sample.id, None))
        row = row or self._rows.get((_ANY, response_hash(sample.response)))
        if row is None:
            return self._failed(sample, Status.MISSING, "nothing is recorded")
        status = row.get("status", "ok")
        if status != "ok":
            known = status if status in set(Status) else Status.PROVIDER_ERROR
            return self._failed(sample, Status(known), str(row.get("detail", "as recorded")))
        try:
            grades = {each.id: _recorded(each, row) for each in criteria}
        except (DataError, KeyError) as error:
            return self._failed(sample, Status.PARSE_ERROR, f"recorded: {error}")
        suspected = row.get("injection_suspected") is True
        return Judgement(sample.id, self.version.id, Status.OK, grades, suspected)

    async def compare(self, pair: Pair, order: Order) -> Preference:
        """Return the recorded verdict for this order."""
        row = self._pairs.get((pair.sample.id, order))
        verdict = row.get("verdict") if row else None
        base = Preference(pair.sample.id, self.version.id, order, Status.OK, verdict)
        if row is None:
            return replace(base, status=Status.MISSING, detail="nothing is recorded")
        if verdict not in ("A", "B", "tie"):
            return replace(base, status=Status.PARSE_ERROR, verdict=None, detail="no verdict")
        return base

    def _failed(self, sample: Sample, status: Status, detail: str) -> Judgement:
        return Judgement(sample.id, self.version.id, status, detail=detail)


def read_recording(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the rows of a file of recorded verdicts; raise ConfigError for what is no such row."""
    problems = RowProblems(path)
    count = 0
    for line, row in read_rows(path, problems):
        count += 1
        if not isinstance(row.get("id"), str | int):
            problems.add(line, "`id` is missing")
        elif "order" in row and row["order"] not in ("AB", "BA"):
            problems.add(line, f"order is {row['order']!r}; expected AB or BA")
        elif "order" not in row and not isinstance(row.get("labels"), dict) and "status" not in row:
            problems.add(line, "expected `labels`, or `order` and `verdict`")
        else:
            yield row
    problems.raise_any()
    if not count:
        raise ConfigError(f"{path.name} holds no recorded verdict")


def recorded_beside_labels(labels: LabelSet, judge: str) -> Iterator[dict[str, Any]]:
    """Yield the verdicts of one judge that are recorded in a file of pairwise labels."""
    known: set[str] = set()
    found = False
    for item in labels.items:
        for name, order, verdict in item.recorded:
            known.add(name)
            if name == judge:
                found = True
                yield {"id": item.sample.id, "order": order, "verdict": verdict}
    if not found:
        raise ConfigError(f"no verdicts of {judge!r} are recorded; there are {one_of(known)}")


def _recorded(criterion: AskedCriterion, row: dict[str, Any]) -> Graded:
    label = row["labels"].get(criterion.id, CANNOT_ASSESS)
    if label == CANNOT_ASSESS:
        return NotGraded(Why.CANNOT_ASSESS, "as recorded")
    confidence = (row.get("confidence") or {}).get(criterion.id)
    return replace(grade(criterion, label), confidence=confidence)

"""The rows that a worker stores of a sample."""

from __future__ import annotations

from typing import Any

import msgspec

from llm_canary.judging.grader import Result
from llm_canary.judging.judgement import Spent, Status
from llm_canary.rubric.grades import Grade, Why
from llm_canary.sampling import place
from llm_canary.storage.repositories.reported import joined
from llm_canary.storage.repositories.samples import Claimed, SampleState, Saved

_UNCERTAIN_BELOW = 0.7
_UNCERTAIN_RATE = 0.25  # of the answers that the judge is in doubt about, so many go to people


def graded_row(claimed: Claimed, version: str, result: Result) -> Saved:
    """Return the judgement that the judge, and programs, came to."""
    spent = Spent()
    for each in result.judgements:
        spent += each.spent
    first, second = (*result.judgements, None, None)[:2]
    failure = result.failure
    row = {
        "judge_id": version,
        "status": (failure or Status.OK).value,
        "score": result.score.value,
        "passed": result.score.passed,
        "grades": msgspec.to_builtins(dict(result.grades)),
        "reported_model": joined(
            first.reported_model if first else None, second.reported_model if second else None
        ),
        "injection_suspected": any(each.injection_suspected for each in result.judgements),
        "calls": spent.calls,
        "tokens_in": spent.tokens_in,
        "tokens_out": spent.tokens_out,
        "cost_nanousd": spent.cost_nanousd,
        "latency_s": spent.latency_s,
        "detail": first.detail if first else "",
    }
    state = SampleState.JUDGED if failure is None else SampleState.FAILED
    wants = _is_doubted(result) if result.judgements else False
    drawn = place(claimed.id, "uncertain") < _UNCERTAIN_RATE
    return Saved(claimed, state, row, wants_review=wants and drawn)


def _is_doubted(result: Result) -> bool:
    for grade in result.grades.values():
        if isinstance(grade, Grade):
            if grade.confidence is not None and grade.confidence < _UNCERTAIN_BELOW:
                return True
        elif grade.why is not Why.NOT_APPLICABLE:
            return True
    return any(each.injection_suspected for each in result.judgements)


def failed_row(claimed: Claimed, version: str, detail: str) -> Saved:
    """Return the judgement of a sample that has none, and why."""
    row: dict[str, Any] = {
        "judge_id": version or "none",
        "status": Status.MISSING.value,
        "score": None,
        "passed": None,
        "grades": {},
        "reported_model": None,
        "injection_suspected": False,
        "calls": 0,
        "tokens_in": None,
        "tokens_out": None,
        "cost_nanousd": None,
        "latency_s": None,
        "detail": detail[:500],
    }
    return Saved(claimed, SampleState.FAILED, row)

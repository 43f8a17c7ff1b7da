"""What a judge gives back, and what every judge can do."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import Literal, NamedTuple, Protocol, TypeVar

from msgspec import Struct

from llm_canary.rubric.grades import Graded
from llm_canary.rubric.sample import Sample
from llm_canary.rubric.schema import AskedCriterion


class Status(StrEnum):
    """How the asking ended. Only `ok` has grades; the others are failures of the judge."""

    OK = "ok"
    PARSE_ERROR = "parse_error"  # the answer is not what was asked for
    REFUSED = "refused"
    TIMEOUT = "timeout"
    PROVIDER_ERROR = "provider_error"
    BUDGET = "budget"  # not asked: the cost cap is reached
    MISSING = "missing"  # a recording has nothing about this answer


class JudgeVersion(Struct, frozen=True):
    """Which judge exactly: another model, parameter, wording or rubric is another version."""

    id: str  # SHA-256 of everything below
    kind: str  # chat, decision, replay, panel, cascade (a second judge where in doubt)
    model: str
    params: dict[str, str | int | float | None]
    prompt_hash: str
    rubric_hash: str


class Spent(Struct, frozen=True):
    """What asking has cost; None where nobody said."""

    calls: int = 0
    tokens_in: int | None = None
    tokens_out: int | None = None
    cost_nanousd: int | None = None
    latency_s: float | None = None

    def __add__(self, other: Spent) -> Spent:
        """Return the sum; what only one of them knows is what is known."""
        return Spent(
            self.calls + other.calls,
            _sum(self.tokens_in, other.tokens_in),
            _sum(self.tokens_out, other.tokens_out),
            _sum(self.cost_nanousd, other.cost_nanousd),
            _sum(self.latency_s, other.latency_s),
        )


class Judgement(Struct, frozen=True):
    """The grades of one judge on one sample, or why there are none."""

    sample_id: str
    judge_id: str
    status: Status
    grades: dict[str, Graded] = {}
    injection_suspected: bool = False
    spent: Spent = Spent()
    reported_model: str | None = None  # what the provider says that it was
    detail: str = ""  # of a failure
    is_cached: bool = False


Preferred = Literal["A", "B", "tie"]
Order = Literal["AB", "BA"]


class Pair(NamedTuple):
    """Two answers to one prompt; the sample's own response is not looked at."""

    sample: Sample
    a: str
    b: str


class Preference(Struct, frozen=True):
    """The verdict about a pair shown in one order, always in terms of A and B."""

    pair_id: str
    judge_id: str
    order: Order
    status: Status
    verdict: Preferred | None = None
    spent: Spent = Spent()
    detail: str = ""


class Judge(Protocol):
    """Grades single answers and compares pairs."""

    @property
    def version(self) -> JudgeVersion:
        """Which judge this is."""
        ...

    async def grade(self, sample: Sample, criteria: Sequence[AskedCriterion]) -> Judgement:
        """Return grades for the criteria; never raises for what a provider or a model does."""
        ...

    async def compare(self, pair: Pair, order: Order) -> Preference:
        """Return which answer is better when they are shown in `order`."""
        ...


Number = TypeVar("Number", int, float)


def _sum(first: Number | None, second: Number | None) -> Number | None:
    if first is None:
        return second
    return first if second is None else first + second

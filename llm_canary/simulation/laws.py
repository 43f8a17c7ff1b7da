"""How a simulated control and canary answer: one law for each thing that metrics read."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from math import exp, isfinite, log1p, sqrt
from typing import TypeVar

import msgspec

from llm_canary.errors import DataError
from llm_canary.metrics.builtin import metric

# Metrics that read the same thing share its law: a slower canary is slower for each of them.
_READS = {
    "latency_p50": "latency",
    "latency_p95": "latency",
    "latency_p99": "latency",
    "latency_mean": "latency",
    "ttft_p50": "ttft",
    "ttft_p95": "ttft",
    "cost_per_request": "cost",
}


class Rate(msgspec.Struct, frozen=True, kw_only=True):
    """A share `bad` of the responses is bad, among the share `asked` that shows it at all."""

    bad: float
    asked: float = 1.0

    def __post_init__(self) -> None:
        if not (0.0 <= self.bad <= 1.0 and 0.0 < self.asked <= 1.0):
            raise DataError(
                f"a rate of {self.bad:g} among {self.asked:g} of the responses cannot be; "
                "both are shares between 0 and 1"
            )


class Amount(msgspec.Struct, frozen=True, kw_only=True):
    """A lognormal amount: milliseconds, nano-dollars or tokens."""

    median: float
    sigma: float

    def __post_init__(self) -> None:
        if not (isfinite(self.median) and self.median > 0.0 and 0.0 < self.sigma <= 3.0):
            raise DataError(
                f"an amount with median {self.median:g} and log deviation {self.sigma:g} cannot "
                "be; the former is positive, the latter between 0 and 3"
            )

    @property
    def mean(self) -> float:
        """The mean."""
        return self.median * exp(0.5 * self.sigma**2)


Law = Rate | Amount
Answers = Mapping[str, Law]  # what is read -> its law
T = TypeVar("T", Rate, Amount)

USUAL: dict[str, Law] = {
    "error_rate": Rate(bad=0.01),
    "timeout_rate": Rate(bad=0.002),
    "invalid_output": Rate(bad=0.02),
    "empty_rate": Rate(bad=0.005),
    "refusal_rate": Rate(bad=0.02),
    "latency": Amount(median=800.0, sigma=0.6),
    "ttft": Amount(median=250.0, sigma=0.6),
    "cost": Amount(median=2_000_000.0, sigma=0.5),
    "prompt_tokens": Amount(median=600.0, sigma=0.6),
    "output_tokens": Amount(median=150.0, sigma=0.6),
    "thumbs_up_rate": Rate(bad=0.2, asked=0.03),
    "task_completion": Rate(bad=0.4),
    "escalation": Rate(bad=0.05),
}


class World(msgspec.Struct, frozen=True, kw_only=True):
    """Control, canary and who asks them.

    With `requests_per_user` = 1 every request is a new user's; else `daily / requests_per_user`
    users, unequally active, come back every day, and `icc` is the intra-class correlation of what
    one of them gets (of the logarithm, for amounts).
    """

    control: Answers = msgspec.field(default_factory=lambda: dict(USUAL))
    canary: Answers = msgspec.field(default_factory=lambda: dict(USUAL))
    daily: float = 50_000.0
    requests_per_user: float = 1.0
    icc: float = 0.1

    def __post_init__(self) -> None:
        if not (isfinite(self.daily) and self.daily >= 1.0):
            raise DataError(f"{self.daily:g} requests a day cannot be simulated; 1 is the least")
        if not 1.0 <= self.requests_per_user <= self.daily:
            raise DataError(
                f"{self.requests_per_user:g} requests per user and day cannot be: at least 1, "
                f"and at most the {self.daily:g} of a day"
            )
        if not 0.0 < self.icc < 1.0:
            raise DataError(f"the intra-class correlation {self.icc:g} must lie between 0 and 1")

    @property
    def returning(self) -> int:
        """How many users come back; 0 when nobody does."""
        return 0 if self.requests_per_user == 1.0 else round(self.daily / self.requests_per_user)


def law_of(name: str) -> str:
    """Return the name of what the metric `name` reads."""
    return _READS.get(name, name)


def changed(answers: Answers, worse: str, change: float, *, relative: bool) -> dict[str, Law]:
    """Return `answers` with the metric `worse` by `change`: relative, or added to the bad share."""
    name = law_of(worse)
    law = answers.get(name)
    if law is None:
        raise _unknown(answers, worse)
    if isinstance(law, Rate):
        bad = law.bad * (1.0 + change) if relative else law.bad + change
        return {**answers, name: msgspec.structs.replace(law, bad=bad)}
    if not relative:
        raise DataError(f"{worse} is an amount: say how much worse in percent, such as +20%")
    return {**answers, name: msgspec.structs.replace(law, median=law.median * (1.0 + change))}


def usual(
    rates: Iterable[tuple[str, float]] = (),
    means: Iterable[tuple[str, Sequence[float]]] = (),
    observed: Iterable[tuple[str, float]] = (),
) -> dict[str, Law]:
    """Return the usual answers with what is told of them.

    Rates as they are shown (80 % thumbs up), amounts by mean and perhaps standard deviation in ms,
    tokens or dollars, and the share of the responses that show a rate at all.
    """
    laws = dict(USUAL)
    for name, share in rates:
        spec = metric(name)
        bad = 1.0 - share if spec is not None and spec.larger_is_better else share
        laws[law_of(name)] = Rate(bad=bad, asked=_known(laws, name, Rate).asked)
    for name, share in observed:
        laws[law_of(name)] = Rate(bad=_known(laws, name, Rate).bad, asked=share)
    for name, numbers in means:
        mean, sigma = numbers[0], _known(laws, name, Amount).sigma
        if not mean > 0.0:
            raise DataError(f"{name} has mean {mean:g}; an amount is positive")
        if len(numbers) > 1:
            sigma = sqrt(log1p((numbers[1] / mean) ** 2))
        unit = 1e9 if law_of(name) == "cost" else 1.0
        laws[law_of(name)] = Amount(median=unit * mean / exp(0.5 * sigma**2), sigma=sigma)
    return laws


def _known(laws: Answers, name: str, kind: type[T]) -> T:
    law = laws.get(law_of(name))
    if law is None:
        raise _unknown(laws, name)
    if not isinstance(law, kind):
        how = (
            "a rate: use --rate or --observed" if isinstance(law, Rate) else "an amount: use --mean"
        )
        raise DataError(f"{name} is {how}")
    return law


def _unknown(answers: Answers, name: str) -> DataError:
    known = ", ".join(sorted({*answers, *_READS} - set(_READS.values())))
    return DataError(f"there is no simulated {name!r}; there are {known}")

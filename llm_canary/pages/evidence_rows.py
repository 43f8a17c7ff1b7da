"""Sample sizes and tests of each metric: those valid at every look, beside them the textbook's."""

from __future__ import annotations

from dataclasses import dataclass

from llm_canary.pages.quantity import ABSENT, count_text
from llm_canary.rollout.detail import RolloutDetail

_SMALLEST_P = 0.0001


@dataclass(frozen=True)
class EvidenceRow:
    """One metric; pairs are control / canary."""

    name: str
    responses: str
    units: str
    effective: str
    harm_p: str
    fixed: tuple[str, ...]


def evidence_rows(found: RolloutDetail) -> tuple[EvidenceRow, ...]:
    """Return the rows of all metrics with any response."""
    return tuple(
        EvidenceRow(
            name=each.metric.replace("_", " "),
            responses=f"{count_text(each.n_control)} / {count_text(each.n_canary)}",
            units=f"{count_text(each.units_control)} / {count_text(each.units_canary)}",
            effective=count_text(each.effective_units),
            harm_p=p_text(found.harm_p.get(each.metric)),
            fixed=tuple(
                f"{test.name}: p {p_text(test.p_value)}"
                for test in found.tests.get(each.metric, ())
            ),
        )
        for each in found.view.comparisons
        if each.n_control or each.n_canary
    )


def p_text(p: float | None) -> str:
    """Write a p-value."""
    if p is None:
        return ABSENT
    return f"< {_SMALLEST_P}" if p < _SMALLEST_P else f"{p:.4f}" if p < 0.01 else f"{p:.2f}"

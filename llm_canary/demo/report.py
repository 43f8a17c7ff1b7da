"""From the control API's answers to what the demonstration says at its end."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from llm_canary.decision.words import value_text
from llm_canary.demo.script import Act
from llm_canary.metrics.spec import Unit

ROBOT = "robot"
_VERBS = {"promote": "promoted", "rollback": "rolled back", "hold": "held"}


@dataclass(frozen=True, slots=True)
class Decided:
    """One thing that was decided without a person."""

    at_s: float  # since the rollouts started
    rollout: str
    verdict: str
    stage: str
    to: str  # where it went: "expanded 25%", "finished"
    n_control: int
    n_canary: int
    evidence: tuple[str, ...]
    reasons: tuple[str, ...]
    decision_id: str

    @property
    def headline(self) -> str:
        """One line about it."""
        what = _VERBS.get(self.verdict, self.verdict)
        then = f" -> {self.to}" if self.verdict == "promote" else ""
        return f"{self.rollout} {what} in {self.stage}{then}: {'; '.join(self.evidence)}"


@dataclass(frozen=True, slots=True)
class Ending:
    """How one act ended, and whether it had to end so."""

    rollout: str
    title: str
    state: str
    expected: tuple[str, ...]
    ok: bool


@dataclass(frozen=True, slots=True)
class Judged:
    """What the configured judge said of the third act, which decided nothing."""

    rubric: str
    judged: tuple[int, int]  # answers of control and canary
    points: tuple[float | None, float | None]  # averages, 0 to 1
    failed: int
    waiting: int

    @property
    def headline(self) -> str:
        """One line about it."""
        arms = zip(("control", "canary"), self.points, self.judged, strict=True)
        said = ", ".join(
            f"{arm} {'-' if mean is None else f'{mean:.2f}'} of 1 ({n} answers)"
            for arm, mean, n in arms
        )
        rest = (
            f"; {self.failed} failed, {self.waiting} waited" if self.failed + self.waiting else ""
        )
        why = "untrusted before people have graded, so it decided nothing"
        return f"judge on {self.rubric}: {said}{rest}; {why}"


def judge_of(view: Mapping[str, Any], rubric: str) -> Judged | None:
    """Return what the judge has said, None where none was configured."""
    for each in view.get("grading", ()):
        if each["rubric"] == rubric:
            control, canary = each["judge_points"]
            judged = (each["judged"][0], each["judged"][1])
            failed, waiting = (sum(each[name]) for name in ("failed", "waiting"))
            return Judged(rubric, judged, (control, canary), failed, waiting)
    return None


def decided(
    change: Mapping[str, Any], decision: Mapping[str, Any], began_s: float
) -> Decided | None:
    """Return what a change of the history means, or None when a person made it."""
    if change["actor"] != ROBOT:
        return None
    result = decision.get("result") or {}
    verdict = str(decision["verdict"])
    compared = {each["metric"]: each for each in result.get("comparisons", ())}
    widest = max(compared.values(), key=lambda each: each["n_control"] + each["n_canary"])
    return Decided(
        at_s=change["at_s"] - began_s,
        rollout=change["rollout"],
        verdict=verdict,
        stage=change["from_stage"] or "",
        to=_destination(change),
        n_control=widest["n_control"],
        n_canary=widest["n_canary"],
        evidence=_evidence(verdict, result, compared),
        reasons=tuple(decision["reasons"]),
        decision_id=decision["id"],
    )


def ending(act: Act, view: Mapping[str, Any]) -> Ending:
    """Return how the act has ended."""
    state = str(view["state"])
    return Ending(act.rollout, act.title, state, tuple(sorted(act.expected)), state in act.expected)


def document(
    endings: Sequence[Ending], history: Sequence[Decided], facts: Mapping[str, Any]
) -> dict[str, Any]:
    """Return everything as one JSON object."""
    return {
        "ok": all(each.ok for each in endings),
        **facts,
        "acts": [asdict(each) for each in endings],
        "decisions": [asdict(each) for each in history],
    }


def _destination(change: Mapping[str, Any]) -> str:
    if change["to_stage"] == change["from_stage"]:
        return str(change["to_state"])
    return f"{change['to_stage']} {change['share']:.0%}"


def _evidence(
    verdict: str, result: Mapping[str, Any], compared: Mapping[str, Mapping[str, Any]]
) -> tuple[str, ...]:
    """Return the numbers that decided: of who is to blame, or of every gate that had to pass."""
    if verdict == "rollback":
        names = [each["metric"] for each in result.get("culprits", ())]
    else:
        names = [each["metric"] for each in result.get("gates", ()) if each["status"] == "pass"]
    found = [_arms(name, compared[name]) for name in dict.fromkeys(names) if name in compared]
    return tuple(found) or ("no harm in the time of the stage",)


def _arms(name: str, compared: Mapping[str, Any]) -> str:
    unit = Unit(compared["unit"])
    control, canary = (value_text(unit, compared.get(arm)) for arm in ("control", "canary"))
    return f"{name} {control} -> {canary}"

"""One rollout from its start to its end, on simulated responses and a clock of its own.

Only the traffic is simulated: sums, evidence, verdicts and transitions are those of the product. A
look follows each bucket of the plan (an hour for stages of days). Responses are evenly spread; what
a controller meets beside them (lost telemetry, a provider's silent change) does not occur, and the
wait for a client's retry is left out.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import pairwise

import msgspec
import numpy as np

from llm_canary.config.rollout_spec import RolloutSpec
from llm_canary.decision.engine import Decision, decide
from llm_canary.decision.evidence import Evidence
from llm_canary.decision.plan import Plan
from llm_canary.decision.rules import specs_of, window_s
from llm_canary.metrics.accumulate import DAY_S, look
from llm_canary.metrics.spec import MetricSpec
from llm_canary.rollout.analysis import evidence_of
from llm_canary.rollout.consequences import after_decision, left_behind
from llm_canary.rollout.scoring import settings_of
from llm_canary.rollout.transitions import started
from llm_canary.routing.table import Variant
from llm_canary.simulation.laws import World
from llm_canary.simulation.responses import Batch, Source
from llm_canary.simulation.sums import Sums
from llm_canary.storage.repositories.rollouts import RolloutRecord, State

START_S = 1_799_971_200.0  # a midnight
Watch = Callable[[Evidence, Decision], object]


class End(StrEnum):
    """How a rehearsed rollout ends."""

    PROMOTED = "promoted"
    ROLLED_BACK = "rolled_back"
    HELD = "held"  # a person must decide


class Run(msgspec.Struct, frozen=True, kw_only=True):
    """What became of one rehearsed rollout; times are seconds since its start."""

    end: End
    ended_s: float
    promoted_s: float | None  # when all traffic went to the canary
    canary_requests: int  # of the measured stages and those after
    canary_units: int
    accused: tuple[str, ...] = ()  # metrics whose harm rolled it back, the worst first
    codes: tuple[str, ...] = ()  # of what it is held for
    path: tuple[tuple[float, str], ...] = ()  # every stage entered


@dataclass(frozen=True, slots=True)
class Rehearsal:
    """A plan and a world; `run` plays one rollout.

    `to_full` ends a run when all traffic goes to the canary instead of after standby; `watch` sees
    every look.
    """

    plan: Plan
    world: World
    to_full: bool = False
    watch: Watch | None = None

    def run(self, seed: Sequence[int]) -> Run:
        """Play one rollout; the same seed gives the same one."""
        return _Play(self, np.random.default_rng(list(seed))).run()


class _Play:
    """The state of one run."""

    def __init__(self, of: Rehearsal, rng: np.random.Generator) -> None:
        self._of = of
        self._rng = rng
        self._specs = specs_of(of.plan)
        self._source = Source(of.world, self._specs.values(), rng)
        self._record = started(_draft(of.plan), START_S)
        settings = settings_of(self._record, ())
        self._every_s = settings.bucket_s
        shares = tuple(sorted({each.share for each in of.plan.stages}))
        self._sums = Sums(self._specs, settings, units=of.world.returning, shares=shares)
        self._waiting: list[tuple[float, MetricSpec, Batch]] = []
        self._path = [(0.0, self._record.stage or "")]
        self._promoted_s: float | None = None

    def run(self) -> Run:
        now_s = START_S
        while True:
            self._serve(now_s, now_s + self._every_s)
            now_s += self._every_s
            decision = self._decide(now_s)
            if (end := self._end()) is not None:
                return self._result(end, now_s - START_S, decision)

    def _serve(self, start_s: float, end_s: float) -> None:
        """Answer the requests of [start_s, end_s) and close the windows that end by then."""
        settings = self._sums.settings
        warm_s = settings.share_changes_s[-1] + settings.warmup_s
        edges = [start_s, *([warm_s] if start_s < warm_s < end_s else []), end_s]
        share, stage = self._record.share, self._record.stage or ""
        for from_s, to_s in pairwise(edges):
            n = int(self._rng.poisson(self._of.world.daily * (to_s - from_s) / DAY_S))
            if not 0.0 < share < 1.0:
                self._sums.rollup.totals.unusable += n
            elif n:
                batch = self._source.draw(n, start_s=from_s, end_s=to_s, stage=stage, share=share)
                kept = self._sums.enter(batch)
                self._waiting += [
                    (to_s + window_s(self._of.plan, spec), spec, kept)
                    for spec in self._specs.values()
                    if spec.outcome is not None
                ]
        for _, spec, batch in [each for each in self._waiting if each[0] <= end_s]:
            self._sums.mature(batch, spec)
        self._waiting = [each for each in self._waiting if each[0] > end_s]
        look(self._sums.rollup, self._specs, end_s)

    def _decide(self, now_s: float) -> Decision:
        """Decide and apply, as the controller does."""
        evidence = evidence_of(self._record, self._sums.rollup, now_s)
        decision = decide(self._of.plan, evidence, in_full=self._of.watch is not None)
        if self._of.watch is not None:
            self._of.watch(evidence, decision)
        before = left_behind(self._record, decision, evidence)
        after = after_decision(before, decision, now_s)
        self._record = before if after is None else after
        if after is None or after.stage == before.stage:
            return decision
        self._path.append((now_s - START_S, after.stage or ""))
        if after.state in (State.PROMOTED, State.STANDBY) and self._promoted_s is None:
            self._promoted_s = now_s - START_S
        if after.share != before.share:
            settings = self._sums.settings
            changes = (*settings.share_changes_s, now_s)
            self._sums.settings = msgspec.structs.replace(settings, share_changes_s=changes)
        return decision

    def _end(self) -> End | None:
        record = self._record
        if record.hold is not None:
            return End.HELD
        if record.state is State.ROLLED_BACK:
            return End.ROLLED_BACK
        is_full = self._of.to_full and self._promoted_s is not None
        return End.PROMOTED if is_full or record.state is State.FINISHED else None

    def _result(self, end: End, ended_s: float, decision: Decision) -> Run:
        totals = self._sums.rollup.totals
        return Run(
            end=end,
            ended_s=ended_s,
            promoted_s=self._promoted_s,
            canary_requests=sum(canary for _, canary in totals.stage_responses.values()),
            canary_units=totals.units[1],
            accused=tuple(dict.fromkeys(each.metric for each in decision.culprits)),
            codes=decision.codes,
            path=tuple(self._path),
        )


def _draft(plan: Plan) -> RolloutRecord:
    variant = Variant(upstream="simulated", model="simulated")
    return RolloutRecord(
        id="0" * 32,
        name="rehearsal",
        attempt=1,
        build_attempt=1,
        route="simulated",
        state=State.DRAFT,
        salt="",
        spec=RolloutSpec(name="rehearsal", route="simulated", canary=variant, plan=plan),
        created_at_s=START_S,
        control=variant,
    )

"""Takes responses from SQL into the sums of their rollouts, each exactly once.

A task is deleted in the transaction that stores the sums it went into. A response is due when an
SDK's own retry would have arrived (`settle`): a failure that was retried does not count, the retry
does, as failed if the client saw a failure in the end. An outcome is scored when its window closes,
with the arm and the share of the request.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from itertools import pairwise
from typing import Any

import msgspec
from sqlalchemy.engine import Engine

from llm_canary.clock import Clock, utc
from llm_canary.decision.rules import graded_by, measured, rules_of, specs_of, window_s
from llm_canary.metrics.accumulate import (
    DAY_S,
    MIN_BUCKET_UNITS,
    Response,
    Settings,
    enter,
    look,
    mature,
)
from llm_canary.metrics.builtin import has_failed
from llm_canary.metrics.graded import rubric_metric
from llm_canary.metrics.spec import MetricSpec, ResponseFacts
from llm_canary.metrics.state import Rollup, SampleCounts, UnitState
from llm_canary.rollout.drawing import Drawing, judged_rubrics
from llm_canary.rollout.forget import is_closed
from llm_canary.rollout.graded import RubricScores
from llm_canary.rollout.late import count_late
from llm_canary.routing.table import Role
from llm_canary.sampling import EVEN
from llm_canary.storage.engine import write_session
from llm_canary.storage.ingest import IMMEDIATE
from llm_canary.storage.repositories.judging_days import mean_nanousd
from llm_canary.storage.repositories.rollouts import (
    RolloutRecord,
    RolloutRepository,
    TransitionRecord,
)
from llm_canary.storage.repositories.samples import add_samples
from llm_canary.storage.repositories.scoring import Said, ScoringRepository, Task
from llm_canary.telemetry.events import Terminal

_CALIBRATION_PART, _MAX_CALIBRATION_S = 8.0, 3_600.0
_DRAWN_BUCKETS = 1.5  # so many times the units that a centre needs are expected in a bucket
_BUCKET_PART, _MIN_BUCKET_S, _MAX_BUCKET_S = 24.0, 10.0, 3_600.0


def score_due(engine: Engine, clock: Clock, limit: int = 1_000) -> int:
    """Score what is due, up to `limit` tasks, in one transaction; return how many it took."""
    now_s = clock.now_s()
    with write_session(engine) as session:
        repository = ScoringRepository(session)
        tasks = repository.due(now_s, limit)
        rows = repository.inferences({task.inference_id for task in tasks}) if tasks else {}
        by_rollout: dict[str, list[Task]] = defaultdict(list)
        for task in tasks:
            by_rollout[task.rollout_id].append(task)
        rollouts = RolloutRepository(session)
        sharing = sum(map(judged_rubrics, rollouts.active())) if tasks else 0
        for rollout_id, own in by_rollout.items():
            record = rollouts.by_id(rollout_id)
            is_open = record is not None and not is_closed(record, now_s)
            if record is not None and record.started_at_s is not None and is_open:
                settings = settings_of(record, rollouts.transitions(rollout_id))
                _Batch(repository, record, settings, now_s, sharing).run(own, rows)
            else:
                repository.finish(own)  # of a rollout that is not here, or over for long
    return len(tasks)


def settings_of(record: RolloutRecord, transitions: Iterable[TransitionRecord]) -> Settings:
    """Return how the rollout's responses are scored: fixed by its plan and its ramps."""
    plan = record.spec.plan
    stages = measured(plan)
    shortest = min((stage.min_s for stage in stages), default=0.0)
    bucket_s = min(max(shortest / _BUCKET_PART, _MIN_BUCKET_S), _MAX_BUCKET_S)
    first_s = stages[0].min_s if stages else 0.0
    applied = sorted(transitions, key=lambda each: each.seq)
    changes = [b.at_s for a, b in pairwise(applied) if a.share != b.share]
    started_at_s = record.started_at_s or 0.0
    return Settings(
        rules=rules_of(plan, attempt=record.build_attempt),
        max_per_unit_day=plan.max_per_unit_day,
        warmup_s=plan.warmup_s,
        calibrate_s=min(first_s / _CALIBRATION_PART, _MAX_CALIBRATION_S),
        bucket_s=bucket_s,
        started_at_s=started_at_s,
        share_changes_s=tuple(sorted({started_at_s, *changes})),
    )


def settings_of_drawn(settings: Settings, samples_per_day: float) -> Settings:
    """Return the settings for answers of which so few are drawn that a bucket has to be longer.

    A shorter one never has the units that a centre is taken from, and the prior would stay.
    """
    bucket_s = _DRAWN_BUCKETS * MIN_BUCKET_UNITS / samples_per_day * DAY_S
    return msgspec.structs.replace(settings, bucket_s=max(settings.bucket_s, bucket_s))


def facts_of(row: Any, outcomes: dict[str, float]) -> ResponseFacts:  # noqa: ANN401 - a SQL row
    """Return what metrics may know of a stored response.

    Where the other arm answered in the end, the assigned one failed: its failure is what counts.
    """
    was_replaced = None not in (row.assigned, row.served) and row.served != row.assigned
    return ResponseFacts(
        terminal=Terminal.UPSTREAM_ERROR.value if was_replaced else row.terminal,
        share=row.share or 0.0,
        stream=row.stream,
        latency_ms=row.latency_ms,
        ttft_ms=row.ttft_ms,
        prompt_tokens=row.prompt_tokens,
        completion_tokens=row.completion_tokens,
        cost_nanousd=row.cost_nanousd,
        uncached_cost_nanousd=row.uncached_cost_nanousd,
        schema_expected=row.schema_expected,
        output_valid=row.output_valid,
        empty=row.empty,
        refusal=row.refusal,
        outcomes=outcomes,
    )


class _Batch:
    """The due tasks of one rollout."""

    def __init__(
        self,
        repository: ScoringRepository,
        record: RolloutRecord,
        settings: Settings,
        now_s: float,
        sharing: int,
    ) -> None:
        self._sharing = sharing
        self._repository = repository
        self._record = record
        self._settings = settings
        self._now_s = now_s
        self._specs: dict[str, MetricSpec] = specs_of(record.spec.plan)
        self._followers: list[Task] = []
        self._done: list[Task] = []
        self._postponed: set[Task] = set()
        graded = graded_by(record.spec.plan)
        self._rubrics = {rubric_metric(name): name for name in graded}
        self._grading = graded
        self._drawn = {
            rubric_metric(name): settings_of_drawn(settings, terms.samples_per_day)
            for name, terms in graded.items()
        }

    def run(self, tasks: list[Task], rows: dict[str, Any]) -> None:
        """Score the tasks and store the result."""
        rollup = self._repository.rollup(self._record.id)
        hashes = {row.unit_hash for row in rows.values() if row.unit_hash is not None}
        units = self._repository.units(self._record.id, hashes)
        outcomes = self._outcomes(tasks, rows)
        session = self._repository.session
        drawing = Drawing(
            self._record,
            rollup,
            judgement_nanousd=mean_nanousd(session),
            sharing=self._sharing,
        )
        outcomes |= self._grades(tasks, rows, rollup)
        for task in tasks:
            if task in self._postponed:
                continue
            row = rows.get(task.inference_id)
            if row is None or row.unit_hash is None or row.assigned is None or row.share is None:
                rollup.totals.unusable += row is not None
                self._done.append(task)
                continue
            unit = units.setdefault(row.unit_hash, UnitState())
            if task.what == IMMEDIATE:
                self._immediate(task, row, rollup, unit, drawing)
            else:
                known = outcomes.get((task.inference_id, task.what), {})
                self._mature(task, row, rollup, unit, known)
                drawing.seek(row, task, known.get(task.what))
        count_late(self._repository, rollup.totals, self._record, self._now_s)
        look(rollup, self._specs, self._now_s)
        self._repository.save(self._record.id, rollup, units)
        self._repository.add([*self._followers, *drawing.tasks])
        add_samples(session, drawing.samples, utc(self._now_s), room=drawing.room)
        self._repository.finish(self._done)

    def _immediate(
        self,
        task: Task,
        row: Any,  # noqa: ANN401 - a SQL row
        rollup: Rollup,
        unit: UnitState,
        drawing: Drawing,
    ) -> None:
        response = _response(row, {})
        if has_failed(response.facts) and row.body_hash is not None:
            until_s = row.at.timestamp() + row.latency_ms / 1_000.0 + row.settle_s
            if self._repository.was_retried(row, until_s):
                rollup.totals.superseded[response.canary] += 1
                self._done.append(task)
                return
        self._done.append(task)
        if enter(rollup, unit, response, self._specs, self._settings):
            chances = tuple(drawing.note(row, response.facts).items())
            self._followers += [
                msgspec.structs.replace(each, rates=chances)
                if drawing.may_seek(each.what)
                else each
                for each in self._later(row)
            ]

    def _later(self, row: Any) -> list[Task]:  # noqa: ANN401
        due_s: dict[str, float] = {}
        for spec in self._specs.values():
            if spec.outcome in self._rubrics:
                continue  # only what is drawn is graded
            if spec.outcome is not None and spec.outcome not in due_s:
                closes_s = row.at.timestamp() + window_s(self._record.spec.plan, spec)
                due_s[spec.outcome] = closes_s
        return [Task(row.id, what, self._record.id, due) for what, due in due_s.items()]

    def _mature(
        self,
        task: Task,
        row: Any,  # noqa: ANN401
        rollup: Rollup,
        unit: UnitState,
        known: dict[str, float],
    ) -> None:
        response = _response(row, known)
        settings = self._drawn.get(task.what, self._settings)
        if task.what in self._rubrics:
            # Drawn so that each arm gives as many: whose it is, is a fair coin.
            response = msgspec.structs.replace(response, share=EVEN)
        for spec in self._specs.values():
            if spec.outcome == task.what:
                mature(rollup, unit, response, spec, settings)
        self._done.append(task)

    def _grades(
        self, tasks: list[Task], rows: dict[str, Any], rollup: Rollup
    ) -> dict[tuple[str, str], dict[str, float]]:
        """Return, per drawn answer whose window has closed, its one number; put off the others."""
        due: dict[str, list[Task]] = defaultdict(list)
        for task in tasks:
            if task.what in self._rubrics and task.inference_id in rows:
                due[task.what].append(task)
        result: dict[tuple[str, str], dict[str, float]] = {}
        session, later = self._repository.session, []
        for what, own in due.items():
            name = self._rubrics[what]
            counts = rollup.totals.sampling.setdefault(name, SampleCounts())
            rubric = RubricScores(
                session, self._record.id, name, self._grading[name], counts.replies
            )
            scores = rubric.of(own, self._now_s)
            result |= {(name, what): found for name, found in scores.outcomes.items()}
            self._postponed |= scores.postponed
            later += [
                msgspec.structs.replace(each, due_s=scores.again_s) for each in scores.postponed
            ]
        self._repository.put_off(later)
        return result

    def _outcomes(
        self, tasks: list[Task], rows: dict[str, Any]
    ) -> dict[tuple[str, str], dict[str, float]]:
        """Return, per task, the outcomes received before its window closed; the last one wins."""
        immediate = {IMMEDIATE, *self._rubrics}
        due = [task for task in tasks if task.what not in immediate and task.inference_id in rows]
        metrics = {task.what for task in due}
        found: dict[tuple[str, str], list[Said]] = defaultdict(list)
        for kind, field in (
            ("request", "id"),
            ("response", "response_id"),
            ("session", "session_hash"),
        ):
            targets = {getattr(rows[task.inference_id], field) for task in due} - {None}
            for said in self._repository.outcomes(kind, targets, metrics):
                found[kind, said.target].append(said)
        result: dict[tuple[str, str], dict[str, float]] = {}
        for task in due:
            row = rows[task.inference_id]
            about = [
                *found[("request", row.id)],
                *found[("response", row.response_id)],
                *found[("session", row.session_hash)],
            ]
            own = [
                each
                for each in about
                if each.metric == task.what
                and each.received_s <= task.due_s
                and each.counts_for(row.key_name)
            ]
            if own:
                last = max(own, key=lambda each: (each.occurred_s, each.id))
                if last.value is not None:
                    result[task.inference_id, task.what] = {task.what: last.value}
        return result


def _response(row: Any, outcomes: dict[str, float]) -> Response:  # noqa: ANN401
    return Response(
        at_s=row.at.timestamp(),
        canary=row.assigned == Role.CANARY,
        share=row.share,
        stage=row.stage or "",
        facts=facts_of(row, outcomes),
        segments=row.segments or {},
        reported_model=row.reported_model if row.served == row.assigned else None,
    )

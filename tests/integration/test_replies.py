"""People correct the judge period by period: what nobody corrected has no number, and no answer predicts itself."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import insert
from sqlalchemy.engine import Engine

from llm_canary.clock import utc
from llm_canary.decision.plan import Grading
from llm_canary.ids import uuid7
from llm_canary.rollout.graded import RubricScores, Scores
from llm_canary.sampling import Replies
from llm_canary.storage.engine import read_session, write_session
from llm_canary.storage.models.grading import Sample
from llm_canary.storage.repositories.sample_facts import label_moments, replies_between
from llm_canary.storage.repositories.scoring import Task

T0_S = 1_800_000_000.0
TERMS = Grading(rubric_text_id="t", needs_judge=True, judge="j", review_rate=0.5, window_s=400.0)


def drawn(number: int, closes_s: float, *, human: float | None = None, **more: Any) -> dict:
    """An answer that people were asked about; with `human`, they graded it in time."""
    closes_at = utc(T0_S + closes_s)
    facts = {
        "id": uuid7(),
        "inference_id": f"i{number}",
        "rubric_id": "helpful",
        "rubric_text_id": "t",
        "rollout_id": "r",
        "arm": ("control", "canary")[number % 2],
        "stratum": "all",
        "stream": "probability",
        "rate": 1.0,
        "inclusion": 1.0,
        "drawn_at": closes_at - timedelta(seconds=400),
        "closes_at": closes_at,
        "state": "judged",
        "attempts": 1,
        "ready_at": closes_at,
        "judge_id": "j",
        "judge_score": 1.0,
        "review_stream": "probability",
        "review_rate": 0.5,
        "reviews_wanted": 1,
        "review_state": "open" if human is None else "done",
        "human_score": human,
        "reviewed_at": None if human is None else closes_at - timedelta(seconds=1),
    }
    return facts | more


def store(engine: Engine, rows: Sequence[dict]) -> None:
    with write_session(engine) as session:
        session.execute(insert(Sample), rows)


def scores_of(engine: Engine, rows: Sequence[dict], now_s: float) -> tuple[Scores, list[Replies]]:
    replies: list[Replies] = []
    tasks = [Task(row["inference_id"], "rubric:helpful", "r", T0_S) for row in rows]
    with read_session(engine) as session:
        found = RubricScores(session, "r", "helpful", TERMS, replies)
        return found.of(tasks, T0_S + now_s), replies


def test_a_period_that_hardly_anybody_answered_has_no_numbers(engine: Engine) -> None:
    """People grade most of the first period and four of sixty in the second."""
    early = [drawn(k, k, human=0.0 if k % 4 < 2 else None) for k in range(99)]
    early += [drawn(200 + k, k, human=0.0) for k in range(40)]
    late = [drawn(300 + k, 100 + k, human=0.0 if k < 4 else None) for k in range(60)]
    open_ = [drawn(400 + k, 210 + k, human=0.0) for k in range(40)]
    rows = [*early, *late, *open_]
    store(engine, rows)

    scores, replies = scores_of(engine, rows, 260.0)

    asked, answered = (
        tuple(sum(row["arm"] == arm for row in rows) for arm in ("control", "canary"))
        for rows in (early, [row for row in early if row["human_score"] is not None])
    )
    assert [each[2:] for each in replies] == [(asked, answered), ((30, 30), (2, 2))]
    assert all(scores.outcomes[row["inference_id"]] for row in early)
    assert not any(scores.outcomes[row["inference_id"]] for row in late)
    assert {each.inference_id for each in scores.postponed} == {r["inference_id"] for r in open_}
    assert scores.again_s == T0_S + 300.0


def test_the_answers_of_a_period_are_corrected_by_its_own_reply_rate(engine: Engine) -> None:
    """The judge takes wrong answers for right; half reply in the first period, all in the second."""
    first = [drawn(k, k, human=0.0 if k < 60 and k % 4 < 2 else None) for k in range(60)]
    first += [drawn(100 + k, k, human=0.0) for k in range(40)]
    second = [drawn(200 + k, 100 + k, human=0.0) for k in range(60)]
    store(engine, [*first, *second])

    scores, _ = scores_of(engine, [*first, *second], 200.0)

    for own, rate in ((first, 0.7), (second, 1.0)):
        labelled = [row for row in own if row["human_score"] is not None]
        points = [scores.outcomes[row["inference_id"]]["rubric:helpful"] for row in labelled]
        known = 0.75 if own is first else 0.0  # the second is predicted from the first
        assert {round(value, 9) for value in points} == {round(known - known / (0.5 * rate), 9)}


def test_the_answers_of_an_arm_are_corrected_by_its_own_reply_rate(engine: Engine) -> None:
    """Of the control's all are graded, of the canary's a third: theirs count three times as much."""
    rows = [drawn(k, k, human=0.0 if k % 2 == 0 or k % 6 == 1 else None) for k in range(180)]
    store(engine, rows)

    scores, _ = scores_of(engine, rows, 200.0)

    labelled = {arm: set[float]() for arm in ("control", "canary")}
    for row in rows:
        if row["closes_at"] < utc(T0_S + 100.0) and row["human_score"] is not None:
            labelled[row["arm"]].add(scores.outcomes[row["inference_id"]]["rubric:helpful"])
    [control], [canary] = labelled.values()
    assert control == pytest.approx(0.75 - 0.75 / 0.5)
    assert canary == pytest.approx(0.75 - 0.75 / (0.5 * 17 / 50))


def test_a_period_that_too_few_have_graded_for_one_to_speak_for_the_others_has_no_numbers(
    engine: Engine,
) -> None:
    """One in a hundred is asked, and two fifths of those reply."""
    rows = [drawn(k, k, human=0.0 if k % 5 < 2 else None, review_rate=0.01) for k in range(180)]
    rows += [
        drawn(200 + k, 100 + k, human=0.0 if k % 5 < 3 else None, review_rate=0.01)
        for k in range(100)
    ]
    store(engine, rows)

    scores, replies = scores_of(engine, rows, 200.0)

    first, second = replies
    assert first.rates[1] == pytest.approx(0.4)
    assert second.rates[1] == pytest.approx(0.5, abs=0.02)
    late = {row["inference_id"] for row in rows if row["closes_at"] >= utc(T0_S + 100.0)}
    assert {name for name, found in scores.outcomes.items() if found} == late


def test_where_the_chance_is_too_small_in_one_arm_neither_has_numbers(engine: Engine) -> None:
    """One in a hundred is asked; of the control's all reply, of the canary's two fifths."""
    rows = [
        drawn(k, k, human=0.0 if k % 2 == 0 or k % 5 < 2 else None, review_rate=0.01)
        for k in range(180)
    ]
    store(engine, rows)

    scores, [period, *_] = scores_of(engine, rows, 200.0)

    assert period.rates == (1.0, pytest.approx(0.4))
    assert period.fewest == (period.asked[1], period.answered[1])
    assert not any(scores.outcomes.values())


def test_thirty_of_each_arm_are_needed_before_anything_is_scored(engine: Engine) -> None:
    rows = [drawn(2 * k, k, human=1.0) for k in range(60)]
    rows += [drawn(2 * k + 1, k, human=1.0) for k in range(29)]
    store(engine, rows)
    scores, _ = scores_of(engine, rows, 200.0)

    assert len(scores.postponed) == len(rows)

    more = drawn(201, 50.0, human=1.0)
    store(engine, [more])
    scores, _ = scores_of(engine, [*rows, more], 200.0)

    assert not scores.postponed


def test_an_answer_has_no_part_in_its_own_prediction(engine: Engine) -> None:
    """Its review came before the period began, its window closed in it."""
    store(
        engine,
        [
            drawn(1, 50.0, human=0.0),
            drawn(2, 150.0, human=1.0, reviewed_at=utc(T0_S + 20.0)),
        ],
    )
    with read_session(engine) as session:
        before = label_moments(session, "j", utc(T0_S + 100.0))

    assert (before.n, before.y) == (1, 0.0)


def test_who_was_not_asked_by_chance_or_cannot_be_is_in_no_period(engine: Engine) -> None:
    store(
        engine,
        [
            drawn(1, 10.0),
            drawn(2, 20.0, human=1.0),
            drawn(3, 30.0, human=1.0, reviewed_at=utc(T0_S + 31.0)),
            drawn(4, 40.0, human=1.0, review_stream="uncertain"),
            drawn(5, 50.0, review_state=None),
            drawn(6, 60.0, human=1.0, rollout_id="other"),
            drawn(7, 100.0, human=1.0),
        ],
    )
    with read_session(engine) as session:
        found = replies_between(session, "r", "helpful", utc(T0_S), utc(T0_S + 100.0))

    assert [(at.timestamp() - T0_S, *more) for at, *more in found] == [
        (10.0, True, False),
        (20.0, False, True),
        (30.0, True, False),
    ]

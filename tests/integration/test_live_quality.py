"""Rollouts on SQL, decided on what a recorded judge and simulated people say of the answers."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from sqlalchemy import text

from llm_canary.clock import utc
from llm_canary.config.load import load
from llm_canary.decision.evidence import GradingEvidence
from llm_canary.judging.drift import Anchors, compare
from llm_canary.rollout.analysis import gather
from llm_canary.rollout.transitions import promoted
from llm_canary.routing.table import Role
from llm_canary.rubric.keep import keep
from llm_canary.storage.engine import read_session, write_session
from llm_canary.storage.repositories.erasing import ErasingRepository
from llm_canary.storage.repositories.grading import add_drift, calibrations
from llm_canary.storage.repositories.judging_days import day_of, settle
from llm_canary.storage.repositories.reviewed import Reviewed, compared, reviewed
from llm_canary.storage.repositories.sample_facts import standing_of
from tests.support.graded_world import (
    CONFIG,
    RUBRIC,
    Answer,
    GradedWorld,
    accounted_for,
    write_verdicts,
)

OVER = {"standby", "finished", "rolled_back", "held"}


def answers(arm: str, *, right: float, misjudged: float = 0.0, wrongly_met: float = 0.0):
    """What one arm says: `right` of it is right; the judge fails to see so much of either kind."""
    return [
        Answer(f"{arm}: it is in Graz.", True, True, right * (1 - misjudged)),
        Answer(f"{arm}: in Graz.", True, False, right * misjudged),
        Answer(f"{arm}: no idea.", False, False, (1 - right) * (1 - wrongly_met)),
        Answer(f"{arm}: surely somewhere.", False, True, (1 - right) * wrongly_met),
    ]


def world(
    tmp_path: Path, control: list[Answer], canary: list[Answer], *, config: str = CONFIG, **more
) -> GradedWorld:
    made = GradedWorld(
        tmp_path,
        config,
        answers={Role.CONTROL: control, Role.CANARY: canary},
        units=100_000,
        **more,
    )
    made.start()
    return made


def is_over(made: GradedWorld):
    return lambda: made.view.state in OVER


def test_a_canary_that_the_judge_favours_is_promoted_by_it_and_not_by_us(tmp_path: Path) -> None:
    """The judge under-rates the control: it takes a terse right answer for a wrong one."""
    ends = {}
    for judge_only in (True, False):
        folder = tmp_path / str(judge_only)
        folder.mkdir()
        with world(
            folder,
            answers("control", right=0.85, misjudged=0.3),
            answers("canary", right=0.65),
            judge_only=judge_only,
        ) as made:
            made.live(1_500, 30, until=is_over(made))
            ends[judge_only] = (made.view.state, made.view.stage)

    assert ends[True][0] == "standby"
    assert ends[False][0] in {"rolled_back", "held"}


def test_equal_arms_under_a_trusted_judge_are_promoted(tmp_path: Path) -> None:
    with world(
        tmp_path,
        answers("control", right=0.8, misjudged=0.06),
        answers("canary", right=0.8, misjudged=0.06),
    ) as made:
        made.live(1_500, 40, until=is_over(made))

        assert made.view.state == "standby"
        shown = {each.metric: each for each in made.view.comparisons}
        combined = shown["rubric:helpful"]
        assert combined.control == pytest.approx(0.8, abs=0.06)  # people's, not the judge's
        assert shown["rubric:helpful:judge"].control == pytest.approx(0.752, abs=0.05)
        assert combined.n_canary == pytest.approx(combined.n_control, rel=0.2)


def test_a_canary_that_is_worse_by_the_margin_is_not_promoted(tmp_path: Path) -> None:
    with world(
        tmp_path,
        answers("control", right=0.8, misjudged=0.06),
        answers("canary", right=0.7, misjudged=0.06),
    ) as made:
        made.live(1_500, 40, until=is_over(made))

        assert made.view.state in {"rolled_back", "held"}


def test_where_a_second_judge_is_asked_both_are_trusted_or_neither(tmp_path: Path) -> None:
    silent = Answer("It is in Graz, I think.", True, None, 0.2)  # the first judge fails on it
    own = [Answer("It is in Graz.", True, True, 0.5), Answer("No idea.", False, False, 0.3), silent]
    (tmp_path / "rubrics").mkdir()
    write_verdicts(
        tmp_path / "rubrics" / "second.jsonl", {Role.CONTROL: [silent._replace(judged=True)]}
    )
    second = "{backend: replay, verdicts: second.jsonl, when: {max_share: 0.1}}"
    more = f"verdicts.jsonl}}\n  escalate: {second}"
    with world(tmp_path, own, own, rubric=RUBRIC.replace("verdicts.jsonl}", more)) as made:
        made.live(20, 90)
        with read_session(made.engine) as session:
            found = session.execute(
                text("SELECT judge_id, status, count(*) FROM judgement GROUP BY 1, 2")
            ).all()
            [judge] = {each.judge_id for each in found}
            kinds = {each["report"]["judge"]["kind"] for each in calibrations(session, "helpful")}
            standing = standing_of(session, judge)

    # Half of what the first fails on is the second's.
    assert {each.status for each in found} == {"ok", "parse_error"}
    assert kinds == {"cascade"}
    assert standing.standing == "trusted"


def test_once_people_stop_the_judge_does_not_speak_alone(tmp_path: Path) -> None:
    """The judge over-rates a worse canary; people correct it for fifty seconds and no longer."""
    with world(
        tmp_path,
        answers("control", right=0.8, misjudged=0.06),
        answers("canary", right=0.68, wrongly_met=0.35),
    ) as made:
        made.live(50, 30, until=is_over(made))
        made.live(1_500, 30, until=is_over(made), people=False)
        shown = {each.metric: each for each in made.view.comparisons}

        assert made.view.state == "held"
        assert any("answers that they were asked about last" in r for r in made.view.reasons)
        # Nothing that nobody corrected was scored: the judge saw many more answers.
        assert shown["rubric:helpful"].n_canary < 0.3 * sum(made.view.grading[0].judged)


def test_without_people_nothing_is_promoted_and_the_reason_says_so(tmp_path: Path) -> None:
    with world(tmp_path, answers("control", right=0.8), answers("canary", right=0.8)) as made:
        made.live(700, 10, until=is_over(made), people=False)
        [decision, *_] = made.service.decisions("next")

        assert (made.view.state, made.view.stage) == ("held", "initial")
        assert any("0 of 100 human labels" in reason for reason in decision.reasons)


def test_trust_outlives_the_texts_of_the_answers_that_it_rests_on(tmp_path: Path) -> None:
    with world(
        tmp_path,
        answers("control", right=0.8, misjudged=0.06),
        answers("canary", right=0.8, misjudged=0.06),
    ) as made:
        made.live(60, 30)
        with write_session(made.engine) as session:
            ids = list(session.execute(text("SELECT id FROM inference")).scalars())
            judge = session.execute(text("SELECT judge_id FROM judgement LIMIT 1")).scalar_one()
            before = standing_of(session, judge)
            ErasingRepository(session).clear_texts(ids)
        made.clock.advance(3_700.0)  # within the hour a few more labels are not worth a comparison
        made.live(10, 20)
        with read_session(made.engine) as session:
            after = standing_of(session, judge)

        assert before.standing == after.standing == "trusted"
        assert after.at > before.at
        assert after.labels > before.labels > 100


def test_the_labels_of_a_judge_count_whatever_else_its_rubric_says(tmp_path: Path) -> None:
    """A rollout that asks for more labels has another text, and the same judge."""
    with world(tmp_path, answers("control", right=0.8), answers("canary", right=0.8)) as made:
        made.live(20, 30)
        with write_session(made.engine) as session:
            changed = "UPDATE sample SET rubric_text_id = 'older' WHERE id IN (%s)"
            some = "SELECT id FROM sample WHERE human_score IS NOT NULL ORDER BY id LIMIT 20"
            session.execute(text(changed % some))
        with read_session(made.engine) as session:
            [found] = compared(session, "reviews")
            text_id = session.execute(text("SELECT max(id) FROM rubric_text")).scalar_one()

        assert found.rubric_text_id == text_id
        assert found.labelled == len(given(made, found.judge_id)) > 20


def test_what_has_happened_stays_accepted_and_how_things_stand_is_asked_again(
    tmp_path: Path,
) -> None:
    with world(tmp_path, answers("control", right=0.8), answers("canary", right=0.8)) as made:
        record = made.service.get("next")
        changed, stands = "judge_model:j-1+j-2:rubric:helpful", "judge_untrusted:rubric:helpful"
        progress = msgspec.structs.replace(record.progress, accepted=(stands, changed))
        before = msgspec.structs.replace(record, progress=progress)

        assert promoted(before, made.clock.now_s()).progress.accepted == (changed,)


def test_a_second_look_that_finds_another_model_is_told_from_the_first(tmp_path: Path) -> None:
    with world(tmp_path, answers("control", right=0.8), answers("canary", right=0.8)) as made:
        made.live(10, 30)
        for model in ("j-2", "j-3"):
            first, now = anchors("j-1"), anchors(model)
            look = msgspec.to_builtins(compare(first, now, right=first.verdicts))
            with write_session(made.engine) as session:
                judge = session.execute(text("SELECT judge_id FROM judgement LIMIT 1")).scalar_one()
                add_drift(
                    session, utc(made.clock.now_s()), rubric_id="helpful", rubric_hash="h",
                    judge_id=judge, drift=look["drift"], report=look,
                )  # fmt: skip
            found = grading_of(made)

            assert (found.drift, found.drift_models) == ("system_change", (model,))
            assert found.moved == (0, 100)


def test_another_model_of_the_second_judge_in_the_middle_of_the_rollout_holds(
    tmp_path: Path,
) -> None:
    """It is asked about a few, and rows from before it was kept name the first judge alone."""
    with world(tmp_path, answers("control", right=0.8), answers("canary", right=0.8)) as made:
        made.live(20, 30)
        for models, known in (
            (["j-1", "j-1\nbig-01"], ("big-01",)),
            (["j-1\nbig-11"], ("big-01", "big-11")),
        ):
            for name in models:
                with write_session(made.engine) as session:
                    some = "SELECT id FROM sample WHERE judge_id IS NOT NULL AND reported_model"
                    told = {"name": name}
                    session.execute(
                        text(
                            "UPDATE sample SET reported_model = :name WHERE id IN "
                            f"({some} IS NULL ORDER BY id LIMIT 5)"
                        ),
                        told,
                    )
            found = grading_of(made)
            assert (found.models, found.second_models) == (("j-1",), known)
        made.live(10, 30, people=False)

        assert made.view.state == "held"
        assert any("second judge reports another model" in each for each in made.view.reasons)


def anchors(model: str) -> Anchors:
    return Anchors("l", "j", (model,), {str(k): "True" for k in range(100)})


def grading_of(made: GradedWorld) -> GradingEvidence:
    with read_session(made.engine) as session:
        evidence = gather(session, made.service.get("next"), made.clock.now_s())
    [found] = [each.grading for each in evidence.metrics if each.metric == "rubric:helpful"]
    assert found is not None
    return found


def given(made: GradedWorld, judge_id: str) -> list[Reviewed]:
    with read_session(made.engine) as session:
        return reviewed(session, judge_id)


def test_a_route_that_keeps_no_text_samples_nothing_and_the_gate_says_so(tmp_path: Path) -> None:
    with world(
        tmp_path, answers("control", right=0.8), answers("canary", right=0.8), keeps_text=False
    ) as made:
        made.live(700, 20, until=is_over(made))
        [grading] = made.view.grading

        assert made.view.state == "held"
        assert any("none keeps its text" in reason for reason in made.view.reasons)
        assert sum(grading.without_text) == sum(grading.eligible) > 1_000
        assert sum(grading.judged) == 0


def test_what_is_eligible_is_judged_or_said_where_else_it_is(tmp_path: Path) -> None:
    """A tenth of the answers is wanted; both arms get as many, whatever their share."""
    config = CONFIG.replace("samples_per_day: 10000000", "samples_per_day: 86400")
    odd = [*answers("canary", right=0.8), Answer("canary: ???", False, None, 0.05)]
    with world(tmp_path, answers("control", right=0.8), odd, config=config) as made:
        made.live(300, 60, people=False)
        made.step(600, 10.0)
        [found] = made.view.grading

        for arm in (0, 1):
            assert found.eligible[arm] == accounted_for(found, arm)
        drawn = [found.waiting[arm] + found.judged[arm] + found.failed[arm] for arm in (0, 1)]
        assert found.eligible[0] > 3 * found.eligible[1]
        assert drawn[0] == pytest.approx(drawn[1], rel=0.25)
        assert 240 <= drawn[1] <= 600  # one of each arm a second, more in the first minute
        assert found.failed[1] > 0 == found.failed[0]


def test_failures_of_the_judge_on_one_arm_hold(tmp_path: Path) -> None:
    """Answers that the judge chokes on are no grades; where an arm has more of them, it selects."""
    odd = [*answers("canary", right=0.9), Answer("canary: ???", False, None, 0.3)]
    with world(tmp_path, answers("control", right=0.8), odd) as made:
        made.live(700, 40, until=is_over(made))

        assert made.view.state == "held"
        assert any("the judge failed" in reason for reason in made.view.reasons)


def test_a_rubric_that_is_edited_meanwhile_is_for_the_next_rollout(tmp_path: Path) -> None:
    """Samples are graded by the text that the rollout started with."""
    with world(tmp_path, answers("control", right=0.8), answers("canary", right=0.8)) as made:
        made.live(30, 20)
        path = tmp_path / "rubrics" / "helpful.yaml"
        before = load(tmp_path / "canary.yaml")
        path.write_text(
            RUBRIC.replace("version: 1\ncriteria", "version: 2\ncriteria").replace(
                "where the parcel is", "when the parcel comes"
            )
        )
        made.config = load(tmp_path / "canary.yaml")
        made.service.check_config(made.config)
        made.live(60, 20)

        assert made.config.hash != before.hash
        with read_session(made.engine) as session:
            known = session.execute(text("SELECT DISTINCT rubric_text_id FROM sample")).all()
            judges = session.execute(text("SELECT DISTINCT judge_id FROM judgement")).all()
        assert [tuple(row) for row in known] == [(keep(before.rubrics["helpful"]).id,)]
        assert len(judges) == 1


def test_answers_that_users_disliked_are_sought_and_decide_nothing(tmp_path: Path) -> None:
    config = CONFIG.replace("samples_per_day: 10000000", "samples_per_day: 8640") + (
        "metrics: {thumbs_up_rate: {window: 5s}}\n"
    )
    config = config.replace("reviews: 0.25", "reviews: 0.25, targeted: 0.5").replace(
        "      rubric: {kind",
        "      thumbs_up_rate: {kind: secondary, margin: 20pp}\n      rubric: {kind",
    )
    with world(
        tmp_path, answers("control", right=0.8), answers("canary", right=0.8), config=config
    ) as made:
        made.control.thumbs_up = made.canary.thumbs_up = 0.5
        made.control.rated = made.canary.rated = 0.3
        made.live(200, 40, people=False)
        with read_session(made.engine) as session:
            targeted = session.execute(
                text(
                    "SELECT s.inference_id, s.review_state, o.value_num, s.rate, s.inclusion "
                    "FROM sample s "
                    "LEFT JOIN outcome o ON o.target_id = s.inference_id WHERE s.stream = 'targeted'"
                )
            ).all()
            tasks = set(
                session.execute(
                    text("SELECT inference_id FROM score_task WHERE what = 'rubric:helpful'")
                ).scalars()
            )
        [found] = made.view.grading

    assert len(targeted) > 200
    assert sum(found.targeted) == len(targeted)
    assert {(row[1], row[2]) for row in targeted} == {("open", 0.0)}
    for row in targeted:  # either stream could have drawn it when it came
        assert 0.0 < row[3] < 1.0
        assert row[4] == pytest.approx(row[3] + (1.0 - row[3]) * 0.5)
    assert not tasks & {row[0] for row in targeted}


def test_people_who_answer_half_of_the_time_correct_the_judge_in_full(tmp_path: Path) -> None:
    """The judge takes a quarter of the right answers of both arms for wrong ones."""
    with world(
        tmp_path,
        answers("control", right=0.8, misjudged=0.25),
        answers("canary", right=0.8, misjudged=0.25),
        config=CONFIG.replace("reviews: 0.25", "reviews: 0.5"),
        reviewers=1,
        skips=0.5,
    ) as made:
        made.live(600, 40)
        shown = {each.metric: each for each in made.view.comparisons}
        combined, judge = shown["rubric:helpful"], shown["rubric:helpful:judge"]
        [grading] = made.view.grading
        with read_session(made.engine) as session:
            record = made.service.get("next")
            evidence = gather(session, record, made.clock.now_s())
        [found] = [each for each in evidence.metrics if each.metric == "rubric:helpful"]

    assert combined.n_canary > 1_500
    assert sum(grading.labelled) < 0.4 * (combined.n_control + combined.n_canary)
    assert judge.control == pytest.approx(0.6, abs=0.03)
    # Both arms together: which answers people get is drawn anew at each run, and one arm's number
    # strays by 0.02. Half corrected it would be 0.7.
    corrected = (combined.control + combined.canary) / 2
    assert corrected == pytest.approx(0.8, abs=0.05)
    # A fair coin says whose a drawn answer is, whatever the share of the stage.
    assert found.score.i == pytest.approx(0.5 * found.score.n_canary)


def test_fewer_are_drawn_of_both_arms_where_the_money_pays_for_fewer(tmp_path: Path) -> None:
    """A judgement costs a tenth of a cent; 8.64 dollars a day pay for one of each arm in 20 s."""
    config = CONFIG.replace("judging: {", "judging: {max_cost_usd_per_day: 8.64, ")
    with world(
        tmp_path, answers("control", right=0.8), answers("canary", right=0.8), config=config
    ) as made:
        with write_session(made.engine) as session:
            settle(
                session, day_of(utc(made.clock.now_s())), reserved_nanousd=0,
                spent_nanousd=1_000_000, dearest_nanousd=1_000_000, judged=1, calls=1, unknown_cost=0,
            )  # fmt: skip
        for _ in range(60):
            made.step(600, 10.0, tick=False)
        [found] = made.view.grading

    drawn = [found.waiting[arm] + found.judged[arm] for arm in (0, 1)]
    assert found.eligible[1] > 3_000
    assert 20 <= drawn[1] <= 90
    assert drawn[0] == pytest.approx(drawn[1], abs=4 * drawn[1] ** 0.5)


def test_an_earlier_attempt_keeps_the_standing_that_its_judge_had(tmp_path: Path) -> None:
    with world(tmp_path, answers("control", right=0.8), answers("canary", right=0.8)) as made:
        made.live(60, 10, people=False)
        made.service.rollback("next", actor="mara", reason="first try")
        made.service.start("next", actor="mara", reason="second try")
        made.live(120, 20)
        with write_session(made.engine) as session:
            [judge] = made.view.grading[0].judges
            add_drift(
                session, utc(made.clock.now_s()), rubric_id="helpful", rubric_hash="x",
                judge_id=judge, drift="judge_drift", report={},
            )  # fmt: skip

        first, second = (made.service.read.detail("next", each).view.grading[0] for each in (1, 2))

    assert second.labels > 0
    assert second.drift == "judge_drift"
    assert (first.standing, first.labels, first.drift) == ("not_enough", 0, None)
    assert sum(first.judged) > 0

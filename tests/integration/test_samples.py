"""The queue of samples: each drawn once, leased to one, judged once, whoever dies."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from sqlalchemy.engine import Engine

from llm_canary.storage.engine import read_session, write_session
from llm_canary.storage.repositories.sample_facts import ArmSamples, sample_facts
from llm_canary.storage.repositories.samples import (
    LATEST,
    Claimed,
    NewSample,
    SampleState,
    Saved,
    add_samples,
    claim,
    fail_poison,
    lapse,
    release,
    renew,
    save,
)
from tests.integration.test_review_order import end_rollout

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)


def sample(number: int, **more) -> NewSample:
    facts = {
        "inference_id": f"i{number}",
        "rubric_id": "helpful",
        "rubric_text_id": "t",
        "rollout_id": "r",
        "arm": "canary",
        "stratum": "all",
        "stream": "probability",
        "rate": 0.1,
        "inclusion": 0.1,
        "closes_at": NOON + timedelta(hours=1),
    }
    return NewSample(**(facts | more))


def judged(claimed: Claimed, score: float = 1.0) -> Saved:
    row = {
        "judge_id": "j",
        "status": "ok",
        "score": score,
        "passed": score > 0.5,
        "grades": {},
        "detail": "",
    }
    return Saved(claimed, SampleState.JUDGED, row)


def counts(engine: Engine) -> ArmSamples:
    with read_session(engine) as session:
        return sample_facts(session, "r", "helpful", NOON).arms["canary"]


def test_a_sample_is_drawn_once(engine: Engine) -> None:
    with write_session(engine) as session:
        assert add_samples(session, [sample(1), sample(2)], NOON) == 2
    with write_session(engine) as session:
        assert add_samples(session, [sample(2), sample(3)], NOON) == 1
        assert add_samples(session, [], NOON) == 0


def test_beyond_the_room_new_samples_are_shed_and_counted(engine: Engine) -> None:
    with write_session(engine) as session:
        add_samples(session, [sample(1), sample(2)], NOON, room=3)
        add_samples(session, [sample(3), sample(4), sample(5)], NOON, room=3)

    assert counts(engine)[:4] == (3, 0, 0, 2)


def test_a_lease_that_ended_goes_to_another_and_the_first_saves_nothing(engine: Engine) -> None:
    with write_session(engine) as session:
        add_samples(session, [sample(1)], NOON)
        [first] = claim(session, "t", NOON, lease_s=60, limit=5)
        assert claim(session, "t", NOON, lease_s=60, limit=5) == []
    later = NOON + timedelta(seconds=61)
    with write_session(engine) as session:
        [second] = claim(session, "t", later, lease_s=60, limit=5)
    with write_session(engine) as session:
        assert save(session, [judged(first, 0.0)], later) == []
        assert len(save(session, [judged(second, 1.0)], later)) == 1
        assert save(session, [judged(second, 0.0)], later) == []

    assert counts(engine) == ArmSamples(judged=1, graded=1)


def test_a_lease_that_is_renewed_stays(engine: Engine) -> None:
    with write_session(engine) as session:
        add_samples(session, [sample(1)], NOON)
        [mine] = claim(session, "t", NOON, lease_s=60, limit=5)
    with write_session(engine) as session:
        assert renew(session, mine.token, NOON + timedelta(seconds=110)) == 1
    with write_session(engine) as session:
        assert claim(session, "t", NOON + timedelta(seconds=100), lease_s=60, limit=5) == []
        assert renew(session, "another", NOON) == 0


def test_what_is_given_back_waits_and_was_no_attempt(engine: Engine) -> None:
    with write_session(engine) as session:
        add_samples(session, [sample(1)], NOON)
    for number in range(10):
        at = NOON + timedelta(minutes=number)
        with write_session(engine) as session:
            [mine] = claim(session, "t", at, lease_s=60, limit=5)
            release(session, [mine], at + timedelta(seconds=30))
        with write_session(engine) as session:
            assert claim(session, "t", at + timedelta(seconds=29), lease_s=60, limit=5) == []


def test_a_sample_that_kills_its_workers_fails_in_the_end(engine: Engine) -> None:
    with write_session(engine) as session:
        add_samples(session, [sample(1)], NOON)
        for number in range(5):
            at = NOON + timedelta(minutes=2 * number)
            found = claim(session, "t", at, lease_s=60, limit=1)
            assert len(found) == (1 if number < 3 else 0)
        assert fail_poison(session, NOON + timedelta(hours=1)) == 1

    assert counts(engine) == ArmSamples(failed=1)


def test_the_points_of_judges_are_averaged_by_arm_over_the_probability_stream(
    engine: Engine,
) -> None:
    scores = {"i1": 1.0, "i2": 0.5, "i3": 0.25, "i4": 0.0}
    drawn = [
        sample(1),
        sample(2),
        sample(3, arm="control"),
        sample(4, stream="targeted"),
        sample(5),
    ]
    with write_session(engine) as session:
        add_samples(session, drawn, NOON)
    with write_session(engine) as session:
        found = claim(session, "t", NOON, lease_s=60, limit=5)
        scored = [each for each in found if each.inference_id in scores]
        save(session, [judged(each, scores[each.inference_id]) for each in scored], NOON)
    with read_session(engine) as session:
        facts = sample_facts(session, "r", "helpful", NOON)

    assert facts.judge_points == {"canary": 0.75, "control": 0.25}
    assert (facts.arms["canary"].graded, facts.targeted["canary"].graded) == (2, 1)


def test_what_gates_read_is_judged_first_and_by_another_lot_than_people_have(
    engine: Engine,
) -> None:
    with write_session(engine) as session:
        add_samples(session, [sample(number, stream="targeted") for number in range(20)], NOON)
        add_samples(session, [sample(number) for number in range(20, 60)], NOON)
    with write_session(engine) as session:
        found = [claim(session, "t", NOON, lease_s=60, limit=1)[0] for _ in range(60)]
    by_chance = [each.id for each in found if int(each.inference_id[1:]) >= 20]

    assert [each.id for each in found][:40] == by_chance
    assert by_chance == sorted(by_chance, key=lambda name: name[17:24])
    assert by_chance != sorted(by_chance, key=lambda name: name[24:31])


def test_what_cannot_count_any_more_is_not_judged_and_said_to_be_shed(engine: Engine) -> None:
    """Of a rollout that has ended, or whose window has closed; a worker that has it keeps it."""
    end_rollout(engine, "over")
    later = NOON + timedelta(minutes=30)
    drawn = [
        sample(1, closes_at=later),
        sample(2, closes_at=later),
        sample(3, rollout_id="over"),
        sample(4),
    ]
    with write_session(engine) as session:
        add_samples(session, drawn[:1], NOON)
        [held] = claim(session, "t", later, lease_s=60, limit=1)
        add_samples(session, drawn[1:], NOON)
        assert lapse(session, later + LATEST - timedelta(seconds=1)) == 1  # of what has ended
        assert lapse(session, later + LATEST) == 1
        assert len(save(session, [judged(held)], later)) == 1
        [last] = claim(session, "t", later, lease_s=60, limit=5)

    assert last.inference_id == "i4"
    assert counts(engine) == ArmSamples(waiting=1, judged=1, shed=1, graded=1)

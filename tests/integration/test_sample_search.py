"""Finding drawn answers, and asking people about one."""

from __future__ import annotations

from datetime import timedelta

import pytest
from sqlalchemy import text
from sqlalchemy.engine import Engine

from llm_canary.clock import ManualClock, utc
from llm_canary.errors import Conflict, NotFound
from llm_canary.review.asking import ask_people
from llm_canary.review.queue import ReviewQueue, Submission
from llm_canary.storage.engine import read_session
from llm_canary.storage.repositories import sample_search
from llm_canary.storage.repositories.sample_facts import label_moments, sample_facts
from llm_canary.storage.repositories.sample_search import SampleFilter
from tests.support.drawn_answers import JUDGE, NOON_S, Drawn, draw
from tests.support.rollout_world import QUICK, World

DRAWN = (
    Drawn("control", judge=True, human=True),
    Drawn("canary", judge=True, human=False),
    Drawn("canary", judge=False, human=None, at_s=NOON_S + 60),
    Drawn("control", judge=None, human=None, stream="targeted", at_s=NOON_S + 120),
    Drawn("canary", judge=None, human=None, at_s=NOON_S + 180, answer=None),
)


def found(engine: Engine, names: list[str], **asked) -> set[int]:
    with read_session(engine) as session:
        rows = sample_search.search(session, SampleFilter(**asked), before=None, limit=100)
    return {names.index(row.inference_id) for row in rows}


def test_each_filter_finds_what_it_says(engine: Engine) -> None:
    names = draw(engine, DRAWN)

    def find(**asked):
        return found(engine, names, **asked)

    assert find() == {0, 1, 2, 3, 4}
    assert find(arm="canary") == {1, 2, 4}
    assert find(judge="pass") == {0, 1}
    assert find(judge="fail") == {2}
    assert find(judge="none") == {3, 4}
    assert find(human="pass") == {0}
    assert find(human="none") == {2, 3, 4}
    assert find(differs=True) == {1}
    assert find(stream="targeted") == {3}
    assert find(state="waiting") == {3, 4}
    assert find(score_from=0.5) == {0, 1}
    assert find(score_to=0.5) == {2}
    assert find(since=utc(NOON_S + 100)) == {3, 4}
    assert find(until=utc(NOON_S + 60)) == {0, 1, 2}
    assert find(rubric="helpful", arm="control", judge="pass") == {0}
    assert find(rubric="other") == set()
    assert find(request=names[2]) == {2}
    query = text("SELECT response_id FROM inference WHERE id = :i")
    with engine.connect() as connection:
        response_id = connection.execute(query, {"i": names[1]}).scalar_one()
    assert find(request=response_id) == {1}
    assert find(rollout="next") == set()


def test_answers_are_found_by_rollout_attempt_and_route(tmp_path, engine: Engine) -> None:
    world = World(tmp_path, QUICK.replace("PLAN", "quick"), engine=engine)
    world.start()
    record = world.service.get("next")
    names = draw(engine, [Drawn(rollout_id=record.id), Drawn(rollout_id="gone")])

    assert found(engine, names, rollout="next") == {0}
    assert found(engine, names, rollout="next", attempt=2) == set()
    assert found(engine, names, route="bot") == {0}
    assert found(engine, names, route="' OR 1=1 --") == set()


def test_pages_hold_every_answer_once_while_new_ones_come(engine: Engine) -> None:
    draw(engine, [Drawn(at_s=NOON_S + number) for number in range(7)])
    seen: list[str] = []
    before = None
    with read_session(engine) as session:
        expected = [
            row.id for row in sample_search.search(session, SampleFilter(), before=None, limit=100)
        ]
    for _ in range(4):
        with read_session(engine) as session:
            page = sample_search.search(session, SampleFilter(), before=before, limit=2)
        seen += [row.id for row in page]
        before = seen[-1]
        draw(engine, [Drawn(at_s=NOON_S + 100)])

    assert seen == expected


def sample_of(engine: Engine, inference_id: str) -> str:
    query = text("SELECT id FROM sample WHERE inference_id = :i")
    with engine.connect() as connection:
        name: str = connection.execute(query, {"i": inference_id}).scalar_one()
    return name


def estimates(engine: Engine):
    """What gates read of the answers."""
    late = utc(NOON_S) + timedelta(days=2)
    with read_session(engine) as session:
        facts = sample_facts(session, "r", "helpful", late)
        return (
            label_moments(session, JUDGE, late),
            {arm: each._replace(labelled=0) for arm, each in facts.arms.items()},
        )


def test_who_asks_people_changes_no_estimate(engine: Engine) -> None:
    names = draw(engine, DRAWN)
    before = estimates(engine)

    ask_people(engine, sample_of(engine, names[2]))
    queue = ReviewQueue(engine, ManualClock(NOON_S + 300), gold_rate=0.0)
    item = queue.claim("helpful", "jon")
    assert item is not None
    queue.submit(item.sample_id, "jon", item.token, Submission({"helps": "met"}))

    assert item.sample_id == sample_of(engine, names[2])
    assert found(engine, names, human="pass") == {0, 2}
    assert estimates(engine) == before


def test_who_was_asked_by_chance_stays_asked_by_chance(engine: Engine) -> None:
    names = draw(engine, DRAWN)

    with pytest.raises(Conflict, match="already"):
        ask_people(engine, sample_of(engine, names[0]))
    with pytest.raises(Conflict, match="not kept"):
        ask_people(engine, sample_of(engine, names[4]))
    with pytest.raises(NotFound):
        ask_people(engine, "nothing")

    ask_people(engine, sample_of(engine, names[3]))
    with pytest.raises(Conflict, match="already"):
        ask_people(engine, sample_of(engine, names[3]))

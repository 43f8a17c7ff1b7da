"""What lies on reviewers' desks in the seeded instance: an item held, one revealed, pairs, a dataset."""

from __future__ import annotations

import random
from typing import Any

from sqlalchemy import text
from sqlalchemy.engine import Engine

from llm_canary.clock import Clock
from llm_canary.config.load import LoadedConfig
from llm_canary.review.datasets import Datasets
from llm_canary.review.desk import Desk
from llm_canary.review.pairs import Choice, PairEntry, Pairs
from llm_canary.review.queue import ReviewQueue, Submission

RUBRIC, DATASET = "parcel_answer", "parcels-corrected"
_QUESTION = "Where is parcel {number} now?"


def lay_out(
    engine: Engine,
    clock: Clock,
    config: LoadedConfig,
    truth: dict[str, Any],
    *,
    admin: str,
    people: list[str],
    seed: int,
) -> None:
    """Leave work for the admin to look at, and what others have done."""
    queue = ReviewQueue(engine, clock, gold_rate=0.0)
    desk = Desk(engine, clock, queue)
    done = queue.claim(RUBRIC, admin)
    if done is not None:
        given = Submission(truth[done.sample.response].labels, seconds_active=31.0)
        queue.submit(done.sample_id, admin, done.token, given)
        desk.reveal(done.sample_id, admin)
    desk.next(RUBRIC, admin)
    queue.claim(RUBRIC, people[-1])
    _pairs(engine, clock, config, [admin, *people], seed)
    _dataset(engine, clock, admin)


def _pairs(
    engine: Engine, clock: Clock, config: LoadedConfig, people: list[str], seed: int
) -> None:
    draw, pairs = random.Random(seed), Pairs(engine, clock)
    entries = [
        PairEntry(
            f"pair-{number}",
            [{"role": "user", "content": _QUESTION.format(number=4_000 + number)}],
            "It left the depot in Graz this morning and arrives tomorrow before noon.",
            "It is on its way. Please be patient.",
            arm_a="canary" if number % 2 else "control",
            arm_b="control" if number % 2 else "canary",
        )
        for number in range(24)
    ]
    pairs.add(entries, config.rubrics[RUBRIC], source="shadow-week")
    for person in people[1:]:
        for _ in range(6):
            pair_id = pairs.claim(RUBRIC, person)
            if pair_id is None:
                break
            opened = pairs.open(pair_id, person)
            side = "a" if len(opened.first) > len(opened.second) else "b"
            choice = side if draw.random() < 0.8 else draw.choice(["a", "b", "tie"])
            pairs.prefer(pair_id, person, opened.token or "", Choice(choice, seconds_active=14.0))
    pairs.claim(RUBRIC, people[0])


def _dataset(engine: Engine, clock: Clock, admin: str) -> None:
    datasets = Datasets(engine, clock)
    corrected = [each.review.review_id for each in datasets.candidates()]
    if len(corrected) < 2:
        return
    datasets.promote(DATASET, corrected[1:6], by=admin)
    datasets.freeze(DATASET)
    datasets.promote(DATASET, corrected[:1], by=admin)


def addresses_of(engine: Engine, admin: str) -> dict[str, str]:
    """Return what lies on the admin's desk, for links: the item held, the one revealed, the pair."""
    queries = {
        "held": "SELECT sample_id FROM review_seat WHERE reviewer = :who AND leased_until IS NOT NULL",
        "revealed": "SELECT sample_id FROM review_reveal WHERE reviewer = :who",
        "pair": "SELECT pair_id FROM pair_seat WHERE reviewer = :who",
    }
    with engine.connect() as connection:
        return {
            name: connection.execute(text(query), {"who": admin}).scalars().first() or ""
            for name, query in queries.items()
        }

"""Corrected answers become datasets that never change once they are frozen."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy.engine import Engine

from llm_canary.checks.dataset import Dataset
from llm_canary.clock import ManualClock
from llm_canary.errors import Conflict, InvalidRequest, NotFound
from llm_canary.review.datasets import Datasets
from llm_canary.review.queue import ReviewQueue, Submission
from tests.factories import NOON_S
from tests.support.review_world import LABELS, drawn

CONVERSATION = [
    {"role": "system", "content": "Be kind."},
    {"role": "user", "content": "Wo ist es? „Übermorgen“"},
]


def corrected(engine: Engine, count: int) -> None:
    drawn(engine, [(CONVERSATION, f"In Graz {n}.") for n in range(count)])
    queue = ReviewQueue(engine, ManualClock(NOON_S), gold_rate=0.0)
    while (item := queue.claim("support", "mara")) is not None:
        given = Submission(LABELS, corrected_response=f"better than {item.sample.response}")
        queue.submit(item.sample_id, "mara", item.token, given)


@pytest.mark.parametrize("form", ["jsonl", "csv"])
def test_a_frozen_dataset_is_downloaded_with_the_hash_that_checks_compute(
    engine: Engine, tmp_path: Path, form: str
) -> None:
    corrected(engine, 3)
    datasets = Datasets(engine, ManualClock(NOON_S))
    ids = [each.review.review_id for each in datasets.candidates()]

    done = datasets.promote("support_golden", ids, by="lead")
    frozen = datasets.freeze("support_golden")

    assert (done.version, done.added, done.there) == (1, 3, 0)
    assert datasets.candidates() == []
    path = tmp_path / f"support_golden.{form}"
    path.write_bytes(datasets.file("support_golden", 1, form))
    read = Dataset(path)
    assert read.hash == frozen.frozen_hash
    assert {item.reference for item in read} == {f"better than In Graz {n}." for n in range(3)}
    assert [turn["role"] for turn in next(iter(read)).history] == ["system"]


def test_after_the_freeze_the_next_version_begins_with_the_rows_of_the_one_before(
    engine: Engine,
) -> None:
    corrected(engine, 2)
    datasets = Datasets(engine, ManualClock(NOON_S))
    first, second = (each.review.review_id for each in datasets.candidates())
    datasets.promote("golden", [first], by="lead")
    assert datasets.promote("golden", [first], by="lead").there == 1
    before = datasets.freeze("golden")

    datasets.promote("golden", [second], by="lead")

    newest, oldest = datasets.all()
    assert (newest.version, newest.rows, newest.frozen_hash) == (2, 2, None)
    assert oldest == before
    datasets.freeze("golden")
    with pytest.raises(Conflict, match="frozen already"):
        datasets.freeze("golden")


def test_what_cannot_be_a_dataset_is_refused_and_nothing_is_made(engine: Engine) -> None:
    corrected(engine, 1)
    datasets = Datasets(engine, ManualClock(NOON_S))
    [candidate] = datasets.candidates()
    for name in ("", "../etc", "A", "x" * 65, "a b"):
        with pytest.raises(InvalidRequest):
            datasets.promote(name, [candidate.review.review_id], by="lead")
    with pytest.raises(InvalidRequest):
        datasets.promote("golden", [], by="lead")
    with pytest.raises(NotFound):
        datasets.promote("golden", ["nothing"], by="lead")
    with pytest.raises(NotFound):
        datasets.freeze("golden")
    with pytest.raises(NotFound):
        datasets.file("golden", 1, "jsonl")

    assert datasets.all() == []

"""Twenty reviewers at once through the running server: every answer gets the reviews it wants, nobody reviews twice."""

from __future__ import annotations

import threading
from collections import Counter
from pathlib import Path

import httpx
from sqlalchemy import text

from llm_canary.storage import migrate
from llm_canary.storage.engine import make_engine
from tests.integration.test_review_queue import ask
from tests.support.server import RunningServer

CONFIG = """
version: 1
upstreams:
  sim: {kind: openai, base_url: "http://127.0.0.1:9"}
routes:
  bot:
    control: {upstream: sim, model: good}
"""
REVIEWERS, ANSWERS, WANTED = 20, 200, 2


def test_twenty_reviewers_give_each_of_two_hundred_answers_exactly_two_reviews(
    tmp_path: Path, database_url: str
) -> None:
    engine = make_engine(database_url)
    migrate.upgrade(engine)
    ask(engine, ANSWERS, wanted=WANTED)
    given: list[tuple[str, str]] = []
    strange: list[httpx.Response] = []
    lock = threading.Lock()

    def work(number: int) -> None:
        who = {"reviewer": f"reviewer-{number}"}
        with httpx.Client(base_url=f"{server.url}/api/v1/reviews", timeout=60) as client:
            while True:
                claimed = client.post("/claim", json={"rubric": "helpful", **who})
                if claimed.status_code == 409:
                    continue  # many claim at once: it asks to try again
                if claimed.status_code != 200 or (item := claimed.json()["item"]) is None:
                    strange.extend([claimed] * (claimed.status_code != 200))
                    return
                body = {**who, "token": item["token"], "labels": {"helps": "met"}}
                done = client.post(f"/{item['sample_id']}/submit", json=body)
                with lock:
                    if done.status_code == 200:
                        given.append((item["sample_id"], who["reviewer"]))
                    else:
                        strange.append(done)

    with RunningServer(tmp_path, CONFIG, database_url=database_url) as server:
        threads = [threading.Thread(target=work, args=(number,)) for number in range(REVIEWERS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(200)
        assert not any(thread.is_alive() for thread in threads)

    with engine.connect() as connection:
        stored = connection.execute(text("SELECT sample_id, reviewer FROM review")).all()
    engine.dispose()
    assert [each.text for each in strange] == []
    assert len(given) == len(set(given)) == ANSWERS * WANTED
    assert sorted(tuple(row) for row in stored) == sorted(given)
    assert set(Counter(sample for sample, _ in given).values()) == {WANTED}

"""Charts from both databases: the page, the part of a page, the CSV."""

from __future__ import annotations

import csv
import io
import re
from pathlib import Path

import pytest
from sqlalchemy.engine import Engine

from llm_canary.clock import ManualClock
from llm_canary.ids import uuid7
from llm_canary.routing.table import Role
from llm_canary.storage import rollup_upkeep
from llm_canary.storage.engine import read_session
from llm_canary.storage.ingest import SqlBatchSink
from llm_canary.storage.repositories.rollouts import State
from llm_canary.storage.repositories.series import (
    MOST_POINTS,
    Spent,
    arms_over_time,
    scores_over_time,
    spent,
    total,
    window,
)
from tests.factories import NOON_S, make_inference
from tests.support.control import Web
from tests.support.series_world import add_rollout, add_scores, add_traffic, rollouts_of

HOUR_S, DAY_S = 3_600.0, 86_400.0


@pytest.fixture
def web(engine: Engine, tmp_path: Path):
    site = Web(tmp_path, engine=engine, clock=ManualClock(NOON_S), rollouts=rollouts_of(engine))
    yield site
    site.close()


def step(engine: Engine, since_s: float, until_s: float) -> int:
    with read_session(engine) as session:
        return window(session, "rollout-1", since_s, until_s).step_s


def test_the_step_is_the_finest_that_fits(engine: Engine) -> None:
    for days, expected in ((1 / 24, 60), (1, 600), (7, 3_600), (60, 21_600), (400, 129_600)):
        found = step(engine, NOON_S - days * DAY_S, NOON_S)
        assert found == expected
        assert days * DAY_S / found <= MOST_POINTS


def test_where_fine_bins_are_gone_coarse_ones_are_read(engine: Engine) -> None:
    times = [NOON_S - 20 * DAY_S, NOON_S - 20 * DAY_S + HOUR_S, NOON_S - 60]
    SqlBatchSink(engine).write([make_inference(id=uuid7(), at_s=at) for at in times])
    rollup_upkeep.prune(engine, NOON_S, 14)

    assert step(engine, NOON_S - HOUR_S, NOON_S) == 60 or step(engine, NOON_S - 60, NOON_S) == 60
    assert step(engine, NOON_S - 20 * DAY_S, NOON_S - 20 * DAY_S + HOUR_S) == 3_600


def test_the_arms_hold_what_was_sent_and_nothing_else(engine: Engine) -> None:
    events = [
        make_inference(id=uuid7(), assigned="control", at_s=NOON_S - 600),
        make_inference(id=uuid7(), assigned="canary", served="control", at_s=NOON_S - 540),
        make_inference(id=uuid7(), eligible=False, at_s=NOON_S - 540),
        make_inference(id=uuid7(), rollout_id="another"),
        make_inference(id=uuid7(), rollout_id=None, assigned=None, eligible=False),
    ]
    SqlBatchSink(engine).write(events)

    with read_session(engine) as session:
        shown = window(session, "rollout-1", NOON_S - HOUR_S, NOON_S)
        arms = arms_over_time(session, "rollout-1", shown)

    assert {role: list(points) for role, points in arms.items()} == {
        Role.CONTROL: [NOON_S - 600],
        Role.CANARY: [NOON_S - 540],
    }
    assert total(arms[Role.CANARY].values()).counts["requests"] == 1


def test_steps_wider_than_the_coarsest_add_up(engine: Engine) -> None:
    times = [NOON_S - days * DAY_S for days in range(0, 400, 2)]
    SqlBatchSink(engine).write([make_inference(id=uuid7(), at_s=at) for at in times])

    with read_session(engine) as session:
        shown = window(session, "rollout-1", NOON_S - 400 * DAY_S, NOON_S + 1)
        arms = arms_over_time(session, "rollout-1", shown)

    assert total(arms[Role.CANARY].values()).counts["requests"] == len(times)
    assert len(arms[Role.CANARY]) <= MOST_POINTS


def test_scores_are_of_answers_drawn_by_chance(engine: Engine) -> None:
    add_scores(engine, count=200)

    with read_session(engine) as session:
        shown = window(session, "rollout-1", NOON_S - 6 * HOUR_S, NOON_S)
        arms = scores_over_time(session, "rollout-1", shown)["helpful"]

    for points in arms.values():
        assert sum(each.count for each in points.values()) == 100
        assert all(sum(each.tenths) == each.count for each in points.values())
        assert all(at % shown.step_s == 0 for at in points)


def test_the_page_shows_every_chart_and_the_fragment_is_its_part(web: Web, engine: Engine) -> None:
    add_rollout(engine)
    add_traffic(engine, per_minute=4)
    add_scores(engine)

    page, part = (
        web.get("/rollouts/next/charts", **headers) for headers in ({}, {"hx-request": "true"})
    )

    assert (page.status_code, part.status_code) == (200, 200)
    assert page.text.count("<figure") == part.text.count("<figure") == 12
    assert part.text.lstrip().startswith("<section")
    assert "2. " not in part.text
    assert "broad (25" in part.text
    assert not re.search(r"""\s(style|on\w+|hx-on[\w:-]*)\s*=""", page.text)


def test_the_csv_adds_up_to_what_was_sent(web: Web, engine: Engine) -> None:
    add_rollout(engine)
    sent = add_traffic(engine, per_minute=4)

    answer = web.get("/rollouts/next/series.csv?range=24h")

    rows = list(csv.DictReader(io.StringIO(answer.text)))
    assert answer.headers["content-type"].startswith("text/csv")
    assert sum(int(row["requests"]) for row in rows) == sent
    assert {row["arm"] for row in rows} == {"control", "canary"}
    assert all(float(row["latency_p50"]) <= float(row["latency_p95"]) for row in rows)


def test_a_range_of_an_ended_rollout_lies_before_its_end(web: Web, engine: Engine) -> None:
    ended = {"state": State.ROLLED_BACK, "ended_at_s": NOON_S - HOUR_S}
    add_rollout(engine, **ended)
    add_traffic(engine, per_minute=4, pause=(0, 0))
    web.clock.advance(30 * DAY_S)

    text = web.get("/rollouts/next/charts?range=1h").text

    assert "in its last hour" in text
    assert "every 60s" not in text
    assert "<figure" in text


def test_what_was_spent_is_what_the_known_costs_add_up_to(engine: Engine) -> None:
    costs = {"control": [300, 500, None], "canary": [70, None]}
    SqlBatchSink(engine).write(
        [
            make_inference(id=uuid7(), assigned=arm, at_s=NOON_S - 40 * HOUR_S * n, cost_nanousd=of)
            for arm, own in costs.items()
            for n, of in enumerate(own)
        ]
    )

    with read_session(engine) as session:
        assert spent(session, "rollout-1") == (Spent(800, 2), Spent(70, 1))
        assert spent(session, "another") == (Spent(), Spent())


def test_a_range_that_cuts_through_a_minute_shows_no_burst_there(web: Web, engine: Engine) -> None:
    add_rollout(engine)
    add_traffic(engine, per_minute=4, pause=(0, 0))
    web.clock.advance(29.0)  # the hour begins in the middle of a minute

    text = web.get("/rollouts/next/charts?range=1h").text

    table = text[text.index("Requests, per minute") :]
    cells = re.findall(r"<td>([\d.]+)</td>", table[: table.index("</table>")])
    assert len(cells) > 60
    assert max(map(float, cells)) <= 5


def test_an_earlier_attempt_has_its_own_charts_numbers_and_links(web: Web, engine: Engine) -> None:
    over = {"state": State.ROLLED_BACK, "ended_at_s": NOON_S - 24 * HOUR_S}
    add_rollout(engine, id="rollout-0", hours=48, **over)  # nobody came
    add_rollout(engine, id="rollout-1", hours=1, attempt=2)
    sent = add_traffic(engine, hours=1, per_minute=4)

    first, second = (web.get(f"/rollouts/next/charts?attempt={each}").text for each in (1, 2))
    files = [web.get(f"/rollouts/next/series.csv?attempt={each}") for each in (1, 2)]

    assert "No request has come" in first
    assert "every 60s" not in first
    assert "next, attempt 1: charts" in first
    assert 'href="/rollouts/next?attempt=1"' in first
    assert {*re.findall(r'(?:href|hx-get)="(/rollouts/next/[^"]*)"', first)} == {
        *(
            f"/rollouts/next/charts?attempt=1&amp;range={each}"
            for each in ("all", "7d", "24h", "1h")
        ),
        "/rollouts/next/series.csv?attempt=1&amp;range=all",
    }
    assert 'hx-get="/rollouts/next/charts?attempt=2&amp;range=all" hx-trigger="every 60s"' in second
    assert 'data-name="next-attempt-2"' in second
    rows = [list(csv.DictReader(io.StringIO(each.text))) for each in files]
    assert [sum(int(row["requests"]) for row in each) for each in rows] == [0, sent]
    assert "next-attempt-1-all.csv" in files[0].headers["content-disposition"]


def test_without_requests_the_page_says_so(web: Web, engine: Engine) -> None:
    add_rollout(engine)

    answer = web.get("/rollouts/next/charts")

    assert answer.status_code == 200
    assert "No request has come" in answer.text


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/rollouts/none/charts", 404),
        ("/rollouts/next/charts?attempt=77", 404),
        ("/rollouts/next/series.csv?attempt=77", 404),
        ("/rollouts/next/charts?attempt=0", 400),
        ("/rollouts/next/charts?range=1'--", 422),
        ("/rollouts/next/series.csv?range=%00", 422),
        ("/rollouts/%3Cscript%3Ealert(1)%3C%2Fscript%3E/charts", 404),
    ],
)
def test_what_is_not_there_is_a_clear_page(
    web: Web, engine: Engine, path: str, status: int
) -> None:
    add_rollout(engine)

    answer = web.get(path)

    assert answer.status_code in {status, 400}
    assert "<script>alert" not in answer.text


def test_hostile_names_are_text(web: Web, engine: Engine) -> None:
    name, rubric = '"><img src=x onerror=alert(1)>', "</table><script>alert(1)</script>"
    add_rollout(engine, name=name)
    add_traffic(engine, per_minute=2)
    add_scores(engine, rubric)

    from urllib.parse import quote

    text = web.get(f"/rollouts/{quote(name, safe='')}/charts").text

    assert "<img src=x" not in text
    assert "<script>alert" not in text
    assert "&lt;/table&gt;" in text

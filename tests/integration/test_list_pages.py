"""Pages of history, samples, answers, calibration, alerts and settings over HTTP, on both databases."""

from __future__ import annotations

import re

import pytest
from sqlalchemy import text

from llm_canary.clock import utc
from llm_canary.storage.engine import write_session
from llm_canary.storage.repositories.grading import add_probes
from tests.factories import NOON_S
from tests.integration.test_alerts import calibrate, world  # noqa: F401 - a fixture
from tests.support.control import Web
from tests.support.drawn_answers import Drawn, draw
from tests.support.seeded_pages import HOSTILE, pages_of

PLACES = ("/history", "/samples", "/calibration", "/alerts", "/settings")
PAYLOADS = (
    "' OR 1=1 --",
    "1; DROP TABLE sample",
    '" UNION SELECT * FROM account --',
    "%00",
    "\u2028",
)
FILTERS = {
    "/history": ("route", "outcome", "name", "page"),
    "/history.csv": ("route", "outcome", "name"),
    "/samples": (
        "rollout", "attempt", "route", "arm", "rubric", "stream", "state", "judge", "human",
        "differs", "from", "to", "since", "until", "request", "before",
    ),
    "/calibration": ("rubric",),
    "/rollouts/next/answers": ("attempt", "rubric"),
}  # fmt: skip


@pytest.fixture
def site(world, tmp_path):  # noqa: F811 - the fixture
    world.start()
    rollout_id = world.service.get("next").id
    world.names = draw(
        world.engine,
        [
            Drawn("control", True, True, rollout_id=rollout_id, answer=HOSTILE),
            Drawn("canary", True, False, rollout_id=rollout_id),
            Drawn("canary", False, prompt=HOSTILE, rollout_id=rollout_id, answer=HOSTILE * 200),
            Drawn("control", None, rollout_id=rollout_id, answer=None),
        ],
    )
    made = pages_of(world, tmp_path)
    made.world = world
    yield made
    made.close()


def sample_ids(site: Web) -> list[str]:
    with site.engine.connect() as connection:
        found = connection.execute(text("SELECT id FROM sample ORDER BY id")).scalars()
        return list(found)


def test_every_page_is_there(site):
    for path in (*PLACES, "/rollouts/next/answers", "/partials/alerts"):
        assert site.get(path).status_code == 200, path
    for name in sample_ids(site):
        for query in ("", "?raw=1", "?all=1"):
            assert site.get(f"/samples/{name}{query}").status_code == 200


def test_what_a_model_or_user_says_is_never_markup(site):
    paths = [
        "/samples",
        "/rollouts/next/answers",
        *(f"/samples/{name}" for name in sample_ids(site)),
    ]
    for path in paths:
        html = site.get(path).text
        assert "<script>alert" not in html
        assert "onerror=alert(1)>" not in html.replace("&gt;", "")
        assert "evil.example/p.png" not in re.findall(r'src="([^"]*)"', html)
        assert 'href="javascript' not in html
        assert not re.search(r"""\s(style|on\w+)\s*=\s*["']""", html)


@pytest.mark.parametrize("path", FILTERS)
def test_sql_in_a_parameter_is_refused_or_finds_nothing(site, path):
    from urllib.parse import quote

    count = len(sample_ids(site))
    for name in FILTERS[path]:
        for payload in PAYLOADS:
            value = payload if payload == "%00" else quote(payload)
            answer = site.get(f"{path}?{name}={value}")
            assert answer.status_code in {200, 400, 404}, (name, payload, answer.status_code)
            shown = re.findall(r'href="/samples/(\w+)"', answer.text)
            assert answer.status_code != 200 or shown == [] or name == "before"
    assert len(sample_ids(site)) == count


@pytest.mark.parametrize(
    "query",
    ["from=2", "from=nan", "from=1e-3", "from=0.9&to=0.1", "since=yesterday", "arm=treatment",
     "page=0", "state=done", "differs=yes", "attempt=-1", "request=" + "x" * 300],
)  # fmt: skip
def test_what_makes_no_sense_is_refused_in_words(site, query):
    path = "/history" if query.startswith("page") else "/samples"

    answer = site.get(f"{path}?{query}")

    assert answer.status_code == 400
    assert f"`{query.split('=')[0]}`" in answer.text or "scores from" in answer.text


def test_filters_narrow_the_list_and_stay_in_the_form(site):
    html = site.get("/samples?differs=1&arm=canary").text

    assert len(set(re.findall(r'href="/samples/(\w+)"', html))) == 1
    assert '<option value="canary" selected>' in html
    assert "They differ" in html


def test_a_reviewer_does_not_see_what_would_spoil_a_blind_review(site):
    site.log_in("jon", "reviewer")

    for path in (
        *PLACES,
        "/rollouts/next/answers",
        f"/samples/{sample_ids(site)[0]}",
        "/history.csv",
    ):
        assert site.get(path).status_code == 403, path
    asked = site.post(f"/samples/{sample_ids(site)[2]}/ask", csrf=site.csrf("/samples"))
    assert asked.status_code == 403
    assert "may not operate" in asked.text


def test_asking_people_is_an_act_of_operators_and_is_noted(site):
    site.log_in("mara", "operator")
    name = sample_ids(site)[2]
    page = site.get(f"/samples/{name}").text
    assert "Ask people about it" in page

    assert site.post(f"/samples/{name}/ask").status_code == 403
    done = site.post(f"/samples/{name}/ask", csrf=site.csrf())
    again = site.post(f"/samples/{name}/ask", csrf=site.csrf())

    assert (done.status_code, done.headers["location"]) == (303, f"/samples/{name}")
    assert again.status_code == 409
    assert "as somebody wanted it" in site.get(f"/samples/{name}").text
    query = text("SELECT actor, action, target FROM audit_entry WHERE action = 'sample.ask'")
    with site.engine.connect() as connection:
        assert connection.execute(query).all() == [("mara", "sample.ask", name)]


def test_what_is_not_there_is_said(site):
    assert site.get("/samples/nothing").status_code == 404
    assert site.get("/rollouts/nothing/answers").status_code == 404
    assert site.get("/rollouts/next/answers?attempt=7").status_code == 404


def test_an_answer_without_text_says_why(site):
    html = site.get(f"/samples/{sample_ids(site)[3]}").text

    assert "No text is kept" in html
    assert "Ask people about it" not in html


def test_a_conversation_of_a_thousand_turns_is_cut_and_can_be_seen(site):
    turns = [
        {"role": ("user", "assistant")[n % 2], "content": f"turn {n} **bold**"} for n in range(999)
    ]
    draw(site.world.engine, [Drawn(prompt=turns, rollout_id=site.world.service.get("next").id)])
    name = sample_ids(site)[-1]

    short, whole = site.get(f"/samples/{name}").text, site.get(f"/samples/{name}?all=1").text

    assert "986 earlier messages" in short
    assert "turn 0 " not in short
    assert "turn 0 **bold**" in whole
    assert "turn 998 <strong>bold</strong>" in short


def test_the_fragment_of_both_arms_is_no_whole_page(site):
    fragment = site.get("/rollouts/next/answers", **{"hx-request": "true"}).text

    assert "<html" not in fragment
    assert "The same prompt" in fragment
    assert "side-control" in fragment


def test_unchanged_alerts_are_not_sent_again(site):
    first = site.get("/partials/alerts")

    assert (
        site.get("/partials/alerts", **{"if-none-match": first.headers["etag"]}).status_code == 304
    )


def test_nothing_to_show_says_what_to_run(world, tmp_path):  # noqa: F811 - the fixture
    web = pages_of(world, tmp_path)

    assert "llm-canary rollout start" in web.get("/history").text
    assert "content: {store: redacted}" in web.get("/samples").text
    assert "llm-canary judge calibrate" in web.get("/calibration").text
    assert (
        "Nothing needs a person" in web.get("/alerts").text
        or "Judging fails" in web.get("/alerts").text
    )


def test_a_calibration_that_cannot_be_read_is_left_out(site):
    from llm_canary.judging.trust import Standing

    calibrate(site.world, Standing.TRUSTED, at_s=site.world.clock.now_s())  # no whole report

    assert site.get("/calibration").status_code == 200


def test_settings_show_the_database_and_no_secret(site):
    html = site.get("/settings").text

    assert re.search(r"(SQLite|PostgreSQL) \d+", html)
    assert re.search(r"Database size</dt><dd>[\d.]+ (kB|MB)", html)
    assert site.world.config.hash in html
    assert "next: initial at 20" in html


def test_settings_are_shown_while_the_database_is_not(world, tmp_path):  # noqa: F811 - the fixture
    from llm_canary.errors import NotReady

    def refuse():
        raise NotReady("the schema is older")

    answer = pages_of(world, tmp_path, ready=refuse).get("/settings")

    assert answer.status_code == 503
    assert "the schema is older" in answer.text
    assert "Configuration in force" in answer.text


def test_the_newest_probes_of_each_judge_are_shown(site):
    probe = {
        "name": "position", "n": 80, "value": 0.24, "lower": 0.1, "upper": 0.38,
        "tendency": "shown", "meaning": HOSTILE,
    }  # fmt: skip
    few = probe | {
        "name": "length",
        "value": None,
        "lower": None,
        "upper": None,
        "tendency": "not_enough",
    }
    with write_session(site.engine) as session:
        for judge, days, probes in (
            ("judge-1", 1, [probe | {"value": 0.99}]),
            ("judge-1", 0, [probe, few, {"of": "another version"}]),
            ("judge-2", 2, [probe | {"name": "retest", "tendency": "none"}]),
        ):
            add_probes(
                session,
                utc(NOON_S - days * 86_400.0),
                rubric_id="helpful",
                rubric_hash="h",
                judge_id=judge,
                label_hash="l",
                probes=probes,
            )
    shown = re.sub(r"\s+", " ", site.get("/calibration?rubric=helpful").text)

    assert "+0.24 [+0.10, +0.38]" in shown
    assert "+0.99" not in shown
    assert "Not enough answers to tell" in shown
    assert all(each in shown for each in ("judge-1", "judge-2", ">retest<"))
    assert HOSTILE not in shown

"""The review pages over HTTP: forged, stale and foreign forms change nothing and lose nothing."""

from __future__ import annotations

import html
import re
from urllib.parse import urlencode

import pytest
from sqlalchemy import text

from llm_canary.api.app import create_api
from llm_canary.clock import ManualClock
from llm_canary.pages import review_decide
from llm_canary.review.people import People
from llm_canary.review.queue import ReviewQueue, Submission
from tests.factories import NOON_S
from tests.support import schema
from tests.support.control import ORIGIN, Web, api_services
from tests.support.review_world import LABELS, XSS, drawn

FORM = {f"label:{name}": label for name, label in LABELS.items()}


@pytest.fixture
def site(tmp_path):
    engine = schema.sqlite_engine(tmp_path / "web.db")
    clock = ManualClock(NOON_S + 60.0)
    made = Web(
        tmp_path, engine=engine, clock=clock, reviews=ReviewQueue(engine, clock, gold_rate=0.0)
    )
    made.account("jon", "reviewer")
    made.account("lead", "operator")
    made.log_in("mara", "reviewer")
    yield made
    made.close()
    engine.dispose()


def claimed(site, rubric="support"):
    """Take the next item; return its path and the token of its form."""
    answer = site.get(f"/review/{rubric}/next")
    assert answer.status_code == 303, answer.text
    path = answer.headers["location"]
    token = re.search(r'name="token" value="([^"]+)"', site.get(path).text)
    assert token is not None
    return path, token[1]


def count(site, table="review"):
    with site.engine.connect() as connection:
        return connection.execute(text(f"SELECT count(*) FROM {table}")).scalar_one()


def as_person(site, name):
    site.cookie = None
    site.log_in(name)
    return site.csrf("/review")


def test_the_longest_correction_is_taken_by_the_application_that_is_served(tmp_path):
    engine = schema.sqlite_engine(tmp_path / "web.db")
    clock = ManualClock(NOON_S + 60.0)
    served = create_api(api_services(None, clock))
    site = Web(tmp_path, engine=engine, clock=clock, reviews=ReviewQueue(engine, clock, gold_rate=0.0), app=served)  # fmt: skip
    site.log_in("mara", "reviewer")
    drawn(engine, [("question", "answer")])
    path, token = claimed(site)
    longest = "\N{GRINNING FACE}" * 100_000
    form = {"csrf": site.csrf(path), "token": token, "correction": longest, **FORM}

    assert site.post(f"{path}/draft", revision="0", **form).status_code == 200
    assert site.post(f"{path}/submit", **form).status_code == 303
    refused = site.post(f"{path}/draft", revision="0", **form | {"comment": "x" * 1_000_000})

    with engine.connect() as connection:
        [stored] = connection.execute(text("SELECT corrected_response FROM review")).scalars()
    assert stored == longest
    assert refused.status_code == 413
    assert "2,097,152 bytes; shorten its texts" in refused.text
    assert "<h1>That is too much</h1>" in refused.text
    site.close()
    engine.dispose()


def test_what_a_page_of_an_older_session_sends_can_be_sent_again(site):
    drawn(site.engine, [("question", "answer")])
    path, token = claimed(site)
    typed = {"token": token, "comment": 'half "way"', **FORM}

    answer = site.post(f"{path}/submit", csrf="older", origin=ORIGIN, **typed)

    assert answer.status_code == 403
    assert "Send it again as mara" in answer.text
    assert f'action="{path}/submit"' in answer.text
    again = dict(re.findall(r'type="hidden" name="([^"]+)" value="([^"]*)"', answer.text))
    again = {name: html.unescape(value) for name, value in again.items()}
    assert again == typed | {"csrf": site.csrf(path)}
    assert f'href="{path}">Try again' in answer.text
    assert site.post(f"{path}/submit", **again).status_code == 303
    assert count(site) == 1


@pytest.mark.parametrize("origin", [None, "https://evil.example"])
def test_nothing_is_offered_again_that_no_page_of_ours_has_sent(site, origin):
    drawn(site.engine, [("question", "answer")])
    path, token = claimed(site)

    answer = site.post(f"{path}/submit", csrf="x", origin=origin, token=token, comment="typed")

    assert answer.status_code == 403
    assert "typed" not in answer.text and "Send it again" not in answer.text


def test_a_password_is_never_shown_again(site):
    answer = site.post("/logout", csrf="older", origin=ORIGIN, password="hunter2", note="typed")

    assert answer.status_code == 403
    assert "hunter2" not in answer.text and "typed" not in answer.text


@pytest.mark.parametrize(
    ("referer", "page"),
    [
        (None, "{path}"),
        ("{origin}{path}", "{path}"),
        ("{origin}{path}/submit", "{path}"),
        ("{origin}/review/history?before=3", "/review/history?before=3"),
        ("https://evil.example/x", "{path}"),
    ],
)
def test_whoever_is_logged_out_comes_back_to_the_page_of_the_form(site, referer, page):
    drawn(site.engine, [("question", "answer")])
    path, token = claimed(site)
    site.cookie = None
    sent_from = None if referer is None else referer.format(origin=ORIGIN, path=path)

    answer = site.post(f"{path}/submit", referer=sent_from, token=token, **FORM)

    assert answer.status_code == 303
    assert answer.headers["location"] == f"/login?{urlencode({'next': page.format(path=path)})}"


def test_a_review_is_submitted_and_the_next_item_comes_at_once(site):
    drawn(site.engine, [("one", "answer one"), ("two", "answer two")])
    path, token = claimed(site)
    other = "answer two" if "answer one" in site.get(path).text else "answer one"

    answer = site.post(f"{path}/submit", csrf=site.csrf(path), token=token, **FORM)

    assert answer.status_code == 303
    assert other in site.get(answer.headers["location"]).text
    assert count(site) == 1


def test_the_page_is_blind(site):
    drawn(site.engine, [("q", "the answer")], arms=("canary",))
    page = site.get(claimed(site)[0]).text

    for word in ("canary", "gpt-5", "judge-", "control"):
        assert word not in page.partition('<main id="main"')[2].partition("</main>")[0].lower()


@pytest.mark.parametrize("act", ["submit", "skip", "draft", "hold", "claim", "revise", "reveal"])
def test_without_the_session_s_token_nothing_is_done(site, act):
    drawn(site.engine, [("q", "a")])
    path, token = claimed(site)

    for csrf in ("", "0" * 64):
        answer = site.post(
            f"{path}/{act}", csrf=csrf, token=token, revision="0", reason="x", **FORM
        )
        assert answer.status_code == 403
    assert count(site) == 0


@pytest.mark.parametrize("act", ["submit", "skip", "draft", "hold", "claim", "revise", "reveal"])
def test_the_item_of_somebody_else_is_nobody_s_business(site, act):
    drawn(site.engine, [("q", "a")])
    path, token = claimed(site)
    csrf = as_person(site, "jon")

    answer = site.post(f"{path}/{act}", csrf=csrf, token=token, revision="0", reason="x", **FORM)

    assert answer.status_code in {404, 409}
    for suffix in ("", "/revise", "/reveal", "/text/response"):
        assert site.get(f"{path}{suffix}").status_code in {404, 409}
    assert count(site) == 0


@pytest.mark.parametrize(
    "change",
    [
        {"label:helpfulness": "' OR 1=1"},
        {"label:helpfulness": ""},
        {"label:nothing": "met"},
        {"label:answers_question": "\x00"},
    ],
)
def test_a_form_with_labels_that_do_not_exist_is_refused_with_what_was_entered(site, change):
    drawn(site.engine, [("q", "a")])
    path, token = claimed(site)

    answer = site.post(
        f"{path}/submit", csrf=site.csrf(path), token=token, comment="kept <b>", **(FORM | change)
    )

    assert answer.status_code == 422
    assert "kept &lt;b&gt;" in answer.text
    assert count(site) == 0


@pytest.mark.parametrize("revision", ["", "-1", "x", "9" * 40, "1e3"])
def test_a_draft_s_revision_is_a_number(site, revision):
    drawn(site.engine, [("q", "a")])
    path, _ = claimed(site)

    assert site.post(f"{path}/draft", csrf=site.csrf(path), revision=revision).status_code == 400


def test_the_time_that_a_page_claims_is_bounded(site):
    drawn(site.engine, [("q", f"a{n}") for n in range(4)])
    for seconds in ("nan", "-5", "1e99", "inf"):
        path, token = claimed(site)
        site.post(f"{path}/submit", csrf=site.csrf(path), token=token, seconds=seconds, **FORM)
    with site.engine.connect() as connection:
        known = (
            connection.execute(text("SELECT seconds_active FROM review ORDER BY id"))
            .scalars()
            .all()
        )
    assert known == [None, None, 86_400.0, None]


def test_a_stale_lease_keeps_what_was_entered(site):
    drawn(site.engine, [("q", "a")])
    path, token = claimed(site)
    csrf = site.csrf(path)
    cookie = site.cookie
    site.clock.advance(1_000.0)
    other = as_person(site, "jon")
    taken, fresh = claimed(site)
    assert site.post(f"{taken}/submit", csrf=other, token=fresh, **FORM).status_code == 303
    site.cookie = cookie

    answer = site.post(f"{path}/submit", csrf=csrf, token=token, comment="my words", **FORM)

    assert answer.status_code == 409
    assert "my words" in answer.text
    assert "this review is not stored: claim the next one. Your draft is kept." in answer.text
    assert "Claim it again" in answer.text
    assert "my words" in site.get(path).text
    assert count(site) == 1


def test_a_gold_item_that_is_unticked_measures_nobody_any_more(site):
    [sample] = drawn(site.engine, [("q", "a")])
    path, token = claimed(site)
    site.post(f"{path}/submit", csrf=site.csrf(path), token=token, **FORM)
    csrf, page = as_person(site, "lead"), f"/review/disagreements/{sample}"
    site.post(page, csrf=csrf, reason="clear", gold="1", **FORM)
    with site.engine.begin() as connection:  # mara was shown it as gold
        connection.execute(text("UPDATE review SET is_gold = 1"))
    people = People(site.engine, site.clock)
    assert people.report(7)[0].gold == (3, 3)

    answer = site.post(page, csrf=csrf, reason="no", **(FORM | {"label:answers_question": "unmet"}))

    assert answer.status_code == 303
    assert people.report(7)[0].gold == (0, 0)
    assert not re.search(r'name="gold"[^>]* checked', site.get(page).text)
    site.post(page, csrf=csrf, reason="again", **FORM)
    with site.engine.connect() as connection:
        acts = connection.execute(text("SELECT action FROM audit_entry ORDER BY id")).scalars()
        assert [each for each in acts if "gold" in each] == ["review.gold", "review.gold_retired"]


def test_a_review_that_was_undone_is_called_so_and_goes_on_where_it_was(site):
    [sample] = drawn(site.engine, [("q", "a")])
    path, token = claimed(site)
    csrf = site.csrf(path)
    site.post(f"{path}/submit", csrf=csrf, token=token, seconds="300", **FORM)
    assert 'name="seconds" value="300.0"' in site.get(f"{path}/revise").text

    site.post("/review/undo", csrf=csrf)

    assert 'name="seconds" value="300.0"' in site.get(path).text
    as_person(site, "lead")
    said = re.findall(r"<strong>mara</strong> (\w+)", site.get(f"/samples/{sample}").text)
    assert sorted(said) == ["reviewed", "undone"]


def test_a_revision_that_is_refused_has_what_was_entered(site):
    drawn(site.engine, [("q", "a")])
    path, token = claimed(site)
    csrf = site.csrf(path)
    site.post(f"{path}/submit", csrf=csrf, token=token, **FORM)

    answer = site.post(f"{path}/revise", csrf=csrf, comment="mine", **{"label:invents": "met"})

    assert answer.status_code == 422
    assert "What you entered is below." in answer.text
    assert "draft" not in answer.text.partition('role="alert"')[2].partition("</section>")[0]


def test_the_list_says_how_many_wait_when_it_does_not_show_all(site, monkeypatch):
    names = drawn(site.engine, [("q", f"a{n}") for n in range(3)])
    queue = ReviewQueue(site.engine, site.clock)
    other = LABELS | {"helpfulness": "none"}
    for name in names:
        queue.record([(name, "ann", Submission(LABELS)), (name, "jon", Submission(other))])
    as_person(site, "lead")
    assert "3 to decide." in site.get("/review/disagreements").text
    monkeypatch.setattr(review_decide, "SHOWN", 2)

    page = site.get("/review/disagreements").text

    assert "3 to decide; these are the 2 most urgent." in page
    assert page.count("People differ") == 2


@pytest.mark.parametrize("entered", ["page", "draft", "no script"])
def test_a_flag_set_before_a_skip_is_kept(site, entered):
    drawn(site.engine, [("q", "a")])
    path, token = claimed(site)
    csrf, form = site.csrf(path), {"flag": "1", "comment": "my street", "revision": "0"}
    if entered == "draft":
        assert site.post(f"{path}/draft", csrf=csrf, **form).status_code == 200
    sent = {"page": form, "draft": {}, "no script": {"flag": "1"}}[entered]

    answer = site.post(f"{path}/skip", csrf=csrf, token=token, reason="It upsets me", **sent)

    assert answer.status_code == 303
    assert (count(site, "review_flag"), count(site, "review_draft")) == (1, 0)
    with site.engine.connect() as connection:
        said = connection.execute(text("SELECT comment FROM review")).scalar_one()
    assert said == ("It upsets me" if entered == "no script" else "It upsets me: my street")


@pytest.mark.parametrize(
    "path",
    [
        "/review/disagreements", "/review/reviewers", "/review/datasets", "/review/pairs",
        "/review/datasets/golden/1/jsonl", "/review/disagreements/nothing",
    ],
)  # fmt: skip
def test_a_reviewer_sees_no_page_of_those_who_run_the_reviews(site, path):
    assert site.get(path).status_code == 403


@pytest.mark.parametrize(
    ("path", "form"),
    [
        ("/review/disagreements/x", {"reason": "x"}),
        ("/review/disagreements/x/looked", {}),
        ("/review/reviewers/exclude", {"reviewer": "jon", "reason": "x"}),
        ("/review/reviewers/include", {"reviewer": "jon"}),
        ("/review/datasets/promote", {"name": "x"}),
        ("/review/datasets/freeze", {"name": "x"}),
    ],
)
def test_a_reviewer_decides_excludes_and_freezes_nothing(site, path, form):
    assert site.post(path, csrf=site.csrf("/review"), **form).status_code == 403


@pytest.mark.parametrize(
    "path",
    [
        "/review/history?person=';DROP TABLE review--", "/review/history?before=' OR 1=1",
        "/review/disagreements?rubric=' OR 1=1", "/review/reviewers?days=0", "/review/nothing/next",
        "/review/item/' OR 1=1", "/review/pairs/item/x", "/review/datasets/x/1/exe",
        "/review/datasets/..%2F..%2Fetc/1/csv", "/review/pairs/nothing/next",
    ],
)  # fmt: skip
def test_strange_addresses_are_a_page_or_a_4xx(site, path):
    as_person(site, "lead")
    drawn(site.engine, [("q", "a")])

    assert site.get(path.replace(" ", "%20")).status_code in {200, 303, 400, 404}


def test_texts_of_reviewers_are_escaped_wherever_they_are_shown(site):
    drawn(site.engine, [("q", "a")])
    path, token = claimed(site)
    csrf = site.csrf(path)
    site.post(f"{path}/submit", csrf=csrf, token=token, comment=XSS, correction=XSS, **FORM)
    seen = [site.get(path).text, site.get(f"{path}/revise").text, site.get("/review/history").text]
    csrf = as_person(site, "lead")
    seen += [site.get("/review/datasets").text]
    name = path.rpartition("/")[2]
    site.post(
        f"/review/disagreements/{name}",
        csrf=csrf,
        reason=XSS,
        **FORM,
        **{"unclear:helpfulness": "1"},
    )
    seen += [site.get(f"/review/disagreements/{name}").text, site.get("/review/disagreements").text]

    for page in seen:
        assert "tripped=1" in page
        assert "<script>window" not in page
        assert "<img src=x" not in page
        assert not re.search(r"""\s(style|on\w+)\s*=""", re.sub(r"&\w+;|&#\d+;|>[^<]*<", "", page))


def test_nothing_of_a_text_reaches_the_audit_log(site):
    drawn(site.engine, [("secret prompt", "secret answer")])
    path, token = claimed(site)
    csrf = site.csrf(path)
    site.post(f"{path}/submit", csrf=csrf, token=token, comment="secret remark", **FORM)
    with site.engine.connect() as connection:
        entries = str(connection.execute(text("SELECT * FROM audit_entry")).all())
    assert "review.submit" in entries
    assert "secret" not in entries

"""The pages of rollouts over the real service, on both databases: what is read, what is done."""

import json
import re

import pytest
from sqlalchemy import event, text

from llm_canary.errors import Conflict, NotFound
from llm_canary.rollout.service import Seen
from llm_canary.storage.engine import read_session
from llm_canary.storage.repositories.access import audit
from tests.support.control import Web
from tests.support.rollout_world import QUICK, Arm, World

CONFIG = QUICK.replace("PLAN", "quick") + "\n"


@pytest.fixture
def world(tmp_path, engine):
    made = World(tmp_path, CONFIG, engine=engine)
    made.control = made.canary = Arm(error=0.02)
    return made


@pytest.fixture
def web(tmp_path, world):
    made = Web(
        tmp_path, engine=world.engine, clock=world.clock, rollouts=world.service,
        config=lambda: world.config,
    )  # fmt: skip
    made.log_in("mara", "operator")
    yield made
    made.close()


def form(web, action, name="next"):
    """The hidden fields of the confirmation as it is now."""
    page = web.get(f"/rollouts/{name}/act/{action}")
    assert page.status_code == 200, page.text
    return dict(re.findall(r'type="hidden" name="(\w+)" value="([^"]*)"', page.text))


def send(web, action, fields, *, reason="because", htmx=False, name="next"):
    return web.post(f"/rollouts/{name}/act/{action}", htmx=htmx, reason=reason, **fields)


def acts(world):
    return [(action, stage) for action, stage in world.actions() if action != "create"]


def test_a_rollout_is_started_held_resumed_and_rolled_back_from_its_page(web, world):
    for action in ("start", "hold", "resume", "rollback"):
        answer = send(web, action, form(web, action))
        assert (answer.status_code, answer.headers["location"]) == (303, "/rollouts/next")

    assert [action for action, _ in acts(world)] == ["start", "hold", "resume", "rollback"]
    newest = world.service.history("next")[0]
    assert (newest.actor, newest.reason) == ("mara", "because")
    assert "Rolled back" in web.get("/rollouts/next").text


def test_htmx_gets_the_confirmation_as_a_fragment_and_is_sent_back_afterwards(web, world):
    world.start()
    fragment = web.get("/rollouts/next/act/hold", **{"hx-request": "true"}).text

    answer = send(web, "hold", form(web, "hold"), htmx=True)

    assert "<html" not in fragment
    assert 'name="seq"' in fragment
    assert (answer.status_code, answer.headers["hx-redirect"]) == (204, "/rollouts/next")


def test_the_same_confirmation_sent_twice_promotes_once(web, world):
    world.start()
    fields = form(web, "promote")

    first, second = send(web, "promote", fields), send(web, "promote", fields, htmx=True)

    assert (first.status_code, second.status_code) == (303, 409)
    assert second.headers["hx-retarget"] == "#problem"
    assert "changed meanwhile" in second.text
    assert acts(world) == [("start", "initial"), ("promote", "broad")]


def test_a_page_of_an_earlier_attempt_does_nothing_to_the_newer_one(web, world):
    world.start()
    stale = form(web, "rollback")
    world.service.rollback("next", actor="jon", reason="again")
    world.start()

    for action in ("rollback", "hold", "promote", "start", "create"):
        assert send(web, action, stale).status_code == 409

    assert world.service.get("next").state == "running"


def test_a_rollback_counts_although_the_controller_moved_a_moment_before(web, world):
    world.start()
    fields = form(web, "rollback")
    world.service.promote("next", actor="jon", reason="go")

    assert send(web, "rollback", fields).status_code == 303

    assert world.service.get("next").state == "rolled_back"


def test_two_who_start_what_the_file_has_start_one_attempt(web, world):
    fields = form(web, "start")

    assert [send(web, "start", fields).status_code for _ in range(2)] == [303, 409]
    assert world.service.get("next").attempt == 1


def test_without_a_reason_nothing_is_done(web, world):
    world.start()

    assert send(web, "hold", form(web, "hold"), reason=" ").status_code == 400
    assert world.service.get("next").hold is None


@pytest.mark.parametrize(("action", "status"), [("resume", 409), ("delete", 404), ("../hold", 404)])
def test_what_cannot_be_done_is_refused_on_the_way_there(web, world, action, status):
    world.start()

    assert web.get(f"/rollouts/next/act/{action}").status_code == status


def test_every_act_is_in_the_audit_log_and_every_refusal_too(web, world):
    world.start()
    fields = form(web, "hold")
    send(web, "hold", fields)
    send(web, "hold", fields)

    with read_session(world.engine) as session:
        noted = [each for each in audit(session, limit=10) if "rollout." in each.action]
    assert [(each.actor, each.action, each.target) for each in noted] == [
        ("mara", "rollout.hold", "next"), ("mara", "rollout.hold", "next"),
    ]  # fmt: skip
    refused, done = noted
    assert refused.detail["refused"] == "conflict"
    assert (done.detail["reason"], done.detail["stage"]) == ("because", "initial")


def test_who_may_not_operate_sees_no_page_and_does_nothing(web, world):
    world.start()
    fields = form(web, "rollback")
    web.log_in("rita", "reviewer")

    assert web.get("/rollouts/next").status_code == 403
    assert web.get("/rollouts/next/act/rollback").status_code == 403
    assert send(web, "rollback", fields).status_code == 403
    assert world.service.get("next").state == "running"


def test_a_form_without_the_sessions_token_does_nothing(web, world):
    world.start()
    fields = form(web, "rollback") | {"csrf": "0" * 64}

    assert send(web, "rollback", fields).status_code == 403
    assert world.service.get("next").state == "running"


def test_the_service_refuses_what_was_meant_for_another_state(world):
    world.start()
    record = world.service.get("next")
    world.service.hold("next", actor="jon", reason="lunch")

    with pytest.raises(Conflict, match="changed meanwhile"):
        world.service.resume("next", actor="mara", reason="go", seen=Seen(record.id, record.seq))
    with pytest.raises(Conflict, match="new attempt"):
        world.service.rollback("next", actor="mara", reason="go", seen=Seen("another", 1))


def test_the_page_shows_the_numbers_of_the_service(web, world):
    world.start()
    world.step(2_000, 70.0)
    view = world.view

    page = web.get("/rollouts/next").text

    for compared in view.comparisons:
        assert f'id="metric-{compared.metric}"' in page
        assert f"n {compared.n_canary:,}" in page
    assert f"{view.units[0]:,} / {view.units[1]:,}" in page
    assert 'id="segment-tier"' in web.get("/rollouts/next/segments").text
    assert "not a stopping rule" in page
    assert "charts" in page


def test_an_unchanged_fragment_is_a_304_and_a_changed_one_is_not(web, world):
    world.start()
    world.step(500, 30.0)
    for path in ("/rollouts/next/numbers", "/rollouts/next/segments", "/partials/rollouts"):
        tag = web.get(path).headers["etag"]
        assert web.get(path, **{"if-none-match": tag}).status_code == 304

        world.step(500, 1.0)
        assert web.get(path, **{"if-none-match": tag}).status_code == 200


def test_each_attempt_has_its_page(web, world):
    world.start()
    world.step(500, 30.0)
    world.service.rollback("next", actor="jon", reason="first try")
    world.start()

    first, second = web.get("/rollouts/next?attempt=1"), web.get("/rollouts/next")

    assert "Rolled back" in first.text
    assert "first try" in first.text
    assert "/act/" not in first.text
    assert "/act/hold" in second.text
    assert 'hx-get="/rollouts/next/numbers?attempt=1"' in first.text
    assert web.get("/rollouts/next?attempt=7").status_code == 404
    assert web.get("/rollouts/next?attempt=x").status_code == 400


def test_a_decision_is_shown_with_its_replay_and_can_be_taken_away_whole(web, world):
    world.canary = Arm(error=0.6)
    world.start()
    world.step(2_000, 65.0)
    decided = world.service.decisions("next")[0]
    path = f"/rollouts/next/decisions/{decided.id}"

    page, taken = web.get(path), web.get(f"{path}/json")

    assert decided.verdict == "rollback"
    assert "to the last bit" in page.text
    assert "error_rate over all units" in page.text
    assert decided.evidence_hash in page.text
    assert "attachment" in taken.headers["content-disposition"]
    assert json.loads(taken.content)["evidence"]["rollout"] == "next"
    assert web.get(f"/rollouts/other/decisions/{decided.id}").status_code == 404
    assert web.get("/rollouts/next/decisions/none").status_code == 404


def test_an_altered_decision_says_so(web, world):
    world.start()
    world.step(500, 30.0)
    decided = world.service.decisions("next")[0]
    with world.engine.begin() as connection:
        connection.execute(
            text("UPDATE decision SET evidence_hash = 'forged' WHERE id = :id"), {"id": decided.id}
        )

    page = web.get(f"/rollouts/next/decisions/{decided.id}").text

    assert "Altered" in page
    assert "Same verdict" not in page


def test_the_overview_agrees_with_the_full_view(world):
    world.start()
    world.step(1_000, 70.0)
    view = world.view

    (found,) = world.service.read.overview(limit=5).open

    assert (found.stage, found.share, found.units) == (view.stage, view.share, view.units)
    assert found.reasons == view.decision.reasons
    shown = {each.metric: each for each in view.comparisons}[found.worst.metric]
    assert found.worst.comparison.difference == shown.difference
    assert (found.worst.comparison.low, found.worst.comparison.high) == (shown.low, shown.high)
    assert found.outlook == world.service.read.detail("next").outlook


def test_what_a_person_ended_has_the_reason_that_they_gave(web, world):
    world.start()
    world.step(500, 30.0)
    assert world.view.decision.reasons
    world.service.rollback("next", actor="jon", reason="the tone is wrong")

    assert world.service.read.overview(limit=5).ended[0].reasons == ("the tone is wrong",)
    notice = re.search(r'<p class="notice[^>]*>([^<]*)', web.get("/rollouts/next").text)[1]
    assert notice.endswith("UTC. the tone is wrong")


def test_what_was_decided_in_an_earlier_stage_says_nothing_of_this_ones_gates(world):
    world.start()
    world.step(500, 30.0)
    world.service.promote("next", actor="mara", reason="go")

    (found,) = world.service.read.overview(limit=5).open

    assert (found.stage, found.worst, found.reasons) == ("broad", None, ())
    assert found.gates == (0, 2)


def test_the_list_takes_as_many_queries_for_many_as_for_one(tmp_path, engine):
    routes = "".join(f"  bot{k}: {{control: {{upstream: sim, model: good}}}}\n" for k in range(6))
    rollouts = "".join(
        f"  roll{k}: {{route: bot{k}, canary: {{upstream: sim, model: new}}, plan: quick}}\n"
        for k in range(6)
    )
    config = CONFIG.replace("rollouts:\n", f"{routes}rollouts:\n{rollouts}", 1)
    world = World(tmp_path, config, engine=engine)
    counts = []

    def count():
        seen = []
        listen = lambda *_: seen.append(1)  # noqa: E731
        event.listen(engine, "before_cursor_execute", listen)
        found = world.service.read.overview(limit=20)
        event.remove(engine, "before_cursor_execute", listen)
        counts.append(len(seen))
        return found

    world.start("roll0")
    count()
    for k in range(1, 6):
        world.start(f"roll{k}")
    world.controller.tick()
    found = count()

    assert counts[0] == counts[1]
    assert [each.state for each in found.open].count("running") == 6


def test_an_unknown_rollout_is_not_found_by_name(world):
    with pytest.raises(NotFound, match=r"canary\.yaml has next"):
        world.service.read.detail("other")


def test_hostile_segment_values_are_text(web, world):
    world.start()
    hostile = "<script>alert(1)</script>\u202e"
    world.sink.write(
        [
            each
            for _ in range(40)
            for each in world.request(world.clock.now_s() - 20.0, segments={"tier": hostile})
        ]
    )
    world.score()

    page = web.get("/rollouts/next/segments").text
    whole = web.get("/rollouts/next/segments?segment=tier").text

    for html in (page, whole):
        assert "<script>alert" not in html
        assert "&lt;script&gt;alert(1)&lt;/script&gt;\ufffd" in html

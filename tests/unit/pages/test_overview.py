import pytest

from llm_canary.pages.banners import banners
from llm_canary.pages.metric_row import metric_row
from llm_canary.pages.overview import overview
from tests.rollout_views import NOW_S, comparison, every_state, gate, rollout, stages


def page(*views, banners=()):
    return overview(views, banners, NOW_S)


def test_what_needs_a_person_comes_first_and_what_ended_comes_last():
    shown = page(*every_state())

    assert [card.name for card in shown.active] == [
        "search-rerank", "support-v13", "triage-small", "summaries-v2",
    ]  # fmt: skip
    assert [card.name for card in shown.ended] == ["support-json", "support-v12"]
    assert shown.summary.startswith("1 held, 1 running")


def test_a_database_that_cannot_be_read_is_not_an_empty_one():
    assert overview((), (), 0.0).is_empty
    assert not overview(None, (), 0.0).is_empty


def test_the_timeline_says_where_each_stage_stands():
    steps = page(rollout()).active[0].stages

    assert [(step.place, step.filled) for step in steps] == [
        ("done", 100.0), ("now", 8.6), ("ahead", 0.0), ("ahead", 0.0), ("ahead", 0.0),
    ]  # fmt: skip


def test_a_rolled_back_rollout_shows_the_stage_that_stopped_it():
    view = rollout(state="rolled_back", stages=stages("initial"), ended_s=NOW_S)

    assert page(view).ended[0].stages[0].place == "stopped"


def test_a_hold_says_who_why_and_what_to_type():
    (held,) = page(rollout(state="held", hold_by="robot", hold_reason="broken split")).active

    assert "Held by the controller: broken split" in held.notice
    assert held.command == "llm-canary rollout resume|promote|rollback support-v13"


def test_a_draft_says_how_to_start_it():
    draft = next(card for card in page(*every_state()).active if card.state == "Not started")

    assert draft.command == "llm-canary rollout start summaries-v2"
    assert draft.facts == ()


def test_a_plan_with_a_lowered_floor_says_so_beside_the_verdict():
    assert page(rollout(min_units=200)).active[0].decision.caveat == ""
    assert "40" in page(rollout(min_units=40)).active[0].decision.caveat


def test_while_the_verdict_holds_its_reasons_carry_the_numbers_of_this_moment():
    decided = page(rollout(verdict="wait", reasons=("now",))).active[0].decision

    assert (decided.verdict, decided.reasons, decided.now) == ("Wait", ("now",), "")


def test_another_verdict_at_this_moment_stands_beside_the_stored_one():
    decided = page(rollout(verdict="hold", reasons=("now",))).active[0].decision

    assert (decided.verdict, decided.now, decided.reasons_now) == ("Wait", "Hold", ("now",))
    assert decided.reasons == rollout().decision.reasons


@pytest.mark.parametrize(
    ("status", "more", "word"),
    [
        ("pass", {}, "Passed"),
        ("fail", {}, "Failed"),
        ("inconclusive", {}, "Not proven yet"),
        ("no_data", {}, "No data"),
        ("not_applicable", {}, "Not asked for"),
        ("inconclusive", {"needs_person": True}, "For a person"),
    ],
)
def test_each_gate_has_a_word_and_not_only_a_colour(status, more, word):
    compared = comparison()

    assert metric_row(compared, gate(compared, status, **more)).gate == word


def test_small_harm_within_the_margin_is_shown_in_amber():
    compared = comparison()

    row = metric_row(compared, gate(compared, "pass", is_small_harm=True))

    assert (row.gate, row.tone) == ("Passed", "warn")


def test_a_quantile_shows_times_but_compares_shares():
    row = metric_row(comparison("latency_p95", control=930.0, canary=968.0, threshold=1023.0), None)

    assert "930" in row.control
    assert row.difference.endswith("pp")
    assert "share above" in row.kind


def test_the_picture_has_the_whole_row_as_words():
    compared = comparison()

    text = metric_row(compared, gate(compared, "pass")).plot.text

    for part in ("error rate", "worse by", "interval", "margin", "passed"):
        assert part in text


HEALTHY = {
    "config_problem": None,
    "telemetry": {"dropped_full": 0, "dropped_error": 0, "last_error": None},
    "loops": [{"name": "decide", "last_ok_s": NOW_S - 1, "last_error": None}],
}


def loop(**changes):
    return HEALTHY | {
        "loops": [{"name": "decide", "last_ok_s": NOW_S - 1, "last_error": None} | changes]
    }


@pytest.mark.parametrize(
    ("status", "titles"),
    [
        pytest.param(HEALTHY, [], id="all-is-well"),
        pytest.param(HEALTHY | {"telemetry": None}, [], id="the-gateway-runs-elsewhere"),
        pytest.param(loop(last_ok_s=None), [], id="just-started"),
        pytest.param(loop(last_ok_s=NOW_S - 31), ["The controller stands still"], id="stalled"),
        pytest.param(loop(last_error="Oops"), ["The controller fails"], id="failing"),
        pytest.param(
            HEALTHY
            | {"telemetry": {"dropped_full": 2, "dropped_error": 1, "last_error": "OSError"}},
            ["Telemetry was lost"],
            id="drops",
        ),
        pytest.param(
            HEALTHY | {"config_problem": "canary.yaml:3: bad"},
            ["The newest configuration file is refused"],
            id="a-refused-file",
        ),
    ],
)
def test_banners_say_what_is_wrong_with_the_process(status, titles):
    assert [banner.title for banner in banners(status, NOW_S)] == titles

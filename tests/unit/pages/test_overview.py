import msgspec
import pytest

from llm_canary.decision.outlook import Outlook
from llm_canary.pages.banners import banners
from llm_canary.pages.metric_row import metric_row, significance
from llm_canary.pages.outlook_text import expectation
from llm_canary.pages.overview import overview
from llm_canary.pages.rollout_card import card
from llm_canary.rollout.reading import Overview
from tests.rollout_views import HOUR_S, NOW_S, comparison, every_state, gate, rollout, stages
from tests.support.rollout_reader import detail_of, overview_of, summary


def page(*views, banners=()):
    return overview(overview_of(*views), banners, NOW_S, 1)


def shown(view):
    return card(detail_of(view), NOW_S)


def names(of):
    return {group.title: [row.name for row in group.rows] for group in of.groups}


def test_what_needs_a_person_comes_first_and_what_ended_comes_last():
    found = page(*every_state())

    assert names(found) == {
        "Needs a person": ["search-rerank"],
        "Running": ["support-v13", "triage-small"],
        "Not started": ["summaries-v2"],
    }
    assert [row.name for row in found.ended] == ["support-json", "support-v12"]
    assert found.summary == "1 held, 1 running, 1 standby, 1 not started, 2 ended"


def test_a_rollout_that_is_about_to_be_held_needs_a_person_too():
    about = Overview((summary(rollout(), verdict="hold"),), (), 0)

    assert list(names(overview(about, (), NOW_S, 1))) == ["Needs a person"]


def test_what_the_controller_holds_comes_before_what_a_person_holds():
    mine = rollout("mine", state="held", hold_by="mara", hold_reason="lunch")
    robots = rollout("robots", state="held", hold_by="robot", hold_reason="broken split")

    assert names(page(mine, robots))["Needs a person"] == ["robots", "mine"]


def test_a_row_says_what_it_waits_for_without_the_numbers_beside_it():
    (row,) = page(rollout()).groups[0].rows

    assert row.waits.startswith("latency_p95: not proven yet; thumbs_up_rate: 96 of at least 200")
    assert (row.worst.name, row.gates) == ("latency p95", "2 of 5 gates passed")
    assert (row.stage, row.share) == ("expanded, 2 of 5", "25\N{NARROW NO-BREAK SPACE}%")


def test_a_long_reason_is_cut():
    (row,) = page(rollout(state="held", hold_by="mara", hold_reason="x" * 5_000)).groups[0].rows

    assert len(row.waits) == 200


def test_a_database_that_cannot_be_read_is_not_an_empty_one():
    assert page().is_empty
    assert not overview(None, (), 0.0, 1).is_empty


AHEAD = Outlook(earliest_s=2 * HOUR_S, latest_s=24 * HOUR_S)


@pytest.mark.parametrize(
    ("outlook", "text", "note"),
    [
        pytest.param(None, "unknown", "", id="nobody-knows"),
        pytest.param({"expected_s": 2 * HOUR_S}, "in 1\u202fh", "", id="only-time-is-lacking"),
        pytest.param(
            {"expected_s": 13 * HOUR_S, "binding": "thumbs_up_rate"},
            "in about 12\u202fh",
            "by thumbs up rate; a person is asked in 23\u202fh",
            id="a-look-that-would-do",
        ),
        pytest.param(
            {"binding": "error_rate"},
            "not before 23\u202fh",
            "then a person is asked",
            id="too-slow",
        ),
        pytest.param(
            {"binding": "error_rate", "is_known": False}, "unknown", "too little", id="no-data"
        ),
    ],
)
def test_when_a_decision_is_expected_is_said_with_what_it_rests_on(outlook, text, note):
    ahead = None if outlook is None else msgspec.structs.replace(AHEAD, **outlook)

    said = expectation(ahead, NOW_S - HOUR_S, NOW_S)

    assert said.text == text
    assert note in said.note


def test_the_timeline_says_where_each_stage_stands():
    steps = shown(rollout()).stages

    assert [(step.place, step.filled) for step in steps] == [
        ("done", 100.0), ("now", 8.6), ("ahead", 0.0), ("ahead", 0.0), ("ahead", 0.0),
    ]  # fmt: skip


def test_a_rolled_back_rollout_shows_the_stage_that_stopped_it():
    view = rollout(state="rolled_back", stages=stages("initial"), ended_s=NOW_S)

    assert shown(view).stages[0].place == "stopped"
    assert shown(view).notice.startswith("Over since")


def test_a_hold_says_who_why_and_what_to_type():
    held = shown(rollout(state="held", hold_by="robot", hold_reason="broken split"))

    assert "Held by the controller: broken split" in held.notice
    assert held.command == "llm-canary rollout resume|promote|rollback support-v13"


def test_a_draft_says_how_to_start_it():
    draft = shown(next(view for view in every_state() if view.state == "draft"))

    assert draft.command == "llm-canary rollout start summaries-v2"
    assert draft.facts == ()


def test_a_plan_with_a_lowered_floor_says_so_beside_the_verdict():
    assert shown(rollout(min_units=200)).decision.caveat == ""
    assert "40" in shown(rollout(min_units=40)).decision.caveat


def test_while_the_verdict_holds_its_reasons_carry_the_numbers_of_this_moment():
    decided = shown(rollout(verdict="wait", reasons=("now",))).decision

    assert (decided.verdict, decided.reasons, decided.now) == ("Wait", ("now",), "")


def test_another_verdict_at_this_moment_stands_beside_the_stored_one():
    decided = shown(rollout(verdict="hold", reasons=("now",))).decision

    assert (decided.verdict, decided.now, decided.reasons_now) == ("Wait", "Hold", ("now",))
    assert decided.reasons == rollout().decision.reasons


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        pytest.param({"log_e_harm": 4.7, "low": 0.001}, "watch: worse", id="harm-proven"),
        pytest.param({"log_e_harm": 4.5, "low": 0.001}, "worse", id="harm-of-another-test"),
        pytest.param({"low": -0.004, "high": -0.001}, "better", id="better"),
        pytest.param({"low": -0.004, "high": 0.009}, "not worse", id="within-the-margin"),
        pytest.param({"low": -0.004, "high": 0.02}, "open", id="open"),
        pytest.param({"low": None, "high": None}, "", id="no-interval"),
    ],
)
def test_the_mark_says_in_a_word_what_the_interval_shows(changes, word):
    assert significance(comparison(**changes), 0.01).text == word


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


@pytest.mark.parametrize(
    ("high", "lacks", "note"),
    [
        (0.009, "96 of at least 200 effective canary units", "96 of at least 200"),
        (0.009, None, "stricter test of the gate"),
        (0.02, None, ""),
        (None, None, ""),
    ],
)
def test_a_gate_that_waits_says_for_what_where_the_interval_shows_enough(high, lacks, note):
    compared = comparison(high=high)

    row = metric_row(compared, gate(compared, "inconclusive", lacks=lacks))

    assert (note in row.note) if note else row.note == ""


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


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        pytest.param({"low": None, "high": None, "log_e_harm": 9.0}, "no interval yet", id="none"),
        pytest.param({"margin": None}, "no margin", id="shown-only"),
    ],
)
def test_where_there_is_no_picture_it_is_said_why(changes, why):
    row = metric_row(comparison(**changes), None, alpha_rollback=0.01)

    assert row.mark.text
    assert (row.plot, row.undrawn) == (None, why)


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

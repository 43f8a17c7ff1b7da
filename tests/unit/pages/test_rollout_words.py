"""The parts of a rollout's page as words."""

from types import SimpleNamespace

import msgspec
import pytest

from llm_canary.clock import ManualClock
from llm_canary.decision.evidence import Counts, HealthFacts
from llm_canary.decision.plan import MetricKind
from llm_canary.decision.problem import Problem
from llm_canary.decision.slices import SliceComparison
from llm_canary.errors import Conflict, NotFound
from llm_canary.metrics.graded import rubric_metrics
from llm_canary.pages.act_words import choices, confirmation
from llm_canary.pages.cost_rows import costs
from llm_canary.pages.evidence_rows import evidence_rows, p_text
from llm_canary.pages.graded_rows import graded_rubrics
from llm_canary.pages.health_rows import e_text, health_rows, troubles
from llm_canary.pages.rollout import rollout_page
from llm_canary.pages.segment_tables import segment_tables
from llm_canary.pages.visible import visible
from llm_canary.rollout.detail import RolloutSlices
from llm_canary.rollout.views import GradingView, TransitionView
from llm_canary.stats.fixed import FixedTest
from llm_canary.storage.repositories.rollout_reads import Attempt
from llm_canary.storage.repositories.series import Spent
from tests.rollout_views import DAY_S, HOUR_S, NOW_S, comparison, every_state, gate, rollout
from tests.support.control import Web
from tests.support.rollout_reader import ViewReader, detail_of

THIN = "\N{NARROW NO-BREAK SPACE}"


def of_state(state, **changes):
    view = next((each for each in every_state() if each.state == state), None)
    return detail_of(view or rollout(state=state), **changes)


def labels(found):
    return [each.label for each in choices(found)]


@pytest.mark.parametrize(
    ("state", "able"),
    [
        ("running", ["Hold", "Promote", "Roll back"]),
        ("held", ["Resume", "Hold it yourself", "Promote", "Roll back"]),
        ("standby", ["Hold", "Finish", "Roll back"]),
        ("rolled_back", ["Start a new attempt", "Create a draft"]),
        ("finished", ["Start a new attempt", "Create a draft"]),
    ],
)
def test_each_state_offers_what_can_be_done_in_it(state, able):
    assert labels(of_state(state)) == able


def test_what_only_the_file_knows_can_be_created_and_a_draft_be_dropped():
    assert labels(of_state("draft", seq=0)) == ["Start", "Create a draft"]
    assert labels(of_state("draft", seq=1)) == ["Start", "Drop the draft"]


def test_a_persons_own_hold_offers_no_second_one():
    held = detail_of(rollout(state="held", hold_by="mara", hold_reason="lunch"))

    assert labels(held) == ["Resume", "Promote", "Roll back"]


def test_an_earlier_attempt_can_only_be_read():
    old = detail_of(
        rollout(state="rolled_back", ended_s=NOW_S),
        attempts=(Attempt(2, "running"), Attempt(1, "rolled_back")),
    )

    assert choices(old) == ()
    with pytest.raises(Conflict, match="nothing can"):
        confirmation(old, "start")


@pytest.mark.parametrize(
    ("state", "action", "says"),
    [
        ("running", "promote", f"from 25{THIN}% to 50{THIN}% (stage broad)"),
        ("running", "promote", "about 4,132 of the 16,530 seen so far"),
        ("running", "promote", "one way"),
        ("running", "rollback", f"from 25{THIN}% to 0{THIN}%"),
        ("running", "rollback", "4,120 users"),
        ("running", "rollback", "one way"),
        ("running", "hold", f"stays at 25{THIN}%"),
        ("held", "resume", "accepted: the canary got 41 users"),
        ("standby", "promote", "becomes the control of ticket-triage"),
        ("draft", "start", f"from 0{THIN}% to 5{THIN}% (stage initial)"),
        ("rolled_back", "start", "draws its users anew"),
    ],
)
def test_a_confirmation_says_what_will_happen(state, action, says):
    assert says in " ".join(confirmation(of_state(state), action).says)


def test_what_cannot_be_done_now_says_what_can():
    with pytest.raises(Conflict, match="resume cannot be done now, Hold, Promote, Roll back can"):
        confirmation(of_state("running"), "resume")
    with pytest.raises(NotFound):
        confirmation(of_state("running"), "delete")


def test_tests_beside_the_decision_are_listed_with_sample_sizes():
    found = detail_of(
        rollout(),
        harm_p={"error_rate": 0.00002},
        tests={"error_rate": (FixedTest("chi-squared", 4.1, 0.043),)},
    )

    row = evidence_rows(found)[0]

    assert (row.name, row.responses, row.units) == (
        "error rate",
        "38,220 / 12,801",
        "12,410 / 4,120",
    )
    assert (row.effective, row.harm_p) == ("3,480", "< 0.0001")
    assert row.fixed == ("chi-squared: p 0.04",)


def test_a_p_value_that_nobody_knows_is_absent_and_not_one():
    assert p_text(None) == "\N{EN DASH}"
    assert p_text(1.0) == "1.00"
    assert p_text(0.0021) == "0.0021"


def test_costs_are_what_was_spent_and_those_of_a_day_with_all_traffic():
    view = rollout()
    stages = [each for each in view.stages if each.started_s is not None]
    lasted_s = sum((each.ended_s or NOW_S) - each.started_s for each in stages)
    assert lasted_s == pytest.approx(32.2 * HOUR_S)

    half = [(20_000, 6_000), (18_220, 6_801)]
    counted = tuple(
        msgspec.structs.replace(each, responses=pair)
        for each, pair in zip(stages, half, strict=True)
    )
    view = msgspec.structs.replace(view, stages=(*counted, *view.stages[2:]))

    spent = (Spent(15_500_000_000, 37_900), Spent(4_490_000_000, 12_700))
    each, all_, day = costs(detail_of(view, spent=spent), NOW_S).rows

    assert (each.control, each.canary) == ("$0.000420", "$0.000361")
    assert (all_.control, all_.canary) == ("$15.50", "$4.49")  # not the mean times all responses
    assert "37,900 / 12,700" in all_.note
    daily = 51_021 * DAY_S / lasted_s
    assert day.canary == f"${daily * 0.000361:.2f}"
    assert f"{daily:,.0f}" in day.note


def test_an_unknown_cost_is_absent_and_a_plan_without_costs_has_no_table():
    unknown = gate(comparison("cost_per_request", "goal", control=None, canary=None), "no_data")

    each, spent, _ = costs(detail_of(rollout(gates=(unknown,))), NOW_S).rows
    assert each.canary == spent.canary == "\N{EN DASH}"
    assert costs(detail_of(rollout(gates=())), NOW_S).rows == ()


GRADING = GradingView(
    rubric="helpful",
    eligible=(1_000, 990),
    without_text=(4, 3),
    not_sampled=(746, 737),
    waiting=(10, 11),
    judged=(230, 229),
    failed=(6, 7),
    shed=(4, 3),
    labelled=(40, 41),
    judges=("gpt-5-mini@1f2e",),
    standing="trusted",
    labels=210,
    drift="stable",
    judge_nanousd=1_230_000_000,
    judge_calls=470,
    reviews=81,
    review_s=5_400.0,
)


def graded():
    compared = {
        spec.name: gate(
            comparison(
                "error_rate", "goal", control=0.8, canary=0.81, difference=-0.01, low=-0.05,
                high=0.02, margin=0.03 if spec.name == "rubric:helpful" else None,
            ),
            "inconclusive",
        )
        for spec in rubric_metrics("helpful", HOUR_S)
    }  # fmt: skip

    gates = tuple(
        msgspec.structs.replace(
            each,
            metric=name,
            comparison=msgspec.structs.replace(each.comparison, metric=name, kind=MetricKind.GOAL),
        )
        for name, each in compared.items()
    )
    view = rollout(gates=gates)
    return detail_of(msgspec.structs.replace(view, grading=(GRADING,)))


def test_a_rubric_shows_the_judge_and_people_beside_their_combination():
    (rubric,) = graded_rubrics(graded())

    assert [who for who, _ in rubric.rows] == ["Corrected by people", "Judge alone", "People alone"]
    assert rubric.standing.text == "Trusted"
    assert "compared with 210 human labels" in rubric.notes
    assert "470 calls of judges, $1.23" in rubric.notes


def test_the_funnel_accounts_for_every_eligible_answer():
    (rubric,) = graded_rubrics(graded())
    counts = [int(step.control.replace(",", "")) for step in rubric.funnel]

    assert counts[0] == sum(counts[1:7])


def test_what_the_judge_alone_says_is_not_among_the_metrics_that_decide():
    page = rollout_page(graded(), (), NOW_S)

    assert [row.anchor for row in page.metrics] == [
        "metric-rubric:helpful", "metric-rubric:helpful_response_rate",
    ]  # fmt: skip


HEALTH = HealthFacts(
    new_units=(Counts(share=0.05, canary=41, total=2_945),),
    last_age_s=(2.0, None),
    telemetry_accepted=10_000,
    telemetry_dropped=12,
)


def test_health_says_what_was_looked_at_and_what_is_in_doubt():
    srm = Problem(code="srm", text="broken split: 41 of 2945", needs_person=True)
    silent = Problem(code="no_data:canary", text="no response of the canary", needs_person=False)
    found = detail_of(rollout(), health=HEALTH, problems=(srm, silent))

    rows = {row.name: row for row in health_rows(found)}

    assert rows["Split of units"].word.text == "In doubt"
    assert "41 of 2,945 units in the canary, 147 expected" in rows["Split of units"].text
    assert rows["Last response"].word.text == "Waits"
    assert rows["Last response"].text == f"control 2{THIN}s ago, canary never"
    assert rows["Telemetry lost"].text == "12 of 10,000 events"
    assert [each.word.text for each in troubles(found)] == ["For a person", "Waits"]


@pytest.mark.parametrize(
    ("log_e", "text"), [(0.0, "1"), (-2.0, "0.14"), (6.907755, "1,000"), (900.0, "over 1,000,000")]
)
def test_an_e_value_is_written_with_the_digits_that_tell_something(log_e, text):
    assert e_text(log_e) == text


def test_before_the_start_nothing_is_claimed_of_health():
    assert health_rows(of_state("draft")) == ()


def test_answers_at_different_rates_are_in_doubt_by_name():
    problem = Problem(code="selection:thumbs_up_rate", text="selection", needs_person=True)
    found = detail_of(rollout(), health=HealthFacts(), problems=(problem,))

    row = next(row for row in health_rows(found) if row.name == "Who answers")

    assert (row.word.text, row.text.split(":")[0]) == ("In doubt", "thumbs_up_rate")


def piece(value, *, segment="geo", flagged=False, rolls_back=False, n=1_000, **changes):
    return SliceComparison(
        segment=segment,
        value=value,
        is_protected=segment == "gender",
        is_flagged=flagged,
        rolls_back=rolls_back,
        comparison=comparison(**({"n_canary": n, "log_e_harm": 0.0} | changes)),
    )


def slices(*pieces, segments=("geo", "gender"), **left_out):
    return RolloutSlices(slices=pieces, segments=segments, protected=("gender",), left_out=left_out)


def test_protected_segments_come_first_and_every_segment_has_its_mark():
    found = segment_tables(slices(piece("de"), piece("at", flagged=True)))

    assert [(table.name, table.is_protected, table.mark.text) for table in found] == [
        ("gender", True, "No data"), ("geo", False, "1 flagged"),
    ]  # fmt: skip


def test_values_stand_as_they_rank_and_a_flagged_metric_before_the_others():
    pieces = piece("tiny"), piece("tiny", flagged=True), piece("de")
    table = segment_tables(slices(*pieces, geo=15))[1]

    assert [each.value for each in table.values] == ["tiny", "de"]
    assert [each.flag.text for each in table.values[0].rows] == ["Flagged", "Not flagged"]
    assert table.left_out == 15


def test_the_page_of_one_segment_has_no_other():
    (table,) = segment_tables(slices(piece("de")), only="geo")

    assert (table.name, len(table.values), table.left_out) == ("geo", 1, 0)


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"flagged": True, "rolls_back": True}, "Rings the alarm"),
        ({"flagged": True}, "Flagged"),
        ({"is_rough": True}, "Few units"),
        ({"log_e_harm": None}, "No data"),
        ({}, "Not flagged"),
    ],
)
def test_each_slice_says_what_its_test_came_to(changes, word):
    table = segment_tables(slices(piece("de", **changes)))[1]

    assert table.values[0].rows[0].flag.text == word


@pytest.mark.parametrize(
    ("sent", "shown"),
    [
        pytest.param("a\x00b\u202ec", "a\ufffdb\ufffdc", id="controls"),
        pytest.param("x" * 500, "x" * 79 + "\N{HORIZONTAL ELLIPSIS}", id="huge"),
        pytest.param("", "(empty)", id="empty"),
        pytest.param("Österreich 🇦🇹", "Österreich 🇦🇹", id="letters"),
    ],
)
def test_what_clients_call_themselves_is_made_visible(sent, shown):
    assert visible(sent) == shown


def test_changes_tell_who_did_what_and_link_to_the_decision_behind_it():
    change = TransitionView(
        id="t", rollout="support-v13", route="support-bot", attempt=1, seq=2, at_s=NOW_S,
        action="promote", actor="robot", reason="not worse", from_state="running",
        to_state="running", from_stage="initial", to_stage="expanded", share=0.25,
        decision_id="d1",
    )  # fmt: skip

    (row,) = rollout_page(detail_of(rollout(), transitions=(change,)), (), NOW_S).changes

    assert (row.actor, row.stages) == ("the controller", "initial to expanded")
    assert row.path == "/rollouts/support-v13/decisions/d1"


def test_other_attempts_are_linked():
    found = detail_of(
        rollout(attempt=2), attempts=(Attempt(2, "running"), Attempt(1, "rolled_back"))
    )

    links = rollout_page(found, (), NOW_S).attempts

    assert [(each.text, each.is_here) for each in links] == [
        ("attempt 2, running", True), ("attempt 1, rolled back", False),
    ]  # fmt: skip
    assert links[1].path == "/rollouts/support-v13?attempt=1"


def rendered(tmp_path, found, segments=None, path=""):
    reader = ViewReader([found.view])
    reader.details[found.view.name] = found
    reader.segments[found.view.name] = segments or RolloutSlices()
    web = Web(tmp_path, clock=ManualClock(NOW_S), rollouts=SimpleNamespace(read=reader))
    answer = web.get(f"/rollouts/{found.view.name}{path}")
    web.close()
    assert answer.status_code == 200
    return answer.text


def test_the_page_of_a_graded_rollout_shows_who_gave_the_points(tmp_path):
    page = rendered(tmp_path, graded())

    for part in ("Judge alone", "People alone", "Corrected by people", "gpt-5-mini@1f2e"):
        assert part in page
    assert 'id="rubric-helpful"' in page
    assert (
        "no margin" in page
    )  # of the judge alone: there is an interval, and no scale to draw it in
    assert "no interval yet" not in page
    assert "Labelled by people in time" in page


def test_the_page_shows_what_is_in_doubt_and_hides_no_sign_in_it(tmp_path):
    problem = Problem(code="srm", text="broken \u202e<b>split</b>", needs_person=True)
    page = rendered(tmp_path, detail_of(rollout(), health=HEALTH, problems=(problem,)))

    assert "broken \ufffd&lt;b&gt;split&lt;/b&gt;" in page
    assert "For a person" in page
    assert "41 of 2,945 units" in page


def test_values_that_a_segment_has_no_room_for_are_one_link_away(tmp_path):
    found = detail_of(rollout()), slices(piece("de"), geo=14)
    page = rendered(tmp_path, *found, path="/segments")

    assert 'href="/rollouts/support-v13/segments?segment=geo">14 more values</a>' in page
    assert "protected" in page


def test_the_page_of_a_rollout_leads_to_all_its_segments_without_a_script_too(tmp_path):
    found = detail_of(rollout()), slices(*[piece(f"v{k}") for k in range(20)])

    assert 'href="/rollouts/support-v13/segments?segment="' in rendered(tmp_path, *found)
    whole = rendered(tmp_path, *found, path="/segments?segment=")
    assert all(f">v{k} <" in whole for k in range(20))


def test_every_state_has_a_page(tmp_path):
    for view in every_state():
        folder = tmp_path / view.name
        folder.mkdir()
        assert f"<h1>{view.name}</h1>" in rendered(folder, detail_of(view))

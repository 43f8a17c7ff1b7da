"""What is said about a judge's standing, and what is lacking."""

import msgspec
import pytest

from llm_canary.clock import utc
from llm_canary.judging.calibrate import TrustReport
from llm_canary.judging.judgement import JudgeVersion
from llm_canary.judging.trust import Standing, Subject
from llm_canary.pages.calibration import Run, judge_views, labels_needed, runs_of
from llm_canary.rubric.schema import TrustEntry
from llm_canary.stats.agreement import Coefficient
from llm_canary.stats.corrected import Operating
from tests.rollout_views import DAY_S, NOW_S

TRUST = TrustEntry(min_labels=100, min_kappa_low=0.4, max_age_days=14)


def report(standing, kappa=None, reasons=()):
    subject = Subject("passed", 100, kappa, kappa, kappa, None, None, None, standing)
    return TrustReport(
        rubric="helpful",
        rubric_version=1,
        rubric_hash="h",
        judge=JudgeVersion("j" * 64, "chat", "gpt-5-mini", {}, "p", "h"),
        label_hash="l",
        labelled=100,
        judged=100,
        failures={},
        subjects=(subject,),
        strata={},
        position=None,
        probabilities={},
        human=None,
        raw=None,
        operating=Operating(60, 10, 5, 25),
        standing=standing,
        reasons=tuple(reasons),
    )


def run(standing="not_enough", *, labelled=200, kappa=None, days=1.0, source="reviews", **more):
    coefficient = None if kappa is None else Coefficient(*kappa)
    return Run(
        utc(NOW_S - days * DAY_S),
        "j" * 64,
        standing,
        labelled,
        source,
        report(Standing(standing), coefficient, **more),
    )


@pytest.mark.parametrize(
    ("given", "needed"),
    [
        (run("trusted", kappa=(0.8, 0.7, 0.9)), ""),
        (run(labelled=60, kappa=(0.8, 0.5, 1.0)), "40 more labels are needed to tell at all."),
        (run(kappa=None), "Labels of both kinds are needed: agreement cannot be told from luck."),
        # (0.6 - 0.3) / (0.6 - 0.4) = 1.5 times as narrow: 2.25 times the labels, 250 more than 200
        (
            run(kappa=(0.6, 0.3, 0.9)),
            "About 250 more labels would settle it, if the agreement stays as it is.",
        ),
        (
            run("untrusted", kappa=(0.3, 0.2, 0.4)),
            "More labels will not help: the agreement itself is too low.",
        ),
    ],
)
def test_it_says_how_many_labels_are_lacking(given, needed):
    assert labels_needed(given, TRUST) == needed


def test_a_source_that_does_not_trust_the_judge_counts_for_all():
    views = judge_views(
        [
            run("trusted", kappa=(0.8, 0.7, 0.9), labelled=900),
            run("untrusted", kappa=(0.2, 0.1, 0.3), source="labels", days=2.0),
        ],
        TRUST,
        NOW_S,
    )

    assert [view.standing for view in views] == ["Not trusted"]
    assert [point.standing for point in views[0].points] == ["Not trusted", "Trusted"]


def test_newer_trust_counts_for_more_than_older_and_more_labels_where_none_can_tell():
    trusted = {"standing": "trusted", "kappa": (0.8, 0.7, 0.9)}
    [view] = judge_views(
        [run(**trusted, labelled=120), run(**trusted, labelled=300, source="labels", days=40.0)],
        TRUST,
        NOW_S,
    )
    [unclear] = judge_views(
        [run(labelled=40), run(labelled=96, source="labels", days=2.0)], TRUST, NOW_S
    )

    assert (view.standing, dict(view.facts)["Compared"]) == ("Trusted", "120")
    assert dict(unclear.facts)["Compared"] == "96"
    assert unclear.needed == "4 more labels are needed to tell at all."


def test_trust_gets_old():
    [view] = judge_views([run("trusted", kappa=(0.8, 0.7, 0.9), days=15.0)], TRUST, NOW_S)

    assert (view.standing, view.tone) == ("Trusted once", "warn")
    assert "older than 14 days" in view.why[-1]


def test_the_confusion_is_said_as_rates_too():
    [view] = judge_views([run()], TRUST, NOW_S)

    assert view.confusion is not None
    assert view.confusion.sensitivity == "85.7\u202f%"  # 60 of 70
    assert view.confusion.specificity == "83.3\u202f%"  # 25 of 30


def test_a_report_of_another_version_is_left_out_and_breaks_nothing():
    known = {
        "at": utc(NOW_S), "judge_id": "j", "standing": "trusted", "labelled": 9, "source": "labels",
    }  # fmt: skip
    good = msgspec.to_builtins(report(Standing.TRUSTED, Coefficient(0.8, 0.7, 0.9)))

    runs = runs_of([known | {"report": {"rubric": 1}}, known | {"report": good}])

    assert len(runs) == 1
    assert runs[0].report.subjects[0].kappa == Coefficient(0.8, 0.7, 0.9)

"""Trust in judges: the figures of public human labels, and what must never be trusted."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from types import MappingProxyType

import msgspec
import numpy as np
import pytest

from llm_canary.errors import ConfigError
from llm_canary.judging.anchors import anchor_verdicts
from llm_canary.judging.build import not_asked
from llm_canary.judging.calibrate import TrustReport, calibrate, compare_stored
from llm_canary.judging.drift import Anchors, Drift, compare
from llm_canary.judging.grader import Grader, version_of
from llm_canary.judging.judgement import Judgement, JudgeVersion, Status
from llm_canary.judging.labels import HumanLabel, Labelled, LabelSet, label_set, read_labels
from llm_canary.judging.probes import Tendency, probe_pairs
from llm_canary.judging.replay import ReplayJudge, read_recording, recorded_beside_labels
from llm_canary.judging.trust import Rated, Standing, Subject, arms_differ, assess, by_stratum
from llm_canary.rubric.grades import grade
from llm_canary.rubric.load import parse_rubric, rubric_of
from llm_canary.rubric.sample import Sample
from llm_canary.rubric.schema import TrustEntry
from llm_canary.stats.agreement import Coefficient

DATA = Path(__file__).resolve().parents[2] / "data" / "human-labels"
PAIRWISE = rubric_of("pairwise_preference", Path())
TRUST = TrustEntry()


@pytest.fixture(scope="module")
def sets() -> dict[str, LabelSet]:
    names = ("pandalm", "llmbar")
    return {name: read_labels(DATA / f"{name}_pairwise.jsonl", PAIRWISE) for name in names}


def recorded(labels: LabelSet, name: str) -> ReplayJudge:
    return ReplayJudge(name, recorded_beside_labels(labels, name), PAIRWISE)


def report_of(labels: LabelSet, name: str) -> TrustReport:
    judge = recorded(labels, name)
    return asyncio.run(calibrate(PAIRWISE, labels, judge, Grader(PAIRWISE, judge)))


@pytest.mark.parametrize(
    ("judge", "kappa", "agreement", "n"),
    [("gpt-3.5-turbo", 0.4984, 0.7146, 501), ("pandalm-7b", 0.4521, 0.677, 514)],
)
def test_agreement_with_three_people(sets, judge, kappa, agreement, n):
    [found] = report_of(sets["pandalm"], judge).subjects

    assert found.n == n
    assert found.kappa.value == pytest.approx(kappa, abs=0.0005)
    assert found.agreement.value == pytest.approx(agreement, abs=0.0005)
    assert found.human_kappa == pytest.approx(0.856, abs=0.005)
    assert found.relative_kappa == pytest.approx(kappa / found.human_kappa, abs=0.001)


@pytest.mark.parametrize(
    ("judge", "consistency", "accuracy", "n", "standing"),
    [
        ("gpt-4", 0.910, 0.822, 211, Standing.TRUSTED),
        ("chatgpt", 0.645, 0.396, 211, Standing.UNTRUSTED),
        ("palm2", 0.726, 0.690, 208, Standing.UNTRUSTED),
        ("llama2", 0.776, 0.421, 210, Standing.UNTRUSTED),
        ("falcon", 0.408, 0.528, 211, Standing.UNTRUSTED),
    ],
)
def test_position_and_standing_on_objective_pairs(sets, judge, consistency, accuracy, n, standing):
    report = report_of(sets["llmbar"], f"{judge}/vanilla")

    assert report.position.pairs == n
    assert report.position.consistency == pytest.approx(consistency, abs=0.001)
    assert report.position.mean_accuracy == pytest.approx(accuracy, abs=0.001)
    assert report.standing is standing


def test_a_judge_that_changes_its_mind_has_seen_a_tie(sets):
    """Single orders are right in 0.822 of the pairs; both must be, so agreement is lower."""
    [found] = report_of(sets["llmbar"], "gpt-4/vanilla").subjects

    assert found.agreement.value == pytest.approx(0.777, abs=0.001)
    assert found.kappa.value == pytest.approx(0.591, abs=0.001)


@pytest.mark.parametrize(
    ("labels", "verdict"),
    [("AAB", "A"), ("AB", "tie"), ("ABT", "tie"), ("BBB", "B"), ("TTA", "tie"), ("A", "A")],
)
def test_people_who_are_divided_have_seen_a_tie(labels, verdict):
    words = {"T": "tie"}
    given = tuple(HumanLabel(str(k), "", words.get(each, each)) for k, each in enumerate(labels))

    assert Labelled(Sample("1", "p", ""), given, ("a", "b")).majority == verdict


def test_permuted_labels_are_no_agreement(sets):
    rng = np.random.default_rng(1)
    items = sets["pandalm"].items
    kappas = []
    for _ in range(5):
        order = rng.permutation(len(items))
        mixed = [
            item._replace(labels=items[k].labels) for item, k in zip(items, order, strict=True)
        ]
        labels = sets["pandalm"]._replace(items=tuple(mixed))
        kappas.append(report_of(labels, "gpt-3.5-turbo").subjects[0].kappa.value)

    assert abs(float(np.mean(kappas))) < 0.05
    assert report_of(labels, "gpt-3.5-turbo").standing is Standing.UNTRUSTED


def test_too_few_labels_are_not_enough(sets):
    labels = sets["llmbar"]._replace(items=sets["llmbar"].items[:60])

    assert report_of(labels, "gpt-4/vanilla").standing is Standing.NOT_ENOUGH


def test_probes_find_what_the_literature_found(sets):
    judge = recorded(sets["llmbar"], "falcon/vanilla")
    found = {each.name: each for each in asyncio.run(probe_pairs(sets["llmbar"], judge))}
    strong = recorded(sets["llmbar"], "gpt-4/vanilla")
    gpt4 = {each.name: each for each in asyncio.run(probe_pairs(sets["llmbar"], strong))}

    assert found["position"].tendency is Tendency.SHOWN
    assert found["position"].value == pytest.approx(0.277, abs=0.001)
    assert found["length"].tendency is Tendency.SHOWN
    assert gpt4["position"].tendency is Tendency.NONE


def test_a_judge_that_errs_on_one_arm_only_is_found():
    rng = np.random.default_rng(2)
    rated = []
    for k in range(400):
        human = float(rng.random() < 0.5)
        wrong = rng.random() < (0.05 if k % 2 else 0.35)
        arm = "control" if k % 2 else "canary"
        rated.append(Rated(human, 1 - human if wrong else human, tags={"arm": arm}))

    pooled = assess("passed", rated, TRUST)
    assert pooled.standing is Standing.TRUSTED  # a pooled kappa hides it
    assert "arm=canary" in arms_differ(by_stratum(rated, TRUST))


def test_a_judge_that_errs_alike_on_both_arms_is_rarely_suspected_however_few_labels_there_are():
    """Asked again after every ten labels of each arm, as live reviews come in."""
    rng = np.random.default_rng(3)
    right = rng.random((500, 2, 200)) < 0.9
    suspected = sum(
        any(
            arms_differ({name: agreeing(name, each[arm, :n]) for arm, name in enumerate(ARMS)})
            for n in range(10, 201, 10)
        )
        for each in right
    )
    assert suspected <= 15  # 3 %


ARMS = ("arm=control", "arm=canary")


def agreeing(name, right):
    share = Coefficient(float(right.mean()), 0.0, 1.0)
    return Subject(name, len(right), share, None, None, None, None, None, Standing.TRUSTED)


def test_labels_that_are_all_alike_prove_nothing():
    assert assess("passed", [Rated(1.0, 1.0)] * 500, TRUST).standing is Standing.NOT_ENOUGH


class TestSingleAnswers:
    """Two criteria of which the first weighs more; the second is judged by a coin."""

    RUBRIC = """\
schema: llm_canary.rubric/v1
id: r
version: 1
criteria:
  - {id: right, kind: binary, requirement: x, weight: 3}
  - {id: kind, kind: binary, requirement: x}
trust: {min_relative_kappa: %s}
"""

    def report(self, bar, raters=("mara", "jon"), criteria=("right", "kind")):
        rubric = parse_rubric(self.RUBRIC % bar)
        rng = np.random.default_rng(4)
        items, verdicts = [], {}
        for k in range(300):
            truth = {"right": rng.random() < 0.5, "kind": rng.random() < 0.5}
            judged = {"right": truth["right"] != (rng.random() < 0.2), "kind": rng.random() < 0.5}
            labels = {name: "met" if truth[name] else "unmet" for name in criteria}
            given = [HumanLabel(who, name, each) for name, each in labels.items() for who in raters]
            items.append(Labelled(Sample(str(k), "p", ""), tuple(given)))
            words = {name: "met" if each else "unmet" for name, each in judged.items()}
            verdicts[str(k)] = {
                name: grade(self.criterion(rubric, name), words[name]) for name in words
            }
        version = JudgeVersion("j", "chat", "m", {}, "", rubric.content_hash)
        return compare_stored(rubric, label_set(items), version, verdicts)

    def criterion(self, rubric, name):
        return next(each for each in rubric.rubric.criteria if each.id == name)

    def test_the_kappa_between_people_counts(self):
        low, high = self.report(0.5), self.report(0.9)

        assert low.subjects[0].relative_kappa == pytest.approx(0.6, abs=0.1)
        assert (low.standing, high.standing) == (Standing.TRUSTED, Standing.UNTRUSTED)
        assert "0.9 is needed" in high.reasons[0]

    def test_one_person_s_labels_have_no_kappa_between_people(self):
        report = self.report(0.9, raters=("mara",))

        assert report.subjects[0].relative_kappa is None
        assert report.standing is Standing.TRUSTED

    def test_the_whole_decides_and_says_so(self):
        report = self.report(0.5)

        assert [each.standing for each in report.subjects[1:]] == ["trusted", "untrusted"]
        assert report.standing is Standing.TRUSTED
        assert "criteria and tags are shown, and decide nothing" in report.basis

    def test_criteria_decide_where_nobody_has_labelled_a_whole_answer(self):
        report = self.report(0.5, criteria=("kind",))

        assert [each.name for each in report.subjects] == ["kind"]
        assert (report.standing, report.compared) == (Standing.UNTRUSTED, 300)
        assert "the criteria decide" in report.basis


def test_a_crowd_that_shares_few_answers_says_nothing_about_people():
    alone = [Rated(float(k % 2), float(k % 2), {str(k % 9): float(k % 2)}) for k in range(200)]
    both = [Rated(1.0, 1.0, {"0": 1.0, "1": float(k % 2)}) for k in range(19)]

    assert assess("passed", alone + both, TRUST).human_kappa is None
    assert assess("passed", alone + both[:1] * 20, TRUST).human_kappa is not None


def test_levels_are_compared_by_their_distance():
    near = [Rated(float(k % 4), float(min(3, k % 4 + (k % 3 == 0)))) for k in range(200)]
    plain = assess("x", near, TRUST)
    weighted = assess("x", near, TRUST, weights="quadratic", level="ordinal")

    assert weighted.kappa.value > plain.kappa.value


TWO_JUDGES = """\
schema: llm_canary.rubric/v1
id: r
version: 1
criteria:
  - {id: right, kind: binary, requirement: x}
judges:
  primary: {backend: chat, model: m/a}
  escalate: {backend: chat, model: m/b}
  panel: {members: [{backend: chat, model: m/c}]}
"""


class Sure:
    """A judge that finds everything right, always as sure."""

    def __init__(self, rubric, model, confidence):
        self.version = JudgeVersion(model, "chat", model, {}, "", rubric.content_hash)
        self.confidence = confidence

    async def grade(self, sample, criteria):
        sure = {
            each.id: msgspec.structs.replace(grade(each, "met"), confidence=self.confidence)
            for each in criteria
        }
        name = self.version.id
        return Judgement(sample.id, name, Status.OK, sure, reported_model=self.version.model)


class TestTwoJudges:
    RUBRIC = parse_rubric(TWO_JUDGES)
    LABELS = label_set(
        [
            Labelled(Sample(str(k), "p", f"r{k}"), (HumanLabel("mara", "right", "met"),))
            for k in range(60)
        ]
    )

    def report(self, second, *, rubric=RUBRIC):
        first = Sure(rubric, "small-1", 0.5)
        grader = Grader(rubric, first, escalate=second)
        return asyncio.run(calibrate(rubric, self.LABELS, first, grader))

    def test_a_calibration_of_both_is_not_one_of_the_first(self):
        alone = self.report(None)
        both = self.report(Sure(self.RUBRIC, "big-11", 1.0))

        assert alone.judge.id == "small-1"
        assert both.judge.id not in ("small-1", "big-11")
        assert (both.judge.kind, both.judge.params["second"]) == ("cascade", "big-11")

    def test_another_second_judge_or_bound_is_another_version(self):
        later = TWO_JUDGES.replace("m/b}", "m/b, when: {confidence_below: 0.9}}")
        ids = {
            self.report(Sure(rubric, name, 1.0), rubric=rubric).judge.id
            for rubric in (self.RUBRIC, parse_rubric(later))
            for name in ("big-11", "big-12")
        }

        assert parse_rubric(later).content_hash == self.RUBRIC.content_hash
        assert len(ids) == 4

    def test_what_is_graded_names_the_same_version(self):
        first, second = Sure(self.RUBRIC, "small-1", 0.5), Sure(self.RUBRIC, "big-11", 1.0)

        assert version_of(self.RUBRIC, first, second) == self.report(second).judge
        assert version_of(self.RUBRIC, first, None) == self.report(None).judge
        assert version_of(self.RUBRIC, None, None) is None


class TestDrift:
    def anchors(self, wrong, **more):
        verdicts = {str(k): str(k not in wrong) for k in range(100)}
        return Anchors("labels", "judge", ("m-1",), verdicts, **more)

    RIGHT = MappingProxyType({str(k): "True" for k in range(100)})

    def test_the_same_verdicts_are_stable(self):
        assert compare(self.anchors({1}), self.anchors({1}), right=self.RIGHT).drift is Drift.STABLE

    def test_lost_anchors_are_drift(self):
        found = compare(self.anchors(set()), self.anchors(set(range(12))), right=self.RIGHT)

        assert found.drift is Drift.JUDGE_DRIFT
        assert found.changed == 12

    def test_another_model_is_a_change_of_the_system(self):
        now = Anchors("labels", "judge", ("m-2",), self.anchors(set()).verdicts)

        assert compare(self.anchors(set()), now, right=self.RIGHT).drift is Drift.SYSTEM_CHANGE

    def test_another_model_of_the_second_judge_is_one_too(self):
        first = self.anchors(set(), second_id="b", second_models=("big-01",), second_asked=9)
        now = self.anchors(set(), second_id="b", second_models=("big-11",), second_asked=9)
        found = compare(first, now, right=self.RIGHT)

        assert (found.drift, found.models) == (Drift.SYSTEM_CHANGE, ("big-11",))
        assert "big-01 before, big-11 now" in found.reasons[0]

    def test_what_is_not_asked_is_said(self):
        first = self.anchors(set(), second_id="b", second_models=("big-01",), second_asked=9)
        now = self.anchors(set(), second_id="b")
        found = compare(first, now, right=self.RIGHT, not_asked=("panel m",))

        assert found.drift is Drift.STABLE
        assert "second judge was asked about no anchor" in found.reasons[0]
        assert found.reasons[1] == "not asked: panel m"

    def test_a_first_look_without_the_second_judge_is_refused(self):
        with pytest.raises(ConfigError, match="did not ask the second judge"):
            compare(self.anchors(set()), self.anchors(set(), second_id="b"), right=self.RIGHT)

    def test_every_anchor_that_the_first_judge_doubts_is_shown_to_the_second(self):
        rubric = parse_rubric(TWO_JUDGES)
        items = [
            Labelled(Sample(str(k), "p", f"r{k}"), (HumanLabel("mara", "right", "met"),))
            for k in range(60)
        ]
        first, second = Sure(rubric, "small-1", 0.5), Sure(rubric, "big-11", 1.0)
        grader = Grader(rubric, first, escalate=second)
        grader.max_share = 1.0
        found = asyncio.run(anchor_verdicts(label_set(items), first, grader, second=second))

        assert (found.reported_models, found.second_models) == (("small-1",), ("big-11",))
        assert (found.second_asked, found.second_id) == (60, "big-11")
        assert found.judge_id == version_of(rubric, first, second).id

    def test_another_bound_for_the_second_judge_is_another_judge(self):
        first = self.anchors(set(), second_id="b", second_models=("big-01",), second_asked=9)
        now = msgspec.structs.replace(first, judge_id="both, with another bound")
        found = compare(first, now, right=self.RIGHT)

        assert found.drift is Drift.SYSTEM_CHANGE
        assert "the judge is another version" in found.reasons[0]

    @pytest.mark.parametrize(
        ("word", "is_pairwise", "left_out"),
        [
            ("primary", False, ("panel m/c",)),
            ("primary", True, ("escalate m/b", "panel m/c")),
            ("escalate", False, ("primary m/a", "panel m/c")),
            ("chat:m/d", False, ("primary m/a", "escalate m/b", "panel m/c")),
        ],
    )
    def test_the_judges_that_a_word_leaves_out(self, word, is_pairwise, left_out):
        assert not_asked(parse_rubric(TWO_JUDGES), word, is_pairwise=is_pairwise) == left_out

    def test_a_judge_that_gives_no_verdict_is_not_stable(self):
        nothing = Anchors("labels", "judge", ("m-1",), {})
        for first, now in ((self.anchors(set()), nothing), (nothing, nothing)):
            with pytest.raises(ConfigError, match="nothing can be compared"):
                compare(first, now, right=self.RIGHT)

    def test_other_anchors_are_refused(self):
        now = Anchors("others", "judge", ("m-1",), {})
        with pytest.raises(ConfigError, match="not those of the first look"):
            compare(self.anchors(set()), now, right=self.RIGHT)

    def test_a_year_of_looks_raises_few_false_alarms(self):
        rng = np.random.default_rng(3)
        alarms = 0
        for _ in range(200):
            first = self.anchors(set(np.flatnonzero(rng.random(100) < 0.2)))
            for look in range(60):
                now = self.anchors(set(np.flatnonzero(rng.random(100) < 0.2)))
                looked = Anchors(
                    first.label_hash, first.judge_id, first.reported_models, first.verdicts, look
                )
                if compare(looked, now, right=self.RIGHT).drift is Drift.JUDGE_DRIFT:
                    alarms += 1
                    break
        assert alarms / 200 <= 0.10


class TestFiles:
    RUBRIC = parse_rubric("""\
schema: llm_canary.rubric/v1
id: r
version: 1
criteria:
  - {id: right, kind: binary, requirement: x}
  - {id: level, kind: ordinal, requirement: x, levels: [{value: 0, label: a, anchor: a}, {value: 1, label: b, anchor: a}]}
""")

    def write(self, tmp_path, *rows, name="labels.jsonl"):
        path = tmp_path / name
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        return path

    def test_labels_of_one_answer_are_put_together(self, tmp_path):
        row = {"id": "1", "prompt": "p", "response": "r"}
        path = self.write(
            tmp_path,
            row
            | {
                "human": [
                    {"rater": "x", "labels": {"right": "met", "level": 1}, "at": "2026-11-01"}
                ]
            },
            row
            | {
                "human": [
                    {"rater": "y", "labels": {"right": "unmet"}, "at": "2026-11-20T12:00:00Z"}
                ]
            },
        )
        labels = read_labels(path, self.RUBRIC)

        assert len(labels.items) == 1
        assert len(labels.items[0].labels) == 3
        assert labels.newest_s == 1_795_176_000.0

    def test_a_csv_has_one_label_a_row(self, tmp_path):
        path = tmp_path / "labels.csv"
        path.write_text(
            "id,prompt,response,rater,criterion,label\n1,p,r,x,right,met\n1,p,r,x,level,1\n"
        )
        labels = read_labels(path, self.RUBRIC)

        assert [(each.criterion, each.label) for each in labels.items[0].labels] == [
            ("right", "met"),
            ("level", "1"),
        ]

    def test_rows_that_nobody_has_labelled_are_left_out_and_counted(self, tmp_path):
        good = {"id": "0", "human": [{"labels": {"right": "met"}}]}
        empty = [{"id": "1"}, {"id": "2", "human": []}, {"id": "3", "human": [{"labels": {}}]}]
        in_lines = read_labels(self.write(tmp_path, good, *empty), self.RUBRIC)
        sheet = tmp_path / "sheet.csv"
        sheet.write_text("id,rater,criterion,label\n0,x,right,met\n1,,,\n2,x,right,\n")
        in_sheet = read_labels(sheet, self.RUBRIC)

        assert [(len(each.items), each.blank) for each in (in_lines, in_sheet)] == [(1, 3), (1, 2)]

    @pytest.mark.parametrize(
        ("row", "words"),
        [
            ({"prompt": "p", "criterion": "right", "label": "met"}, "`id` is missing"),
            ({"id": "1", "label": "met"}, "no human labels"),
            ({"id": "1", "human": [{"rater": "x"}]}, "no `labels`"),
            ({"id": "1", "human": [{"labels": {"wrong": "met"}}]}, "no criterion of r"),
            ({"id": "1", "human": [{"labels": {"right": "maybe"}}]}, "neither met nor unmet"),
            ({"id": "1", "human": [{"labels": {"level": 5}}]}, "none of the levels"),
            ({"id": "1", "human": [{"labels": {"right": "met"}, "at": "soon"}]}, "expected a time"),
            ({"id": "1", "responses": {"A": "x"}, "gold": "A"}, "A and B"),
            ({"id": "1", "responses": {"A": "x", "B": "y"}, "gold": "C"}, "A, B or tie"),
        ],
    )
    def test_a_wrong_row_is_named(self, tmp_path, row, words):
        good = {"id": "0", "human": [{"labels": {"right": "met"}}]}
        with pytest.raises(ConfigError, match=r"labels\.jsonl:2: ") as refused:
            read_labels(self.write(tmp_path, good, row), self.RUBRIC)
        assert words in str(refused.value)

    @pytest.mark.parametrize(
        ("row", "words"),
        [
            ({"labels": {}}, "`id` is missing"),
            ({"id": "1"}, "expected `labels`"),
            ({"id": "1", "order": "XY", "verdict": "A"}, "expected AB or BA"),
        ],
    )
    def test_a_wrong_row_of_a_recording_is_named(self, tmp_path, row, words):
        with pytest.raises(ConfigError, match=r"verdicts\.jsonl:1: ") as refused:
            list(read_recording(self.write(tmp_path, row, name="verdicts.jsonl")))
        assert words in str(refused.value)

"""Judges that are models, through LiteLLM, against simulated providers on loopback."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from msgspec.structs import replace

from llm_canary.judging.budget import FAILURES_IN_A_ROW, CostCap
from llm_canary.judging.cache import Cache
from llm_canary.judging.grader import Grader
from llm_canary.judging.judgement import Judgement, Pair, Spent, Status
from llm_canary.judging.models import ChatJudge, DecisionJudge, judge_version
from llm_canary.judging.pairwise import compare
from llm_canary.judging.panel import Panel
from llm_canary.opaque import Opaque
from llm_canary.providers import model_calls
from llm_canary.providers.litellm_bridge import litellm_library
from llm_canary.rubric.grades import Grade, NotGraded, Why
from llm_canary.rubric.load import parse_rubric, rubric_of
from llm_canary.rubric.sample import Sample
from llm_canary.rubric.schema import JudgeEntry
from tests.support.judge_server import JudgeServer

# litellm builds types late, and pydantic has something to say about them.
pytestmark = [
    pytest.mark.filterwarnings("ignore:.*`ReadOnly` qualifier.*"),
    pytest.mark.filterwarnings("ignore:.*Accessing the.*attribute on the instance.*"),
    pytest.mark.filterwarnings("ignore:.*conflict with protected namespace.*"),
]
RUNNER = asyncio.Runner()  # litellm keeps connections, and those belong to one event loop
RUBRIC = rubric_of("helpfulness", Path())
GOOD = Sample("1", "What is 2 + 2?", "a good answer")
POOR = Sample("2", "What is 2 + 2?", "nothing of use")


@pytest.fixture(scope="module")
def server():
    with JudgeServer() as server:
        yield server
        RUNNER.run(litellm_library().close_clients())
    RUNNER.close()


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch):
    monkeypatch.setattr(model_calls, "FIRST_WAIT_S", 0.01)


def chat(server, model: str, rubric=RUBRIC, **more) -> ChatJudge:
    fields = {"backend": "chat", "model": f"openai/{model}", "api_base": f"{server.url}/v1"}
    return ChatJudge(JudgeEntry.model_validate(fields | more), rubric, Opaque(b"sk-test"))


def grade(judge, sample=GOOD, rubric=RUBRIC) -> Judgement:
    return RUNNER.run(judge.grade(sample, rubric.rubric.asked))


def test_an_honest_judge(server):
    found = grade(chat(server, "honest"))

    assert found.status is Status.OK
    assert {name: each.label for name, each in found.grades.items()} == {
        "answers_question": "met",
        "correct": "met",
        "usefulness": "complete",
    }
    assert found.reported_model == "honest-2026-01-01"
    assert (found.spent.calls, found.spent.tokens_in, found.spent.tokens_out) == (1, 400, 100)
    assert found.spent.cost_nanousd is None  # no price list knows it, and unknown is not zero
    assert found.spent.latency_s > 0


@pytest.mark.parametrize(
    "model", ["empty", "prose", "truncated", "list", "scale", "twice", "missing"]
)
def test_an_answer_that_cannot_be_read_is_a_parse_error_after_one_repair(server, model):
    found = grade(chat(server, model))

    assert found.status is Status.PARSE_ERROR
    assert found.grades == {}
    assert found.spent.calls == 2
    assert found.detail


@pytest.mark.parametrize(
    ("model", "status", "calls"),
    [
        ("refuses", Status.REFUSED, 1),
        ("cut", Status.PARSE_ERROR, 1),
        ("storm", Status.PROVIDER_ERROR, 4),
        ("later", Status.PROVIDER_ERROR, 1),
    ],
)
def test_a_failure_is_what_it_is_and_ends(server, model, status, calls):
    found = grade(chat(server, model))

    assert (found.status, found.spent.calls) == (status, calls)
    assert found.grades == {}


@pytest.mark.parametrize(("model", "calls"), [("repairs", 2), ("fenced", 1), ("storm-2", 3)])
def test_what_comes_right_in_the_end_is_a_grade(server, model, calls):
    found = grade(chat(server, model))

    assert (found.status, found.spent.calls) == (Status.OK, calls)


def test_a_judge_that_hangs_times_out(server):
    found = grade(chat(server, "hangs", timeout_s=0.3))

    assert found.status is Status.TIMEOUT


def test_a_judge_that_cannot_be_reached(server):
    entry = {"backend": "chat", "model": "openai/x", "api_base": "http://127.0.0.1:9/v1"}
    judge = ChatJudge(JudgeEntry.model_validate(entry), RUBRIC, Opaque(b"sk-test"))

    assert grade(judge).status is Status.PROVIDER_ERROR


def test_no_failure_quotes_the_answer_or_the_key(server):
    sample = GOOD._replace(response="a private text")
    for model in ("prose", "storm", "scale"):
        detail = grade(chat(server, model), sample).detail
        assert "private" not in detail
        assert "sk-test" not in detail


def test_the_form_is_asked_for_as_the_rubric_says(server):
    asked = {}
    for mode in ("strict", "grammar", "json", "off"):
        server.bodies.clear()
        grade(chat(server, "prose", schema_mode=mode))
        asked[mode] = server.bodies[0].get("response_format")

    assert asked["strict"]["json_schema"]["strict"] is True
    assert "maxLength" not in str(asked["strict"])
    assert "maxLength" in str(asked["grammar"])
    assert asked["json"] == {"type": "json_object"}
    assert asked["off"] is None


@pytest.mark.parametrize(
    ("model", "api", "cost"),
    [("typesafe/jev-1.14.0", "systemone", 17_304), ("openai/gpt-6-luna", "decisions", 41_200)],
)
def test_a_decision_model_gives_grades_with_confidence_and_cost(server, model, api, cost):
    base = server.url if api == "systemone" else f"{server.url}/v1"
    entry = {"backend": "decision", "model": model, "api": api, "api_base": base}
    judge = DecisionJudge(JudgeEntry.model_validate(entry), RUBRIC, Opaque(b"sk-test"))

    good, poor = grade(judge), grade(judge, POOR)

    assert good.status is poor.status is Status.OK
    assert good.grades["correct"].label == "met"
    assert poor.grades["correct"].label == "unmet"
    assert poor.grades["usefulness"].label == "useless"
    assert good.grades["correct"].confidence == pytest.approx(0.9)
    assert good.spent.cost_nanousd == cost


class TestPairs:
    PAIR = Pair(GOOD, "a good answer", "nothing of use")

    def run(self, judge, pair=PAIR):
        return RUNNER.run(compare(judge, pair))

    def test_an_honest_judge_says_the_same_in_both_orders(self, server):
        found = self.run(chat(server, "honest"))

        assert (found.verdict, found.is_consistent) == ("A", True)
        assert self.run(chat(server, "honest"), Pair(GOOD, "bad", "good")).verdict == "B"

    def test_one_that_likes_the_first_has_seen_a_tie(self, server):
        found = self.run(chat(server, "first"))

        assert (found.verdict, found.is_consistent) == ("tie", False)
        assert [each.verdict for each in found.both] == ["A", "B"]

    def test_an_order_without_verdict_is_no_verdict(self, server):
        assert self.run(chat(server, "storm")).verdict is None

    def test_a_decision_model_compares(self, server):
        entry = {"backend": "decision", "model": "typesafe/jev-1.14.0", "api_base": server.url}
        judge = DecisionJudge(JudgeEntry.model_validate(entry), RUBRIC, Opaque(b"sk-test"))

        found = self.run(judge)

        assert (found.verdict, found.is_consistent) == ("A", True)


class TestGrader:
    def one(self, grader, sample=GOOD, **more):
        return RUNNER.run(grader.grade(sample, **more))

    def test_checks_need_no_judge_and_judges_are_not_asked_what_does_not_apply(self, server):
        rubric = rubric_of("support_answer", Path())
        server.bodies.clear()
        found = self.one(Grader(rubric, chat(server, "honest", rubric)))

        assert found.grades["grounded"] == NotGraded(Why.NOT_APPLICABLE, "there is no context")
        assert found.grades["short_enough"].passed
        assert "wrong_policy" not in str(server.bodies[0])
        assert found.score.passed is True

    def test_what_was_paid_for_is_not_asked_again(self, server, tmp_path):
        cache = Cache(tmp_path / "cache.db")
        before = server.seen["honest"]
        first = self.one(Grader(RUBRIC, chat(server, "honest"), cache=cache))
        cache.close()
        again = Cache(tmp_path / "cache.db")
        second = self.one(Grader(RUBRIC, chat(server, "honest"), cache=again, offline=True))

        assert server.seen["honest"] == before + 1
        assert second.grades == first.grades
        assert second.judgements[0].is_cached

    def test_a_failure_is_not_kept(self, server):
        cache = Cache(None)
        before = server.seen["prose"]
        for _ in range(2):
            assert self.one(Grader(RUBRIC, chat(server, "prose"), cache=cache)).failure
        assert server.seen["prose"] == before + 4

    def test_another_rubric_or_another_sample_is_another_key(self, server):
        cache = Cache(None)
        before = server.seen["honest"]
        self.one(Grader(RUBRIC, chat(server, "honest"), cache=cache))
        self.one(Grader(RUBRIC, chat(server, "honest"), cache=cache), POOR)
        self.one(Grader(RUBRIC, chat(server, "honest"), cache=cache), repeat=1)
        self.one(Grader(RUBRIC, chat(server, "honest", temperature=0.5), cache=cache))
        assert server.seen["honest"] == before + 4

    def test_offline_asks_nobody(self, server):
        before = sum(server.seen.values())
        found = self.one(Grader(RUBRIC, chat(server, "honest"), offline=True))

        assert found.failure is Status.MISSING
        assert sum(server.seen.values()) == before

    def test_a_provider_that_is_down_is_asked_ten_times_not_a_thousand(self, server):
        before = server.seen["later"]
        grader = Grader(RUBRIC, chat(server, "later"))

        async def run():
            samples = [GOOD._replace(id=str(n)) for n in range(1000)]
            return [each async for each in grader.grade_all(samples, concurrency=4)]

        results = RUNNER.run(run())

        assert len(results) == 1000
        assert all(each.failure is Status.PROVIDER_ERROR for each in results)
        assert server.seen["later"] - before <= FAILURES_IN_A_ROW + 4

    def test_the_second_judge_is_asked_where_the_first_is_in_doubt(self, server):
        rubric = parse_rubric("""\
schema: llm_canary.rubric/v1
id: r
version: 1
criteria: [{id: right, kind: binary, requirement: x}]
judges:
  primary: {backend: decision, model: typesafe/jev-1.14.0}
  escalate: {backend: chat, model: openai/honest, when: {confidence_below: 0.7, max_share: 1.0}}
""")
        entry = {"backend": "decision", "model": "typesafe/jev-1.14.0", "api_base": server.url}
        first = DecisionJudge(JudgeEntry.model_validate(entry), rubric, Opaque(b"sk-test"))
        grader = Grader(rubric, first, escalate=chat(server, "honest", rubric))

        sure = self.one(grader)
        unsure = self.one(grader, GOOD._replace(id="3", response="unsure, not g-o-o-d"))

        assert len(sure.judgements) == 1
        assert len(unsure.judgements) == 2
        assert unsure.grades["right"].label == "unmet"

    def test_the_cost_cap_holds(self, server):
        entry = {"backend": "decision", "model": "typesafe/jev-1.14.0", "api_base": server.url}
        judge = DecisionJudge(JudgeEntry.model_validate(entry), RUBRIC, Opaque(b"sk-test"))
        cap = CostCap(100_000)  # 5.8 calls
        grader = Grader(RUBRIC, judge, cap=cap)

        async def run():
            samples = [GOOD._replace(id=str(n)) for n in range(40)]
            return [each async for each in grader.grade_all(samples, concurrency=1)]

        results = RUNNER.run(run())
        refused = [each for each in results if each.failure is Status.BUDGET]

        assert len(results) - len(refused) == 5
        assert cap.spent_nanousd <= 100_000


class Fixed:
    """A judge that always says the same; not a model, so that a panel's vote can be seen."""

    def __init__(self, name: str, label: str, status: Status = Status.OK) -> None:
        self.version = judge_version("replay", name, {}, RUBRIC)
        self.label, self.status = label, status

    async def grade(self, sample, criteria):
        grades = {each.id: Grade(self.label, 1.0, True) for each in criteria}
        return Judgement(sample.id, self.version.id, self.status, grades, spent=Spent(1))

    async def compare(self, pair, order):
        raise NotImplementedError


class TestPanel:
    BINARY = tuple(each for each in RUBRIC.rubric.asked if each.kind == "binary")

    def vote(self, *members, weights, **more):
        named = {member.version.id: weight for member, weight in zip(members, weights, strict=True)}
        panel = Panel(members, named, RUBRIC, **more)
        return panel, RUNNER.run(panel.grade(GOOD, self.BINARY))

    def test_weights_decide_not_heads(self):
        members = Fixed("a", "met"), Fixed("b", "unmet"), Fixed("c", "unmet")
        _, found = self.vote(*members, weights=(0.8, 0.3, 0.3))

        assert found.grades["correct"].label == "met"
        assert found.grades["correct"].confidence == pytest.approx(0.8 / 1.4)
        assert found.spent.calls == 3

    def test_without_a_calibration_it_is_the_first_alone(self):
        panel, found = self.vote(Fixed("a", "met"), Fixed("b", "unmet"), weights=(0.0, 0.0))

        assert found.grades["correct"].label == "met"
        assert panel.version.model == "a"

    def test_a_tie_is_no_grade(self):
        _, found = self.vote(Fixed("a", "met"), Fixed("b", "unmet"), weights=(0.5, 0.5))

        assert found.grades["correct"].why is Why.CANNOT_ASSESS

    def test_too_few_members_are_a_failure(self):
        members = Fixed("a", "met"), Fixed("b", "met", Status.TIMEOUT)
        _, found = self.vote(*members, weights=(0.5, 0.5), min_members=2)

        assert found.status is Status.TIMEOUT
        assert replace(found, spent=Spent()).grades == {}

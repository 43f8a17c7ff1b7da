"""Judges that are models: one that writes, one that answers typed questions."""

from __future__ import annotations

import hashlib
import json
import secrets
from collections.abc import Mapping, Sequence
from typing import Any

from llm_canary.judging.judgement import (
    Judgement,
    JudgeVersion,
    Order,
    Pair,
    Preference,
    Preferred,
    Spent,
    Status,
)
from llm_canary.opaque import Opaque
from llm_canary.providers.model_calls import Reply, Target, complete, decide
from llm_canary.rubric.answers import Unreadable, read_answer, read_decisions, read_pair
from llm_canary.rubric.load import LoadedRubric
from llm_canary.rubric.prompt import (
    Messages,
    answer_schema,
    chat_messages,
    decision_questions,
    decision_state,
    pair_messages,
    prompt_hash,
)
from llm_canary.rubric.sample import Sample
from llm_canary.rubric.schema import AskedCriterion, JudgeEntry

_STATUS = {
    "timeout": Status.TIMEOUT,
    "refused": Status.REFUSED,
    "truncated": Status.PARSE_ERROR,
    "provider_error": Status.PROVIDER_ERROR,
}
_AS_WINNER: dict[tuple[str, Order], Preferred] = {
    ("first", "AB"): "A",
    ("second", "AB"): "B",
    ("first", "BA"): "B",
    ("second", "BA"): "A",
}


def judge_version(
    kind: str, model: str, params: Mapping[str, Any], rubric: LoadedRubric
) -> JudgeVersion:
    """Return the version of a judge; its id changes with whatever may change a grade."""
    facts = [kind, model, dict(params), prompt_hash(), rubric.content_hash]
    digest = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()
    return JudgeVersion(digest, kind, model, dict(params), prompt_hash(), rubric.content_hash)


class ChatJudge:
    """A chat model with a strict JSON form; one call per sample, and one to repair its answer."""

    def __init__(self, entry: JudgeEntry, rubric: LoadedRubric, api_key: Opaque | None) -> None:
        assert entry.model is not None  # noqa: S101 - the entry has checked it
        self._entry = entry
        self._rubric = rubric.rubric
        self._target = Target(entry.model, entry.api_base, api_key, entry.timeout_s, entry.network)
        params = {
            "temperature": entry.temperature,
            "max_tokens": entry.max_tokens,
            "schema_mode": entry.schema_mode,
        }
        self.version = judge_version("chat", entry.model, params, rubric)

    async def grade(self, sample: Sample, criteria: Sequence[AskedCriterion]) -> Judgement:
        """Return grades for the criteria, or why there are none."""
        messages = chat_messages(self._rubric, criteria, sample, _nonce())
        schema = answer_schema(criteria, bounded=self._entry.schema_mode == "grammar")
        reply = await self._ask(messages, schema)
        spent, problem = _spent(reply), ""
        if not reply.failure:
            try:
                return self._judgement(sample, criteria, reply, spent)
            except Unreadable as error:
                problem = str(error)
            reply = await self._ask(_repaired(messages, problem), schema)
            spent += _spent(reply)
            if not reply.failure:
                try:
                    return self._judgement(sample, criteria, reply, spent)
                except Unreadable as error:
                    problem = str(error)
        return _no_judgement(sample, self.version, reply, spent, problem)

    async def compare(self, pair: Pair, order: Order) -> Preference:
        """Return which answer is better when they are shown in `order`."""
        first, second = (pair.a, pair.b) if order == "AB" else (pair.b, pair.a)
        messages, schema = pair_messages(self._rubric, pair.sample, first, second, _nonce())
        ties = self._rubric.pairwise is not None and self._rubric.pairwise.ties
        reply = await self._ask(messages, schema)
        problem = ""
        if not reply.failure:
            try:
                verdict, _ = read_pair(reply.text, ties=ties)
            except Unreadable as error:
                problem = str(error)
            else:
                winner = _AS_WINNER.get((verdict, order), "tie")
                return Preference(
                    pair.sample.id, self.version.id, order, Status.OK, winner, _spent(reply)
                )
        return _no_preference(pair, self.version, order, reply, problem)

    def _judgement(
        self, sample: Sample, criteria: Sequence[AskedCriterion], reply: Reply, spent: Spent
    ) -> Judgement:
        answered = read_answer(reply.text, criteria, sample)
        return Judgement(
            sample.id,
            self.version.id,
            Status.OK,
            answered.grades,
            answered.injection_suspected,
            spent,
            reply.model,
        )

    async def _ask(self, messages: Messages, schema: Mapping[str, Any]) -> Reply:
        params: dict[str, Any] = {"max_tokens": self._entry.max_tokens}
        if self._entry.temperature is not None:
            params["temperature"] = self._entry.temperature
        if self._entry.schema_mode in ("strict", "grammar"):
            named = {"name": "grades", "strict": True, "schema": schema}
            params["response_format"] = {"type": "json_schema", "json_schema": named}
        elif self._entry.schema_mode == "json":
            params["response_format"] = {"type": "json_object"}
        return await complete(self._target, messages, **params)


class DecisionJudge:
    """A decision model: the criteria as typed questions, answered by probabilities."""

    def __init__(self, entry: JudgeEntry, rubric: LoadedRubric, api_key: Opaque | None) -> None:
        assert entry.model is not None  # noqa: S101 - the entry has checked it
        self._api = entry.api
        self._rubric = rubric.rubric
        self._target = Target(entry.model, entry.api_base, api_key, entry.timeout_s, entry.network)
        params = {"framing": entry.framing, "api": entry.api}
        self.version = judge_version("decision", entry.model, params, rubric)

    async def grade(self, sample: Sample, criteria: Sequence[AskedCriterion]) -> Judgement:
        """Return grades with confidences, or why there are none."""
        reply = await decide(
            self._target,
            decision_state(self._rubric, sample),
            decision_questions(criteria),
            api=self._api,
        )
        problem = ""
        if not reply.failure:
            try:
                grades = read_decisions(reply.answers, criteria)
            except Unreadable as error:
                problem = str(error)
            else:
                spent = _spent(reply)
                return Judgement(
                    sample.id,
                    self.version.id,
                    Status.OK,
                    grades,
                    spent=spent,
                    reported_model=reply.model,
                )
        return _no_judgement(sample, self.version, reply, _spent(reply), problem)

    async def compare(self, pair: Pair, order: Order) -> Preference:
        """Return which answer is better when they are shown in `order`."""
        assert self._rubric.pairwise is not None  # noqa: S101 - the caller has looked
        first, second = (pair.a, pair.b) if order == "AB" else (pair.b, pair.a)
        state = decision_state(self._rubric, pair.sample)
        del state["response"]
        state |= {"first": first, "second": second}
        options = {"first": "the first is better", "second": "the second is better"}
        if self._rubric.pairwise.ties:
            options["tie"] = "both are alike"
        question = {
            "type": "choice",
            "instructions": self._rubric.pairwise.question,
            "criteria": options,
        }
        reply = await decide(self._target, state, {"preference": question}, api=self._api)
        shares = reply.answers.get("preference", {}).get("probabilities") or {}
        known = {name: share for name, share in shares.items() if name in options}
        if reply.failure or not known:
            return _no_preference(pair, self.version, order, reply, "no probabilities")
        best = max(known, key=lambda name: float(known[name]))
        winner = _AS_WINNER.get((best, order), "tie")
        return Preference(pair.sample.id, self.version.id, order, Status.OK, winner, _spent(reply))


def _no_judgement(
    sample: Sample, version: JudgeVersion, reply: Reply, spent: Spent, problem: str
) -> Judgement:
    return Judgement(
        sample.id,
        version.id,
        _STATUS.get(reply.failure, Status.PARSE_ERROR),
        spent=spent,
        reported_model=reply.model,
        detail=reply.detail or problem,
    )


def _no_preference(
    pair: Pair, version: JudgeVersion, order: Order, reply: Reply, problem: str
) -> Preference:
    return Preference(
        pair.sample.id,
        version.id,
        order,
        _STATUS.get(reply.failure, Status.PARSE_ERROR),
        spent=_spent(reply),
        detail=reply.detail or problem,
    )


def _spent(reply: Reply) -> Spent:
    return Spent(
        reply.calls, reply.tokens_in, reply.tokens_out, reply.cost_nanousd, reply.latency_s
    )


def _nonce() -> str:
    return secrets.token_hex(8)


def _repaired(messages: Messages, problem: str) -> Messages:
    return [
        *messages,
        {
            "role": "user",
            "content": f"Your last answer could not be read ({problem}). Answer again with "
            "exactly one JSON object of the given form, and nothing else.",
        },
    ]

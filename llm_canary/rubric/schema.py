"""The form of `rubrics/NAME.yaml`: every key with its type, default and meaning.

A criterion is graded to a number from 0 (worst) to 1 (best) by its own rule; `scoring` makes one
score of them. docs/rubrics.md is generated from these models.
"""

from __future__ import annotations

import itertools
import re
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from llm_canary.addresses import Network, problem_of_url
from llm_canary.documents.entry import Entry, expected, pattern
from llm_canary.rubric.check_entries import CheckRule

Id = Annotated[
    str,
    pattern(
        re.compile(r"[a-z][a-z0-9_]{0,63}"), "small letters, digits and '_', the first a letter"
    ),
]
Reference = Annotated[
    str,
    pattern(
        re.compile(r"\$\{[A-Za-z_][A-Za-z0-9_]*\}|file:.+"),
        "a reference such as ${OPENAI_API_KEY} or file:/run/secrets/key",
    ),
]
Material = Literal["prompt", "response", "reference", "context"]
MAX_CRITERIA = 128  # questions that a decision model takes in one call


class InputsEntry(Entry):
    """What a judge gets to see."""

    prompt: Literal["required", "optional"] = Field(
        default="required", description="what the user asked"
    )
    response: Literal["required"] = Field(default="required", description="what is graded")
    reference: Literal["required", "optional", "never"] = Field(
        default="optional", description="a good answer, where the dataset has one"
    )
    context: Literal["required", "optional", "never"] = Field(
        default="optional", description="material that the answer has to rest on"
    )
    history_turns: int = Field(
        default=6, ge=0, le=100, description="earlier messages that are shown, at most"
    )


class ScoringEntry(Entry):
    """How the criteria become one score."""

    aggregate: Literal["weighted_mean"] = Field(
        default="weighted_mean", description="sum of weight x grade over the sum of weights above 0"
    )
    normalise: Literal[True] = Field(default=True, description="scores lie between 0 and 1")
    pass_threshold: float = Field(
        default=0.75, ge=0, le=1, description="smallest score that passes"
    )
    cannot_assess: Literal["exclude", "fail"] = Field(
        default="exclude", description="a criterion the judge cannot assess: left out, or graded 0"
    )
    max_cannot_assess_rate: float = Field(
        default=0.2, ge=0, le=1, description="above it, a check is held"
    )


class BinaryAnchors(Entry):
    """What the two verdicts look like."""

    met: str = Field(min_length=1, description="what an answer that meets it looks like")
    unmet: str = Field(min_length=1, description="what an answer that does not looks like")


class LevelEntry(Entry):
    """One level of an ordinal criterion."""

    value: int = Field(ge=0, le=100, description="rises from level to level")
    label: str = Field(min_length=1, description="its name")
    anchor: str = Field(min_length=1, description="what an answer of this level looks like")


class OptionEntry(Entry):
    """One option of a choice criterion."""

    label: Id = Field(description="what the judge answers")
    grade: float = Field(ge=0, le=1, description="what it is worth")
    anchor: str = Field(min_length=1, description="when it applies")


class _Criterion(Entry):
    id: Id = Field(description="its name in reports")
    weight: float = Field(
        default=1.0, ge=-100, le=100, description="its part of the score; below 0 for a fault"
    )
    must_pass: bool = Field(
        default=False, description="failing it fails the answer, whatever the score"
    )
    when: dict[Id, str] = Field(
        default={}, description="only where the item has these tags, such as {route: extract}"
    )
    requires: list[Material] = Field(
        default=[], description="not applicable where one of these is absent"
    )

    @model_validator(mode="after")
    def _weighs(self) -> _Criterion:
        if self.weight == 0:
            raise expected("a weight other than 0", do="remove the criterion if it does not count")
        return self


class _Asked(_Criterion):
    requirement: str = Field(min_length=1, description="one property, as a statement")
    evidence: Literal["optional", "required"] = Field(
        default="optional", description="`required`: a grade counts only with a quote"
    )


class BinaryCriterion(_Asked):
    """Met or not."""

    kind: Literal["binary"] = Field(description="`binary`")
    polarity: Literal["positive", "negative"] = Field(
        default="positive", description="`negative`: to meet it is a fault"
    )
    anchors: BinaryAnchors | None = Field(default=None, description="what met and unmet look like")

    @model_validator(mode="after")
    def _sign(self) -> BinaryCriterion:
        if (self.weight < 0) != (self.polarity == "negative"):
            raise expected(
                "a weight below 0 with `polarity: negative`, and only there",
                do="a fault has both, a merit neither",
            )
        return self


class OrdinalCriterion(_Asked):
    """One of several levels, worst first."""

    kind: Literal["ordinal"] = Field(description="`ordinal`")
    levels: list[LevelEntry] = Field(min_length=2, description="from the worst to the best")
    pass_level: int | None = Field(
        default=None, description="smallest level that passes; default: the better half"
    )

    @field_validator("weight")
    @classmethod
    def _merit(cls, value: float) -> float:
        return _above_zero(value)

    @model_validator(mode="after")
    def _rising(self) -> OrdinalCriterion:
        values = [level.value for level in self.levels]
        if any(b <= a for a, b in itertools.pairwise(values)) or len(values) > 10:
            raise expected("2 to 10 levels whose values rise")
        if self.pass_level is not None and self.pass_level not in values:
            raise expected("`pass_level` to be the value of a level")
        return self


class ChoiceCriterion(_Asked):
    """One of several named options."""

    kind: Literal["choice"] = Field(description="`choice`")
    options: list[OptionEntry] = Field(min_length=2, description="what the judge chooses from")

    @field_validator("weight")
    @classmethod
    def _merit(cls, value: float) -> float:
        return _above_zero(value)

    @model_validator(mode="after")
    def _distinct(self) -> ChoiceCriterion:
        labels = [option.label for option in self.options]
        if len(set(labels)) < len(labels) or len(labels) > 20:
            raise expected("2 to 20 options with different labels")
        return self


class CheckCriterion(_Criterion):
    """A rule that a program decides, without a judge."""

    kind: Literal["check"] = Field(description="`check`")
    check: CheckRule = Field(description="the rule")

    @field_validator("weight")
    @classmethod
    def _merit(cls, value: float) -> float:
        return _above_zero(value)


def _above_zero(value: float) -> float:
    if value < 0:
        raise expected("a weight above 0", do="only binary criteria can be faults")
    return value


Criterion = Annotated[
    BinaryCriterion | OrdinalCriterion | ChoiceCriterion | CheckCriterion,
    Field(discriminator="kind"),
]
AskedCriterion = BinaryCriterion | OrdinalCriterion | ChoiceCriterion
Label = str | int | float | bool


class ExampleEntry(Entry):
    """An answer with its right grades: shown to chat judges, and a test of the rubric."""

    prompt: str = Field(default="", description="what the user asked")
    response: str = Field(description="an answer")
    reference: str | None = Field(default=None, description="a good answer")
    context: str | None = Field(default=None, description="material")
    labels: dict[Id, Label] = Field(
        min_length=1, description="criterion -> `met`, `unmet`, a level's value or an option"
    )


class PairwiseEntry(Entry):
    """The question about two answers."""

    question: str = Field(min_length=1, description="such as: Which response serves better?")
    ties: bool = Field(default=True, description="whether a tie may be answered")
    swap: Literal["always"] = Field(default="always", description="asked in both orders")


class EscalateWhen(Entry):
    """When the second judge is asked."""

    confidence_below: float = Field(default=0.7, ge=0, le=1, description="of any criterion")
    criteria: dict[Id, float] = Field(default={}, description="criterion -> its own bound")
    max_share: float = Field(default=0.25, gt=0, le=1, description="of all items, at most")


class JudgeEntry(Entry):
    """A model that grades."""

    judge_kind: Literal["chat", "decision", "replay"] = Field(
        alias="backend", description="`chat`, `decision` or `replay`"
    )
    model: str | None = Field(
        default=None, min_length=1, description="as LiteLLM names it: `openai/gpt-5-mini`"
    )
    api_base: str | None = Field(default=None, description="its server, where it is not the usual")
    network: Network = Field(
        default=Network.PUBLIC,
        strict=False,
        description="`private`: the name in `api_base` may lead to this machine or a private "
        "network; an address, and `localhost`, always may",
    )
    api_key: Reference | None = Field(
        default=None, description="a reference such as ${OPENAI_API_KEY}; default: LiteLLM's"
    )
    temperature: float | None = Field(default=None, ge=0, le=2, description="`chat`")
    max_tokens: int = Field(default=1500, ge=16, le=100_000, description="`chat`: of the answer")
    schema_mode: Literal["strict", "grammar", "json", "off"] = Field(
        default="strict",
        description="`chat`: how JSON is asked for; `strict` sends the schema, `grammar` also "
        "bounds its texts, for servers that decode by it (llama.cpp, vLLM)",
    )
    framing: Literal["one_question_per_criterion"] = Field(
        default="one_question_per_criterion", description="`decision`"
    )
    api: Literal["systemone", "decisions"] = Field(
        default="systemone", description="`decision`: which of the two interfaces it speaks"
    )
    verdicts: str | None = Field(default=None, description="`replay`: file of recorded verdicts")
    timeout_s: float = Field(default=60.0, gt=0, le=600, description="seconds of one call")
    when: EscalateWhen | None = Field(default=None, description="`escalate` only")

    @field_validator("api_base")
    @classmethod
    def _may_be_asked(cls, url: str | None) -> str | None:
        if url is not None and (problem := problem_of_url(url)) is not None:
            raise expected(f"a URL such as https://api.openai.com/v1; it is {problem}")
        return url

    @model_validator(mode="after")
    def _complete(self) -> JudgeEntry:
        if self.judge_kind == "replay" and self.verdicts is None:
            raise expected("`verdicts:` for a judge of recorded verdicts")
        if self.judge_kind != "replay" and self.model is None:
            raise expected("`model:`", do="name the model as LiteLLM does")
        return self


class PanelEntry(Entry):
    """Several judges as one."""

    members: list[JudgeEntry] = Field(default=[], description="beside `primary`")
    min_members: int = Field(default=1, ge=1, le=20, description="that must have graded")
    weights: Literal["calibrated", "equal"] = Field(
        default="calibrated", description="from agreement with people, or all alike"
    )
    distinct_families: bool = Field(default=True, description="no two models of one maker")
    exclude_family_of: list[Literal["control", "canary"]] = Field(
        default=["control", "canary"], description="no judge of the makers under test"
    )


class JudgesEntry(Entry):
    """Who grades what no program can."""

    primary: JudgeEntry = Field(description="grades every item")
    escalate: JudgeEntry | None = Field(default=None, description="grades what `primary` doubts")
    panel: PanelEntry | None = Field(default=None, description="several judges as one")


class TrustEntry(Entry):
    """What a judge must show on human labels before its grades decide anything."""

    min_labels: int = Field(default=100, ge=10, description="human labels")
    min_kappa_low: float = Field(
        default=0.4, ge=-1, le=1, description="lower end of the interval of kappa"
    )
    min_relative_kappa: float = Field(
        default=0.6, ge=0, le=1, description="kappa with people, over kappa between people"
    )
    max_position_gap: float = Field(
        default=0.05, ge=0, le=1, description="pairwise: first-shown wins beyond one half"
    )
    max_age_days: int = Field(default=14, ge=1, le=3650, description="age of the calibration")


class AppliesTo(Entry):
    """Where the rubric makes sense."""

    routes: list[str] = Field(default=[], description="routes; none = all")
    languages: list[str] = Field(default=[], description="languages; none = all")


class Rubric(Entry):
    """The whole file."""

    schema_: Literal["llm_canary.rubric/v1"] = Field(
        alias="schema", description="always `llm_canary.rubric/v1`"
    )
    id: Id = Field(description="the name of the file without `.yaml`")
    version: int = Field(ge=1, description="raised with every change of the text")
    applies_to: AppliesTo = Field(default_factory=AppliesTo, description="where it makes sense")
    inputs: InputsEntry = Field(default_factory=InputsEntry, description="what a judge sees")
    instructions: str = Field(default="", description="policy that decides doubtful cases")
    scoring: ScoringEntry = Field(default_factory=ScoringEntry, description="the score")
    criteria: list[Criterion] = Field(default=[], description="what is graded")
    examples: list[ExampleEntry] = Field(default=[], description="answers with right grades")
    pairwise: PairwiseEntry | None = Field(default=None, description="question about two answers")
    judges: JudgesEntry | None = Field(default=None, description="who grades")
    trust: TrustEntry = Field(default_factory=TrustEntry, description="what a judge must show")

    @property
    def asked(self) -> list[AskedCriterion]:
        """The criteria that a judge or a person decides."""
        return [each for each in self.criteria if not isinstance(each, CheckCriterion)]

    @property
    def checked(self) -> list[CheckCriterion]:
        """The criteria that a program decides."""
        return [each for each in self.criteria if isinstance(each, CheckCriterion)]

    def meaning(self) -> dict[str, Any]:
        """Return what grades depend on: not who judges, nor what is asked of the judge."""
        return self.model_dump(
            mode="json", by_alias=True, exclude={"judges", "trust", "version", "applies_to"}
        )

"""The rules that a program decides: the values of `check:`."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, model_validator

from llm_canary.documents.entry import Entry, expected, pattern


def _compiles(value: str) -> str:
    try:
        re.compile(value)
    except re.error as error:
        raise expected(f"a regular expression of Python ({error})") from None
    return value


class JsonSchemaRule(Entry):
    """The answer is JSON that fits the schema."""

    type: Literal["json_schema"] = Field(description="`json_schema`")
    path: str | None = Field(default=None, description="file of the schema, beside the rubric")
    schema_: dict[str, Any] | None = Field(
        default=None, alias="schema", description="the schema itself"
    )

    @model_validator(mode="after")
    def _one(self) -> JsonSchemaRule:
        if (self.path is None) == (self.schema_ is None):
            raise expected("one of `path:` and `schema:`")
        return self


class RegexRule(Entry):
    """The pattern is found in the answer, or is not."""

    type: Literal["regex"] = Field(description="`regex`")
    pattern: Annotated[str, AfterValidator(_compiles)] = Field(description="Python's syntax")
    must: Literal["match", "not_match"] = Field(default="match", description="which is right")
    ignore_case: bool = Field(default=False, description="whether A is a")


class ContainsRule(Entry):
    """The texts are in the answer, or are not."""

    type: Literal["contains"] = Field(description="`contains`")
    texts: list[str] = Field(min_length=1, description="what is looked for")
    must: Literal["all", "any", "none"] = Field(default="all", description="how many are right")
    ignore_case: bool = Field(default=True, description="whether A is a")


class LengthRule(Entry):
    """The answer is neither too short nor too long."""

    type: Literal["length"] = Field(description="`length`")
    unit: Literal["characters", "words"] = Field(default="words", description="what is counted")
    min: int = Field(default=0, ge=0, description="at least")
    max: int | None = Field(default=None, ge=0, description="at most")

    @model_validator(mode="after")
    def _range(self) -> LengthRule:
        if (self.max is None and self.min == 0) or (self.max is not None and self.max < self.min):
            raise expected("`min:`, `max:` or both, with max not below min")
        return self


class LanguageRule(Entry):
    """The answer is in one of the languages, or in the prompt's."""

    type: Literal["language"] = Field(description="`language`")
    any_of: list[str] = Field(
        default=[], description="such as [en, de]; none = the language of the prompt"
    )


class ToolCallRule(Entry):
    """The answer calls the tool, with arguments that hold these values."""

    type: Literal["tool_call"] = Field(description="`tool_call`")
    name: str | None = Field(default=None, description="the tool; none = no tool may be called")
    arguments: dict[str, Any] = Field(default={}, description="argument -> its value")


class SimilarityRule(Entry):
    """The answer is like the reference."""

    type: Literal["similarity"] = Field(description="`similarity`")
    measure: Literal["exact", "ratio", "token_f1"] = Field(
        default="token_f1", description="equal text, difflib's ratio, or F1 of words"
    )
    min: float = Field(default=1.0, ge=0, le=1, description="smallest likeness that passes")


class PythonRule(Entry):
    """A function decides; it gets the sample and returns a truth value or a number from 0 to 1."""

    type: Literal["python"] = Field(description="`python`")
    function: Annotated[
        str, pattern(re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*"), "package.module:function")
    ] = Field(description="`package.module:function`")
    min: float = Field(default=1.0, ge=0, le=1, description="smallest number that passes")


CheckRule = Annotated[
    JsonSchemaRule
    | RegexRule
    | ContainsRule
    | LengthRule
    | LanguageRule
    | ToolCallRule
    | SimilarityRule
    | PythonRule,
    Field(discriminator="type"),
]

"""What every mapping of a strict document has in common."""

from __future__ import annotations

import re

from pydantic import BaseModel, BeforeValidator, ConfigDict
from pydantic_core import PydanticCustomError


class Entry(BaseModel):
    """Strict: unknown keys and other types are refused."""

    model_config = ConfigDict(
        strict=True, extra="forbid", frozen=True, allow_inf_nan=False, hide_input_in_errors=True
    )


def expected(what: str, *, do: str = "") -> PydanticCustomError:
    """Return the error that problems.py turns into a sentence."""
    return PydanticCustomError("expected", "{expected}", {"expected": what, "do": do})


def pattern(form: re.Pattern[str], what: str) -> BeforeValidator:
    """Return the validator of text that matches `form`, which `what` says in words."""

    def check(value: object) -> object:
        if isinstance(value, str) and form.fullmatch(value):
            return value
        raise expected(what)

    return BeforeValidator(check)

"""What a check keeps of each item, for its verdict, its reports and later comparisons."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path

import msgspec
from msgspec import Struct

from llm_canary.errors import ConfigError

FORMAT = "llm_canary.run/v1"


class Ended(StrEnum):
    """What became of an item."""

    GRADED = "graded"
    NO_ANSWER = "no_answer"  # the candidate gave none
    NO_GRADE = "no_grade"  # the judge failed
    CANNOT_ASSESS = "cannot_assess"  # nothing of it could be graded


class CriterionOutcome(Struct, frozen=True, omit_defaults=True):
    """One criterion of one item; `passed` None: not graded, `why` says why."""

    passed: bool | None
    label: str = ""
    why: str = ""
    detail: str = ""


class Outcome(Struct, frozen=True, omit_defaults=True):
    """One item of a run; no prompt and no answer is in it."""

    id: str
    ended: Ended
    passed: bool | None = None
    score: float | None = None
    criteria: dict[str, CriterionOutcome] = {}
    must_pass_failed: tuple[str, ...] = ()
    segments: dict[str, str] = {}
    conversation: str | None = None
    response_sha256: str = ""
    detail: str = ""


class Run(Struct, frozen=True):
    """A whole run: what was graded by what, and every outcome."""

    rubric: str
    rubric_version: int
    rubric_hash: str
    judge_id: str | None  # None: no judge was needed
    dataset: str
    dataset_hash: str
    candidate: str
    outcomes: tuple[Outcome, ...]
    format: str = FORMAT


def read_run(path: Path) -> Run:
    """Return an earlier run, as a baseline; raise ConfigError for what is none."""
    try:
        run = msgspec.json.decode(path.read_bytes(), type=Run)
    except OSError as error:
        raise ConfigError(
            f"baseline {path}: {error.strerror}; make it with --update-baseline"
        ) from None
    except msgspec.MsgspecError as error:
        raise ConfigError(f"baseline {path} is no run of this program ({error})") from None
    if run.format != FORMAT:
        raise ConfigError(f"baseline {path} has the form {run.format!r}; expected {FORMAT!r}")
    return run


def write_run(path: Path, run: Run) -> None:
    """Write a run, so that it can be a baseline."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(msgspec.json.format(msgspec.json.encode(run), indent=1) + b"\n")

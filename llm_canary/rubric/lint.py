"""What is allowed in a rubric and yet goes wrong in use, each with its line and a way out."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from typing import NamedTuple

from llm_canary.documents.problems import KeyPath
from llm_canary.rubric.load import LoadedRubric
from llm_canary.rubric.schema import BinaryCriterion, JudgeEntry, JudgesEntry

MAX_CRITERIA = 7
_SUBJECTIVE = re.compile(
    r"\b(good|bad|nice|appropriate|reasonable|proper(?:ly)?|well|high[- ]quality|natural|"
    r"engaging|professional|adequate(?:ly)?|clear(?:ly)?|concise(?:ly)?|helpful|friendly)\b",
    re.IGNORECASE,
)
_TWO = re.compile(r"\b(and|as well as|und)\b", re.IGNORECASE)
_FLOATING = re.compile(r"latest|^[^:]*/(gpt-[\d.]+|o\d|claude-[a-z]+-[\d.]+)(-mini|-nano|-pro)?$")
_DATED = re.compile(r"20\d\d-?\d\d-?\d\d|-\d+\.\d+\.\d+$|@")


class Finding(NamedTuple):
    """One thing to reconsider."""

    line: int | None
    path: KeyPath
    text: str


def lint(loaded: LoadedRubric, *, families: Collection[str] = ()) -> list[Finding]:
    """Return the findings in the order of the lines.

    `families`: makers of the models under test, of which no judge should be.
    """
    found = [*_criteria(loaded), *_judges(loaded.rubric.judges, families)]
    lined = [Finding(loaded.lines.line_of(path), path, text) for path, text in found]
    return sorted(lined, key=lambda each: each.line or 0)


def family(model: str) -> str:
    """Return the maker of a model as LiteLLM names it: `openai/gpt-5` is `openai`."""
    maker, _, rest = model.partition("/")
    name = rest or maker
    for known in ("gpt", "claude", "gemini", "llama", "mistral", "qwen", "deepseek", "smollm"):
        if known in name.lower():
            return known
    return maker.lower()


def _criteria(loaded: LoadedRubric) -> Iterator[tuple[KeyPath, str]]:
    rubric = loaded.rubric
    if len(rubric.criteria) > MAX_CRITERIA:
        text = f"{len(rubric.criteria)} criteria; judges grade best with at most {MAX_CRITERIA}"
        yield ("criteria",), f"{text}: make two rubrics of it"
    for index, criterion in enumerate(rubric.criteria):
        if not isinstance(criterion, BinaryCriterion):
            continue
        path: KeyPath = ("criteria", index, "requirement")
        word = _SUBJECTIVE.search(criterion.requirement)
        if word and criterion.anchors is None:
            yield path, f"{word[0]!r} is a matter of taste: add `anchors:` that say what it means"
        if _TWO.search(criterion.requirement) and criterion.anchors is None:
            yield path, "two properties in one criterion: make two of it, or add `anchors:`"
    if rubric.asked and not rubric.examples:
        text = "no examples: `rubric test` has nothing to test, and chat judges see none"
        yield ("criteria",), f"{text}; add two or three under `examples:`"


def _judges(judges: JudgesEntry | None, families: Collection[str]) -> Iterator[tuple[KeyPath, str]]:
    if judges is None:
        return
    named: list[tuple[KeyPath, JudgeEntry]] = [(("judges", "primary"), judges.primary)]
    if judges.escalate is not None:
        named.append((("judges", "escalate"), judges.escalate))
    for index, member in enumerate(judges.panel.members if judges.panel else ()):
        named.append((("judges", "panel", "members", index), member))
    for path, judge in named:
        model = judge.model
        if model is None:
            continue
        if _FLOATING.search(model) and not _DATED.search(model):
            text = f"{model} may be another model tomorrow: name a dated snapshot"
            yield (*path, "model"), text
        if family(model) in families:
            text = f"{model} would judge its own family: take a judge of another maker"
            yield (*path, "model"), text
    if judges.panel is not None and judges.panel.distinct_families:
        makers = [family(each.model) for _, each in named if each.model]
        twice = sorted({each for each in makers if makers.count(each) > 1})
        if twice:
            yield ("judges", "panel"), f"more than one judge of {', '.join(twice)}"
